//! What carries goroutines where the program does not say: the environment's choice, else the target's.

use gort_rt::{thread, Backend};

#[test]
fn the_environment_or_the_target_chooses() {
    let asked = std::env::var("GORT_BACKEND").ok().filter(|value| !value.is_empty());
    let expected = match asked.as_deref() {
        Some("threads") => Backend::Threads,
        Some("goroutines") => Backend::Goroutines,
        // Goroutines' own thread-local storage needs names of a C library that the loader has loaded.
        _ if cfg!(target_feature = "crt-static") => Backend::Threads,
        _ => Backend::Goroutines,
    };
    assert_eq!(gort_rt::backend().unwrap(), expected);
    let native = || std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    let name = thread::Builder::new().name("of its own".into()).spawn(native).unwrap().join().unwrap();
    assert_eq!(name == "of its own\n", expected == Backend::Threads, "{name:?}");
    assert_eq!(gort_rt::backend().unwrap(), expected);
}
