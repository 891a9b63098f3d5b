// What the plug-ins export to a C host. `gort` is the runtime of the library that includes this: with hooks or without.

use std::cell::RefCell;
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// Starts the runtime. 0, or -1 if it runs, or is started or ended by another thread.
#[no_mangle]
pub extern "C" fn plugin_start() -> c_int {
    gort::Config::new().start().map_or(-1, |()| 0)
}

/// Ends the runtime, with patience in milliseconds. 0, or -1 if it could not be ended.
#[no_mangle]
pub extern "C" fn plugin_shutdown(patience: c_uint) -> c_int {
    gort::shutdown(Duration::from_millis(patience.into())).map_or(-1, |()| 0)
}

thread_local! {
    /// A variable of each goroutine's with a destructor, which libc counts for the library.
    static SEEN: RefCell<Vec<c_long>> = const { RefCell::new(Vec::new()) };
}

/// Adds up 0 .. n on n goroutines that yield, sleep, and have thread-local variables. -1 if a spawn or the callback fails.
#[no_mangle]
pub extern "C" fn plugin_work(n: c_long) -> c_long {
    sum(n, |i| {
        SEEN.with_borrow_mut(|seen| seen.push(i));
        pause(i);
        SEEN.with_borrow(|seen| seen.iter().sum::<c_long>())
    })
}

/// The same without variables with destructors, for which libc takes the loader's lock.
#[no_mangle]
pub extern "C" fn plugin_plain_work(n: c_long) -> c_long {
    sum(n, |i| {
        pause(i);
        i
    })
}

fn pause(i: c_long) {
    gort::thread::yield_now();
    if i % 4 == 0 {
        gort::thread::sleep(Duration::from_micros(50));
    }
}

fn sum(n: c_long, one: impl Fn(c_long) -> c_long + Send + Copy + 'static) -> c_long {
    let work = || {
        let spawned: Result<Vec<_>, _> = (0..n).map(|i| gort::thread::Builder::new().spawn(move || one(i))).collect();
        spawned.map_or(-1, |all| all.into_iter().map(|one| one.join().unwrap_or(-1)).sum())
    };
    gort::ffi::callback_or(work, || -1)
}

/// Waits on a goroutine until the descriptor can be read. 0, or -1.
#[no_mangle]
pub extern "C" fn plugin_await(descriptor: c_int) -> c_int {
    // SAFETY: the host keeps it open meanwhile.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let wait = move || gort::io::wait_readable(descriptor, None).map_or(-1, |_| 0);
    let work = || gort::thread::Builder::new().spawn(wait).map_or(-1, |one| one.join().unwrap_or(-1));
    gort::ffi::callback_or(work, || -1)
}

/// A callback that needs no goroutine: returns its argument, or -1 if it is not let in.
#[no_mangle]
pub extern "C" fn plugin_callback(value: c_long) -> c_long {
    gort::ffi::callback_or(|| value, || -1)
}

/// A host's function, with its argument.
type Function = extern "C" fn(*mut c_void) -> c_long;

/// Calls `f(argument)` on a goroutine and returns what it returns, or -1.
#[no_mangle]
pub extern "C" fn plugin_on_goroutine(f: Function, argument: *mut c_void) -> c_long {
    let argument = argument as usize;
    let call = move || f(argument as *mut c_void);
    let work = || gort::thread::Builder::new().spawn(call).map_or(-1, |one| one.join().unwrap_or(-1));
    gort::ffi::callback_or(work, || -1)
}

static HELD: AtomicBool = AtomicBool::new(false);

/// Makes a goroutine that calls `f(argument)` again and again until [`plugin_release`].
#[no_mangle]
pub extern "C" fn plugin_hold(f: Function, argument: *mut c_void) -> c_int {
    HELD.store(true, SeqCst);
    let argument = argument as usize;
    let repeat = move || {
        while HELD.load(SeqCst) {
            f(argument as *mut c_void);
            gort::thread::sleep(Duration::from_micros(100));
        }
    };
    gort::thread::Builder::new().spawn(repeat).map_or(-1, |_| 0)
}

/// Ends the goroutine of [`plugin_hold`].
#[no_mangle]
pub extern "C" fn plugin_release() {
    HELD.store(false, SeqCst);
}

/// Threads that have called in and have not ended.
#[no_mangle]
pub extern "C" fn plugin_bound() -> c_long {
    gort::stats().extra_ms_in_use as c_long
}

/// Uses what std itself keeps for a thread that it did not make.
#[no_mangle]
pub extern "C" fn plugin_current_thread() -> c_int {
    c_int::from(std::thread::current().name().is_some())
}

/// The library's constructor calls the host's function whose address is in the environment, with the functions by
/// which it may start the runtime and call in.
extern "C" fn constructor() {
    type In = extern "C" fn(c_long) -> c_long;
    type Host = extern "C" fn(extern "C" fn() -> c_int, In, In);
    if let Some(address) = std::env::var("GORT_TEST_CONSTRUCTOR").ok().and_then(|text| text.parse::<usize>().ok()) {
        // SAFETY: the host has put the address of such a function there.
        let host = unsafe { std::mem::transmute::<usize, Host>(address) };
        host(plugin_start, plugin_plain_work, plugin_callback);
    }
}

#[used]
#[link_section = ".init_array"]
static CONSTRUCTOR: extern "C" fn() = constructor;
