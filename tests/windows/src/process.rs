//! The process as the system sees it.

use std::mem::{size_of, zeroed};
use windows_sys::Win32::Foundation::{CloseHandle, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, Thread32First, Thread32Next, TH32CS_SNAPTHREAD, THREADENTRY32,
};

/// Kernel threads of this process, all of them.
pub fn kernel_threads() -> usize {
    // SAFETY: the snapshot is ours, and closed once; zeroes are a valid record, which says how large it is.
    unsafe {
        let all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
        assert_ne!(all, INVALID_HANDLE_VALUE);
        let mut entry: THREADENTRY32 = zeroed();
        entry.dwSize = size_of::<THREADENTRY32>() as u32;
        let mut count = 0;
        let mut more = Thread32First(all, &raw mut entry) != 0;
        while more {
            count += usize::from(entry.th32OwnerProcessID == std::process::id());
            more = Thread32Next(all, &raw mut entry) != 0;
        }
        CloseHandle(all);
        count
    }
}
