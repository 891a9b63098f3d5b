//! The load of the network rows, from both ends.
//!
//! What is measured is a server: the process that runs the runtime under test. The load comes from one other process, which is the
//! same program for all runtimes: this one, as `load ROW ADDRESS`. It has one thread and a loop around `epoll_wait`; each of its
//! connections has one request in flight, and each byte that comes back is compared. So differences between runtimes are the
//! server's. Where there are as many processors as cores, server and load share them.
//!
//! The server process calls [`drive`], which starts the load as a child and returns the figures of the row. The child prints the
//! rate it saw, and the CPU time of its parent for one operation: on a busy machine that is the steadier of the two. In the row about
//! idle connections it prints `ready` once they are made, and keeps them until its standard input ends. Go's peer starts the same
//! child and finds it by `GORT_BENCH_LOAD`.

mod churn;
mod client;
mod epoll;
mod wrk;

use crate::measure::{held_since_start, scaled, scaled_time};
use crate::os::{need_descriptors, parents_cpu, use_all_cpus, Usage};
use crate::rows::Measured;
use client::{Client, Talk};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Load before the clock starts.
const WARM_UP: Duration = Duration::from_millis(250);
/// Load while it runs.
const MEASURED: Duration = Duration::from_secs(1);
/// Before idle connections are watched: what accepting them set in motion comes to rest. gort, for one, looks once at each wait
/// that lasts longer than a second or two.
const SETTLE: Duration = Duration::from_secs(3);
/// How long idle connections are watched.
const WATCHED: Duration = Duration::from_secs(3);

/// Connections of a row at the present scale. An error if the row has no load.
fn connections(row: &str) -> Result<usize, String> {
    match row {
        "tcp_echo_10k" | "idle_10k" => Ok(scaled(10_000)),
        "tcp_echo_100" | "http_plain" => Ok(scaled(100)),
        "conn_churn" => Ok(scaled(churn::AT_ONCE)),
        _ => Err(format!("{row} has no load")),
    }
}

/// Makes sure that this process may have the descriptors that the server of the row needs. Rows without load need none.
pub fn prepare(row: &str) -> Result<(), String> {
    connections(row).map_or(Ok(()), need_descriptors)
}

/// Puts load on the server of this process that listens at `address`, and returns the figures of the row.
///
/// To be called on a thread that may wait, which is not the runtime's.
///
/// # Panics
/// If the load process fails: it has said why on standard error.
pub fn drive(row: &str, address: SocketAddr) -> Measured {
    let connections = connections(row)?;
    let this = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(this);
    command.args(["load", row, &address.to_string()]).env("GORT_INTERPOSE", "0");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the load starts");
    let mut said = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
    stdout.read_line(&mut said).expect("a line of text");
    let figures: Vec<f64> = match said.trim() {
        "ready" => at_rest(connections),
        rate => rate.split(' ').filter_map(|figure| figure.parse().ok()).collect(),
    };
    drop(child.stdin.take());
    let status = child.wait().expect("the load ends");
    assert!(status.success(), "the load failed: {status}");
    assert!(figures.len() >= 2, "the load printed no rate but {said:?}");
    Ok(figures)
}

/// Bytes for each of `connections`; per cent of a CPU and voluntary context switches a second while nothing happens.
fn at_rest(connections: usize) -> Vec<f64> {
    let bytes = held_since_start() as f64 / connections as f64;
    std::thread::sleep(scaled_time(SETTLE));
    let (start, before) = (Instant::now(), Usage::now());
    std::thread::sleep(scaled_time(WATCHED));
    let (seconds, after) = (start.elapsed().as_secs_f64(), Usage::now());
    let busy = (after.cpu - before.cpu).as_secs_f64();
    let switches = (after.voluntary_switches - before.voluntary_switches) as f64;
    vec![bytes, 100.0 * busy / seconds, switches / seconds]
}

/// The load process: `ROW ADDRESS` on the command line.
pub fn run(args: &[String]) -> Result<(), String> {
    let [row, address] = args else {
        return Err("usage: gort-bench load ROW ADDRESS".into());
    };
    let address: SocketAddr = address.parse().map_err(|e| format!("ADDRESS: {e}"))?;
    let count = connections(row)?;
    need_descriptors(count)?;
    use_all_cpus();
    let failed = |e: std::io::Error| format!("load of {row}: {e}");
    match row.as_str() {
        "conn_churn" => churn::run(address, count).map_err(failed)?.print(),
        "idle_10k" => {
            let idle = Client::connect(address, count, Talk::Echo).map_err(failed)?;
            println!("ready");
            std::io::stdin().read_to_end(&mut Vec::new()).map_err(failed)?;
            drop(idle);
        }
        "http_plain" => {
            let rate = match wrk::find().filter(|_| scaled_time(MEASURED) == MEASURED) {
                // What others quote. It does not look at replies: our own load before it has compared some.
                Some(wrk) => {
                    closed_loop(address, count, Talk::Http, Duration::ZERO).map_err(failed)?;
                    Rate::of(|| wrk::run(&wrk, address, count))?
                }
                None => closed_loop(address, count, Talk::Http, MEASURED).map_err(failed)?,
            };
            rate.print();
        }
        _ => closed_loop(address, count, Talk::Echo, MEASURED).map_err(failed)?.print(),
    }
    Ok(())
}

/// What a server achieved.
struct Rate {
    /// Operations per second.
    per_second: f64,
    /// Nanoseconds of the server's CPU time for one of them.
    cpu: f64,
}

impl Rate {
    /// Watches the server while `work` goes on, which returns the operations per second.
    fn of<E>(work: impl FnOnce() -> Result<f64, E>) -> Result<Self, E> {
        let (start, before) = (Instant::now(), parents_cpu());
        let per_second = work()?;
        let spent = parents_cpu().saturating_sub(before);
        let operations = per_second * start.elapsed().as_secs_f64();
        Ok(Self { per_second, cpu: spent.as_nanos() as f64 / operations.max(1.0) })
    }

    /// For the parent to read.
    fn print(&self) {
        println!("{} {}", self.per_second, self.cpu);
    }
}

/// Round trips per second over `count` connections, during `time` after the warm-up.
fn closed_loop(address: SocketAddr, count: usize, talk: Talk, time: Duration) -> std::io::Result<Rate> {
    let mut client = Client::connect(address, count, talk)?;
    client.start()?;
    client.run(scaled_time(WARM_UP))?;
    let rate = Rate::of(|| client.run(scaled_time(time)))?;
    client.finish()?;
    Ok(rate)
}
