//! `GORT_CHAOS=seed`: a mode for tests that makes rare interleavings common. `GORT_CHAOS=seed,faults`: failures too.
//!
//! # What happens
//! | Kind ([`Whim`]) | At | How often |
//! |---|---|---|
//! | `Place` | a goroutine that becomes ready is queued elsewhere than it belongs: next, at the tail, globally | always, by a die |
//! | `Late` | the same, but nobody gets to see it before a later look of sysmon's; see [`late`] | 1 in 16 |
//! | `Delay` | a goroutine that has armed a wait lets others run before it parks | 1 in 4 |
//! | `Migrate` | an M gives its P away, so that goroutines move to another kernel thread | 1 in 8 |
//! | `Revoke` | sysmon, which looks every 100 µs, takes a P from an M outside the runtime, whatever that does | 1 in 2 |
//! | `Kernel` | a kernel thread's sleep, on a word or for events, ends at once | 1 in 8 |
//! | `Futex` | a goroutine's wait in the futex table ends without a wake | 1 in 16 |
//! | `Event` | a goroutine's wait for a descriptor ends without an event | 1 in 16 |
//! | `Thread` | no thread can be had for an M | 1 in 4 |
//! | `Map`, with `faults` | no address space can be had for a chunk of stacks | 7 in 8 |
//! | `Guard`, with `faults` | no guard for a stack | 1 in 16 |
//! | `Block`, with `faults` | no memory for a thread block | 1 in 16 |
//! | `Estate`, with `faults` | no memory to keep libc's variables of a block that goes | 1 in 16 |
//! | `Discard`, with `faults` | the memory of a stack cannot be given back | 1 in 8 |
//! | `Register`, with `faults` | a descriptor cannot be registered with epoll | 1 in 8 |
//!
//! Programs see nothing of those in the upper half: each is allowed to happen at any time, and code that breaks is wrong.
//! (Waits that may end for no reason must be looked at again; so say the manuals of futexes and of C's condition variables.
//! `thread::park` of goroutines is left out, although it may do so too.) Faults end as the real ones do: a few in errors
//! of `spawn`, the others in a fallback.
//!
//! # What a seed repeats
//! Each decision is a function of four numbers: the seed, the kind, the *roller*, and how many decisions of that kind this
//! roller has made before. The roller is the P whose holder decides, inside the runtime; elsewhere the process as a whole.
//! The order in which an M tries others when it steals is a sequence of that M, which follows from seed and number of the M.
//!
//! So the same seed deals the same cards: the 17th goroutine that becomes ready on P 1 is always queued in the same way. What a
//! seed cannot repeat is who comes to be the 17th: that depends on when the kernel runs which thread, on how fast
//! they run, and on what comes from outside. With one P, and nothing in the program that depends on time, little
//! of that is left but the moments of sysmon's looks; with two Ps a seed repeats a tendency.

pub(crate) mod late;

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sched::m::M;
use crate::sched::p::P;
use core::cell::Cell;

/// How long sysmon pauses at most between looks, in nanoseconds.
const TICK: u64 = 100_000;
/// Kernel threads of the runtime beyond which no more Ps are taken: each P that is taken keeps one more thread busy.
const MOST_THREADS: u32 = 48;

const OFF: u32 = 0;
const ON: u32 = 1;
const WITH_FAULTS: u32 = 2;

static MODE: AtomicU32 = AtomicU32::new(OFF);
static SEED: AtomicU64 = AtomicU64::new(0);

/// What `GORT_CHAOS` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chaos {
    pub(crate) seed: u64,
    pub(crate) faults: bool,
}

impl Chaos {
    /// The value of the variable; None if it means nothing.
    pub(crate) fn parse(text: &str) -> Option<Chaos> {
        let (seed, faults) = match text.strip_suffix(",faults") {
            Some(seed) => (seed, true),
            None => (text, false),
        };
        Some(Chaos { seed: seed.parse().ok()?, faults })
    }
}

/// What may happen; see the module's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whim {
    Place,
    Late,
    Delay,
    Migrate,
    Revoke,
    Kernel,
    Futex,
    Event,
    Thread,
    Map,
    Guard,
    Block,
    Estate,
    Discard,
    Register,
}

const KINDS: usize = Whim::Register as usize + 1;

struct Rule {
    name: &'static str,
    /// It happens so many times ...
    times: u32,
    /// ... in so many, a power of two.
    of: u32,
    least: u32,
}

const RULES: [Rule; KINDS] = {
    const fn rule(name: &'static str, times: u32, of: u32, least: u32) -> Rule {
        Rule { name, times, of, least }
    }
    [
        rule("place", 1, 1, ON),
        rule("late", 1, 16, ON),
        rule("delay", 1, 4, ON),
        rule("migrate", 1, 8, ON),
        rule("revoke", 1, 2, ON),
        rule("kernel", 1, 8, ON),
        rule("futex", 1, 16, ON),
        rule("event", 1, 16, ON),
        rule("thread", 1, 4, ON),
        rule("map", 7, 8, WITH_FAULTS),
        rule("guard", 1, 16, WITH_FAULTS),
        rule("block", 1, 16, WITH_FAULTS),
        rule("estate", 1, 16, WITH_FAULTS),
        rule("discard", 1, 8, WITH_FAULTS),
        rule("register", 1, 8, WITH_FAULTS),
    ]
};

/// Decisions of the process as a whole.
static MADE: [AtomicU32; KINDS] = [const { AtomicU32::new(0) }; KINDS];
/// What has happened.
static HAPPENED: [AtomicU64; KINDS] = [const { AtomicU64::new(0) }; KINDS];

/// How many decisions of each kind a P has made; its holder's.
pub(crate) struct Dice([Cell<u32>; KINDS]);

impl Dice {
    pub(crate) const fn new() -> Dice {
        Dice([const { Cell::new(0) }; KINDS])
    }
}

/// Where chaos puts a goroutine that has become ready.
pub(crate) enum Place {
    Next,
    Tail,
    Global,
    Late,
}

/// Switches the mode on or off, at the start of the runtime, while no M runs.
pub(crate) fn init(chaos: Option<Chaos>) {
    let (seed, mode) = match chaos {
        None => (0, OFF),
        Some(Chaos { seed, faults }) => (seed, if faults { WITH_FAULTS } else { ON }),
    };
    SEED.store(seed, Ordering::Relaxed);
    MODE.store(mode, Ordering::Relaxed);
}

#[inline(always)]
pub(crate) fn on() -> bool {
    MODE.load(Ordering::Relaxed) != OFF
}

/// For the last words of a process: the setting that repeats them; empty without chaos.
pub(crate) fn describe() -> String {
    let seed = SEED.load(Ordering::Relaxed);
    match MODE.load(Ordering::Relaxed) {
        OFF => String::new(),
        ON => format!(" [GORT_CHAOS={seed}]"),
        _ => format!(" [GORT_CHAOS={seed},faults]"),
    }
}

/// Seeds the order in which an M tries others.
pub(crate) fn seed(m: &M) {
    if on() {
        m.rng.set(mix(SEED.load(Ordering::Relaxed) ^ m.rng.get()) | 1);
    }
}

/// A number in which every bit depends on every bit of `x` (the finalizer of splitmix64).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The decision number `n` of a roller: 0 is the process, P number i is i + 1.
fn decide(seed: u64, whim: Whim, roller: u32, n: u32) -> u32 {
    let which = (whim as u64) << 56 ^ u64::from(roller) << 32 ^ u64::from(n);
    (mix(mix(seed) ^ which) >> 32) as u32
}

/// The next number of a roller: of the P that the caller holds, inside the runtime, or of the process.
fn roll(whim: Whim, p: Option<&P>) -> u32 {
    let (roller, n) = match p {
        Some(p) => {
            let made = &p.dice.0[whim as usize];
            (p.id + 1, made.replace(made.get().wrapping_add(1)))
        }
        None => (0, MADE[whim as usize].fetch_add(1, Ordering::Relaxed)),
    };
    decide(SEED.load(Ordering::Relaxed), whim, roller, n)
}

/// Whether it shall happen now. For the caller's P see [`roll`]. Async-signal-safe without one.
#[inline(always)]
pub(crate) fn wants(whim: Whim, p: Option<&P>) -> bool {
    on() && wants_now(whim, p)
}

#[cold]
fn wants_now(whim: Whim, p: Option<&P>) -> bool {
    let rule = &RULES[whim as usize];
    MODE.load(Ordering::Relaxed) >= rule.least && roll(whim, p) % rule.of < rule.times
}

/// It has happened.
pub(crate) fn count(whim: Whim) {
    HAPPENED[whim as usize].fetch_add(1, Ordering::Relaxed);
}

/// [`wants`], for what happens then without fail.
#[inline(always)]
pub(crate) fn happens(whim: Whim, p: Option<&P>) -> bool {
    let yes = wants(whim, p);
    if yes {
        count(whim);
    }
    yes
}

/// Where the holder of `p` puts a goroutine that has become ready; None: where it belongs.
#[inline(always)]
pub(crate) fn place(p: &P) -> Option<Place> {
    on().then(|| {
        if happens(Whim::Late, Some(p)) {
            return Place::Late;
        }
        count(Whim::Place);
        match roll(Whim::Place, Some(p)) % 4 {
            0 => Place::Next,
            1 | 2 => Place::Tail,
            _ => Place::Global,
        }
    })
}

/// sysmon: whether it shall take the next P that it looks at, while the runtime has so many threads. It counts what it takes.
pub(crate) fn revokes(threads: u32) -> bool {
    on() && threads < MOST_THREADS && wants_now(Whim::Revoke, None)
}

/// How long sysmon shall pause that would pause so many nanoseconds.
pub(crate) fn pause(ns: u64) -> u64 {
    if on() {
        ns.min(TICK)
    } else {
        ns
    }
}

/// For tests: how often each kind has happened, by name.
#[doc(hidden)]
pub fn chaos_counts() -> Vec<(&'static str, u64)> {
    RULES.iter().zip(&HAPPENED).map(|(rule, n)| (rule.name, n.load(Ordering::Relaxed))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let chaos = |seed, faults| Some(Chaos { seed, faults });
        for (text, expected) in [
            ("0", chaos(0, false)),
            ("18446744073709551615", chaos(u64::MAX, false)),
            ("7,faults", chaos(7, true)),
            ("", None),
            ("-1", None),
            ("7,", None),
            (",faults", None),
            ("7,fault", None),
            ("7,faults,faults", None),
        ] {
            assert_eq!(Chaos::parse(text), expected, "{text:?}");
        }
    }

    /// The rules are in the order of the kinds, and each kind comes about as often as its rule says, for every roller.
    #[test]
    fn rules_hold() {
        assert_eq!(RULES[Whim::Futex as usize].name, "futex");
        assert_eq!(RULES[Whim::Register as usize].name, "register");
        for (whim, seed, roller) in [(Whim::Late, 1, 0), (Whim::Late, 2, 1), (Whim::Revoke, 1, 65), (Whim::Map, 0, 2)] {
            let Rule { times, of, .. } = RULES[whim as usize];
            let n = (0..16_000).filter(|&n| decide(seed, whim, roller, n) % of < times).count() as u32;
            let expected = 16_000 / of * times;
            assert!(n.abs_diff(expected) < 400, "{whim:?}: {n}, not {expected}");
        }
    }

    /// A decision depends on each of the four numbers, and on nothing else.
    #[test]
    fn decisions_repeat() {
        let row = |seed, whim, roller| (0..64).map(|n| decide(seed, whim, roller, n) % 2).collect::<Vec<_>>();
        let first = row(7, Whim::Late, 1);
        assert_eq!(first, row(7, Whim::Late, 1));
        assert_ne!(first, row(8, Whim::Late, 1));
        assert_ne!(first, row(7, Whim::Delay, 1));
        assert_ne!(first, row(7, Whim::Late, 0));
        assert!(first.contains(&0) && first.contains(&1));
    }
}
