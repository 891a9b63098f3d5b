#!/usr/bin/env bash
# ci/hosts.sh [NAME...]
#
# Builds the hosts of examples/hosts, programs in C, C++ and Python around one library of goroutines, and runs them: on goroutines
# and on kernel threads, with one P and with two, and with chaos. Each verifies all that it does. Then under memcheck and under
# AddressSanitizer, as far as these can follow. Before that, formatting and clippy of the library. Installs what is missing
# with apt-get. NAME: web, callbacks, cxx, glib, fibers, python, static, memcheck, asan; all, if there is none.
set -euo pipefail
cd "$(dirname "$0")/../examples/hosts"
export RUST_BACKTRACE=0

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

missing=()
command -v pkg-config >/dev/null || missing+=(pkg-config)
command -v c++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
command -v python3 >/dev/null || missing+=(python3)
command -v valgrind >/dev/null || missing+=(valgrind)
pkg-config --exists sqlite3 2>/dev/null || missing+=(libsqlite3-dev)
pkg-config --exists libmicrohttpd 2>/dev/null || missing+=(libmicrohttpd-dev)
pkg-config --exists gio-2.0 2>/dev/null || missing+=(libglib2.0-dev)
[ -e /usr/include/boost/context/fiber.hpp ] || missing+=(libboost-context-dev)
if ((${#missing[@]})); then
    echo "--> installing ${missing[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

if [ $# = 0 ]; then
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --all-targets --no-default-features -- -D warnings
    set -- static callbacks cxx glib fibers web python memcheck asan
fi

# Not optimised: the library is small, and its assertions and overflow checks are on.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
programs=$CARGO_TARGET_DIR/hosts
library=$CARGO_TARGET_DIR/debug/libhosts.so
mk() { make --no-print-directory PROFILE=dev "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }; }
log=$(mktemp "${TMPDIR:-/tmp}/gort-hosts.XXXXXX")
trap 'rm -f "$log"' EXIT

# run COMMAND...: it succeeds within two minutes. What it says about panics on purpose is shown only if it does not.
run() {
    timeout --kill-after=10 120 "$@" 2>"$log" || {
        local status=$?
        tail -n 40 "$log" >&2
        local settings="GORT_BACKEND=${GORT_BACKEND:-} GORT_PROCS=${GORT_PROCS:-} GORT_CHAOS=${GORT_CHAOS:-}"
        echo "ci/hosts.sh: status $status of $*, with $settings" >&2
        exit 1
    }
}

# host NAME: runs one, with the settings of the environment.
host() {
    case $1 in
    web)
        run python3 web/load.py "$programs/web" pool
        run python3 web/load.py "$programs/web" connections
        ;;
    python) LIBHOSTS=$library run python3 python/main.py ;;
    static)
        run "$programs/static"
        run "$programs/static-beside"
        ;;
    *) run "$programs/$1" ;;
    esac
}

# The hosts under memcheck, which knows of the runtime's stacks, and is told of Boost's. Not Python, which has its own way with memory.
memcheck() {
    local small=$programs/small backend name
    local memcheck=(valgrind --quiet --error-exitcode=9 --fair-sched=yes --leak-check=full
        --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect)
    mk BUILD="$small" CFLAGS="-O1 -g -DSMALL=1 -DBOOST_USE_VALGRIND" static callbacks cxx glib fibers web
    for backend in goroutines threads; do
        export GORT_BACKEND=$backend GORT_PROCS=2
        for name in static callbacks cxx glib fibers; do
            echo "--> memcheck $name GORT_BACKEND=$backend"
            run "${memcheck[@]}" "$small/$name"
        done
        echo "--> memcheck web GORT_BACKEND=$backend"
        run python3 web/load.py "${memcheck[*]} $small/web" pool 6 4
    done
    unset GORT_BACKEND GORT_PROCS
}

# The hosts, C and C++ of which are compiled for AddressSanitizer. It finds a mistake on a goroutine that has parked meanwhile.
asan() {
    local asan=$programs/asan backend name
    mk BUILD="$asan" CFLAGS="-O1 -g -DSMALL=1 -fno-omit-frame-pointer -fsanitize=address" static callbacks cxx glib fibers web mistake
    for backend in goroutines threads; do
        export GORT_BACKEND=$backend GORT_PROCS=2
        echo "--> AddressSanitizer GORT_BACKEND=$backend: a mistake on purpose"
        if "$asan/mistake" 2>"$log" || ! grep -m 1 'ERROR: AddressSanitizer: heap-use-after-free' "$log"; then
            cat "$log" >&2
            echo "ci/hosts.sh: AddressSanitizer did not see a mistake on purpose" >&2
            exit 1
        fi
        for name in static static-beside callbacks cxx glib fibers; do
            echo "--> AddressSanitizer $name GORT_BACKEND=$backend"
            run "$asan/$name"
        done
        echo "--> AddressSanitizer web GORT_BACKEND=$backend"
        run python3 web/load.py "$asan/web" pool 8 8
    done
    unset GORT_BACKEND GORT_PROCS
}

for name in "$@"; do
    if [ "$name" = memcheck ] || [ "$name" = asan ]; then
        "$name"
        continue
    fi
    mk "$name"
    for backend in goroutines threads; do
        for procs in 1 2; do
            echo "--> $name GORT_BACKEND=$backend GORT_PROCS=$procs"
            GORT_BACKEND=$backend GORT_PROCS=$procs host "$name"
        done
    done
    echo "--> $name GORT_CHAOS=1"
    GORT_CHAOS=1 GORT_PROCS=2 host "$name"
    if [ "$name" = static ]; then
        echo "--> wholly static"
        mk wholly-static
        run "$programs/wholly-static"
    fi
done
echo "ci/hosts.sh: all passed in $SECONDS s"
