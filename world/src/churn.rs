//! Hard work for an allocator with caches per thread: blocks of all sizes that grow, shrink, wander between goroutines and
//! plain threads, outlive whoever made them, and are made and freed while thread-local variables are destroyed.

use crate::crowd::{crowd, scaled};
use std::alloc::{alloc, alloc_zeroed, dealloc, handle_alloc_error, realloc, Layout};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;

/// Goroutines at a time.
const CLIENTS: usize = 1_000;
/// Crowds, one after another: later ones have the storage of earlier ones.
const ROUNDS: usize = 3;
/// What each does.
const STEPS: usize = 200;
/// Plain threads that do the same meanwhile.
const OTHERS: usize = 2;

/// The most kernel threads that this may cost: an allocator's own locks, and the system calls by which it gets and returns
/// memory, wait in the kernel.
pub const THREADS: usize = 64;

static MADE: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);

/// A die.
struct Die(u64);

impl Die {
    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    /// A size: mostly small, now and then more than a page, seldom what is mapped by itself.
    fn size(&mut self) -> usize {
        let most = [16, 64, 256, 1024, 1024, 5000, 40_000][self.below(7)];
        let most = if self.below(500) == 0 { 3_000_000 } else { most };
        1 + self.below(most)
    }
}

/// Memory of which the first and the last bytes are known.
struct Block {
    at: *mut u8,
    layout: Layout,
    seed: u8,
}

// SAFETY: it is the only way to its memory.
unsafe impl Send for Block {}

impl Block {
    /// Bytes that are written and compared, at either end.
    const MARK: usize = 64;

    fn new(die: &mut Die) -> Block {
        let align = 1 << [0, 3, 3, 4, 4, 6, 12][die.below(7)];
        let layout = Layout::from_size_align(die.size(), align).expect("both are small");
        let zeroed = die.below(2) == 0;
        // SAFETY: the size is not 0; zeroes are compared within the block.
        let at = unsafe {
            if zeroed {
                alloc_zeroed(layout)
            } else {
                alloc(layout)
            }
        };
        if at.is_null() {
            handle_alloc_error(layout);
        }
        assert!((at as usize).is_multiple_of(align), "{at:p} for {layout:?}");
        let mut block = Block { at, layout, seed: die.below(256) as u8 };
        assert!(!zeroed || block.ends().into_iter().flatten().all(|byte| *byte == 0));
        block.write();
        MADE.fetch_add(1, Relaxed);
        block
    }

    /// The first and the last bytes, which may be the same.
    fn ends(&mut self) -> [&mut [u8]; 2] {
        let size = self.layout.size();
        let first = (size / 2).min(Block::MARK);
        let last = (size - first).min(Block::MARK);
        // SAFETY: both lie within the block, and they do not overlap.
        unsafe {
            [
                std::slice::from_raw_parts_mut(self.at, first),
                std::slice::from_raw_parts_mut(self.at.add(size - last), last),
            ]
        }
    }

    fn write(&mut self) {
        let seed = self.seed;
        self.ends().into_iter().flatten().for_each(|byte| *byte = seed);
    }

    fn check(&mut self) {
        let (seed, layout) = (self.seed, self.layout);
        assert!(self.ends().into_iter().flatten().all(|byte| *byte == seed), "somebody else wrote to {layout:?}");
    }

    fn resize(&mut self, size: usize) {
        self.check();
        // SAFETY: the block is ours, its layout is that of its making, and the size is neither 0 nor huge.
        let at = unsafe { realloc(self.at, self.layout, size) };
        let layout = Layout::from_size_align(size, self.layout.align()).expect("both are small");
        if at.is_null() {
            handle_alloc_error(layout);
        }
        let kept = size.min(self.layout.size() / 2).min(Block::MARK);
        (self.at, self.layout) = (at, layout);
        // SAFETY: so many bytes were written before and are within the new block.
        assert!(unsafe { std::slice::from_raw_parts(at, kept) }.iter().all(|byte| *byte == self.seed));
        self.write();
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.check();
        // SAFETY: the block is ours, and this is its end.
        unsafe { dealloc(self.at, self.layout) };
        FREED.fetch_add(1, Relaxed);
    }
}

/// Blocks that a goroutine or thread leaves to the destructors of its thread-local variables, which make more.
struct Left(RefCell<Vec<Block>>);

impl Drop for Left {
    fn drop(&mut self) {
        let mut die = Die(self.0.borrow().len() as u64 + 7);
        for _ in 0..3 {
            self.0.get_mut().push(Block::new(&mut die));
            gort::thread::yield_now();
        }
    }
}

thread_local!(static LEFT: Left = const { Left(RefCell::new(Vec::new())) });

/// Blocks on their way from one to another.
#[derive(Default)]
struct Market([Mutex<Vec<Block>>; 16]);

impl Market {
    fn give(&self, die: &mut Die, block: Block) {
        self.0[die.below(16)].lock().expect("nothing panics while it is locked").push(block);
    }

    fn take(&self, die: &mut Die) -> Option<Block> {
        self.0[die.below(16)].lock().expect("nothing panics while it is locked").pop()
    }
}

/// What a goroutine, or a thread, does.
fn wander(market: &Market, seed: usize) {
    let mut die = Die(seed as u64 * 2 + 1);
    let mut own = Vec::new();
    for _ in 0..STEPS {
        match die.below(8) {
            0..=2 => own.push(Block::new(&mut die)),
            3 if !own.is_empty() => {
                let i = die.below(own.len());
                let size = die.size();
                own[i].resize(size);
            }
            4 if !own.is_empty() => {
                let i = die.below(own.len());
                let block = own.swap_remove(i);
                market.give(&mut die, block);
            }
            5 => drop(market.take(&mut die)),
            6 if !own.is_empty() => {
                let i = die.below(own.len());
                own.swap_remove(i);
            }
            _ => gort::thread::yield_now(),
        }
    }
    for block in own {
        match die.below(3) {
            0 => market.give(&mut die, block),
            1 => LEFT.with(|left| left.0.borrow_mut().push(block)),
            _ => drop(block),
        }
    }
}

/// All of it, on a thousand goroutines at a time and a few threads.
///
/// # Panics
/// A block was not as it was left.
pub fn churn() {
    let n = scaled(CLIENTS);
    for round in 0..ROUNDS {
        let market = Market::default();
        std::thread::scope(|s| {
            for i in 0..OTHERS {
                let market = &market;
                s.spawn(move || (0..20).for_each(|k| wander(market, 1000 * (n + i) + k)));
            }
            crowd(n, |i| wander(&market, round * n + i));
        });
        // What was given and not taken is freed here, after its makers have ended.
        drop(market);
        // A scope is over when its closures have returned; the destructors of plain threads may still be under way.
        while MADE.load(Relaxed) != FREED.load(Relaxed) {
            gort::thread::yield_now();
        }
    }
    println!("{} blocks made and freed", FREED.load(Relaxed));
    assert!(FREED.load(Relaxed) > ROUNDS * n * STEPS / 8 * 3);
}
