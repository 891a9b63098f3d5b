//! A goroutine, or what else an M runs. Its wait word is the real one; its stack is that of a thread of the model.

use crate::atomic::{AtomicU64, Ordering};
use crate::debug::why::Why;
use crate::engine::{self, Parker, Thread, Tracked};
use crate::sched::m::M;
use crate::sched::pool::Link;
use crate::sched::task::Task;
use crate::sched::waitword::{self, Outcome};
use crate::tls::{self, TlsBlock, SLOT_G, SLOT_PARK};
use core::cell::{Cell, OnceCell};
use core::ptr;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Goroutine,
    G0,
    Foreign,
}

/// A wait word and whose it is.
#[repr(C)]
struct Word {
    word: AtomicU64,
    g: Cell<*const G>,
}

/// The fields that the runtime's files use are named as there.
pub(crate) struct G {
    pub(crate) tls: TlsBlock,
    pub(crate) m: Cell<*const M>,
    pub(crate) sp: Cell<*mut u8>,
    pub(crate) tp: Cell<usize>,
    pub(crate) task: Task,
    pub(crate) next: Cell<*const G>,
    pub(crate) next_batch: Cell<*const G>,
    pub(crate) locked_m: Cell<*const M>,
    pub(crate) locks: Cell<u32>,
    pub(crate) kind: Kind,
    pub(crate) wait: &'static AtomicU64,
    /// What the registers are: saved by the goroutine, read by whoever resumes it.
    pub(crate) saved: Tracked<u32>,
    /// It was made runnable and has not gone on yet.
    runnable: Cell<bool>,
    /// Its thread.
    parker: OnceCell<Parker>,
}

impl G {
    pub(crate) fn native(kind: Kind) -> G {
        let word = engine::keep(Word { word: AtomicU64::new(0), g: Cell::new(ptr::null()) });
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
            wait: &word.word,
            saved: Tracked::new(0),
            runnable: Cell::new(false),
            parker: OnceCell::new(),
        }
    }

    /// Whether its M, if it has one, is inside the runtime.
    pub(crate) fn is_inside(&self) -> bool {
        // SAFETY: Ms live as long as the process.
        unsafe { self.m.get().as_ref() }.is_some_and(|m| m.in_runtime.load(Ordering::Relaxed) != 0)
    }

    /// A goroutine that no thread runs yet.
    pub(crate) fn goroutine() -> &'static G {
        let g = engine::keep(G::native(Kind::Goroutine));
        g.task.set_g(g);
        g.tls.set(SLOT_G, g);
        g.tls.set(SLOT_PARK, g);
        // SAFETY: `native` has made the word as the first field of a `Word`.
        unsafe { (*ptr::from_ref(g.wait).cast::<Word>()).g.set(g) };
        g
    }

    /// Runs the goroutine on a thread of its own.
    pub(crate) fn go(&'static self, f: impl FnOnce(&'static G) + 'static) -> Thread {
        engine::spawn(move || {
            // SAFETY: the block lives as long as the execution.
            unsafe { tls::settls(&self.tls) };
            self.at_home();
            f(self);
        })
    }

    /// The calling thread is the goroutine's.
    pub(crate) fn at_home(&self) {
        let _ = self.parker.set(Parker::here());
    }

    /// It has published that it is parked: waits until somebody makes it runnable.
    pub(crate) fn stay(&self) {
        while !self.runnable.replace(false) {
            Parker::park();
        }
    }

    /// Its owner makes it runnable.
    pub(crate) fn resume(&self) {
        self.saved.write(|saved| assert_eq!(*saved, 1, "a goroutine is run that was not saved"));
        assert!(!self.runnable.replace(true), "a goroutine is run twice");
        self.parker.get().expect("it has run before").unpark();
    }

    pub(crate) fn arm(&self, _: Why) -> Ticket {
        // SAFETY: models' Gs live as long as the execution.
        Ticket { word: self.wait, seq: waitword::arm(self.wait) }
    }

    pub(crate) fn disarm(&self) -> bool {
        waitword::disarm(self.wait)
    }

    pub(crate) fn is_armed(&self) -> bool {
        waitword::is_armed(self.wait)
    }

    pub(crate) fn publish_parked(&self) -> bool {
        waitword::publish_parked(self.wait)
    }

    pub(crate) fn timed_out(&self) -> bool {
        waitword::timed_out(self.wait)
    }
}

impl Link for G {
    fn next(&self) -> &Cell<*const G> {
        &self.next
    }

    fn next_batch(&self) -> &Cell<*const G> {
        &self.next_batch
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    word: &'static AtomicU64,
    seq: u64,
}

pub(crate) enum Claim {
    Lost,
    Running,
    Owned(*const G),
}

impl Ticket {
    pub(crate) fn of(word: &'static AtomicU64, seq: u64) -> Ticket {
        Ticket { word, seq }
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn claim(&self, timed_out: bool) -> Claim {
        match waitword::claim(self.word, self.seq, timed_out) {
            Outcome::Lost => Claim::Lost,
            Outcome::Running => Claim::Running,
            // SAFETY: all wait words are the first fields of `Word`s.
            Outcome::Parked => Claim::Owned(unsafe { (*ptr::from_ref(self.word).cast::<Word>()).g.get() }),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        waitword::is_open(self.word, self.seq)
    }
}
