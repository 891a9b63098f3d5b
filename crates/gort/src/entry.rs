//! What `#[gort::main]` and `#[gort::test]` call.
//!
//! The body runs on a goroutine that `std::thread` has made: its hook makes a goroutine of this one thread. So it is a thread of
//! std's in what only std can give: its name in the message of a panic, and, in a test, that what it prints is captured. Where
//! hooks are off (`GORT_INTERPOSE=0`) the goroutine is one of [`crate::thread`], without these; where goroutines are kernel
//! threads, `thread` has them from std anyway.

#[cfg_attr(windows, path = "entry/windows.rs")]
mod by_std;

use gort_rt::hook::start_runtime;
use gort_rt::{backend, thread, Backend, Config};
use std::io;
use std::mem;
use std::panic::resume_unwind;
use std::process::{ExitCode, Termination};
use std::thread::Result as Outcome;

/// Bytes of stack that a main thread usually has.
const MAIN_STACK: usize = 8 << 20;
/// Bytes of stack that a test has, where std does not decide.
const TEST_STACK: usize = 2 << 20;
/// The exit code of a panic in `main`.
const PANICKED: u8 = 101;

/// Runs `body` on a goroutine with that name, and waits for it. The inner result is that of a join.
fn on_goroutine<T, F>(name: &str, stack: Option<usize>, body: F) -> io::Result<Outcome<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Copy + Send + 'static,
{
    if backend().is_ok_and(|backend| backend == Backend::Goroutines) {
        if let Some(outcome) = by_std::on_goroutine(name, stack, body)? {
            return Ok(outcome);
        }
    }
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(stack.unwrap_or(TEST_STACK));
    Ok(builder.spawn(body)?.join())
}

/// Starts the runtime, with these settings if there are any, and runs `body` as the program.
pub fn main<T: Termination + 'static>(config: Option<Config>, body: fn() -> T) -> ExitCode {
    let started = config.map_or_else(start_runtime, Config::start);
    let outcome = started.map_err(io::Error::from).and_then(|()| {
        // The value need not be `Send`, and what it prints belongs to the program.
        on_goroutine("main", Some(MAIN_STACK), move || body().report())
    });
    match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(payload)) => {
            mem::forget(payload); // dropping it may panic, which there is nobody left to tell
            ExitCode::from(PANICKED)
        }
        Err(error) => {
            eprintln!("gort: main cannot run on a goroutine: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `body`, a test at that path in its crate, on a goroutine, and passes its panic on.
pub fn test(path: &str, stack: Option<usize>, body: fn()) {
    run_test(path, stack, body);
}

/// As [`test`], of a test that returns something.
pub fn test_with_result<T: Termination + 'static>(path: &str, stack: Option<usize>, body: fn() -> T) -> ExitCode {
    run_test(path, stack, move || body().report())
}

fn run_test<T, F>(path: &str, stack: Option<usize>, body: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Copy + Send + 'static,
{
    // The test harness leaves the crate out, too.
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    let outcome = start_runtime().map_err(io::Error::from).and_then(|()| on_goroutine(name, stack, body));
    match outcome {
        Ok(Ok(value)) => value,
        Ok(Err(payload)) => resume_unwind(payload),
        Err(error) => panic!("the test cannot run on a goroutine: {error}"),
    }
}
