//! Child processes of goroutines: made, fed, waited for and killed, with std and with libc's own functions.

use gort::thread;
use gort_tests::measure::{eventually, kernel_threads, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::raw::block_for;
use gort_tests::subprocess::{alone, role, Rerun};
use libc::{c_int, pid_t, siginfo_t};
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(40);

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().expect("the last error of the system")
}

/// Forks; the child ends with the code that `child` returns.
fn fork(child: impl FnOnce() -> c_int) -> pid_t {
    // SAFETY: the children only do what a child of a process with threads may do with glibc.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(99);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) };
    }
    assert!(pid > 0, "fork: {}", io::Error::last_os_error());
    pid
}

/// A child that lives until the other end of what is returned is closed, then ends with `code`.
fn held(code: c_int) -> (pid_t, UnixStream) {
    // Of two pairs that were made before either child, each child would have the other one's end, and both would live for ever.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (near, far) = UnixStream::pair().unwrap();
    let near_number = near.as_raw_fd();
    let pid = fork(move || {
        // SAFETY: the parent's end is of no use here; only that of the parent itself is to count.
        unsafe { libc::close(near_number) };
        let _ = (&far).read(&mut [0]);
        code
    });
    (pid, near)
}

fn waitpid(pid: pid_t, options: c_int) -> Result<(pid_t, c_int), c_int> {
    let mut status = -1;
    // SAFETY: the status is ours to write.
    match unsafe { libc::waitpid(pid, &mut status, options) } {
        -1 => Err(errno()),
        pid => Ok((pid, status)),
    }
}

/// A process that writes what it reads.
fn cat() -> Command {
    let mut cat = Command::new("cat");
    cat.stdin(Stdio::piped()).stdout(Stdio::piped());
    cat
}

#[test]
fn a_mebibyte_through_a_child_and_back() {
    let all: Vec<_> = (0..4u8)
        .map(|n| {
            thread::spawn(move || {
                let mut child = cat().spawn().unwrap();
                let mut to = child.stdin.take().unwrap();
                let writes = thread::spawn(move || {
                    let chunk: Vec<u8> = (0..=255u8).map(|byte| byte ^ n).collect();
                    (0..4096).for_each(|_| to.write_all(&chunk).unwrap());
                });
                let output = child.wait_with_output().unwrap();
                writes.join().unwrap();
                assert!(output.status.success());
                assert_eq!(output.stdout.len(), 1 << 20);
                assert!(output.stdout.iter().zip((0..=255u8).cycle()).all(|(&got, byte)| got == byte ^ n));
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn what_children_leave() {
    on_goroutine(|| {
        let output = Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));

        let mut child = cat().spawn().unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL), "as often as one likes");

        let error = Command::new("/no/such/program").spawn().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        // With something to do between fork and exec std forks.
        use std::os::unix::process::CommandExt;
        let mut forks = Command::new("sh");
        // SAFETY: `setsid` may be called there.
        unsafe {
            forks.args(["-c", "exit 5"]).pre_exec(|| match libc::setsid() {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            })
        };
        assert_eq!(forks.status().unwrap().code(), Some(5));
    });
}

/// As many goroutines as children, and hardly a kernel thread.
#[test]
fn two_hundred_wait_for_two_hundred() {
    needs_goroutines!("kernel threads are counted");
    const NAME: &str = "two_hundred_wait_for_two_hundred";
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    let inside = Arc::new(AtomicUsize::new(0));
    let (ends, all): (Vec<_>, Vec<_>) = (0..200)
        .map(|i| {
            let inside = inside.clone();
            let (pid, end) = held(i % 100);
            let goroutine = thread::spawn(move || {
                inside.fetch_add(1, SeqCst);
                if i % 2 == 0 {
                    waitpid(pid, 0).unwrap().1
                } else {
                    // SAFETY: a structure of ours.
                    unsafe {
                        let mut info: siginfo_t = mem::zeroed();
                        assert_eq!(libc::waitid(libc::P_PID, pid as u32, &mut info, libc::WEXITED), 0);
                        assert_eq!((info.si_pid(), info.si_code), (pid, libc::CLD_EXITED));
                        info.si_status() << 8
                    }
                }
            });
            (end, goroutine)
        })
        .unzip();
    assert!(eventually(LONG, || inside.load(SeqCst) == 200));
    assert!(eventually(LONG, || kernel_threads() < 16), "{} kernel threads", kernel_threads());
    assert!(all.iter().all(|g| !g.is_finished()));
    drop(ends);
    let codes = all.into_iter().map(|g| libc::WEXITSTATUS(g.join().unwrap()));
    assert!(codes.eq((0..200).map(|i| i % 100)));
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 30, "{open} descriptors are left");
}

#[test]
fn waitpid_answers_as_the_kernel_does() {
    on_goroutine(|| {
        assert_eq!(waitpid(1, 0), Err(libc::ECHILD));
        assert_eq!(waitpid(1, 1 << 20), Err(libc::EINVAL));
        let (pid, end) = held(4);
        assert_eq!(waitpid(pid, libc::WNOHANG), Ok((0, -1)), "the status is left alone");
        let waits = thread::spawn(move || waitpid(pid, 0));
        thread::yield_now();
        drop(end);
        assert_eq!(waits.join().unwrap(), Ok((pid, 4 << 8)));
        assert_eq!(waitpid(pid, 0), Err(libc::ECHILD), "it is gone");

        let pid = fork(|| 7);
        let mut usage: libc::rusage;
        // SAFETY: no status is wanted; the structure is ours.
        unsafe {
            usage = mem::zeroed();
            assert_eq!(libc::wait4(pid, ptr::null_mut(), 0, &mut usage), pid);
        }
        assert!(usage.ru_maxrss > 0);

        let (pid, end) = held(0);
        let both = [(); 2].map(|()| thread::spawn(move || waitpid(pid, 0)));
        thread::yield_now();
        drop(end);
        let mut answers = both.map(|g| g.join().unwrap());
        answers.sort_unstable();
        assert_eq!(answers, [Ok((pid, 0)), Err(libc::ECHILD)], "one of two gets it");
    });
}

#[test]
fn waitid_answers_as_the_kernel_does() {
    on_goroutine(|| {
        let waitid = |kind, id, options| {
            // SAFETY: all zero is valid; the structure is ours.
            unsafe {
                let mut info: siginfo_t = mem::zeroed();
                match libc::waitid(kind, id, &mut info, options) {
                    0 => Ok((info.si_pid(), info.si_code, info.si_status())),
                    _ => Err(errno()),
                }
            }
        };
        assert_eq!(waitid(libc::P_PID, 1, libc::WEXITED), Err(libc::ECHILD));
        assert_eq!(waitid(libc::P_PID, 1, 0), Err(libc::EINVAL));
        let (pid, end) = held(6);
        let id = pid as u32;
        // SAFETY: takes numbers only; the descriptor is new.
        let process = unsafe { OwnedFd::from_raw_fd(libc::syscall(libc::SYS_pidfd_open, id, 0) as c_int) };
        let number = process.as_raw_fd() as u32;
        assert_eq!(waitid(libc::P_PID, id, libc::WEXITED | libc::WNOHANG), Ok((0, 0, 0)));
        assert_eq!(waitid(libc::P_PIDFD, 1 << 29, libc::WEXITED), Err(libc::EBADF));
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(process.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        assert_eq!(waitid(libc::P_PIDFD, number, libc::WEXITED), Err(libc::EAGAIN), "the caller wants no blocking");
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(process.as_raw_fd(), libc::F_SETFL, 0) };
        let ends = thread::spawn(move || drop(end));
        let ended = Ok((pid, libc::CLD_EXITED, 6));
        assert_eq!(waitid(libc::P_PID, id, libc::WEXITED | libc::WNOWAIT), ended);
        assert_eq!(waitid(libc::P_PIDFD, number, libc::WEXITED | libc::WNOWAIT), ended);
        // SAFETY: nothing is to be written.
        assert_eq!(unsafe { libc::waitid(libc::P_PIDFD, number, ptr::null_mut(), libc::WEXITED) }, 0);
        assert_eq!(waitid(libc::P_PIDFD, number, libc::WEXITED), Err(libc::ECHILD));
        ends.join().unwrap();
        let (pid, end) = held(0);
        let ends = thread::spawn(move || drop(end));
        // SAFETY: nothing is to be written.
        assert_eq!(unsafe { libc::waitid(libc::P_PID, pid as u32, ptr::null_mut(), libc::WEXITED) }, 0);
        ends.join().unwrap();
    });
}

#[test]
fn a_child_that_stops_and_continues() {
    on_goroutine(|| {
        let (pid, end) = held(0);
        let signal = |signal| {
            // SAFETY: the child is ours.
            thread::spawn(move || assert_eq!(unsafe { libc::kill(pid, signal) }, 0))
        };
        let stops = signal(libc::SIGSTOP);
        let (_, status) = waitpid(pid, libc::WUNTRACED).unwrap();
        assert!(libc::WIFSTOPPED(status));
        stops.join().unwrap();
        let continues = signal(libc::SIGCONT);
        let (_, status) = waitpid(pid, libc::WCONTINUED).unwrap();
        assert!(libc::WIFCONTINUED(status));
        continues.join().unwrap();
        drop(end);
        assert_eq!(waitpid(pid, 0), Ok((pid, 0)));
    });
}

/// Waiting for any child blocks the kernel thread, and others run; so do `system` and `pclose`.
#[test]
fn any_child_and_shells() {
    const NAME: &str = "any_child_and_shells";
    if role().is_none() {
        Rerun::of(NAME, "child").env("GORT_PROCS", "1").run().success();
        return;
    }
    on_goroutine(|| {
        let (pid, end) = held(9);
        // SAFETY: the status is ours; no usage is wanted.
        let waits = thread::spawn(|| unsafe {
            let mut status = -1;
            (libc::wait(&mut status), status)
        });
        thread::yield_now();
        drop(end);
        assert_eq!(waits.join().unwrap(), (pid, 9 << 8));
        assert_eq!(waitpid(-1, 0), Err(libc::ECHILD));

        let (near, far) = UnixStream::pair().unwrap();
        let command = |what: &str| std::ffi::CString::new(format!("({what}) <&{0} {0}<&-", far.as_raw_fd())).unwrap();
        // SAFETY: takes numbers only: the shells are to have it.
        unsafe { libc::fcntl(far.as_raw_fd(), libc::F_SETFD, 0) };
        let (system, popen) = (command("head -c 1 >/dev/null; exit 11"), command("head -c 1"));
        // SAFETY: C strings; the stream is closed once.
        let shell = thread::spawn(move || unsafe { libc::system(system.as_ptr()) });
        thread::yield_now();
        (&near).write_all(b"1").unwrap();
        assert_eq!(shell.join().unwrap(), 11 << 8);
        // SAFETY: as above.
        let pipe = thread::spawn(move || unsafe {
            let stream = libc::popen(popen.as_ptr(), c"r".as_ptr());
            let byte = libc::fgetc(stream);
            (byte, libc::pclose(stream))
        });
        thread::yield_now();
        (&near).write_all(b"2").unwrap();
        assert_eq!(pipe.join().unwrap(), (c_int::from(b'2'), 0));
    });
}

#[test]
fn where_nobody_wants_to_know_of_children() {
    alone("where_nobody_wants_to_know_of_children", || {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        on_goroutine(|| {
            let (pid, end) = held(1);
            let waits = thread::spawn(move || waitpid(pid, 0));
            thread::yield_now();
            drop(end);
            assert_eq!(waits.join().unwrap(), Err(libc::ECHILD), "after it has ended");
        });
    });
}

/// A child forked on a goroutine is a plain process: every family of hooks passes through.
#[test]
fn a_forked_child_is_a_plain_process() {
    const NAME: &str = "a_forked_child_is_a_plain_process";
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    let child = || {
        let (near, far) = UnixStream::pair().unwrap();
        let pid = fork(|| {
            block_for(Duration::from_millis(5));
            8
        });
        assert_eq!(waitpid(pid, 0), Ok((pid, 8 << 8)));
        let mut fd = libc::pollfd { fd: near.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry; no sets; a time of ours; takes numbers only.
        unsafe {
            assert_eq!(libc::poll(&mut fd, 1, 5), 0);
            (&far).write_all(b"x").unwrap();
            assert_eq!(libc::poll(&mut fd, 1, -1), 1);
            let (no, mut time) = (ptr::null_mut(), libc::timeval { tv_sec: 0, tv_usec: 5000 });
            assert_eq!(libc::select(0, no, no, no, &mut time), 0);
            assert_eq!(libc::usleep(100), 0);
            let set = libc::epoll_create1(0);
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            assert_eq!(libc::epoll_wait(set, &mut event, 1, 5), 0);
            assert_eq!(libc::close(set), 0);
        }
        assert!(std::net::ToSocketAddrs::to_socket_addrs(&("127.0.0.1", 80)).unwrap().next().is_some());
        assert_eq!(Command::new("sh").args(["-c", "echo a"]).output().unwrap().stdout, b"a\n");
        42
    };
    let all: Vec<_> = (0..8).map(|_| thread::spawn(move || waitpid(fork(child), 0).unwrap().1)).collect();
    assert!(all.into_iter().all(|g| libc::WEXITSTATUS(g.join().unwrap()) == 42));
}

extern "C" {
    fn _Fork() -> pid_t;
}

/// `_Fork` calls no handlers, yet the runtime knows.
#[test]
fn a_child_of_the_bare_fork() {
    on_goroutine(|| {
        // SAFETY: what the child does is allowed in a signal handler; no entries.
        let pid = unsafe {
            let pid = _Fork();
            if pid == 0 {
                libc::usleep(1000);
                libc::_exit(20 + libc::poll(ptr::null_mut(), 0, 1));
            }
            pid
        };
        assert_eq!(waitpid(pid, 0), Ok((pid, 20 << 8)));
    });
}

/// What the child of `vfork` does to descriptors does not reach those who wait in the parent.
#[test]
fn vfork_keeps_the_parent_out_of_it() {
    alone("vfork_keeps_the_parent_out_of_it", || {
        let (near, far) = UnixStream::pair().unwrap();
        let number = near.as_raw_fd();
        let reads = thread::spawn(move || {
            let mut fd = libc::pollfd { fd: near.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry.
            let polled = unsafe { libc::poll(&mut fd, 1, -1) };
            let mut byte = [0];
            (&near).read_exact(&mut byte).unwrap();
            (polled, fd.revents, byte)
        });
        let far = on_goroutine(move || {
            // SAFETY: the child closes, opens and ends.
            #[allow(deprecated)]
            let pid = unsafe {
                let pid = libc::vfork();
                if pid == 0 {
                    libc::close(number);
                    libc::dup2(2, number);
                    libc::_exit(13);
                }
                pid
            };
            assert_eq!(waitpid(pid, 0), Ok((pid, 13 << 8)));
            (&far).write_all(b"x").unwrap();
            far
        });
        assert_eq!(reads.join().unwrap(), (1, libc::POLLIN, *b"x"));
        drop(far);
    });
}
