//! Goroutines and mimalloc: see `gort_world::heaps`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    gort_world::heaps::main("mimalloc")
}
