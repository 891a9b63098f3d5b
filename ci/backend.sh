#!/usr/bin/env bash
# ci/backend.sh [FILTER]
#
# The tests of the runtime and the scenarios with GORT_BACKEND=threads, where each goroutine is a kernel thread: what the
# interface promises must not depend on what carries it. Scenarios that only the scheduler can fulfil are left out there, each
# by `needs_goroutines!`, which says why. Then, with the C library linked statically, where goroutines are threads unless
# the program says otherwise, what needs nothing but the runtime. FILTER, if given, selects tests by name.
set -euo pipefail
cd "$(dirname "$0")/.."

GORT_BACKEND=threads cargo test --locked --no-fail-fast -p gort-rt -p gort-tests -- "$@"

host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-Ctarget-feature=+crt-static" \
    cargo test --locked -p gort-rt --target "$host" --test backend --test races -- "$@"

count() { grep -rhE "$1" tests/tests | wc -l; }
echo "ci/backend.sh: all passed; left out: $(count '^    needs_goroutines!') of $(count '^#\[test\]') scenarios"
