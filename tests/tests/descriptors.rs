//! Descriptor numbers change hands: closed while somebody waits, given to other files, passed between sockets. What waits
//! and what is known must follow.

use gort::thread;
use gort_tests::measure::{all_wait, eventually, everywhere, on_goroutine};
use gort_tests::needs_goroutines;
use gort_tests::raw::system_call;
use gort_tests::subprocess::{alone, is_child, Rerun};
use std::fs::{self, File};
use std::io::{Error, Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// The result of a libc call, or the error's number.
fn result(n: isize) -> Result<isize, i32> {
    (n >= 0).then_some(n).ok_or_else(|| Error::last_os_error().raw_os_error().unwrap())
}

fn read(fd: i32, buffer: &mut [u8]) -> Result<isize, i32> {
    // SAFETY: the buffer is ours to write.
    result(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

fn write(fd: i32, bytes: &[u8]) -> Result<isize, i32> {
    // SAFETY: the bytes are ours to read.
    result(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// Runs `wait` on a goroutine and, once it waits, `end` on another one. Returns what `wait` came to. In a process of the test's
/// own, on its thread.
fn ended(wait: impl FnOnce() -> Result<isize, i32> + Send, end: impl FnOnce() + Send) -> Result<isize, i32> {
    let begun = AtomicBool::new(false);
    thread::scope(|s| {
        let waiting = s.spawn(|| {
            begun.store(true, SeqCst);
            wait()
        });
        assert!(eventually(LONG, || begun.load(SeqCst)));
        all_wait(0);
        s.spawn(end);
        waiting.join().unwrap()
    })
}

fn close(fd: i32) {
    // SAFETY: the test's own descriptor, which no object owns.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

/// Moves a file to a number that nobody else is given when it is closed: whoever is late finds it closed.
fn high(file: impl AsRawFd) -> i32 {
    // SAFETY: the descriptor is open.
    let fd = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 300) };
    assert!(fd >= 300, "{}", Error::last_os_error());
    fd
}

#[test]
fn closing_ends_waits() {
    needs_goroutines!("closing does not end a wait in the kernel");
    alone("closing_ends_waits", || {
        for _ in 0..3 {
            let (one, other) = UnixStream::pair().unwrap();
            let fd = high(one);
            assert_eq!(ended(|| read(fd, &mut [0; 4]), || close(fd)), Err(libc::EBADF));
            let fd = high(other);
            close(fd);
            let (reader, writer) = std::io::pipe().unwrap();
            let fd = high(reader);
            assert_eq!(ended(|| read(fd, &mut [0; 4]), || close(fd)), Err(libc::EBADF));
            drop(writer);
            let (reader, writer) = std::io::pipe().unwrap();
            let fd = high(writer);
            let full = write(fd, &[0; 1 << 16]);
            assert_eq!(full, Ok(1 << 16));
            assert_eq!(ended(|| write(fd, &[0; 10]), || close(fd)), Err(libc::EBADF));
            drop(reader);
            let (one, other) = UnixStream::pair().unwrap();
            let fd = high(one);
            let some = ended(|| write(fd, &vec![0; 32 << 20]), || close(fd));
            assert!(matches!(some, Ok(1..0x200_0000) | Err(libc::EBADF)), "{some:?}: a part was written");
            drop(other);
            let fd = high(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
            // SAFETY: the addresses may be null.
            let accept = || result(unsafe { libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut()) } as isize);
            assert_eq!(ended(accept, || close(fd)), Err(libc::EBADF));
            let fd = high(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
            assert_eq!(ended(|| read(fd, &mut [0; 4]), || close(fd)), Err(libc::EBADF));
        }
    });
}

/// As many as wait.
#[test]
fn closing_ends_all_waits() {
    needs_goroutines!("closing does not end a wait in the kernel");
    alone("closing_ends_all_waits", || {
        const N: usize = 50;
        let (one, _other) = UnixStream::pair().unwrap();
        let fd = high(one);
        let begun = AtomicUsize::new(0);
        thread::scope(|s| {
            let all: Vec<_> = (0..N)
                .map(|_| {
                    s.spawn(|| {
                        begun.fetch_add(1, SeqCst);
                        read(fd, &mut [0; 4])
                    })
                })
                .collect();
            assert!(eventually(LONG, || begun.load(SeqCst) == N));
            all_wait(0);
            close(fd);
            all.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), Err(libc::EBADF)));
        });
    });
}

#[test]
fn replacing_ends_waits() {
    needs_goroutines!("closing does not end a wait in the kernel");
    alone("replacing_ends_waits", || {
        let (one, _other) = UnixStream::pair().unwrap();
        let (two, mut peer) = UnixStream::pair().unwrap();
        let fd = one.as_raw_fd();
        // SAFETY: both are open.
        let replace = || assert_eq!(unsafe { libc::dup2(two.as_raw_fd(), fd) }, fd);
        assert_eq!(ended(|| read(fd, &mut [0; 4]), replace), Err(libc::EBADF));
        // The number is another file's now.
        let got = ended(|| read(fd, &mut [0; 4]), || peer.write_all(b"yes").unwrap());
        assert_eq!(got, Ok(3));
        // What does not close it ends nothing.
        let keep = || {
            // SAFETY: numbers only; the last two are refused.
            unsafe {
                assert_eq!(libc::dup2(fd, fd), fd);
                assert_eq!(result(libc::dup2(1 << 20, fd) as isize), Err(libc::EBADF));
                assert_eq!(result(libc::dup3(two.as_raw_fd(), fd, 77) as isize), Err(libc::EINVAL));
            }
            peer.write_all(b"still").unwrap();
        };
        assert_eq!(ended(|| read(fd, &mut [0; 8]), keep), Ok(5));
        // SAFETY: both are open.
        let replace = || assert_eq!(unsafe { libc::dup3(two.as_raw_fd(), fd, libc::O_CLOEXEC) }, fd);
        assert_eq!(ended(|| read(fd, &mut [0; 4]), replace), Err(libc::EBADF));
    });
}

#[test]
fn closing_a_range_ends_waits() {
    needs_goroutines!("closing does not end a wait in the kernel");
    alone("closing_a_range_ends_waits", || {
        let null = File::open("/dev/null").unwrap();
        let pair = || {
            let (one, other) = UnixStream::pair().unwrap();
            // SAFETY: the descriptors are open; numbers from 500 up are nobody else's here.
            let fds = [&one, &other].map(|end| unsafe { libc::fcntl(end.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 500) });
            assert!(fds[0] >= 500 && fds[1] >= 500);
            fds
        };
        let [one, other] = pair();
        let marks = || {
            // SAFETY: nothing is closed.
            unsafe { libc::syscall(libc::SYS_close_range, 500, 1000, libc::CLOSE_RANGE_CLOEXEC) };
            assert_eq!(write(other, b"there"), Ok(5));
        };
        assert_eq!(ended(|| read(one, &mut [0; 8]), marks), Ok(5));
        // SAFETY: numbers that this test has made.
        let range = || unsafe {
            if libc::close_range(500, 1000, 0) != 0 {
                assert_eq!(Error::last_os_error().raw_os_error(), Some(libc::ENOSYS), "before Linux 5.9");
                closefrom(500);
            }
        };
        assert_eq!(ended(|| read(one, &mut [0; 8]), range), Err(libc::EBADF));
        let [one, _] = pair();
        // SAFETY: as above.
        assert_eq!(ended(|| read(one, &mut [0; 8]), || unsafe { closefrom(500) }), Err(libc::EBADF));
        assert_eq!((&null).read(&mut [0]).unwrap(), 0, "below the range");
        // The runtime's own descriptors are somewhere in there: waits work on.
        let (one, mut other) = UnixStream::pair().unwrap();
        let fd = one.as_raw_fd();
        assert_eq!(ended(|| read(fd, &mut [0; 8]), || other.write_all(b"on").unwrap()), Ok(2));
        for fd in 100..20_000 {
            // SAFETY: this test has nothing up there, and a number that is not open is refused.
            unsafe { libc::close(fd) };
        }
        assert_eq!(ended(|| read(fd, &mut [0; 8]), || other.write_all(b"and on").unwrap()), Ok(6));
    });
}

extern "C" {
    fn closefrom(first: i32);
}

/// Each number stands for many kinds of files one after the other.
#[test]
fn kinds_follow_the_numbers() {
    alone("kinds_follow_the_numbers", || {
        everywhere(|| {
            let name = std::env::temp_dir().join(format!("gort-kinds-{}", std::process::id()));
            let mut numbers = Vec::new();
            for _ in 0..5 {
                let (mut one, mut other) = UnixStream::pair().unwrap();
                other.write_all(b"stream").unwrap();
                assert_eq!(one.read(&mut [0; 8]).unwrap(), 6);
                numbers.push(one.as_raw_fd());
                drop((one, other));
                let (mut reader, mut writer) = std::io::pipe().unwrap();
                writer.write_all(b"pipe").unwrap();
                assert_eq!(reader.read(&mut [0; 8]).unwrap(), 4);
                numbers.push(reader.as_raw_fd());
                drop((reader, writer));
                let mut file = File::create_new(&name).unwrap();
                file.write_all(b"a file").unwrap();
                numbers.push(file.as_raw_fd());
                drop(file);
                let mut text = String::new();
                File::open(&name).unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, "a file");
                fs::remove_file(&name).unwrap();
                let one = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                (0..3).for_each(|_| assert_eq!(other.send_to(b"datagram", one.local_addr().unwrap()).unwrap(), 8));
                (0..3).for_each(|_| assert_eq!(one.recv(&mut [0; 100]).unwrap(), 8));
                numbers.push(one.as_raw_fd());
            }
            assert!(numbers.iter().all(|&fd| fd == numbers[0]), "{numbers:?}");
        });
    });
}

/// Past the hooks: what is known of the number is wrong, and heals.
#[test]
fn replaced_behind_the_hooks() {
    alone("replaced_behind_the_hooks", || {
        let replace = |from: i32, to: i32| {
            // SAFETY: both are open.
            let fd = unsafe { system_call(libc::SYS_dup3, [from as usize, to as usize, 0]) };
            assert_eq!(fd, to as isize);
        };
        let (one, mut other) = UnixStream::pair().unwrap();
        let fd = one.as_raw_fd();
        assert_eq!(ended(|| read(fd, &mut [0; 8]), || other.write_all(b"first").unwrap()), Ok(5));
        // Another socket: nobody has told epoll of it.
        let (two, mut peer) = UnixStream::pair().unwrap();
        replace(two.as_raw_fd(), fd);
        assert_eq!(ended(|| read(fd, &mut [0; 8]), || peer.write_all(b"second").unwrap()), Ok(6));
        // No socket at all.
        let (reader, mut writer) = std::io::pipe().unwrap();
        replace(reader.as_raw_fd(), fd);
        assert_eq!(ended(|| read(fd, &mut [0; 8]), || writer.write_all(b"pipe").unwrap()), Ok(4));
        let zero = File::open("/dev/zero").unwrap();
        replace(zero.as_raw_fd(), fd);
        assert_eq!(on_goroutine(|| read(fd, &mut [1; 8])), Ok(8));
        let name = std::env::temp_dir().join(format!("gort-behind-{}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&name).unwrap();
        file.write_all(b"a file").unwrap();
        file.rewind().unwrap();
        replace(file.as_raw_fd(), fd);
        assert_eq!(on_goroutine(|| read(fd, &mut [1; 8])), Ok(6));
        fs::remove_file(&name).unwrap();
        // And back to a stream, by which much is sent in one call.
        let (three, mut peer) = UnixStream::pair().unwrap();
        replace(three.as_raw_fd(), fd);
        thread::scope(|s| {
            s.spawn(move || peer.read_exact(&mut vec![0; 8 << 20]).unwrap());
            s.spawn(|| assert_eq!(write(fd, &vec![0; 8 << 20]), Ok(8 << 20)));
        });
    });
}

/// A child made by `fork` closes descriptors that its parent waits for.
#[test]
fn a_forked_childs_closing_is_its_own() {
    alone("a_forked_childs_closing_is_its_own", || {
        let (one, mut other) = UnixStream::pair().unwrap();
        let fd = one.as_raw_fd();
        let fork = || {
            // SAFETY: the child makes system calls only, and ends.
            unsafe {
                let child = libc::fork();
                if child == 0 {
                    libc::close(fd);
                    libc::dup2(2, fd);
                    libc::_exit(0);
                }
                let mut status = 1;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                assert_eq!(status, 0);
            }
            other.write_all(b"here").unwrap();
        };
        assert_eq!(ended(|| read(fd, &mut [0; 8]), fork), Ok(4));
    });
}

/// A lock on a file that another goroutine holds by another description.
#[test]
fn waiting_for_a_lock_hands_off() {
    on_goroutine(|| {
        let name = std::env::temp_dir().join(format!("gort-lock-{}", std::process::id()));
        let open = || File::options().write(true).create(true).truncate(false).open(&name).unwrap();
        let lock = |file: &File, kind: i32| {
            // SAFETY: all zero is a valid value; one `flock` is read.
            unsafe {
                let mut lock: libc::flock = std::mem::zeroed();
                lock.l_type = kind as i16;
                assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &lock), 0);
            }
        };
        let (one, other) = (open(), open());
        lock(&one, libc::F_WRLCK);
        let has = AtomicBool::new(false);
        thread::scope(|s| {
            let waiting = s.spawn(|| {
                lock(&other, libc::F_WRLCK);
                has.store(true, SeqCst);
            });
            (0..100).for_each(|_| thread::yield_now());
            assert!(!has.load(SeqCst));
            lock(&one, libc::F_UNLCK);
            waiting.join().unwrap();
        });
        fs::remove_file(&name).unwrap();
    });
}

extern "C" {
    fn fortified_read(fd: i32, n: usize) -> i32;
    fn fortified_recv(fd: i32, n: usize) -> i32;
    fn fortified_recvfrom(fd: i32, n: usize) -> i32;
    fn fortified_pread(fd: i32, n: usize) -> i32;
    fn fortified_open(path: *const libc::c_char, flags: i32) -> i32;
    fn variadic_open(path: *const libc::c_char) -> i32;
    fn variadic_fcntl(fd: i32) -> i32;
    fn variadic_ioctl(fd: i32) -> i32;
}

/// C code calls the same functions by other names and in other ways.
#[test]
fn as_c_calls_them() {
    alone("as_c_calls_them", as_c_calls_them_alone);
}

fn as_c_calls_them_alone() {
    let (one, mut other) = UnixStream::pair().unwrap();
    let fd = one.as_raw_fd();
    for receive in [fortified_read, fortified_recv, fortified_recvfrom] {
        // SAFETY: the functions have buffers of 16 bytes.
        let sum = ended(|| Ok(unsafe { receive(fd, 3) } as isize), || other.write_all(&[1, 2, 4]).unwrap());
        assert_eq!(sum, Ok(7));
    }
    everywhere(|| {
        let (one, mut other) = UnixStream::pair().unwrap();
        let fd = one.as_raw_fd();
        let name =
            std::env::temp_dir().join(format!("gort-c-{}-{:?}", std::process::id(), std::thread::current().id()));
        let path = std::ffi::CString::new(name.to_str().unwrap()).unwrap();
        // SAFETY: the path is a C string; the descriptors are nobody else's.
        unsafe {
            let mut file = File::from_raw_fd(variadic_open(path.as_ptr()));
            assert_eq!(std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap()) & 0o777, 0o640 & !umask());
            file.write_all(&[1, 2, 4]).unwrap();
            drop(file);
            let file = File::from_raw_fd(fortified_open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC));
            assert_eq!(fortified_pread(file.as_raw_fd(), 2), 6);
            drop(File::from_raw_fd(variadic_fcntl(file.as_raw_fd())));
            assert_eq!(variadic_ioctl(fd), 0);
            other.write_all(b"12345").unwrap();
            assert_eq!(variadic_ioctl(fd), 5);
        }
        fs::remove_file(name).unwrap();
    });
}

/// The bits that new files do not get.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(line.trim(), 8).unwrap()
}

/// A buffer that is too small ends the process, on a goroutine too.
#[test]
fn libcs_check_of_buffers_stays() {
    if !is_child() {
        let child = Rerun::of("libcs_check_of_buffers_stays", "child").inherit_all();
        child.run().died_of(libc::SIGABRT).says("buffer overflow");
        return;
    }
    on_goroutine(|| {
        // SAFETY: no byte is read: the check comes first.
        unsafe { fortified_read(0, 17) };
    });
}
