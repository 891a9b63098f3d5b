//! Act (b): the SHA-256 of every file below a directory, with a goroutine per file.
//!
//! Nothing here is written for goroutines: `std::fs` to read, a `Mutex` and a `Condvar` to keep the number
//! of open files within what the process may have, a channel to collect. The results are compared with
//! those of a plain loop over the same files.

use crate::report::{commas, ratio, Act};
use crate::threads::{Goroutines, StdThreads, Threads};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Files above which std threads are not tried: with some sixteen thousand kernel threads a process is out
/// of memory mappings (`vm.max_map_count`), and std then ends it.
const MOST_STD_THREADS: usize = 8_000;

/// Directories that are not looked into.
const SKIPPED: [&str; 2] = [".git", "target"];

/// Open files at a time; the usual limit of a process is 1024.
const OPEN_FILES: usize = 256;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// The digest of a file and its length in bytes, or why it could not be read.
type Outcome = Result<([u8; 32], u64), io::ErrorKind>;

/// Runs the act on `directory`.
pub fn run(directory: &Path) -> Act {
    let mut files = Vec::new();
    let walked = walk(directory, &mut files);
    files.sort();
    let files = Arc::new(files);
    let what = format!("{} files, a goroutine for each, SHA-256", commas(files.len()));
    let mut act = Act::new('b', "digest", what);
    act.check("walk", walked.map_err(|error| error.to_string()), Ok(()));

    // The first round only brings the files into the kernel's cache, so that all three find them there.
    let _ = in_turn(&files);
    let start = Instant::now();
    let expected = in_turn(&files);
    let sequential = start.elapsed();

    let ours = one_each::<Goroutines>(&files);
    act.took(ours.time);
    let wrong = differing(&files, &expected, &ours.outcomes);
    act.check("files with another digest than in turn", wrong, 0);
    act.check("ends without a panic", ours.ended, ours.started);

    let bytes: u64 = expected.iter().flatten().map(|(_, length)| length).sum();
    let unreadable = expected.iter().filter(|outcome| outcome.is_err()).count();
    act.detail(format!(
        "{:.1} MB below {}{}, digest of all: {}",
        bytes as f64 / 1e6,
        directory.display(),
        match unreadable {
            0 => String::new(),
            some => format!(" ({some} cannot be read)"),
        },
        digest_of_all(&expected)
    ));

    let times = format!("goroutines {:.1} ms, in turn {:.1} ms", milliseconds(ours.time), milliseconds(sequential));
    if files.len() > MOST_STD_THREADS {
        act.compare(String::from("std threads: too many files for them"));
        act.detail(times);
        return act;
    }
    let theirs = one_each::<StdThreads>(&files);
    act.compare(if theirs.started < files.len() {
        format!("std threads: no more than {}", commas(theirs.started))
    } else {
        let slower = ratio(milliseconds(ours.time), milliseconds(theirs.time));
        format!("std threads: {slower}")
    });
    act.detail(format!("{times}, std threads {:.1} ms", milliseconds(theirs.time)));
    act.check("std threads that ended without a panic", theirs.ended, theirs.started);
    act
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Collects the plain files below `directory`.
fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() && !SKIPPED.iter().any(|name| entry.file_name() == *name) {
            // A directory below that cannot be listed is left out, on every run alike.
            let _ = walk(&entry.path(), files);
        }
    }
    Ok(())
}

/// Reads and digests one file.
fn digest(path: &Path) -> Outcome {
    let read = || -> io::Result<([u8; 32], u64)> {
        let mut file = File::open(path)?;
        let mut sha = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        let mut length = 0;
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok((sha.finalize().into(), length)),
                count => {
                    sha.update(&chunk[..count]);
                    length += count as u64;
                }
            }
        }
    };
    read().map_err(|error| error.kind())
}

/// One file after the other.
fn in_turn(files: &[PathBuf]) -> Vec<Outcome> {
    files.iter().map(|path| digest(path)).collect()
}

/// What a run with a thread per file gave.
struct Run {
    /// By file; empty where no thread could be started for it.
    outcomes: Vec<Option<Outcome>>,
    started: usize,
    ended: usize,
    time: Duration,
}

/// A thread for each file; stops starting them when no more can be had.
fn one_each<T: Threads>(files: &Arc<Vec<PathBuf>>) -> Run {
    let start = Instant::now();
    let gate = Arc::new(Gate::new(OPEN_FILES));
    let (results, collected) = channel();
    let mut threads = Vec::with_capacity(files.len());
    for index in 0..files.len() {
        let (files, gate, results) = (files.clone(), gate.clone(), results.clone());
        let thread = T::spawn(move || {
            gate.enter();
            let outcome = digest(&files[index]);
            gate.leave();
            // The receiver waits for every sender, so this cannot fail.
            let _ = results.send((index, outcome));
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(_) => break,
        }
    }
    drop(results);

    let mut outcomes: Vec<Option<Outcome>> = files.iter().map(|_| None).collect();
    for (index, outcome) in collected {
        outcomes[index] = Some(outcome);
    }
    let started = threads.len();
    let ended = T::join_all(threads);
    Run { outcomes, started, ended, time: start.elapsed() }
}

/// Counts the files whose outcomes differ. A file that somebody changes during the tour is not an error:
/// it is read once more, and counts only if it still is what the first reading found.
fn differing(files: &[PathBuf], expected: &[Outcome], found: &[Option<Outcome>]) -> usize {
    files
        .iter()
        .zip(expected.iter().zip(found))
        .filter(|(path, (expected, found))| found.as_ref() != Some(*expected) && digest(path) == **expected)
        .count()
}

/// The first half of the digest of all digests, in order.
fn digest_of_all(outcomes: &[Outcome]) -> String {
    let mut sha = Sha256::new();
    for (digest, _) in outcomes.iter().flatten() {
        sha.update(digest);
    }
    let sum = sha.finalize();
    sum[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lets a limited number in at a time.
struct Gate {
    free: Mutex<usize>,
    left: Condvar,
}

impl Gate {
    fn new(places: usize) -> Self {
        Self { free: Mutex::new(places), left: Condvar::new() }
    }

    /// Waits for a place.
    fn enter(&self) {
        let free = self.free.lock().expect("no panic inside");
        let mut free = self.left.wait_while(free, |free| *free == 0).expect("no panic inside");
        *free -= 1;
    }

    /// Gives the place back.
    fn leave(&self) {
        *self.free.lock().expect("no panic inside") += 1;
        self.left.notify_one();
    }
}
