//! A block is a thread to Rust and C.

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;

use super::*;

thread_local! {
    static PLAIN: Cell<u32> = const { Cell::new(7) };
    static LAZY: RefCell<Vec<u32>> = RefCell::new(vec![1]);
}

both! {
    fn variables_and_identity_are_its_own(way) {
        let (one, two) = (Block::new(way), Block::new(way));
        let here = std::thread::current().id();
        let mut ids = Vec::new();
        for block in [&one, &two] {
            ids.push(block.call(|| {
                assert_eq!(PLAIN.replace(8), 7);
                LAZY.with_borrow_mut(|v| v.push(2));
                // SAFETY: sets this thread's error number.
                unsafe { *libc::__errno_location() = 99 };
                std::thread::current().id()
            }));
        }
        assert!(ids[0] != ids[1] && !ids.contains(&here));
        // SAFETY: reads this thread's error number.
        assert_ne!(unsafe { *libc::__errno_location() }, 99);
        assert_eq!(PLAIN.get(), 7);
        // On another kernel thread the block still has what it had.
        let (one, two) = (&one as *const Block as usize, &two as *const Block as usize);
        std::thread::spawn(move || {
            for block in [one, two] {
                // SAFETY: the blocks outlive the thread, which is joined, and are used by it alone.
                let block = unsafe { &*(block as *const Block) };
                block.call(|| {
                    assert_eq!(PLAIN.get(), 8);
                    LAZY.with_borrow(|v| assert_eq!(v[..], [1, 2]));
                });
            }
        })
        .join()
        .unwrap();
    }
}

both! {
    fn panics_threads_and_the_hash_seed_work(way) {
        Block::new(way).live(|| {
            let caught = catch_unwind(|| panic!("caught at once"));
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"caught at once"));
            assert!(!std::thread::panicking());
            let map: std::collections::HashMap<_, _> = (0..100).map(|i| (i, i.to_string())).collect();
            assert_eq!(map[&42], "42");
            let trace = std::backtrace::Backtrace::force_capture().to_string();
            assert!(trace.contains("panics_threads"), "{trace}");
            assert_eq!(std::thread::spawn(|| PLAIN.get()).join().unwrap(), 7);
        });
    }
}

/// Locks a mutex of the given kind on one block, then tries to on another.
fn lock_twice(way: Way, kind: i32) -> i32 {
    let (one, two) = (Block::new(way), Block::new(way));
    let mut mutex = Box::new(libc::PTHREAD_MUTEX_INITIALIZER);
    let mutex: *mut libc::pthread_mutex_t = &mut *mutex;
    // SAFETY: the mutex is initialised before use, outlives it, and is unlocked by its owner.
    unsafe {
        let mut attr = MaybeUninit::uninit();
        libc::pthread_mutexattr_init(attr.as_mut_ptr());
        libc::pthread_mutexattr_settype(attr.as_mut_ptr(), kind);
        libc::pthread_mutex_init(mutex, attr.as_ptr());
        assert_eq!(one.call(|| libc::pthread_mutex_lock(mutex)), 0);
        let second = two.call(|| libc::pthread_mutex_trylock(mutex));
        assert_eq!(one.call(|| libc::pthread_mutex_unlock(mutex)), 0);
        second
    }
}

both! {
    fn mutexes_know_owners_apart(way) {
        assert_eq!(lock_twice(way, libc::PTHREAD_MUTEX_RECURSIVE), libc::EBUSY);
        assert_eq!(lock_twice(way, libc::PTHREAD_MUTEX_ERRORCHECK), libc::EBUSY);
    }
}

#[test]
fn raw_blocks_share_recursive_mutexes() {
    assert_eq!(lock_twice(Way::Raw, libc::PTHREAD_MUTEX_RECURSIVE), 0);
}

/// Pins this thread to each CPU it may use and asks libc on a block, and the kernel, where it is.
fn cpus(way: Way) -> Vec<(i32, i32)> {
    let block = Block::new(way);
    // SAFETY: the sets are plain data, the calls act on this thread, and its mask is put back.
    unsafe {
        let size = size_of::<libc::cpu_set_t>();
        let mut allowed: libc::cpu_set_t = core::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size, &mut allowed), 0);
        let mut answers = Vec::new();
        for cpu in (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &allowed)) {
            let mut one: libc::cpu_set_t = core::mem::zeroed();
            libc::CPU_SET(cpu, &mut one);
            assert_eq!(libc::sched_setaffinity(0, size, &one), 0);
            let mut real = 0u32;
            libc::syscall(libc::SYS_getcpu, &mut real, 0usize, 0usize);
            answers.push((block.call(|| libc::sched_getcpu()), real as i32));
        }
        libc::sched_setaffinity(0, size, &allowed);
        answers
    }
}

both! {
    fn the_cpu_number_is_right(way) {
        for (told, real) in cpus(way) {
            assert_eq!(told, real);
        }
    }
}

#[test]
fn raw_blocks_are_always_on_the_first_cpu() {
    if state().glibc.rseq.is_some() {
        assert!(cpus(Way::Raw).iter().all(|&(told, _)| told == 0));
    }
}

both! {
    fn fork_works_and_the_child_can_make_threads(way) {
        let status = Block::new(way).live(|| {
            in_child(|| {
                extern "C" fn thread(arg: *mut core::ffi::c_void) -> *mut core::ffi::c_void {
                    arg
                }
                // SAFETY: an ordinary thread, joined; forks once more for good measure.
                unsafe {
                    let mut handle = 0;
                    let mut result = core::ptr::null_mut();
                    assert_eq!(libc::pthread_create(&mut handle, core::ptr::null(), thread, handle_arg()), 0);
                    assert_eq!(libc::pthread_join(handle, &mut result), 0);
                    assert_eq!(result, handle_arg());
                    let grandchild = libc::fork();
                    if grandchild == 0 {
                        libc::_exit(0);
                    }
                    let mut status = 0;
                    assert_eq!(libc::waitpid(grandchild, &mut status, 0), grandchild);
                    assert_eq!(status, 0);
                }
            })
        });
        assert_eq!(status, 0);
    }
}

fn handle_arg() -> *mut core::ffi::c_void {
    core::ptr::without_provenance_mut(5)
}

#[test]
fn fork_on_a_raw_block_kills_the_child() {
    let block = Block::new(Way::Raw);
    // Where `fork` takes a lock of glibc's (2.44), one by a thread without an id leaves it spoilt in the parent too.
    let status = in_child(|| {
        let status = block.call(|| in_child(|| {}));
        // SAFETY: ends this child.
        unsafe { libc::_exit(i32::from(!crashed(status))) };
    });
    assert_eq!(status, 0);
}

both! {
    fn characters_have_their_classes(way) {
        Block::new(way).call(|| {
            // SAFETY: plain functions of a character.
            unsafe {
                assert_eq!(libc::toupper(b'q'.into()), i32::from(b'Q'));
                assert_ne!(libc::isalpha(b'q'.into()), 0);
                assert_eq!(libc::isalpha(b'1'.into()), 0);
            }
        });
    }
}

/// The release of glibc that this process runs with: 2 and 36, say.
fn release() -> (u32, u32) {
    // SAFETY: a constant string of glibc's.
    let text = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) }.to_str().unwrap();
    let mut numbers = text.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn raw_blocks_have_no_character_tables_before_2_41() {
    let block = Block::new(Way::Raw);
    // SAFETY: may crash, in a child.
    let status = in_child(|| unsafe { block.call(|| _ = std::hint::black_box(libc::isalpha(b'q'.into()))) });
    if release() < (2, 41) {
        assert!(crashed(status));
    } else {
        // The loader fills them in, as it does other variables.
        assert_eq!(status, 0);
    }
}

/// The address of the resolver's state as seen on a block, and whether it lies in that block's mapping.
fn resolver_state(block: &Block) -> (usize, bool) {
    extern "C" {
        fn __res_state() -> *mut u8;
    }
    // SAFETY: returns an address.
    let at = block.call(|| unsafe { __res_state() }) as usize;
    (at, (block.lo as usize..block.lo as usize + Block::SIZE).contains(&at))
}

both! {
    fn the_resolver_has_state_of_its_own(way) {
        assert!(resolver_state(&Block::new(way)).1);
    }
}

#[test]
fn raw_blocks_share_the_resolver_state() {
    let (at, own) = resolver_state(&Block::new(Way::Raw));
    assert!(at != 0 && !own);
}

both! {
    /// A known limit: the kernel is asked about the number, after the stack has been filled in.
    fn getattr_finds_the_stack_but_not_the_thread(way) {
        let block = Block::new(way);
        block.call(|| {
            // SAFETY: zero is a valid bit pattern for the attributes, which the call fills in.
            unsafe {
                let mut attr: libc::pthread_attr_t = core::mem::zeroed();
                let code = libc::pthread_getattr_np(libc::pthread_self(), &mut attr);
                assert!(code == libc::ESRCH || code == 0, "{code}");
                let (mut lo, mut size) = (core::ptr::null_mut(), 0);
                assert_eq!(libc::pthread_attr_getstack(&attr, &mut lo, &mut size), 0);
                assert_eq!((lo.cast(), size), (block.lo, Block::SIZE));
            }
        });
    }
}
