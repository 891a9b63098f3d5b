//! Child processes for cases that must die, that count what the whole process does, or that need an environment of their own.
//!
//! A test that wants one calls [`Rerun::of`] with its own name: the test binary runs again, restricted to that test, and
//! [`role`] tells it there what to be. Where the whole body belongs in a child, [`alone`] is shorter. What libtest's own
//! threads would disturb is a scenario of the plain program `src/bin/scenario.rs` in place of that; see [`Rerun::scenario`].

use crate::system::{died_of, end_within, in_a_group};
use std::env;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

const ROLE: &str = "GORT_TEST_ROLE";
/// What decides how the runtime behaves; a child has these only as far as its test says. (`GORT_FSGSBASE` is not one: it stands
/// for an older kernel, and children have the kernel that their parents have.)
const SETTINGS: [&str; 11] = [
    "GORT_PROCS",
    "GORT_STACK_SIZE",
    "RUST_MIN_STACK",
    "GORT_CHAOS",
    "GORT_GUARD",
    "GORT_IDENTITY",
    "GORT_INTERPOSE",
    "GORT_MEMBARRIER",
    "GORT_DEADLOCK_REPORT",
    "GORT_DUMP_ON_SIGQUIT",
    "GORT_THREADS",
];

/// What this process is to be, if it is a child.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// How long a child may take: a minute, or the seconds in `GORT_TEST_LIMIT`, for machines that are slow.
fn limit() -> Duration {
    let seconds = env::var("GORT_TEST_LIMIT").ok().and_then(|value| value.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// True in a child.
pub fn is_child() -> bool {
    role().is_some()
}

/// Runs `body`, which is all there is to the test named `test`, in a child with our own settings.
///
/// # Panics
/// The child did not succeed.
pub fn alone(test: &str, body: impl FnOnce()) {
    if is_child() {
        body();
    } else {
        Rerun::of(test, "child").inherit_all().run().success();
    }
}

/// As [`alone`], but without chaos, which lets waits end for no reason and keeps goroutines back: for a test that counts
/// returns from a wait, or infers from idle kernel threads that everybody waits. Runs here where there is no chaos anyway.
///
/// # Panics
/// The child did not succeed.
pub fn without_chaos(test: &str, body: impl FnOnce()) {
    if is_child() || env::var_os("GORT_CHAOS").is_none_or(|v| v.is_empty()) {
        body();
    } else {
        Rerun::of(test, "child").inherit_all().env("GORT_CHAOS", "").run().success();
    }
}

/// A child process about to be made.
pub struct Rerun {
    command: Command,
    /// It is to run one test.
    is_test: bool,
}

impl Rerun {
    /// This test binary, restricted to the test `name`, with the role `role`.
    pub fn of(name: &str, role: &str) -> Rerun {
        let mut command = Command::new(env::current_exe().expect("a test binary has a path"));
        command.args(["--exact", name, "--nocapture", "--test-threads=1", "--include-ignored"]).env(ROLE, role);
        Rerun { is_test: true, ..Rerun::with(command) }
    }

    /// The program at `path` with the scenario `name`. The path is `env!("CARGO_BIN_EXE_scenario")`, or another program's.
    pub fn scenario(path: &str, name: &str) -> Rerun {
        let mut command = Command::new(path);
        command.arg(name);
        Rerun::with(command)
    }

    /// Any command, with an environment in which nothing is set for the runtime.
    pub fn with(mut command: Command) -> Rerun {
        for name in SETTINGS {
            command.env_remove(name);
        }
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Rerun { command, is_test: false }
    }

    /// Sets an environment variable of the child.
    pub fn env(mut self, name: &str, value: impl ToString) -> Rerun {
        self.command.env(name, value.to_string());
        self
    }

    /// Passes a setting of our own environment on, if it has one.
    pub fn inherit(mut self, name: &str) -> Rerun {
        if let Some(value) = env::var_os(name) {
            self.command.env(name, value);
        }
        self
    }

    /// Passes all settings of our own environment on.
    pub fn inherit_all(self) -> Rerun {
        SETTINGS.iter().fold(self, |rerun, name| rerun.inherit(name))
    }

    /// The settings for the runtime, as one would write them in front of a command: with them a failure can be repeated.
    fn settings(&self) -> String {
        let set = self.command.get_envs().filter(|(name, _)| SETTINGS.iter().any(|setting| name == setting));
        let set = set.filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?)));
        format!("settings: {}", set.collect::<Vec<_>>().join(" "))
    }

    /// Runs the child to its end.
    ///
    /// # Panics
    /// It cannot be started, or takes longer than the limit: it is killed then, with all that it has started, and the panic
    /// shows what was written.
    pub fn run(mut self) -> Outcome {
        let settings = self.settings();
        // What it starts, and would keep its pipes open, is to end with it.
        in_a_group(&mut self.command);
        let mut child = self.command.spawn().expect("a child process");
        let outputs = [reader(child.stdout.take().expect("piped")), reader(child.stderr.take().expect("piped"))];
        let limit = limit();
        let status = end_within(child, limit);
        let [stdout, stderr] = outputs.map(|output| output.join().expect("reads only"));
        let Some(status) = status else {
            panic!("the child did not end within {limit:?}; {settings}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        };
        Outcome { status, stdout, stderr, settings, is_test: self.is_test }
    }
}

fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// How a child ended and what it wrote.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status.
    pub status: ExitStatus,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
    /// What was set for the runtime.
    settings: String,
    is_test: bool,
}

impl Outcome {
    /// Asserts that the child succeeded and, if it was to run a test, that there was one.
    #[track_caller]
    pub fn success(&self) -> &Outcome {
        assert!(self.status.success(), "{}", self.text());
        assert!(!self.is_test || self.stdout.contains("1 passed"), "the child ran no test: {}", self.text());
        self
    }

    /// Asserts that the child died of a signal.
    #[track_caller]
    pub fn died_of(&self, signal: i32) -> &Outcome {
        assert!(died_of(self.status, signal), "{}", self.text());
        self
    }

    /// Asserts that standard error contains `text`.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Outcome {
        assert!(self.stderr.contains(text), "no {text:?} in: {}", self.text());
        self
    }

    /// Asserts that standard error does not contain `text`.
    #[track_caller]
    pub fn does_not_say(&self, text: &str) -> &Outcome {
        assert!(!self.stderr.contains(text), "{text:?} in: {}", self.text());
        self
    }

    fn text(&self) -> String {
        format!("{}; {}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.settings, self.stdout, self.stderr)
    }
}
