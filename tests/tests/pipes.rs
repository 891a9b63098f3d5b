//! Pipes, FIFOs, terminals and other files with a readiness, on goroutines.

use gort::thread;
use gort_tests::measure::{eventually, everywhere, kernel_threads, on_goroutine};
use gort_tests::needs_goroutines;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
/// Up to so many bytes go into a pipe in one piece.
const PIPE_BUF: usize = 4096;

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

#[test]
fn byte_by_byte_there_and_back() {
    on_goroutine(|| {
        let (mut there, mut to) = std::io::pipe().unwrap();
        let (mut back, mut from) = std::io::pipe().unwrap();
        thread::scope(|s| {
            s.spawn(move || {
                let mut byte = [0];
                while there.read(&mut byte).unwrap() == 1 {
                    from.write_all(&byte).unwrap();
                }
            });
            let mut byte = [0];
            for i in 0..2000u32 {
                assert_eq!(to.write(&[i as u8]).unwrap(), 1);
                assert_eq!(back.read(&mut byte).unwrap(), 1);
                assert_eq!(byte[0], i as u8);
            }
            drop(to);
            assert_eq!(back.read(&mut byte).unwrap(), 0, "the end");
        });
    });
}

#[test]
fn many_readers_need_no_threads() {
    needs_goroutines!("kernel threads are counted");
    const N: usize = 300;
    let before = kernel_threads();
    let pipes: Vec<_> = (0..N).map(|_| std::io::pipe().unwrap()).collect();
    let about_to_read = AtomicUsize::new(0);
    let mut more = 0;
    thread::scope(|s| {
        for (reader, _) in &pipes {
            let about_to_read = &about_to_read;
            s.spawn(move || {
                about_to_read.fetch_add(1, SeqCst);
                assert_eq!((&mut &*reader).read(&mut [0; 4]).unwrap(), 1);
            });
        }
        assert!(eventually(LONG, || about_to_read.load(SeqCst) == N));
        more = kernel_threads().saturating_sub(before);
        pipes.iter().for_each(|(_, writer)| assert_eq!((&mut &*writer).write(b"x").unwrap(), 1));
    });
    assert!(more < 100, "{more} more kernel threads"); // other tests run beside this one
}

/// Writes records of which each byte says whose they are, and reads them all.
fn pieces(mut reader: impl Read + Send, writers: Vec<impl Write + Send>, size: usize) {
    const EACH: usize = 60;
    let n = writers.len();
    thread::scope(|s| {
        for (me, mut writer) in writers.into_iter().enumerate() {
            s.spawn(move || {
                for _ in 0..EACH {
                    assert_eq!(writer.write(&vec![me as u8; size]).unwrap(), size);
                }
            });
        }
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), n * EACH * size);
        for record in all.chunks(size) {
            assert!(record.iter().all(|&b| b == record[0]), "in one piece");
        }
    });
}

#[test]
fn small_writes_stay_in_one_piece() {
    on_goroutine(|| {
        for size in [1, 100, 1000, PIPE_BUF - 1, PIPE_BUF] {
            let (reader, writer) = std::io::pipe().unwrap();
            let mut writers: Vec<_> = (0..7).map(|_| writer.try_clone().unwrap()).collect();
            writers.push(writer);
            pieces(reader, writers, size);
        }
    });
}

fn much(mut reader: impl Read + Send, mut writer: impl Write + Send) {
    let data = pattern(3 << 20);
    let data = &data[..];
    thread::scope(|s| {
        s.spawn(move || {
            // One call each: in blocking mode it does not return before all is written.
            assert_eq!(writer.write(&data[..2 << 20]).unwrap(), 2 << 20);
            let slices: Vec<_> = data[2 << 20..].chunks(7001).map(IoSlice::new).collect();
            assert_eq!(writer.write_vectored(&slices).unwrap(), 1 << 20);
        });
        let mut at = 0;
        let mut buffer = vec![0; 5003];
        loop {
            let n = reader.read(&mut buffer).unwrap();
            assert!(buffer[..n] == data[at..at + n], "at {at}");
            at += n;
            if n == 0 {
                break;
            }
        }
        assert_eq!(at, data.len());
    });
}

#[test]
fn much_through_a_pipe() {
    everywhere(|| {
        let (reader, writer) = std::io::pipe().unwrap();
        much(reader, writer);
    });
}

#[test]
fn a_reader_that_went_away() {
    everywhere(|| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        thread::scope(|s| {
            let writing = s.spawn(|| {
                let first = writer.write(&vec![0; 1 << 20]).unwrap();
                assert!(first > 0 && first < 1 << 20, "a part was written: no error yet");
                writer.write(&[0]).unwrap_err().kind()
            });
            (&reader).read_exact(&mut [0; 10]).unwrap();
            drop(reader);
            assert_eq!(writing.join().unwrap(), ErrorKind::BrokenPipe);
        });
    });
}

fn set_nonblocking(file: &impl AsRawFd, on: bool) {
    // SAFETY: the calls take no pointers.
    unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
        assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags), 0);
    }
}

#[test]
fn the_users_own_non_blocking_mode() {
    everywhere(|| {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        for _ in 0..2 {
            set_nonblocking(&reader, true);
            assert_eq!(reader.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
            set_nonblocking(&reader, false);
            thread::scope(|s| {
                let reading = s.spawn(|| reader.read(&mut [0; 4]).unwrap());
                writer.write_all(b"x").unwrap();
                assert_eq!(reading.join().unwrap(), 1);
            });
        }
        set_nonblocking(&writer, true);
        let written = writer.write(&vec![0; 1 << 20]).unwrap();
        assert!(written > 0 && written < 1 << 20);
        assert_eq!(writer.write(&[0; PIPE_BUF]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

/// Nobody sees a descriptor in another mode than the program has chosen, and a child inherits none.
#[test]
fn the_mode_stays_as_it_is() {
    on_goroutine(|| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (one, other) = UnixStream::pair().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let all = [reader.as_raw_fd(), one.as_raw_fd(), other.as_raw_fd()];
                while !done.load(SeqCst) {
                    for fd in all {
                        // SAFETY: the call takes no pointers.
                        assert_eq!(unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_NONBLOCK, 0);
                    }
                }
            });
            thread::scope(|s| {
                s.spawn(|| (0..300).for_each(|_| (&reader).read_exact(&mut [0; 1000]).unwrap()));
                s.spawn(|| (0..300).for_each(|_| (&one).read_exact(&mut [0; 1000]).unwrap()));
                s.spawn(|| (0..300).for_each(|_| (&mut &other).write_all(&[1; 1000]).unwrap()));
                (0..300).for_each(|_| writer.write_all(&[1; 1000]).unwrap());
                // `flags` of a file opened for reading, in blocking mode, is 0 in octal.
                let mut child = Command::new("grep");
                child.args(["-c", "^flags:.*04...$", "/proc/self/fdinfo/0"]);
                let child = child.stdin(reader.try_clone().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
                let output = child.wait_with_output().unwrap();
                assert_eq!(output.stdout, b"0\n", "the child's standard input blocks");
            });
            done.store(true, SeqCst);
        });
    });
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("gort-{name}-{}", std::process::id()))
}

/// Opening a FIFO waits for the other side; reading and writing one cannot be tried.
#[test]
fn fifos() {
    on_goroutine(|| {
        let name = temporary("fifo");
        let path = CString::new(name.to_str().unwrap()).unwrap();
        // SAFETY: the path is a C string.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        let open = |write: bool| OpenOptions::new().read(!write).write(write).open(&name).unwrap();
        thread::scope(|s| {
            let reader = s.spawn(|| open(false));
            let writer = open(true);
            much(reader.join().unwrap(), writer);
        });
        thread::scope(|s| {
            let writers: Vec<_> = (0..4).map(|_| s.spawn(|| open(true))).collect();
            let reader = open(false);
            pieces(reader, writers.into_iter().map(|one| one.join().unwrap()).collect(), 1000);
        });
        fs::remove_file(name).unwrap();
    });
}

/// A file that a libc call has made.
fn made(fd: i32) -> File {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: nobody else has it.
    File::from(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[test]
fn counters_and_timers() {
    everywhere(|| {
        // SAFETY: the calls take no pointers.
        let (events, timer) = unsafe {
            (made(libc::eventfd(0, libc::EFD_CLOEXEC)), made(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)))
        };
        let mut number = [0; 8];
        thread::scope(|s| {
            let reader = s.spawn(|| (&events).read(&mut number).unwrap());
            assert_eq!((&events).write(&7u64.to_ne_bytes()).unwrap(), 8);
            assert_eq!(reader.join().unwrap(), 8);
        });
        assert_eq!(u64::from_ne_bytes(number), 7);
        assert_eq!((&events).write(&(u64::MAX - 1).to_ne_bytes()).unwrap(), 8, "it is full now");
        thread::scope(|s| {
            let writer = s.spawn(|| (&events).write(&1u64.to_ne_bytes()).unwrap());
            assert_eq!((&events).read(&mut number).unwrap(), 8);
            assert_eq!(writer.join().unwrap(), 8);
        });
        assert_eq!((&events).write(&[0; 3]).unwrap_err().raw_os_error(), Some(libc::EINVAL), "as the kernel says");
        let soon = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec { tv_sec: 0, tv_nsec: 5_000_000 },
        };
        // SAFETY: one `itimerspec` is read.
        assert_eq!(unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &soon, std::ptr::null_mut()) }, 0);
        assert_eq!((&timer).read(&mut number).unwrap(), 8);
        assert_eq!(u64::from_ne_bytes(number), 1);
    });
}

#[test]
fn a_terminal() {
    everywhere(|| {
        let (mut main, mut line) = (0, 0);
        let null = std::ptr::null_mut();
        // SAFETY: two numbers are written.
        assert_eq!(unsafe { libc::openpty(&mut main, &mut line, null, null.cast(), null.cast()) }, 0);
        let (mut main, mut line) = (made(main), made(line));
        thread::scope(|s| {
            let reader = s.spawn(|| {
                let mut buffer = [0; 100];
                let n = line.read(&mut buffer).unwrap();
                buffer[..n].to_vec()
            });
            main.write_all(b"half a line, ").unwrap();
            main.write_all(b"and the rest\n").unwrap();
            assert_eq!(reader.join().unwrap(), b"half a line, and the rest\n");
        });
    });
}

#[test]
fn what_is_always_ready() {
    everywhere(|| {
        let mut buffer = [1; 100];
        assert_eq!(File::open("/dev/null").unwrap().read(&mut buffer).unwrap(), 0);
        assert_eq!(File::open("/dev/zero").unwrap().read(&mut buffer).unwrap(), 100);
        assert_eq!(OpenOptions::new().write(true).open("/dev/null").unwrap().write(&buffer).unwrap(), 100);
        assert!(fs::read_to_string("/proc/self/status").unwrap().contains("Threads"));
        let name = temporary(&format!("file-{:?}", std::thread::current().id()));
        fs::write(&name, pattern(100_000)).unwrap();
        assert_eq!(fs::read(&name).unwrap(), pattern(100_000));
        fs::remove_file(name).unwrap();
    });
}

#[test]
fn bad_arguments() {
    everywhere(|| {
        let (reader, writer) = std::io::pipe().unwrap();
        let code = |result: isize| (result < 0).then(|| std::io::Error::last_os_error().raw_os_error().unwrap());
        let mut byte = 0u8;
        let at = (&raw mut byte).cast();
        let nowhere = std::ptr::without_provenance_mut(8);
        // SAFETY: one byte may be read or written; the address that may not is the kernel's to refuse.
        unsafe {
            assert_eq!(code(libc::read(-1, at, 1)), Some(libc::EBADF));
            assert_eq!(code(libc::write(1 << 30, at, 1)), Some(libc::EBADF));
            assert_eq!(code(libc::read(writer.as_raw_fd(), at, 1)), Some(libc::EBADF), "not for reading");
            assert_eq!(code(libc::write(reader.as_raw_fd(), at, 1)), Some(libc::EBADF), "not for writing");
            assert_eq!(code(libc::read(reader.as_raw_fd(), at, 0)), None, "nothing is wanted");
            assert_eq!(code(libc::write(writer.as_raw_fd(), at, 0)), None);
            assert_eq!(code(libc::write(writer.as_raw_fd(), nowhere, 1)), Some(libc::EFAULT));
            assert_eq!(code(libc::writev(writer.as_raw_fd(), nowhere.cast(), 1)), Some(libc::EFAULT));
            assert_eq!(code(libc::write(writer.as_raw_fd(), at, 1)), None);
            assert_eq!(code(libc::read(reader.as_raw_fd(), nowhere, 1)), Some(libc::EFAULT));
            assert_eq!(code(libc::recv(reader.as_raw_fd(), at, 1, 0)), Some(libc::ENOTSOCK));
            assert_eq!(code(libc::pread(reader.as_raw_fd(), at, 1, 0)), Some(libc::ESPIPE));
            assert_eq!(code(libc::readv(reader.as_raw_fd(), std::ptr::null(), 2000)), Some(libc::EINVAL));
            let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
            assert_eq!(code(libc::recv(socket, at, 1, 0)), Some(libc::ENOTCONN));
            let null = std::ptr::null_mut();
            assert_eq!(code(libc::accept(socket, null, null.cast()) as isize), Some(libc::EINVAL));
            assert_eq!(code(libc::readv(socket, std::ptr::null(), -1)), Some(libc::EINVAL));
            assert_eq!(libc::close(socket), 0);
            *libc::__errno_location() = 77;
            assert_eq!(libc::write(writer.as_raw_fd(), at, 1), 1);
        }
        thread::scope(|s| {
            s.spawn(|| {
                // SAFETY: one byte may be written.
                unsafe {
                    let mut byte = 0u8;
                    *libc::__errno_location() = 78;
                    for _ in 0..3 {
                        assert_eq!(libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1), 1);
                    }
                    assert_eq!(*libc::__errno_location(), 78, "success leaves errno alone");
                }
            });
            // SAFETY: the location is this goroutine's or thread's.
            assert_eq!(unsafe { *libc::__errno_location() }, 77);
            (&writer).write_all(b"z").unwrap();
        });
    });
}

#[test]
fn children() {
    on_goroutine(|| {
        thread::scope(|s| {
            let all: Vec<_> = (0..10)
                .map(|i| s.spawn(move || Command::new("echo").arg(i.to_string()).output().unwrap().stdout))
                .collect();
            for (i, one) in all.into_iter().enumerate() {
                assert_eq!(one.join().unwrap(), format!("{i}\n").into_bytes());
            }
            let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut to = cat.stdin.take().unwrap();
            let data = pattern(1 << 20);
            s.spawn(move || to.write_all(&pattern(1 << 20)).unwrap());
            let mut back = Vec::new();
            cat.stdout.take().unwrap().read_to_end(&mut back).unwrap();
            assert!(back == data && cat.wait().unwrap().success());
        });
    });
}
