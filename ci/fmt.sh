#!/usr/bin/env bash
# ci/fmt.sh
#
# The code is formatted as rustfmt.toml says. To mend it: cargo fmt --all
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
echo "ci/fmt.sh: formatted"
