//! Storms: much of one thing going on in the whole process while a test does something else. They end with the process.

use crate::cthreads::{eventually, CThread};
use gort::{ffi, thread};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{mpsc, Mutex};
use std::time::Duration;

/// The names of all storms.
pub const ALL: [&str; 4] = ["spawns", "callbacks", "timers", "sockets"];

/// Things done so far.
static DONE: AtomicUsize = AtomicUsize::new(0);

/// How many things the storms have done so far.
pub fn done() -> usize {
    DONE.load(Relaxed)
}

/// Starts the storm of that name and returns when it is under way.
pub fn begin(name: &str) {
    match name {
        "spawns" => spawns(),
        "callbacks" => callbacks(),
        "timers" => timers(),
        "sockets" => sockets(),
        other => panic!("no storm {other:?}"),
    }
    goes_on();
}

/// Waits until the storm has done some more.
pub fn goes_on() {
    let before = done();
    eventually("the storm goes on", || done() > before + 200);
}

fn one_more() {
    DONE.fetch_add(1, Relaxed);
}

/// Goroutines that make goroutines, some of which are waited for.
fn spawns() {
    for i in 0..6 {
        drop(thread::spawn(move || loop {
            let some: Vec<_> = (0..20).map(|_| thread::spawn(|| drop(thread::spawn(one_more)))).collect();
            if i % 2 == 0 {
                some.into_iter().for_each(|g| g.join().expect("no panic in there"));
            } else {
                thread::yield_now();
            }
        }));
    }
}

/// C threads that call in and wake goroutines, some of them for their whole life and some of them once.
fn callbacks() {
    let (to, from) = mpsc::channel();
    drop(thread::spawn(move || from.iter().for_each(|()| one_more())));
    let to = std::sync::Arc::new(Mutex::new(to));
    for i in 0..6 {
        let to = to.clone();
        drop(std::thread::spawn(move || loop {
            let call =
                || ffi::callback(|| to.lock().expect("no panic holds it").send(()).expect("it is never dropped"));
            if i % 2 == 0 {
                (0..10).for_each(|_| call());
            } else {
                let to = to.clone();
                CThread::spawn(move || ffi::callback(|| to.lock().expect("as above").send(()).expect("as above")))
                    .join();
            }
        }));
    }
}

/// Goroutines that sleep, or wait for what does not come, for all kinds of short times.
fn timers() {
    for i in 0..300u64 {
        drop(thread::spawn(move || {
            let (_to, from) = mpsc::channel::<()>();
            for n in 0.. {
                let time = Duration::from_micros((i * 37 + n * 101) % 3000);
                match (i + n) % 3 {
                    0 => thread::sleep(time),
                    1 => thread::park_timeout(time),
                    _ => drop(from.recv_timeout(time)),
                }
                one_more();
            }
        }));
    }
}

/// Pairs that send a byte to and fro, and connections that come and go.
fn sockets() {
    fn answer(mut stream: impl Read + Write) {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    }
    fn ask(mut stream: impl Read + Write) {
        stream.write_all(b"x").expect("the other end answers");
        stream.read_exact(&mut [0]).expect("it answers");
        one_more();
    }
    for _ in 0..10 {
        let (one, other) = UnixStream::pair().expect("descriptors");
        drop(thread::spawn(move || answer(one)));
        drop(thread::spawn(move || loop {
            ask(&other);
        }));
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    drop(thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(|| answer(stream.expect("a connection")));
        }
    }));
    drop(thread::spawn(move || loop {
        // The table of connections that have ended may be full for a while.
        match TcpStream::connect(address) {
            Ok(stream) => ask(&stream),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }));
}
