//! Destructors at a goroutine's end.

use core::cell::Cell;
use core::ffi::c_void;

use super::*;

/// A pthread key, deleted at the end.
struct Key(libc::pthread_key_t);

impl Key {
    fn new(destructor: Option<unsafe extern "C" fn(*mut c_void)>) -> Key {
        let mut key = 0;
        // SAFETY: `key` is written by the call.
        assert_eq!(unsafe { libc::pthread_key_create(&mut key, destructor) }, 0);
        Key(key)
    }

    fn set<T>(&self, value: *const T) {
        // SAFETY: the key is live.
        assert_eq!(unsafe { libc::pthread_setspecific(self.0, value.cast()) }, 0);
    }

    fn get(&self) -> *mut c_void {
        // SAFETY: the key is live.
        unsafe { libc::pthread_getspecific(self.0) }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key is live, and no thread uses it any more.
        unsafe { libc::pthread_key_delete(self.0) };
    }
}

unsafe extern "C" fn count(counter: *mut c_void) {
    // SAFETY: values of the keys below are counters that outlive the block.
    unsafe { &*counter.cast::<AtomicU32>() }.fetch_add(1, Ordering::Relaxed);
}

both! {
    fn each_key_has_its_destructor_run_once(way) {
        // More keys than the first block of values holds.
        let keys: Vec<_> = (0..100).map(|_| Key::new(Some(count))).collect();
        let counters: Vec<_> = keys.iter().map(|_| AtomicU32::new(0)).collect();
        let block = Block::new(way);
        block.call(|| keys.iter().zip(&counters).for_each(|(key, counter)| key.set(counter)));
        assert!(counters.iter().all(|c| c.load(Ordering::Relaxed) == 0));
        // SAFETY: on the block, at the end.
        block.call(|| unsafe { crate::identity::run_destructors() });
        assert!(counters.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        block.live(|| assert!(keys.iter().all(|key| key.get().is_null())));
        assert!(counters.iter().all(|c| c.load(Ordering::Relaxed) == 1));
    }
}

both! {
    fn values_without_or_with_a_dead_destructor_are_dropped(way) {
        let plain = Key::new(None);
        let counter = AtomicU32::new(0);
        let block = Block::new(way);
        block.live(|| {
            plain.set(&counter);
            Key::new(Some(count)).set(&counter);
            assert!(!plain.get().is_null());
        });
        assert_eq!(counter.load(Ordering::Relaxed), 0);
        block.live(|| assert!(plain.get().is_null()));
    }
}

both! {
    fn a_destructor_that_sets_its_key_again_is_bounded(way) {
        /// The key and a counter.
        struct Stubborn(Key, AtomicU32);
        unsafe extern "C" fn again(value: *mut c_void) {
            // SAFETY: the value is the structure below.
            let stubborn = unsafe { &*value.cast::<Stubborn>() };
            stubborn.1.fetch_add(1, Ordering::Relaxed);
            stubborn.0.set(stubborn);
        }
        let stubborn = Stubborn(Key::new(Some(again)), AtomicU32::new(0));
        let block = Block::new(way);
        block.live(|| stubborn.0.set(&stubborn));
        assert_eq!(stubborn.1.load(Ordering::Relaxed), 4);
        block.live(|| assert!(stubborn.0.get().is_null()));
        assert_eq!(stubborn.1.load(Ordering::Relaxed), 4);
    }
}

/// Counts its drops in whatever counter it was given.
struct Dropped(Cell<*const AtomicU32>);

impl Drop for Dropped {
    fn drop(&mut self) {
        // SAFETY: null, or a counter that outlives the block.
        if let Some(counter) = unsafe { self.0.get().as_ref() } {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

thread_local! {
    static DROPPED: Dropped = const { Dropped(Cell::new(core::ptr::null())) };
}

both! {
    fn thread_local_destructors_run_once(way) {
        let counter = AtomicU32::new(0);
        let block = Block::new(way);
        block.call(|| DROPPED.with(|d| d.0.set(&counter)));
        assert_eq!(counter.load(Ordering::Relaxed), 0);
        // SAFETY: on the block, at the end.
        block.call(|| unsafe { crate::identity::run_destructors() });
        assert_eq!(counter.load(Ordering::Relaxed), 1);
        block.reset();
        block.live(|| DROPPED.with(|d| assert!(d.0.replace(&counter).is_null())));
        assert_eq!(counter.load(Ordering::Relaxed), 2);
    }
}

both! {
    fn a_key_destructor_may_start_a_thread_local(way) {
        unsafe extern "C" fn touch(value: *mut c_void) {
            DROPPED.with(|d| d.0.set(value.cast()));
        }
        let key = Key::new(Some(touch));
        let counter = AtomicU32::new(0);
        Block::new(way).live(|| key.set(&counter));
        assert_eq!(counter.load(Ordering::Relaxed), 1);
    }
}
