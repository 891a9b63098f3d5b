#!/usr/bin/env bash
# ci/repeat.sh N [FILTER]
#
# The scenario tests N times with one P and N times with two, each time with another seed for chaos or none. FILTER, if given,
# selects tests by name. By hand: it takes about two minutes a round. Stops at the first failure and says how to repeat it.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:?usage: ci/repeat.sh N [FILTER]}
filter=${2:-}

cargo test --locked -p gort-tests --no-run
for ((round = 1; round <= rounds; round++)); do
    for procs in 1 2; do
        settings=(GORT_PROCS=$procs)
        # Every other round without chaos: its extra switches hide some interleavings while they show others.
        if ((round % 2 == 0)); then settings+=(GORT_CHAOS="$round"); fi
        echo "--> round $round of $rounds: ${settings[*]}"
        command=(env "${settings[@]}" cargo test --locked -p gort-tests --tests -- ${filter:+"$filter"})
        if ! "${command[@]}"; then
            echo "ci/repeat.sh: failed in round $round; again: ${command[*]}" >&2
            exit 1
        fi
    done
done
echo "ci/repeat.sh: $rounds rounds passed"
