//! A host with handlers for all signals, and a library in it that uses `gort-rt` alone.
//!
//! What the host has set up must be the same before the runtime's start, while it is used, and after its end. The package's
//! own library is not used here: it would bring the hooks, and make an application of this program.

#[path = "../host_state.rs"]
mod host_state;

use gort_rt::{ffi, thread, Config};
use host_state::{set_up_everything, HostState};
use std::ffi::c_int;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

extern "C" fn handler(_: c_int) {}

/// The handler of this signal is glibc's own, which the runtime wraps while it runs; see `docs/signals.md`.
const CREDENTIALS: c_int = 33;

fn main() {
    // glibc installs that handler before the first thread.
    std::thread::spawn(|| ()).join().expect("a thread");
    set_up_everything(handler);
    let before = HostState::now();
    for life in 1..=2 {
        use_everything();
        compare(&before, "in use", &[CREDENTIALS]);
        gort_rt::shutdown(Duration::from_secs(30)).expect("all have ended");
        compare(&before, "after the end", &[]);
        Config::new().procs(life).start().expect("it was shut down");
        compare(&before, "after another start", &[CREDENTIALS]);
    }
    println!("all as before");
}

fn compare(before: &HostState, when: &str, but: &[c_int]) {
    let found = before.clone().without(but).differences(&HostState::now().without(but));
    assert!(found.is_empty(), "{when}: {found:#?}");
}

/// Spawns, waits in all ways, calls in from threads that the runtime did not make, and out.
fn use_everything() {
    let all: Vec<_> = (0..100u64)
        .map(|i| {
            thread::spawn(move || {
                thread::sleep(Duration::from_micros(i * 10));
                thread::park_timeout(Duration::from_micros(i));
                thread::yield_now();
                ffi::blocking(|| i) + ffi::on_system_stack(|| i)
            })
        })
        .collect();
    assert_eq!(all.into_iter().map(|g| g.join().expect("no panic")).sum::<u64>(), 9900);
    let threads: Vec<_> = (0..8)
        .map(|i| std::thread::spawn(move || ffi::callback(|| thread::spawn(move || i).join().expect("no panic"))))
        .collect();
    assert_eq!(threads.into_iter().map(|t| t.join().expect("no panic")).sum::<i32>(), 28);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut to = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let mut from = listener.accept().expect("it has connected").0;
    let reader = thread::spawn(move || {
        let mut byte = [0];
        gort_rt::io::wait_readable(&from, None).expect("a socket can be waited for");
        from.read_exact(&mut byte).map(|()| byte[0])
    });
    to.write_all(b"x").expect("it is connected");
    assert_eq!(reader.join().expect("no panic").expect("it was sent"), b'x');
}
