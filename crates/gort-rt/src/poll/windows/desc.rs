//! What the netpoller knows of a socket; see the head of `poll`.

use super::{Interest, Waited};
use crate::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::os::afd::{Answer, Question};
use crate::sched::g::{Claim, Ticket};
use crate::sched::global::Batch;
use crate::sync::rawmutex::RawMutex;

/// All zero is a number of which nothing is known.
#[repr(C, align(64))]
pub(super) struct Desc {
    /// Which socket the number stands for, as far as hooks know: grows when one is made or closed.
    generation: AtomicU32,
    /// The caller's 32 bits below, the generation that they are true of above.
    facts: AtomicU64,
    sides: [Side; 2],
}

/// Reading, or writing.
pub(super) struct Side {
    /// Whose turn it is: see `turn`.
    pub(super) turn: AtomicU32,
    /// Somebody waits for an answer. A hint, without the lock.
    waited_for: AtomicBool,
    /// How often those who wait were told to look again. Written under the lock.
    calls: AtomicU32,
    pub(super) state: RawMutex<State>,
    pub(super) question: Question,
}

// SAFETY: the question belongs to whoever holds `state` and finds it not asked; else to the driver.
unsafe impl Sync for Side {}

/// Under the lock.
pub(super) struct State {
    /// The question was asked, and its answer was not taken yet.
    pub(super) asked: bool,
    /// It was asked by the wait that `waiter` is.
    pub(super) own: bool,
    /// The goroutine whose turn it is, while it waits.
    waiter: Option<Ticket>,
    /// How its wait ended, for that goroutine.
    outcome: Option<Waited>,
}

impl State {
    /// A wait begins. If the question was not asked before, it was now, by this wait.
    pub(super) fn begin(&mut self, side: &Side, ticket: Ticket) {
        self.own = !self.asked;
        self.asked = true;
        self.waiter = Some(ticket);
        self.outcome = None;
        side.waited_for.store(true, Ordering::Relaxed);
    }

    /// A wait is over, for the goroutine itself: how it ended, if anybody has ended it; and whether its question is to be taken
    /// back.
    pub(super) fn end(&mut self, side: &Side) -> (Option<Waited>, bool) {
        let alone = self.waiter.take().is_some();
        side.waited_for.store(false, Ordering::Relaxed);
        (self.outcome.take(), alone && self.disown())
    }

    /// Ends the wait, if there is one.
    fn wake(&mut self, side: &Side, outcome: Waited, runnable: &mut Batch) {
        let Some(ticket) = self.waiter.take() else { return };
        side.waited_for.store(false, Ordering::Relaxed);
        self.outcome = Some(outcome);
        if let Claim::Owned(g) = ticket.claim(false) {
            // SAFETY: the claim made `g` ours, and it lives.
            runnable.push(unsafe { &raw const (*g).task });
        }
    }

    /// The question, if it was asked, is nobody's from now on. True: it was somebody's.
    fn disown(&mut self) -> bool {
        let owned = self.asked && self.own;
        self.own = false;
        owned
    }
}

impl Side {
    /// Whether a goroutine waits. A hint, without the lock.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waited_for.load(Ordering::Relaxed)
    }

    /// How often those who wait were told to look again.
    pub(super) fn calls(&self) -> u32 {
        // Acquire: what is looked at after this is what the call was about, or newer.
        self.calls.load(Ordering::Acquire)
    }

    /// Has the goroutine that waits, or is about to, look again. True: its question is to be taken back.
    pub(super) fn call(&self, runnable: &mut Batch) -> bool {
        let mut state = self.state.lock();
        self.calls.store(self.calls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        state.wake(self, Waited::Again, runnable);
        state.disown()
    }

    /// The answer to the question has come.
    pub(super) fn answered(&self, runnable: &mut Batch) {
        let mut state = self.state.lock();
        state.asked = false;
        let outcome = match state.own {
            // SAFETY: the caller has taken the answer, and only under this lock another question is asked.
            true => match unsafe { self.question.answer() } {
                Answer::Ready => Waited::Ready,
                Answer::Closed => Waited::Closed,
                Answer::Nothing => Waited::Again,
            },
            false => Waited::Again,
        };
        state.own = false;
        state.wake(self, outcome, runnable);
    }

    /// The number has changed hands: ends the wait, if there is one. True: its question is to be taken back.
    pub(super) fn close(&self, runnable: &mut Batch) -> bool {
        let mut state = self.state.lock();
        state.wake(self, Waited::Closed, runnable);
        state.disown()
    }
}

impl Desc {
    pub(super) fn side(&self, interest: Interest) -> &Side {
        &self.sides[interest as usize]
    }

    pub(super) fn sides(&self) -> &[Side; 2] {
        &self.sides
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Another socket stands behind the number from now on, or none. Who waits is still to be told.
    pub(super) fn next_generation(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether nothing is known of the number, and nobody waits.
    pub(super) fn is_untouched(&self) -> bool {
        let free = |side: &Side| side.turn.load(Ordering::Relaxed) == 0;
        self.facts().1 == 0 && self.sides.iter().all(free)
    }

    pub(super) fn facts(&self) -> (u32, u32) {
        let generation = self.generation();
        let facts = self.facts.load(Ordering::Acquire);
        (generation, if (facts >> 32) as u32 == generation { facts as u32 } else { 0 })
    }

    /// Takes `clear` out of the facts of that generation and puts `set` in, unless it has passed.
    pub(super) fn change_facts(&self, generation: u32, clear: u32, set: u32) {
        let mut before = self.facts.load(Ordering::Acquire);
        loop {
            let known = if (before >> 32) as u32 == generation { before as u32 } else { 0 };
            if self.generation() != generation {
                return;
            }
            let after = u64::from(generation) << 32 | u64::from(known & !clear | set);
            match self.facts.compare_exchange_weak(before, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => before = now,
            }
        }
    }
}
