//! Files on goroutines: locks and what waits for the disk block a kernel thread and nobody else.

use gort::thread;
use gort_tests::measure::on_goroutine;
use gort_tests::subprocess::{role, Rerun};
use libc::c_int;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;

/// A file that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("gort-files-{}-{name}", std::process::id()));
        fs::write(&path, name).unwrap();
        Scratch(path)
    }

    /// A new open file description.
    fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn flock(file: &File, operation: c_int) -> Result<(), io::Error> {
    // SAFETY: takes numbers only.
    match unsafe { libc::flock(file.as_raw_fd(), operation) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// With one P: whoever holds the lock can go on, though others wait for it in the kernel.
#[test]
fn a_lock_on_a_file_excludes_goroutines() {
    const NAME: &str = "a_lock_on_a_file_excludes_goroutines";
    if role().is_none() {
        for procs in ["1", "2"] {
            Rerun::of(NAME, "child").env("GORT_PROCS", procs).run().success();
        }
        return;
    }
    let scratch = Arc::new(Scratch::new("lock"));
    let (inside, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let all: Vec<_> = (0..8)
        .map(|_| {
            let (scratch, inside, rounds) = (scratch.clone(), inside.clone(), rounds.clone());
            thread::spawn(move || {
                let file = scratch.open();
                for _ in 0..20 {
                    flock(&file, libc::LOCK_EX).unwrap();
                    assert!(!inside.swap(true, SeqCst), "two hold it");
                    thread::yield_now();
                    inside.store(false, SeqCst);
                    rounds.fetch_add(1, SeqCst);
                    flock(&file, libc::LOCK_UN).unwrap();
                    thread::yield_now();
                }
            })
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(rounds.load(SeqCst), 160);
    on_goroutine(|| {
        let (held, other) = (scratch.open(), scratch.open());
        held.lock().unwrap();
        let refused = flock(&other, libc::LOCK_EX | libc::LOCK_NB).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        held.unlock().unwrap();
        flock(&other, libc::LOCK_SH).unwrap();
        // SAFETY: takes numbers only.
        unsafe {
            assert_eq!(libc::lockf(other.as_raw_fd(), libc::F_TLOCK, 0), 0);
            assert_eq!(libc::lockf(other.as_raw_fd(), libc::F_ULOCK, 0), 0);
        }
    });
}

#[test]
fn what_waits_for_the_disk() {
    on_goroutine(|| {
        let scratch = Scratch::new("disk");
        let mut file = scratch.open();
        file.write_all(b"0123456789").unwrap();
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        file.set_len(4).unwrap();
        let fd = file.as_raw_fd();
        // SAFETY: takes numbers only; the path is a C string.
        unsafe {
            assert_eq!(libc::syncfs(fd), 0);
            assert_eq!(libc::sync_file_range(fd, 0, 0, libc::SYNC_FILE_RANGE_WRITE), 0);
            assert_eq!(libc::posix_fallocate(fd, 0, 8192), 0);
            assert_eq!(file.metadata().unwrap().len(), 8192);
            assert_eq!(libc::posix_fallocate(-1, 0, 1), libc::EBADF, "the number is returned");
            let path = CString::new(scratch.0.to_str().unwrap()).unwrap();
            assert_eq!(libc::truncate(path.as_ptr(), 6), 0);
        }
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "0123\0\0");
    });
}

#[test]
fn errors_are_libcs() {
    on_goroutine(|| {
        let errno = || io::Error::last_os_error().raw_os_error();
        let nowhere = c"/no/such/directory/file";
        // SAFETY: takes numbers and C strings only.
        unsafe {
            for fails in [libc::fsync, libc::fdatasync, libc::syncfs] {
                assert_eq!((fails(-1), errno()), (-1, Some(libc::EBADF)));
            }
            assert_eq!((libc::ftruncate(-1, 0), errno()), (-1, Some(libc::EBADF)));
            assert_eq!((libc::fallocate(-1, 0, 0, 1), errno()), (-1, Some(libc::EBADF)));
            assert_eq!((libc::flock(-1, libc::LOCK_SH), errno()), (-1, Some(libc::EBADF)));
            assert_eq!((libc::lockf(-1, libc::F_LOCK, 0), errno()), (-1, Some(libc::EBADF)));
            assert_eq!((libc::unlink(nowhere.as_ptr()), errno()), (-1, Some(libc::ENOENT)));
            assert_eq!((libc::rename(nowhere.as_ptr(), nowhere.as_ptr()), errno()), (-1, Some(libc::ENOENT)));
            assert_eq!((libc::truncate(nowhere.as_ptr(), 0), errno()), (-1, Some(libc::ENOENT)));
            assert_eq!((libc::msync(std::ptr::dangling_mut(), 1, 0), errno()), (-1, Some(libc::EINVAL)));
        }
        assert_eq!(fs::remove_file("/no/such/file").unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn names_come_and_go() {
    on_goroutine(|| {
        let scratch = Scratch::new("before");
        let (after, copy) = (scratch.0.with_extension("after"), scratch.0.with_extension("copy"));
        assert_eq!(fs::copy(&scratch.0, &copy).unwrap(), 6);
        assert_eq!(fs::read_to_string(&copy).unwrap(), "before");
        fs::remove_file(&copy).unwrap();
        fs::rename(&scratch.0, &after).unwrap();
        assert!(!scratch.0.exists());
        assert_eq!(fs::read_to_string(&after).unwrap(), "before");
        fs::remove_file(&after).unwrap();
        assert!(!after.exists());
    });
}
