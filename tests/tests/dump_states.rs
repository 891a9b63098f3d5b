//! `gort::dump`: goroutines that run or could, kernel threads, processors; names; where there is no runtime; what is no file.

use gort::thread::{self, Builder};
use gort::{ffi, Config};
use gort_tests::backend::goroutines_are_threads;
use gort_tests::dumps::{await_dump, await_state, check, dumped, memory_file, state};
use gort_tests::measure::eventually;
use gort_tests::raw::Pipe;
use gort_tests::subprocess::{alone, role, Rerun};
use gort_tests::{cthreads, needs_goroutines};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn named(name: &str) -> Builder {
    Builder::new().name(name.into())
}

/// The line that begins so.
fn line<'a>(dump: &'a str, begin: &str) -> Option<&'a str> {
    dump.lines().find(|line| line.starts_with(begin))
}

#[test]
fn who_runs_is_shown_with_what_it_runs_on() {
    alone("who_runs_is_shown_with_what_it_runs_on", || {
        let (stop, pipes) = (Arc::new(AtomicBool::new(false)), Arc::new([Pipe::new(), Pipe::new()]));
        let ours = stop.clone();
        let computes = named("computes").spawn(move || while !ours.load(SeqCst) {}).unwrap();
        let theirs = pipes.clone();
        let declared = named("declared").spawn(move || ffi::blocking(|| theirs[0].read())).unwrap();
        let theirs = pipes.clone();
        let undeclared = named("undeclared").spawn(move || theirs[1].read()).unwrap();
        if goroutines_are_threads() {
            for name in ["computes", "declared", "undeclared"] {
                let line = await_state(name, |state| state.starts_with("thread "));
                assert!(line.contains("who_runs_is_shown_with_what_it_runs_on"), "{line}");
            }
        } else {
            // Each on an M of its own, in the end, whose line names the goroutine.
            let on = |dump: &str, name: &str| -> Option<String> {
                let (line, state) = state(dump, name)?;
                let id = line.split(' ').nth(1)?;
                let m = state.strip_prefix("running on M ")?.split(',').next()?;
                let m = dump.lines().find(|line| line.starts_with(&format!("M {m}: thread ")))?;
                m.contains(&format!(", goroutine {id},")).then(|| format!("{state}; {m}"))
            };
            await_dump("each has an M", |dump| {
                let declared =
                    on(dump, "declared").is_some_and(|s| s.matches(", in a call that was declared").count() == 2);
                let others = ["computes", "undeclared"].map(|name| on(dump, name));
                declared && others.iter().all(|s| s.as_ref().is_some_and(|s| !s.contains("declared")))
            });
        }
        // Linux tells what its threads are at; read is system call 0, on AArch64 63.
        if std::fs::read_to_string("/proc/thread-self/syscall").is_ok() {
            let read = format!(", in system call {}", libc::SYS_read);
            await_dump("two threads read", |dump| dump.matches(&read).count() >= 2);
        }
        stop.store(true, SeqCst);
        pipes.iter().for_each(|pipe| pipe.write(7, 1));
        computes.join().unwrap();
        assert_eq!((declared.join().unwrap(), undeclared.join().unwrap()), (7, 7));
    });
}

#[test]
fn who_is_ready_and_who_has_not_begun_is_shown() {
    needs_goroutines!("threads begin at once");
    alone("who_is_ready_and_who_has_not_begun_is_shown", || {
        Config::new().procs(1).start().unwrap();
        thread::spawn(|| {
            // While we run on the only P nobody else does; unless we are taken for one who blocks, then once more.
            assert!(eventually(LONG, || {
                let ready = named("ready").stack_size(1 << 20).spawn(|| ()).unwrap();
                let young = named("young").spawn(|| ()).unwrap();
                let file = memory_file();
                gort::dump(file.as_raw_fd()).unwrap();
                ready.join().unwrap();
                young.join().unwrap();
                let dump = gort_tests::dumps::contents(file);
                let begun = state(&dump, "ready")
                    .is_some_and(|(line, state)| state == "runnable" && line.contains("stack 2032 KiB"));
                let counted = dump
                    .lines()
                    .last()
                    .is_some_and(|l| l == "goroutines: 1 running, 1 runnable, 0 waiting, 1 not begun");
                begun && counted && state(&dump, "young").is_none() && dump.contains("P 0: held by M ")
            }));
        })
        .join()
        .unwrap();
    });
}

/// Row C-26.
/// Row R-29.
#[test]
fn callbacks_are_shown_whether_the_runtime_runs_or_not() {
    alone("callbacks_are_shown_whether_the_runtime_runs_or_not", || {
        let before = dumped();
        assert!(before.contains("the runtime has not been started") && !before.contains("extra M"), "{before}");
        let inside = cthreads::CThread::spawn(|| ffi::callback(|| ffi::callback(dumped))).join();
        assert!(inside.contains("extra Ms: 1 made, 1 bound to a thread, 1 in a callback"), "{inside}");
        assert!(line(&inside, "extra M 0: in a callback, 2 deep").is_some(), "{inside}");
        Config::new().start().unwrap();
        let dump = dumped();
        assert!(dump.lines().next().unwrap().ends_with(": runs"), "{dump}");
        assert!(dump.contains("extra Ms: 1 made, 0 bound to a thread, 0 in a callback"), "{dump}");
        thread::spawn(|| ()).join().unwrap();
        gort::shutdown(LONG).unwrap();
        let after = dumped();
        assert!(after.contains("the runtime has been shut down") && !after.contains("goroutine"), "{after}");
        Config::new().start().unwrap();
        named("again").spawn(|| assert!(state(&dumped(), "again").is_some())).unwrap().join().unwrap();
    });
}

#[test]
fn a_forked_child_has_no_goroutines() {
    alone("a_forked_child_has_no_goroutines", || {
        let parked = named("parked").spawn(thread::park).unwrap();
        await_state("parked", |_| true);
        let file = memory_file();
        // SAFETY: the child makes calls that are safe in one.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(gort::dump(file.as_raw_fd()).map_or(1, |()| 0));
            }
            let mut status = 0;
            assert_eq!((libc::waitpid(pid, &mut status, 0), status), (pid, 0));
        }
        let dump = gort_tests::dumps::contents(file);
        assert!(dump.ends_with(": a fork of one that ran goroutines; there are none here\n"), "{dump}");
        assert_eq!(dump.lines().count(), 1, "{dump}");
        parked.thread().unpark();
        parked.join().unwrap();
    });
}

#[test]
fn names_are_shown_as_far_as_they_fit_and_cannot_spoil_a_line() {
    alone("names_are_shown_as_far_as_they_fit_and_cannot_spoil_a_line", || {
        let long = "x".repeat(63) + "yz";
        let all: Vec<_> = [&long, "a\nb\u{1b}[31mc", "Größe"]
            .map(|name| named(name).spawn(thread::park).unwrap())
            .into_iter()
            .collect();
        for shown in [&long[..64], "a?b?[31mc", "Größe"] {
            await_state(shown, |_| true);
        }
        all.iter().for_each(|g| g.thread().unpark());
        all.into_iter().for_each(|g| g.join().unwrap());
        // The next on these stacks have no name, or a shorter one.
        let next = named("short").spawn(thread::park).unwrap();
        await_state("short", |_| true);
        assert!(!dumped().contains("xx"), "{}", dumped());
        next.thread().unpark();
        next.join().unwrap();
    });
}

#[test]
fn threads_that_are_goroutines_have_their_names_and_numbers() {
    const NAME: &str = "threads_that_are_goroutines_have_their_names_and_numbers";
    needs_goroutines!("threads are threads");
    if role().is_none() {
        Rerun::of(NAME, "child").inherit_all().env("GORT_THREADS", "1").run().success();
        return;
    }
    let std_thread = std::thread::Builder::new().name("of std".into()).spawn(|| {
        let id = thread::current().id();
        std::thread::park();
        id
    });
    let std_thread = std_thread.unwrap();
    let line = await_state("of std", |state| state.starts_with("lock, condition or channel at"));
    let handle = std_thread.thread().clone();
    let waits = named("waits").spawn(move || std_thread.join().unwrap()).unwrap();
    let id = line.split(' ').nth(1).unwrap().to_owned();
    await_state("waits", |state| state == format!("join of goroutine {id}"));
    handle.unpark();
    assert_eq!(format!("{:?}", waits.join().unwrap()), format!("ThreadId({id})"), "one number, whoever asks");
}

/// Row R-03.
#[test]
fn what_cannot_be_written_to_is_an_error() {
    thread::spawn(|| ()).join().unwrap();
    assert_eq!(gort::dump(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(gort::dump(writer.as_raw_fd()).unwrap_err().raw_os_error(), Some(libc::EPIPE));
}

#[test]
fn a_full_pipe_that_does_not_block_is_waited_for() {
    alone("a_full_pipe_that_does_not_block_is_waited_for", || {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors, which are new.
        let [reader, writer] = unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK), 0);
            ends.map(|fd| OwnedFd::from_raw_fd(fd))
        };
        // SAFETY: takes numbers only.
        let room = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
        let room = usize::try_from(room).expect("any pipe may be so small");
        let parked: Vec<_> = (0..100).map(|_| named("one of many").spawn(thread::park).unwrap()).collect();
        await_dump("all are there", |dump| dump.matches("'one of many'").count() == 100);
        // Full from the start; emptied whenever the writer sleeps, which it does only where it waits for room.
        let filled = std::fs::File::from(writer.try_clone().unwrap());
        while (&filled).write(b".").is_ok() {}
        drop(filled);
        let (tid, ours) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicBool::new(false)));
        let (their_tid, written) = (tid.clone(), ours.clone());
        let writes = cthreads::CThread::spawn(move || {
            // SAFETY: no preconditions.
            their_tid.store(unsafe { libc::gettid() }, SeqCst);
            let result = gort::dump(writer.as_raw_fd());
            drop(writer);
            written.store(true, SeqCst);
            result.unwrap();
        });
        let (mut text, mut piece) = (Vec::new(), vec![0; room]);
        let mut reader = std::fs::File::from(reader);
        while !ours.load(SeqCst) {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", tid.load(SeqCst)));
            if stat.is_ok_and(|stat| stat.contains(") S ")) {
                if let Ok(n) = reader.read(&mut piece) {
                    text.extend_from_slice(&piece[..n]);
                }
            }
        }
        writes.join();
        reader.read_to_end(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.len() > 2 * room, "more than the pipe holds");
        let text = text.trim_start_matches('.');
        assert_eq!(text.matches("'one of many'").count(), 100, "{text}");
        check(text);
        parked.iter().for_each(|g| g.thread().unpark());
        parked.into_iter().for_each(|g| g.join().unwrap());
    });
}
