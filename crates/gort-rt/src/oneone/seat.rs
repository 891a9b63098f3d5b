//! Where goroutines that are threads leave what a dump shows of them: a list of seats that only ever grows, so that it can be
//! walked at any time, until the library goes. As many are made as there are such goroutines at a time; one that is free is taken
//! again.

use crate::debug::record::{Name, Record};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};

/// See the module's head.
pub(crate) struct Seat {
    pub(crate) record: Record,
    pub(crate) name: Name,
    /// The kernel's number of the thread.
    pub(crate) tid: AtomicI32,
    taken: AtomicBool,
    older: AtomicPtr<Seat>,
}

static NEWEST: AtomicPtr<Seat> = AtomicPtr::new(ptr::null_mut());

/// All seats that were ever made. Async-signal-safe.
pub(crate) fn all() -> impl Iterator<Item = &'static Seat> {
    let next = |seat: &AtomicPtr<Seat>| {
        // SAFETY: the chain holds seats, which are never freed, and is only ever added to at its head.
        unsafe { seat.load(Ordering::Acquire).as_ref() }
    };
    core::iter::successors(next(&NEWEST), move |seat| next(&seat.older))
}

/// A seat for the caller alone, until it gets up.
pub(super) fn take() -> &'static Seat {
    let free = |seat: &Seat| !seat.taken.load(Ordering::Relaxed) && !seat.taken.swap(true, Ordering::Acquire);
    all().find(|&seat| free(seat)).unwrap_or_else(make)
}

fn make() -> &'static Seat {
    let seat: &'static Seat = Box::leak(Box::new(Seat {
        record: Record::new(),
        name: Name::new(),
        tid: AtomicI32::new(0),
        taken: AtomicBool::new(true),
        older: AtomicPtr::new(ptr::null_mut()),
    }));
    let mut newest = NEWEST.load(Ordering::Relaxed);
    loop {
        seat.older.store(newest, Ordering::Relaxed);
        // Release: whoever finds the seat finds it complete.
        let pushed =
            NEWEST.compare_exchange_weak(newest, ptr::from_ref(seat).cast_mut(), Ordering::Release, Ordering::Relaxed);
        match pushed {
            Ok(_) => return seat,
            Err(now) => newest = now,
        }
    }
}

/// Frees all seats.
///
/// # Safety
/// No goroutine is left or will come, and nobody looks at seats any more.
pub(crate) unsafe fn unload() {
    let mut seat = NEWEST.swap(ptr::null_mut(), Ordering::Acquire);
    while !seat.is_null() {
        // SAFETY: the chain holds leaked boxes, and the caller's promise.
        let this = unsafe { Box::from_raw(seat) };
        seat = this.older.load(Ordering::Relaxed);
    }
}

impl Seat {
    /// The goroutine has ended.
    pub(super) fn get_up(&self) {
        self.record.ended();
        self.taken.store(false, Ordering::Release);
    }
}
