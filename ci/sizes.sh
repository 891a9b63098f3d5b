#!/usr/bin/env bash
# ci/sizes.sh
#
# The sizes of things in full, with an optimised program (tests/src/bin/sizes.rs): a million goroutines alive at once, each
# touched twice; 200,000 asleep at once until different moments; 65 Ps; an idle process. Takes about a minute on two
# processors and, for the first, 11 GiB of memory: where less is available it makes fewer goroutines and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --release -p gort-tests --bin sizes
sizes=${CARGO_TARGET_DIR:-target}/release/sizes

million=1000000
# KiB; a goroutine takes less than 11 KiB with its page tables.
available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
if ((available < 12 * million)); then
    million=$((available / 12))
    echo "ci/sizes.sh: $((available >> 20)) GiB of memory are available: $million goroutines in place of a million"
fi

run() {
    echo "--> $*"
    timeout --kill-after=10 600 env "$@"
}
run GORT_PROCS=2 "$sizes" alive "$million"
run GORT_PROCS=2 "$sizes" sleepers 200000
run GORT_PROCS=65 "$sizes" procs
run GORT_PROCS=2 "$sizes" idle nothing
run GORT_PROCS=2 "$sizes" idle timer
run GORT_PROCS=2 "$sizes" idle netpoller
echo "ci/sizes.sh: all passed in $SECONDS s"
