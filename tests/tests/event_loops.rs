//! `epoll_wait` on goroutines, and tokio, which lives by it.

use gort::thread;
use gort_tests::measure::{eventually, kernel_threads, on_goroutine};
use gort_tests::subprocess::{role, Rerun};
use gort_tests::waiting::{errno, eventfd, set_errno, signal, EpollSet};
use libc::{c_int, epoll_event, timespec};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LONG: Duration = Duration::from_secs(40);
const STRANGE: c_int = 1234;

#[test]
fn epoll_wait_answers_as_the_kernel_does() {
    on_goroutine(|| {
        let (set, outer) = (Arc::new(EpollSet::new()), EpollSet::new());
        let fds: Vec<_> = (0..4).map(|_| Arc::new(eventfd())).collect();
        (0..).zip(&fds).for_each(|(i, fd)| set.add(fd, libc::EPOLLIN | libc::EPOLLET, i));
        outer.add(&set.0, libc::EPOLLIN, 9);
        let start = Instant::now();
        set_errno(STRANGE);
        assert_eq!(set.wait(4, 20), []);
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(errno(), STRANGE);
        for round in 0..200 {
            let (fd, theirs) = (fds[round % 4].clone(), set.clone());
            let waits = thread::spawn(move || theirs.wait(4, -1));
            if round % 3 == 0 {
                thread::yield_now();
            }
            signal(&fd);
            assert_eq!(waits.join().unwrap(), [round as u64 % 4]);
        }
        let fd = fds[2].clone();
        let signals = thread::spawn(move || signal(&fd));
        assert_eq!(outer.wait(1, -1), [9], "a set in a set");
        signals.join().unwrap();
        assert_eq!(set.wait(1, -1), [2]);
        let mut event = epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event; the kernel refuses the rest.
        unsafe {
            assert_eq!((libc::epoll_wait(set.0.as_raw_fd(), &mut event, 0, 40), errno()), (-1, libc::EINVAL));
            assert_eq!((libc::epoll_wait(fds[0].as_raw_fd(), &mut event, 1, 40), errno()), (-1, libc::EINVAL));
            assert_eq!((libc::epoll_wait(1 << 29, &mut event, 1, 40), errno()), (-1, libc::EBADF));
            let time = timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            assert_eq!(libc::epoll_pwait2(set.0.as_raw_fd(), &mut event, 1, &time, ptr::null()), 0);
            assert_eq!(libc::epoll_pwait(set.0.as_raw_fd(), &mut event, 1, 2, ptr::null()), 0);
        }
    });
}

/// Several goroutines serve one set, each event once; at the end all of them are told of the one that stays.
#[test]
fn several_wait_on_one_set() {
    const EACH: usize = 50;
    const STOP: u64 = 99;
    let set = Arc::new(EpollSet::new());
    let streams: Arc<Vec<_>> = Arc::new((0..8).map(|_| UnixStream::pair().unwrap()).collect());
    let oneshot = libc::EPOLLIN | libc::EPOLLONESHOT;
    (0..).zip(&*streams).for_each(|(i, (near, _))| set.add(near, oneshot, i));
    let stop = eventfd();
    set.add(&stop, libc::EPOLLIN, STOP);
    let served = Arc::new(AtomicUsize::new(0));
    let servers: Vec<_> = (0..4)
        .map(|_| {
            let (set, changed) = (set.clone(), set.clone());
            let (streams, served) = (streams.clone(), served.clone());
            let serve = move |i: u64| {
                let near = &streams[i as usize].0;
                (&*near).read_exact(&mut [0]).unwrap();
                served.fetch_add(1, SeqCst);
                (&*near).write_all(b"a").unwrap();
                changed.change(near, oneshot, i);
                true
            };
            thread::spawn(move || while set.wait(2, -1).into_iter().all(|i| i != STOP && serve(i)) {})
        })
        .collect();
    let clients: Vec<_> = (0..8)
        .map(|i| {
            let streams = streams.clone();
            thread::spawn(move || {
                for _ in 0..EACH {
                    (&streams[i].1).write_all(b"q").unwrap();
                    (&streams[i].1).read_exact(&mut [0]).unwrap();
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|g| g.join().unwrap());
    signal(&stop);
    servers.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(served.load(SeqCst), EACH * 8);
}

/// tokio on goroutines: a runtime of their own each, with timers and sockets, and hardly a kernel thread.
#[test]
fn tokio_inside_goroutines() {
    const NAME: &str = "tokio_inside_goroutines";
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).inherit("GORT_CHAOS").run().success();
        }
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut served = tokio::task::JoinSet::new();
            for _ in 0..40 {
                let (mut stream, _) = listener.accept().await.unwrap();
                served.spawn(async move {
                    let mut word = [0; 4];
                    for _ in 0..10 {
                        stream.read_exact(&mut word).await.unwrap();
                        stream.write_all(&word).await.unwrap();
                    }
                });
            }
            while served.join_next().await.is_some() {}
        });
    });
    let clients: Vec<_> = (0..40u32)
        .map(|n| {
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                    for round in 0..10 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        let (sent, mut word) = ((n * round).to_le_bytes(), [0; 4]);
                        stream.write_all(&sent).await.unwrap();
                        stream.read_exact(&mut word).await.unwrap();
                        assert_eq!(word, sent);
                    }
                });
            })
        })
        .collect();
    clients.into_iter().for_each(|g| g.join().unwrap());
    server.join().unwrap();
    assert!(eventually(LONG, || kernel_threads() < 16), "{} kernel threads", kernel_threads());
}

/// A tokio runtime with threads of its own, entered by goroutines.
#[test]
fn goroutines_block_on_a_tokio_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let all: Vec<_> = (0..20u32)
        .map(|n| {
            let handle = runtime.handle().clone();
            thread::spawn(move || {
                handle.block_on(async {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    tokio::spawn(async move { n + 1 }).await.unwrap()
                })
            })
        })
        .collect();
    assert!((1..).zip(all).all(|(n, g)| g.join().unwrap() == n));
}
