//! The rows: what is measured, once, for every runtime whose tasks look like threads.
//!
//! A workload here is generic over [`Threads`], which gort, std and may implement; each gets its own monomorphised copy, so the
//! comparison is of the same source. Runtimes of another shape (tokio's tasks, Go) repeat the workloads in their own idiom under
//! `peers`; so do the servers of [`net`], for which may is left out: std's sockets would block its workers. All counts pass through [`crate::measure::scaled`], and every workload checks its own result and panics if it is wrong.

pub mod contend;
pub mod ffi;
pub mod gort;
#[cfg_attr(not(target_os = "linux"), path = "hooked_elsewhere.rs")]
pub mod hooked;
pub mod net;
pub mod parked;
pub mod spawn;
pub mod switch;
pub mod threads;

pub use threads::{Channel, Threads};

/// A row of the table.
pub struct Row {
    /// What one asks for on the command line.
    pub name: &'static str,
    /// The names and units of the figures it yields, in order.
    pub figures: &'static [(&'static str, &'static str)],
    /// What is done, in one line.
    pub about: &'static str,
}

/// Shorthand for a row with one figure of its own name.
macro_rules! row {
    ($name:literal, $unit:literal, $about:literal) => {
        Row { name: $name, figures: &[($name, $unit)], about: $about }
    };
}

/// All rows in the order of the table.
pub const ROWS: &[Row] = &[
    row!("yield", "ns", "two goroutines yield in turn; per yield"),
    row!("pingpong", "ns", "rendezvous there and back over sync_channel(0) pairs; per round trip"),
    row!("pingpong_unbounded", "ns", "the same over unbounded channels"),
    row!("spawn_join", "ns", "spawn one, join it"),
    row!("spawn_many", "ns", "spawn 100,000 that bump an atomic, then join all; per spawn"),
    row!("skynet_1m", "ms", "a tree of six levels, ten children each; leaves are summed through channels"),
    row!("mutex_100", "ns", "100 goroutines lock, increment, unlock 10,000 times; per operation"),
    row!("sleep_1ms_100k", "ms", "100,000 goroutines sleep 1 ms; wall time from the first spawn to the last join"),
    Row {
        name: "parked_1m",
        figures: &[("parked_1m", "ns"), ("parked_1m_bytes", "bytes")],
        about: "a million goroutines parked at once; time to create and memory, each",
    },
    row!("callback_bound", "ns", "a C thread that called in before calls in again"),
    Row {
        name: "callback_main",
        figures: &[("callback_main", "ns"), ("callback_main_other", "ns")],
        about: "the same on the process's main thread, and beside it on another one",
    },
    Row {
        name: "callback_parallel",
        figures: &[("callback_parallel", "ns"), ("callback_parallel_gain", "x")],
        about: "the same on two C threads at the same time; per call, and calls done by two for one by one",
    },
    row!("callback_first", "ns", "first entry and exit of a fresh C thread, less the bare thread"),
    Row {
        name: "callback_wake",
        figures: &[("callback_wake_p50", "ns"), ("callback_wake_p99", "ns")],
        about: "a C thread calls in and sends to a goroutine while nobody else runs; from the call until that goes on",
    },
    row!("call_c", "ns", "a goroutine calls a C function"),
    row!("call_c_blocking", "ns", "the same, declared as blocking"),
    row!("call_c_callback", "ns", "a goroutine calls a C function, which calls back; the whole way and back"),
    row!("locked_pingpong", "ns", "pingpong of two goroutines that are locked to kernel threads; per round trip"),
    Row {
        name: "hooked",
        figures: &[
            ("hooked_lock", "ns"),
            ("hooked_lock_libc", "ns"),
            ("hooked_read", "ns"),
            ("hooked_read_libc", "ns"),
        ],
        about: "on a thread that is no goroutine: lock and unlock a free mutex, and a read that fails; by the hooks, by libc",
    },
    row!("tcp_rtt", "ns", "two goroutines exchange 64 bytes over one connection; per round trip"),
    Row {
        name: "tcp_echo_100",
        figures: &[("tcp_echo_100", "trips/s"), ("tcp_echo_100_cpu", "ns")],
        about: "64 bytes there and back, a goroutine for each of 100 connections; also the server's CPU time per trip",
    },
    Row {
        name: "tcp_echo_10k",
        figures: &[("tcp_echo_10k", "trips/s"), ("tcp_echo_10k_cpu", "ns")],
        about: "the same with 10,000 connections",
    },
    Row {
        name: "http_plain",
        figures: &[("http_plain", "req/s"), ("http_plain_cpu", "ns")],
        about: "HTTP/1.1 with keep-alive, a body of 13 bytes, 100 connections; load by wrk where installed",
    },
    Row {
        name: "conn_churn",
        figures: &[("conn_churn", "conn/s"), ("conn_churn_cpu", "ns")],
        about: "connect, one round trip, close; 64 at a time",
    },
    Row {
        name: "idle_10k",
        figures: &[("idle_10k", "bytes"), ("idle_10k_cpu", "%"), ("idle_10k_switches", "/s")],
        about: "10,000 idle connections: the server's memory for each, CPU time, voluntary context switches",
    },
];

/// The figures of one row in the order of [`Row::figures`], or why the runtime has none.
pub type Measured = Result<Vec<f64>, String>;

/// Runs a row that is generic over the runtime, on a task of that runtime. `None` if `row` is none of them.
///
/// The runtime must have been started with `procs` processors. Panics if a workload's result is wrong.
pub fn threads_row<T: Threads>(row: &str, procs: usize) -> Option<Measured> {
    let run: fn(usize) -> Measured = match row {
        "yield" => |procs| Ok(vec![switch::yields::<T>(procs)]),
        "pingpong" => |_| Ok(vec![switch::pingpong::<T::Rendezvous, T>(|| ())]),
        "pingpong_unbounded" => |_| Ok(vec![switch::pingpong::<T::Unbounded, T>(|| ())]),
        "spawn_join" => |_| Ok(vec![spawn::spawn_join::<T>()]),
        "spawn_many" => |_| Ok(vec![spawn::spawn_many::<T>()]),
        "skynet_1m" => |_| spawn::skynet::<T>(),
        "mutex_100" => |_| Ok(vec![contend::mutex::<T>()]),
        "sleep_1ms_100k" => |_| contend::sleep::<T>(),
        "parked_1m" => |_| Ok(parked::parked::<T>()),
        _ => return None,
    };
    Some(T::join(T::spawn(move || run(procs))))
}
