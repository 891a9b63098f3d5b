//! The reports that nothing can go on: because all wait for each other, or because there is no kernel thread to go on with.
//!
//! Told by counting, when all Ps have been idle for a second: if goroutines are alive, no timer is set, none waits for a
//! descriptor, and every kernel thread of the process is either one of the runtime's own, asleep, or known to be blocked,
//! without a deadline, in a wait that only another thread can end, then nothing in this process will ever run again, short
//! of a signal handler.
//!
//! Any thread that is not accounted for might call in, so there is no false alarm for C threads, for threads that std made,
//! or for goroutines that sit in a system call. The report is made once, on standard error; the process goes on waiting,
//! since a signal could still wake it.

use crate::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::chaos;
use crate::debug::dump;
use crate::os;
use crate::poll;
use crate::sched::census;
use crate::sched::global::Sched;
use crate::time;

static ENABLED: AtomicBool = AtomicBool::new(false);
static REPORTED: AtomicBool = AtomicBool::new(false);
/// Kernel threads, not the runtime's, that wait without a deadline for another thread of this process.
static BLOCKED: AtomicU32 = AtomicU32::new(0);

/// Goroutines that the report of a dead-lock shows.
const SHOWN: usize = 100;

/// Switches the report on or off.
pub(crate) fn init(on: bool) {
    REPORTED.store(false, Ordering::Relaxed);
    ENABLED.store(on, Ordering::Relaxed);
}

/// While it lives, the calling kernel thread waits, without a deadline, for something only another thread can do.
pub struct Blocked(());

impl Blocked {
    /// Counts the calling thread.
    pub fn here() -> Blocked {
        BLOCKED.fetch_add(1, Ordering::Relaxed);
        Blocked(())
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        BLOCKED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// sysmon, when goroutines could run, nobody runs any, and the system has refused a thread for about a fifth of a second:
/// says so, once.
pub(crate) fn report_no_thread(s: &Sched) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if TOLD.swap(true, Ordering::Relaxed) {
        return;
    }
    let error = std::io::Error::from_raw_os_error(s.no_thread.load(Ordering::Relaxed));
    let report = format!(
        "\ngort: goroutines wait to run, and the system gives no kernel thread to run them on: {error}\n      {}; they go \
         on as soon as there is one.\n",
        crate::error::MORE_THREADS
    );
    os::write_stderr(report.as_bytes());
}

/// sysmon, after all Ps have been idle for a while: reports a dead-lock, once.
pub(crate) fn check(s: &Sched) {
    if !ENABLED.load(Ordering::Relaxed) || REPORTED.load(Ordering::Relaxed) || time::next_of_all() != u64::MAX {
        return;
    }
    let goroutines = census::alive(s);
    let blocked = BLOCKED.load(Ordering::SeqCst);
    let asleep = s.idle.lock().nms;
    let own = s.threads.load(Ordering::SeqCst);
    // All of the runtime's threads must be in the idle list: one that is not sits in a call, or waits for its own.
    if goroutines == 0 || asleep != own || s.has_global() || poll::anybody_waits() {
        return;
    }
    const SYSMON: u32 = 1;
    let Some(threads) = os::thread_count() else { return };
    if threads as u32 != own + blocked + SYSMON || REPORTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let report = format!(
        "\ngort: all goroutines are asleep - deadlock! {goroutines} of them wait for each other, and so does every other \
         thread of this process ({blocked}).{}\n      GORT_DEADLOCK_REPORT=0 silences this report.\n",
        chaos::describe()
    );
    os::write_stderr(report.as_bytes());
    dump::list(s, SHOWN);
}
