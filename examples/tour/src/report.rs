//! How the tour prints: a headline per act, a few details below it, and what did not add up.

use std::fmt::{Debug, Display};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What one act did.
pub struct Act {
    letter: char,
    name: &'static str,
    what: String,
    took: Duration,
    compared: Option<String>,
    details: Vec<String>,
    wrong: Vec<String>,
    /// Why it was not done.
    skipped: Option<&'static str>,
}

impl Act {
    /// A new act. `what` says in a few words what it does; [`Act::took`] adds how long that took.
    pub fn new(letter: char, name: &'static str, what: String) -> Self {
        Self {
            letter,
            name,
            what,
            took: Duration::ZERO,
            compared: None,
            details: Vec::new(),
            wrong: Vec::new(),
            skipped: None,
        }
    }

    /// The time for the headline: the goroutines' part, without comparisons.
    pub fn took(&mut self, time: Duration) {
        self.took = time;
    }

    /// It cannot be done here; the report says why, and nothing else of it.
    pub fn skip(&mut self, why: &'static str) {
        self.skipped = Some(why);
    }

    /// How something else fares at the same work.
    pub fn compare(&mut self, text: String) {
        self.compared = Some(text);
    }

    /// One more line below the headline.
    pub fn detail(&mut self, text: String) {
        self.details.push(text);
    }

    /// Notes a count that must be exact.
    pub fn check<T: PartialEq + Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.wrong.push(format!("{what}: {found:?} instead of {expected:?}"));
        }
    }

    fn print(&self) {
        if let Some(why) = self.skipped {
            println!("({}) {:<9} skipped: {why}\n", self.letter, self.name);
            return;
        }
        let compared = match &self.compared {
            Some(text) => format!("   [{text}]"),
            None => String::new(),
        };
        println!("({}) {:<9} {:<47} {:>5.2} s{compared}", self.letter, self.name, self.what, self.took.as_secs_f64());
        for detail in &self.details {
            println!("              {detail}");
        }
        for wrong in &self.wrong {
            println!("              WRONG: {wrong}");
        }
        println!();
    }
}

/// The whole tour.
pub struct Report {
    start: Instant,
    wrong: usize,
}

impl Report {
    /// Prints the title and starts the clock.
    pub fn begin(title: impl Display) -> Self {
        println!("{title}\n");
        Self { start: Instant::now(), wrong: 0 }
    }

    /// Prints an act.
    pub fn show(&mut self, act: Act) {
        act.print();
        self.wrong += act.wrong.len();
    }

    /// Prints the last line. The exit code says whether all counts were right.
    pub fn end(self) -> ExitCode {
        let seconds = self.start.elapsed().as_secs_f64();
        if self.wrong == 0 {
            println!("{seconds:.1} s in all, and all counts add up");
            ExitCode::SUCCESS
        } else {
            println!("{seconds:.1} s in all; NOT all counts add up: {} marked WRONG above", self.wrong);
            ExitCode::FAILURE
        }
    }
}

/// A number with commas: `1,000,000`.
pub fn commas(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().map_or(String::from("?"), |n: u64| n.to_string());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Time for one of `count` things, in a unit that fits: `0.9 us`.
pub fn each(time: Duration, count: usize) -> String {
    let nanoseconds = per(time, count);
    if nanoseconds < 1_000.0 {
        format!("{nanoseconds:.0} ns")
    } else {
        format!("{:.1} us", nanoseconds / 1_000.0)
    }
}

/// Nanoseconds for one of `count` things.
pub fn per(time: Duration, count: usize) -> f64 {
    time.as_nanos() as f64 / count.max(1) as f64
}

/// `other` in relation to `ours`, in words: `13x slower`.
pub fn ratio(ours: f64, other: f64) -> String {
    let factor = other / ours;
    let (factor, word) = if factor >= 1.0 { (factor, "slower") } else { (1.0 / factor, "faster") };
    if factor < 1.05 {
        String::from("the same")
    } else if factor < 9.95 {
        format!("{factor:.1}x {word}")
    } else {
        format!("{factor:.0}x {word}")
    }
}
