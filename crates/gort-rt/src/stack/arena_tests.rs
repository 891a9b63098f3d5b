//! Tests of the arena, on arenas of their own.

use super::super::guard::Guard;
use super::super::testing;
use super::*;
use std::collections::HashSet;

fn arena(chunk_bytes: usize) -> &'static Arena {
    arena_with(chunk_bytes, mem::max_mappings)
}

fn arena_with(chunk_bytes: usize, max_mappings: fn() -> Option<usize>) -> &'static Arena {
    Box::leak(Box::new(Arena::new(chunk_bytes, Box::leak(Box::new(Table::new())), max_mappings)))
}

/// Bytes of a range that are in memory.
fn resident(slot: &Slot) -> usize {
    let page = mem::page_size();
    let mut pages = vec![0u8; slot.usable() / page];
    // SAFETY: the vector has a byte for each page of the range.
    let result = unsafe { libc::mincore(slot.lo.cast(), slot.usable(), pages.as_mut_ptr().cast()) };
    assert_eq!(result, 0);
    pages.iter().filter(|&&p| p & 1 != 0).count() * page
}

fn fill(slot: &Slot) {
    // SAFETY: the test holds the slot.
    unsafe { slot.lo.write_bytes(0xab, slot.usable()) };
}

fn release(arena: &'static Arena, slot: Slot) {
    // SAFETY: tests release what they allocated, once, and keep no pointers into it.
    unsafe { arena.release(slot) };
}

#[test]
fn sizes() {
    let arena = arena(1 << 22);
    for (usable, total) in [
        (0, 32 << 10),
        (1, 32 << 10),
        (16 << 10, 32 << 10),
        ((16 << 10) + 1, 64 << 10),
        (super::super::DEFAULT_USABLE, 256 << 10),
        (256 << 10, 512 << 10),
        (5 << 20, 8 << 20),
        (1 << 30, 2 << 30),
    ] {
        let slot = arena.alloc(usable).unwrap();
        assert_eq!(slot.usable() + GUARD, total, "{usable}");
        assert_eq!(slot.hi as usize % GUARD, 0);
        // SAFETY: the test holds the slot.
        unsafe {
            assert_eq!((slot.lo.read(), slot.hi.sub(1).read()), (0, 0));
            slot.lo.write(1);
            slot.hi.sub(1).write(1);
        }
    }
}

#[test]
fn absurd_sizes_are_errors() {
    let arena = arena(CHUNK);
    for usable in [MAX_SLOT - GUARD + 1, 1 << 60, usize::MAX - GUARD + 1, usize::MAX] {
        assert_eq!(arena.alloc(usable).err(), Some(AllocError::TooLarge { usable }));
    }
}

#[test]
fn the_slot_freed_last_is_used_first() {
    let arena = arena(1 << 22);
    let slots: Vec<Slot> = (0..3).map(|_| arena.alloc(0).unwrap()).collect();
    for slot in &slots {
        release(arena, *slot);
    }
    for slot in slots.iter().rev() {
        assert_eq!(arena.alloc(0).unwrap().index, slot.index);
    }
    assert!(arena.alloc(0).unwrap().index > 2, "the next one is fresh");
}

#[test]
fn release_gives_memory_back_and_keeps_the_wait_word() {
    for kind in [Guard::Markers, Guard::Protect] {
        let arena = arena(1 << 22);
        arena.guards().init(Some(kind));
        let slot = match arena.alloc(100_000) {
            Err(AllocError::NoMarkers) => continue,
            slot => slot.unwrap(),
        };
        assert_eq!((resident(&slot), slot.wait.load(Relaxed)), (0, 0));
        slot.wait.store(42, Relaxed);
        fill(&slot);
        assert_eq!(resident(&slot), slot.usable());
        release(arena, slot);
        assert_eq!(resident(&slot), 0);
        assert_eq!(slot.wait.load(Relaxed), 42);
        let again = arena.alloc(100_000).unwrap();
        assert_eq!((again.index, again.wait.load(Relaxed)), (slot.index, 42));
        // SAFETY: the test holds the slot.
        assert_eq!(unsafe { again.lo.read() }, 0);
    }
}

#[test]
fn locked_memory_is_cleared_by_hand() {
    let arena = arena(1 << 22);
    let slot = arena.alloc(0).unwrap();
    // SAFETY: the test holds the slot.
    unsafe {
        if libc::mlock(slot.lo.cast(), slot.usable()) != 0 {
            return;
        }
        fill(&slot);
        assert!(mem::release_pages(slot.lo, slot.usable()).is_err());
        arena.release(slot);
        assert_eq!((slot.lo.read(), slot.hi.sub(1).read()), (0, 0));
        libc::munlock(slot.lo.cast(), slot.usable());
    }
}

/// Makes `madvise(…, 102)` fail with `EINVAL`, as on a kernel before 6.13, for the calling thread.
fn forget_markers() {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        op(LOAD, 0, 0, core::mem::offset_of!(libc::seccomp_data, nr) as u32),
        op(JUMP_IF_EQUAL, 0, 3, libc::SYS_madvise as u32),
        op(LOAD, 0, 0, core::mem::offset_of!(libc::seccomp_data, args) as u32 + 16),
        op(JUMP_IF_EQUAL, 0, 1, 102),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: a valid program, read during the call; this process exists for this test only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter), 0);
    }
}

#[test]
fn an_old_kernel_gets_guards_by_mprotect() {
    if !testing::is_child() {
        let output = testing::run_child("stack::arena::tests::an_old_kernel_gets_guards_by_mprotect");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    forget_markers();
    let (chosen, surprised, forced) = (arena(1 << 22), arena(1 << 22), arena(1 << 22));
    chosen.guards().init(None);
    assert_eq!(chosen.guards().kind(), Guard::Protect, "found out by trial");
    chosen.alloc(0).unwrap();

    assert_eq!(surprised.guards().kind(), Guard::Markers);
    surprised.alloc(0).unwrap();
    assert_eq!(surprised.guards().kind(), Guard::Protect, "found out at the first stack");

    forced.guards().init(Some(Guard::Markers));
    assert_eq!(forced.alloc(0).err(), Some(AllocError::NoMarkers));
}

#[test]
fn find_is_exact_at_the_edges() {
    let arena = arena(1 << 22);
    let (a, b) = (arena.alloc(0).unwrap(), arena.alloc(0).unwrap());
    assert_eq!(a.hi as usize, b.lo as usize - GUARD, "neighbours");
    let find = |addr: usize| arena.find(addr).map(|(slot, guard)| (slot.index, guard));
    assert_eq!(find(a.lo as usize - GUARD - 1), None);
    assert_eq!(find(a.lo as usize - GUARD), Some((a.index, true)));
    assert_eq!(find(a.lo as usize - 1), Some((a.index, true)));
    assert_eq!(find(a.lo as usize), Some((a.index, false)));
    assert_eq!(find(a.hi as usize - 1), Some((a.index, false)));
    assert_eq!(find(a.hi as usize), Some((b.index, true)));
    assert_eq!(find(b.hi as usize - 1), Some((b.index, false)));
    assert_eq!(find(b.hi as usize), None, "not handed out yet");
    assert_eq!((find(0), find(usize::MAX)), (None, None));
}

#[test]
fn numbers_are_unique_across_chunks_and_classes() {
    let arena = arena(1 << 17);
    let mut all = Vec::new();
    for usable in [0, 20_000, 0, 1 << 20] {
        all.extend((0..20).map(|_| arena.alloc(usable).unwrap()));
    }
    let numbers: HashSet<u32> = all.iter().map(|slot| slot.index).collect();
    assert_eq!(numbers.len(), all.len());
    let waits: HashSet<usize> = all.iter().map(|slot| slot.wait.as_ptr() as usize).collect();
    assert_eq!(waits.len(), all.len());
    let mut listed = 0;
    arena.for_each_slot(&mut |slot| {
        listed += 1;
        assert!(numbers.contains(&slot.index));
    });
    assert_eq!(listed, all.len());
    for slot in &all {
        assert_eq!(arena.find(slot.lo as usize).map(|(s, guard)| (s.index, guard)), Some((slot.index, false)));
    }
}

#[test]
fn the_map_limit_is_an_error_and_slots_are_not_lost() {
    let arena = arena_with(1 << 22, || Some(16));
    arena.guards().init(Some(Guard::Protect));
    let slots: Vec<Slot> = (0..6).map(|_| arena.alloc(0).unwrap()).collect();
    for _ in 0..3 {
        assert_eq!(arena.alloc(0).err(), Some(AllocError::MapLimit { max_map_count: 16, guards: 6 }));
    }
    assert_eq!(arena.stacks(), 7, "the one that could not be guarded was kept for the next try");
    release(arena, slots[1]);
    assert_eq!(arena.alloc(0).unwrap().index, slots[1].index, "guarded slots can be used again");
}

#[test]
fn what_is_promised_can_be_had_at_the_map_limit() {
    static MAX: AtomicUsize = AtomicUsize::new(16);
    let arena = arena_with(1 << 22, || Some(MAX.load(Relaxed)));
    arena.guards().init(Some(Guard::Protect));
    let too_many = Err(AllocError::MapLimit { max_map_count: 16, guards: 6 });
    assert_eq!(arena.ensure(0, 4), Ok(4));
    assert_eq!(arena.ensure(0, 7), too_many, "and what could be made is there");
    assert_eq!(arena.ensure(0, 6), Ok(6));
    // Another size gets none any more.
    assert!(matches!(arena.alloc(1 << 20), Err(AllocError::MapLimit { .. })));
    MAX.store(0, Relaxed);
    let slots: Vec<Slot> = (0..6).map(|_| arena.alloc(0).unwrap()).collect();
    assert_eq!(arena.ensure(0, 6), Ok(6));
    MAX.store(40, Relaxed);
    slots.into_iter().for_each(|slot| release(arena, slot));
    assert_eq!(arena.ensure(0, 7), Ok(7));
    // Some are kept back.
    arena.keep_spare(5);
    assert_eq!(arena.ensure(0, 5), Ok(5));
    assert_eq!(arena.guards().count(), 10);
}

#[test]
fn promises_leave_a_reserve() {
    let arena = arena(1 << 20);
    arena.guards().init(Some(Guard::Markers));
    // 32 slots of 32 KiB to a chunk.
    assert_eq!(arena.ensure(0, 30), Ok(32));
    arena.keep_spare(10);
    assert_eq!(arena.ensure(0, 22), Ok(22));
    assert_eq!(arena.ensure(0, 23), Ok(54));
}

#[test]
fn threads_never_share_a_slot() {
    let arena = arena(1 << 20);
    std::thread::scope(|scope| {
        for tag in 1..=4u8 {
            scope.spawn(move || {
                for round in 0..300 {
                    let slots: Vec<Slot> = (0..1 + round % 7).map(|_| arena.alloc(0).unwrap()).collect();
                    // SAFETY: the slots are this thread's; if another had one of them too, it would see a foreign tag.
                    unsafe {
                        for slot in &slots {
                            assert_eq!(slot.hi.sub(1).read(), 0);
                            slot.hi.sub(1).write(tag);
                        }
                        for slot in &slots {
                            assert_eq!(slot.hi.sub(1).read(), tag);
                        }
                    }
                    for slot in slots {
                        release(arena, slot);
                    }
                }
            });
        }
    });
    assert!(arena.stacks() <= 4 * 7);
}

#[test]
fn scarce_address_space_is_used_up_then_reported() {
    const NAME: &str = "stack::arena::tests::scarce_address_space_is_used_up_then_reported";
    if !testing::is_child() {
        let output = testing::run_child(NAME);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let used = std::fs::read_to_string("/proc/self/statm").unwrap();
    let used = used.split(' ').next().unwrap().parse::<u64>().unwrap() * mem::page_size() as u64;
    let limit = libc::rlimit { rlim_cur: used + (400 << 20), rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid limit record; this process exists for this test only.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let arena = arena(CHUNK);
    let slot_bytes = 16 << 20;
    let mut slots = Vec::new();
    let error = loop {
        match arena.alloc(slot_bytes - GUARD) {
            Ok(slot) => slots.push(slot),
            Err(error) => break error,
        }
    };
    assert!(slots.len() >= 18, "only {} stacks of 16 MiB in 400 MiB", slots.len());
    assert_eq!(has_room(HEADROOM - slot_bytes), Ok(()), "malloc finds room");
    let expected = AllocError::NoAddressSpace { slot: slot_bytes, stacks: slots.len(), errno: libc::ENOMEM };
    assert_eq!(error, expected);
    release(arena, slots[0]);
    assert_eq!(arena.alloc(slot_bytes - GUARD).unwrap().index, slots[0].index);
}
