//! The own test-suites of crates that live in thread-local storage: rayon-core, `scoped-tls`, `thread_local`, tracing-core's
//! dispatcher, and `regex`. They use `std::thread`, and run here with `GORT_THREADS=1`, all on goroutines, libtest's own threads
//! included. Without further arguments they run on plain threads as well, for comparison; `--skip suites::` leaves that out.
//!
//! The files are taken from where cargo keeps the sources of dependencies; see `build.rs`.

// Other people's code, as it is.
#[allow(warnings, unsafe_op_in_unsafe_fn, missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
mod suites {
    include!(concat!(env!("OUT_DIR"), "/suites.rs"));
}

/// At least so many tests are in the suites.
const TESTS: usize = 100;

#[test]
fn all_of_them_on_goroutines() {
    gort_world::suites::all_pass(TESTS);
}
