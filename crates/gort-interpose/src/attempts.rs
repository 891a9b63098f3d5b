//! Waiting for any of many descriptors: what `poll` and `select` have in common.
//!
//! The readiness of all descriptors is sampled, then the kernel is asked without blocking. If it has nothing to tell, the
//! goroutine parks until one of them may have changed since the sample, and so on.

use crate::sys::kernel;
use core::mem::MaybeUninit;
use core::slice;
use gort_rt::hook::{self, Attempt, Interest, Waited};
use libc::c_int;

/// As many attempts lie on the goroutine's stack; more of them in memory mapped for the call.
pub(crate) const FEW: usize = 64;

/// Parks until `probe`, which asks the kernel without blocking, has an answer or `deadline` has passed: the answer is 0 then.
/// None: one of the descriptors cannot be waited for, or there is no memory; the call should be handed off.
///
/// `wanted` is iterated twice: to count, and to sample.
pub(crate) fn wait(
    wanted: impl Iterator<Item = (c_int, Interest)> + Clone,
    deadline: Option<u64>,
    probe: impl FnMut() -> Option<c_int>,
) -> Option<c_int> {
    let n = wanted.clone().count();
    if n <= FEW {
        let mut room = [const { MaybeUninit::uninit() }; FEW];
        return wait_in(&mut room, wanted, deadline, probe);
    }
    let mut room = Mapped::new(n)?;
    wait_in(room.slots(), wanted, deadline, probe)
}

fn wait_in(
    room: &mut [MaybeUninit<Attempt>],
    wanted: impl Iterator<Item = (c_int, Interest)>,
    deadline: Option<u64>,
    mut probe: impl FnMut() -> Option<c_int>,
) -> Option<c_int> {
    let mut n = 0;
    for (fd, interest) in wanted {
        // Another thread may have changed the caller's array since it was counted.
        room.get_mut(n)?.write(hook::descriptor(fd)?.attempt(interest));
        n += 1;
    }
    // SAFETY: the first `n` have been written.
    let attempts = unsafe { slice::from_raw_parts_mut(room.as_mut_ptr().cast::<Attempt>(), n) };
    let mut late = false;
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if late {
            return Some(0);
        }
        late = match hook::wait_any(attempts, deadline) {
            Waited::Unpollable => return None,
            Waited::TimedOut => true,
            // Events that the caller does not ask for may come all the time.
            Waited::Ready | Waited::Closed => deadline.is_some_and(|when| hook::now() >= when),
        };
    }
}

/// Memory for many attempts, from the kernel: a hook does not use the program's allocator.
struct Mapped {
    at: *mut MaybeUninit<Attempt>,
    n: usize,
}

impl Mapped {
    fn bytes(n: usize) -> usize {
        n.saturating_mul(size_of::<Attempt>())
    }

    fn new(n: usize) -> Option<Mapped> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        let args = [0, Mapped::bytes(n), protection, flags, usize::MAX, 0];
        // SAFETY: a new mapping takes nobody's place.
        let at = unsafe { kernel(libc::SYS_mmap, args) };
        (at > 0).then_some(Mapped { at: at as *mut _, n })
    }

    fn slots(&mut self) -> &mut [MaybeUninit<Attempt>] {
        // SAFETY: the mapping is ours and has room for `n`, which need not be initialised; pages are aligned for anything.
        unsafe { slice::from_raw_parts_mut(self.at, self.n) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it any more.
        unsafe { kernel(libc::SYS_munmap, [self.at as usize, Mapped::bytes(self.n), 0, 0, 0, 0]) };
    }
}
