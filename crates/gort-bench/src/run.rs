//! Conducts a run: starts a child per measurement, lets the runtimes take turns, and condenses the rounds to medians.
//!
//! Neighbours, caches and clock speed drift over minutes, so the runtimes of one row alternate within each round, and every other
//! round goes backwards: a drift then touches all of them alike.

use crate::peers::go;
use crate::record::{Outcome, Record};
use crate::report;
use crate::rows::Row;
use crate::Options;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// All rounds of one figure of one runtime, condensed.
pub struct Summary {
    /// The name of the figure.
    pub figure: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The runtime.
    pub runtime: &'static str,
    /// How many processors it had.
    pub procs: usize,
    /// The median of the rounds, or why there is none.
    pub outcome: Outcome,
}

/// Runs everything and prints it. Returns whether nothing failed; a row that a runtime does not have is no failure.
pub fn run(options: &Options) -> bool {
    let go = if options.runtimes.contains(&"go") { go::build() } else { Err("go: not asked for".to_owned()) };
    let mut all = Vec::new();
    for row in &options.rows {
        for &procs in &options.procs {
            let summaries = one_row(options, row, procs, &go);
            if options.json {
                summaries.iter().for_each(report::json);
            } else {
                // The table comes at the end; show that something happens.
                eprint!(".");
            }
            all.extend(summaries);
        }
    }
    if !options.json {
        eprintln!();
        report::table(&all, &options.runtimes);
    }
    !all.iter().any(|s| matches!(s.outcome, Outcome::Failed(_)))
}

/// All rounds of one row for all runtimes.
fn one_row(options: &Options, row: &'static Row, procs: usize, go: &Result<String, String>) -> Vec<Summary> {
    let runtimes = &options.runtimes;
    let mut rounds: Vec<Vec<Vec<Outcome>>> = vec![Vec::new(); runtimes.len()];
    for round in 0..options.rounds {
        let mut order: Vec<usize> = (0..runtimes.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for i in order {
            // A runtime without this row, or whose child failed, is not asked again.
            let over = |outcomes: &Vec<Outcome>| !matches!(outcomes[0], Outcome::Value { .. });
            if !rounds[i].last().is_some_and(over) {
                rounds[i].push(measure(runtimes[i], row, procs, go));
            }
        }
    }
    let mut summaries = Vec::new();
    for (at, &(figure, unit)) in row.figures.iter().enumerate() {
        for (&runtime, rounds) in runtimes.iter().zip(&rounds) {
            summaries.push(Summary {
                figure,
                unit,
                runtime,
                procs,
                outcome: median(unit, rounds.iter().map(|outcomes| &outcomes[at])),
            });
        }
    }
    summaries
}

/// The median of values; the first outcome that is none decides otherwise.
fn median<'a>(unit: &str, outcomes: impl Iterator<Item = &'a Outcome>) -> Outcome {
    let mut values = Vec::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Value { value, .. } => values.push(*value),
            other => return other.clone(),
        }
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let value = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    Outcome::Value { value, unit: unit.to_owned() }
}

/// One measurement in a child process; an outcome for each figure of the row.
fn measure(runtime: &str, row: &Row, procs: usize, go: &Result<String, String>) -> Vec<Outcome> {
    let all = |outcome: Outcome| vec![outcome; row.figures.len()];
    let this = std::env::current_exe().expect("the path of this program");
    let mut command = match (runtime, go) {
        ("go", Ok(program)) => {
            let mut command = Command::new(program);
            command.args([row.name, &procs.to_string()]);
            command.env("GOMAXPROCS", procs.to_string());
            command.env("GORT_BENCH_LOAD", this);
            command
        }
        ("go", Err(why)) => return all(Outcome::NotRun(why.clone())),
        _ => {
            let mut command = Command::new(this);
            command.args(["one", runtime, row.name, &procs.to_string()]);
            command
        }
    };
    if runtime != "gort" {
        // The peers' calls go to libc as they would in a program without gort.
        command.env("GORT_INTERPOSE", "0");
    }
    match output(command) {
        Ok(text) => {
            let records: Vec<_> = text.lines().filter_map(Record::from_json).collect();
            let found = row.figures.iter().map(|(figure, _)| {
                let record = records.iter().find(|r| r.row == *figure);
                record.map_or_else(
                    || Outcome::Failed("the child printed no figure".into()),
                    |record| record.outcome.clone(),
                )
            });
            found.collect()
        }
        Err(why) => all(Outcome::Failed(why)),
    }
}

/// Runs a command to its end and returns what it printed. It is killed when it takes too long; its complaints go to our stderr.
fn output(mut command: Command) -> Result<String, String> {
    let seconds = match std::env::var("GORT_BENCH_TIMEOUT") {
        Ok(text) => text.parse().expect("GORT_BENCH_TIMEOUT is a number of seconds"),
        Err(_) => 120,
    };
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|e| format!("cannot start: {e}"))?;
    let mut stdout = child.stdout.take().expect("a pipe was asked for");
    let (tx, rx) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let result = stdout.read_to_string(&mut text).map(|_| text);
        // The receiver waits for this or has given up, in which case nobody needs it.
        let _ = tx.send(result);
    });
    let read = rx.recv_timeout(Duration::from_secs(seconds));
    if read.is_err() {
        child.kill().map_err(|e| format!("cannot kill: {e}"))?;
    }
    let status = child.wait().map_err(|e| format!("cannot wait: {e}"))?;
    reader.join().expect("the reader ends with its pipe");
    let Ok(text) = read else {
        return Err(format!("no end after {seconds} s"));
    };
    if !status.success() {
        return Err(status.to_string());
    }
    text.map_err(|e| format!("cannot read: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(list: &[f64]) -> Vec<Outcome> {
        list.iter().map(|&value| Outcome::Value { value, unit: "ns".into() }).collect()
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_middles() {
        let median_of = |list: &[f64]| median("ns", values(list).iter());
        assert_eq!(median_of(&[3.0, 1.0, 2.0]), values(&[2.0])[0]);
        assert_eq!(median_of(&[4.0, 1.0, 2.0, 3.0]), values(&[2.5])[0]);
    }

    #[test]
    fn one_failure_outweighs_all_values() {
        let mut outcomes = values(&[1.0, 2.0]);
        outcomes.push(Outcome::Failed("exit status: 101".into()));
        assert_eq!(median("ns", outcomes.iter()), outcomes[2]);
    }

    #[test]
    fn a_child_that_fails_is_reported_and_output_is_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        assert_eq!(output(command), Err("exit status: 3".into()));
        let mut command = Command::new("echo");
        command.arg("hello");
        assert_eq!(output(command), Ok("hello\n".into()));
    }
}
