#!/usr/bin/env bash
# ci/windows.sh [ARGUMENT OF cargo test...]
#
# The runtime on Windows: cross-compiled, then run under Wine. Needs Debian 12 and a Rust toolchain. Installs the mingw compiler
# with apt-get; everything else is unpacked below target/windows, and the system is left as it is, but for the one path that is
# compiled into wineserver, /usr/share/wine/nls, which becomes a link:
#
#   toolchain   the installed one, hard-linked, with std for the target built from Debian's rust-src of exactly its version;
#               not where the installed one has std for the target already (`rustup target add`)
#   wine        Wine 10 from Debian 13, on that release's own libc: Wine 8 of Debian 12 lacks bcryptprimitives.dll, which std needs
#   wineprefix  what Wine takes for the disk of its machine
#
#   ci/windows.sh                             everything that is known to work there
#   ci/windows.sh -p gort-rt --lib futex      one subject
#   ci/windows.sh capi                        the library for C and its programs
#   ci/windows.sh tour                        the tour, and the measurements with tiny counts
#   ci/windows.sh --manifest-path tests/windows/Cargo.toml --test panics
#   ci/windows.sh env                         writes what to source before calling cargo oneself, and says where
#   GORT_WINDOWS_CACHE=DIR ci/windows.sh      keeps std's sources and what is built of them there
#   GORT_WINDOWS_TARGET=TRIPLE ci/windows.sh  another target than x86_64-pc-windows-gnu; see prepare_target
#
# What Wine does not show: whether the asymmetric fence holds (FlushProcessWriteBuffers does nothing there, so the runtime makes
# real fences), what anything costs, and what Windows' own C runtime does.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${GORT_WINDOWS_TARGET:-x86_64-pc-windows-gnu}
work=${CARGO_TARGET_DIR:-target}/windows
mkdir -p "$work"
work=$(cd "$work" && pwd)
cache=${GORT_WINDOWS_CACHE:-$work/cache}
mkdir -p "$cache"
exec 9>"$work/lock"
flock 9

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

missing=()
for package in gcc gcc-mingw-w64-x86-64-win32 patchelf pkg-config xz-utils zstd; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if ((${#missing[@]})); then
    echo "--> installing ${missing[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

# The archive from which this machine has its own packages.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/$')

# apt_of "SUITE..." TOOL [ARGUMENT...]: apt-get or apt-cache with lists and a cache of those suites' own.
apt_of() {
    local suites=$1 tool=$2 dir=$work/apt/${1// /+} suite
    shift 2
    local options=(-q -o Dir::State="$dir/state" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache"
        -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root
        -o Acquire::Retries=3 -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
    if [ ! -e "$dir/updated" ]; then
        mkdir -p "$dir"/state/lists/partial "$dir"/cache/archives/partial
        : >"$dir/status"
        for suite in $suites; do
            echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
        done >"$dir/sources.list"
        apt-get "${options[@]}" update >&2
        touch "$dir/updated"
    fi
    "$tool" "${options[@]}" "$@"
}

# unpack TO "SUITE..." PACKAGE...: the packages' files; no script of theirs is run.
unpack() {
    local to=$1 suites=$2 package
    shift 2
    echo "--> unpacking $*"
    rm -rf "$to" "$to.debs"
    mkdir -p "$to" "$to.debs"
    (cd "$to.debs" && apt_of "$suites" apt-get download "$@")
    for package in "$to.debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" |
            tar -x -C "$to" --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='*/i386-windows/*'
    done
    rm -rf "$to.debs"
}

# ------------------------------------------------------------------------------------------------------------------ std
version=$(rustc -vV | sed -n 's/^release: //p')
hash=$(rustc -vV | sed -n 's/^commit-hash: //p')
toolchain=$work/toolchain-$version
library=$toolchain/lib/rustlib/src/rust/library

# A copy of the installed toolchain, with std's sources.
copy_toolchain() {
    [ ! -e "$toolchain/complete" ] || return 0
    local suites='trixie-backports forky sid' sources=$cache/library-$version.tar.zst package from part
    if [ ! -e "$sources" ]; then
        package=$(apt_of "$suites" apt-cache madison rust-src | tr -d ' ' | cut -d'|' -f2 | grep -F -m 1 "$version+" || :)
        if [ -z "$package" ]; then
            echo "ci/windows.sh: Debian has no sources of std $version; 'rustup target add $target' makes them unnecessary" >&2
            exit 1
        fi
        unpack "$work/rust-src" "$suites" "rust-src=$package"
        tar -C "$work/rust-src/usr/src/rustc-$version" --zstd -cf "$sources.part" library
        mv "$sources.part" "$sources"
        rm -rf "$work/rust-src"
    fi
    from=$(rustc --print sysroot)
    rm -rf "$toolchain"
    mkdir -p "$toolchain"
    for part in bin lib libexec; do
        [ -d "$from/$part" ] || continue
        cp -al "$from/$part" "$toolchain/" 2>/dev/null || cp -a "$from/$part" "$toolchain/"
    done
    rm -rf "$toolchain/lib/rustlib/src"
    mkdir -p "$toolchain/lib/rustlib/src/rust"
    tar -C "$toolchain/lib/rustlib/src/rust" --zstd -xf "$sources"
    # No std.dll: nothing to link.
    sed -i 's/^crate-type = \["dylib", "rlib"\]/crate-type = ["rlib"]/' "$library/std/Cargo.toml"
    touch "$toolchain/complete"
}

# std for the target, in the copy: built as the official one is, of the package `sysroot`.
build_std() {
    local lib=$toolchain/lib/rustlib/$target/lib built=$cache/std-$version-${hash:0:12}-$target.tar.zst object
    [ ! -e "$lib/complete" ] || return 0
    if [ ! -e "$built" ]; then
        echo "--> building std for $target"
        (
            cd "$library"
            unset RUSTC_WRAPPER CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
            export PATH="$toolchain/bin:$PATH" RUSTC="$toolchain/bin/rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/std"
            export RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes -Cforce-frame-pointers=yes -Zunstable-options \
                --remap-path-prefix=$library=/rustc/$hash/library"
            "$toolchain/bin/cargo" build --quiet --release --locked --manifest-path sysroot/Cargo.toml \
                --features 'backtrace panic-unwind' --target "$target"
        )
        rm -rf "$lib"
        mkdir -p "$lib"
        cp "$work/std/$target/release/deps"/*.rlib "$lib/"
        rm -f "$lib"/libsysroot-*.rlib
        if [ "$target" = x86_64-pc-windows-gnu ]; then
            for object in rsbegin rsend; do
                RUSTC_BOOTSTRAP=1 "$toolchain/bin/rustc" --target "$target" --emit=obj -o "$lib/$object.o" \
                    "$library/rtstartup/$object.rs"
            done
        fi
        tar -C "$toolchain/lib/rustlib" --zstd -cf "$built.part" "$target/lib"
        mv "$built.part" "$built"
        rm -rf "$work/std"
    else
        tar -C "$toolchain/lib/rustlib" --zstd -xf "$built"
    fi
    touch "$lib/complete"
}

# What is not the same for all targets: the linker, and the compiler of C.
prepare_target() {
    case $target in
    x86_64-pc-windows-gnu)
        say CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
        say CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER="$work/wine-run"
        say CC_x86_64_pc_windows_gnu=x86_64-w64-mingw32-gcc
        ;;
    x86_64-pc-windows-gnullvm)
        # The linker that rustc brings (it tells by the name what arguments to pass), with mingw's C runtime.
        local lld
        lld=$(PATH="$toolchain/bin:$PATH" rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
        cat >"$work/gnullvm-ld" <<END
#!/bin/bash
gcc=\$(dirname "\$(x86_64-w64-mingw32-gcc -print-libgcc-file-name)") mingw=/usr/x86_64-w64-mingw32/lib
crt=crt2.o entry=mainCRTStartup arguments=()
for argument in "\$@"; do
    case "\$argument" in
    -lunwind) argument=-lgcc_eh ;;
    -shared | --shared | --dll | -dll) crt=dllcrt2.o entry=DllMainCRTStartup ;;
    esac
    arguments+=("\$argument")
done
exec $lld -flavor gnu -e \$entry \$mingw/\$crt \$gcc/crtbegin.o "\${arguments[@]}" -L\$gcc -L\$mingw --start-group -lgcc_eh \\
    -l:libpthread.a -lgcc -lmingw32 -lmingwex -lmoldname -lmsvcrt -ladvapi32 -lshell32 -luser32 -lkernel32 --end-group \$gcc/crtend.o
END
        chmod +x "$work/gnullvm-ld"
        say CARGO_TARGET_X86_64_PC_WINDOWS_GNULLVM_LINKER="$work/gnullvm-ld"
        say CARGO_TARGET_X86_64_PC_WINDOWS_GNULLVM_RUNNER="$work/wine-run"
        say CC_x86_64_pc_windows_gnullvm=x86_64-w64-mingw32-gcc
        say AR_x86_64_pc_windows_gnullvm=x86_64-w64-mingw32-ar
        ;;
    *)
        echo "ci/windows.sh: no linker is known for $target" >&2
        exit 1
        ;;
    esac
}

# ----------------------------------------------------------------------------------------------------------------- Wine
wine=$work/wine

# How a program is run. The server stays for a minute after the last program, and with it Wine's services: they would begin anew, and
# end, with each program that is alone.
write_runner() {
    cat >"$work/wine-run.new" <<END
#!/bin/sh
# Runs a program for Windows. WINEDEBUG=+seh,+module and so on shows what Wine does.
export WINEPREFIX=$work/wineprefix WINEDEBUG=\${WINEDEBUG--all} WINESERVER=$wine/usr/lib/wine/wineserver64
export WINEDLLOVERRIDES='mscoree=;mshtml=;winemenubuilder.exe='
unset DISPLAY WAYLAND_DISPLAY
\$WINESERVER -p60 </dev/null >/dev/null 2>&1
exec $wine/usr/lib/wine/wine64 "\$@"
END
    chmod +x "$work/wine-run.new"
    mv "$work/wine-run.new" "$work/wine-run"
}

install_wine() {
    local libraries=$wine/usr/lib/x86_64-linux-gnu program zlib
    if [ ! -e /usr/share/wine/nls ]; then
        as_root mkdir -p /usr/share/wine
        as_root ln -sfn "$wine/usr/share/wine/nls" /usr/share/wine/nls
    fi
    write_runner
    [ ! -e "$wine/complete" ] || return 0
    unpack "$wine" trixie libwine wine64 libz-mingw-w64 libc6 libunwind8 liblzma5 libgcc-s1
    # What the package's own script would do: zlib1.dll, marked as one that Wine brings.
    zlib=$wine/usr/x86_64-w64-mingw32/lib/zlib1.dll
    {
        head -c 64 "$zlib"
        printf 'Wine builtin DLL'
        head -c 16 /dev/zero
        tail -c +97 "$zlib"
    } >"$libraries/wine/x86_64-windows/zlib1.dll"
    # Two thirds of Wine are symbols.
    (cd "$libraries/wine/x86_64-windows" && ls | xargs -P 2 -n 40 x86_64-w64-mingw32-strip --strip-debug 2>/dev/null || :)
    for program in wine64 wineserver64; do
        patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$libraries" \
            "$wine/usr/lib/wine/$program"
    done
    ln -sfn wineserver64 "$wine/usr/lib/wine/wineserver"
    rm -rf "$work/wineprefix"
    "$work/wine-run" wineboot -i >"$work/wineboot.log" 2>&1 9>&-
    touch "$wine/complete"
}

# ---------------------------------------------------------------------------------------------------------------- tests
say() { printf 'export %q\n' "$1" >>"$work/env.sh"; }

: >"$work/env.sh"
if ! ls "$(rustc --print target-libdir --target "$target")"/libstd-*.rlib >/dev/null 2>&1; then
    copy_toolchain
    build_std
    echo "export PATH=$toolchain/bin:\$PATH RUSTC=$toolchain/bin/rustc RUSTDOC=$toolchain/bin/rustdoc" >>"$work/env.sh"
fi
install_wine
rm -rf "$work/apt"
prepare_target
say CARGO_TARGET_DIR="$work/target"
say CARGO_BUILD_TARGET="$target"
flock -u 9
if [ "${1:-}" = env ]; then
    echo ". $work/env.sh"
    exit
fi
. "$work/env.sh"
exec 9>&-

# Wine takes several descriptors for each thread.
ulimit -n "$(ulimit -Hn)"
export RUST_BACKTRACE=${RUST_BACKTRACE:-0}

run() {
    cargo test --locked --no-fail-fast "$@"
}

# By the scenarios that cannot be fulfilled under Wine.
skipped=(
    # Each stack takes Wine two mappings of Linux's, which allows 65,530.
    a_hundred_thousand_at_once
    # Linux's hooks; Windows' are tested in tests/windows/tests/hooks.rs.
    the_report_names_every_hook
)
# And by those for which there are too few kernel threads where each goroutine is one.
skipped_with_threads=(
    daisy_chain_of_ten_thousand
)

# suites [ARGUMENT of the test programs...]: all that runs there.
suites() {
    run -p gort-rt --lib --tests -- "$@"
    # Not gort's tests of what compiles: they call the compiler, which is no program for Windows.
    run -p gort-redirect -p gort -p gort-capi --lib --examples --test panics -- "$@"
    run --manifest-path tests/windows/Cargo.toml -- "${skipped[@]/#/--skip=}" "$@"
}

# compile_c TO LIBRARY FILE.c...: with gort, shared, or gort-static.
compile_c() {
    local to=$1 library=$2 flags
    shift 2
    flags=$(PKG_CONFIG_PATH=$work/capi/lib/pkgconfig pkg-config --cflags --libs "$library")
    [ "$library" = gort ] || flags+=' -DLINKED_STATICALLY'
    # (gcc takes what mingw's headers read by `gs` for an array at address 0.)
    # shellcheck disable=SC2086 # several words
    x86_64-w64-mingw32-gcc -std=c99 -pedantic -Wall -Wextra -Werror -Wno-array-bounds -O1 -g -D_WIN32_WINNT=0x0602 "$@" -static-libgcc \
        -o "$to" $flags -l:libpthread.a -lsynchronization
}

# The library for C, optimised and installed, and those of its programs that are not Linux' own: with the DLL and with the static
# library, with both backends, with one P and two. In the last of them the library is opened, and part of another DLL.
capi() {
    local prefix=$work/capi sources=$PWD/crates/gort-capi/tests/c library name backend procs
    rm -rf "$prefix"
    crates/gort-capi/install.sh "$prefix"
    {
        echo EXPORTS
        grep -o '\bgort_[a-z_]*(' "$prefix/include/gort.h" | tr -d '(' | sort -u
    } >"$prefix/functions.def"
    if ! x86_64-w64-mingw32-objdump -p "$prefix/bin/gort.dll" | awk '$1 == "[" && $3 ~ /^[a-z]/ { print $3 }' | sort |
        diff - <(tail -n +2 "$prefix/functions.def"); then
        echo "ci/windows.sh: gort.dll and the header do not have the same functions" >&2
        exit 1
    fi
    mv "$prefix/bin/gort.dll" "$prefix/bin/opened-gort.dll"
    compile_c "$prefix/bin/opened-gort-static.dll" gort-static -shared "$prefix/functions.def"
    cp "$prefix/bin/opened-gort.dll" "$prefix/bin/gort.dll"
    # The guide's smallest program, which ends without ending the runtime.
    awk 'inside && /^```$/ { exit } inside { print } /^```c$/ { inside = 1 }' docs/c.md >"$prefix/smallest.c"
    for library in gort gort-static; do
        compile_c "$prefix/bin/smallest.exe" $library "$prefix/smallest.c"
        [ "$("$work/wine-run" "$prefix/bin/smallest.exe" 2>&1)" = $'a goroutine greets C\r' ]
        for name in usual misuse joins parks opened; do
            compile_c "$prefix/bin/$name.exe" $library "$sources/$name.c"
            for backend in goroutines threads; do
                for procs in 1 2; do
                    echo "--> $name.c, $library, $backend, $procs"
                    GORT_BACKEND=$backend GORT_PROCS=$procs timeout 300 "$work/wine-run" "$prefix/bin/$name.exe" \
                        "Z:$prefix/bin/opened-$library.dll"
                done
            done
        done
    done
}

# The tour, and each row of the measurements with tiny counts; no figure is judged.
tour() {
    cargo run --locked --release
    GORT_BENCH_SCALE=0.01 cargo run --locked --release -p gort-bench -- run --procs 2 --rounds 1
}

everything() {
    cargo fmt --manifest-path tests/windows/Cargo.toml --check
    for package in '-p gort-rt -p gort-redirect -p gort --all-targets' '-p gort-capi --lib --test panics' \
        '-p tour -p gort-bench --bins' '--manifest-path tests/windows/Cargo.toml --all-targets'; do
        # shellcheck disable=SC2086 # several words
        cargo clippy --locked $package -- -D warnings
    done
    run -p gort-rt -p gort-redirect --doc
    for procs in 1 2; do
        GORT_PROCS=$procs suites
        GORT_PROCS=$procs GORT_CHAOS=$procs suites
    done
    GORT_BACKEND=threads suites "${skipped_with_threads[@]/#/--skip=}"
    capi
    tour
}

case ${1:-} in
'') everything ;;
capi | tour) "$1" ;;
*) run "$@" ;;
esac
