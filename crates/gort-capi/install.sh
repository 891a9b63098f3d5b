#!/usr/bin/env bash
# crates/gort-capi/install.sh PREFIX
#
# Builds gort for C and C++ and installs it below PREFIX, an absolute path:
#
#   include/gort.h
#   lib/libgort.so, libgort.so.0, libgort.so.VERSION
#   lib/libgort.a
#   lib/pkgconfig/gort.pc          for libgort.so
#   lib/pkgconfig/gort-static.pc   for libgort.a, with the libraries that it needs
#
# For Windows (-gnu), in place of libgort.so:
#
#   bin/gort.dll
#   lib/libgort.dll.a              what programs are linked with
#
# Needs a Rust toolchain; for Windows also a dlltool, as MinGW has it. DESTDIR, if set, is put before PREFIX where files are written, as
# packagers want it. CARGO_BUILD_TARGET, if set, names another target than this machine. GORT_CAPI_PROFILE=dev builds without
# optimisation, for gort's own tests.
set -euo pipefail

prefix=${1:-}
case $prefix in
/*) prefix=${prefix%/} ;;
*)
    echo "usage: $0 PREFIX   (an absolute path)" >&2
    exit 2
    ;;
esac
cd "$(dirname "$0")"

profile=${GORT_CAPI_PROFILE:-release}
cargo build --locked --quiet --lib --profile "$profile"
metadata=$(cargo metadata --locked --format-version 1 --no-deps)
target=${CARGO_BUILD_TARGET:-}
built=$(sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p' <<<"$metadata")/${target:+$target/}${profile/#dev/debug}
version=$(sed -n 's/.*"name":"gort-capi","version":"\([^"]*\)".*/\1/p' <<<"$metadata")

root=${DESTDIR:-}$prefix
install -d "$root/include" "$root/lib/pkgconfig"
install -m 644 include/gort.h "$root/include/gort.h"
install -m 644 "$built/libgort_capi.a" "$root/lib/libgort.a"

install_so() {
    install -m 755 "$built/libgort_capi.so" "$root/lib/libgort.so.$version"
    ln -sf "libgort.so.$version" "$root/lib/libgort.so.0"
    ln -sf libgort.so.0 "$root/lib/libgort.so"
}

# The library under its own name, and what tells a linker that name.
install_dll() {
    local dlltool
    dlltool=$(command -v x86_64-w64-mingw32-dlltool || command -v dlltool)
    install -d "$root/bin"
    install -m 755 "$built/gort_capi.dll" "$root/bin/gort.dll"
    {
        echo EXPORTS
        grep -o '\bgort_[a-z_]*(' include/gort.h | tr -d '(' | sort -u
    } >"$built/gort.def"
    "$dlltool" -D gort.dll -d "$built/gort.def" -l "$root/lib/libgort.dll.a"
}

# What the static library needs rustc says by --print native-static-libs. The name with its directory, because by -lgort the linker
# would take the shared one.
case ${target:-$(rustc -vV)} in
*windows-gnu*)
    install_dll
    needs='-lntdll -luserenv -lws2_32 -ldbghelp -lkernel32'
    ;;
*)
    install_so
    needs='-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc'
    ;;
esac
package() {
    sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" -e "s|@NAME@|$1|" -e "s|@WHICH@|$2|" -e "s|@LIBS@|$3|" gort.pc.in \
        >"$root/lib/pkgconfig/$1.pc"
}
# shellcheck disable=SC2016 # pkg-config's variables
package gort shared '-L${libdir} -lgort'
# shellcheck disable=SC2016
package gort-static static "\${libdir}/libgort.a $needs"
echo "gort $version is installed in $root"
