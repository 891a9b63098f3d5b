//! Goroutines and jemalloc: see `gort_world::heaps`.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    gort_world::heaps::main("jemalloc")
}
