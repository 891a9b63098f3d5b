#!/usr/bin/env bash
# ci/race.sh
#
# ThreadSanitizer and AddressSanitizer on the runtime, with a kernel thread for each goroutine, since neither knows goroutines.
# First a race on purpose, which must be reported; then crates/gort-rt/tests/races.rs and the runtime's own tests of what
# threads share. Needs no other toolchain: the compiler brings the tools' libraries, and RUSTC_BOOTSTRAP lets it use them.
#
# std comes as it is, without instrumentation; ci/race.supp says what that makes the tool report wrongly. The hooks are not
# covered: they stand before the tools' own definitions of the same names. Nor is the scheduler, of which nothing runs here.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTC_BOOTSTRAP=1 GORT_BACKEND=threads RUST_BACKTRACE=0
host=$(rustc -vV | sed -n 's/^host: //p')
target=$(cargo metadata --locked --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
export CARGO_TARGET_DIR=$target/sanitizers

# What of the runtime's own tests several threads take part in, and no signal handler of the tool's is in the way of.
shared=(sync:: sched:: time:: os::linux::futex os::linux::thread stack::arena::tests::threads_never_share_a_slot)

# sanitized TOOL ARGUMENT...: tests of gort-rt, built for the tool.
sanitized() {
    local tool=$1
    shift
    RUSTFLAGS="-Zsanitizer=$tool -Cunsafe-allow-abi-mismatch=sanitizer" \
        timeout --kill-after=10 600 cargo test --locked -p gort-rt --target "$host" "$@"
}

# passes COMMAND...: the command succeeds, and has run a test.
passes() {
    local output
    output=$("$@" 2>&1) || { echo "$output" >&2; echo "ci/race.sh: failed: $*" >&2; exit 1; }
    grep -E '^test result: ok\. [1-9]' <<<"$output" || { echo "ci/race.sh: ran no test: $*" >&2; exit 1; }
}

echo "--> ThreadSanitizer"
# The threads of the goroutines that end last are joined by the end of the runtime, which a test does not wait for.
export TSAN_OPTIONS="suppressions=$PWD/ci/race.supp halt_on_error=1 report_thread_leaks=0"
if output=$(sanitized thread --test races -- --ignored --exact a_race_on_purpose 2>&1); then
    echo "$output" >&2
    echo "ci/race.sh: a race on purpose was not seen" >&2
    exit 1
fi
grep -m 1 'WARNING: ThreadSanitizer: data race' <<<"$output" || { echo "$output" >&2; exit 1; }
passes sanitized thread --test races
passes sanitized thread --lib -- "${shared[@]}"

echo "--> AddressSanitizer"
passes sanitized address --test races
# The runtime's own tests leak what their threads share.
ASAN_OPTIONS=detect_leaks=0 passes sanitized address --lib -- "${shared[@]}"
echo "ci/race.sh: nothing to report"
