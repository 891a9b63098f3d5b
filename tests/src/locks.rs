//! C's locks for Rust: covers of pthread objects.
//!
//! Methods return what the C functions return: 0 or the error's number. A lock that is held or waited for while it is dropped
//! is a fault of the test.

use libc::{c_int, clockid_t, timespec};
use std::cell::UnsafeCell;
use std::mem::{self, MaybeUninit};
use std::time::Duration;

/// An object of C's that does not move.
struct Object<T>(Box<UnsafeCell<T>>);

// SAFETY: only for objects whose C functions may be called by all threads.
unsafe impl<T> Send for Object<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Object<T> {}

impl<T> Object<T> {
    fn zeroed() -> Object<T> {
        // SAFETY: plain C structures.
        Object(Box::new(UnsafeCell::new(unsafe { mem::zeroed() })))
    }

    fn at(&self) -> *mut T {
        self.0.get()
    }
}

/// The moment `from_now` after now, by that clock.
pub fn moment(clock: clockid_t, from_now: Duration) -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the answer.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut now) }, 0);
    let at = Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + from_now;
    timespec { tv_sec: at.as_secs() as i64, tv_nsec: i64::from(at.subsec_nanos()) }
}

extern "C" {
    fn pthread_mutex_clocklock(mutex: *mut libc::pthread_mutex_t, clock: clockid_t, at: *const timespec) -> c_int;
    fn pthread_cond_clockwait(
        cond: *mut libc::pthread_cond_t,
        mutex: *mut libc::pthread_mutex_t,
        clock: clockid_t,
        at: *const timespec,
    ) -> c_int;
    fn pthread_rwlock_clockrdlock(lock: *mut libc::pthread_rwlock_t, clock: clockid_t, at: *const timespec) -> c_int;
    fn pthread_rwlock_clockwrlock(lock: *mut libc::pthread_rwlock_t, clock: clockid_t, at: *const timespec) -> c_int;
    fn pthread_rwlockattr_setkind_np(attribute: *mut libc::pthread_rwlockattr_t, kind: c_int) -> c_int;
    fn sem_clockwait(sem: *mut libc::sem_t, clock: clockid_t, at: *const timespec) -> c_int;
}

/// `pthread_mutex_t`.
pub struct CMutex(Object<libc::pthread_mutex_t>);

impl CMutex {
    /// One of that type (`PTHREAD_MUTEX_NORMAL` and so on).
    pub fn of_type(kind: c_int) -> CMutex {
        let mutex = CMutex(Object::zeroed());
        let mut attribute = MaybeUninit::uninit();
        // SAFETY: attribute and mutex are ours.
        unsafe {
            assert_eq!(libc::pthread_mutexattr_init(attribute.as_mut_ptr()), 0);
            assert_eq!(libc::pthread_mutexattr_settype(attribute.as_mut_ptr(), kind), 0);
            assert_eq!(libc::pthread_mutex_init(mutex.at(), attribute.as_ptr()), 0);
        }
        mutex
    }

    /// A normal one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> CMutex {
        CMutex::of_type(libc::PTHREAD_MUTEX_NORMAL)
    }

    /// For C.
    pub fn at(&self) -> *mut libc::pthread_mutex_t {
        self.0.at()
    }

    /// `pthread_mutex_lock`.
    pub fn lock(&self) -> c_int {
        // SAFETY: initialised by the constructor.
        unsafe { libc::pthread_mutex_lock(self.at()) }
    }

    /// `pthread_mutex_trylock`.
    pub fn try_lock(&self) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_trylock(self.at()) }
    }

    /// `pthread_mutex_timedlock`.
    pub fn timed_lock(&self, at: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_timedlock(self.at(), &raw const at) }
    }

    /// `pthread_mutex_clocklock`.
    pub fn clock_lock(&self, clock: clockid_t, at: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { pthread_mutex_clocklock(self.at(), clock, &raw const at) }
    }

    /// `pthread_mutex_unlock`.
    pub fn unlock(&self) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_unlock(self.at()) }
    }

    /// Runs `f` with the mutex held.
    pub fn with<T>(&self, f: impl FnOnce() -> T) -> T {
        assert_eq!(self.lock(), 0);
        let value = f();
        assert_eq!(self.unlock(), 0);
        value
    }
}

/// `pthread_cond_t`.
pub struct CCond(Object<libc::pthread_cond_t>);

impl CCond {
    /// One whose timed waits go by that clock.
    pub fn by(clock: clockid_t) -> CCond {
        let cond = CCond(Object::zeroed());
        let mut attribute = MaybeUninit::uninit();
        // SAFETY: attribute and object are ours.
        unsafe {
            assert_eq!(libc::pthread_condattr_init(attribute.as_mut_ptr()), 0);
            assert_eq!(libc::pthread_condattr_setclock(attribute.as_mut_ptr(), clock), 0);
            assert_eq!(libc::pthread_cond_init(cond.at(), attribute.as_ptr()), 0);
        }
        cond
    }

    /// One that goes by the realtime clock.
    #[allow(clippy::new_without_default)]
    pub fn new() -> CCond {
        CCond::by(libc::CLOCK_REALTIME)
    }

    /// For C.
    pub fn at(&self) -> *mut libc::pthread_cond_t {
        self.0.at()
    }

    /// `pthread_cond_wait`.
    pub fn wait(&self, mutex: &CMutex) -> c_int {
        // SAFETY: both are initialised.
        unsafe { libc::pthread_cond_wait(self.at(), mutex.at()) }
    }

    /// `pthread_cond_timedwait`.
    pub fn timed_wait(&self, mutex: &CMutex, at: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_cond_timedwait(self.at(), mutex.at(), &raw const at) }
    }

    /// `pthread_cond_clockwait`.
    pub fn clock_wait(&self, mutex: &CMutex, clock: clockid_t, at: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { pthread_cond_clockwait(self.at(), mutex.at(), clock, &raw const at) }
    }

    /// `pthread_cond_signal`.
    pub fn signal(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_cond_signal(self.at()) }, 0);
    }

    /// `pthread_cond_broadcast`.
    pub fn broadcast(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_cond_broadcast(self.at()) }, 0);
    }
}

/// `pthread_rwlock_t`.
pub struct CRwLock(Object<libc::pthread_rwlock_t>);

/// `PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP`.
pub const WRITERS_FIRST: c_int = 2;
/// `PTHREAD_RWLOCK_PREFER_READER_NP`, the default.
pub const READERS_FIRST: c_int = 0;

impl CRwLock {
    /// One of that kind.
    pub fn of_kind(kind: c_int) -> CRwLock {
        let lock = CRwLock(Object::zeroed());
        let mut attribute = MaybeUninit::uninit();
        // SAFETY: attribute and object are ours.
        unsafe {
            assert_eq!(libc::pthread_rwlockattr_init(attribute.as_mut_ptr()), 0);
            assert_eq!(pthread_rwlockattr_setkind_np(attribute.as_mut_ptr(), kind), 0);
            assert_eq!(libc::pthread_rwlock_init(lock.0.at(), attribute.as_ptr()), 0);
        }
        lock
    }

    /// `pthread_rwlock_rdlock`.
    pub fn read(&self) -> c_int {
        // SAFETY: initialised by the constructor.
        unsafe { libc::pthread_rwlock_rdlock(self.0.at()) }
    }

    /// `pthread_rwlock_tryrdlock`.
    pub fn try_read(&self) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_rwlock_tryrdlock(self.0.at()) }
    }

    /// `pthread_rwlock_wrlock`.
    pub fn write(&self) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_rwlock_wrlock(self.0.at()) }
    }

    /// `pthread_rwlock_clockrdlock`.
    pub fn clock_read(&self, clock: clockid_t, at: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { pthread_rwlock_clockrdlock(self.0.at(), clock, &raw const at) }
    }

    /// `pthread_rwlock_clockwrlock`.
    pub fn clock_write(&self, clock: clockid_t, at: timespec) -> c_int {
        // SAFETY: as above.
        unsafe { pthread_rwlock_clockwrlock(self.0.at(), clock, &raw const at) }
    }

    /// `pthread_rwlock_unlock`.
    pub fn unlock(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_rwlock_unlock(self.0.at()) }, 0);
    }
}

/// `sem_t`.
pub struct CSem(Object<libc::sem_t>);

/// 0, or the error's number.
fn code(result: c_int) -> c_int {
    match result {
        0 => 0,
        _ => std::io::Error::last_os_error().raw_os_error().expect("a failed call leaves an error"),
    }
}

impl CSem {
    /// One with that value.
    pub fn new(value: u32) -> CSem {
        let sem = CSem(Object::zeroed());
        // SAFETY: ours.
        assert_eq!(unsafe { libc::sem_init(sem.0.at(), 0, value) }, 0);
        sem
    }

    /// `sem_wait`.
    pub fn wait(&self) {
        // SAFETY: initialised by the constructor.
        while code(unsafe { libc::sem_wait(self.0.at()) }) == libc::EINTR {}
    }

    /// `sem_clockwait`.
    pub fn clock_wait(&self, clock: clockid_t, at: timespec) -> c_int {
        // SAFETY: as above.
        code(unsafe { sem_clockwait(self.0.at(), clock, &raw const at) })
    }

    /// `sem_timedwait`.
    pub fn timed_wait(&self, at: timespec) -> c_int {
        // SAFETY: as above.
        code(unsafe { libc::sem_timedwait(self.0.at(), &raw const at) })
    }

    /// `sem_post`.
    pub fn post(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sem_post(self.0.at()) }, 0);
    }
}

/// `pthread_barrier_t`.
pub struct CBarrier(Object<libc::pthread_barrier_t>);

impl CBarrier {
    /// One for that many.
    pub fn new(count: u32) -> CBarrier {
        let barrier = CBarrier(Object::zeroed());
        // SAFETY: ours.
        assert_eq!(unsafe { libc::pthread_barrier_init(barrier.0.at(), std::ptr::null(), count) }, 0);
        barrier
    }

    /// `pthread_barrier_wait`; true for one of each round.
    pub fn wait(&self) -> bool {
        // SAFETY: initialised by the constructor.
        match unsafe { libc::pthread_barrier_wait(self.0.at()) } {
            0 => false,
            libc::PTHREAD_BARRIER_SERIAL_THREAD => true,
            other => panic!("pthread_barrier_wait gives {other}"),
        }
    }

    /// `pthread_barrier_destroy`.
    pub fn destroy(&self) {
        // SAFETY: as above; the test uses it no more.
        assert_eq!(unsafe { libc::pthread_barrier_destroy(self.0.at()) }, 0);
    }

    /// `pthread_barrier_destroy`; and then the memory is put to another use.
    pub fn destroy_and_fill(&self) {
        self.destroy();
        // SAFETY: the memory is ours again, unless the function returned too early; plain bytes.
        unsafe { self.0.at().write_bytes(0xaa, 1) };
    }

    /// Whether the memory is as [`CBarrier::destroy_and_fill`] left it.
    pub fn is_still_filled(&self) -> bool {
        // SAFETY: nobody uses it as a barrier any more.
        unsafe { std::slice::from_raw_parts(self.0.at().cast::<u8>(), size_of::<libc::pthread_barrier_t>()) }
            .iter()
            .all(|&byte| byte == 0xaa)
    }
}
