//! `poll` on goroutines: it parks, answers as the kernel does, and leaves others alone. Its kin with a signal mask, too.

use gort::thread;
use gort_tests::measure::{eventually, kernel_threads, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{alone, role, Rerun};
use gort_tests::waiting::{ask, errno, eventfd, many_descriptors, poll, set_errno, signal, EpollSet, Selecting};
use libc::{c_int, epoll_event, fd_set, pollfd, timespec, POLLIN, POLLNVAL, POLLOUT, POLLPRI};
use std::io::{Read, Write};
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(40);
const STRANGE: c_int = 1234;

#[test]
fn poll_says_what_the_kernel_says() {
    on_goroutine(|| {
        let (mut near, far) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        near.write_all(b"x").unwrap();
        let nobody = pollfd { fd: -5, events: POLLIN, revents: -1 };
        for timeout in [0, 50, -1] {
            let mut fds = [ask(&far, POLLIN), nobody, ask(&near, POLLOUT | POLLIN), ask(&file, POLLIN)];
            set_errno(STRANGE);
            assert_eq!(poll(&mut fds, timeout), 3);
            assert_eq!(errno(), STRANGE);
            assert_eq!(fds.map(|fd| fd.revents), [POLLIN, 0, POLLOUT, POLLIN]);
            let mut closed = [pollfd { fd: 1 << 29, events: POLLIN, revents: 0 }];
            assert_eq!((poll(&mut closed, timeout), closed[0].revents), (1, POLLNVAL));
        }
        // SAFETY: the kernel refuses both.
        unsafe {
            assert_eq!((libc::poll(ptr::null_mut(), 3, 50), errno()), (-1, libc::EFAULT));
            assert_eq!((libc::poll(ptr::null_mut(), libc::nfds_t::MAX, 50), errno()), (-1, libc::EINVAL));
        }
    });
}

#[test]
fn a_timeout_passes() {
    let end = |start: Instant| assert!(start.elapsed() >= Duration::from_millis(20));
    on_goroutine(|| {
        let (near, _far) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let nobody = pollfd { fd: -1, events: POLLIN, revents: -1 };
        // The last are never ready for that, and epoll does not take a regular file.
        for mut fds in [vec![], vec![nobody], vec![ask(&near, POLLIN)], vec![nobody; 100], vec![ask(&file, POLLPRI)]] {
            let start = Instant::now();
            set_errno(STRANGE);
            assert_eq!(poll(&mut fds, 20), 0);
            end(start);
            assert_eq!(errno(), STRANGE);
            assert!(fds.iter().all(|fd| fd.revents == 0));
        }
        let time = timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let mut fds = [ask(&near, POLLIN)];
        let start = Instant::now();
        // SAFETY: one entry; the time lives.
        unsafe {
            assert_eq!(libc::ppoll(fds.as_mut_ptr(), 1, &time, ptr::null()), 0);
            end(start);
            let bad = timespec { tv_sec: 0, tv_nsec: -1 };
            assert_eq!((libc::ppoll(fds.as_mut_ptr(), 1, &bad, ptr::null()), errno()), (-1, libc::EINVAL));
        }
    });
}

/// A goroutine in `poll`, in `select` and in `epoll_wait` for each of many sockets, and hardly a kernel thread.
#[test]
fn hundreds_wait_on_few_threads() {
    needs_goroutines!("kernel threads are counted");
    const NAME: &str = "hundreds_wait_on_few_threads";
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    many_descriptors();
    let inside = Arc::new(AtomicUsize::new(0));
    let (fars, all): (Vec<_>, Vec<_>) = (0..300)
        .map(|i| {
            let (near, far) = UnixStream::pair().unwrap();
            let inside = inside.clone();
            let goroutine = thread::spawn(move || {
                inside.fetch_add(1, SeqCst);
                match i % 3 {
                    0 => assert_eq!(poll(&mut [ask(&near, POLLIN)], -1), 1),
                    1 => assert_eq!(Selecting::new().read(&near).wait(None), Ok(1)),
                    _ => {
                        let set = EpollSet::new();
                        set.add(&near, libc::EPOLLIN, 7);
                        assert_eq!(set.wait(1, -1), [7]);
                    }
                }
                let mut byte = [0];
                (&near).read_exact(&mut byte).unwrap();
                byte[0]
            });
            (far, goroutine)
        })
        .unzip();
    assert!(eventually(LONG, || inside.load(SeqCst) == all.len()));
    assert!(eventually(LONG, || kernel_threads() < 16), "{} kernel threads", kernel_threads());
    assert!(all.iter().all(|g| !g.is_finished()));
    fars.into_iter().for_each(|mut far| far.write_all(b"z").unwrap());
    assert!(all.into_iter().all(|g| g.join().unwrap() == b'z'));
}

#[test]
fn two_thousand_in_one_poll() {
    const NAME: &str = "two_thousand_in_one_poll";
    alone(NAME, || {
        many_descriptors();
        let fds: Arc<Vec<OwnedFd>> = Arc::new((0..2000).map(|_| eventfd()).collect());
        let theirs = fds.clone();
        let (asked, answers) = std::sync::mpsc::channel();
        let goroutine = thread::spawn(move || {
            let mut entries: Vec<pollfd> = theirs.iter().map(|fd| ask(fd, POLLIN)).collect();
            for n in [0, 1999, 1000, 63, 64] {
                asked.send(n).unwrap();
                assert_eq!(poll(&mut entries, -1), 1);
                let ready: Vec<_> = (0..2000).filter(|&i| entries[i].revents != 0).collect();
                assert_eq!(ready, [n]);
                let mut count = [0u8; 8];
                // SAFETY: room for eight bytes.
                assert_eq!(unsafe { libc::read(theirs[n].as_raw_fd(), count.as_mut_ptr().cast(), 8) }, 8);
                assert_eq!(poll(&mut entries, 5), 0, "and none is ready now");
            }
        });
        for n in answers {
            thread::yield_now();
            signal(&fds[n]);
        }
        goroutine.join().unwrap();
    });
}

#[test]
fn all_who_poll_are_told() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let near = Arc::new(near);
    let ready = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..10)
        .map(|_| {
            let (near, ready) = (near.clone(), ready.clone());
            thread::spawn(move || {
                ready.fetch_add(1, SeqCst);
                poll(&mut [ask(&*near, POLLIN)], -1)
            })
        })
        .collect();
    assert!(eventually(LONG, || ready.load(SeqCst) == 10));
    far.write_all(b"x").unwrap();
    assert!(all.into_iter().all(|g| g.join().unwrap() == 1));
}

/// One wants to know, one takes: two bytes serve both, in whatever order they come.
#[test]
fn poll_and_read_wait_for_the_same_socket() {
    for _ in 0..50 {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Arc::new(near);
        let (a, b, c) = (near.clone(), near.clone(), near);
        let polls = thread::spawn(move || poll(&mut [ask(&*a, POLLIN), ask(&*a, POLLIN)], -1));
        let reads = thread::spawn(move || (&*b).read(&mut [0]).unwrap());
        let selects = thread::spawn(move || Selecting::new().read(&*c).wait(None));
        thread::yield_now();
        far.write_all(b"12").unwrap();
        assert_eq!(reads.join().unwrap(), 1);
        assert!(matches!(polls.join().unwrap(), 1 | 2), "one descriptor, named twice");
        assert_eq!(selects.join().unwrap(), Ok(1));
    }
}

#[test]
fn the_end_and_urgent_data_are_told() {
    on_goroutine(|| {
        let (near, far) = UnixStream::pair().unwrap();
        let asks_nothing = thread::spawn(move || {
            let mut fds = [ask(&near, 0)];
            (poll(&mut fds, -1), fds[0].revents)
        });
        thread::yield_now();
        drop(far);
        assert_eq!(asks_nothing.join().unwrap(), (1, libc::POLLHUP));

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        let urgent = thread::spawn(move || {
            let mut fds = [ask(&near, POLLPRI)];
            let by_poll = (poll(&mut fds, -1), fds[0].revents);
            (by_poll, Selecting::new().except(&near).wait(None))
        });
        thread::yield_now();
        (&far).write_all(b"plain").unwrap();
        thread::yield_now();
        // SAFETY: one byte is read.
        assert_eq!(unsafe { libc::send(far.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) }, 1);
        assert_eq!(urgent.join().unwrap(), ((1, POLLPRI), Ok(1)));
    });
}

#[test]
fn a_descriptor_closed_under_poll() {
    needs_goroutines!("closing does not end a wait in the kernel");
    alone("a_descriptor_closed_under_poll", || {
        let fd = eventfd();
        let number = fd.as_raw_fd();
        let polls = thread::spawn(move || {
            let mut fds = [pollfd { fd: number, events: POLLIN, revents: 0 }];
            (poll(&mut fds, -1), fds[0].revents)
        });
        thread::yield_now();
        on_goroutine(move || drop(fd));
        assert_eq!(polls.join().unwrap(), (1, POLLNVAL));
    });
}

/// Calls with a signal mask block the kernel thread, and others run.
#[test]
fn with_a_signal_mask() {
    const NAME: &str = "with_a_signal_mask";
    if role().is_none() {
        Rerun::of(NAME, "child").env("GORT_PROCS", "1").run().success();
        return;
    }
    // SAFETY: all structures are ours; the arrays are as long as the calls are told.
    unsafe {
        let mut mask: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut mask);
        let (near, mut far) = UnixStream::pair().unwrap();
        let set = EpollSet::new();
        set.add(&near, libc::EPOLLIN, 3);
        let waits = thread::spawn(move || {
            assert_eq!(libc::ppoll(&mut ask(&near, POLLIN), 1, ptr::null(), &mask), 1);
            (&near).read_exact(&mut [0]).unwrap();
            let mut event = epoll_event { events: 0, u64: 0 };
            assert_eq!(libc::epoll_pwait(set.0.as_raw_fd(), &mut event, 1, -1, &mask), 1);
            (&near).read_exact(&mut [0]).unwrap();
            let time = timespec { tv_sec: 40, tv_nsec: 0 };
            assert_eq!(libc::epoll_pwait2(set.0.as_raw_fd(), &mut event, 1, &time, &mask), 1);
            (&near).read_exact(&mut [0]).unwrap();
            let mut read: fd_set = mem::zeroed();
            libc::FD_SET(near.as_raw_fd(), &mut read);
            let n = near.as_raw_fd() + 1;
            let no_set = ptr::null_mut();
            assert_eq!(libc::pselect(n, &mut read, no_set, no_set, ptr::null(), &mask), 1);
        });
        let writes = thread::spawn(move || {
            for _ in 0..4 {
                thread::yield_now();
                far.write_all(b"x").unwrap();
            }
            far
        });
        waits.join().unwrap();
        writes.join().unwrap();
    }
}
