//! The asymmetric fence: the rare side pays for a fence on all threads, so that the frequent side needs none.
//!
//! `FlushProcessWriteBuffers` is such a fence on Windows. Wine has a function of that name that does nothing, and tells that it
//! is Wine by one that Windows has not.

use super::error::kept;
use windows_sys::core::{s, w};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Threading::FlushProcessWriteBuffers;

/// Whether [`membarrier`] may be relied on. False under Wine, and where the environment says `GORT_MEMBARRIER=0`; the frequent
/// side must then use real fences.
pub(crate) fn membarrier_register() -> bool {
    std::env::var_os("GORT_MEMBARRIER").is_none_or(|v| v != "0") && !is_wine()
}

/// Whether the system is Wine.
fn is_wine() -> bool {
    // SAFETY: the names are strings with an end; ntdll is in every process, for as long as it lives.
    kept(|| unsafe {
        let ntdll = GetModuleHandleW(w!("ntdll.dll"));
        !ntdll.is_null() && GetProcAddress(ntdll, s!("wine_get_version")).is_some()
    })
}

/// Makes every thread of the process execute a full memory fence before this returns, and is one itself.
pub(crate) fn membarrier() {
    // SAFETY: no preconditions.
    unsafe { FlushProcessWriteBuffers() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_under_wine() {
        assert!(!(is_wine() && membarrier_register()));
        membarrier();
    }
}
