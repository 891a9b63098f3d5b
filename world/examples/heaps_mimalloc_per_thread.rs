//! Goroutines and mimalloc in `PerThread`: see `gort_world::heaps`.

use gort::alloc::PerThread;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: PerThread<MiMalloc> = PerThread::new(MiMalloc);

fn main() -> std::process::ExitCode {
    gort_world::heaps::main("PerThread<mimalloc>")
}
