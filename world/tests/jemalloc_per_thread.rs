//! jemalloc as the global allocator, with a cache for each kernel thread.

use gort::alloc::PerThread;
use gort_world::churn::{self, churn};
use gort_world::crowd::Watch;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: PerThread<Jemalloc> = PerThread::new(Jemalloc);

#[test]
fn hard_work() {
    let watch = Watch::start("jemalloc, per kernel thread");
    churn();
    watch.at_most(churn::THREADS);
}
