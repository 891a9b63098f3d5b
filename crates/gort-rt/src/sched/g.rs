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
//! # The wait word
//! A wait is one use of the G's *wait word*: a sequence number and a state. The word lies outside the mapping and is
//! never given back or zeroed, so a late waker, such as a timer whose goroutine is long gone, may look at it for ever.
//!
//! ```text
//!             (1) arm                  (2) saved
//!   IDLE  ───────────────▶ ARMED  ───────────────▶ PARKED
//!     ▲  ▲                   │                        │
//!     │  └───────────────────┘ (3) claim              │
//!     └───────────────────────────────────────────────┘ (4) claim: the claimer makes the G runnable
//! ```
//!
//! 1. The goroutine itself, before it shows itself to anybody who could wake it. The sequence number grows by one.
//! 2. The context that was switched to, after the goroutine's registers were saved.
//! 3. A waker that comes before (2). It does nothing else: (2) fails and *its* author makes the G runnable.
//! 4. A waker that comes after (2) now owns the G, whose context is saved, and must make it runnable.
//!
//! Of all wakers that know the same sequence number one claim succeeds: (3) and (4) are one compare-and-swap on the
//! whole word. So a goroutine is never run twice, never resumed before it is saved, and, because (2) and (3) meet in the
//! same word, no wake-up between arming and parking is lost. A timer claims to `TIMED_OUT` in place of `IDLE`.

use crate::identity;
use crate::pthread;
use crate::sched::global::sched;
use crate::sched::m::M;
use crate::sched::task::Task;
use crate::stack::{self, Slot};
use crate::thread::Inner;
use crate::tls::{TlsBlock, SLOT_G, SLOT_PARK};
use core::cell::Cell;
use core::mem::{align_of, size_of, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const IDLE: u64 = 0;
const ARMED: u64 = 1;
const PARKED: u64 = 2;
const TIMED_OUT: u64 = 3;
const STATE: u64 = 3;

/// What a G stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Runs on a stack and an identity of its own.
    Goroutine,
    /// The scheduler on an M's native stack.
    G0,
    /// A thread that the runtime did not make, while it has an M.
    Foreign,
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
    /// The M that this goroutine is locked to, or null.
    pub(crate) locked_m: Cell<*const M>,
    /// How often `lock_os_thread` is in force.
    pub(crate) locks: Cell<u32>,
    pub(crate) kind: Kind,
    /// The goroutine has a `pthread_t` that others may hold, so its body is not its own to bury; see `pthread`.
    pub(crate) numbered: Cell<bool>,
    /// See the module's head.
    pub(crate) wait: &'static AtomicU64,
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
            locked_m: Cell::new(ptr::null()),
            locks: Cell::new(0),
            kind,
            numbered: Cell::new(false),
            wait: &NO_WAIT,
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

    /// Transition (1): begins a wait and returns its ticket. The goroutine must go on to [`crate::sched::park`], unless
    /// it takes the wait back by [`G::disarm`].
    pub(crate) fn arm(&self) -> Ticket {
        let old = self.wait.load(Ordering::Relaxed);
        debug_assert!(old & STATE != ARMED && old & STATE != PARKED, "a goroutine waits for one thing at a time");
        let seq = (old & !STATE) + (STATE + 1);
        // Relaxed: whoever may claim learns of the ticket through a later release (a lock, a queue).
        self.wait.store(seq | ARMED, Ordering::Relaxed);
        Ticket { word: self.wait, seq }
    }

    /// Takes an armed wait back. False: a waker has claimed it already.
    pub(crate) fn disarm(&self) -> bool {
        let seq = self.wait.load(Ordering::Relaxed) & !STATE;
        self.wait.compare_exchange(seq | ARMED, seq | IDLE, Ordering::Acquire, Ordering::Acquire).is_ok()
    }

    /// True while an armed wait was not claimed.
    pub(crate) fn is_armed(&self) -> bool {
        self.wait.load(Ordering::Acquire) & STATE == ARMED
    }

    /// Transition (2), by the context that was switched to. False: the wait was claimed before, so the caller makes the
    /// G runnable.
    pub(crate) fn publish_parked(&self) -> bool {
        let seq = self.wait.load(Ordering::Relaxed) & !STATE;
        // Release: the saved context is complete for whoever claims. Acquire on failure: what the claimer did before.
        self.wait.compare_exchange(seq | ARMED, seq | PARKED, Ordering::Release, Ordering::Acquire).is_ok()
    }

    /// After a wait: whether a timer ended it.
    pub(crate) fn timed_out(&self) -> bool {
        // Acquire: what the waker did before its claim is visible to the goroutine that it woke.
        self.wait.load(Ordering::Acquire) & STATE == TIMED_OUT
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

    /// Transitions (3) and (4): ends the wait, unless somebody has already.
    pub(crate) fn claim(&self, timed_out: bool) -> Claim {
        let end = self.seq | if timed_out { TIMED_OUT } else { IDLE };
        let mut now = self.word.load(Ordering::Relaxed);
        loop {
            if now != self.seq | ARMED && now != self.seq | PARKED {
                return Claim::Lost;
            }
            // AcqRel: release what the waker did to the goroutine; acquire its saved context.
            match self.word.compare_exchange_weak(now, end, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if now & STATE == PARKED => return Claim::Owned(self.goroutine()),
                Ok(_) => return Claim::Running,
                Err(other) => now = other,
            }
        }
    }

    /// The goroutine that waits, which is alive: the caller has won the claim.
    fn goroutine(&self) -> *const G {
        G::below(stack::tp_of(self.word))
    }

    /// True while nobody has ended the wait.
    pub(crate) fn is_open(&self) -> bool {
        let now = self.word.load(Ordering::Relaxed);
        now == self.seq | ARMED || now == self.seq | PARKED
    }
}

#[cfg(test)]
impl Ticket {
    /// A ticket of a wait that is open, or was ended long ago.
    pub(crate) fn for_test(open: bool) -> Ticket {
        let word = Box::leak(Box::new(AtomicU64::new(4 | if open { PARKED } else { IDLE })));
        Ticket { word, seq: 4 }
    }
}
