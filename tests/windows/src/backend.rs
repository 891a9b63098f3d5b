//! Scenarios that only the scheduler can fulfil, left out since goroutines are kernel threads on Windows.

/// Whether goroutines are kernel threads in this run of the tests.
pub fn goroutines_are_threads() -> bool {
    gort::backend().is_ok_and(|backend| backend == gort::Backend::Threads)
}

/// Ends the test here where goroutines are kernel threads, and says why it has nothing to check there.
#[macro_export]
macro_rules! needs_goroutines {
    ($why:literal) => {
        if $crate::backend::goroutines_are_threads() {
            eprintln!("left out where goroutines are kernel threads: {}", $why);
            return;
        }
    };
}
