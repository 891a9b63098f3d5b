#!/usr/bin/env bash
# ci/test.sh [SEED...]
#
# All tests as the README runs them; then those of the runtime and the scenarios with one P and with two (unless the machine has
# two processors, so that the first run was that); then the scenarios with GORT_CHAOS, which makes rare interleavings common, once for each seed (1).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# = 0 ]; then set -- 1; fi

cargo test --locked --workspace
for procs in 1 2; do
    if [ "$procs" = "$(nproc)" ]; then continue; fi
    echo "--> GORT_PROCS=$procs"
    GORT_PROCS=$procs cargo test --locked -p gort-rt -p gort-tests
done
for seed in "$@"; do
    echo "--> GORT_CHAOS=$seed"
    GORT_CHAOS=$seed cargo test --locked -p gort-tests
done
