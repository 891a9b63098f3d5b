//! mimalloc as the global allocator, with a heap for each goroutine that allocates.

use gort_world::churn::{self, churn};
use gort_world::crowd::Watch;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[test]
fn hard_work() {
    let watch = Watch::start("mimalloc");
    churn();
    watch.at_most(churn::THREADS);
}
