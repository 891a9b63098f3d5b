//! Dead goroutines, kept with stack and identity for the next spawn.
//!
//! Three tiers. Each P keeps a short list, last in first out, so that a spawn finds a stack that is warm in the cache. What
//! is too much for it goes to the depot, under a lock. Once a second sysmon looks at the depot's low-water mark: what
//! nobody needed during that second is surplus, and half of it goes cold: the memory returns to the kernel and the slot
//! to the arena. Goroutines with a stack size of their own go cold at once.

use crate::identity;
use crate::sched::g::G;
use crate::sched::global::sched;
use crate::sched::m::M;
use crate::stack;
use crate::sync::rawmutex::RawMutex;
use core::ptr;
use core::sync::atomic::Ordering;

/// Goroutines that a P keeps before it gives half of them to the depot.
const PER_P: usize = 64;
/// What the depot keeps however little it is used.
const DEPOT_KEEPS: usize = 256;

/// A stack of dead goroutines.
pub(crate) struct FreeList {
    first: *const G,
    len: usize,
}

// SAFETY: a dead goroutine belongs to the list that holds it.
unsafe impl Send for FreeList {}

impl FreeList {
    pub(crate) const fn new() -> FreeList {
        FreeList { first: ptr::null(), len: 0 }
    }

    fn push(&mut self, g: *const G) {
        // SAFETY: dead goroutines are owned by whoever pushes them; their mapping stays.
        unsafe { (*g).next.set(self.first) };
        self.first = g;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<*const G> {
        let g = self.first;
        if g.is_null() {
            return None;
        }
        // SAFETY: as in `push`.
        self.first = unsafe { (*g).next.get() };
        self.len -= 1;
        Some(g)
    }
}

struct Depot {
    list: FreeList,
    /// Fewest goroutines in the list since sysmon's last look.
    low: usize,
}

static DEPOT: RawMutex<Depot> = RawMutex::new(Depot { list: FreeList::new(), low: 0 });

/// Takes a dead goroutine of the default size, on a P.
pub(crate) fn get(m: &M) -> Option<*const G> {
    let p = m.p()?;
    // SAFETY: the holder of the P, inside the runtime, is the only one who touches its list.
    let list = unsafe { &mut *p.free.get() };
    list.pop().or_else(|| {
        let mut depot = DEPOT.lock();
        for _ in 0..PER_P / 2 {
            match depot.list.pop() {
                Some(g) => list.push(g),
                None => break,
            }
        }
        depot.low = depot.low.min(depot.list.len);
        drop(depot);
        list.pop()
    })
}

/// Takes a dead goroutine of the default size, for somebody without a P.
pub(crate) fn get_from_depot() -> Option<*const G> {
    let mut depot = DEPOT.lock();
    let g = depot.list.pop();
    depot.low = depot.low.min(depot.list.len);
    g
}

/// Buries a goroutine that has ended and whose stack nobody uses any more.
pub(crate) fn put(m: &M, g: *const G) {
    let p = m.p();
    match p {
        Some(p) => p.live.store(p.live.load(Ordering::Relaxed) - 1, Ordering::Relaxed),
        None => {
            sched().live.fetch_sub(1, Ordering::Relaxed);
        }
    }
    // SAFETY: the goroutine is dead and ours.
    if unsafe { !(*g).is_usual() } {
        return go_cold(g);
    }
    let Some(p) = p else { return DEPOT.lock().list.push(g) };
    // SAFETY: as in `get`.
    let list = unsafe { &mut *p.free.get() };
    list.push(g);
    if list.len > PER_P {
        let mut depot = DEPOT.lock();
        for _ in 0..PER_P / 2 {
            depot.list.push(list.pop().expect("longer than half"));
        }
    }
}

/// Dead goroutines of other sizes whose memory cannot be given back, because their blocks are donors'.
static ODD: RawMutex<FreeList> = RawMutex::new(FreeList::new());

/// Takes a dead goroutine with at least `usable` bytes of stack from those that could not go cold.
pub(crate) fn get_odd(usable: usize) -> Option<*const G> {
    let mut odd = ODD.lock();
    let mut passed = FreeList::new();
    let mut found = None;
    while let Some(g) = odd.pop() {
        // SAFETY: the list owns its dead goroutines.
        if unsafe { (*g).usable() } >= usable {
            found = Some(g);
            break;
        }
        passed.push(g);
    }
    while let Some(g) = passed.pop() {
        odd.push(g);
    }
    found
}

/// Gives a dead goroutine's memory back; its G is gone then.
fn go_cold(g: *const G) {
    // SAFETY: the goroutine is dead and ours, so its block is not in use; the slot is copied out before its memory goes.
    unsafe {
        let slot = *(*g).slot();
        if identity::destroy((*g).tp.get()) {
            slot.set_tp(0);
            stack::release(slot);
        } else {
            ODD.lock().push(g);
        }
    }
}

/// sysmon, about once a second: half of what the depot did not need since the last call goes cold.
pub(crate) fn trim() {
    if *identity::mode() != identity::Mode::Built {
        return; // donors' memory must stay
    }
    let mut surplus = FreeList::new();
    {
        let mut depot = DEPOT.lock();
        let spare = depot.low.saturating_sub(DEPOT_KEEPS) / 2;
        for _ in 0..spare.min(4096) {
            match depot.list.pop() {
                Some(g) => surplus.push(g),
                None => break,
            }
        }
        depot.low = depot.list.len;
    }
    while let Some(g) = surplus.pop() {
        go_cold(g);
    }
}
