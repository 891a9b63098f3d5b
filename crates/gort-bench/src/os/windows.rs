//! Windows, and Wine.

use crate::wire::MESSAGE;
use std::io::{Read, Write};
use std::mem::{size_of, zeroed};
use std::net::TcpStream;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessAffinityMask, SetProcessAffinityMask};

/// Bytes of memory the process holds: its working set.
///
/// # Panics
/// If the system refuses.
pub fn held_bytes() -> u64 {
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    // SAFETY: zeroes are such a record; the system writes just that, and the handle stands for this process.
    let (done, counters) = unsafe {
        let mut counters: PROCESS_MEMORY_COUNTERS = zeroed();
        (K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size), counters)
    };
    assert_ne!(done, 0, "GetProcessMemoryInfo");
    counters.WorkingSetSize as u64
}

/// As many as there is memory for; under Wine, which takes two of Linux's mappings for each stack, what these allow unless that is set.
pub fn most_goroutines() -> usize {
    // SAFETY: both names are texts with an end, and this library is in every process.
    let is_wine = unsafe {
        let library = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
        GetProcAddress(library, c"wine_get_version".as_ptr().cast()).is_some()
    };
    if is_wine {
        20_000
    } else {
        usize::MAX
    }
}

/// It does not.
pub fn short_sleeps() -> Result<(), String> {
    Err("C's sleeps are no shorter than a millisecond here".into())
}

/// Restricts the process to the first `procs` of the CPUs it may use, for runtimes whose scheduler is the kernel's.
///
/// # Panics
/// If the system refuses, or there are fewer CPUs.
pub fn use_cpus(procs: usize) {
    let (mut allowed, mut all) = (0, 0);
    // SAFETY: the handle stands for this process, and the system writes two numbers.
    let done = unsafe { GetProcessAffinityMask(GetCurrentProcess(), &raw mut allowed, &raw mut all) };
    assert_ne!(done, 0, "GetProcessAffinityMask");
    let mut rest = allowed;
    for _ in 0..procs {
        assert_ne!(rest, 0, "fewer CPUs than asked for");
        rest &= rest - 1; // without its lowest bit
    }
    // SAFETY: the handle stands for this process.
    let done = unsafe { SetProcessAffinityMask(GetCurrentProcess(), allowed & !rest) };
    assert_ne!(done, 0, "SetProcessAffinityMask");
}

/// Sends a message by one system call.
pub fn send(mut stream: &TcpStream, message: &[u8; MESSAGE]) {
    assert_eq!(stream.write(message).expect("send"), MESSAGE);
}

/// Receives a message by one system call.
pub fn receive(mut stream: &TcpStream, message: &mut [u8; MESSAGE]) {
    assert_eq!(stream.read(message).expect("recv"), MESSAGE);
}
