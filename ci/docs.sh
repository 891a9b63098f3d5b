#!/usr/bin/env bash
# ci/docs.sh
#
# The documentation builds without a warning (its examples are run by ci/test.sh), and every file that a Markdown file links
# to is there.
set -euo pipefail
cd "$(dirname "$0")/.."
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
python3 ci/links.py
