//! Goroutines and jemalloc in `PerThread`: see `gort_world::heaps`.

use gort::alloc::PerThread;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: PerThread<Jemalloc> = PerThread::new(Jemalloc);

fn main() -> std::process::ExitCode {
    gort_world::heaps::main("PerThread<jemalloc>")
}
