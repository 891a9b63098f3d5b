//! Signal handlers of ours in front of those that the host has: how they get there, pass signals on, and go away.
//!
//! The action that was there is kept, and constant while ours is installed: the handler reads it without a lock. It is put
//! back by whoever put ours there, unless somebody has installed another handler since, who may call ours: then ours
//! stays, and passes everything on.

use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::mem::{transmute, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A handler that is told of the signal and of the interrupted context.
pub(crate) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// A signal, and the action that was in force for it before ours.
pub(crate) struct Chain {
    pub(crate) signal: c_int,
    former: UnsafeCell<MaybeUninit<libc::sigaction>>,
    /// True while our handler is installed; `former` is constant then.
    installed: AtomicBool,
    /// Kernel threads in our handler.
    inside: AtomicU32,
}

/// While it lives, our handler runs.
pub(crate) struct Inside<'a>(&'a Chain);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Release);
    }
}

// SAFETY: `former` is written only by `install`, before the handler that reads it exists; installing and removing are
// not to be called at the same time, as their contract says.
unsafe impl Sync for Chain {}

/// What there was before our handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Former {
    /// The system's own action: for most signals the end of the process.
    Default,
    Ignored,
    Handler,
}

impl Chain {
    pub(crate) const fn new(signal: c_int) -> Self {
        Self {
            signal,
            former: UnsafeCell::new(MaybeUninit::uninit()),
            installed: AtomicBool::new(false),
            inside: AtomicU32::new(0),
        }
    }

    /// Installs `handler`, which must be async-signal-safe, with the flags `SA_SIGINFO`, `SA_ONSTACK` and `flags`. Does nothing
    /// if it is installed. Not to be called from two threads at a time.
    pub(crate) fn install(&self, handler: Handler, flags: c_int) -> Result<(), i32> {
        if self.installed.load(Ordering::Relaxed) {
            return Ok(());
        }
        // SAFETY: zero is a valid signal action; the calls get valid records, and the handler is async-signal-safe. The
        // old action is in place before the new handler, which reads it, can run.
        unsafe {
            let mut ours: libc::sigaction = core::mem::zeroed();
            ours.sa_sigaction = handler as *const () as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
            check(libc::sigaction(self.signal, ptr::null(), self.former.get().cast()))?;
            check(libc::sigaction(self.signal, &ours, ptr::null_mut()))?;
        }
        self.installed.store(true, Ordering::Release);
        Ok(())
    }

    /// Puts the former action back in place of `handler`, and says whether that was possible: it is not when somebody has
    /// installed a handler since and may call ours. Not to be called from two threads at a time.
    pub(crate) fn uninstall(&self, handler: Handler) -> bool {
        if !self.installed.load(Ordering::Relaxed) {
            return true;
        }
        let mut current = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: the first call fills in the record; the second gets the action that `install` saved.
        let done = unsafe {
            libc::sigaction(self.signal, ptr::null(), current.as_mut_ptr()) == 0
                && current.assume_init_ref().sa_sigaction == handler as *const () as usize
                && libc::sigaction(self.signal, self.former.get().cast(), ptr::null_mut()) == 0
        };
        if done {
            self.installed.store(false, Ordering::Release);
        }
        // Who is in it still runs our code: the library must stay.
        done && self.inside.load(Ordering::Acquire) == 0
    }

    /// The first act of our handler.
    pub(crate) fn enter(&self) -> Inside<'_> {
        self.inside.fetch_add(1, Ordering::Relaxed);
        Inside(self)
    }

    /// The action that ours stands in front of.
    fn action(&self) -> &libc::sigaction {
        // SAFETY: only our handler asks; `install` saved the action before that could run, and it is constant while the
        // handler is there.
        unsafe { (*self.former.get()).assume_init_ref() }
    }

    /// Our handler asks what there was before it.
    pub(crate) fn former(&self) -> Former {
        match self.action().sa_sigaction {
            libc::SIG_DFL => Former::Default,
            libc::SIG_IGN => Former::Ignored,
            _ => Former::Handler,
        }
    }

    /// Our handler calls the one that there was before it.
    ///
    /// # Safety
    /// There was one, and the arguments are what the kernel gave.
    pub(crate) unsafe fn call(&self, info: *mut libc::siginfo_t, context: *mut c_void) {
        let action = self.action();
        // SAFETY: the saved handler has the type that its flags say, and gets what the kernel gave us.
        unsafe {
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                let handler: Handler = transmute(action.sa_sigaction);
                handler(self.signal, info, context);
            } else {
                let handler: extern "C" fn(c_int) = transmute(action.sa_sigaction);
                handler(self.signal);
            }
        }
    }

    /// Our handler puts the former action back, so that a signal that comes again finds it.
    pub(crate) fn step_aside(&self) {
        // SAFETY: the saved action is valid; sigaction is async-signal-safe.
        unsafe { libc::sigaction(self.signal, self.action(), ptr::null_mut()) };
    }
}

fn check(result: c_int) -> Result<(), i32> {
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL))
    }
}
