//! The dump that SIGQUIT asks for, where the application wants it.

use gort::Config;
use gort_tests::backend::goroutines_are_threads;
use gort_tests::dumps::await_state;
use gort_tests::subprocess::{alone, role, Rerun};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn quit() {
    // SAFETY: no preconditions.
    assert_eq!(unsafe { libc::raise(libc::SIGQUIT) }, 0);
}

/// The action that is in force for SIGQUIT.
fn action() -> libc::sighandler_t {
    // SAFETY: zero is a valid action, and the call fills it in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGQUIT, std::ptr::null(), &mut action), 0);
        action.sa_sigaction
    }
}

/// Sets the action for SIGQUIT.
fn set(handler: libc::sighandler_t) {
    // SAFETY: the handlers of these tests count.
    assert_ne!(unsafe { libc::signal(libc::SIGQUIT, handler) }, libc::SIG_ERR);
}

fn here(signal: &str) -> usize {
    signal.matches("goroutines: ").count() + signal.matches("goroutines are kernel threads").count()
}

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    HANDLED.fetch_add(1, SeqCst);
}

/// Row U-01, A-06.
#[test]
fn the_process_dumps_and_goes_on() {
    const NAME: &str = "the_process_dumps_and_goes_on";
    match role().as_deref() {
        None => {
            for (variable, value, dumps) in
                [("", "", 0), ("GORT_DUMP_ON_SIGQUIT", "0", 0), ("GORT_DUMP_ON_SIGQUIT", "1", 1)]
            {
                let rerun = Rerun::of(NAME, "environment").inherit_all();
                let rerun = if variable.is_empty() { rerun } else { rerun.env(variable, value) };
                let outcome = rerun.run();
                if dumps == 0 {
                    outcome.died_of(libc::SIGQUIT).does_not_say("gort 0.");
                } else {
                    outcome.success().says("'waits'");
                    assert_eq!(here(&outcome.stderr), dumps, "{outcome:?}");
                }
            }
            let outcome = Rerun::of(NAME, "config").inherit_all().run();
            assert_eq!(here(&outcome.success().says("'waits'").stderr), 1, "{outcome:?}");
        }
        Some(role) => {
            as_usual();
            if role == "config" {
                Config::new().dump_on_sigquit(true).start().unwrap();
            }
            let waits = gort::thread::Builder::new().name("waits".into()).spawn(gort::thread::park).unwrap();
            let there = if goroutines_are_threads() { "thread" } else { "unpark" };
            await_state("waits", |state| state.starts_with(there));
            quit();
            waits.thread().unpark();
            waits.join().unwrap();
            gort::shutdown(PATIENCE).unwrap();
            assert_eq!(action(), libc::SIG_DFL, "put back at the end");
        }
    }
}

/// SIGQUIT as in a program that a terminal has started, whatever has started this one; and without a core dump.
fn as_usual() {
    // SAFETY: the default action is one for any process.
    assert_ne!(unsafe { libc::signal(libc::SIGQUIT, libc::SIG_DFL) }, libc::SIG_ERR);
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is ours.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) }, 0);
}

#[test]
fn a_value_that_means_nothing_is_an_error() {
    const NAME: &str = "a_value_that_means_nothing_is_an_error";
    if role().is_none() {
        Rerun::of(NAME, "child").inherit_all().env("GORT_DUMP_ON_SIGQUIT", "yes").run().success();
        return;
    }
    as_usual();
    let error = Config::new().start().unwrap_err().to_string();
    assert!(error.contains("GORT_DUMP_ON_SIGQUIT") && error.contains("0 or 1"), "{error}");
    assert_eq!(action(), libc::SIG_DFL);
}

#[test]
fn a_second_one_soon_after_ends_the_process() {
    const NAME: &str = "a_second_one_soon_after_ends_the_process";
    if role().is_none() {
        let outcome = Rerun::of(NAME, "child").inherit_all().run();
        assert!(here(&outcome.died_of(libc::SIGQUIT).stderr) >= 1, "{outcome:?}");
        return;
    }
    as_usual();
    Config::new().dump_on_sigquit(true).start().unwrap();
    // Two would do, if it were sure that the machine does not take a second over the way from one to the next.
    (0..100).for_each(|_| quit());
}

#[test]
fn the_former_handler_is_called_each_time_and_put_back() {
    alone("the_former_handler_is_called_each_time_and_put_back", || {
        for round in 1..=2 {
            HANDLED.store(0, SeqCst);
            set(count as *const () as libc::sighandler_t);
            Config::new().dump_on_sigquit(true).start().unwrap();
            assert_ne!(action(), count as *const () as libc::sighandler_t, "ours is in front");
            for n in 1..=3 {
                quit();
                assert_eq!(HANDLED.load(SeqCst), n, "round {round}: the third is no reason to die");
            }
            gort::shutdown(PATIENCE).unwrap();
            assert_eq!(action(), count as *const () as libc::sighandler_t);
            quit();
            assert_eq!(HANDLED.load(SeqCst), 4);
        }
    });
}

#[test]
fn where_it_was_ignored_it_never_ends_the_process() {
    alone("where_it_was_ignored_it_never_ends_the_process", || {
        set(libc::SIG_IGN);
        Config::new().dump_on_sigquit(true).start().unwrap();
        (0..3).for_each(|_| quit());
        gort::shutdown(PATIENCE).unwrap();
        assert_eq!(action(), libc::SIG_IGN);
    });
}

#[test]
fn a_handler_that_came_later_stays() {
    alone("a_handler_that_came_later_stays", || {
        set(libc::SIG_IGN);
        Config::new().dump_on_sigquit(true).start().unwrap();
        set(count as *const () as libc::sighandler_t);
        gort::shutdown(PATIENCE).unwrap();
        assert_eq!(action(), count as *const () as libc::sighandler_t);
    });
}

/// Row U-02.
#[test]
fn on_a_goroutine_the_dump_shows_the_one_that_it_interrupts() {
    const NAME: &str = "on_a_goroutine_the_dump_shows_the_one_that_it_interrupts";
    if role().is_none() {
        let outcome = Rerun::of(NAME, "child").inherit_all().run();
        outcome.success();
        let line = outcome.stderr.lines().find(|line| line.contains("'asks'")).expect("its line");
        assert!(line.contains("[running on M ") || line.contains("[thread "), "{line}");
        return;
    }
    Config::new().dump_on_sigquit(true).start().unwrap();
    gort::thread::Builder::new().name("asks".into()).spawn(quit).unwrap().join().unwrap();
}
