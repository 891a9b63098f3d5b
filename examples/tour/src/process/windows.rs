//! Windows, and Wine, which is less than Windows in one respect: it bears smaller crowds.

use std::mem::{size_of, zeroed};
use std::process::id;
use windows_sys::Win32::Foundation::{CloseHandle, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, Thread32First, Thread32Next, TH32CS_SNAPTHREAD, THREADENTRY32,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// Bytes of memory in use: the working set.
pub fn memory() -> u64 {
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    // SAFETY: zeroes are such a record; the system writes just that, and the handle stands for this process.
    unsafe {
        let mut counters: PROCESS_MEMORY_COUNTERS = zeroed();
        match K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size) {
            0 => 0,
            _ => counters.WorkingSetSize as u64,
        }
    }
}

/// Kernel threads in existence.
pub fn kernel_threads() -> u64 {
    // SAFETY: the snapshot is ours, and closed once; zeroes are a record, which says how large it is.
    unsafe {
        let all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
        if all == INVALID_HANDLE_VALUE {
            return 0;
        }
        let mut entry: THREADENTRY32 = zeroed();
        entry.dwSize = size_of::<THREADENTRY32>() as u32;
        let mut count = 0;
        let mut more = Thread32First(all, &raw mut entry) != 0;
        while more {
            count += u64::from(entry.th32OwnerProcessID == id());
            more = Thread32Next(all, &raw mut entry) != 0;
        }
        CloseHandle(all);
        count
    }
}

/// There is no such limit.
pub fn allow_descriptors() -> usize {
    usize::MAX
}

/// All of them; under Wine an eighth. There a stack takes two of the mappings of Linux's, of which a process has 65,530 unless that is
/// set; and what goes through Wine's server, the beginning of a kernel thread and all that sockets do, takes about a millisecond.
pub fn crowd(wanted: usize) -> usize {
    if is_wine() {
        wanted / 8
    } else {
        wanted
    }
}

fn is_wine() -> bool {
    // SAFETY: both names are texts with an end, and this library is in every process.
    unsafe {
        let library = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
        GetProcAddress(library, c"wine_get_version".as_ptr().cast()).is_some()
    }
}

/// It does where gort has a hook for the function by which std receives.
pub fn sockets_park() -> Result<(), &'static str> {
    let hooks = gort::interpose::report().hooks;
    if hooks.iter().any(|hook| hook.name == "recv") {
        Ok(())
    } else {
        Err("goroutines that wait for sockets do not park on Windows yet")
    }
}
