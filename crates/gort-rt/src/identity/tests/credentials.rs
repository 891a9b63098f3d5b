//! Changing credentials, which glibc does by stopping every thread it knows.

use core::sync::atomic::AtomicUsize;

use super::*;

/// The thread pointer of the one kernel thread of the child processes below; elsewhere zero.
static NATIVE: AtomicUsize = AtomicUsize::new(0);

/// Sets the group to what it is, in a child, on a block; ends by a signal if that takes more than the given seconds.
fn change(way: Way, guarded: bool, limit: u32) -> i32 {
    let block = Block::new(way);
    in_child(|| {
        NATIVE.store(arch::thread_pointer(), Ordering::Relaxed);
        if guarded {
            // SAFETY: this process has one thread, whose thread pointer was just stored.
            unsafe { crate::identity::guard_credentials(|| NATIVE.load(Ordering::Relaxed)) }.unwrap();
        }
        // SAFETY: changes nothing, or ends the child.
        unsafe {
            libc::alarm(limit);
            assert_eq!(libc::setgid(libc::getgid()), 0);
            assert_eq!(block.call(|| libc::setgid(libc::getgid())), 0);
        }
    })
}

both! {
    fn guarded_it_returns(way) {
        assert_eq!(change(way, true, 60), 0);
    }
}

both! {
    fn unguarded_it_goes_round_for_ever(way) {
        let status = change(way, false, 1);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM, "{status:#x}");
    }
}
