//! What an allocator costs that keeps something for each thread, when threads are goroutines: memory of goroutines that wait
//! and of those that have ended, and time. One program for each allocator, in `examples/`; `ci/allocators.sh` runs them all.
//!
//! Each case is measured in a process of its own, by the same program with the case as its argument. Nothing is judged.

use gort::thread;
use gort_tests::measure::eventually;
use std::env;
use std::fs;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// What each goroutine keeps while it waits, in blocks of different sizes: 1,000 bytes.
const KEPT: [usize; 8] = [16, 24, 40, 64, 96, 160, 200, 400];

/// Memory that a case may be expected to take, in MiB. `GORT_HEAPS_LIMIT` is another limit.
const LIMIT: usize = 6 << 10;

/// The program goes on for so many seconds after the goroutines have ended, at most, and until memory has not shrunk for so
/// many: the runtime gives the stacks of dead ones back bit by bit, and allocators do so only when they are used.
const AFTER: usize = 90;
const STILL: usize = 5;

/// Runs all cases of the program that calls it, or the one that it is started for. `name` is the allocator's, for the table.
pub fn main(name: &str) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let count = |text: &str| text.parse().expect("a number of goroutines");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => table(name),
        ["bare", n] => parked(count(n), false),
        ["parked", n] => parked(count(n), true),
        ["spawn"] => spawn(),
        ["blocks"] => blocks(),
        _ => {
            eprintln!("usage: heaps_... [bare N | parked N | spawn | blocks]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// What a case prints.
fn case(arguments: &[&str]) -> Vec<f64> {
    let program = env::current_exe().expect("a program has a path");
    let output = Command::new(program).args(arguments).output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{text}{complaint}", output.status);
    text.split_whitespace().map(|figure| figure.parse().expect("cases print numbers")).collect()
}

/// A line of figures for each number of goroutines, and one for times.
fn table(name: &str) {
    let limit = env::var("GORT_HEAPS_LIMIT").map_or(LIMIT, |text| text.parse().expect("MiB"));
    let mut each = 0.0;
    for n in [10_000, 100_000] {
        let expected = each * n as f64 / 1024.0;
        if expected > limit as f64 {
            println!("{name:24} {n:7} goroutines: not measured, since it would take {:.0} GiB", expected / 1024.0);
            continue;
        }
        let [bare, parked] = ["bare", "parked"].map(|kind| case(&[kind, &n.to_string()]));
        each = parked[0];
        println!(
            "{name:24} {n:7} goroutines: {:6.1} KiB each, {:6.1} with {} bytes allocated; {:6.0} MiB at most, {:6.0} after their end",
            bare[0],
            parked[0],
            KEPT.iter().sum::<usize>(),
            parked[1],
            parked[2],
        );
    }
    let (spawn, blocks) = (case(&["spawn"]), case(&["blocks"]));
    println!(
        "{name:24} spawn and join {:.0} ns, {:.0} allocating; malloc and free {:.0} ns on a goroutine, {:.0} on a thread",
        spawn[0], spawn[1], blocks[0], blocks[1]
    );
}

/// Memory of this process in KiB: resident pages, and the pages that list them.
fn memory() -> f64 {
    let text = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = |name| text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel writes this line");
    let number = |text: &str| text.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number");
    number(line("VmRSS:")) + number(line("VmPTE:"))
}

/// Blocks of the sizes of [`KEPT`], after as many that are freed at once.
fn allocate() -> Vec<Vec<u8>> {
    let blocks = || KEPT.iter().map(|size| vec![1; *size]).collect::<Vec<Vec<u8>>>();
    drop(black_box(blocks()));
    blocks()
}

/// `n` goroutines that wait at a time, having allocated or not. Prints KiB for each, MiB at most, and MiB after their end.
fn parked(n: usize, having_allocated: bool) {
    static PARKED: AtomicUsize = AtomicUsize::new(0);
    thread::spawn(|| ()).join().expect("no panic");
    // Room for the handles, so that it is not counted.
    let mut all = Vec::with_capacity(n);
    all.resize_with(n, || None);
    let before = memory();
    for place in &mut all {
        let run = move || {
            let kept = having_allocated.then(allocate);
            PARKED.fetch_add(1, SeqCst);
            while PARKED.load(SeqCst) < usize::MAX / 2 {
                thread::park();
            }
            drop(kept);
        };
        *place = Some(thread::spawn(run));
    }
    assert!(eventually(Duration::from_secs(300), || PARKED.load(SeqCst) == n));
    let most = memory();
    PARKED.store(usize::MAX / 2, SeqCst);
    all.iter().flatten().for_each(|one| one.thread().unpark());
    all.drain(..).flatten().for_each(|one| one.join().expect("no panic"));
    drop(all);
    println!("{} {} {}", (most - before) / n as f64, most / 1024.0, settled() / 1024.0);
}

/// Memory when the program has gone on for a while with few goroutines.
fn settled() -> f64 {
    let (mut least, mut still) = (memory(), 0);
    for _ in 0..AFTER {
        std::thread::sleep(Duration::from_secs(1));
        (0..10).for_each(|_| drop(thread::spawn(allocate).join().expect("no panic")));
        let now = memory();
        still = if now < 0.99 * least { 0 } else { still + 1 };
        least = least.min(now);
        if still == STILL {
            break;
        }
    }
    memory()
}

/// CPU time of this process, in nanoseconds. Unlike time on the clock, it does not depend on what else the machine does.
fn cpu() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to a struct that is ours.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The median of several measurements of `f`, in nanoseconds of CPU time for one of `n`.
fn median(n: usize, mut f: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let begin = cpu();
            f();
            (cpu() - begin) / n as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Prints nanoseconds to spawn and join a goroutine, one that does nothing and one that allocates.
fn spawn() {
    const N: usize = 20_000;
    // On a goroutine, and so without waking kernel threads.
    let [nothing, allocating] = thread::spawn(|| {
        let crowd = |f: fn()| {
            for _ in 0..N / 100 {
                let all: Vec<_> = (0..100).map(|_| thread::spawn(f)).collect();
                all.into_iter().for_each(|one| one.join().expect("no panic"));
            }
        };
        let kinds: [fn(); 2] = [|| (), || drop(black_box(allocate()))];
        kinds.map(|f| median(N, || crowd(f)))
    })
    .join()
    .expect("no panic");
    println!("{nothing} {allocating}");
}

/// Prints nanoseconds to allocate and free a block of 64 bytes, on a goroutine and on a thread.
fn blocks() {
    const N: usize = 200_000;
    let measure = || median(N, || (0..N).for_each(|_| drop(black_box(Box::new([1u8; 64])))));
    let goroutine = thread::spawn(measure).join().expect("no panic");
    println!("{goroutine} {}", measure());
}
