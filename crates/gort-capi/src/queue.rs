//! How channels wait.
//!
//! A lock, a queue and two condition variables of std's. They park goroutines (gort-interpose catches the futex calls below them)
//! and block threads, whichever uses them. No channel crate is used, because C closes a channel by a call, and those close when the
//! last sender or receiver is dropped: whether a value that was sent at that moment has arrived could not be said exactly.
//!
//! There is room for a value while fewer are queued than the capacity and the receivers that wait. So with a capacity of 0 a sender
//! goes on when a receiver waits for its value.
//!
//! Values that are queued while receivers wait are *promised*: one to each, whichever it is. Who comes later takes only what is left
//! over, else it waits behind them; a sender that receives from the same channel next does not get its own value back. And the
//! promise is kept on the other side: who waits looks at the queue once more before it gives up, under the lock.
//!
//! # Why no wake-up is lost
//! Each value that is queued notifies one receiver; each that is taken, and each receiver that begins to wait, one sender: both
//! make room for one. Who was notified and finds its turn taken by somebody quicker waits again, and the quicker one has done what
//! the notice was about. Who gives up at its deadline looks first, and so takes what it was notified of at the last moment.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Why there was no transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Closed,
    /// Not without waiting, or not in time.
    NotNow,
}

/// How long to wait.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    None,
    For(Duration),
    Forever,
}

/// A first-in first-out queue for any number of senders and receivers.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    /// For receivers.
    values: Condvar,
    /// For senders.
    room: Condvar,
}

struct State<T> {
    values: VecDeque<T>,
    /// Receivers that wait.
    waiting: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Queue<T> {
        Queue {
            state: Mutex::new(State { values: VecDeque::new(), waiting: 0, closed: false }),
            capacity,
            values: Condvar::new(),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics under it that leaves it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends, when there is room.
    pub(crate) fn send(&self, value: T, patience: Patience) -> Result<(), Refused> {
        let mut state = self.lock();
        let mut deadline = Deadline::of(patience);
        loop {
            if state.closed {
                return Err(Refused::Closed);
            }
            if state.values.len() < self.capacity.saturating_add(state.waiting) {
                state.values.push_back(value);
                drop(state);
                self.values.notify_one();
                return Ok(());
            }
            if deadline.is_over() {
                return Err(Refused::NotNow);
            }
            state = deadline.wait(&self.room, state);
        }
    }

    /// Receives the oldest value, when there is one. Of a closed channel: until none is left.
    pub(crate) fn receive(&self, patience: Patience) -> Result<T, Refused> {
        let mut state = self.lock();
        let mut deadline = Deadline::of(patience);
        let mut promised = state.waiting;
        loop {
            if state.values.len() > promised {
                let value = state.values.pop_front().expect("there are more than none");
                drop(state);
                self.room.notify_one();
                return Ok(value);
            }
            if state.closed {
                return Err(Refused::Closed);
            }
            if deadline.is_over() {
                return Err(Refused::NotNow);
            }
            state.waiting += 1;
            self.room.notify_one();
            state = deadline.wait(&self.values, state);
            state.waiting -= 1;
            promised = 0; // to others: one of them is ours
        }
    }

    /// Closes the channel. False: it was closed before.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.lock();
        let first = !state.closed;
        state.closed = true;
        drop(state);
        self.values.notify_all();
        self.room.notify_all();
        first
    }
}

/// When a wait ends.
struct Deadline {
    when: When,
}

enum When {
    Over,
    At(Instant),
    Never,
}

impl Deadline {
    fn of(patience: Patience) -> Deadline {
        let when = match patience {
            Patience::None => When::Over,
            Patience::For(time) => Instant::now().checked_add(time).map_or(When::Never, When::At),
            Patience::Forever => When::Never,
        };
        Deadline { when }
    }

    fn is_over(&self) -> bool {
        matches!(self.when, When::Over)
    }

    /// Waits for a notice, or until the deadline, which is over then; the caller looks again in either case.
    fn wait<'a, S>(&mut self, on: &Condvar, state: MutexGuard<'a, S>) -> MutexGuard<'a, S> {
        match self.when {
            When::Over => state,
            When::Never => on.wait(state).unwrap_or_else(PoisonError::into_inner),
            When::At(when) => {
                let left = when.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.when = When::Over;
                    return state;
                }
                on.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const SHORT: Patience = Patience::For(Duration::from_millis(1));

    #[test]
    fn values_come_in_order_and_room_is_limited() {
        let queue = Queue::new(2);
        assert_eq!(queue.receive(Patience::None), Err(Refused::NotNow));
        assert_eq!(queue.receive(SHORT), Err(Refused::NotNow));
        assert_eq!((queue.send(1, Patience::None), queue.send(2, SHORT)), (Ok(()), Ok(())));
        assert_eq!(queue.send(3, Patience::None), Err(Refused::NotNow));
        assert_eq!(queue.send(3, SHORT), Err(Refused::NotNow));
        assert_eq!((queue.receive(SHORT), queue.receive(Patience::Forever)), (Ok(1), Ok(2)));
    }

    #[test]
    fn a_closed_channel_is_emptied_first() {
        let queue = Queue::new(usize::MAX);
        queue.send(1, Patience::Forever).unwrap();
        assert!(queue.close());
        assert!(!queue.close());
        assert_eq!(queue.send(2, Patience::Forever), Err(Refused::Closed));
        assert_eq!(queue.receive(Patience::Forever), Ok(1));
        assert_eq!(queue.receive(Patience::Forever), Err(Refused::Closed));
    }

    #[test]
    fn who_waits_is_told_of_the_end() {
        let (full, empty) = (&Queue::new(0), &Queue::<()>::new(1));
        thread::scope(|s| {
            let senders: Vec<_> = (0..3).map(|_| s.spawn(|| full.send((), Patience::Forever))).collect();
            let receivers: Vec<_> = (0..3).map(|_| s.spawn(|| empty.receive(Patience::Forever))).collect();
            full.close();
            empty.close();
            senders.into_iter().for_each(|t| assert_eq!(t.join().unwrap(), Err(Refused::Closed)));
            receivers.into_iter().for_each(|t| assert_eq!(t.join().unwrap(), Err(Refused::Closed)));
        });
    }

    #[test]
    fn without_capacity_a_value_needs_a_receiver() {
        let queue = &Queue::new(0);
        assert_eq!(queue.send(1, Patience::None), Err(Refused::NotNow));
        thread::scope(|s| {
            let receiver = s.spawn(|| queue.receive(Patience::Forever));
            queue.send(2, Patience::Forever).unwrap();
            assert_eq!(queue.receive(Patience::None), Err(Refused::NotNow), "it is promised to who has waited");
            assert_eq!(receiver.join().unwrap(), Ok(2));
        });
        assert_eq!(queue.send(3, SHORT), Err(Refused::NotNow), "nobody waits any more");
    }

    #[test]
    fn what_was_sent_is_received_once_by_crowds() {
        for capacity in [0, 1, 7] {
            let queue = &Queue::new(capacity);
            let sum: u64 = thread::scope(|s| {
                let receivers: Vec<_> = (0..3)
                    .map(|i| {
                        let patience = if i == 0 { SHORT } else { Patience::Forever };
                        s.spawn(move || {
                            let mut sum = 0;
                            loop {
                                match queue.receive(patience) {
                                    Ok(value) => sum += value,
                                    Err(Refused::NotNow) => {}
                                    Err(Refused::Closed) => return sum,
                                }
                            }
                        })
                    })
                    .collect();
                let senders: Vec<_> = (0..3)
                    .map(|_| s.spawn(|| (1..=1000).for_each(|i| queue.send(i, Patience::Forever).unwrap())))
                    .collect();
                senders.into_iter().for_each(|t| t.join().unwrap());
                queue.close();
                receivers.into_iter().map(|t| t.join().unwrap()).sum()
            });
            assert_eq!(sum, 3 * 500_500, "capacity {capacity}");
        }
    }
}
