//! Channels of pointers.

use crate::code::{
    failure, run, Failure, GORT_EAGAIN, GORT_ECLOSED, GORT_EINVAL, GORT_ENOHANDLE, GORT_ENOMEM, GORT_ETIMEDOUT,
};
use crate::fork::{self, Process};
use crate::queue::{Patience, Queue, Refused};
use crate::start::duration;
use crate::table::{Ref, Table};
use core::ffi::{c_int, c_void};

/// Names a channel: a queue of pointers for any number of senders and receivers, goroutines and threads alike. 0 names none.
pub type Channel = u64;

/// A pointer of C's, which knows what it does with it.
struct Value(*mut c_void);

// SAFETY: it is not looked at here.
unsafe impl Send for Value {}

struct Entry {
    process: Process,
    queue: Queue<Value>,
}

static CHANNELS: Table<Entry> = Table::new(2);

fn entry(channel: Channel) -> Result<Ref<'static, Entry>, Failure> {
    fork::check()?;
    let entry = CHANNELS.get(channel).ok_or_else(|| failure(GORT_ENOHANDLE))?;
    entry.process.check()?;
    Ok(entry)
}

fn refused(why: Refused, not_now: c_int) -> Failure {
    failure(match why {
        Refused::Closed => GORT_ECLOSED,
        Refused::NotNow => not_now,
    })
}

fn send(channel: Channel, value: *mut c_void, patience: Patience, not_now: c_int) -> c_int {
    run(|| entry(channel)?.queue.send(Value(value), patience).map_err(|why| refused(why, not_now)))
}

/// # Safety
/// `value` is null or writable.
unsafe fn receive(channel: Channel, value: *mut *mut c_void, patience: Patience, not_now: c_int) -> c_int {
    run(|| {
        let entry = entry(channel)?;
        if value.is_null() {
            return Err(failure(GORT_EINVAL));
        }
        let received = entry.queue.receive(patience).map_err(|why| refused(why, not_now))?;
        // SAFETY: the caller's promise.
        unsafe { *value = received.0 };
        Ok(())
    })
}

fn time(timeout: u64) -> Patience {
    duration(timeout).map_or(Patience::Forever, Patience::For)
}

/// Makes a channel. It needs no runtime.
///
/// @param capacity  how many pointers it holds; 0: a sender waits until a receiver waits for its pointer. Memory is taken up as
///   it is used.
/// @param channel  where the handle goes, for gort_channel_free() in the end.
/// @return GORT_OK; GORT_EINVAL: `channel` is NULL; GORT_ENOMEM; GORT_EFORKED.
///
/// # Safety
/// `channel` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn gort_channel_create(capacity: usize, channel: *mut Channel) -> c_int {
    run(|| {
        if channel.is_null() {
            return Err(failure(GORT_EINVAL));
        }
        fork::check()?;
        let entry = Entry { process: Process::here(), queue: Queue::new(capacity) };
        let handle = CHANNELS.insert(entry).ok_or_else(|| failure(GORT_ENOMEM))?;
        // SAFETY: the caller's promise.
        unsafe { *channel = handle };
        Ok(())
    })
}

/// Sends a pointer, waiting for room: a goroutine parks, another thread blocks. What was written before is seen by the receiver.
///
/// @param channel  a handle.
/// @param value  the pointer; NULL is one as well.
/// @return GORT_OK: it is in the channel, or a receiver takes it;
///   GORT_ECLOSED: the channel is closed, also while waiting, and the pointer is still the caller's;
///   GORT_ENOHANDLE;
///   GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_channel_send(channel: Channel, value: *mut c_void) -> c_int {
    send(channel, value, Patience::Forever, GORT_ETIMEDOUT)
}

/// As gort_channel_send(), without waiting.
///
/// @return as gort_channel_send(); GORT_EAGAIN: there is no room.
#[no_mangle]
pub extern "C" fn gort_channel_try_send(channel: Channel, value: *mut c_void) -> c_int {
    send(channel, value, Patience::None, GORT_EAGAIN)
}

/// As gort_channel_send(), waiting for at most so many nanoseconds.
///
/// @return as gort_channel_send(); GORT_ETIMEDOUT: there was no room in time.
#[no_mangle]
pub extern "C" fn gort_channel_timed_send(channel: Channel, value: *mut c_void, timeout: u64) -> c_int {
    send(channel, value, time(timeout), GORT_ETIMEDOUT)
}

/// Receives the oldest pointer, waiting for one: a goroutine parks, another thread blocks.
///
/// @param channel  a handle.
/// @param value  where the pointer goes; untouched if there is none.
/// @return GORT_OK;
///   GORT_ECLOSED: the channel is closed, and everything that was sent has been received;
///   GORT_EINVAL: `value` is NULL;
///   GORT_ENOHANDLE;
///   GORT_EFORKED.
///
/// # Safety
/// `value` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn gort_channel_recv(channel: Channel, value: *mut *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { receive(channel, value, Patience::Forever, GORT_ETIMEDOUT) }
}

/// As gort_channel_recv(), without waiting.
///
/// @return as gort_channel_recv(); GORT_EAGAIN: there is nothing.
///
/// # Safety
/// As for gort_channel_recv().
#[no_mangle]
pub unsafe extern "C" fn gort_channel_try_recv(channel: Channel, value: *mut *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { receive(channel, value, Patience::None, GORT_EAGAIN) }
}

/// As gort_channel_recv(), waiting for at most so many nanoseconds.
///
/// @return as gort_channel_recv(); GORT_ETIMEDOUT: nothing came in time.
///
/// # Safety
/// As for gort_channel_recv().
#[no_mangle]
pub unsafe extern "C" fn gort_channel_timed_recv(channel: Channel, value: *mut *mut c_void, timeout: u64) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { receive(channel, value, time(timeout), GORT_ETIMEDOUT) }
}

/// Closes a channel: nothing can be sent any more, what is in it can still be received, and everybody who waits goes on.
///
/// @return GORT_OK; GORT_ECLOSED: it was closed before; GORT_ENOHANDLE; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_channel_close(channel: Channel) -> c_int {
    run(|| match entry(channel)?.queue.close() {
        true => Ok(()),
        false => Err(failure(GORT_ECLOSED)),
    })
}

/// Closes a channel and ends its handle. Who waits in it gets GORT_ECLOSED; whoever comes later, GORT_ENOHANDLE. Pointers that are in
/// it are forgotten: receive until GORT_ECLOSED if they own something.
///
/// @return GORT_OK; GORT_ENOHANDLE: it has been freed already, or there was no such channel; GORT_EFORKED.
#[no_mangle]
pub extern "C" fn gort_channel_free(channel: Channel) -> c_int {
    run(|| {
        entry(channel)?.queue.close();
        match CHANNELS.remove(channel) {
            true => Ok(()),
            false => Err(failure(GORT_ENOHANDLE)), // somebody else was quicker
        }
    })
}
