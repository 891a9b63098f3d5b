//! Scenarios that need a process of their own: because they must die, count what the whole process does, or want
//! another environment. The test binary runs itself with one test selected; in that process [`is_child`] is true.

use std::env;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Set in children; the value is the name of the test.
const VARIABLE: &str = "GORT_TEST_CHILD";
/// How long a child may take.
const LIMIT: Duration = Duration::from_secs(60);

/// True in a process that [`Child::of_test`] made.
pub fn is_child() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// Runs `body`, which is all there is to the test named `test`, in a process of its own.
///
/// # Panics
/// The process did not succeed.
pub fn alone(test: &str, body: impl FnOnce()) {
    if is_child() {
        body();
    } else {
        Child::of_test(test).run().succeeded();
    }
}

/// A process to be run.
pub struct Child {
    command: Command,
    is_test: bool,
}

impl Child {
    /// This binary with the test of that name.
    pub fn of_test(test: &str) -> Child {
        let mut command = Command::new(env::current_exe().expect("this binary has a path"));
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(VARIABLE, test);
        Child { command, is_test: true }
    }

    /// Another program.
    pub fn of_program(program: impl AsRef<OsStr>, args: &[&str]) -> Child {
        let mut command = Command::new(program);
        command.args(args);
        Child { command, is_test: false }
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl ToString) -> Child {
        self.command.env(name, value.to_string());
        self
    }

    /// Runs the process to its end.
    ///
    /// # Panics
    /// It is not done after a minute; it is killed then, and what it wrote is shown.
    pub fn run(mut self) -> Outcome {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the child can be started");
        let end = Instant::now() + LIMIT;
        // A pipe ends when the process does, so waiting for the readers is waiting for it, with a limit.
        let out = read(child.stdout.take().expect("piped"));
        let err = read(child.stderr.take().expect("piped"));
        let mut texts = [&out, &err].map(|text| text.recv_timeout(end.saturating_duration_since(Instant::now())));
        let late = texts.iter().any(Result::is_err);
        if late {
            child.kill().expect("the child is ours");
            for (text, from) in texts.iter_mut().zip([&out, &err]) {
                if text.is_err() {
                    *text = from.recv().map_err(Into::into);
                }
            }
        }
        let status = child.wait().expect("the child is ours");
        let [stdout, stderr] = texts.map(|text| text.expect("the reader sends once"));
        let outcome = Outcome { status, stdout, stderr, is_test: self.is_test };
        assert!(!late, "the child was not done after {LIMIT:?}\n{}", outcome.text());
        outcome
    }
}

fn read(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (to, text) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("pipes can be read");
        let _ = to.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}

/// How a child ended.
pub struct Outcome {
    /// As the parent got it.
    pub status: ExitStatus,
    /// All that it wrote to standard output.
    pub stdout: String,
    /// All that it wrote to standard error.
    pub stderr: String,
    is_test: bool,
}

impl Outcome {
    fn text(&self) -> String {
        format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr)
    }

    /// Checks that the child exited with 0 and, if it was to run a test, that it ran one.
    ///
    /// # Panics
    /// Otherwise.
    pub fn succeeded(&self) -> &Outcome {
        assert!(self.status.success(), "the child failed: {}", self.text());
        assert!(!self.is_test || self.stdout.contains("1 passed"), "the child ran no test: {}", self.text());
        self
    }

    /// Checks that the child was ended by that signal.
    ///
    /// # Panics
    /// Otherwise.
    pub fn died_of(&self, signal: i32) -> &Outcome {
        assert_eq!(self.status.signal(), Some(signal), "{}", self.text());
        self
    }

    /// Checks that the child wrote `text` to standard error.
    ///
    /// # Panics
    /// Otherwise.
    pub fn wrote(&self, text: &str) -> &Outcome {
        assert!(self.stderr.contains(text), "{text:?} is missing: {}", self.text());
        self
    }

    /// Checks that the child did not write `text` to standard error.
    ///
    /// # Panics
    /// Otherwise.
    pub fn did_not_write(&self, text: &str) -> &Outcome {
        assert!(!self.stderr.contains(text), "{text:?} is there: {}", self.text());
        self
    }
}
