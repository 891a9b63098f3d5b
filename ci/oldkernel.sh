#!/usr/bin/env bash
# ci/oldkernel.sh [ARGUMENT OF cargo test...]
#
# The runtime's unit tests, the hooks' and the scenarios as on an old kernel: a seccomp filter refuses every system call since
# Linux 4.4 and membarrier, madvise knows no markers as guards, the thread pointer is set by a system call, and glibc has no
# restartable sequences. The filter is the program old_kernel of gort-tests, as cargo's runner; it holds for child processes too.
#
#   ci/oldkernel.sh                                everything
#   ci/oldkernel.sh -p gort-tests --test processes  one subject
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(-p gort-rt -p gort-interpose -p gort-tests --lib --tests)
if [ $# = 0 ]; then set -- "${packages[@]}"; fi

cargo build --locked -p gort-tests --bin old_kernel
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
runner=$(cd "$target" && pwd)/debug/old_kernel
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$runner ENOSYS since-4.4,membarrier,advice"
export GORT_FSGSBASE=0
export GLIBC_TUNABLES=glibc.pthread.rseq=0
# These are about what an old kernel has not: more guards than vm.max_map_count allows, of 100,000 goroutines, and for
# the stacks that 1024 Ps keep ready; guards that take no mappings, whose failures do not come out of spawn; process
# descriptors, without which a wait for a child holds a thread; epoll_pwait2.
missing=(a_thousand_and_twenty_four_ps_work a_hundred_thousand_at_once many_exit_at_once
    it_is_as_many_as_were_asked_for twelve_thousand_threads_in_turn_leave_nothing two_hundred_wait_for_two_hundred
    waitid_answers_as_the_kernel_does with_a_signal_mask faults_happen_and_are_errors_or_fallbacks)
cargo test --locked --no-fail-fast "$@" -- "${missing[@]/#/--skip=}"
echo "ci/oldkernel.sh: all passed in $SECONDS s"
