//! `gort::dump`: what it says of goroutines, kernel threads and processors.

use gort::thread::{self, Builder};
use gort_tests::dumps::{await_state, dumped, state};
use gort_tests::needs_goroutines;
use gort_tests::subprocess::alone;
use gort_tests::waiting::{ask, eventfd, poll, signal};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::{mpsc, Condvar, Mutex};
use std::time::Duration;

fn named(name: &str) -> Builder {
    Builder::new().name(name.into())
}

#[test]
fn each_kind_of_wait_is_named() {
    needs_goroutines!("threads wait in the kernel");
    alone("each_kind_of_wait_is_named", || {
        let lock = Mutex::new(());
        let (never, held) = (Condvar::new(), lock.lock().unwrap());
        let flag = Mutex::new(false);
        let (send, receive) = mpsc::channel::<()>();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let (full_end, mut full) = std::io::pipe().unwrap();
        let events = [eventfd(), eventfd()];
        let mut sem = std::mem::MaybeUninit::<libc::sem_t>::uninit();
        // SAFETY: the semaphore stays here until its waiter has gone on.
        assert_eq!(unsafe { libc::sem_init(sem.as_mut_ptr(), 0, 0) }, 0);
        let sem = sem.as_mut_ptr() as usize;
        let parks = named("parks").spawn(thread::park).unwrap();
        let parks_id = format!("{:?}", parks.thread().id()).replace(|c: char| !c.is_ascii_digit(), "");
        let unpark = parks.thread().clone();
        let (fd, full_fd) = (reader.as_raw_fd(), full.as_raw_fd());
        thread::scope(|s| {
            let _ = named("locks").spawn_scoped(s, || drop(lock.lock().unwrap())).unwrap();
            let _ = named("condition")
                .spawn_scoped(s, || drop(never.wait_while(flag.lock().unwrap(), |go| !*go).unwrap()))
                .unwrap();
            let _ = named("receives").spawn_scoped(s, move || assert!(receive.recv().is_err())).unwrap();
            let sleeps = named("sleeps").spawn_scoped(s, || thread::park_timeout(Duration::from_secs(3600))).unwrap();
            let sleeper = named("dozes").spawn_scoped(s, || thread::sleep(Duration::from_millis(200))).unwrap();
            let _ = named("reads").spawn_scoped(s, move || assert_eq!(reader.read(&mut [0]).unwrap(), 1)).unwrap();
            let _ =
                named("writes").spawn_scoped(s, move || assert!(full.write_all(&vec![0; 1 << 20]).is_err())).unwrap();
            let _ = named("polls")
                .spawn_scoped(s, || assert!(poll(&mut [ask(&events[0], 1), ask(&events[1], 1)], -1) > 0))
                .unwrap();
            let _ = named("joins").spawn_scoped(s, move || parks.join().unwrap()).unwrap();
            // SAFETY: the semaphore is there.
            let _ = named("semaphore")
                .spawn_scoped(s, move || assert_eq!(unsafe { libc::sem_wait(sem as *mut libc::sem_t) }, 0))
                .unwrap();
            let _ = named("scope")
                .spawn_scoped(s, || thread::scope(|s| drop(s.spawn(|| drop(lock.lock().unwrap())))))
                .unwrap();

            let word = |state: &str| state.starts_with("lock, condition or channel at 0x");
            let line = await_state("locks", word);
            assert!(line.contains(&format!("{:p}", &lock)), "the address of the lock {:p}: {line}", &lock);
            assert!(line.contains("each_kind_of_wait_is_named"), "where it began: {line}");
            assert!(line.contains(" KiB, "), "{line}");
            await_state("condition", word);
            await_state("receives", word);
            await_state("sleeps", |state| state.starts_with("unpark, 35") && state.ends_with(" s left"));
            await_state("reads", |state| state == format!("read of descriptor {fd}"));
            await_state("writes", |state| state == format!("write of descriptor {full_fd}"));
            await_state("polls", |state| state == format!("2 descriptors, {} and others", events[0].as_raw_fd()));
            await_state("parks", |state| state == "unpark");
            await_state("joins", |state| state == format!("join of goroutine {parks_id}"));
            await_state("semaphore", |state| state == format!("semaphore at {sem:#x}"));
            await_state("scope", |state| state == "end of a scope");
            sleeper.join().unwrap();
            assert!(state(&dumped(), "dozes").is_none(), "who was joined is not there");
            drop(held);
            *flag.lock().unwrap() = true;
            never.notify_all();
            drop(send);
            writer.write_all(b"x").unwrap();
            drop(full_end);
            signal(&events[1]);
            unpark.unpark();
            sleeps.thread().unpark();
            // SAFETY: the semaphore is there.
            assert_eq!(unsafe { libc::sem_post(sem as *mut libc::sem_t) }, 0);
        });
    });
}
