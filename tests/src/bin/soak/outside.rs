//! Threads of C's that call in, blocking calls, threads of their own, libraries.

use crate::toolbox::{spawn, total, Rng};
use gort::ffi::{self, callback};
use gort::thread;
use gort_tests::cthreads::{crowd, through_c, CThread};
use gort_tests::raw::{block_for, Pipe};
use std::ffi::{c_int, c_void, CString};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// What a crowd of threads shares.
struct Shared {
    calls: AtomicU64,
    lock: Mutex<u64>,
}

#[gort::callback(on_panic = -1_000_000)]
extern "C" fn call_in(arg: *mut c_void, n: u64) -> i64 {
    // SAFETY: `callbacks` passes a `Shared` that outlives the threads.
    let shared = unsafe { &*arg.cast::<Shared>() };
    shared.calls.fetch_add(1, SeqCst);
    *shared.lock.lock().unwrap() += 1;
    if n.is_multiple_of(4) {
        assert_eq!(spawn(move || n).join().unwrap(), n);
    }
    through_c(|| callback(|| 1))
}

/// Threads that come, call in, and go.
pub fn callbacks(rng: &mut Rng) {
    let (threads, calls) = (1 + rng.below(6) as u32, 1 + rng.below(30) as u64);
    let shared = Shared { calls: AtomicU64::new(0), lock: Mutex::new(0) };
    let sum = crowd(threads, call_in, &shared, calls);
    let all = u64::from(threads) * calls;
    assert_eq!((sum as u64, shared.calls.load(SeqCst), *shared.lock.lock().unwrap()), (all, all, all));
}

/// A thread of C's and one of std's that work with goroutines.
pub fn threads(rng: &mut Rng) {
    let lock = Arc::new(Mutex::new(0u64));
    let n = 1 + rng.below(50) as u64;
    let add = |lock: Arc<Mutex<u64>>| move || (0..n).for_each(|_| *lock.lock().unwrap() += 1);
    let c = CThread::spawn(add(lock.clone()));
    let std = std::thread::spawn(add(lock.clone()));
    let all: Vec<_> = (0..3).map(|_| spawn(add(lock.clone()))).collect();
    c.join();
    std.join().unwrap();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*lock.lock().unwrap(), 5 * n);
}

/// Blocking calls, declared and not, short and long, and one that others end.
pub fn blocking(rng: &mut Rng) {
    let pipe = Arc::new(Pipe::new());
    let all: Vec<_> = (0..1 + rng.below(12))
        .map(|i| {
            let (time, pipe) = (Duration::from_micros(rng.below(400) as u64), pipe.clone());
            spawn(move || {
                match i % 3 {
                    0 => ffi::blocking(|| block_for(time)),
                    1 => block_for(time),
                    _ => assert_eq!(ffi::blocking(|| pipe.read()), b'x'),
                }
                ffi::on_system_stack(|| 1)
            })
        })
        .collect();
    pipe.write(b'x', all.len() / 3);
    total(all);
}

/// A goroutine that stays on its kernel thread, and may end there.
pub fn thread_of_its_own(rng: &mut Rng) {
    let unlock = rng.below(2) == 0;
    let g = spawn(move || {
        ffi::lock_os_thread();
        let here = gort_tests::cthreads::tid();
        for _ in 0..5 {
            assert_eq!(spawn(|| 5).join().unwrap(), 5);
            thread::yield_now();
            thread::sleep(Duration::from_micros(50));
            assert_eq!(gort_tests::cthreads::tid(), here);
        }
        if unlock {
            ffi::unlock_os_thread();
        }
    });
    g.join().unwrap();
}

/// A directory that goes at the end of the process.
struct Directory(PathBuf);

static LIBRARY: OnceLock<PathBuf> = OnceLock::new();

const SOURCE: &str = "
static __thread int mine = 5;
static __thread char large[3000] = { 7 };
int step(int by) { mine += by; return mine + large[0]; }
";

/// Compiles the library that [`library`] loads.
pub fn build_library() {
    let directory = Directory(std::env::temp_dir().join(format!("gort-soak-{}", std::process::id())));
    std::fs::create_dir_all(&directory.0).unwrap();
    let (source, object) = (directory.0.join("step.c"), directory.0.join("step.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&object, &source]).status();
    assert!(status.expect("a C compiler").success());
    std::fs::remove_file(source).unwrap();
    LIBRARY.set(object).unwrap();
}

/// A library with thread-local variables is loaded, used by several goroutines, and unloaded.
pub fn library(rng: &mut Rng) {
    let path = CString::new(LIBRARY.get().expect("built before").to_str().unwrap()).unwrap();
    // SAFETY: the library has no constructors.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null());
    // SAFETY: the library is loaded.
    let at = unsafe { libc::dlsym(handle, c"step".as_ptr()) } as usize;
    let all: Vec<_> = (0..1 + rng.below(8) as c_int)
        .map(|i| {
            spawn(move || {
                // SAFETY: a function of this type, of a library that stays until all have been joined.
                let step: extern "C" fn(c_int) -> c_int = unsafe { std::mem::transmute(at) };
                assert_eq!(step(i), 12 + i, "fresh");
                thread::yield_now();
                assert_eq!(step(1), 13 + i);
                1
            })
        })
        .collect();
    total(all);
    // SAFETY: nobody is in the library.
    assert_eq!(unsafe { libc::dlclose(handle) }, 0);
}
