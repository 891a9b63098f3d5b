use super::*;
use crate::{thread, Backend, Config};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Has goroutines that can park, whatever the environment says: the netpoller serves nobody else.
fn scheduler() {
    let _ = Config::new().backend(Backend::Goroutines).start(); // or another test has
}

/// Two connected sockets, made known as hooks would.
fn pair() -> (UnixStream, UnixStream) {
    scheduler();
    let (a, b) = UnixStream::pair().unwrap();
    opened(a.as_raw_fd());
    opened(b.as_raw_fd());
    (a, b)
}

/// Reads a byte the way a hook does.
fn read_byte(stream: &UnixStream, deadline: Option<u64>) -> Result<u8, Waited> {
    let mut attempt = descriptor(stream.as_raw_fd()).unwrap().attempt(Interest::Read);
    loop {
        let mut byte = [0u8];
        // SAFETY: one byte, ours.
        let n = unsafe { libc::recv(stream.as_raw_fd(), byte.as_mut_ptr().cast(), 1, libc::MSG_DONTWAIT) };
        if n == 1 {
            attempt.finish();
            return Ok(byte[0]);
        }
        attempt.spent();
        match attempt.wait(deadline) {
            Waited::Ready => {}
            other => return Err(other),
        }
    }
}

fn soon() -> Option<u64> {
    Some(crate::os::now() + 5_000_000)
}

#[test]
fn a_goroutine_waits_for_a_byte() {
    let (a, mut b) = pair();
    let reader = thread::spawn(move || (0..100).map(|_| read_byte(&a, None).unwrap()).collect::<Vec<_>>());
    for i in 0..100 {
        thread::yield_now();
        b.write_all(&[i]).unwrap();
    }
    assert_eq!(reader.join().unwrap(), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_wait_ends_by_its_deadline() {
    let (a, _b) = pair();
    let until = crate::os::now() + 5_000_000;
    assert_eq!(thread::spawn(move || read_byte(&a, Some(until))).join().unwrap(), Err(Waited::TimedOut));
    assert!(crate::os::now() >= until);
}

#[test]
fn one_event_serves_several_readers_one_after_the_other() {
    let (a, mut b) = pair();
    let served = AtomicUsize::new(0);
    thread::scope(|s| {
        for _ in 0..50 {
            s.spawn(|| {
                read_byte(&a, None).unwrap();
                served.fetch_add(1, Ordering::SeqCst);
            });
        }
        while queued(&a) < 50 {
            thread::yield_now();
        }
        b.write_all(&[0; 50]).unwrap(); // one change, fifty bytes
    });
    assert_eq!(served.into_inner(), 50);
}

fn queued(stream: &UnixStream) -> usize {
    let desc = table::find(stream.as_raw_fd());
    desc.map_or(0, |desc| desc.waiters())
}

#[test]
fn closing_wakes_everybody() {
    let (a, _b) = pair();
    thread::scope(|s| {
        let waiting: Vec<_> = (0..10).map(|_| s.spawn(|| read_byte(&a, None))).collect();
        while queued(&a) < 10 {
            thread::yield_now();
        }
        closing(a.as_raw_fd());
        for each in waiting {
            assert_eq!(each.join().unwrap(), Err(Waited::Closed));
        }
    });
}

#[test]
fn the_end_of_a_stream_wakes_everybody_and_lasts() {
    let (a, b) = pair();
    thread::scope(|s| {
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                s.spawn(|| {
                    let attempt = &mut descriptor(a.as_raw_fd()).unwrap().attempt(Interest::Read);
                    attempt.wait(None)
                })
            })
            .collect();
        while queued(&a) < 10 {
            thread::yield_now();
        }
        drop(b);
        for each in waiting {
            assert_eq!(each.join().unwrap(), Waited::Ready);
        }
    });
    let attempt = descriptor(a.as_raw_fd()).unwrap().attempt(Interest::Read);
    attempt.spent();
    assert!(!attempt.is_spent(), "no event will announce the end again");
}

#[test]
fn waiting_for_any_of_many() {
    let pairs: Vec<_> = (0..100).map(|_| pair()).collect();
    let started = AtomicUsize::new(0);
    thread::scope(|s| {
        let (pairs, started) = (&pairs, &started);
        let waiter = s.spawn(move || {
            let each = |pair: &(UnixStream, _)| descriptor(pair.0.as_raw_fd()).unwrap().attempt(Interest::Read);
            let mut attempts: Vec<_> = pairs.iter().map(each).collect();
            // The first wait registers them all, which is a change of each that is ready for anything.
            while wait_any(&mut attempts, soon()) != Waited::TimedOut {}
            started.store(1, Ordering::SeqCst);
            let mut found = vec![];
            while found.len() < 3 {
                assert_ne!(wait_any(&mut attempts, None), Waited::TimedOut);
                found = (0..100).filter(|i| (&pairs[*i].0).read_exact_now()).chain(found).collect();
            }
            found.sort_unstable();
            found
        });
        while started.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        for i in [7, 50, 99] {
            (&pairs[i].1).write_all(b"x").unwrap();
        }
        assert_eq!(waiter.join().unwrap(), [7, 50, 99]);
    });
}

trait Now {
    fn read_exact_now(self) -> bool;
}

impl Now for &UnixStream {
    /// Takes a byte if there is one.
    fn read_exact_now(mut self) -> bool {
        self.set_nonblocking(true).unwrap();
        self.read(&mut [0]).is_ok_and(|n| n == 1)
    }
}

#[test]
fn a_regular_file_cannot_be_waited_for() {
    scheduler();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    opened(file.as_raw_fd());
    let outcome = thread::spawn(move || {
        let outcome = descriptor(file.as_raw_fd()).unwrap().attempt(Interest::Read).wait(None);
        drop(file);
        outcome
    });
    assert_eq!(outcome.join().unwrap(), Waited::Unpollable);
}

#[test]
fn numbers_out_of_range() {
    assert!(descriptor(-1).is_none());
    assert!(descriptor(c_int::MAX).is_none());
    opened(-1);
    closing(c_int::MAX);
}

#[test]
fn facts_are_forgotten_when_a_number_changes_hands() {
    let (a, _b) = pair();
    let of = descriptor(a.as_raw_fd()).unwrap();
    let (stamp, _) = of.facts();
    of.set_facts(stamp, 5);
    assert_eq!(of.facts(), (stamp, 5));
    opened(a.as_raw_fd());
    assert_eq!(of.facts().1, 0);
    of.set_facts(stamp, 6); // late
    assert_eq!(of.facts().1, 0);
}

#[test]
fn a_number_reopened_behind_the_hooks_heals() {
    let (a, _a2) = pair();
    let fd = a.as_raw_fd();
    // Registers the number, for what is `a` now.
    let a = thread::spawn(move || {
        assert_eq!(read_byte(&a, soon()), Err(Waited::TimedOut));
        a
    })
    .join()
    .unwrap();
    let (b, mut b2) = pair();
    // This crate has no hooks, so nobody hears of it.
    // SAFETY: both are ours.
    assert_eq!(unsafe { libc::dup2(b.as_raw_fd(), fd) }, fd);
    let reader = thread::spawn(move || read_byte(&a, None));
    while table::find(fd).unwrap().waiters() == 0 {
        thread::yield_now(); // it waits for an event that epoll has no reason to report
    }
    b2.write_all(&[9]).unwrap();
    assert_eq!(reader.join().unwrap(), Ok(9));
}
