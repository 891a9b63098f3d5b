#!/usr/bin/env bash
# ci/aarch64.sh [all | ARGUMENT OF cargo test...]
#
# The runtime, the hooks and the scenarios on AArch64: cross-compiled, then run under qemu-user. Needs Debian 12; installs a
# cross compiler and qemu with apt-get. Where the installed Rust toolchain has no std for the target (`rustup target add
# aarch64-unknown-linux-gnu`), Debian's own compiler and its std for arm64 are unpacked below target/aarch64, and the system is
# left as it is.
#
#   ci/aarch64.sh                                 the unit tests, and the scenarios that have to do with the processor
#   ci/aarch64.sh all                             every scenario that can run there
#   ci/aarch64.sh -p gort-tests --test callbacks  one subject
#   GORT_AARCH64_RUNNER=PROGRAM ci/aarch64.sh     another program in place of qemu-aarch64
#
# qemu translates to this machine's instructions with all its fences, so a fence that is missing on AArch64 does not show here.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
work=${CARGO_TARGET_DIR:-target}/aarch64
mkdir -p "$work"
work=$(cd "$work" && pwd)

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

missing=()
for package in qemu-user gcc-aarch64-linux-gnu g++-aarch64-linux-gnu; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if ((${#missing[@]})); then
    echo "--> installing ${missing[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

# Scenarios start further processes of their own program, so the kernel must know what to run such programs with.
binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || as_root mount -t binfmt_misc binfmt_misc $binfmt
if [ ! -e $binfmt/qemu-aarch64 ]; then
    magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    echo ":qemu-aarch64:M::$magic:$mask:/usr/bin/qemu-aarch64:OC" | as_root tee $binfmt/register >/dev/null
fi

# apt-get with lists and a cache of its own, which knows packages of both architectures.
apt_apart() {
    local tool=$1 dir=$work/apt
    shift
    mkdir -p "$dir"/state/lists/partial "$dir"/cache/archives/partial
    : >"$dir/status"
    "$tool" -q -o Dir::State="$dir/state" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" \
        -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 \
        -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

# The first package that a package depends on whose name matches a pattern.
depends_on() {
    apt_apart apt-cache show --no-all-versions "$1" | grep '^Depends:' | grep -o "$2"
}

# Debian's rustc with its std for this machine and for the target, unpacked side by side.
unpack_rust() {
    local packages library llvm
    apt_apart apt-get update
    # Of what the compiler depends on only its own libraries: the rest is on every system.
    library=$(depends_on libstd-rust-web-dev 'libstd-rust-web-[0-9.]*[0-9]')
    llvm=$(depends_on "$library" 'libllvm[0-9]*')
    packages=(rustc-web libstd-rust-web-dev "$library" "$llvm" libstd-rust-web-dev:arm64)
    rm -rf "$work/debs" "$work/rust.part"
    mkdir -p "$work/debs" "$work/rust.part"
    echo "--> unpacking ${packages[*]}"
    (cd "$work/debs" && apt_apart apt-get download "${packages[@]}")
    for package in "$work"/debs/*.deb; do
        dpkg-deb --extract "$package" "$work/rust.part"
    done
    rm -rf "$work/debs" "$work/apt"
    mv "$work/rust.part" "$work/rust"
}

if ! ls "$(rustc --print target-libdir --target $target)"/libstd-*.rlib >/dev/null 2>&1; then
    [ -d "$work/rust" ] || unpack_rust
    cat >"$work/rustc" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH=$work/rust/usr/lib/x86_64-linux-gnu
exec $work/rust/usr/bin/rustc --sysroot $work/rust/usr "\$@"
EOF
    chmod +x "$work/rustc"
    export RUSTC=$work/rustc
fi

export CARGO_TARGET_DIR=$work/target
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=${GORT_AARCH64_RUNNER:-qemu-aarch64}
export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
# Some tests compile libraries when they run.
export CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++
# Translated code is slow.
export GORT_TEST_LIMIT=${GORT_TEST_LIMIT:-300}

# What qemu-user 7.2 cannot do, by the tests that need it.
skipped=(
    # It has no seccomp filters (so the targets shortage and system_calls are left out as well),
    an_old_kernel_gets_guards_by_mprotect
    # takes no notice of a limit of address space,
    scarce_address_space_is_used_up_then_reported
    # and makes /proc/self/stat up, in which it has one thread.
    a_thread_runs_under_its_name
    a_dead_lock_is_reported_once
    # Translated code holds a bucket of the futex table for so long that its holder may be preempted; a waker then leaves the
    # waking to the holder, who wakes everybody and counts nobody.
    a_wake_counts_each_waiter_once
    a_bitset_wakes_those_that_match
    # Without markers, guards take mappings, and each takes its time.
    a_thousand_and_twenty_four_ps_work
    a_hundred_thousand_at_once
    an_overflow_is_reported_with_name_and_size
    guards_that_run_out_are_an_error_of_spawn
    # It dies when a forked child makes threads, loses the error of a posix_spawn, and reads with a bad address.
    fork_works_from_anywhere
    a_fork_amid_wakes_leaves_no_lock_behind
    a_forked_child_wakes_its_own_waiters_only
    a_forked_childs_threads_are_real
    what_children_leave
    bad_arguments
    # It has no epoll_pwait2, and keeps the two signals of the highest numbers to itself.
    with_a_signal_mask
    all_are_blocked_for_a_while
    # The process's memory is its own as well.
    a_tree_takes_stacks_for_its_depth_only
    no_memory_is_lost_over_many_lives
    a_burst_gives_its_memory_back
    twelve_thousand_threads_in_turn_leave_nothing
    # Thousands of goroutines that begin within two seconds; a limit in nanoseconds.
    sleepers_wake_in_order_of_their_deadlines
    a_callback_costs_no_more_than_elsewhere
)

# Scenarios about the switch, stacks, thread-local storage, unwinding, C's calling conventions, and fences.
near=(
    alloc_per_thread blocking callbacks config extra_ms fibers is_a_thread libraries lock_thread main_thread mixed_waiters
    nested overflow panics parking pthread_results pthreads std_sync std_threads system_stack thread_api thread_exit
    zero_tls
)

run() {
    cargo test --locked --no-fail-fast --target "$target" "$@" -- "${skipped[@]/#/--skip=}"
}

case "${1:-}" in
'')
    run -p gort-rt -p gort-interpose --lib
    run -p gort-tests "${near[@]/#/--test=}"
    # The same on a processor without atomic instructions (LSE), where each becomes a loop.
    QEMU_CPU=cortex-a53 run -p gort-rt --lib
    ;;
all)
    tests=()
    for file in tests/tests/*.rs; do
        name=$(basename "$file" .rs)
        case $name in
        shortage | system_calls | valgrind) ;;
        *) tests+=("--test=$name") ;;
        esac
    done
    run -p gort-rt -p gort-interpose --lib
    run -p gort-tests "${tests[@]}"
    ;;
*) run "$@" ;;
esac
