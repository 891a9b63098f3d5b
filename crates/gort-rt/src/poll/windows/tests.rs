use super::*;
use crate::thread;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::windows::io::{AsRawSocket, RawSocket};
use std::time::Duration;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn raw(stream: &TcpStream) -> usize {
    stream.as_raw_socket() as RawSocket as usize
}

/// The turn of a goroutine that reads, from a socket of which something is known.
fn turn(handle: usize) -> Turn {
    let socket = socket(handle).unwrap();
    let (stamp, _) = socket.facts();
    socket.change_facts(stamp, 0, 1);
    socket.turn(Interest::Read, stamp, || None).ok().unwrap()
}

/// Waits until something other than "look again" comes, as that may come for no reason.
fn wait(turn: &mut Turn, handle: usize, deadline: Option<u64>) -> Waited {
    loop {
        turn.look();
        match turn.wait(handle, deadline) {
            Waited::Again => {}
            other => return other,
        }
    }
}

fn on_goroutine(f: impl FnOnce() + Send + 'static) {
    if crate::backend().is_ok_and(|backend| backend == crate::Backend::Threads) {
        return;
    }
    thread::spawn(f).join().unwrap();
}

#[test]
fn a_wait_ends_with_an_event_or_with_its_time() {
    on_goroutine(|| {
        let (mut one, mut other) = pair();
        let mut turn = turn(raw(&one));
        let soon = || Some(crate::os::now() + 1_000_000);
        assert_eq!(wait(&mut turn, raw(&one), soon()), Waited::TimedOut);
        assert_eq!(wait(&mut turn, raw(&one), soon()), Waited::TimedOut, "the first question was taken back");
        other.write_all(b"x").unwrap();
        assert_eq!(wait(&mut turn, raw(&one), None), Waited::Ready);
        one.read_exact(&mut [0]).unwrap();
        assert_eq!(wait(&mut turn, raw(&one), soon()), Waited::TimedOut, "the event was the first wait's");
    });
}

#[test]
fn who_is_to_look_again_does_not_wait() {
    on_goroutine(|| {
        let (one, _other) = pair();
        let mut turn = turn(raw(&one));
        turn.look();
        look_again(raw(&one));
        assert_eq!(turn.wait(raw(&one), None), Waited::Again);
        turn.look();
        look_again_where(|facts| facts == 1);
        assert_eq!(turn.wait(raw(&one), None), Waited::Again);
    });
}

#[test]
fn nobody_waits_for_a_socket_that_has_gone() {
    on_goroutine(|| {
        let (one, _other) = pair();
        let mut first = turn(raw(&one));
        let record = socket(raw(&one)).unwrap();
        let (of_first, _) = record.facts();
        assert_eq!(closing(raw(&one)), 1);
        first.look();
        assert_eq!(first.wait(raw(&one), None), Waited::Closed);
        drop(first);
        assert_eq!(record.facts().1, 0);
        record.change_facts(of_first, 0, 7);
        assert_eq!(record.facts().1, 0, "what is said of the other is not noted");
    });
}

#[test]
fn turns_are_passed_on() {
    on_goroutine(|| {
        let (one, _other) = pair();
        let handle = raw(&one);
        let first = turn(handle);
        let (stamp, _) = socket(handle).unwrap().facts();
        let soon = Some(crate::os::now() + 1_000_000);
        let late = socket(handle).unwrap().turn(Interest::Read, stamp, || soon);
        assert_eq!(late.err(), Some(Waited::TimedOut));
        let others: Vec<_> = (0..20).map(|_| thread::spawn(move || drop(turn(handle)))).collect();
        thread::sleep(Duration::from_millis(1));
        drop(first);
        others.into_iter().for_each(|other| other.join().unwrap());
        // All of those who wait learn that the socket has gone, one from the other if need be.
        let first = turn(handle);
        let others: Vec<_> = (0..20)
            .map(|_| thread::spawn(move || socket(handle).unwrap().turn(Interest::Read, stamp, || None).err()))
            .collect();
        thread::sleep(Duration::from_millis(1));
        closing(handle);
        drop(first);
        for other in others {
            assert!(matches!(other.join().unwrap(), None | Some(Waited::Closed)));
        }
    });
}
