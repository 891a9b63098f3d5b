#!/usr/bin/env bash
# ci/capi.sh
#
# The library for C, as it is meant to be used: builds it optimised, installs it by crates/gort-capi/install.sh, and compiles and runs
# the programs of crates/gort-capi/tests/c against it: C99 and C++17, linked statically and dynamically, with both backends and one
# and two Ps. Looks at what the libraries export. Installs pkg-config and a compiler if they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

missing=()
command -v pkg-config >/dev/null || missing+=(pkg-config)
command -v gcc >/dev/null || missing+=(gcc libc6-dev)
command -v g++ >/dev/null || missing+=(g++)
if ((${#missing[@]})); then
    echo "--> installing ${missing[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

echo "--> names"
prefix=$(mktemp -d "${TMPDIR:-/tmp}/gort-capi.XXXXXX")
trap 'rm -rf "$prefix"' EXIT
crates/gort-capi/install.sh "$prefix"
# Every function of the header is exported, and nothing of that prefix besides.
declared=$(grep -o '\bgort_[a-z_]*(' "$prefix/include/gort.h" | grep -v '^ ' | tr -d '(' | sort -u)
exported=$(nm -D --defined-only "$prefix/lib/libgort.so" | awk '{ print $3 }' | grep '^gort_' | sort -u)
if [ "$declared" != "$exported" ]; then
    diff <(echo "$declared") <(echo "$exported") >&2 || true
    echo "ci/capi.sh: the header and libgort.so do not have the same functions" >&2
    exit 1
fi
readelf -d "$prefix/lib/libgort.so" | grep -q 'soname: \[libgort.so.0\]'

echo "--> programs"
GORT_CAPI_PROFILE=release cargo test --locked -p gort-capi -- --nocapture
echo "ci/capi.sh: all passed in $SECONDS s"
