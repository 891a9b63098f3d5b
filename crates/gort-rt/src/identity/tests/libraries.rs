//! Libraries with thread-local variables that are loaded after blocks were made.

use std::ffi::CString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;
use crate::identity::modules;

/// Serialises changes of the loaded modules, as `refresh` asks of its caller.
pub(super) fn loader() -> MutexGuard<'static, ()> {
    static LOADER: Mutex<()> = Mutex::new(());
    LOADER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A library with one variable that starts as 42, and some bytes that start as zero.
struct Library {
    handle: *mut core::ffi::c_void,
    directory: PathBuf,
    exchange: unsafe extern "C" fn(i32) -> i32,
    zeros: unsafe extern "C" fn() -> i32,
}

const SOURCE: &str = "
__thread int variable = 42;
__thread char zeros[ROOM];
int exchange(int with) { int old = variable; variable = with; return old; }
int count_and_spoil(void) { int n = 0; for (int i = 0; i < ROOM; i++) { n += zeros[i] != 0; zeros[i] = 1; } return n; }
";

impl Library {
    /// Compiles and loads it; `model` is the compiler's name for how variables are reached.
    fn load(model: &str) -> Library {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("gort-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (source, object) = (directory.join("late.c"), directory.join("late.so"));
        std::fs::write(&source, SOURCE).unwrap();
        // What is small may get a fixed place also where none is asked for (by TLS descriptors, AArch64's way).
        let room = if model == "initial-exec" { 300 } else { 5000 };
        let status = Command::new(std::env::var("CC").unwrap_or("cc".into()))
            .args(["-shared", "-fPIC", &format!("-ftls-model={model}"), &format!("-DROOM={room}"), "-o"])
            .args([&object, &source])
            .status()
            .unwrap();
        assert!(status.success());
        let path = CString::new(object.to_str().unwrap()).unwrap();
        // SAFETY: the library's constructors do nothing, and its functions have these types.
        unsafe {
            let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            assert!(!handle.is_null());
            let exchange = libc::dlsym(handle, c"exchange".as_ptr());
            let zeros = libc::dlsym(handle, c"count_and_spoil".as_ptr());
            assert!(!exchange.is_null() && !zeros.is_null());
            Library {
                handle,
                directory,
                exchange: core::mem::transmute::<*mut core::ffi::c_void, unsafe extern "C" fn(i32) -> i32>(exchange),
                zeros: core::mem::transmute::<*mut core::ffi::c_void, unsafe extern "C" fn() -> i32>(zeros),
            }
        }
    }

    /// The variable's value on this thread, which then is `with`.
    fn exchange(&self, with: i32) -> i32 {
        // SAFETY: a plain function.
        unsafe { (self.exchange)(with) }
    }

    /// How many of the bytes that start as zero are not, on this thread; then none is zero.
    fn zeros(&self) -> i32 {
        // SAFETY: a plain function.
        unsafe { (self.zeros)() }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: nobody calls into the library any more.
        unsafe { libc::dlclose(self.handle) };
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// `refresh` for blocks of either way.
fn refresh(blocks: &[&Block]) {
    let built = blocks.iter().all(|block| block.way == Way::Built);
    let mut live = |visit: &mut dyn FnMut(usize)| blocks.iter().for_each(|block| visit(block.tp));
    // SAFETY: the blocks are ours, and `loader` is held.
    unsafe { modules::refresh(&state().glibc, None, built.then_some(&mut live)) }.unwrap();
}

both! {
    fn late_fixed_variables_have_their_values(way) {
        let _loader = loader();
        let (one, two) = (Block::new(way), Block::new(way));
        let library = Library::load("initial-exec");
        // glibc fills in the blocks that it knows.
        let unmended = if way == Way::Built { 0 } else { 42 };
        assert_eq!(two.call(|| library.exchange(42)), unmended);
        // A goroutine's end may notice the library before whoever loaded it refreshes.
        Block::new(way).live(|| library.exchange(1));
        refresh(&[&one, &two]);
        assert_eq!(one.call(|| library.exchange(5)), 42);
        assert_eq!(two.call(|| library.exchange(6)), 42);
        // A second refresh, with nothing new, leaves values alone.
        refresh(&[&one, &two]);
        assert_eq!(one.call(|| library.exchange(7)), 5);
        assert_eq!(one.call(|| library.zeros()), 0);
        one.reset();
        assert_eq!(one.call(|| (library.exchange(8), library.zeros())), (42, 0));
        assert_eq!(Block::new(way).call(|| library.exchange(9)), 42);
        drop(library);
        refresh(&[&one, &two]);
        // The next library gets the same place.
        let library = Library::load("initial-exec");
        refresh(&[&one, &two]);
        assert_eq!(one.call(|| library.exchange(5)), 42);
        assert_eq!(two.call(|| (library.exchange(5), library.zeros())), (42, 0));
        drop(library);
        refresh(&[&one, &two]);
    }
}

both! {
    fn dynamic_variables_are_fresh_after_reuse(way) {
        let _loader = loader();
        let block = Block::new(way);
        let library = Library::load("global-dynamic");
        // Nobody refreshes: the block's own thread vector tells that there is something new.
        for life in 0..4 {
            assert_eq!(block.live(|| (library.exchange(life), library.zeros())), (42, 0));
        }
        // Without the reset they are not fresh.
        block.call(|| library.exchange(1));
        assert_eq!(block.call(|| library.exchange(2)), 1);
        block.reset();
        // Another library takes the number of one that is gone.
        drop(library);
        let library = Library::load("global-dynamic");
        block.call(|| library.exchange(1));
        refresh(&[&block]);
        block.reset();
        assert_eq!(block.live(|| (library.exchange(1), library.zeros())), (42, 0));
        drop(library);
        refresh(&[&block]);
        block.live(|| {});
    }
}

both! {
    fn loading_and_unloading_on_a_goroutine(way) {
        let _loader = loader();
        let block = Block::new(way);
        for model in ["global-dynamic", "initial-exec", "global-dynamic"] {
            block.live(|| {
                let library = Library::load(model);
                refresh(&[&block]);
                assert_eq!((library.exchange(1), library.zeros()), (42, 0));
                drop(library);
                refresh(&[&block]);
            });
        }
    }
}

/// True if a block can be reset at once.
fn resets(block: &Block) -> bool {
    // SAFETY: nobody runs on the block, and tests keep no references into it.
    unsafe { modules::reset(block.tp) }
}

#[test]
fn a_reset_does_not_wait_for_the_loader() {
    use core::ffi::{c_int, c_void};
    unsafe extern "C" fn under_the_lock(_: *mut libc::dl_phdr_info, _: usize, tp: *mut c_void) -> c_int {
        let tp = tp as usize;
        // On a thread of its own, since the lock may be taken again by whoever holds it.
        let reset = std::thread::spawn(move || {
            // SAFETY: nobody runs on the test's block.
            unsafe { modules::reset(tp) }
        });
        assert!(!reset.join().unwrap());
        1
    }
    let _loader = loader();
    let block = Block::new(Way::Built);
    assert!(resets(&block));
    let library = Library::load("global-dynamic");
    block.call(|| library.exchange(1));
    // SAFETY: the callback gets the thread pointer that it expects.
    unsafe { libc::dl_iterate_phdr(Some(under_the_lock), block.tp as *mut c_void) };
    // A thread learns of what was met.
    while !resets(&block) {
        modules::catch_up();
        std::thread::yield_now();
    }
    assert_eq!(block.live(|| library.exchange(1)), 42);
    drop(library);
    refresh(&[&block]);
}

#[test]
fn nothing_is_reset_while_modules_change() {
    let _loader = loader();
    let block = Block::new(Way::Built);
    let outer = modules::changing();
    assert!(!resets(&block));
    let inner = modules::changing();
    // SAFETY: no block is named, and nothing has changed.
    unsafe { modules::refresh(&state().glibc, Some(inner), None) }.unwrap();
    assert!(!resets(&block));
    // SAFETY: as above.
    unsafe { modules::refresh(&state().glibc, Some(outer), None) }.unwrap();
    assert!(resets(&block));
}
