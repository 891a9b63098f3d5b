//! Waiting for messages, semaphores and signals in the kernel, and sleeping by libc's functions, on one processor.

use gort::ffi;
use gort::thread;
use gort_tests::measure::{eventually, kernel_threads, on_goroutine};
use gort_tests::subprocess::{role, Rerun};
use libc::{c_char, c_int, c_long, timespec};
use std::io;
use std::mem;
use std::ptr;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(40);

extern "C" {
    fn semtimedop(set: c_int, operations: *mut libc::sembuf, n: usize, timeout: *const timespec) -> c_int;
    fn thrd_sleep(time: *const timespec, rest: *mut timespec) -> c_int;
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().expect("the last error of the system")
}

/// Runs the test in a process with one P; True in that process.
fn with_one_processor(test: &str) -> bool {
    let there = role().is_some();
    if !there {
        Rerun::of(test, "child").env("GORT_PROCS", "1").run().success();
    }
    there
}

#[repr(C)]
struct Message {
    kind: c_long,
    value: u64,
}

#[test]
fn messages_between_goroutines() {
    if !with_one_processor("messages_between_goroutines") {
        return;
    }
    // SAFETY: the messages are of the size that the calls are told.
    unsafe {
        let queue = libc::msgget(libc::IPC_PRIVATE, libc::IPC_CREAT | 0o600);
        assert!(queue >= 0);
        let receives = thread::spawn(move || {
            (0..100u64).all(|n| {
                let mut message = Message { kind: 0, value: 0 };
                assert_eq!(libc::msgrcv(queue, (&raw mut message).cast(), 8, 5, 0), 8);
                message.value == n
            })
        });
        let sends = thread::spawn(move || {
            for value in 0..100 {
                let message = Message { kind: 5, value };
                assert_eq!(libc::msgsnd(queue, (&raw const message).cast(), 8, 0), 0);
                thread::yield_now();
            }
        });
        assert!(receives.join().unwrap());
        sends.join().unwrap();
        let waits = thread::spawn(move || {
            let mut message = Message { kind: 0, value: 0 };
            (libc::msgrcv(queue, (&raw mut message).cast(), 8, 5, 0), errno())
        });
        thread::yield_now();
        assert_eq!(libc::msgctl(queue, libc::IPC_RMID, ptr::null_mut()), 0);
        let (got, error) = waits.join().unwrap();
        assert!(got == -1 && matches!(error, libc::EIDRM | libc::EINVAL), "the queue is gone: {error}");
    }
}

#[test]
fn semaphores_between_goroutines() {
    if !with_one_processor("semaphores_between_goroutines") {
        return;
    }
    // SAFETY: one operation each; times of ours; takes numbers otherwise.
    unsafe {
        let set = libc::semget(libc::IPC_PRIVATE, 2, libc::IPC_CREAT | 0o600);
        assert!(set >= 0);
        let change = move |which, by| {
            let mut operation = libc::sembuf { sem_num: which, sem_op: by, sem_flg: 0 };
            libc::semop(set, &mut operation, 1)
        };
        let [ping, pong] = [(0, 1), (1, 0)].map(|(mine, theirs)| {
            thread::spawn(move || (0..100).all(|_| change(mine, -1) == 0 && change(theirs, 1) == 0))
        });
        assert_eq!(on_goroutine(move || change(0, 1)), 0);
        assert!(ping.join().unwrap() && pong.join().unwrap());
        on_goroutine(move || {
            assert_eq!(change(0, -1), 0);
            let mut operation = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: 0 };
            let time = timespec { tv_sec: 0, tv_nsec: 5_000_000 };
            assert_eq!((semtimedop(set, &mut operation, 1, &time), errno()), (-1, libc::EAGAIN));
        });
        assert_eq!(libc::semctl(set, 0, libc::IPC_RMID), 0);
    }
}

#[test]
fn posix_queues_between_goroutines() {
    if !with_one_processor("posix_queues_between_goroutines") {
        return;
    }
    // SAFETY: the name is a C string; the attributes and buffers are ours and as large as the calls are told.
    unsafe {
        let name = std::ffi::CString::new(format!("/gort-ipc-{}", std::process::id())).unwrap();
        let mut attributes: libc::mq_attr = mem::zeroed();
        (attributes.mq_maxmsg, attributes.mq_msgsize) = (2, 4);
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let queue = libc::mq_open(name.as_ptr(), flags, 0o600, &raw mut attributes);
        assert!(queue >= 0, "{}", io::Error::last_os_error());
        assert_eq!(libc::mq_unlink(name.as_ptr()), 0);
        let receives = thread::spawn(move || {
            (0..50u32).all(|n| {
                let (mut bytes, mut priority) = ([0u8; 4], 0);
                assert_eq!(libc::mq_receive(queue, bytes.as_mut_ptr().cast(), 4, &mut priority), 4);
                u32::from_le_bytes(bytes) == n && priority == 3
            })
        });
        let sends = thread::spawn(move || {
            (0..50u32).all(|n| libc::mq_send(queue, n.to_le_bytes().as_ptr().cast::<c_char>(), 4, 3) == 0)
        });
        assert!(receives.join().unwrap() && sends.join().unwrap());
        on_goroutine(move || {
            let (mut bytes, past) = ([0u8; 4], timespec { tv_sec: 1, tv_nsec: 0 });
            let got = libc::mq_timedreceive(queue, bytes.as_mut_ptr().cast(), 4, ptr::null_mut(), &past);
            assert_eq!((got, errno()), (-1, libc::ETIMEDOUT));
        });
        assert_eq!(libc::mq_close(queue), 0);
    }
}

/// A goroutine that holds its kernel thread waits for a signal, while others run.
#[test]
fn waiting_for_a_signal() {
    if !with_one_processor("waiting_for_a_signal") {
        return;
    }
    let (to, from) = std::sync::mpsc::channel();
    // SAFETY: the sets are ours; the signal goes to a thread that lives and blocks it.
    unsafe {
        let waits = thread::spawn(move || {
            ffi::lock_os_thread();
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGUSR1);
            let mut before: libc::sigset_t = mem::zeroed();
            assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before), 0);
            let time = timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            assert_eq!((libc::sigtimedwait(&set, ptr::null_mut(), &time), errno()), (-1, libc::EAGAIN));
            let mut signal = 0;
            for _ in 0..20 {
                to.send(libc::gettid()).unwrap();
                assert_eq!((libc::sigwait(&set, &mut signal), signal), (0, libc::SIGUSR1));
                to.send(libc::gettid()).unwrap();
                assert_eq!(libc::sigwaitinfo(&set, ptr::null_mut()), libc::SIGUSR1);
            }
            assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()), 0);
            ffi::unlock_os_thread();
        });
        let signals = thread::spawn(move || {
            from.iter().all(|tid: c_int| libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGUSR1) == 0)
        });
        waits.join().unwrap();
        assert!(signals.join().unwrap());
    }
}

#[test]
fn sleeping_by_all_its_names() {
    if !with_one_processor("sleeping_by_all_its_names") {
        return;
    }
    let sleepers: [fn() -> c_int; 4] = [
        // SAFETY: takes numbers only.
        || unsafe { libc::usleep(999_999) },
        // SAFETY: as above.
        || unsafe { libc::sleep(1) as c_int },
        // SAFETY: times of ours.
        || unsafe { thrd_sleep(&timespec { tv_sec: 1, tv_nsec: 0 }, ptr::null_mut()) },
        // SAFETY: as above.
        || unsafe { libc::nanosleep(&timespec { tv_sec: 1, tv_nsec: 0 }, ptr::null_mut()) },
    ];
    let start = Instant::now();
    let all: Vec<_> = (0..100).map(|i| thread::spawn(sleepers[i % 4])).collect();
    assert!(all.into_iter().all(|g| g.join().unwrap() == 0));
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(eventually(LONG, || kernel_threads() < 16));
    // SAFETY: the time is refused.
    assert!(on_goroutine(|| unsafe { thrd_sleep(&timespec { tv_sec: 0, tv_nsec: -1 }, ptr::null_mut()) }) < -1);
}
