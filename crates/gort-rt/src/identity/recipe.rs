//! What `pthread_create` writes into a thread block beyond what `_dl_allocate_tls` does.
//!
//! Three blocks are compared word by word over their whole length, static TLS and TCB: one that we built (A) and those of
//! two model threads at other places and of other sizes (D1, D2). Words that glibc names or the ABI fixes are set aside
//! first: the thread vector, the thread id, the list links, the restartable-sequence area. For every other word:
//!
//! | D1, D2 and A | Meaning | Step |
//! |---|---|---|
//! | all equal | nothing to do | |
//! | D1 = D2, differs from A | a constant of the process: guards, flags, locale tables | [`Word::Constant`] |
//! | each points into its own block at the same distance from its thread pointer | self-reference | [`Word::SelfRelative`] |
//! | each is the start, or the size, of its own stack | | [`Word::BlockStart`], [`Word::BlockSize`] |
//! | each points into its own stack at the same distance | the frame of a start routine that we do not have | [`Word::Zero`] |
//! | each is the model's start routine or argument | likewise | [`Word::Zero`] |
//! | anything else | not understood | reported |
//!
//! A single word that is not understood means that this recipe may not be used: see the module's head.

use super::glibc::Glibc;
use crate::arch;

/// How to compute one word of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Constant(u64),
    /// The thread pointer plus this many bytes.
    SelfRelative(isize),
    BlockStart,
    BlockSize,
    Zero,
}

/// One word to write: its offset from the thread pointer, and its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) offset: isize,
    pub(super) word: Word,
}

/// The steps, and the offsets of the words that were not understood.
#[derive(Debug, Default, Clone)]
pub(super) struct Recipe {
    pub(super) steps: Vec<Step>,
    pub(super) unknown: Vec<isize>,
}

/// A copy of a thread block, with where it stood.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) tp: usize,
    pub(super) lo: usize,
    pub(super) hi: usize,
    pub(super) tid: u32,
    /// Bytes of the copy below the thread pointer.
    pub(super) below: usize,
    pub(super) words: Vec<u64>,
    /// Start routine and argument; zero if the block had none.
    pub(super) start_words: [u64; 2],
}

const WORD: usize = size_of::<u64>();

impl Snapshot {
    /// Copies the block at `tp`, whose stack is `[lo, hi)`.
    ///
    /// # Safety
    /// `tp` is the thread pointer of a complete block on that stack, and no code runs on it.
    pub(super) unsafe fn take(glibc: &Glibc, tp: usize, lo: usize, hi: usize, tid: u32) -> Snapshot {
        let first = (tp - glibc.layout.below) as *const u64;
        let words = (0..glibc.layout.size() / WORD)
            // SAFETY: the caller vouches for the whole block, and its parts are multiples of the word size.
            .map(|i| unsafe { first.add(i).read_volatile() })
            .collect();
        Snapshot { tp, lo, hi, tid, below: glibc.layout.below, words, start_words: [0; 2] }
    }

    /// The word at an offset from the thread pointer.
    pub(super) fn word(&self, offset: isize) -> u64 {
        self.words[self.below.wrapping_add_signed(offset) / WORD]
    }

    /// The 32-bit half word at an offset from the thread pointer.
    pub(super) fn half(&self, offset: isize) -> u32 {
        (self.word(offset & !7) >> (8 * (offset & 4))) as u32
    }

    /// Zeroes the words that have a name of their own, so that they compare equal.
    pub(super) fn erase_named(&mut self, glibc: &Glibc) {
        self.erase(arch::THREAD_VECTOR.cast_signed(), WORD);
        self.erase(glibc.tid, 4);
        self.erase(glibc.list, 2 * WORD);
        if let Some(rseq) = &glibc.rseq {
            self.erase(rseq.start, rseq.len());
        }
    }

    fn erase(&mut self, offset: isize, len: usize) {
        let start = self.below.wrapping_add_signed(offset);
        for byte in start..(start + len).min(self.words.len() * WORD) {
            self.words[byte / WORD] &= !(0xff << (8 * (byte % WORD)));
        }
    }
}

impl Recipe {
    /// Works out how to turn a block like `a` into one like `d1` and `d2`. All three have their named words erased.
    pub(super) fn learn(a: &Snapshot, d1: &Snapshot, d2: &Snapshot) -> Recipe {
        let mut recipe = Recipe::default();
        for i in 0..d1.words.len() {
            let offset = (i * WORD) as isize - d1.below as isize;
            let (was, one, two) = (a.words[i], d1.words[i], d2.words[i]);
            if was == one && one == two {
                continue;
            }
            match explain((d1, one), (d2, two)) {
                // Ours points to the same place in its own block already.
                Some(Word::SelfRelative(delta)) if was == a.tp.wrapping_add_signed(delta) as u64 => {}
                Some(word) => recipe.steps.push(Step { offset, word }),
                None => recipe.unknown.push(offset),
            }
        }
        recipe
    }

    /// Why blocks may not be built with this recipe, if so.
    pub(super) fn objection(&self) -> Option<String> {
        (!self.unknown.is_empty()).then(|| {
            format!("this C library's threads have words of unknown meaning at the offsets {:?}", self.unknown)
        })
    }

    /// Carries the steps out.
    ///
    /// # Safety
    /// `tp` is the thread pointer of a block on the stack `[lo, hi)` made by `_dl_allocate_tls`; no code runs on it.
    pub(super) unsafe fn apply(&self, tp: usize, lo: usize, hi: usize) {
        for step in &self.steps {
            let value = match step.word {
                Word::Constant(value) => value,
                Word::SelfRelative(delta) => tp.wrapping_add_signed(delta) as u64,
                Word::BlockStart => lo as u64,
                Word::BlockSize => (hi - lo) as u64,
                Word::Zero => 0,
            };
            // SAFETY: each offset lies in the block that was compared, all blocks have the same shape, and it is aligned.
            unsafe { (tp.wrapping_add_signed(step.offset) as *mut u64).write(value) };
        }
    }

    /// Clears the words of a donor's block that lead to its start routine and that routine's frame.
    ///
    /// # Safety
    /// `tp` is the thread pointer of a donor's block, and no code runs on it.
    pub(super) unsafe fn forget_start(&self, tp: usize) {
        for step in self.steps.iter().filter(|step| step.word == Word::Zero) {
            // SAFETY: as in `apply`.
            unsafe { (tp.wrapping_add_signed(step.offset) as *mut u64).write(0) };
        }
    }
}

/// Finds the one reading under which both models' words mean the same.
fn explain((d1, one): (&Snapshot, u64), (d2, two): (&Snapshot, u64)) -> Option<Word> {
    if (0..d1.start_words.len()).any(|k| one != 0 && one == d1.start_words[k] && two == d2.start_words[k]) {
        return Some(Word::Zero);
    }
    if one == two {
        return Some(Word::Constant(one));
    }
    if one == d1.lo as u64 && two == d2.lo as u64 {
        return Some(Word::BlockStart);
    }
    if one == (d1.hi - d1.lo) as u64 && two == (d2.hi - d2.lo) as u64 {
        return Some(Word::BlockSize);
    }
    let inside = |d: &Snapshot, value: u64| (d.lo as u64..d.hi as u64).contains(&value);
    let delta = (one as isize).wrapping_sub(d1.tp as isize);
    if inside(d1, one) && inside(d2, two) && delta == (two as isize).wrapping_sub(d2.tp as isize) {
        let in_block = delta >= -(d1.below as isize);
        return Some(if in_block { Word::SelfRelative(delta) } else { Word::Zero });
    }
    None
}
