//! Handing off: a call that may block its kernel thread is made in place, and the goroutine's P goes to others meanwhile.
//!
//! For calls that nothing can be waited on for: the kernel knows no readiness of a regular file, a lock or a signal. The
//! goroutine keeps its stack and thread-local storage, so errno and all that the call leaves is as after libc's function. It
//! costs a kernel thread for as long as the call blocks.

use crate::switch::may_park;
use gort_rt::ffi::blocking;

/// Runs `call`, which may block the kernel thread. On a goroutine its P goes to others after about 20 µs.
#[inline]
pub(crate) fn hand_off<T>(call: impl FnOnce() -> T) -> T {
    if may_park() {
        blocking(call)
    } else {
        call()
    }
}

/// Defines hooks that are libc's function, wrapped by one of this crate's functions, and a table of them:
/// `hooks! { HOOKS, hand_off: c"fsync" fsync(fd: c_int) -> c_int; … }`.
macro_rules! hooks {
    ($table:ident, $wrap:path: $($cname:literal $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty;)*) => {
        /// Definitions of this file.
        pub(crate) static $table: &[$crate::Ours] = &[$($crate::Ours::new($cname, $name as *const ())),*];
        $(
            #[doc = concat!("libc's `", stringify!($name), "`.")]
            ///
            /// # Safety
            /// As for that function.
            #[no_mangle]
            pub unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
                let next = $crate::next::next!($cname, fn($($ty),*) -> $ret);
                // SAFETY: the caller's promise, passed on.
                $wrap(|| unsafe { next($($arg),*) })
            }
        )*
    };
}
pub(crate) use hooks;
