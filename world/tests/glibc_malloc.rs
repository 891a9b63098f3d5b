//! glibc's malloc as the global allocator, with a cache for each goroutine that allocates.

use gort_world::churn::{self, churn};
use gort_world::crowd::Watch;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: System = System;

/// Row T-04.
#[test]
fn hard_work() {
    let watch = Watch::start("glibc's malloc");
    churn();
    watch.at_most(churn::THREADS);
}
