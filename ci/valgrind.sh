#!/usr/bin/env bash
# ci/valgrind.sh
#
# A few programs under valgrind's memcheck: goroutines that block, panic, sleep and are reused, callbacks from C threads and
# on the main thread, callbacks before main and after it.
#
# memcheck follows a change of the stack pointer from one registered stack to another. The runtime registers its stacks by
# client requests (crates/gort-rt/src/arch/valgrind.rs), so there is nothing to suppress, and no suppression file. The flags:
#
#   --fair-sched=yes        valgrind runs one thread at a time; without turns, threads that wait for each other starve
#   --leak-check=full ...   lost memory is an error. "Possibly lost" is not: a live thread's vector of thread-local storage
#                           is kept by a pointer into its middle, for pthread_create's threads as for ours
#
# GORT_IDENTITY=donor is not run here: when a donor thread has left, memcheck takes its stack for dead memory, although the
# goroutine that got it runs on.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUST_BACKTRACE=0
# One minute would do; a hang must not eat the time of the others.
each=180

target=$(cargo metadata --locked --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
cargo build --locked -p gort-tests --bins

memcheck() {
    echo "--> $*"
    timeout --kill-after=10 $each env "${@:1:$(($# - 2))}" \
        valgrind --quiet --error-exitcode=9 --fair-sched=yes \
        --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect \
        "$target/debug/${*: -2:1}" "${*: -1}"
}

memcheck GORT_PROCS=1 scenario mini_suite
memcheck GORT_PROCS=2 scenario mini_suite
memcheck GORT_PROCS=2 GORT_CHAOS=1 scenario mini_suite
memcheck GORT_PROCS=2 GORT_GUARD=mprotect scenario mini_suite
memcheck GORT_PROCS=2 on_main callback
memcheck GORT_PROCS=2 CALL_BEFORE_MAIN=1 on_main early
memcheck GORT_PROCS=2 on_main destructor
echo "ci/valgrind.sh: no errors"
