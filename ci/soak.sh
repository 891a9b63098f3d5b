#!/usr/bin/env bash
# ci/soak.sh [MINUTES [SEED]]
#
# Everything at once (tests/src/bin/soak) for MINUTES, 2 if nothing is said: one run after the other, each of half a minute to
# five minutes in a process of its own, and with settings that SEED, by default the time, decides. Each run checks what
# it does, and at its end what the process holds: threads, descriptors, mappings, memory. Stops at the first failure
# and prints the command that does the same again.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-2}
RANDOM=${2:-$(date +%s)}

cargo build --locked -p gort-tests --bin soak
program=${CARGO_TARGET_DIR:-target}/debug/soak
runs=4
seconds=$((minutes * 60 / runs))
if ((seconds > 300)); then
    runs=$((minutes * 60 / 300))
    seconds=300
fi

# Sets `choice` to one of the arguments. (Not by its output: a subshell would draw the same number again.)
one_of() {
    shift $((RANDOM % $#))
    choice=$1
}

for ((run = 1; run <= runs; run++)); do
    settings=()
    set_one_of() {
        local name=$1
        shift
        one_of "$@"
        if [ -n "$choice" ]; then settings+=("$name=$choice"); fi
    }
    set_one_of GORT_PROCS 1 2 2 3 5
    # Among four runs in a row each kind occurs.
    case $((run % 4)) in
        1) settings+=("GORT_CHAOS=$RANDOM") ;;
        2) settings+=("GORT_CHAOS=$RANDOM,faults") ;;
        3) ;;
        *) set_one_of GORT_CHAOS "" "$RANDOM" "$RANDOM,faults" ;;
    esac
    set_one_of GORT_GUARD "" "" mprotect
    set_one_of GORT_IDENTITY "" "" donor
    set_one_of GORT_MEMBARRIER "" "" 0
    set_one_of GORT_STACK_SIZE "" "" 64k
    command=(env "${settings[@]}" "$program" "$seconds" "$RANDOM")
    echo "--> run $run of $runs: ${command[*]}"
    # What it takes to come to rest is not in SECONDS.
    if ! timeout --kill-after=10 $((seconds + 600)) "${command[@]}"; then
        echo "ci/soak.sh: failed in run $run; again: ${command[*]}" >&2
        exit 1
    fi
done
echo "ci/soak.sh: $runs runs of $seconds s passed"
