//! What libc keeps in a block outlives the block, once.

use super::*;
use crate::identity::{create, destroy};
use crate::stack::testing::{is_child, run_child};

/// True in a process of its own for the test, where nobody else leaves or takes anything.
fn alone(test: &str) -> bool {
    if state().mode != Mode::Built {
        return false; // donors' blocks never go
    }
    if !is_child() {
        let output = run_child(&format!("identity::tests::estate::{test}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
    is_child()
}

/// A block that takes an estate over, if there is one.
fn heir() -> Block {
    let block = Block::new(Way::Built);
    inherit(&block);
    block
}

/// Destroys a block.
fn bury(block: Block) {
    // SAFETY: nobody runs on the block.
    unsafe {
        assert!(destroy(block.tp));
        munmap(block.lo.cast(), Block::SIZE).unwrap();
    }
    core::mem::forget(block);
}

/// Makes a block anew in its own memory, with an estate if there is one.
fn inherit(block: &Block) {
    // SAFETY: nobody runs on the block, and the memory is its own.
    unsafe {
        (state().glibc.deallocate_tls)(block.tp as *mut _, false);
        assert_eq!(create(block.lo, block.lo.add(Block::SIZE), 1 << 23), Ok(block.tp));
    }
}

/// Blocks of all sizes and their addresses, as a goroutine may leave them in malloc's cache.
fn fill_the_cache() -> [usize; 20] {
    // SAFETY: allocated and freed at once.
    unsafe {
        let all = core::array::from_fn(|i| libc::malloc(40 * (i + 1)));
        all.iter().for_each(|&at| libc::free(at));
        all.map(|at| at as usize)
    }
}

#[test]
fn a_new_block_has_the_cache_of_the_one_that_went() {
    if !alone("a_new_block_has_the_cache_of_the_one_that_went") {
        return;
    }
    let (old, new) = (heir(), Block::new(Way::Built));
    let had = old.live(fill_the_cache);
    let resolver = old.call(resolver_state).wrapping_sub(old.tp);
    bury(old);
    inherit(&new);
    let has = new.live(fill_the_cache);
    assert!(has.iter().all(|at| had.contains(at)), "{had:x?} {has:x?}");
    // What pointed into the old block points into the new one.
    assert_eq!(new.call(resolver_state).wrapping_sub(new.tp), resolver);
    // There was one estate.
    let other = heir();
    assert!(!other.live(fill_the_cache).iter().any(|at| had.contains(at)));
}

#[test]
fn no_memory_is_lost_when_blocks_come_and_go() {
    const ROUNDS: usize = 1000;
    if !alone("no_memory_is_lost_when_blocks_come_and_go") {
        return;
    }
    let round = || {
        let block = heir();
        block.live(fill_the_cache);
        bury(block);
    };
    round();
    // Not `mallinfo2`, which is younger than the oldest glibc that this runs on; it is about megabytes.
    // SAFETY: no preconditions.
    let in_use = || unsafe { libc::mallinfo() }.uordblks as usize;
    let before = in_use();
    (0..ROUNDS).for_each(|_| round());
    let after = in_use();
    // A cache alone is 0.6 KiB.
    assert!(after < before + 100 * ROUNDS, "{before} bytes in use, then {after}");
}

#[test]
fn the_resolvers_state_is_closed() {
    if !alone("the_resolvers_state_is_closed") {
        return;
    }
    let block = heir();
    let servers = || {
        // SAFETY: the state of the calling thread, whose public head this is.
        unsafe { (resolver_state() as *const i32).add(4).read() }
    };
    extern "C" {
        #[link_name = "__res_init"]
        fn res_init() -> i32;
    }
    block.live(|| {
        // SAFETY: no preconditions.
        assert_eq!(unsafe { res_init() }, 0);
        assert!(servers() > 0);
    });
    // SAFETY: nobody runs on the block, and it is made anew at once.
    unsafe {
        assert!(destroy(block.tp));
        assert_eq!(block.call(servers), 0);
        assert_eq!(create(block.lo, block.lo.add(Block::SIZE), 1 << 23), Ok(block.tp));
    }
}

/// Where the resolver's state of the calling thread lies.
fn resolver_state() -> usize {
    let resolver = state().glibc.resolver.as_ref().expect("libc has a resolver");
    // SAFETY: no preconditions.
    unsafe { (resolver.state)() as usize }
}
