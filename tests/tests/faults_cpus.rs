//! Processors that are taken away: by the affinity mask and by a control group's quota, before the start and under load.

use gort::thread;
use gort_tests::cthreads::eventually;
use gort_tests::needs_goroutines;
use gort_tests::storms;
use gort_tests::subprocess::{role, Rerun};
use std::fs;
use std::mem;
use std::path::PathBuf;

/// Where the test's child finds its control group.
const GROUP: &str = "GORT_TEST_GROUP";

/// The processors that the calling thread may run on.
fn allowed() -> libc::cpu_set_t {
    // SAFETY: a set of bits; the kernel fills it in.
    unsafe {
        let mut set = mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, mem::size_of_val(&set), &raw mut set), 0);
        set
    }
}

/// The first of `set`, alone.
fn first(set: &libc::cpu_set_t) -> libc::cpu_set_t {
    // SAFETY: sets of bits, and numbers within them.
    unsafe {
        let n = (0..libc::CPU_SETSIZE as usize).find(|&n| libc::CPU_ISSET(n, set)).unwrap();
        let mut one = mem::zeroed();
        libc::CPU_SET(n, &mut one);
        one
    }
}

/// Lets every thread of the process run on `set` only, those to come included.
fn restrict(set: &libc::cpu_set_t) {
    for entry in fs::read_dir("/proc/self/task").unwrap() {
        let tid = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
        // SAFETY: the kernel reads the set. The thread may have ended.
        unsafe { libc::sched_setaffinity(tid, mem::size_of_val(set), set) };
    }
}

#[test]
fn the_default_is_as_many_as_allowed() {
    const NAME: &str = "the_default_is_as_many_as_allowed";
    if role().is_none() {
        Rerun::of(NAME, "child").run().success();
        return;
    }
    restrict(&first(&allowed()));
    assert_eq!(thread::spawn(gort::stats).join().unwrap().procs, 1);
}

#[test]
fn fewer_processors_under_load() {
    const NAME: &str = "fewer_processors_under_load";
    let Some(role) = role() else {
        for storm in storms::ALL {
            Rerun::of(NAME, storm).env("GORT_PROCS", 4).inherit("GORT_CHAOS").run().success();
        }
        return;
    };
    storms::begin(&role);
    let all = allowed();
    for _ in 0..3 {
        restrict(&first(&all));
        storms::goes_on();
        assert_eq!(gort::stats().procs, 4, "it stays what it was");
        restrict(&all);
        storms::goes_on();
    }
    // What a program may do about it.
    restrict(&first(&all));
    let now = std::thread::available_parallelism().unwrap().get();
    assert_eq!((now, gort::set_procs(now).unwrap()), (1, 4));
    storms::goes_on();
    println!("1 passed"); // for the harness, to which a storm does not let us return
    std::process::exit(0);
}

/// A control group with a CPU quota, removed in the end.
struct Group {
    directory: PathBuf,
    v2: bool,
}

impl Group {
    /// A new one below this process's own, or none where that is not allowed.
    fn new() -> Option<Group> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = |wanted: &str| {
            let mut lines =
                groups.lines().filter_map(|line| line.split_once(':')).filter_map(|(_, rest)| rest.split_once(':'));
            lines.find(|(kinds, _)| kinds.split(',').any(|kind| kind == wanted)).map(|(_, path)| path.trim_matches('/'))
        };
        let name = format!("gort-test-{}", std::process::id());
        let make = |root: &str, kind: &str, file: &str, v2| {
            let directory = PathBuf::from(root).join(path(kind)?).join(&name);
            fs::create_dir(&directory).ok()?;
            let group = Group { directory, v2 };
            group.directory.join(file).exists().then_some(group)
        };
        make("/sys/fs/cgroup/cpu", "cpu", "cpu.cfs_quota_us", false)
            .or_else(|| make("/sys/fs/cgroup", "", "cpu.max", true))
    }

    /// Allows that many hundredths of a processor.
    fn allow(&self, hundredths: usize) {
        let quota = hundredths * 1000; // microseconds in a period of 100,000
        let (file, text) = match self.v2 {
            true => ("cpu.max", format!("{quota} 100000")),
            false => ("cpu.cfs_quota_us", quota.to_string()),
        };
        fs::write(self.directory.join(file), text).unwrap();
    }

    /// How often the kernel stopped the group because its quota was used up.
    fn throttled(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join("cpu.stat")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.directory).ok();
    }
}

/// Runs `child` in a control group with a quota, in the process that was made for it; says so if that cannot be done.
fn in_a_group(name: &str, hundredths: usize, child: impl FnOnce(&Group)) {
    if let Some(directory) = std::env::var_os(GROUP) {
        let group = Group { directory: directory.into(), v2: role().unwrap() == "v2" };
        fs::write(group.directory.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        child(&group);
        mem::forget(group); // whoever made it removes it
        println!("1 passed"); // for the harness, to which a storm does not let us return
        std::process::exit(0);
    }
    let Some(group) = Group::new() else {
        eprintln!("{name}: not run, since no control groups can be made here");
        return;
    };
    group.allow(hundredths);
    let rerun = Rerun::of(name, if group.v2 { "v2" } else { "v1" }).env(GROUP, group.directory.display());
    rerun.run().success();
}

#[test]
fn the_default_is_no_more_than_the_quota() {
    in_a_group("the_default_is_no_more_than_the_quota", 60, |_| {
        assert_eq!(thread::spawn(gort::stats).join().unwrap().procs, 1);
    });
}

#[test]
fn a_lower_quota_under_load() {
    needs_goroutines!("threads that compute use the whole quota up");
    in_a_group("a_lower_quota_under_load", 400, |group| {
        storms::begin("timers");
        storms::begin("spawns");
        for hundredths in [10, 5] {
            group.allow(hundredths);
            let before = group.throttled();
            eventually("the kernel takes processors away", || group.throttled() > before + 5);
            storms::goes_on();
        }
    });
}
