//! Measures gort, alone or beside Go, tokio, may and std threads with the same workloads.
//!
//! ```text
//! gort-bench list
//! gort-bench run [--procs N[,N]] [--rounds R] [--peers [LIST]] [--runtimes LIST] [--json] [ROW...]
//! ```
//!
//! `run` measures gort; with `--peers` also the runtimes of the list (all of `go,tokio,may,std,bare` if none is given), with
//! `--runtimes` exactly those of the list. Every measurement is a process of its own, because a runtime starts once per process;
//! that process is this program again, as `one RUNTIME ROW PROCS`. The servers of the network rows start their load themselves,
//! as `load ROW ADDRESS`. Defaults: 1 and 2 processors, all rows, 5 rounds. `bare` has no scheduler: system calls on one thread.
//!
//! `--json` prints an object per figure: `{"row":"yield","runtime":"gort","procs":1,"value":20.125,"unit":"ns"}`. In place of value
//! and unit stands `"na":"why"` where a runtime lacks the row or is not installed, and `"error":"why"` where a child failed. The
//! exit status is 1 after any failure, 2 for wrong arguments.
//!
//! Environment: `GORT_BENCH_GO` names the Go command (else the one on `PATH`), `GORT_BENCH_SCALE` scales all counts down,
//! `GORT_BENCH_TIMEOUT` is the patience with one measurement in seconds (120).

mod c;
#[cfg_attr(not(target_os = "linux"), path = "load/elsewhere.rs")]
mod load;
mod measure;
mod os;
mod peers;
mod record;
mod report;
mod rows;
mod run;
mod wire;

use record::{Outcome, Record};
use rows::{Row, ROWS};
use std::process::ExitCode;

/// The runtimes that can be asked for; the first is ours.
const RUNTIMES: [&str; 6] = ["gort", "go", "tokio", "may", "std", "bare"];

/// What `run` was asked to do.
struct Options {
    procs: Vec<usize>,
    rounds: usize,
    runtimes: Vec<&'static str>,
    json: bool,
    rows: Vec<&'static Row>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("list") => {
            list();
            Ok(true)
        }
        Some("run") => options(&args[1..]).map(|options| run::run(&options)),
        Some("one") => one(&args[1..]).map(|()| true),
        Some("load") => load::run(&args[1..]).map(|()| true),
        _ => Err("usage: gort-bench list | run [--procs N[,N]] [--rounds R] [--peers [LIST]] \
                  [--runtimes LIST] [--json] [ROW...]"
            .into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("gort-bench: {why}");
            ExitCode::from(2)
        }
    }
}

/// Prints the rows with their units.
fn list() {
    for row in ROWS {
        let units: Vec<_> = row.figures.iter().map(|(_, unit)| *unit).collect();
        println!("{:20}{:14}{}", row.name, units.join("+"), row.about);
    }
}

/// Reads the arguments of `run`.
fn options(args: &[String]) -> Result<Options, String> {
    let mut options =
        Options { procs: vec![1, 2], rounds: 5, runtimes: vec![RUNTIMES[0]], json: false, rows: Vec::new() };
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        let (flag, inline) = match arg.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let mut value = || {
            let value = inline.clone().or_else(|| args.next().cloned());
            value.ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag {
            "--json" => options.json = true,
            "--procs" => {
                let list = value()?;
                let list = list.split(',').map(str::parse).collect::<Result<_, _>>();
                options.procs = list.map_err(|e| format!("--procs: {e}"))?;
            }
            "--rounds" => {
                options.rounds = value()?.parse().map_err(|e| format!("--rounds: {e}"))?;
            }
            "--runtimes" => options.runtimes = runtimes(&value()?)?,
            "--peers" => {
                let list = match inline {
                    Some(list) => runtimes(&list)?,
                    // A list may follow; anything else is the next argument.
                    None => match args.peek().and_then(|next| runtimes(next).ok()) {
                        Some(list) => {
                            args.next();
                            list
                        }
                        None => RUNTIMES[1..].to_vec(),
                    },
                };
                options.runtimes = vec![RUNTIMES[0]];
                options.runtimes.extend(list.into_iter().filter(|name| *name != RUNTIMES[0]));
            }
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}")),
            name => options.rows.push(row(name)?),
        }
    }
    if options.procs.contains(&0) || options.rounds == 0 {
        return Err("--procs and --rounds are at least 1".into());
    }
    if options.rows.is_empty() {
        options.rows = ROWS.iter().collect();
    }
    Ok(options)
}

/// Reads a list of runtimes.
fn runtimes(list: &str) -> Result<Vec<&'static str>, String> {
    list.split(',')
        .map(|name| {
            let known = RUNTIMES.into_iter().find(|known| *known == name);
            known.ok_or_else(|| format!("unknown runtime {name}"))
        })
        .collect()
}

/// Finds a row.
fn row(name: &str) -> Result<&'static Row, String> {
    let found = ROWS.iter().find(|row| row.name == name);
    found.ok_or_else(|| format!("unknown row {name}; see `gort-bench list`"))
}

/// Measures one row in this process and prints its figures as lines of JSON. A wrong result panics, which the parent sees.
fn one(args: &[String]) -> Result<(), String> {
    let [runtime, name, procs] = args else {
        return Err("usage: gort-bench one RUNTIME ROW PROCS".into());
    };
    let row = row(name)?;
    let procs: usize = procs.parse().map_err(|e| format!("PROCS: {e}"))?;
    load::prepare(name)?;
    measure::note_start();
    let measured = match runtime.as_str() {
        "gort" => rows::gort::run(name, procs),
        "tokio" => peers::tokio::run(name, procs),
        "may" => peers::may::run(name, procs),
        "std" => peers::std::run(name, procs),
        "bare" => peers::bare::run(name, procs),
        _ => return Err(format!("{runtime} does not run in this program")),
    };
    for (i, (figure, unit)) in row.figures.iter().enumerate() {
        let outcome = match &measured {
            Ok(values) => Outcome::Value { value: values[i], unit: (*unit).to_owned() },
            Err(why) => Outcome::NotRun(format!("{runtime}: {why}")),
        };
        let record = Record { row: (*figure).to_owned(), runtime: runtime.clone(), procs, outcome };
        println!("{}", record.to_json());
    }
    Ok(())
}
