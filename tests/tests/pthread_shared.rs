//! C's locks beyond one process, and in signal handlers.

use gort::thread;
use gort_tests::kinds::with_one_p_and_two;
use gort_tests::locks::{CMutex, CSem};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::OnceLock;

const ROUNDS: usize = 300;

/// Objects that two processes share.
struct Shared {
    mutex: libc::pthread_mutex_t,
    cond: libc::pthread_cond_t,
    lock: libc::pthread_rwlock_t,
    barrier: libc::pthread_barrier_t,
    sems: [libc::sem_t; 2],
    turn: AtomicUsize,
    sum: usize,
    /// Rounds in which the one that comes first has a lock, and in which the other wants it.
    has: AtomicUsize,
    wants: AtomicUsize,
}

/// Defines the initialisation of an object as one that processes share.
macro_rules! init_shared {
    ($at:expr, $attr_init:path, $set:path, $init:path $(, $more:expr)?) => {{
        let mut attribute = MaybeUninit::uninit();
        assert_eq!($attr_init(attribute.as_mut_ptr()), 0);
        assert_eq!($set(attribute.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED), 0);
        assert_eq!($init($at, attribute.as_ptr() $(, $more)?), 0);
    }};
}

fn shared() -> *mut Shared {
    use libc::*;
    let access = PROT_READ | PROT_WRITE;
    // SAFETY: fresh memory, which the objects are initialised in.
    unsafe {
        let at = mmap(std::ptr::null_mut(), size_of::<Shared>(), access, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ne!(at, MAP_FAILED);
        let all: *mut Shared = at.cast();
        let (mutex, cond) = (&raw mut (*all).mutex, &raw mut (*all).cond);
        init_shared!(mutex, pthread_mutexattr_init, pthread_mutexattr_setpshared, pthread_mutex_init);
        init_shared!(cond, pthread_condattr_init, pthread_condattr_setpshared, pthread_cond_init);
        let (lock, barrier) = (&raw mut (*all).lock, &raw mut (*all).barrier);
        init_shared!(lock, pthread_rwlockattr_init, pthread_rwlockattr_setpshared, pthread_rwlock_init);
        init_shared!(barrier, pthread_barrierattr_init, pthread_barrierattr_setpshared, pthread_barrier_init, 2);
        for sem in &mut (*all).sems {
            assert_eq!(sem_init(sem, 1, 0), 0);
        }
        all
    }
}

/// What both processes do, `me` being 0 or 1: they take turns by each kind of object. False: something went wrong.
///
/// # Safety
/// `all` is initialised.
unsafe fn take_turns(all: *mut Shared, me: usize) -> bool {
    let mut fine = true;
    // SAFETY: the caller's promise; counts are touched under the locks.
    unsafe {
        for round in 0..ROUNDS {
            if me == 0 {
                fine &= libc::sem_post(&raw mut (*all).sems[0]) == 0 && libc::sem_wait(&raw mut (*all).sems[1]) == 0;
            } else {
                fine &= libc::sem_wait(&raw mut (*all).sems[0]) == 0 && libc::sem_post(&raw mut (*all).sems[1]) == 0;
            }
            let (mutex, cond) = (&raw mut (*all).mutex, &raw mut (*all).cond);
            fine &= libc::pthread_mutex_lock(mutex) == 0;
            while (*all).turn.load(SeqCst) != 2 * round + me {
                fine &= libc::pthread_cond_wait(cond, mutex) == 0;
            }
            (*all).turn.fetch_add(1, SeqCst);
            fine &= libc::pthread_cond_broadcast(cond) == 0 && libc::pthread_mutex_unlock(mutex) == 0;
            let lock = &raw mut (*all).lock;
            fine &= libc::pthread_rwlock_wrlock(lock) == 0;
            (*all).sum += 1;
            fine &= libc::pthread_rwlock_unlock(lock) == 0 && libc::pthread_rwlock_rdlock(lock) == 0;
            fine &= (*all).sum > round && libc::pthread_rwlock_unlock(lock) == 0;
            libc::pthread_barrier_wait(&raw mut (*all).barrier);
        }
    }
    fine
}

/// One of two processes, `me` being 0 or 1, takes and releases a lock, `me` 1 while 0 waits for it. Rounds are numbered from 1.
///
/// # Safety
/// `all` is initialised.
unsafe fn one_waits(
    all: *mut Shared,
    me: usize,
    round: usize,
    lock: impl Fn() -> i32,
    unlock: impl Fn() -> i32,
) -> bool {
    // SAFETY: the caller's promise; shared memory is zero at first.
    let (has, wants) = unsafe { (&(*all).has, &(*all).wants) };
    if me == 1 {
        let mut fine = lock() == 0;
        has.store(round, SeqCst);
        while wants.load(SeqCst) < round {
            std::thread::yield_now();
        }
        // More or less time for the other, to find the lock taken, and to begin to wait.
        (0..round % 20).for_each(|_| std::thread::yield_now());
        fine &= unlock() == 0;
        fine
    } else {
        while has.load(SeqCst) < round {
            std::thread::yield_now();
        }
        wants.store(round, SeqCst);
        lock() == 0 && unlock() == 0
    }
}

/// Locks that the other process has, and releases where no hook of ours sees it.
///
/// # Safety
/// `all` is initialised.
unsafe fn wait_for_locks(all: *mut Shared, me: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let (mutex, lock) = (&raw mut (*all).mutex, &raw mut (*all).lock);
        (0..ROUNDS).all(|round| {
            let unlock = || libc::pthread_rwlock_unlock(lock);
            let taken =
                if round % 2 == 0 || me == 1 { libc::pthread_rwlock_wrlock } else { libc::pthread_rwlock_rdlock };
            one_waits(all, me, 2 * round + 1, || libc::pthread_mutex_lock(mutex), || libc::pthread_mutex_unlock(mutex))
                && one_waits(all, me, 2 * round + 2, || taken(lock), unlock)
        })
    }
}

#[test]
fn a_goroutine_and_another_process() {
    if !with_one_p_and_two("a_goroutine_and_another_process") {
        return;
    }
    static DONE: AtomicBool = AtomicBool::new(false);
    let all = shared() as usize;
    // Others run meanwhile, also with one P.
    let busy = thread::spawn(|| {
        let mut turns = 0u64;
        while !DONE.load(SeqCst) {
            turns += 1;
            thread::yield_now();
        }
        turns
    });
    let fine = thread::spawn(move || {
        let all = all as *mut Shared;
        // SAFETY: the objects are initialised; the child uses nothing but them, on its one thread.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(if take_turns(all, 1) && wait_for_locks(all, 1) { 42 } else { 1 });
            }
            let fine = take_turns(all, 0) && wait_for_locks(all, 0);
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 42));
            assert_eq!((*all).sum, 2 * ROUNDS);
            libc::pthread_barrier_destroy(&raw mut (*all).barrier);
            fine
        }
    });
    assert!(fine.join().unwrap());
    DONE.store(true, SeqCst);
    assert!(busy.join().unwrap() > 0);
}

/// Whoever waits in the kernel releases the mutex there: goroutines that share a condition variable with another process, and
/// a mutex with each other.
#[test]
fn a_shared_condition_with_a_private_mutex() {
    if !with_one_p_and_two("a_shared_condition_with_a_private_mutex") {
        return;
    }
    let all = shared() as usize;
    let mutex = CMutex::new();
    let turn = AtomicUsize::new(0);
    thread::scope(|s| {
        for i in 0..4 {
            let (mutex, turn) = (&mutex, &turn);
            s.spawn(move || {
                let cond = all as *mut Shared;
                for round in 0..200 {
                    assert_eq!(mutex.lock(), 0);
                    while turn.load(SeqCst) != round * 4 + i {
                        // SAFETY: both are initialised.
                        assert_eq!(unsafe { libc::pthread_cond_wait(&raw mut (*cond).cond, mutex.at()) }, 0);
                    }
                    turn.fetch_add(1, SeqCst);
                    // SAFETY: as above.
                    assert_eq!(unsafe { libc::pthread_cond_broadcast(&raw mut (*cond).cond) }, 0);
                    assert_eq!(mutex.unlock(), 0);
                }
            });
        }
    });
    assert_eq!(turn.into_inner(), 800);
}

static SEM: OnceLock<CSem> = OnceLock::new();
static POSTED: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn post(_: i32) {
    POSTED.fetch_add(1, SeqCst);
    SEM.get().expect("set before the handler").post();
}

fn posts_in_handlers(flags: i32) {
    const ENOUGH: usize = 4000;
    assert!(SEM.set(CSem::new(0)).is_ok());
    // SAFETY: the handler calls what may be called in handlers.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = post as *const () as usize;
        action.sa_flags = flags | libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
    let sem = || SEM.get().expect("set above");
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || loop {
                sem().wait();
                if STOP.load(SeqCst) {
                    return;
                }
                TAKEN.fetch_add(1, SeqCst);
            })
        })
        .collect();
    // Signals that interrupt goroutines as they post, wake and wait, whatever they are at just then.
    let others: Vec<_> = (0..4)
        .map(|i| {
            thread::spawn(move || {
                while POSTED.load(SeqCst) < ENOUGH {
                    POSTED.fetch_add(1, SeqCst);
                    sem().post();
                    if i == 0 {
                        // SAFETY: there is a handler.
                        assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) }, 0);
                    } else if i == 1 {
                        // SAFETY: as above.
                        assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
                    } else {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    others.into_iter().for_each(|g| g.join().unwrap());
    while TAKEN.load(SeqCst) < POSTED.load(SeqCst) {
        thread::yield_now();
    }
    STOP.store(true, SeqCst);
    waiters.iter().for_each(|_| sem().post());
    waiters.into_iter().for_each(|g| g.join().unwrap());
}

#[test]
fn handlers_post() {
    if with_one_p_and_two("handlers_post") {
        posts_in_handlers(0);
    }
}

#[test]
fn handlers_on_the_alternate_stack_post() {
    if with_one_p_and_two("handlers_on_the_alternate_stack_post") {
        posts_in_handlers(libc::SA_ONSTACK);
    }
}
