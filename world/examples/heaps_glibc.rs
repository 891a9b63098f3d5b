//! Goroutines and glibc's malloc: see `gort_world::heaps`.

#[global_allocator]
static ALLOCATOR: std::alloc::System = std::alloc::System;

fn main() -> std::process::ExitCode {
    gort_world::heaps::main("glibc")
}
