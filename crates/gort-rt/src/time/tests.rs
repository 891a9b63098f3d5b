use super::*;

fn entry(when: u64, open: bool) -> Entry {
    Entry { when, ticket: Ticket::for_test(open) }
}

#[test]
fn a_heap_gives_its_entries_in_order() {
    let shard = Shard::new();
    let mut x = 12345u64;
    let mut all = Vec::new();
    for _ in 0..1000 {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        all.push(x >> 40);
        shard.add(entry(x >> 40, true));
    }
    all.sort_unstable();
    let mut heap = shard.heap.lock();
    let mut got = Vec::new();
    while !heap.is_empty() {
        got.push(heap.swap_remove(0).when);
        sift_down(&mut heap, 0);
    }
    assert_eq!(got, all);
}

#[test]
fn only_what_is_due_is_taken_and_next_follows() {
    let shard = Shard::new();
    for when in [30, 10, 20] {
        shard.add(entry(when, true));
    }
    let mut out = [None; 8];
    assert_eq!(shard.take_due(20, &mut out), 2);
    assert_eq!(shard.next.load(Ordering::Relaxed), 30);
    assert_eq!(shard.take_due(29, &mut out), 0);
    assert_eq!(shard.take_due(30, &mut out), 1);
    assert_eq!(shard.next.load(Ordering::Relaxed), u64::MAX);
}

#[test]
fn a_mostly_stale_heap_is_swept() {
    let shard = Shard::new();
    for i in 0..1000 {
        shard.add(entry(1_000_000 + i, i % 100 == 0));
        shard.stale.fetch_add(1, Ordering::Relaxed);
    }
    let heap = shard.heap.lock();
    assert!(heap.len() < 600, "{}", heap.len());
    assert_eq!(heap.iter().filter(|e| e.ticket.is_open()).count(), 10, "open waits are never swept");
}
