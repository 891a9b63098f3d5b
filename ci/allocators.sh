#!/usr/bin/env bash
# ci/allocators.sh
#
# Prints the figures of docs/allocators.md: what glibc's malloc, jemalloc and mimalloc cost when threads are goroutines, the last
# two with and without gort::alloc::PerThread. By hand, on a machine that has nothing else to do: it takes about three minutes
# once built, and up to 6 GiB of memory. What is expected to take more is left out; GORT_HEAPS_LIMIT is another limit, in MiB.
set -euo pipefail
cd "$(dirname "$0")/../world"

allocators=(glibc jemalloc jemalloc_per_thread mimalloc mimalloc_per_thread)
cargo build --locked --release "${allocators[@]/#/--example=heaps_}"
for allocator in "${allocators[@]}"; do
    "${CARGO_TARGET_DIR:-target}/release/examples/heaps_$allocator"
done
