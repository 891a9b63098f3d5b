//! Names: hosts, users, groups and services, which libc may have to ask a server for.
//!
//! libc finds these by plug-ins (the name service switch) and with sockets that no hook sees, so such a call blocks its kernel
//! thread, and may need more stack than a goroutine has. On a goroutine the function therefore runs on the kernel thread's
//! own stack and thread-local storage, and the goroutine's P goes to others meanwhile. errno and h_errno are carried over.
//!
//! At most [`AT_ONCE`] goroutines look for hosts at a time, and as many for anything else; more of them park until it is their
//! turn. So a name server that does not answer costs that many kernel threads and not one per goroutine, and does not hold up
//! those who look for a user.
//!
//! What a program finds different: resolver options that a goroutine sets for itself in `_res`, and a locale that it chose by
//! `uselocale`, are not seen by the call, because they are thread-local. Functions that return a pointer to memory of libc's
//! own (`gethostbyname`, `getpwnam`) share it with the whole process, on goroutines as on threads.
//!
//! Not hooked, hence seen by sysmon only: enumerations (`getpwent`), networks, protocols, netgroups, and `res_query` with its
//! kin, which work on the `_res` of the caller.

use crate::hand_off::hooks;
use crate::switch::may_park;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};
use gort_rt::ffi::{blocking, on_system_stack};
use gort_rt::hook;
use libc::{addrinfo, c_char, c_int, c_void, gid_t, group, hostent, passwd, servent, sockaddr, socklen_t, uid_t};

hooks! { HOSTS, ask_for_host:
    c"getaddrinfo" getaddrinfo(
        node: *const c_char, service: *const c_char, hints: *const addrinfo, found: *mut *mut addrinfo,
    ) -> c_int;
    c"getnameinfo" getnameinfo(
        address: *const sockaddr, len: socklen_t, host: *mut c_char, host_len: socklen_t, service: *mut c_char,
        service_len: socklen_t, flags: c_int,
    ) -> c_int;
    c"gethostbyname" gethostbyname(name: *const c_char) -> *mut hostent;
    c"gethostbyname_r" gethostbyname_r(
        name: *const c_char, entry: *mut hostent, buffer: *mut c_char, len: usize, found: *mut *mut hostent,
        h_errno: *mut c_int,
    ) -> c_int;
    c"gethostbyname2" gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent;
    c"gethostbyname2_r" gethostbyname2_r(
        name: *const c_char, family: c_int, entry: *mut hostent, buffer: *mut c_char, len: usize,
        found: *mut *mut hostent, h_errno: *mut c_int,
    ) -> c_int;
    c"gethostbyaddr" gethostbyaddr(address: *const c_void, len: socklen_t, family: c_int) -> *mut hostent;
    c"gethostbyaddr_r" gethostbyaddr_r(
        address: *const c_void, address_len: socklen_t, family: c_int, entry: *mut hostent, buffer: *mut c_char,
        len: usize, found: *mut *mut hostent, h_errno: *mut c_int,
    ) -> c_int;
}

hooks! { ACCOUNTS, ask_for_account:
    c"getpwnam" getpwnam(name: *const c_char) -> *mut passwd;
    c"getpwnam_r" getpwnam_r(
        name: *const c_char, entry: *mut passwd, buffer: *mut c_char, len: usize, found: *mut *mut passwd,
    ) -> c_int;
    c"getpwuid" getpwuid(uid: uid_t) -> *mut passwd;
    c"getpwuid_r" getpwuid_r(
        uid: uid_t, entry: *mut passwd, buffer: *mut c_char, len: usize, found: *mut *mut passwd,
    ) -> c_int;
    c"getgrnam" getgrnam(name: *const c_char) -> *mut group;
    c"getgrnam_r" getgrnam_r(
        name: *const c_char, entry: *mut group, buffer: *mut c_char, len: usize, found: *mut *mut group,
    ) -> c_int;
    c"getgrgid" getgrgid(gid: gid_t) -> *mut group;
    c"getgrgid_r" getgrgid_r(
        gid: gid_t, entry: *mut group, buffer: *mut c_char, len: usize, found: *mut *mut group,
    ) -> c_int;
    c"getgrouplist" getgrouplist(user: *const c_char, group: gid_t, groups: *mut gid_t, n: *mut c_int) -> c_int;
    c"initgroups" initgroups(user: *const c_char, group: gid_t) -> c_int;
    c"getservbyname" getservbyname(name: *const c_char, protocol: *const c_char) -> *mut servent;
    c"getservbyname_r" getservbyname_r(
        name: *const c_char, protocol: *const c_char, entry: *mut servent, buffer: *mut c_char, len: usize,
        found: *mut *mut servent,
    ) -> c_int;
    c"getservbyport" getservbyport(port: c_int, protocol: *const c_char) -> *mut servent;
    c"getservbyport_r" getservbyport_r(
        port: c_int, protocol: *const c_char, entry: *mut servent, buffer: *mut c_char, len: usize,
        found: *mut *mut servent,
    ) -> c_int;
}

extern "C" {
    fn __h_errno_location() -> *mut c_int;
}

/// errno and h_errno of the calling goroutine or kernel thread.
#[derive(Clone, Copy)]
struct Errors(c_int, c_int);

impl Errors {
    /// Out of line: goroutine and kernel thread each ask for addresses of their own.
    #[inline(never)]
    fn get() -> Errors {
        // SAFETY: both locations are the caller's own.
        unsafe { Errors(*libc::__errno_location(), *__h_errno_location()) }
    }

    #[inline(never)]
    fn set(self) {
        // SAFETY: both locations are the caller's own.
        unsafe {
            *libc::__errno_location() = self.0;
            *__h_errno_location() = self.1;
        }
    }
}

/// Passes anything to the kernel thread's stack and back.
struct Carried<T>(T);

// SAFETY: the goroutine waits while the call runs, so what it refers to is never used by two at a time; and C functions with
// plain arguments, which is all that is carried, may be called from any thread.
unsafe impl<T> Send for Carried<T> {}

impl<T> Carried<T> {
    fn open(self) -> T {
        self.0
    }
}

fn ask_for_host<T>(call: impl FnOnce() -> T) -> T {
    static TURNS: Turns = Turns::new();
    ask(&TURNS, call)
}

fn ask_for_account<T>(call: impl FnOnce() -> T) -> T {
    static TURNS: Turns = Turns::new();
    ask(&TURNS, call)
}

/// Makes a call that may ask a server: see the module's head.
fn ask<T>(turns: &Turns, call: impl FnOnce() -> T) -> T {
    if !may_park() {
        return call();
    }
    let before = Errors::get();
    let turn = turns.take();
    let call = Carried(call);
    let on_thread = move || {
        before.set();
        let value = call.open()();
        Carried((value, Errors::get()))
    };
    let (value, after) = blocking(|| on_system_stack(on_thread)).open();
    drop(turn);
    after.set();
    value
}

/// How many goroutines may be in calls of one kind at a time.
const AT_ONCE: u32 = 64;

/// The turns of one kind of call.
///
/// No wake-up is lost: one who gives a turn back adds to `free` and then reads `waiting`; one who waits adds to `waiting`,
/// and the wait itself then compares `free` with zero. All four are sequentially consistent, so at least one of the two sees
/// what the other did.
struct Turns {
    /// How many more may enter now. Goroutines wait on this word when it is zero.
    free: AtomicU32,
    /// Goroutines that wait, or are about to.
    waiting: AtomicU32,
}

/// The right to make a call.
struct Turn<'a>(&'a Turns);

impl Turns {
    const fn new() -> Turns {
        Turns { free: AtomicU32::new(AT_ONCE), waiting: AtomicU32::new(0) }
    }

    /// Parks until fewer than [`AT_ONCE`] have a turn. The caller may park.
    fn take(&self) -> Turn<'_> {
        let less = |free: u32| free.checked_sub(1);
        while self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err() {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            // SAFETY: the caller may park; the word is a static's.
            unsafe { hook::futex_wait(&raw const self.free, 0, u32::MAX, None) };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Turns { free, waiting } = self.0;
        free.fetch_add(1, Ordering::SeqCst);
        if waiting.load(Ordering::SeqCst) > 0 {
            hook::futex_wake(ptr::from_ref(free).addr(), 1, u32::MAX);
        }
    }
}
