//! The definition that a hook stands before: libc's.

use core::ffi::{c_void, CStr};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A libc function, looked up at its first use.
pub(crate) struct Next {
    name: &'static CStr,
    at: AtomicPtr<c_void>,
}

impl Next {
    pub(crate) const fn new(name: &'static CStr) -> Next {
        Next { name, at: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The function's address; null if there is no definition behind ours.
    #[inline]
    pub(crate) fn get(&self) -> *mut c_void {
        let at = self.at.load(Ordering::Relaxed);
        if !at.is_null() {
            return at;
        }
        // SAFETY: looking a name up has no preconditions.
        let at = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.at.store(at, Ordering::Relaxed);
        at
    }

    /// The function's address. Ends the process where there is none: the name is one that libc is known to have.
    #[inline]
    pub(crate) fn need(&self) -> *mut c_void {
        let at = self.get();
        if at.is_null() {
            missing();
        }
        at
    }
}

#[cold]
fn missing() -> ! {
    // SAFETY: may be called anywhere.
    unsafe { libc::abort() }
}

/// Calls libc's definition of a function that is hooked: `next!(c"read", fn(c_int, *mut c_void, usize) -> isize)(fd, at, n)`.
///
/// Of a function that C declares variadic, a semicolon and three dots follow the arguments that have names.
///
/// A name that libc lacks ends the process: each hook's name is one that every glibc we run on has.
macro_rules! next {
    ($name:literal, fn($($arg:ty),* $(,)?) -> $ret:ty) => {
        $crate::next::next!($name, as unsafe extern "C" fn($($arg),*) -> $ret)
    };
    ($name:literal, fn($($arg:ty),*; ...) -> $ret:ty) => {
        $crate::next::next!($name, as unsafe extern "C" fn($($arg),*, ...) -> $ret)
    };
    ($name:literal, as $type:ty) => {{
        static NEXT: $crate::next::Next = $crate::next::Next::new($name);
        #[allow(unused_unsafe)] // most callers are in an unsafe block, for the call
        // SAFETY: a symbol of this name has this type.
        let next = unsafe { core::mem::transmute::<*mut libc::c_void, $type>(NEXT.need()) };
        next
    }};
}
pub(crate) use next;
