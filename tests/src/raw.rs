//! Blocking calls that the runtime neither hooks nor is told of, and the futex call by hand.

use libc::{c_int, c_long};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// A system call made by the instruction itself, past libc and every hook. Returns what the kernel returns.
///
/// # Safety
/// As for the call in question.
pub unsafe fn system_call(number: c_long, args: [usize; 3]) -> isize {
    let [a, b, c] = args;
    // SAFETY: the caller's promise, passed on.
    unsafe { gort::testing::system_call(number, [a, b, c, 0, 0, 0]) }
}

/// Blocks the kernel thread for `time`.
pub fn block_for(time: Duration) {
    let time = libc::timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
    // SAFETY: the kernel reads one timespec.
    unsafe { system_call(libc::SYS_nanosleep, [&raw const time as usize, 0, 0]) };
}

/// A pipe whose reader blocks the kernel thread.
pub struct Pipe([c_int; 2]);

impl Pipe {
    /// A new pipe.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Pipe {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        Pipe(ends)
    }

    /// Reads one byte, and blocks the kernel thread until there is one.
    pub fn read(&self) -> u8 {
        let mut byte = 0u8;
        loop {
            // SAFETY: room for one byte.
            match unsafe { system_call(libc::SYS_read, [self.0[0] as usize, &raw mut byte as usize, 1]) } {
                1 => return byte,
                e if e == -(libc::EINTR as isize) => {}
                other => panic!("read gives {other}"),
            }
        }
    }

    /// Writes `n` bytes.
    pub fn write(&self, byte: u8, n: usize) {
        for _ in 0..n {
            // SAFETY: one byte is read.
            assert_eq!(unsafe { system_call(libc::SYS_write, [self.0[1] as usize, &raw const byte as usize, 1]) }, 1);
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for end in self.0 {
            // SAFETY: ours, and not used any more.
            unsafe { libc::close(end) };
        }
    }
}

/// `FUTEX_WAIT`, private, as std calls it. Returns 0, or the error's number.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> c_int {
    let time = timeout.map(|t| libc::timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word and the timespec live during the call.
    let result = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, expected, time, 0, 0) };
    if result == 0 {
        0
    } else {
        std::io::Error::last_os_error().raw_os_error().expect("a failed call leaves an error")
    }
}

/// `FUTEX_WAKE`, private: wakes up to `n`, returns how many.
pub fn futex_wake(word: &AtomicU32, n: i32) -> usize {
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the call only looks the address up.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, n, 0, 0, 0) };
    usize::try_from(woken).expect("waking a valid word does not fail")
}
