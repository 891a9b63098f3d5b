//! A stack that overflows, and other faults: how the process dies, and what it says.

use gort::thread::{self, Builder};
use gort_tests::measure::guards;
use gort_tests::needs_goroutines;
use gort_tests::subprocess::{role, Rerun};

#[inline(never)]
fn recurse(n: u64) -> u64 {
    let block = std::hint::black_box([n; 64]);
    if n == u64::MAX {
        return 0;
    }
    recurse(n + 1) + block[3]
}

#[test]
fn an_overflow_is_reported_with_name_and_size() {
    needs_goroutines!("the report is std's");
    const NAME: &str = "an_overflow_is_reported_with_name_and_size";
    let Some(role) = role() else {
        for guard in guards() {
            for chaos in ["", "1"] {
                let run = |role| Rerun::of(NAME, role).env("GORT_GUARD", guard).env("GORT_CHAOS", chaos).run();
                let outcome = run("named");
                outcome.died_of(libc::SIGABRT).says("goroutine 'deep diver'").says("Builder::stack_size");
                let size = outcome.stderr.split("overflowed its stack of ").nth(1).and_then(|t| t.split(' ').next());
                let size: usize = size.and_then(|n| n.parse().ok()).expect("a size in KiB");
                assert!((300..600).contains(&size), "300 KiB or what that is rounded up to: {outcome:?}");
                run("unnamed").died_of(libc::SIGABRT).says("<unnamed>").says("overflowed its stack of");
                run("after parking").died_of(libc::SIGABRT).says("goroutine 'wanderer'");
                run("among many").died_of(libc::SIGABRT).says("goroutine 'number 77'");
            }
        }
        return;
    };
    let g = match role.as_str() {
        "named" => Builder::new().name("deep diver".into()).stack_size(300 << 10).spawn(|| recurse(0)),
        "unnamed" => Builder::new().spawn(|| recurse(0)),
        "after parking" => Builder::new().name("wanderer".into()).spawn(|| {
            for _ in 0..20 {
                thread::spawn(|| ()).join().unwrap();
            }
            recurse(0)
        }),
        _ => {
            for i in 0..200 {
                let name = format!("number {i}");
                drop(Builder::new().name(name).spawn(move || if i == 77 { recurse(0) } else { 0 }));
            }
            Builder::new().spawn(|| loop {
                thread::park();
            })
        }
    };
    g.unwrap().join().unwrap();
}

#[test]
fn the_report_can_be_switched_off() {
    needs_goroutines!("the report is std's");
    const NAME: &str = "the_report_can_be_switched_off";
    if role().is_none() {
        Rerun::of(NAME, "child")
            .env("GORT_OVERFLOW_REPORT", "0")
            .run()
            .died_of(libc::SIGSEGV)
            .does_not_say("overflowed");
        return;
    }
    thread::spawn(|| recurse(0)).join().unwrap();
}

/// Row R-10.
#[test]
fn other_faults_are_as_usual() {
    const NAME: &str = "other_faults_are_as_usual";
    let Some(role) = role() else {
        for role in ["null on a goroutine", "null on a thread"] {
            Rerun::of(NAME, role).run().died_of(libc::SIGSEGV).does_not_say("overflow");
        }
        // std's own report, by the handler that was there before ours.
        Rerun::of(NAME, "overflow on a thread").run().died_of(libc::SIGABRT).says("has overflowed its stack");
        return;
    };
    thread::spawn(|| ()).join().unwrap();
    let write_null = || {
        // SAFETY: none; the process is meant to die.
        unsafe { std::hint::black_box(std::ptr::null_mut::<u8>()).write_volatile(1) };
    };
    match role.as_str() {
        "null on a goroutine" => thread::spawn(write_null).join().unwrap(),
        "null on a thread" => write_null(),
        _ => drop(std::thread::spawn(|| recurse(0)).join()),
    }
}
