//! A library with a runtime of its own that a host loads and unloads.

use gort_tests::cthreads::CThread;
use gort_tests::subprocess::{is_child, Rerun};
use std::ffi::CString;
use std::mem::transmute;
use std::path::PathBuf;
use std::sync::{mpsc, Mutex, MutexGuard};
use windows_sys::Win32::Foundation::{FreeLibrary, HMODULE};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress, LoadLibraryA};

/// All tests load the same library: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

fn one_at_a_time() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const NAME: &str = "gort_tests_windows_plugin.dll";

/// The library, as often as it was loaded.
#[derive(Clone, Copy)]
struct Plugin(HMODULE);

// SAFETY: a handle is the process's.
unsafe impl Send for Plugin {}

impl Plugin {
    fn load() -> Plugin {
        let path: PathBuf = std::env::current_exe().unwrap().with_file_name(NAME);
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the library is ours, and runs nothing when it is loaded that this test would mind.
        let library = unsafe { LoadLibraryA(path.as_ptr().cast()) };
        assert!(!library.is_null(), "{path:?}: {}", std::io::Error::last_os_error());
        Plugin(library)
    }

    /// Calls a function of the library's.
    fn call(self, name: &str, argument: i64) -> i64 {
        let name = CString::new(name).unwrap();
        // SAFETY: the library is loaded, and all its functions are of this type.
        unsafe {
            let function = GetProcAddress(self.0, name.as_ptr().cast()).expect("it exports that");
            transmute::<unsafe extern "system" fn() -> isize, extern "C" fn(i64) -> i64>(function)(argument)
        }
    }

    fn free(self) {
        // SAFETY: the tests free it as often as they have loaded it.
        assert_ne!(unsafe { FreeLibrary(self.0) }, 0);
    }
}

fn is_loaded() -> bool {
    let name = CString::new(NAME).unwrap();
    // SAFETY: a text with an end.
    unsafe { !GetModuleHandleA(name.as_ptr().cast()).is_null() }
}

/// A C thread that calls in, and lives until it is told to end.
fn bound(plugin: Plugin) -> (CThread<()>, mpsc::Sender<()>) {
    let (called, has_called) = mpsc::channel();
    let (end, ends) = mpsc::channel();
    let thread = CThread::spawn(move || {
        let plugin = plugin;
        assert_eq!(plugin.call("plugin_callback", 5), 5);
        called.send(()).unwrap();
        ends.recv().unwrap();
    });
    has_called.recv().unwrap();
    (thread, end)
}

#[test]
fn a_library_goes_while_threads_live_that_have_called_in() {
    let _one = one_at_a_time();
    for _ in 0..3 {
        let plugin = Plugin::load();
        assert_eq!(plugin.call("plugin_bound", 0), 0, "a new life");
        let (thread, end) = bound(plugin);
        assert_eq!(plugin.call("plugin_work", 20), 190);
        assert_eq!(plugin.call("plugin_bound", 0), 2, "that thread, and this one");
        assert_eq!(plugin.call("plugin_shutdown", 10_000), 0);
        plugin.free();
        assert!(!is_loaded());
        end.send(()).unwrap();
        thread.join(); // its end runs nothing of the library's
    }
}

#[test]
fn a_library_stays_while_its_runtime_runs() {
    let _one = one_at_a_time();
    let plugin = Plugin::load();
    assert_eq!(plugin.call("plugin_start", 0), 0);
    plugin.free();
    assert!(is_loaded(), "pinned");
    assert_eq!(plugin.call("plugin_work", 10), 45);
    // As a host does: it opens the library once more to end its runtime.
    let again = Plugin::load();
    assert_eq!(again.call("plugin_shutdown", 10_000), 0);
    assert_eq!(again.call("plugin_callback", 5), -1, "shut");
    again.free();
    assert!(!is_loaded());
}

#[test]
fn a_library_that_was_called_and_never_started_goes() {
    let _one = one_at_a_time();
    let plugin = Plugin::load();
    let (thread, end) = bound(plugin);
    plugin.free();
    assert!(!is_loaded());
    end.send(()).unwrap();
    thread.join();
}

#[test]
fn an_exit_of_the_process_is_no_unloading() {
    if is_child() {
        assert_eq!(Plugin::load().call("plugin_start", 0), 0);
        return; // as hosts do that end with all they have loaded
    }
    Rerun::of("an_exit_of_the_process_is_no_unloading", "ends").run().success().does_not_say("gort:");
}

#[test]
fn two_copies_do_not_meet() {
    let _one = one_at_a_time();
    let plugin = Plugin::load();
    let ours = gort::stats().extra_ms_in_use;
    assert_eq!(plugin.call("plugin_callback", 5), 5);
    assert_eq!(gort::stats().extra_ms_in_use, ours, "the library's runtime is another than the program's");
    assert_eq!(gort::ffi::callback(|| plugin.call("plugin_callback", 6)), 6);
    assert_eq!(plugin.call("plugin_bound", 0), 1);
    plugin.free();
    assert!(!is_loaded());
}
