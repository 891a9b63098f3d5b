//! One measurement as a line of JSON: what a child prints, what the parent reads, and what `run --json` prints.
//!
//! The objects are flat and come from this program or the Go peer only, so the reader accepts just that: strings and numbers
//! under plain keys.

use std::fmt::Write as _;

/// What became of one measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A figure in the unit of its row. Smaller is better, but for rates (`trips/s`, `req/s`, `conn/s`) and gains (`x`).
    Value {
        /// The figure.
        value: f64,
        /// Its unit: "ns", "ms", "bytes", "%", "x", or a number per second.
        unit: String,
    },
    /// The runtime has no such row, or is not installed; the text says which.
    NotRun(String),
    /// The child failed, hung or printed nothing.
    Failed(String),
}

/// One figure of one runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The name of the figure: the row's, or the row's with a suffix when it has more than one.
    pub row: String,
    /// "gort", "go", "tokio", "may", "std" or "bare".
    pub runtime: String,
    /// How many processors the runtime was given.
    pub procs: usize,
    /// The figure, or why there is none.
    pub outcome: Outcome,
}

impl Record {
    /// The record as one JSON object without a line end.
    pub fn to_json(&self) -> String {
        let mut s =
            format!("{{\"row\":{},\"runtime\":{},\"procs\":{},", quote(&self.row), quote(&self.runtime), self.procs);
        let tail = match &self.outcome {
            Outcome::Value { value, unit } => {
                format!("\"value\":{value:.3},\"unit\":{}}}", quote(unit))
            }
            Outcome::NotRun(why) => format!("\"na\":{}}}", quote(why)),
            Outcome::Failed(why) => format!("\"error\":{}}}", quote(why)),
        };
        s.push_str(&tail);
        s
    }

    /// Reads what [`Record::to_json`] writes. `None` if the line is not such an object.
    pub fn from_json(line: &str) -> Option<Record> {
        let fields = fields(line)?;
        let get = |key: &str| fields.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
        let outcome = if let Some(value) = get("value") {
            Outcome::Value { value: value.parse().ok()?, unit: get("unit")? }
        } else if let Some(why) = get("na") {
            Outcome::NotRun(why)
        } else {
            Outcome::Failed(get("error")?)
        };
        Some(Record { row: get("row")?, runtime: get("runtime")?, procs: get("procs")?.parse().ok()?, outcome })
    }
}

/// `s` as a JSON string.
fn quote(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Splits a flat JSON object into its keys and values; numbers stay text.
fn fields(line: &str) -> Option<Vec<(String, String)>> {
    let mut rest = line.trim().strip_prefix('{')?;
    let mut out = Vec::new();
    loop {
        let (key, after) = string(rest.trim_start())?;
        let after = after.trim_start().strip_prefix(':')?.trim_start();
        let (value, after) = if after.starts_with('"') {
            string(after)?
        } else {
            let end = after.find([',', '}'])?;
            (after[..end].trim().to_owned(), &after[end..])
        };
        out.push((key, value));
        let after = after.trim_start();
        if let Some(next) = after.strip_prefix(',') {
            rest = next;
        } else {
            return (after == "}").then_some(out);
        }
    }
}

/// Reads one JSON string at the start of `s`; returns it and what follows.
fn string(s: &str) -> Option<(String, &str)> {
    let body = s.strip_prefix('"')?;
    let mut out = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &body[at + 1..])),
            '\\' => match chars.next()?.1 {
                'u' => {
                    let code: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    out.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
                }
                'n' => out.push('\n'),
                't' => out.push('\t'),
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(outcome: Outcome) {
        let record = Record { row: "yield".into(), runtime: "gort".into(), procs: 2, outcome };
        assert_eq!(Record::from_json(&record.to_json()), Some(record));
    }

    #[test]
    fn every_outcome_survives_a_round_trip() {
        round_trip(Outcome::Value { value: 12.5, unit: "ns".into() });
        round_trip(Outcome::NotRun("go: \"not\" installed\n\\".into()));
        round_trip(Outcome::Failed(String::new()));
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["", "{", "{}", "{\"row\":\"x\"}", "hello", "{\"row\":1,"] {
            assert_eq!(Record::from_json(line), None, "{line}");
        }
    }
}
