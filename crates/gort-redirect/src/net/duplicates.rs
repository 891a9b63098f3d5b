//! Duplicates of a socket within this process (`try_clone`): they have one mode together.
//!
//! A duplicate is made by two calls: one describes the socket, another makes a socket of the description, which contains a
//! handle, so that no two that wait for their second call are the same. In between the description's hash is noted with the
//! number under which the mode is kept. The notes are few; where one has had to give way, nothing will be known of the duplicate.

use super::known::MODE;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use windows_sys::Win32::Networking::WinSock::WSAPROTOCOL_INFOW;

/// How many sockets can have duplicates at a time. Number 0 is nobody's.
const NUMBERS: usize = 1 << 16;
/// The mode is in the lower bits, how many duplicates there are above.
static SHARED: [AtomicU32; NUMBERS] = [const { AtomicU32::new(0) }; NUMBERS];
const ONE: u32 = 1 << 8;
/// Where to look for a free number.
static HINT: AtomicU32 = AtomicU32::new(0);

/// A number for a socket in this mode that will have a duplicate. None: all are taken.
pub(super) fn begin(mode: u32) -> Option<u32> {
    let hint = HINT.load(Ordering::Relaxed) as usize;
    let numbers = (0..NUMBERS).map(|i| (hint + i) % NUMBERS).filter(|&number| number != 0);
    let number = numbers.into_iter().find(|&number| {
        SHARED[number].compare_exchange(0, (2 * ONE) | (mode & MODE), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    })?;
    HINT.store(number as u32 + 1, Ordering::Relaxed);
    Some(number as u32)
}

/// One more.
pub(super) fn join(number: u32) {
    SHARED[number as usize].fetch_add(ONE, Ordering::AcqRel);
}

/// One less; the last gives the number back. Number 0 is nobody's.
pub(super) fn leave(number: u32) {
    if number != 0 {
        let less = |shared: u32| Some(if shared < 2 * ONE { 0 } else { shared - ONE });
        let _ = SHARED[number as usize].fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
    }
}

/// The mode.
pub(super) fn mode(number: u32) -> u32 {
    SHARED[number as usize].load(Ordering::Acquire) & MODE
}

/// The mode has changed.
pub(super) fn change_mode(number: u32, clear: u32, set: u32) {
    let changed = |shared: u32| Some((shared & !(clear & MODE)) | (set & MODE));
    let _ = SHARED[number as usize].fetch_update(Ordering::AcqRel, Ordering::Relaxed, changed);
}

/// Descriptions whose second call has not come: the hash above, the number in the lower 16 bits; 0: none.
static NOTES: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The upper 48 bits of a hash of a description (FNV-1a).
fn hash(description: &WSAPROTOCOL_INFOW) -> u64 {
    let size = size_of::<WSAPROTOCOL_INFOW>();
    // SAFETY: the record has only numbers, of 1, 2 and 4 bytes, and no gaps.
    let bytes = unsafe { core::slice::from_raw_parts((&raw const *description).cast::<u8>(), size) };
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step) & !0xffff
}

/// Notes a description of a socket that has this number.
pub(super) fn note(description: &WSAPROTOCOL_INFOW, number: u32) {
    let note = &NOTES[NEXT.fetch_add(1, Ordering::Relaxed) as usize % NOTES.len()];
    let before = note.swap(hash(description) | u64::from(number), Ordering::AcqRel);
    leave(before as u16 as u32);
}

/// The number of the socket that was described so, once.
pub(super) fn take(description: &WSAPROTOCOL_INFOW) -> Option<u32> {
    let hash = hash(description);
    NOTES.iter().find_map(|note| {
        let noted = note.load(Ordering::Acquire);
        let found = noted != 0
            && noted & !0xffff == hash
            && note.compare_exchange(noted, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        found.then_some(noted as u16 as u32)
    })
}

#[cfg(test)]
mod tests {
    use super::super::known::{DEAF, NONBLOCKING};
    use super::*;

    #[test]
    fn the_last_gives_the_number_back() {
        let number = begin(NONBLOCKING).unwrap();
        assert_eq!(mode(number), NONBLOCKING);
        join(number);
        change_mode(number, NONBLOCKING, DEAF);
        leave(number);
        leave(number);
        assert_eq!(mode(number), DEAF, "one is left");
        leave(number);
        assert_eq!(SHARED[number as usize].load(Ordering::Relaxed), 0);
        leave(0);
    }

    #[test]
    fn a_description_is_taken_once() {
        // SAFETY: zeroes are a valid record.
        let mut description: WSAPROTOCOL_INFOW = unsafe { core::mem::zeroed() };
        description.dwProviderReserved = 77;
        let number = begin(0).unwrap();
        note(&description, number);
        let mut other = description;
        other.dwProviderReserved = 78;
        assert_eq!(take(&other), None);
        assert_eq!(take(&description), Some(number));
        assert_eq!(take(&description), None);
        note(&description, number);
        (0..NOTES.len()).for_each(|_| note(&other, 0));
        assert_eq!(take(&description), None, "it had to give way");
        while take(&other).is_some() {}
        leave(number);
    }
}
