//! A block's second goroutine.

use std::cell::Cell;

use super::*;

thread_local! {
    static VALUE: Cell<u32> = const { Cell::new(3) };
    static ZERO: Cell<[u8; 100]> = const { Cell::new([0; 100]) };
}

both! {
    fn variables_are_fresh(way) {
        let block = Block::new(way);
        let life = || {
            assert_eq!(VALUE.replace(4), 3);
            assert_eq!(ZERO.replace([1; 100]), [0; 100]);
            std::thread::current().id()
        };
        assert_ne!(block.live(life), block.live(life));
        // Without the reset they are not.
        block.call(|| VALUE.set(5));
        block.call(|| assert_eq!(VALUE.get(), 5));
    }
}

both! {
    fn malloc_keeps_its_cache(way) {
        let block = Block::new(way);
        // SAFETY: allocated and freed at once.
        let life = || unsafe {
            let at = libc::malloc(1000);
            libc::free(at);
            at as usize
        };
        let first = block.live(life);
        // Somebody else takes what a common pool would hand out next.
        let taken: Vec<_> = (0..10).map(|_| Box::new([0u8; 1000])).collect();
        assert_eq!(block.live(life), first);
        drop(taken);
    }
}

both! {
    fn error_number_locale_and_cancellation_are_fresh(way) {
        extern "C-unwind" {
            fn pthread_setcancelstate(state: i32, old: *mut i32) -> i32;
            fn pthread_setcanceltype(kind: i32, old: *mut i32) -> i32;
        }
        let block = Block::new(way);
        let global = crate::identity::GLOBAL_LOCALE;
        // SAFETY: the locale outlives its use; the other calls set and read state of the calling thread.
        unsafe {
            let locale = libc::newlocale(libc::LC_ALL_MASK, c"C".as_ptr(), core::ptr::null_mut());
            let mut old = 0;
            block.live(|| {
                *libc::__errno_location() = 11;
                libc::uselocale(locale);
                pthread_setcancelstate(1, &mut old);
                pthread_setcanceltype(1, &mut old);
            });
            // All of that is in libc's variables or the TCB, which a reset leaves alone ...
            block.call(|| {
                assert_eq!(*libc::__errno_location(), 11);
                assert_eq!(libc::uselocale(core::ptr::null_mut()), locale);
            });
            // ... and a start does not.
            block.live(|| {
                assert_eq!(*libc::__errno_location(), 0);
                assert_eq!(libc::uselocale(core::ptr::null_mut()), global);
                pthread_setcancelstate(0, &mut old);
                assert_eq!(old, 0);
                pthread_setcanceltype(0, &mut old);
                assert_eq!(old, 0);
            });
            libc::freelocale(locale);
        }
    }
}

#[test]
fn a_small_mapping_is_refused() {
    let mut memory = vec![0u8; 4096];
    let range = memory.as_mut_ptr_range();
    // SAFETY: the memory is ours and not used for anything else.
    let result = unsafe { state().create(&Mode::Built, range.start, range.end, 1 << 29) };
    assert!(matches!(result, Err(crate::identity::Error::TooSmall { .. })));
}
