//! jemalloc as the global allocator, with a cache for each goroutine that allocates.

use gort_world::churn::{self, churn};
use gort_world::crowd::Watch;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[test]
fn hard_work() {
    let watch = Watch::start("jemalloc");
    churn();
    watch.at_most(churn::THREADS);
}
