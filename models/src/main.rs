//! Models of the runtime's protocols: the runtime's own source files, run by a checker in every order of their steps.
//!
//! The files of `crates/gort-rt/src` are compiled here as they are (`#[path]`). They take atomics, fences, waiting loops and
//! the cells under locks from the room `atomic`, which is another one here, and what they need of the rest of the house from
//! small stand-ins: the kernel (`os`), a goroutine (`sched::g`), its birth and death, timers.
//!
//! With the feature `loom` a goroutine that is woken goes on at once on its own thread (`sched::switch`, `sched::wake`); with
//! `shuttle` these files are the runtime's as well, and Ms with their Ps run goroutines in earnest (`arch::switch`).
//!
//! `models list` names the models, `models [NAME...]` runs them. A model fails by a panic: of an assertion, of the checker that
//! found two threads at one place of memory without an order between them, or of the checker that found all threads
//! waiting. The exit status is 1 then. `ci/mutate.py` breaks the protocols, one by one, to see the models fail.

#![allow(dead_code, unused_imports)] // of the runtime's files a model uses a part

mod arch;
mod atomic;
#[path = "../../crates/gort-rt/src/chaos/mod.rs"]
mod chaos;
mod debug;
mod engine;
mod error;
mod ffi;
mod fork;
#[path = "../../crates/gort-rt/src/gate.rs"]
mod gate;
mod models;
mod os;
mod poll;
mod sched;
mod stack;
#[path = "../../crates/gort-rt/src/sync/mod.rs"]
mod sync;
mod thread;
mod time;
#[path = "../../crates/gort-rt/src/tls.rs"]
mod tls;
mod unload;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.first().is_some_and(|first| first == "list") {
        models::ALL.iter().for_each(|model| println!("{}", model.name));
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = wanted.iter().find(|name| !models::ALL.iter().any(|model| model.name == **name)) {
        eprintln!("models: there is no model {unknown}");
        return ExitCode::from(2);
    }
    let chosen = models::ALL.iter().filter(|model| wanted.is_empty() || wanted.iter().any(|name| name == model.name));
    for model in chosen {
        print!("{:24}", model.name);
        let _ = std::io::stdout().flush();
        let begin = Instant::now();
        let before = engine::run();
        if std::panic::catch_unwind(|| (model.run)()).is_err() {
            println!("FAILED after {} executions", engine::run() - before);
            return ExitCode::FAILURE;
        }
        println!("{:9} executions {:7.1} s", engine::run() - before, begin.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}
