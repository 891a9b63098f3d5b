//! Guards: what makes a stack that overruns its slot fault instead of writing over its neighbour.
//!
//! Two kinds. *Markers* (Linux 6.13, `MADV_GUARD_INSTALL`) are page-table entries; a mapping can hold millions. Without
//! them, `mprotect` takes the pages' rights away, which cuts the mapping: each guard costs two mappings, and a process
//! may have 65,530 by default (`vm.max_map_count`), shared with everything else in it. When those run out, `mmap` fails
//! in malloc, in the loader, anywhere. So guards by `mprotect` stop when a quarter is left, with an error that names the
//! setting; where others use mappings too, `reserve` sees to it that some are left. The setting is read again at that
//! moment, so raising it helps a running process.
//!
//! A guard is installed once per slot and stays. Which kind is decided at the start by trying one out, unless the user
//! forces a kind. If the kernel refuses a marker later (memory locked by `mlockall`, before Linux 6.15) `mprotect` takes
//! over for good.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::ffi::OsStr;

use super::error::AllocError;
use super::reserve::Reserve;
use super::GUARD;
use crate::chaos::{happens, Whim};
use crate::os::{code, mem};

/// How stacks are guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Page-table markers: no limit on their number.
    Markers,
    /// Pages without rights: at most as many as three eighths of `vm.max_map_count`.
    Protect,
}

/// An environment variable with a value that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadValue {
    /// The variable's name.
    pub(crate) variable: &'static str,
    /// What it was set to.
    pub(crate) value: String,
    /// What it may be set to.
    pub(crate) expected: &'static str,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?} is not understood: expected {}", self.variable, self.value, self.expected)
    }
}

impl std::error::Error for BadValue {}

/// The meaning of the environment variable `GORT_GUARD`: `markers`, `mprotect`, or unset for what the kernel can.
pub(crate) fn parse_guard(value: Option<&OsStr>) -> Result<Option<Guard>, BadValue> {
    match value.map(OsStr::as_encoded_bytes) {
        None => Ok(None),
        Some(b"markers") => Ok(Some(Guard::Markers)),
        Some(b"mprotect") => Ok(Some(Guard::Protect)),
        Some(other) => Err(BadValue {
            variable: "GORT_GUARD",
            value: String::from_utf8_lossy(other).into_owned(),
            expected: "markers or mprotect",
        }),
    }
}

/// Values of [`Guards::mode`]: markers as long as the kernel takes them, markers or an error, `mprotect`.
const TRY_MARKERS: u8 = 0;
const ONLY_MARKERS: u8 = 1;
const PROTECT: u8 = 2;

/// Linux's default for `vm.max_map_count`, assumed where it cannot be read.
const DEFAULT_MAX_MAPPINGS: usize = 65_530;

/// The guards of one arena.
pub(super) struct Guards {
    mode: AtomicU8,
    /// How many guards were made by `mprotect`.
    protected: AtomicUsize,
    /// How many there may be; 0 before the first.
    allowed: AtomicUsize,
    /// For the rest of the process.
    reserve: Reserve,
    /// Reads `vm.max_map_count`.
    max_mappings: fn() -> Option<usize>,
}

impl Guards {
    /// No guards yet. `max_mappings` says how many mappings the process may have.
    pub(super) const fn new(max_mappings: fn() -> Option<usize>) -> Self {
        Self {
            mode: AtomicU8::new(TRY_MARKERS),
            protected: AtomicUsize::new(0),
            allowed: AtomicUsize::new(0),
            reserve: Reserve::new(),
            max_mappings,
        }
    }

    /// Fixes the kind: the forced one, else markers if a trial page takes one.
    pub(super) fn init(&self, forced: Option<Guard>) {
        let mode = match forced {
            Some(Guard::Markers) => ONLY_MARKERS,
            Some(Guard::Protect) => PROTECT,
            None if markers_work() => TRY_MARKERS,
            None => PROTECT,
        };
        self.mode.store(mode, Relaxed);
    }

    /// Gives back what is kept for others.
    pub(super) fn forget_reserve(&self) {
        self.reserve.take_down();
    }

    /// The kind that new guards are of.
    pub(super) fn kind(&self) -> Guard {
        if self.mode.load(Relaxed) == PROTECT {
            Guard::Protect
        } else {
            Guard::Markers
        }
    }

    /// How many guards there can be, if they take mappings.
    pub(super) fn most(&self) -> Option<usize> {
        (self.kind() == Guard::Protect).then(|| self.reckon())
    }

    /// How many guards by `mprotect` there may be.
    fn reckon(&self) -> usize {
        allowed_guards((self.max_mappings)().unwrap_or(DEFAULT_MAX_MAPPINGS))
    }

    /// Makes the [`GUARD`] bytes from `start` fault.
    ///
    /// # Safety
    /// They are page-aligned, part of a reservation of ours, and unused.
    pub(super) unsafe fn install(&self, start: *mut u8) -> Result<(), AllocError> {
        if happens(Whim::Guard, None) {
            return Err(AllocError::Guard { errno: code::NO_MEMORY });
        }
        let mode = self.mode.load(Relaxed);
        if mode != PROTECT {
            // SAFETY: the caller's promise.
            match unsafe { mem::guard_install(start, GUARD) } {
                Ok(()) => return Ok(()),
                Err(code::INVALID) if mode == TRY_MARKERS => self.mode.store(PROTECT, Relaxed),
                Err(code::INVALID) => return Err(AllocError::NoMarkers),
                Err(errno) => return Err(AllocError::Guard { errno }),
            }
        }
        let guards = self.protected.fetch_add(1, Relaxed);
        let result = self.check_limit(guards).and_then(|()| {
            // SAFETY: the caller's promise.
            let made = self.reserve.put_up().and_then(|()| unsafe { mem::protect_none(start, GUARD) });
            made.map_err(|errno| match errno {
                code::NO_MEMORY => {
                    self.reserve.take_down();
                    self.map_limit(guards)
                }
                errno => AllocError::Guard { errno },
            })
        });
        if result.is_err() {
            self.protected.fetch_sub(1, Relaxed);
        }
        result
    }

    /// How many guards were made by `mprotect`.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.protected.load(Relaxed)
    }

    /// Whether there may be one more than `guards` guards by `mprotect`.
    fn check_limit(&self, guards: usize) -> Result<(), AllocError> {
        if guards < self.allowed.load(Relaxed) {
            return Ok(());
        }
        let allowed = self.reckon();
        self.allowed.store(allowed, Relaxed);
        if guards < allowed {
            Ok(())
        } else {
            Err(self.map_limit(guards))
        }
    }

    fn map_limit(&self, guards: usize) -> AllocError {
        AllocError::MapLimit { max_map_count: (self.max_mappings)().unwrap_or(DEFAULT_MAX_MAPPINGS), guards }
    }
}

/// How many guards of two mappings each leave enough mappings for the rest of the process.
/// A quarter is left: std's threads take four each, and std ends the process where one finds none.
fn allowed_guards(max_mappings: usize) -> usize {
    max_mappings / 8 * 3
}

/// Whether a marker on a page of ours makes it fault. (An emulator may say yes to advice that it does not know.)
fn markers_work() -> bool {
    let page = mem::page_size();
    let Ok(start) = mem::reserve(page) else { return false };
    // SAFETY: the page was reserved for this and nothing else uses it.
    unsafe {
        let works = mem::guard_install(start, page).is_ok() && !mem::is_readable(start);
        mem::unreserve(start, page);
        works
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_values() {
        let parse = |value: &str| parse_guard(Some(OsStr::new(value)));
        assert_eq!(parse_guard(None), Ok(None));
        assert_eq!(parse("markers"), Ok(Some(Guard::Markers)));
        assert_eq!(parse("mprotect"), Ok(Some(Guard::Protect)));
        for bad in ["", "Markers", "1", "mprotect "] {
            let error = parse(bad).unwrap_err().to_string();
            assert_eq!(error, format!("GORT_GUARD={bad:?} is not understood: expected markers or mprotect"));
        }
    }

    #[test]
    fn kinds() {
        let guards = Guards::new(|| None);
        guards.init(Some(Guard::Protect));
        assert_eq!(guards.kind(), Guard::Protect);
        assert_eq!(guards.most(), Some(24_573));
        guards.init(Some(Guard::Markers));
        assert_eq!(guards.kind(), Guard::Markers);
        assert_eq!(guards.most(), None);
        guards.init(None);
        assert_eq!(guards.kind() == Guard::Markers, markers_work());
    }

    #[test]
    fn the_limit_leaves_room() {
        assert_eq!(allowed_guards(65_530), 24_573);
        assert_eq!(allowed_guards(1000), 375);
        assert_eq!(allowed_guards(0), 0);
    }

    #[test]
    fn mprotect_stops_at_the_limit_and_resumes_when_it_is_raised() {
        static MAX: AtomicUsize = AtomicUsize::new(8);
        let guards = Guards::new(|| Some(MAX.load(Relaxed)));
        guards.init(Some(Guard::Protect));
        let len = 32 * GUARD;
        let memory = mem::reserve(len).unwrap();
        // SAFETY: the range was reserved above; each guard gets its own part, and nothing else uses it.
        unsafe {
            let install = |n: usize| guards.install(memory.add(2 * n * GUARD));
            for n in 0..3 {
                install(n).unwrap();
            }
            assert_eq!(install(3), Err(AllocError::MapLimit { max_map_count: 8, guards: 3 }));
            assert_eq!(install(3), Err(AllocError::MapLimit { max_map_count: 8, guards: 3 }));
            MAX.store(16, Relaxed);
            (3..6).for_each(|n| install(n).unwrap());
            assert_eq!(install(6), Err(AllocError::MapLimit { max_map_count: 16, guards: 6 }));
            mem::unreserve(memory, len);
        }
    }
}
