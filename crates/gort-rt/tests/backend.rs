//! What carries goroutines where the program does not say: the environment's choice, else the target's.

use gort_rt::{thread, Backend};

#[test]
fn the_environment_or_the_target_chooses() {
    let asked = std::env::var("GORT_BACKEND").ok().filter(|value| !value.is_empty());
    let expected = match asked.as_deref() {
        Some("threads") => Backend::Threads,
        Some("goroutines") => Backend::Goroutines,
        // Goroutines' own thread-local storage needs names of a C library that the loader has loaded; on Windows, keys.
        _ if cfg!(target_feature = "crt-static") => Backend::Threads,
        _ if cfg!(all(windows, not(target_env = "gnu"))) => Backend::Threads,
        _ => Backend::Goroutines,
    };
    assert_eq!(gort_rt::backend().unwrap(), expected);
    let name = thread::Builder::new().name("of its own".into()).spawn(kernels_name).unwrap().join().unwrap();
    assert_eq!(name == "of its own", expected == Backend::Threads, "{name:?}");
    assert_eq!(gort_rt::backend().unwrap(), expected);
}

/// The name that the kernel has for the calling thread.
#[cfg(target_os = "linux")]
fn kernels_name() -> String {
    std::fs::read_to_string("/proc/thread-self/comm").unwrap().trim_end().to_owned()
}

/// The name that the system has for the calling thread.
#[cfg(windows)]
fn kernels_name() -> String {
    use windows_sys::Win32::Foundation::LocalFree;
    use windows_sys::Win32::System::Threading::{GetCurrentThread, GetThreadDescription};
    let mut text = std::ptr::null_mut();
    // SAFETY: the system allocates a text that ends with a zero, for us to free.
    unsafe {
        assert!(GetThreadDescription(GetCurrentThread(), &raw mut text) >= 0);
        let units: Vec<u16> = (0..).map(|i| *text.add(i)).take_while(|&unit| unit != 0).collect();
        LocalFree(text.cast());
        String::from_utf16(&units).unwrap()
    }
}
