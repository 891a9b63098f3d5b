//! How many goroutines there are: births, ends and burials, counted where they happen and added up when somebody asks.
//!
//! A goroutine is *born* when it is spawned, has *ended* when nothing of the user's runs on it any more but, at most, the drop
//! of a result that nobody wanted, and is *buried* when nobody runs on its stack. Each P has counters that only its holder
//! writes, by plain stores; the rest is counted in one shared place.
//!
//! # Why 0 is true
//! Sums over many counters are no snapshot: a goroutine may be born on a P that was looked at already. But the counters only
//! grow, and no goroutine is buried before it is born. [`unburied`] adds up the burials first and the births after. Call the
//! moment in between t: the first sum is at most the burials up to t, the second at least the births up to t. If they are
//! equal, so are the burials and the births up to t: at t there was no goroutine, and if no thread can make one from outside
//! (see `gate`) there is none after.

use crate::atomic::{AtomicU64, Ordering};
use crate::sched::global::Sched;
use crate::sched::p::P;

/// What is counted; see the module's head.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Born = 0,
    Ended = 1,
    Buried = 2,
}

/// The counters of one place.
pub(crate) struct Census([AtomicU64; 3]);

impl Census {
    pub(crate) const fn new() -> Census {
        Census([const { AtomicU64::new(0) }; 3])
    }

    fn of(&self, event: Event) -> u64 {
        // Acquire: with the release of `count`, sums are taken in the order in which they are asked for.
        self.0[event as usize].load(Ordering::Acquire)
    }

    /// Moves all counts to `other`. Nobody may count here meanwhile.
    pub(crate) fn move_to(&self, other: &Census) {
        for (from, to) in self.0.iter().zip(&other.0) {
            to.fetch_add(from.load(Ordering::Relaxed), Ordering::Release);
            from.store(0, Ordering::Relaxed);
        }
    }
}

/// Counts an event: for the holder of a P, inside the runtime, on the P.
#[inline]
pub(crate) fn count(s: &Sched, p: Option<&P>, event: Event) {
    match p {
        Some(p) => {
            let counter = &p.census.0[event as usize];
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
        }
        None => {
            s.census.0[event as usize].fetch_add(1, Ordering::Release);
        }
    }
}

fn sum(s: &Sched, event: Event) -> u64 {
    s.census.of(event) + s.ps.iter().map(|p| p.census.of(event)).sum::<u64>()
}

/// Goroutines that have been spawned and have not ended, about.
pub(crate) fn alive(s: &Sched) -> u64 {
    let ended = sum(s, Event::Ended);
    sum(s, Event::Born).saturating_sub(ended)
}

/// Goroutines that have been spawned and are not buried, about; 0: there was a moment, since the call, without any, dead ones on
/// their way to the pool included.
pub(crate) fn unburied(s: &Sched) -> u64 {
    let buried = sum(s, Event::Buried);
    sum(s, Event::Born) - buried
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_move_and_none_is_lost() {
        let (one, other) = (Census::new(), Census::new());
        one.0[Event::Born as usize].store(3, Ordering::Relaxed);
        other.0[Event::Born as usize].store(4, Ordering::Relaxed);
        one.move_to(&other);
        assert_eq!((one.of(Event::Born), other.of(Event::Born)), (0, 7));
    }
}
