//! Libraries that goroutines load: whose constructors see their own thread-local variables, call in, and load others.

use gort::thread;
use gort_tests::kinds::with_one_p_and_two;
use gort_tests::library::{error, Directory, Library};
use gort_tests::measure::{eventually, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{role, Rerun};
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void, CString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{mpsc, Mutex};
use std::time::Duration;

/// A library that calls the function whose address is in the environment, from its constructor.
const CALLS: &str = "
#include <stdlib.h>
__thread int variable __attribute__((tls_model(\"initial-exec\"))) = 42;
int seen;
int add(void) { return variable++; }
__attribute__((constructor)) static void begin(void)
{
    const char *hook = getenv(\"GORT_TEST_CONSTRUCTOR\");
    seen = variable;
    variable = 7;
    if (hook)
        ((void (*)(int (*)(void)))strtoull(hook, 0, 0))(add);
}
int what_was_seen(void) { return seen; }
";

/// A function of the library's.
type Add = extern "C" fn() -> c_int;

/// The next library that is loaded calls `f` from its constructor. For a process of the test's own.
fn call_in_constructor(f: extern "C" fn(Add)) {
    std::env::set_var("GORT_TEST_CONSTRUCTOR", format!("{:#x}", f as usize));
}

#[test]
fn a_constructor_sees_its_thread_local_variables() {
    needs_goroutines!("constructors run on the storage of who loads");
    let directory = Directory::new();
    on_goroutine(|| {
        let library = Library::open(directory.library("sees.so", CALLS, &[])).expect("it is there");
        assert_eq!(library.call(c"what_was_seen"), 42);
        // The constructor ran on the kernel thread's storage; ours has first values.
        assert_eq!(library.call(c"add"), 42);
        assert_eq!(library.call(c"add"), 43);
        assert_eq!(thread::scope(|s| s.spawn(|| library.call(c"add")).join().unwrap()), 42);
        library.close();
    });
}

/// Row X-12.
#[test]
fn a_constructor_may_call_in() {
    needs_goroutines!("constructors run on the storage of who loads");
    if !with_one_p_and_two("a_constructor_may_call_in") {
        return;
    }
    thread_local!(static HERE: Cell<u32> = const { Cell::new(0) });
    static LOCK: Mutex<u32> = Mutex::new(0);
    static DONE: AtomicU32 = AtomicU32::new(0);
    /// All that may wait for goroutines. (They may not have thread-local variables with destructors: for the first of a thread
    /// glibc takes the lock under which it runs constructors.)
    extern "C" fn in_constructor(_: Add) {
        assert!(!thread::is_goroutine());
        assert_eq!(HERE.get(), 0, "the kernel thread's storage");
        let value = gort::ffi::callback(|| thread::spawn(|| thread::spawn(|| 5).join().unwrap()).join().unwrap());
        assert_eq!(value, 5);
        // A goroutine holds the lock until we have asked for it.
        let (to, from) = mpsc::channel();
        let holder = thread::spawn(move || {
            let mut lock = LOCK.lock().unwrap();
            to.send(()).unwrap();
            thread::sleep(Duration::from_millis(1));
            *lock += 1;
        });
        from.recv().unwrap();
        *LOCK.lock().unwrap() += 1;
        holder.join().unwrap();
        DONE.fetch_add(1, SeqCst);
    }
    let directory = Directory::new();
    call_in_constructor(in_constructor);
    on_goroutine(|| {
        HERE.set(1);
        let others = thread::spawn(|| (0..1000).for_each(|_| thread::yield_now()));
        Library::open(directory.library("calls.so", CALLS, &[])).expect("it is there").close();
        others.join().unwrap();
        assert_eq!(HERE.get(), 1);
    });
    assert_eq!((DONE.load(SeqCst), *LOCK.lock().unwrap()), (1, 2));
}

#[test]
fn a_constructor_may_load_another_library() {
    needs_goroutines!("constructors run on the storage of who loads");
    if !with_one_p_and_two("a_constructor_may_load_another_library") {
        return;
    }
    static INNER: Mutex<Option<PathBuf>> = Mutex::new(None);
    extern "C" fn in_constructor(_: Add) {
        let inner = INNER.lock().unwrap().take();
        if let Some(path) = inner {
            let library = Library::open(path).expect("it is there");
            assert_eq!(library.call(c"what_was_seen"), 42);
            library.close();
        }
    }
    let directory = Directory::new();
    *INNER.lock().unwrap() = Some(directory.library("inner.so", CALLS, &[]));
    let outer = directory.library("outer.so", CALLS, &[]);
    call_in_constructor(in_constructor);
    on_goroutine(|| {
        let library = Library::open(outer).expect("it is there");
        assert_eq!(library.call(c"add"), 42);
        library.close();
    });
    assert!(INNER.lock().unwrap().is_none());
}

#[test]
fn a_goroutine_that_a_constructor_starts_sees_the_librarys_variables() {
    needs_goroutines!("std's threads do not begin before constructors are done");
    if !with_one_p_and_two("a_goroutine_that_a_constructor_starts_sees_the_librarys_variables") {
        return;
    }
    static SEEN: Mutex<Vec<i32>> = Mutex::new(Vec::new());
    extern "C" fn in_constructor(add: Add) {
        let seen = thread::spawn(move || (add(), add())).join().unwrap();
        SEEN.lock().unwrap().extend([seen.0, seen.1]);
    }
    let directory = Directory::new();
    let path = directory.library("starts.so", CALLS, &[]);
    // Dead goroutines, whose storage is of the time before.
    on_goroutine(|| ());
    thread::spawn(|| ()).join().unwrap();
    call_in_constructor(in_constructor);
    let on_a_thread = Library::open(&path).expect("it is there");
    on_a_thread.close();
    on_goroutine(|| Library::open(path).expect("it is there").close());
    assert_eq!(*SEEN.lock().unwrap(), [42, 43, 42, 43]);
}

#[test]
fn an_error_is_told_once_to_the_goroutine_that_made_it() {
    needs_goroutines!("the system stack has no storage of its own");
    let directory = Directory::new();
    let good = directory.library("good.so", CALLS, &[]);
    gort_tests::measure::everywhere(|| {
        assert!(Library::open("/nowhere/libnone.so").is_none());
        let native = gort::ffi::on_system_stack(error);
        let text = if thread::is_goroutine() {
            assert_eq!(native, None, "the kernel thread has made none");
            error()
        } else {
            native
        };
        assert!(text.is_some_and(|text| text.contains("/nowhere/libnone.so")));
        assert_eq!(error(), None);
        // A call that succeeds takes an older text away.
        assert!(Library::open("/nowhere/libnone.so").is_none());
        let library = Library::open(&good).expect("it is there");
        assert_eq!(error(), None);
        library.close();
        assert!(Library::open("").is_some(), "the executable");
    });
}

#[test]
fn a_library_finds_others_along_its_own_run_path() {
    const LOADS: &str = "
        #include <dlfcn.h>
        static void *handle;
        int load(void) { return (handle = dlopen(\"libgort_hidden.so\", RTLD_NOW)) != 0; }
        int loaded(void) { void *h = dlopen(\"libgort_hidden.so\", RTLD_NOW | RTLD_NOLOAD); if (h) dlclose(h); return h != 0; }
        int missing(void) { return dlopen(\"libgort_missing.so\", RTLD_NOW) == 0; }
        int value(void) { int (*f)(void) = dlsym(handle, \"value\"); return f ? f() : -1; }
        int unload(void) { return dlclose(handle); }
    ";
    let directory = Directory::new();
    directory.library("hidden/libgort_hidden.so", "int value(void) { return 17; }", &[]);
    let flags = ["-Wl,--enable-new-dtags,-rpath,/nowhere:$ORIGIN/hidden"];
    let path = directory.library("loads.so", LOADS, &flags);
    gort_tests::measure::everywhere(|| {
        assert!(Library::open("libgort_hidden.so").is_none(), "it is not on the executable's path");
        let library = Library::open(&path).expect("it is there");
        assert_eq!(library.call(c"loaded"), 0);
        assert_eq!(library.call(c"load"), 1, "{:?}", error());
        assert_eq!(library.call(c"value"), 17);
        assert_eq!(library.call(c"loaded"), 1);
        assert_eq!(library.call(c"unload"), 0);
        assert_eq!(library.call(c"missing"), 1);
        assert!(error().is_some_and(|text| text.contains("libgort_missing.so")));
        library.close();
    });
}

/// libc's `dlopen`, past the hook: as programs without `gort-interpose` call it, and libc itself.
fn open_unhooked(path: &Path) -> Library {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    type Open = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
    // SAFETY: the function has this type; the library has no constructors.
    unsafe {
        let open = libc::dlsym(libc::RTLD_NEXT, c"dlopen".as_ptr());
        let handle = std::mem::transmute::<*mut c_void, Open>(open)(path.as_ptr(), libc::RTLD_NOW);
        Library::from_handle(handle).expect("it is there")
    }
}

/// Its variables are too many to get a fixed place.
const LATE: &str = "
    __thread char room[5000];
    __thread int variable __attribute__((tls_model(\"global-dynamic\"))) = 42;
    int add(void) { return variable++; }
";

#[test]
fn a_goroutine_begins_while_the_loader_is_held() {
    const NAME: &str = "a_goroutine_begins_while_the_loader_is_held";
    if role().is_none() {
        // Not with donors, whose blocks cannot be thrown away: there the goroutine waits for the loader.
        for procs in ["1", "2"] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).inherit("GORT_CHAOS").run().success();
        }
        return;
    }
    unsafe extern "C" fn under_the_loaders_lock(_: *mut libc::dl_phdr_info, _: usize, sum: *mut c_void) -> c_int {
        // SAFETY: the test passes its number.
        unsafe { *sum.cast::<i32>() += thread::spawn(|| 5).join().unwrap() };
        1
    }
    let directory = Directory::new();
    on_goroutine(|| ()); // the runtime learns of all that is there when it starts
    let library = open_unhooked(&directory.library("late.so", LATE, &[]));
    for _ in 0..10 {
        // It leaves storage behind that has met a module of which nobody has told.
        assert_eq!(on_goroutine(|| library.call(c"add")), 42);
        let mut sum = 0;
        // SAFETY: the callback gets the number.
        unsafe { libc::dl_iterate_phdr(Some(under_the_loaders_lock), (&raw mut sum).cast()) };
        assert_eq!(sum, 5);
    }
    // In time somebody learns of the library, and dead goroutines are reused again.
    let reuses = || {
        on_goroutine(|| {
            let stack = || {
                library.call(c"add");
                std::ptr::from_ref(std::hint::black_box(&0u8)) as usize
            };
            let life = || thread::scope(|s| s.spawn(stack).join().unwrap());
            (0..20).all(|_| life() == life())
        })
    };
    assert!(eventually(Duration::from_secs(30), reuses));
}
