#!/usr/bin/env bash
# ci/clippy.sh
#
# No warning of the compiler or of clippy, tests, examples and benchmarks included.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --locked --workspace --all-targets -- -D warnings
