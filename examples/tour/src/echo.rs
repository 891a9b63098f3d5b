//! Act (e): an echo server for 5,000 connections, and its clients, in plain `std::net`.
//!
//! A goroutine accepts; each connection then has one goroutine at either end, which do nothing but blocking
//! reads and writes. A read that would wait parks the goroutine, so ten thousand of them need no more kernel
//! threads than the program had before. The clients begin when all connections stand. They compare each byte
//! that comes back, and both ends count.

use crate::process;
use crate::report::{commas, each, per, ratio, Act};
use crate::threads::{Goroutines, StdThreads, Threads};
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Arc, RwLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Connections between goroutines, if the process may have two descriptors for each.
const CONNECTIONS: usize = 5_000;

/// Connections between kernel threads; twice as many threads.
const STD_CONNECTIONS: usize = 1_000;

/// Round trips over each connection.
const TRIPS: u64 = 20;

/// Bytes that go there and back in a trip.
const MESSAGE: usize = 64;

/// Kernel threads that all this may take, those of the runtime and the main thread included.
const MOST_KERNEL_THREADS: u64 = 16;

/// Descriptors for everything else.
const OTHER_DESCRIPTORS: usize = 100;

/// Between two looks at the number of kernel threads.
const LOOK: Duration = Duration::from_millis(10);

/// Runs the act.
pub fn run() -> Act {
    let allowed = process::allow_descriptors().saturating_sub(OTHER_DESCRIPTORS) / 2;
    let crowd = process::crowd(CONNECTIONS);
    let wanted = crowd.min(allowed);
    let what = format!("{} connections, a goroutine at each end", commas(wanted));
    let mut act = Act::new('e', "echo", what);
    if let Err(why) = process::sockets_park() {
        act.skip(why);
        return act;
    }
    if wanted < crowd {
        act.detail(format!("the limit of open files (ulimit -Hn) allows only {} connections", commas(wanted)));
    }
    // Those of the act before may still be on their way out.
    let before = process::settle(MOST_KERNEL_THREADS);

    match measure::<Goroutines>(wanted) {
        Ok(ours) => compare(&mut act, &ours, wanted, before),
        Err(error) => act.check("the sockets", Err(error.to_string()), Ok(())),
    }
    act
}

/// Reports what the goroutines did, then lets std threads do it.
fn compare(act: &mut Act, ours: &Run, wanted: usize, before: u64) {
    act.took(ours.total);
    act.detail(format!(
        "connected in {:.2} s, then {} round trips of {MESSAGE} bytes in {:.2} s ({} each)",
        ours.connecting.as_secs_f64(),
        commas(ours.trips()),
        ours.talking.as_secs_f64(),
        each(ours.talking, ours.trips()),
    ));
    act.detail(format!(
        "kernel threads: {before} before, {} at the peak, with {} goroutines in read, write or accept",
        ours.kernel_threads,
        commas(2 * ours.size + 1),
    ));
    act.check("connections", ours.size, wanted);
    act.check("16 kernel threads suffice", ours.kernel_threads <= MOST_KERNEL_THREADS, true);
    ours.check(act);

    match measure::<StdThreads>(STD_CONNECTIONS.min(wanted)) {
        Ok(theirs) => {
            let slower = ratio(per(ours.talking, ours.trips()), per(theirs.talking, theirs.trips()));
            act.compare(format!("std threads: {} connections, {slower} per trip", commas(theirs.size)));
            act.detail(format!(
                "std threads: {} each, {} kernel threads at the peak",
                each(theirs.talking, theirs.trips()),
                commas(theirs.kernel_threads),
            ));
            theirs.check(act);
        }
        Err(error) => act.compare(format!("std threads: {error}")),
    }
}

/// What a server and its clients did.
struct Run {
    /// Connections that stood at once; fewer than asked for if no more threads could be had.
    size: usize,
    /// Clients that ended without a panic.
    ended: usize,
    tally: Arc<Tally>,
    kernel_threads: u64,
    connecting: Duration,
    talking: Duration,
    /// From the first connection to the last end.
    total: Duration,
}

/// Bytes, counted at both ends.
#[derive(Default)]
struct Tally {
    /// Sent back by the server.
    served: AtomicU64,
    /// Found by the clients to be what they had sent.
    returned: AtomicU64,
}

impl Run {
    /// Round trips over all connections.
    fn trips(&self) -> usize {
        self.size * TRIPS as usize
    }

    fn check(&self, act: &mut Act) {
        let bytes = (self.trips() * MESSAGE) as u64;
        act.check("bytes that the server sent back", self.tally.served.load(Relaxed), bytes);
        act.check("bytes that came back right", self.tally.returned.load(Relaxed), bytes);
        act.check("clients that ended without a panic", self.ended, self.size);
    }
}

/// Lets a server and up to `wanted` clients talk. Fails if the first sockets cannot be had.
fn measure<T: Threads>(wanted: usize) -> io::Result<Run> {
    let tally = Arc::new(Tally::default());
    let start = Instant::now();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (accepted, served) = channel();
    let its = tally.clone();
    let server = T::spawn(move || accept::<T>(&listener, &its, &accepted))?;

    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().expect("no panic inside");
    let mut clients = Vec::with_capacity(wanted);
    while clients.len() < wanted {
        let stream = TcpStream::connect(address)?;
        if served.recv().is_err() {
            break;
        }
        let (number, gate, tally) = (clients.len() as u64, gate.clone(), tally.clone());
        let client = T::spawn(move || {
            drop(gate.read().expect("no panic inside"));
            talk(stream, number, &tally.returned).expect("all bytes come back");
        });
        match client {
            Ok(client) => clients.push(client),
            Err(_) => break,
        }
    }
    let size = clients.len();
    let connecting = start.elapsed();
    let mut kernel_threads = process::kernel_threads();

    let opened = Instant::now();
    drop(closed);
    let bytes = size as u64 * TRIPS * MESSAGE as u64;
    while tally.returned.load(Relaxed) < bytes && !clients.iter().all(T::is_finished) {
        sleep(LOOK);
        kernel_threads = kernel_threads.max(process::kernel_threads());
    }
    let ended = T::join_all(clients);
    let talking = opened.elapsed();

    // One connection more, for which nobody waits any longer: the server ends.
    drop(served);
    drop(TcpStream::connect(address)?);
    T::join_all(vec![server]);
    Ok(Run { size, ended, tally, kernel_threads, connecting, talking, total: start.elapsed() })
}

/// The server: a thread for each connection, until no more can be had or nobody waits for `accepted`. Then it
/// waits for the end of all connections.
fn accept<T: Threads>(listener: &TcpListener, tally: &Arc<Tally>, accepted: &Sender<()>) {
    let mut threads = Vec::new();
    for stream in listener.incoming().map_while(Result::ok) {
        let tally = tally.clone();
        match T::spawn(move || echo(stream, &tally.served)) {
            Ok(thread) => threads.push(thread),
            Err(_) => break,
        }
        if accepted.send(()).is_err() {
            break;
        }
    }
    T::join_all(threads);
}

/// The server's end of a connection: what comes goes back, until the client closes.
fn echo(mut stream: TcpStream, served: &AtomicU64) {
    let mut buffer = [0; MESSAGE];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
        served.fetch_add(count as u64, Relaxed);
    }
}

/// The client's end: trip after trip, no two with the same message.
fn talk(mut stream: TcpStream, number: u64, returned: &AtomicU64) -> io::Result<()> {
    let mut answer = [0; MESSAGE];
    for trip in 0..TRIPS {
        let mut message = [(number + trip) as u8; MESSAGE];
        message[..8].copy_from_slice(&(number * TRIPS + trip).to_le_bytes());
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
        if answer != message {
            return Err(Error::new(ErrorKind::InvalidData, "other bytes came back"));
        }
        returned.fetch_add(MESSAGE as u64, Relaxed);
    }
    Ok(())
}
