//! Work on goroutines that calls the host back.

use crate::{callback, Function, Host, FAILED, INVALID, OK};
use gort::thread;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{mpsc, Barrier};

/// Calls the function for each index on a goroutine of its own.
///
/// # Safety
/// As `hosts.h` says; `sum` is null or may be written through.
#[callback(on_panic = i64::from(FAILED))]
#[no_mangle]
pub unsafe extern "C" fn hosts_each(function: Function, context: *mut c_void, count: i64, sum: *mut i64) -> i64 {
    let (Some(host), false, 0..) = (Host::new(function, context), sum.is_null(), count) else {
        return INVALID.into();
    };
    // The first failure's number; 0 while there is none.
    let failure = AtomicI64::new(0);
    let total = AtomicI64::new(0);
    thread::scope(|scope| {
        for index in 0..count {
            let (failure, total) = (&failure, &total);
            scope.spawn(move || {
                if failure.load(Relaxed) != 0 {
                    return;
                }
                let result = host.call(index);
                if result < 0 {
                    let _ = failure.compare_exchange(0, result, Relaxed, Relaxed);
                } else {
                    total.fetch_add(result, Relaxed);
                }
            });
        }
    });
    // SAFETY: not null, and writable by the contract.
    unsafe { sum.write(total.into_inner()) };
    failure.into_inner()
}

/// Calls the function on a goroutine that nobody waits for.
#[callback(on_panic = FAILED)]
#[no_mangle]
pub extern "C" fn hosts_later(function: Function, context: *mut c_void, index: i64) -> c_int {
    let Some(host) = Host::new(function, context) else { return INVALID };
    thread::spawn(move || host.call(index));
    OK
}

/// Calls the function here.
#[callback(on_panic = i64::from(FAILED))]
#[no_mangle]
pub extern "C" fn hosts_here(function: Function, context: *mut c_void, index: i64) -> i64 {
    let Some(host) = Host::new(function, context) else { return INVALID.into() };
    host.call(index)
}

/// Calls the function on the kernel thread's own stack.
#[callback(on_panic = i64::from(FAILED))]
#[no_mangle]
pub extern "C" fn hosts_on_system_stack(function: Function, context: *mut c_void, index: i64) -> i64 {
    let Some(host) = Host::new(function, context) else { return INVALID.into() };
    gort::ffi::on_system_stack(move || host.call(index))
}

/// Sends a value through goroutines that are linked by channels.
#[callback(on_panic = i64::from(FAILED))]
#[no_mangle]
pub extern "C" fn hosts_pass(value: i64, stations: i64) -> i64 {
    if value < 0 || stations < 0 || value.checked_add(stations).is_none() {
        return INVALID.into();
    }
    if stations == 0 {
        return value; // nobody would take it out of the channel
    }
    // The scope waits until all stations have ended, so that they do not pile up behind their callers.
    thread::scope(|scope| {
        let (first, mut last) = mpsc::sync_channel(0);
        for _ in 0..stations {
            let (to_next, next) = mpsc::sync_channel(0);
            scope.spawn(move || {
                let value: i64 = last.recv().expect("the station before sends one");
                to_next.send(value + 1).expect("the station behind waits for it");
            });
            last = next;
        }
        first.send(value).expect("the first station waits for it");
        last.recv().expect("the last station sends it")
    })
}

/// `struct hosts_meeting`.
pub struct Meeting(Barrier);

/// A point where so many callers meet.
#[callback(on_panic = ptr::null_mut())]
#[no_mangle]
pub extern "C" fn hosts_meeting_new(size: usize) -> *mut Meeting {
    if size == 0 {
        return ptr::null_mut();
    }
    Box::into_raw(Box::new(Meeting(Barrier::new(size))))
}

/// Waits until so many callers are here.
///
/// # Safety
/// The meeting is null, or of `hosts_meeting_new` and not freed.
#[callback(on_panic = FAILED)]
#[no_mangle]
pub unsafe extern "C" fn hosts_meet(meeting: *const Meeting) -> c_int {
    // SAFETY: by the contract.
    let Some(meeting) = (unsafe { meeting.as_ref() }) else { return INVALID };
    meeting.0.wait();
    OK
}

/// Frees a meeting that nobody is in.
///
/// # Safety
/// The meeting is null, or of `hosts_meeting_new` and not freed, and nobody is in it or comes to it.
#[callback(on_panic = ())]
#[no_mangle]
pub unsafe extern "C" fn hosts_meeting_free(meeting: *mut Meeting) {
    if !meeting.is_null() {
        // SAFETY: it is a box's, by the contract, and nobody's any more.
        drop(unsafe { Box::from_raw(meeting) });
    }
}
