//! Linux, with glibc.

pub(crate) use gort_interpose::{report, Report};

/// `in_child` is called in each child that this process forks from now on.
pub(crate) fn at_fork(in_child: extern "C" fn()) {
    // SAFETY: the caller passes a plain function, which lives as long as this library.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

/// Whether calls of the whole process come to the hooks that are live: names are the process's.
pub(crate) fn hooks_serve_the_process() -> bool {
    true
}
