//! What a thread has that makes it a goroutine, from its first instruction to its last.
//!
//! The thread's TLS word points at a G of its own, without an M: `getg` knows it, nothing parks it. Whoever joins a
//! goroutine may rely on the end of its destructors, of thread-local variables and of pthread keys. There is no way to be
//! told when a thread has ended but to wait for it, and here the thread itself has something left to do. So the last is done
//! by the destructor of a pthread key. POSIX calls these in rounds, as long as some set their key again, and at most so many:
//!
//! ```text
//!   f, destructors of thread-local variables | round 1 | round 2 | round 3 | round 4
//!            key set                           set again  set again  the end
//! ```
//!
//! Not in the last round: race detectors and sanitizers wait for that with the same trick, and do not know the thread
//! afterwards.

use super::seat::{self, Seat};
use super::Threads;
use crate::debug::record::Origin;
use crate::ffi::{boundary, extra_m};
use crate::identity;
use crate::os::{self, ExitKey};
use crate::sched::g::{Kind, G};
use crate::thread::Inner;
use crate::tls::{self, SLOT_G};
use core::cell::Cell;
use core::ffi::c_void;
use core::mem;
use core::ptr;
use core::sync::atomic::Ordering;
use std::sync::Arc;

/// `PTHREAD_DESTRUCTOR_ITERATIONS`, as far as POSIX guarantees it and libraries have it.
const ROUNDS: u32 = 4;

/// What a goroutine does at its very end.
type Done = Box<dyn FnOnce()>;

/// See the module's head. Only the thread itself touches it.
pub(super) struct Body {
    threads: &'static Threads,
    g: G,
    /// Rounds of destructors to come, the end's included.
    rounds: Cell<u32>,
    done: Cell<Option<Done>>,
    seat: &'static Seat,
}

/// The key whose destructor ends goroutines. None: the process has no key left.
pub(super) fn key() -> Option<ExitKey> {
    ExitKey::new(round)
}

impl Body {
    /// Makes the calling thread the goroutine with the handle `thread`.
    pub(super) fn begin(threads: &'static Threads, thread: Arc<Inner>, origin: Origin) -> &'static Body {
        let seat = seat::take();
        seat.tid.store(os::gettid(), Ordering::Relaxed);
        seat.record.born_with_name(thread.id(), origin, thread.name_bytes(), &seat.name);
        let body: &'static Body = Box::leak(Box::new(Body {
            threads,
            g: G::native(Kind::Thread),
            rounds: Cell::new(ROUNDS - 1),
            done: Cell::new(None),
            seat,
        }));
        body.g.thread.set(Arc::into_raw(thread));
        body.g.tls.set(SLOT_G, &body.g);
        // SAFETY: the block lives until `end` has pointed the word elsewhere.
        unsafe { tls::settls(&body.g.tls) };
        body.set_key();
        body
    }

    /// The key's destructor will be called with this body.
    fn set_key(&self) {
        if !self.threads.key.set(ptr::from_ref(self).cast()) {
            os::write_stderr(b"gort: out of memory for a goroutine that was spawned\n");
            std::process::abort();
        }
    }

    /// Has `done` called at the thread's end. The body is not touched afterwards, but by the key's destructor.
    ///
    /// # Safety
    /// What `done` borrows lives until it has been called.
    pub(super) unsafe fn at_end<D: FnOnce()>(&self, done: D) {
        let done: Box<dyn FnOnce() + '_> = Box::new(done);
        // SAFETY: the caller vouches for what it borrows.
        self.done.set(Some(unsafe { mem::transmute::<Box<dyn FnOnce() + '_>, Done>(done) }));
    }

    /// The end: what is done here another thread may have waited for.
    fn end(self: Box<Body>) {
        let threads = self.threads;
        boundary::at_the_end(&self.g.tls);
        threads.ended(); // before anybody who joins can look
        self.seat.get_up();
        if let Some(done) = self.done.take() {
            done();
        }
        // The result may have been dropped just now, and its drop may have used thread-local variables.
        // SAFETY: the thread ends, and nothing of the user's runs on it but what ends with it.
        unsafe { identity::run_late_destructors() };
        // What still calls in does so as a thread that ends.
        tls::clear_tls();
        extra_m::ending();
        // SAFETY: `begin` stored it by `into_raw`; it is dropped once.
        drop(unsafe { Arc::from_raw(self.g.thread.get()) });
        threads.unjoined.this();
        drop(self);
        threads.left();
    }
}

/// The key's destructor.
unsafe extern "C" fn round(body: *mut c_void) {
    let body = body.cast::<Body>();
    // SAFETY: the key's values are bodies that `begin` leaked, and this thread's own.
    let left = unsafe { &(*body).rounds };
    left.set(left.get() - 1);
    if left.get() > 0 {
        // SAFETY: as above.
        unsafe { (*body).set_key() };
    } else {
        // SAFETY: as above; nobody finds the body any more.
        unsafe { Box::from_raw(body) }.end();
    }
}
