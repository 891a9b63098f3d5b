//! Values of goroutines under keys of `TlsAlloc`'s: what this module's imports of that function and its kin lead to.
//!
//! A key is the same number to all. What differs is where its value is: on a goroutine in its [`Values`], on any other thread
//! where the system keeps it. The first 64 keys have a place in each goroutine's block; a place for the rest, 1024, is made when
//! a goroutine first stores there, as the system does it.
//!
//! A number may be another key's after `TlsFree` and `TlsAlloc`. By the system's promise the value of a new key is zero in every
//! thread, so [`alloc`] goes through all goroutines' blocks. They are in one list ([`BLOCKS`]), which a block leaves before its
//! memory goes.

use crate::arch;
use crate::os::imports::Function;
use crate::sync::rawmutex::RawMutex;
use core::cell::Cell;
use core::ffi::c_void;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::alloc::{GlobalAlloc, Layout, System};
use windows_sys::core::BOOL;
use windows_sys::Win32::Foundation::{SetLastError, ERROR_NOT_ENOUGH_MEMORY, ERROR_SUCCESS};
use windows_sys::Win32::System::Threading::TLS_OUT_OF_INDEXES;

/// Keys that have a place in the block.
const NEAR: usize = 64;
/// Keys that a process can have besides.
const FAR: usize = 1024;

/// The values of the keys from [`NEAR`] on.
type Far = [AtomicUsize; FAR];

/// A goroutine's values: its own to read and write, but for zeroes, which [`alloc`] may store.
#[repr(C)]
pub(super) struct Values {
    near: [AtomicUsize; NEAR],
    /// Null until the first is stored.
    far: AtomicPtr<Far>,
    /// Neighbours in [`BLOCKS`], under its lock.
    next: Cell<*const Values>,
    previous: Cell<*const Values>,
}

/// The first of all goroutines' values, linked through `next`.
struct First(*const Values);

// SAFETY: the list holds values that live until `leave`, and is changed under its lock.
unsafe impl Send for First {}

static BLOCKS: RawMutex<First> = RawMutex::new(First(ptr::null()));

impl Values {
    pub(super) const fn new() -> Values {
        Values {
            near: [const { AtomicUsize::new(0) }; NEAR],
            far: AtomicPtr::new(ptr::null_mut()),
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
        }
    }

    fn get(&self, key: usize) -> usize {
        match key.checked_sub(NEAR) {
            None => self.near[key].load(Ordering::Relaxed),
            Some(far) => self.far().map_or(0, |values| values[far].load(Ordering::Relaxed)),
        }
    }

    /// False: there is no memory for it.
    fn set(&self, key: usize, value: usize) -> bool {
        match key.checked_sub(NEAR) {
            None => self.near[key].store(value, Ordering::Relaxed),
            Some(far) => match self.far().or_else(|| self.make_far()) {
                Some(values) => values[far].store(value, Ordering::Relaxed),
                None => return false,
            },
        }
        true
    }

    fn far(&self) -> Option<&Far> {
        // SAFETY: null, or a table of ours that stays as long as this does.
        unsafe { self.far.load(Ordering::Acquire).as_ref() }
    }

    /// By the goroutine itself.
    #[cold]
    fn make_far(&self) -> Option<&Far> {
        // Not by the program's global allocator, which may keep its own state under keys.
        // SAFETY: the layout is not empty, and zeroes are valid.
        let far = unsafe { System.alloc_zeroed(Layout::new::<Far>()) }.cast::<Far>();
        // Release: the zeroes, for `alloc`.
        self.far.store(far, Ordering::Release);
        self.far()
    }

    /// Makes all values zero. By the goroutine's owner.
    pub(super) fn clear(&self) {
        let far = self.far().map_or(&[][..], |far| &far[..]);
        self.near.iter().chain(far).for_each(|value| value.store(0, Ordering::Relaxed));
    }
}

/// Counts these values in.
///
/// # Safety
/// They stay where they are until [`leave`].
pub(super) unsafe fn enter(values: &Values) {
    let mut first = BLOCKS.lock();
    values.next.set(first.0);
    // SAFETY: null or values in the list, which live.
    if let Some(next) = unsafe { first.0.as_ref() } {
        next.previous.set(values);
    }
    first.0 = values;
}

/// Counts these values out, and frees what they own.
///
/// # Safety
/// They are in the list, and nobody uses them any more.
pub(super) unsafe fn leave(values: &Values) {
    let mut first = BLOCKS.lock();
    // SAFETY: both are null or values in the list, which live.
    let (next, previous) = unsafe { (values.next.get().as_ref(), values.previous.get().as_ref()) };
    if let Some(next) = next {
        next.previous.set(values.previous.get());
    }
    match previous {
        Some(previous) => previous.next.set(values.next.get()),
        None => first.0 = values.next.get(),
    }
    drop(first);
    let far = values.far.swap(ptr::null_mut(), Ordering::Relaxed);
    if !far.is_null() {
        // SAFETY: `make_far` allocated it with this layout, and nobody looks at it any more.
        unsafe { System.dealloc(far.cast(), Layout::new::<Far>()) };
    }
}

/// The values of the calling goroutine; None on any other thread.
#[inline]
fn own<'a>() -> Option<&'a Values> {
    match arch::goroutine() {
        0 => None,
        // SAFETY: the thread pointer of a goroutine is the address of its block, which lives while its code runs.
        tp => Some(unsafe { &(*super::block(tp)).values }),
    }
}

/// What is redirected.
pub(super) static FUNCTIONS: [&Function; 3] = [&GET, &SET, &ALLOC];

static GET: Function = Function::new(c"TlsGetValue", get as *const ());
static SET: Function = Function::new(c"TlsSetValue", set as *const ());
static ALLOC: Function = Function::new(c"TlsAlloc", alloc as *const ());

/// In place of `TlsGetValue`, which says by the last error that a zero is no failure.
unsafe extern "system" fn get(key: u32) -> *mut c_void {
    type Real = unsafe extern "system" fn(u32) -> *mut c_void;
    match own() {
        Some(values) if (key as usize) < NEAR + FAR => {
            // SAFETY: no preconditions.
            unsafe { SetLastError(ERROR_SUCCESS) };
            ptr::with_exposed_provenance_mut(values.get(key as usize))
        }
        // SAFETY: the type is that of the function with this name; what it does with the key is what the caller wants.
        _ => unsafe { mem::transmute::<*const (), Real>(GET.real())(key) },
    }
}

/// In place of `TlsSetValue`.
unsafe extern "system" fn set(key: u32, value: *const c_void) -> BOOL {
    type Real = unsafe extern "system" fn(u32, *const c_void) -> BOOL;
    match own() {
        Some(values) if (key as usize) < NEAR + FAR => {
            let stored = values.set(key as usize, value.expose_provenance());
            if !stored {
                // SAFETY: no preconditions.
                unsafe { SetLastError(ERROR_NOT_ENOUGH_MEMORY) };
            }
            BOOL::from(stored)
        }
        // SAFETY: as in `get`.
        _ => unsafe { mem::transmute::<*const (), Real>(SET.real())(key, value) },
    }
}

/// In place of `TlsAlloc`.
unsafe extern "system" fn alloc() -> u32 {
    type Real = unsafe extern "system" fn() -> u32;
    // SAFETY: as in `get`.
    let key = unsafe { mem::transmute::<*const (), Real>(ALLOC.real())() };
    if key != TLS_OUT_OF_INDEXES {
        let first = BLOCKS.lock();
        // SAFETY: null or values in the list, which live.
        let mut next = unsafe { first.0.as_ref() };
        while let Some(values) = next {
            if values.get(key as usize) != 0 {
                values.set(key as usize, 0);
            }
            // SAFETY: as above.
            next = unsafe { values.next.get().as_ref() };
        }
    }
    key
}
