//! How a call waits on a goroutine: try, and park while there is nothing to do.
//!
//! Every hook that waits for a descriptor is one [`until_done`]: a way to try without waiting, which the family knows, in the
//! loop that all have in common. Results are the kernel's, with errors as minus their numbers: errno belongs to the caller
//! and is written once, at the end.

use crate::kind::{About, Kind, Waits};
use gort_rt::ffi::blocking;
use gort_rt::hook::{self, Attempt, Interest, Waited};
use libc::c_int;

/// What a try came to.
pub(crate) enum Step {
    /// The call is over, with this result.
    Done(isize),
    /// The same, and it took all that there was: the next try would be in vain.
    Drained(isize),
    /// A part is done. The next try goes on.
    Partly,
    /// There is nothing to do now.
    Empty,
}

/// As a result of the kernel's.
pub(crate) const fn error(code: c_int) -> isize {
    -(code as isize)
}

/// `EAGAIN`, as a result of the kernel's.
pub(crate) const AGAIN: isize = error(libc::EAGAIN);

/// Tries until the call is over, and parks the goroutine in between. None: it is to be made, or finished, by the kernel in
/// blocking mode.
#[inline]
pub(crate) fn until_done(
    about: &mut About,
    interest: Interest,
    attempt_once: impl FnMut(&mut About) -> Step,
) -> Option<isize> {
    // That no connection was left says nothing of other calls, which a listener refuses.
    let skips = !about.is_known_to_listen();
    repeat(about, interest, skips, attempt_once)
}

/// As [`until_done`], for a call that takes connections.
pub(crate) fn until_accepted(about: &mut About, attempt_once: impl FnMut(&mut About) -> Step) -> Option<isize> {
    repeat(about, Interest::Read, true, attempt_once)
}

/// `skips`: the first try may be left out if an earlier one has left nothing.
#[inline]
fn repeat(
    about: &mut About,
    interest: Interest,
    skips: bool,
    mut attempt_once: impl FnMut(&mut About) -> Step,
) -> Option<isize> {
    let mut attempt = about.descriptor.attempt(interest);
    let mut in_vain = skips && attempt.is_spent() && about.surely_waits();
    let mut wait = Wait { deadline: None, woken: false, late: false };
    let result = loop {
        if !in_vain {
            match attempt_once(about) {
                Step::Done(result) => break Some(result),
                Step::Drained(result) => {
                    attempt.spent();
                    break Some(result);
                }
                Step::Partly => continue,
                Step::Empty => {}
            }
        }
        in_vain = false;
        if let Err(over) = wait.park(about, &mut attempt, interest) {
            break over;
        }
    };
    attempt.finish();
    result
}

/// The waiting of one call.
struct Wait {
    /// When its time is over, once that was asked.
    deadline: Option<u64>,
    /// It has parked before: something changed, but the try after that found nothing.
    woken: bool,
    /// Its time is over: the try after that was the last one.
    late: bool,
}

impl Wait {
    /// Parks until the next try should be made, or says how the call ends.
    #[cold]
    fn park(&mut self, about: &mut About, attempt: &mut Attempt, interest: Interest) -> Result<(), Option<isize>> {
        if self.late {
            return Err(Some(AGAIN));
        }
        let deadline = match about.waits(interest, self.woken) {
            Waits::Never => return Err(Some(AGAIN)),
            Waits::Closed(error) => return Err(Some(error)),
            Waits::InKernel => return Err(None),
            Waits::Forever => None,
            Waits::For(ns) => Some(*self.deadline.get_or_insert_with(|| hook::now().saturating_add(ns))),
        };
        attempt.spent();
        self.woken = true;
        match attempt.wait(deadline) {
            Waited::Ready => Ok(()),
            Waited::TimedOut => {
                self.late = true;
                Ok(())
            }
            Waited::Closed => Err(Some(error(libc::EBADF))),
            Waited::Unpollable => {
                if about.learn() == Kind::Other {
                    about.is(Kind::File); // a device that has no readiness
                }
                Err(None)
            }
        }
    }
}

/// A call on a socket that may be done in parts: tried with `MSG_DONTWAIT`, over and over, or left to the kernel where it
/// must stay `whole`. `call` makes it, with these flags, for what is left after so many bytes; `look` says what a try came to,
/// and adds to the bytes done.
#[inline]
pub(crate) fn socket_call(
    fd: c_int,
    interest: Interest,
    whole: bool,
    flags: c_int,
    call: impl Fn(usize, c_int) -> isize,
    mut look: impl FnMut(&mut About, isize, &mut usize) -> Step,
) -> isize {
    let about = if whole { None } else { About::of(fd) };
    let Some(mut about) = about else { return blocking(|| call(0, flags)) };
    let mut done = 0;
    let result = until_done(&mut about, interest, |about| {
        let result = call(done, flags | libc::MSG_DONTWAIT);
        look(about, result, &mut done)
    });
    in_parts(result, done, || blocking(|| call(done, flags)))
}

/// The result of a call that was done in parts: `done` bytes of it before `result`. Where the kernel is to finish it, `rest`
/// makes the call for what is left. An error after some bytes is for the next call to find.
#[inline]
pub(crate) fn in_parts(result: Option<isize>, done: usize, rest: impl FnOnce() -> isize) -> isize {
    let of_rest = match result {
        Some(result) if result >= 0 => return result,
        Some(error) => error,
        None => rest(),
    };
    match (done, of_rest) {
        (0, _) => of_rest,
        (_, ..0) => done as isize,
        _ => done as isize + of_rest,
    }
}
