//! `select` on goroutines.

use gort::thread;
use gort_tests::measure::on_goroutine;
use gort_tests::waiting::{errno, set_errno, Selecting};
use libc::{c_int, timespec, timeval};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::time::{Duration, Instant};

const STRANGE: c_int = 1234;

#[test]
fn select_answers_as_the_kernel_does() {
    on_goroutine(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let ms = |ms: i64| timeval { tv_sec: 0, tv_usec: ms * 1000 };
        let mut asked = Selecting::new().read(&near).read(&far).except(&near);
        let (start, mut time) = (Instant::now(), ms(20));
        set_errno(STRANGE);
        assert_eq!(asked.call(Some(&mut time)), Ok(0));
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!((time.tv_sec, time.tv_usec, errno()), (0, 0, STRANGE));
        assert!(!asked.has(0, &near) && !asked.has(0, &far) && !asked.has(2, &near), "the sets are empty");

        let mut asked = Selecting::new().read(&near).write(&near).read(&far);
        let mut time = timeval { tv_sec: 40, tv_usec: 0 };
        assert_eq!(asked.call(Some(&mut time)), Ok(1));
        assert!(asked.has(1, &near) && !asked.has(0, &near) && !asked.has(0, &far));
        assert!((20..=40).contains(&time.tv_sec), "what is left: {} s", time.tv_sec);

        let writes = thread::spawn(move || {
            far.write_all(b"x").unwrap();
            far
        });
        let mut asked = Selecting::new().read(&near);
        let mut time = timeval { tv_sec: 39, tv_usec: 2_000_000 };
        assert_eq!(asked.call(Some(&mut time)), Ok(1));
        assert!(asked.has(0, &near) && (20..=41).contains(&time.tv_sec));
        let far = writes.join().unwrap();

        // A number that stands for nothing: as on Linux the sets are left alone.
        let mut bad = Selecting::new().read(&near).read(&far);
        // SAFETY: the number is in range.
        unsafe { libc::FD_SET(1023, &mut bad.sets[0]) };
        bad.n = 1024;
        if bad.call(Some(&mut ms(1))) == Err(libc::EBADF) {
            assert!(bad.has(0, &near) && bad.has(0, &far));
        }
        assert_eq!(Selecting::new().call(Some(&mut timeval { tv_sec: -1, tv_usec: 0 })), Err(libc::EINVAL));
        assert_eq!(Selecting { n: -1, ..Selecting::new() }.call(Some(&mut ms(5))), Err(libc::EINVAL));
        assert_eq!(Selecting { n: 5000, ..Selecting::new() }.sets.len(), 3);

        // SAFETY: a set and a time of ours.
        unsafe {
            let mut read = Selecting::new().read(&far).sets[0];
            let (time, null) = (timespec { tv_sec: 0, tv_nsec: 5_000_000 }, ptr::null_mut());
            assert_eq!(libc::pselect(far.as_raw_fd() + 1, &mut read, null, null, &time, ptr::null()), 0);
            assert!(!libc::FD_ISSET(far.as_raw_fd(), &read));
        }
    });
}
