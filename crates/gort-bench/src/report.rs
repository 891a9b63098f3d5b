//! Prints medians: as lines of JSON, or as a table with a column per runtime.

use crate::record::{Outcome, Record};
use crate::run::Summary;

/// One line of JSON.
pub fn json(summary: &Summary) {
    let record = Record {
        row: summary.figure.to_owned(),
        runtime: summary.runtime.to_owned(),
        procs: summary.procs,
        outcome: summary.outcome.clone(),
    };
    println!("{}", record.to_json());
}

/// A line per figure and number of processors; beside each value of a later runtime its ratio to the first one's.
pub fn table(summaries: &[Summary], runtimes: &[&str]) {
    let mut lines = vec![heading(runtimes)];
    // The figures of one row and number of processors lie together, a runtime after the other.
    for group in summaries.chunks(runtimes.len()) {
        let first = &group[0];
        let base = value(&first.outcome);
        let mut line = vec![first.figure.to_owned(), first.procs.to_string(), first.unit.to_owned()];
        for (i, summary) in group.iter().enumerate() {
            line.push(cell(&summary.outcome));
            if i > 0 {
                let ratio = value(&summary.outcome).zip(base).map(|(v, b)| v / b);
                line.push(ratio.map_or(String::new(), |r| format!("x{r:.2}")));
            }
        }
        lines.push(line);
    }
    print_aligned(&lines);
    for note in notes(summaries) {
        println!("{note}");
    }
}

/// A line for each reason why there is no figure, with the rows it holds for.
fn notes(summaries: &[Summary]) -> Vec<String> {
    let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
    for s in summaries {
        let reason = match &s.outcome {
            Outcome::Value { .. } => continue,
            Outcome::NotRun(why) => format!("- {why}"),
            Outcome::Failed(why) => format!("FAILED {}, procs {}: {why}", s.runtime, s.procs),
        };
        match notes.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, figures)) if figures.contains(&s.figure) => {}
            Some((_, figures)) => figures.push(s.figure),
            None => notes.push((reason, vec![s.figure])),
        }
    }
    let line = |(reason, figures): &(String, Vec<&str>)| format!("{reason}: {}", figures.join(", "));
    notes.iter().map(line).collect()
}

/// The names of the columns.
fn heading(runtimes: &[&str]) -> Vec<String> {
    let mut line = vec!["row".to_owned(), "procs".to_owned(), "unit".to_owned()];
    for (i, runtime) in runtimes.iter().enumerate() {
        line.push((*runtime).to_owned());
        if i > 0 {
            line.push(format!("/{}", runtimes[0]));
        }
    }
    line
}

/// The figure, if there is one.
fn value(outcome: &Outcome) -> Option<f64> {
    match outcome {
        Outcome::Value { value, .. } => Some(*value),
        _ => None,
    }
}

/// A value with as many digits as it deserves, or a mark that the notes explain.
fn cell(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Value { value, .. } if value.abs() < 10.0 => format!("{value:.2}"),
        Outcome::Value { value, .. } if value.abs() < 1000.0 => format!("{value:.1}"),
        Outcome::Value { value, .. } => format!("{value:.0}"),
        Outcome::NotRun(_) => "-".to_owned(),
        Outcome::Failed(_) => "FAILED".to_owned(),
    }
}

/// Prints lines with the first column flush left and the others flush right.
fn print_aligned(lines: &[Vec<String>]) {
    let columns = lines[0].len();
    let width = |at: usize| lines.iter().map(|line| line[at].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    for line in lines {
        let mut text = format!("{:<1$}", line[0], widths[0]);
        for at in 1..columns {
            text.push_str(&format!("  {:>1$}", line[at], widths[at]));
        }
        println!("{}", text.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(figure: &'static str, procs: usize, outcome: Outcome) -> Summary {
        Summary { figure, unit: "ns", runtime: "may", procs, outcome }
    }

    #[test]
    fn reasons_are_given_once_with_their_rows() {
        let none = || Outcome::NotRun("may: no such row".into());
        let list = [
            summary("a", 1, none()),
            summary("a", 2, none()),
            summary("b", 1, none()),
            summary("b", 2, Outcome::Failed("signal: 11".into())),
        ];
        assert_eq!(notes(&list), ["- may: no such row: a, b", "FAILED may, procs 2: signal: 11: b"]);
    }
}
