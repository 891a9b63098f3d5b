//! mimalloc as the global allocator, with a heap for each kernel thread.

use gort::alloc::PerThread;
use gort_world::churn::{self, churn};
use gort_world::crowd::Watch;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: PerThread<MiMalloc> = PerThread::new(MiMalloc);

#[test]
fn hard_work() {
    let watch = Watch::start("mimalloc, per kernel thread");
    churn();
    watch.at_most(churn::THREADS);
}
