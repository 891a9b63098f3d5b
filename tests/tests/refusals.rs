//! Systems that give less: kernels and sandboxes without the newer system calls, little address space from the start, hardly a
//! mapping left, no `/proc`. A program works all the same, or is told why it cannot.

use gort::thread::{self, Builder};
use gort_tests::measure::{eventually, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::refuse::{refuse, Call};
use gort_tests::subprocess::{role, Outcome, Rerun};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::ptr;
use std::time::Duration;

const SCENARIO: &str = env!("CARGO_BIN_EXE_scenario");
const OLD_KERNEL: &str = env!("CARGO_BIN_EXE_old_kernel");

/// A small program of every kind of wait, started by a command and its arguments, with one P and with two.
fn mini_suite(before: &[&str]) -> [Outcome; 2] {
    ["1", "2"].map(|procs| {
        let mut command = Command::new(before[0]);
        command.args(&before[1..]).args([SCENARIO, "mini_suite"]);
        Rerun::with(command).env("GORT_PROCS", procs).run()
    })
}

fn passes(before: &[&str]) {
    for outcome in mini_suite(before) {
        assert!(outcome.success().stdout.contains("mini suite passed"), "{before:?}: {outcome:?}");
    }
}

#[test]
fn system_calls_may_be_missing() {
    // Old kernels do not know a call, sandboxes forbid it. (libc itself cannot make threads where `clone3` is forbidden.)
    for calls in
        ["membarrier", "epoll_pwait2", "pidfd_open", "close_range", "rseq", "preadv2,pwritev2", "sched_getaffinity"]
    {
        for error in ["ENOSYS", "EPERM"] {
            passes(&[OLD_KERNEL, error, calls]);
        }
    }
    passes(&[OLD_KERNEL, "ENOSYS", "clone3"]);
    passes(&[OLD_KERNEL, "ENOSYS", "advice"]);
    passes(&[OLD_KERNEL, "ENOSYS", "since-4.4,membarrier,advice"]);
}

/// Every kind of wait that asks the kernel something: for a peer, with and without a limit, for a child, for time.
fn waits() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let reader = thread::spawn(move || {
        let mut bytes = [0; 3];
        (&far).read_exact(&mut bytes).unwrap();
        far.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
        assert_eq!((&far).read(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
        bytes
    });
    let (mut from, mut to) = std::io::pipe().unwrap();
    let piped = thread::spawn(move || from.read(&mut [0; 10]).unwrap());
    for byte in b"abc" {
        thread::sleep(Duration::from_micros(1500));
        near.write_all(&[*byte]).unwrap();
    }
    to.write_all(b"there").unwrap();
    assert_eq!(&reader.join().unwrap(), b"abc");
    assert_eq!(piped.join().unwrap(), 5);
    assert_eq!(Command::new("sh").args(["-c", "exit 5"]).status().unwrap().code(), Some(5));
}

#[test]
fn waits_do_without_the_newer_calls() {
    const NAME: &str = "waits_do_without_the_newer_calls";
    let Some(role) = role() else {
        for calls in ["epoll_pwait2", "pidfd_open", "preadv2,pwritev2", "membarrier", "since-4.4,membarrier,advice"] {
            for procs in [1, 2] {
                // glibc wants `rseq` on all threads or on none.
                let rerun = Rerun::of(NAME, calls).env("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
                rerun.env("GORT_PROCS", procs).run().success();
            }
        }
        return;
    };
    let calls: Vec<_> = role.split(',').map(|name| Call::named(name).unwrap()).collect();
    refuse(&calls, libc::ENOSYS).unwrap();
    let all: Vec<_> = (0..10).map(|_| thread::spawn(waits)).collect();
    all.into_iter().for_each(|g| g.join().unwrap());
}

/// `ulimit` with this option and so many KiB, before a command.
fn limited(option: &str, kib: usize) -> [String; 3] {
    ["sh".into(), "-c".into(), format!("ulimit -{option} {kib}; exec \"$0\" \"$@\"")]
}

#[test]
fn address_space_may_be_scarce_from_the_start() {
    needs_goroutines!("each needs a thread of its own");
    // Writable memory (`-d`) is limited as where the kernel does not overcommit: what is reserved counts. Of address space (`-v`)
    // malloc takes 64 MiB for each of its arenas, of which there are eight for each processor.
    for (option, enough) in [("v", 4096), ("d", 1024)] {
        passes(&limited(option, enough << 10).each_ref().map(String::as_str));
        for mib in [128, 256, 512, 1024] {
            for outcome in mini_suite(&limited(option, mib << 10).each_ref().map(String::as_str)) {
                let passed = outcome.status.success() && outcome.stdout.contains("mini suite passed");
                let told = outcome.stderr.contains("no address space") && outcome.stderr.contains("ulimit");
                assert!(passed || told, "{mib} MiB by -{option}: {outcome:?}");
            }
        }
    }
}

/// Mappings that leave few to others as long as they live.
struct Mappings {
    start: *mut libc::c_void,
    bytes: usize,
}

impl Mappings {
    /// Takes all that the process may have but `left`.
    fn all_but(left: usize) -> Mappings {
        const PAGE: usize = 4096;
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        let bytes = 2 * PAGE * limit.trim().parse::<usize>().unwrap();
        let at = |page: usize| page * PAGE;
        // SAFETY: a new mapping; then its pages, of which nobody uses any.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let start = libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            let used =
                (0..).step_by(2).find(|&page| libc::mprotect(start.add(at(page)), PAGE, libc::PROT_READ) != 0).unwrap();
            // One mapping in place of as many as shall be free.
            assert_eq!(libc::mprotect(start.add(at(used - left)), at(left), libc::PROT_NONE), 0);
            Mappings { start, bytes }
        }
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody uses it.
        assert_eq!(unsafe { libc::munmap(self.start, self.bytes) }, 0);
    }
}

#[test]
fn mappings_may_be_used_up_at_the_start() {
    needs_goroutines!("each thread takes mappings");
    const NAME: &str = "mappings_may_be_used_up_at_the_start";
    const ENOUGH: usize = 600;
    let Some(role) = role() else {
        for guard in ["", "mprotect"] {
            for left in [2, 6, 12, 20, 40, 80, 200, 400, ENOUGH] {
                let rerun = Rerun::of(NAME, &left.to_string()).env("GORT_GUARD", guard).env("GORT_PROCS", 2);
                rerun.run().success();
            }
        }
        return;
    };
    let left = role.parse().unwrap();
    let taken = Mappings::all_but(left);
    // Few, since a thread that cannot be had is tried for some time.
    let spawned: Vec<_> = (0..10).map(|i| Builder::new().spawn(move || i)).collect();
    for result in &spawned {
        match result {
            // It runs when there is a thread for it, which may be later.
            Ok(g) if left >= ENOUGH => assert!(eventually(Duration::from_secs(30), || g.is_finished())),
            Ok(_) => {}
            Err(e) => assert!(left < ENOUGH, "{e}"),
        }
    }
    drop(taken);
    for (i, result) in spawned.into_iter().enumerate() {
        if let Ok(g) = result {
            assert_eq!(g.join().unwrap(), i);
        }
    }
    assert_eq!(on_goroutine(|| 5), 5, "all is well again");
}

#[test]
fn proc_may_be_hidden() {
    let hide = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" \"$@\""];
    let may = Command::new(hide[0]).args(&hide[1..]).arg("true").output().is_ok_and(|out| out.status.success());
    if may {
        passes(&hide);
    } else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI can make namespaces");
        eprintln!("not tried: no namespaces to be had");
    }
}
