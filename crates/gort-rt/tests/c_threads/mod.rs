//! Threads on Windows that neither std nor the runtime has made, and children of a test.

#![allow(dead_code)] // each test target uses a part

use core::ffi::c_void;
use core::ptr;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use windows_sys::Win32::Foundation::{CloseHandle, HANDLE};
use windows_sys::Win32::System::Threading::{
    CreateThread, GetExitCodeThread, WaitForSingleObject, INFINITE, STACK_SIZE_PARAM_IS_A_RESERVATION,
};

/// The figures of all tests are the process's: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Until the result is dropped.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A thread that `CreateThread` has made, as C would; it runs `f` and ends.
pub struct CThread(pub HANDLE);

impl CThread {
    /// A thread with a stack of the usual size.
    pub fn start(f: impl FnOnce() + Send + 'static) -> CThread {
        CThread::with_stack(0, f)
    }

    /// A thread with so many bytes of stack; 0: the usual number.
    pub fn with_stack(bytes: usize, f: impl FnOnce() + Send + 'static) -> CThread {
        unsafe extern "system" fn run(f: *mut c_void) -> u32 {
            // SAFETY: `with_stack` passes a box of this type, once.
            let f = unsafe { Box::from_raw(f.cast::<Box<dyn FnOnce() + Send>>()) };
            f();
            123
        }
        let f: Box<Box<dyn FnOnce() + Send>> = Box::new(Box::new(f));
        let flags = STACK_SIZE_PARAM_IS_A_RESERVATION;
        // SAFETY: `run` takes the box over.
        let handle =
            unsafe { CreateThread(ptr::null(), bytes, Some(run), Box::into_raw(f).cast(), flags, ptr::null_mut()) };
        assert!(!handle.is_null());
        CThread(handle)
    }

    /// Waits for the thread's end, and says what it returned, or was ended with.
    pub fn join(self) -> u32 {
        let mut code = 0;
        // SAFETY: the handle is ours, and closed once.
        unsafe {
            assert_eq!(WaitForSingleObject(self.0, INFINITE), 0);
            assert_ne!(GetExitCodeThread(self.0, &raw mut code), 0);
            CloseHandle(self.0);
        }
        code
    }
}

/// Runs the test `name` of this program once more, as a process of its own that is told by the environment to be `child`.
pub fn child(name: &str) -> (i32, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("GORT_TEST_CHILD", name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

/// Whether this process is that child.
pub fn is_child(name: &str) -> bool {
    std::env::var("GORT_TEST_CHILD").is_ok_and(|child| child == name)
}
