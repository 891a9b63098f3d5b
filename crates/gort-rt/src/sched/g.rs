//! G: what runs. A goroutine, the g0 of an M, or the stand-in for a foreign thread that called in.
//!
//! A goroutine's G lies in its own stack mapping, between its thread-local storage and its first frame:
//!
//! ```text
//!   hi   ┌────────────────────────────┐
//!        │ thread control block       │  <- thread pointer
//!        │ static thread-local storage│
//!        ├────────────────────────────┤
//!        │ G                          │
//!        ├────────────────────────────┤
//!        │ the spawn closure          │
//!        │ frames, downwards          │
//!        │            ...             │
//!   lo   ├────────────────────────────┤
//!        │ guard                      │
//!        └────────────────────────────┘
//! ```
//!
//! (By some ABIs the two parts of the thread block are the other way round; see `identity`.)
//!
//! How it waits is argued in `waitword`.

use crate::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::debug::record::Record;
use crate::debug::why::Why;
use crate::identity;
use crate::pthread;
use crate::sched::global::sched;
use crate::sched::m::M;
use crate::sched::task::Task;
use crate::sched::waitword::{self, Outcome};
use crate::stack::{self, Slot};
use crate::thread::Inner;
use crate::tls::{TlsBlock, SLOT_G, SLOT_PARK};
use core::cell::Cell;
use core::mem::{align_of, size_of, MaybeUninit};
use core::ptr;

/// What a G stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Runs on a stack and an identity of its own.
    Goroutine,
    /// The scheduler on an M's native stack.
    G0,
    /// A thread that the runtime did not make, while it has an M.
    Foreign,
    /// A goroutine that is a kernel thread; see `oneone`. It has no M.
    Thread,
}

/// See the module's head. Fields in `Cell`s belong to whoever owns the G: the goroutine while it runs, the queue or list
/// that holds it, or the claimer of its wait. A release store or compare-and-swap hands it over each time.
#[repr(C, align(64))]
pub(crate) struct G {
    /// The block that the TLS word of this goroutine points at.
    pub(crate) tls: TlsBlock,
    /// The M that runs this G; written by the resumer before it switches.
    pub(crate) m: Cell<*const M>,
    /// The saved context while the G does not run.
    pub(crate) sp: Cell<*mut u8>,
    /// The thread pointer of the G's identity.
    pub(crate) tp: Cell<usize>,
    /// The goroutine's place in queues while it is ready.
    pub(crate) task: Task,
    /// The next G in the free list that holds this one.
    pub(crate) next: Cell<*const G>,
    /// The top of the next batch of dead Gs; see `pool`.
    pub(crate) next_batch: Cell<*const G>,
    /// The M that this goroutine is locked to, or null.
    pub(crate) locked_m: Cell<*const M>,
    /// How often `lock_os_thread` is in force.
    pub(crate) locks: Cell<u32>,
    pub(crate) kind: Kind,
    /// The goroutine has a `pthread_t` that others may hold, so its body is not its own to bury; see `pthread`.
    pub(crate) numbered: Cell<bool>,
    /// The wait word.
    pub(crate) wait: &'static AtomicU64,
    /// What a dump shows of the goroutine.
    pub(crate) record: &'static Record,
    /// Handle of the goroutine as users see it; owned (a leaked `Arc`) while the goroutine lives. Null for one that
    /// `pthread_create` made, which has none before it asks for it.
    pub(crate) thread: Cell<*const Inner>,
    /// The spawn closure, on the goroutine's own stack.
    pub(crate) closure: Cell<*mut u8>,
    /// Where the first frame may begin.
    pub(crate) top: Cell<*mut u8>,
    /// What those who hold the `pthread_t` look at.
    pub(crate) pthread: pthread::Record,
    /// The stack; set for goroutines only.
    slot: MaybeUninit<Slot>,
}

/// The wait word of Gs that never wait on one: g0s and foreign Gs.
static NO_WAIT: AtomicU64 = AtomicU64::new(0);
/// Their record, which nobody looks at.
static NO_RECORD: Record = Record::new();

/// Bytes from the thread pointer down to the G, before alignment; the same for all goroutines.
static BELOW: AtomicUsize = AtomicUsize::new(0);

/// Learns the shape of identities; once, before the first goroutine.
pub(crate) fn init() {
    BELOW.store(identity::layout().below + size_of::<G>(), Ordering::Relaxed);
}

impl G {
    /// A G without stack or identity of ours.
    pub(crate) const fn native(kind: Kind) -> G {
        G {
            tls: TlsBlock::new(),
            m: Cell::new(ptr::null()),
            sp: Cell::new(ptr::null_mut()),
            tp: Cell::new(0),
            task: Task::of_goroutine(),
            next: Cell::new(ptr::null()),
            next_batch: Cell::new(ptr::null()),
            locked_m: Cell::new(ptr::null()),
            locks: Cell::new(0),
            kind,
            numbered: Cell::new(false),
            wait: &NO_WAIT,
            record: &NO_RECORD,
            thread: Cell::new(ptr::null()),
            closure: Cell::new(ptr::null_mut()),
            top: Cell::new(ptr::null_mut()),
            pthread: pthread::Record::new(),
            slot: MaybeUninit::uninit(),
        }
    }

    /// A goroutine's G for `slot` and the thread pointer of its identity, without a closure yet.
    pub(crate) fn goroutine(slot: Slot, tp: usize) -> G {
        G {
            kind: Kind::Goroutine,
            wait: slot.wait,
            record: slot.record,
            tp: Cell::new(tp),
            slot: MaybeUninit::new(slot),
            ..G::native(Kind::Goroutine)
        }
    }

    /// Where the G of the goroutine with this thread pointer lies: below its static thread-local storage.
    pub(crate) fn below(tp: usize) -> *const G {
        let at = tp - BELOW.load(Ordering::Relaxed);
        (at & !(align_of::<G>() - 1)) as *const G
    }

    /// Makes the G find itself, through the goroutine's TLS block and through queues.
    pub(crate) fn own(&self) {
        self.tls.set(SLOT_G, self);
        self.tls.set(SLOT_PARK, self);
        self.task.set_g(self);
    }

    /// The stack of a goroutine.
    pub(crate) fn slot(&self) -> &Slot {
        debug_assert_eq!(self.kind, Kind::Goroutine);
        // SAFETY: `goroutine`, the only maker of this kind, sets it.
        unsafe { self.slot.assume_init_ref() }
    }

    /// Bytes of stack that a goroutine has for its frames.
    pub(crate) fn usable(&self) -> usize {
        self.top.get() as usize - self.slot().lo as usize
    }

    /// Whether the goroutine's stack is of the configured size.
    pub(crate) fn is_usual(&self) -> bool {
        self.slot().usable() == sched().usual_slot.load(Ordering::Relaxed)
    }

    /// Begins a wait, for which `why` is the reason, and returns its ticket. The goroutine must go on to [`crate::sched::park`], unless it takes the wait back
    /// by [`G::disarm`].
    #[inline]
    pub(crate) fn arm(&self, why: Why) -> Ticket {
        let seq = waitword::arm(self.wait);
        self.record.waits(seq, why);
        Ticket { word: self.wait, seq }
    }

    /// Takes an armed wait back. False: a waker has claimed it already.
    #[inline]
    pub(crate) fn disarm(&self) -> bool {
        waitword::disarm(self.wait)
    }

    /// True while an armed wait was not claimed.
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        waitword::is_armed(self.wait)
    }

    /// The goroutine is saved: by the context that was switched to. False: the wait was claimed before, so the caller makes
    /// the G runnable.
    #[inline]
    pub(crate) fn publish_parked(&self) -> bool {
        waitword::publish_parked(self.wait)
    }

    /// After a wait: whether a timer ended it.
    #[inline]
    pub(crate) fn timed_out(&self) -> bool {
        waitword::timed_out(self.wait)
    }
}

/// One wait of one goroutine, as its possible wakers know it. May outlive the goroutine.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    word: &'static AtomicU64,
    seq: u64,
}

/// What a claim gained.
pub(crate) enum Claim {
    /// Another waker was first, or the goroutine has gone on long ago.
    Lost,
    /// The wait is over; the goroutine has not parked yet and needs nothing.
    Running,
    /// The wait is over and the claimer owns this G: it must make it runnable.
    Owned(*const G),
}

impl Ticket {
    /// The ticket of the wait numbered `seq` of the goroutine whose wait word is `word`.
    pub(crate) fn of(word: &'static AtomicU64, seq: u64) -> Ticket {
        Ticket { word, seq }
    }

    /// The number of the wait; 4 or more.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Ends the wait, unless somebody has already.
    pub(crate) fn claim(&self, timed_out: bool) -> Claim {
        match waitword::claim(self.word, self.seq, timed_out) {
            Outcome::Lost => Claim::Lost,
            Outcome::Running => Claim::Running,
            Outcome::Parked => Claim::Owned(self.goroutine()),
        }
    }

    /// The goroutine that waits, which is alive: the caller has won the claim.
    fn goroutine(&self) -> *const G {
        G::below(stack::tp_of(self.word))
    }

    /// True while nobody has ended the wait.
    pub(crate) fn is_open(&self) -> bool {
        waitword::is_open(self.word, self.seq)
    }
}

#[cfg(test)]
impl Ticket {
    /// A ticket of a wait that is open, or was ended long ago.
    pub(crate) fn for_test(open: bool) -> Ticket {
        Ticket { word: waitword::for_test(open), seq: 4 }
    }
}
