#!/usr/bin/env bash
# ci/glibc.sh [RELEASE...]
#
# The runtime's unit tests, the hooks' and the scenarios under other releases of glibc, each by its own loader: Debian's
# bullseye (2.31), trixie (2.41), and the newest that Debian has, which is in experimental or else in sid; or the releases of
# Debian that are named. Their packages are unpacked below target/glibc; the system is left as it is.
#
# One build serves for all. It is made against the oldest, since a program runs with the glibc that it was linked with and with
# later ones. It names its loader and its libraries by a link, target/glibc/current, which leads to one release after the other.
#
#   ci/glibc.sh                    bullseye, trixie and the newest; about five minutes each
#   ci/glibc.sh bullseye newest    two of them
#   ci/glibc.sh sid                one release
#   GORT_GLIBC_FILTER=dlopen ci/glibc.sh trixie   only tests whose name contains this
set -euo pipefail
cd "$(dirname "$0")/.."
oldest=bullseye

target=x86_64-unknown-linux-gnu
work=${CARGO_TARGET_DIR:-target}/glibc
mkdir -p "$work"
work=$(cd "$work" && pwd)
libraries=lib/x86_64-linux-gnu

# The archive from which this machine has its own packages.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/$')

# apt_of RELEASE TOOL [ARGUMENT...]: apt-get or apt-cache with lists and a cache of that release's own.
apt_of() {
    local dir=$work/apt/$1 tool=$2
    shift 2
    "$tool" -q -o Dir::State="$dir/state" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" \
        -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root \
        -o Acquire::Retries=3 -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

# unpack RELEASE [PACKAGE...]: libc and the compiler's libraries of a release, and other packages. Fails if it has no libc.
unpack() {
    local release=$1 dir=$work/apt/$1 suite
    shift
    local to=$work/$release
    if [ -e "$to/unpacked" ]; then return; fi
    mkdir -p "$dir"/state/lists/partial "$dir"/cache/archives/partial "$dir/packages"
    : >"$dir/status"
    # experimental has only what differs from sid.
    local suites=("$release")
    if [ "$release" = experimental ]; then suites=(sid experimental); fi
    for suite in "${suites[@]}"; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done >"$dir/sources.list"
    apt_of "$release" apt-get update >"$dir/log" 2>&1 || return 1
    if [ "$release" = experimental ]; then
        apt_of "$release" apt-cache madison libc6 | grep -q 'experimental/main' || return 1
    fi
    (
        cd "$dir/packages"
        rm -f ./*.deb
        apt_of "$release" apt-get download "libc6/$release" libgcc-s1 libstdc++6 "$@"
    ) >>"$dir/log" 2>&1 || return 1
    rm -rf "$to"
    mkdir -p "$to/root" "$to/lib"
    for package in "$dir"/packages/*.deb; do dpkg-deb -x "$package" "$to/root"; done
    find "$to/root" -path "*/$libraries/*.so*" -not -path '*/gconv/*' -not -path '*/audit/*' -exec cp -P {} "$to/lib" \;
    rm -rf "$dir"
    touch "$to/unpacked"
}

need() {
    if ! unpack "$@"; then
        cat "$work/apt/$1/log" >&2
        echo "ci/glibc.sh: no glibc of $1 to be had" >&2
        exit 1
    fi
}

echo "--> glibc of $oldest, to link with"
need "$oldest" libc6-dev linux-libc-dev libcrypt-dev libstdc++-10-dev
sysroot=$work/$oldest/root
# Links that begin at the root of a system lead into this machine's own; those that were mended before do not.
find "$sysroot" -type l -lname '/*' -not -lname "$sysroot/*" | while read -r link; do ln -sfn "$sysroot$(readlink "$link")" "$link"; done
ln -sfn "../../../lib/x86_64-linux-gnu/libgcc_s.so.1" "$sysroot/usr/$libraries/libgcc_s.so"

if [ $# = 0 ]; then set -- "$oldest" trixie newest; fi
releases=()
for release in "$@"; do
    if [ "$release" = newest ]; then
        release=sid
        if unpack experimental; then release=experimental; fi
    fi
    releases+=("$release")
done
for release in "${releases[@]}"; do need "$release"; done

current=$work/current
own_loader=-Wl,--dynamic-linker=$current/ld-linux-x86-64.so.2,-rpath,$current,--disable-new-dtags

# What tests compile while they run must do for the oldest too, and be loaded by the same loader.
compiler=$work/cc
cat >"$compiler" <<SH
#!/bin/sh
exec cc --sysroot="$sysroot" -B"$sysroot/usr/$libraries" -L"$sysroot/usr/$libraries" "$own_loader" "\$@"
SH
chmod +x "$compiler"

echo "--> building"
link=(-L "native=$sysroot/usr/$libraries" -L "native=$sysroot/usr/lib/gcc/x86_64-linux-gnu/10"
    -C "link-arg=--sysroot=$sysroot" -C "link-arg=-B$sysroot/usr/$libraries"
    -C "link-arg=$own_loader")
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="${link[*]}"
export CFLAGS_x86_64_unknown_linux_gnu="--sysroot=$sysroot"
cpp=$sysroot/usr/include
export CXXFLAGS_x86_64_unknown_linux_gnu="--sysroot=$sysroot -isystem $cpp/c++/10 -isystem $cpp/x86_64-linux-gnu/c++/10"
export CARGO_PROFILE_DEV_DEBUG=0
export CARGO_TARGET_DIR=$work/target
cargo test --locked --target $target -p gort-rt -p gort-interpose -p gort-tests --lib --tests --no-run \
    --message-format=json >"$work/build.json"
programs=$(python3 - "$work/build.json" <<'PYTHON'
import json, os, sys
for line in open(sys.argv[1]):
    message = json.loads(line)
    # Programs without tests come along; valgrind insists on knowing its loader.
    if message.get("executable") and message["profile"]["test"] and message["target"]["kind"] != ["bin"]:
        if message["target"]["name"] != "valgrind":
            print(os.path.dirname(message["manifest_path"]), message["executable"])
PYTHON
)
needed=$(cut -d ' ' -f 2 <<<"$programs" | xargs -n 1 objdump -T | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
echo "    the programs need $needed"

failed=0
for release in "${releases[@]}"; do
    ln -sfn "$release/lib" "$current"
    version=$("$current/ld-linux-x86-64.so.2" "$current/libc.so.6" | head -n 1)
    echo "--> $release: $version"
    start=$SECONDS count=0
    while read -r dir program; do
        status=0
        log=$work/log
        (cd "$dir" && CC=$compiler timeout --kill-after=10 300 "$program" -q ${GORT_GLIBC_FILTER:+"$GORT_GLIBC_FILTER"}) \
            >"$log" 2>&1 </dev/null || status=$?
        if ((status != 0)); then
            cat "$log" >&2
            echo "ci/glibc.sh: status $status under $release; again: cd $dir && ln -sfn $release/lib $current && $program" >&2
            failed=1
        else
            passed=$(grep -o '[0-9]* passed' "$log" | tail -n 1)
            count=$((count + ${passed% passed}))
        fi
    done <<<"$programs"
    echo "    $count tests passed in $((SECONDS - start)) s"
    if ((count == 0)); then failed=1; fi
done
if ((failed)); then exit 1; fi
echo "ci/glibc.sh: all passed in $SECONDS s"
