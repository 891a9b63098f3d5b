//! Being told when a socket is ready: questions to AFD, the driver behind the system's sockets, whose answers come to a completion
//! port.
//!
//! This is what `select` comes down to, asked so that nobody waits in the call. The interface is not documented; libuv, mio and
//! others have relied on it since Windows Vista, and Wine has it. A question goes through a file of ours on the device, a
//! *helper*, and names the socket: nothing about the socket itself changes, as it would if its own operations were made to
//! report to a port, which a socket can have one of.
//!
//! A question is answered once: at once if the socket is ready already, else when it becomes so, or is closed; or when the question
//! is taken back. Every question that was asked is answered, and until then it must stay where it is.

use super::clock::milliseconds_until;
use super::error::{self, kept};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::size_of;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use windows_sys::Win32::Foundation::{
    CloseHandle, HANDLE, INVALID_HANDLE_VALUE, NTSTATUS, STATUS_PENDING, UNICODE_STRING,
};
use windows_sys::Win32::System::Threading::INFINITE;
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, PostQueuedCompletionStatus, OVERLAPPED_ENTRY,
};

/// The system's `OBJECT_ATTRIBUTES`.
#[repr(C)]
struct Attributes {
    length: u32,
    root: HANDLE,
    name: *const UNICODE_STRING,
    attributes: u32,
    security: [*const c_void; 2],
}

/// The system's `IO_STATUS_BLOCK`.
#[repr(C)]
struct Outcome {
    status: NTSTATUS,
    information: usize,
}

/// The driver's `AFD_POLL_INFO`, for one socket.
#[repr(C)]
struct Asked {
    /// In units of 100 ns; the largest: for ever.
    timeout: i64,
    count: u32,
    exclusive: u32,
    socket: usize,
    events: u32,
    status: NTSTATUS,
}

#[link(name = "ntdll")]
extern "system" {
    fn NtCreateFile(
        file: *mut HANDLE,
        access: u32,
        attributes: *const Attributes,
        outcome: *mut Outcome,
        size: *const i64,
        file_attributes: u32,
        share: u32,
        disposition: u32,
        options: u32,
        more: *const c_void,
        more_length: u32,
    ) -> NTSTATUS;
    fn NtDeviceIoControlFile(
        file: HANDLE,
        event: HANDLE,
        routine: *const c_void,
        context: *const c_void,
        outcome: *mut Outcome,
        code: u32,
        input: *const c_void,
        input_length: u32,
        output: *mut c_void,
        output_length: u32,
    ) -> NTSTATUS;
    fn NtCancelIoFileEx(file: HANDLE, of: *const Outcome, outcome: *mut Outcome) -> NTSTATUS;
}

const IOCTL_AFD_POLL: u32 = 0x12024;
const SYNCHRONIZE: u32 = 0x0010_0000;
const FILE_SHARE_READ_WRITE: u32 = 3;
const FILE_OPEN: u32 = 1;

/// What a question may be about, in the driver's words.
const RECEIVE: u32 = 0x1;
const SEND: u32 = 0x4;
const DISCONNECT: u32 = 0x8;
const ABORT: u32 = 0x10;
const LOCAL_CLOSE: u32 = 0x20;
const ACCEPT: u32 = 0x80;
const CONNECT_FAIL: u32 = 0x100;

/// Something can be received or accepted, or neither ever will be.
pub(crate) const READING: u32 = RECEIVE | DISCONNECT | ACCEPT | ABORT | CONNECT_FAIL | LOCAL_CLOSE;
/// Something can be sent, a connection was made, or neither ever will be.
pub(crate) const WRITING: u32 = SEND | ABORT | CONNECT_FAIL | LOCAL_CLOSE;

/// What the driver has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// One of the events has come.
    Ready,
    /// The socket is closed.
    Closed,
    /// Nothing: the question was taken back.
    Nothing,
}

/// Room for a question. All zero is one that was not asked yet.
pub(crate) struct Question {
    outcome: UnsafeCell<Outcome>,
    asked: UnsafeCell<Asked>,
}

/// Where answers come to.
pub(crate) struct Port {
    port: HANDLE,
    /// Several, since the driver looks through all questions of one to take one back. Null until the first question.
    helpers: [AtomicPtr<c_void>; HELPERS],
}

const HELPERS: usize = 32;

// SAFETY: a handle is the process's, not a thread's.
unsafe impl Sync for Port {}

/// One thing that a port has told.
pub(crate) type Told = OVERLAPPED_ENTRY;

/// Room for one.
pub(crate) const NOTHING_TOLD: Told =
    OVERLAPPED_ENTRY { lpCompletionKey: 0, lpOverlapped: ptr::null_mut(), Internal: 0, dwNumberOfBytesTransferred: 0 };

impl Port {
    /// A new port.
    pub(crate) fn new() -> Result<Port, i32> {
        // As many threads as there are may run: who takes an answer goes on to run goroutines.
        // SAFETY: no file, so a port alone is made.
        let port = kept(|| unsafe {
            let port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, u32::MAX);
            if port.is_null() {
                Err(error::last())
            } else {
                Ok(port)
            }
        })?;
        Ok(Port { port, helpers: [const { AtomicPtr::new(ptr::null_mut()) }; HELPERS] })
    }

    /// The helper that this question goes through; null: there can be none.
    fn helper(&self, question: &Question) -> HANDLE {
        let slot = &self.helpers[ptr::from_ref(question).addr() / 256 % HELPERS];
        match slot.load(Ordering::Acquire) {
            helper if helper.is_null() => self.make_helper(slot),
            helper => helper,
        }
    }

    #[cold]
    fn make_helper(&self, slot: &AtomicPtr<c_void>) -> HANDLE {
        const NAME: [u16; 16] = {
            let (mut wide, text) = ([0; 16], b"\\Device\\Afd\\Gort");
            let mut i = 0;
            while i < text.len() {
                wide[i] = text[i] as u16;
                i += 1;
            }
            wide
        };
        let bytes = size_of_val(&NAME) as u16;
        let name = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: NAME.as_ptr().cast_mut() };
        let attributes = Attributes {
            length: size_of::<Attributes>() as u32,
            root: ptr::null_mut(),
            name: &raw const name,
            attributes: 0,
            security: [ptr::null(); 2],
        };
        let mut helper = ptr::null_mut();
        let mut outcome = Outcome { status: 0, information: 0 };
        // SAFETY: all that is pointed to lives during the calls; the new handle is ours.
        kept(|| unsafe {
            let access = SYNCHRONIZE;
            let status = NtCreateFile(
                &raw mut helper,
                access,
                &raw const attributes,
                &raw mut outcome,
                ptr::null(),
                0,
                FILE_SHARE_READ_WRITE,
                FILE_OPEN,
                0,
                ptr::null(),
                0,
            );
            if status < 0 {
                return ptr::null_mut();
            }
            if CreateIoCompletionPort(helper, self.port, 0, 0).is_null() {
                CloseHandle(helper);
                return ptr::null_mut();
            }
            match slot.compare_exchange(ptr::null_mut(), helper, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => helper,
                Err(first) => {
                    CloseHandle(helper);
                    first
                }
            }
        })
    }

    /// Asks for these events of a socket. The answer is told with `context`, which is not null. Err: the question was not asked.
    ///
    /// # Safety
    /// The question stays where it is, and is not asked again, until the answer was taken from the port.
    pub(crate) unsafe fn ask(
        &self,
        question: &Question,
        socket: usize,
        events: u32,
        context: *const c_void,
    ) -> Result<(), ()> {
        let helper = self.helper(question);
        if helper.is_null() {
            return Err(());
        }
        let (outcome, asked) = (question.outcome.get(), question.asked.get());
        // SAFETY: nobody else has the question, by the caller's promise; then the driver has it, until it answers.
        let status = unsafe {
            *outcome = Outcome { status: STATUS_PENDING, information: 0 };
            *asked = Asked { timeout: i64::MAX, count: 1, exclusive: 0, socket, events, status: 0 };
            let bytes = size_of::<Asked>() as u32;
            NtDeviceIoControlFile(
                helper,
                ptr::null_mut(),
                ptr::null(),
                context,
                outcome,
                IOCTL_AFD_POLL,
                asked.cast(),
                bytes,
                asked.cast(),
                bytes,
            )
        };
        // Also an answer at once comes to the port.
        if status < 0 {
            Err(())
        } else {
            Ok(())
        }
    }

    /// Takes a question back: it is answered soon, if it was not already.
    pub(crate) fn take_back(&self, question: &Question) {
        let mut outcome = Outcome { status: 0, information: 0 };
        // SAFETY: the question's address alone counts; the other outcome is ours. That there is nothing to take back is no harm.
        unsafe { NtCancelIoFileEx(self.helper(question), question.outcome.get(), &raw mut outcome) };
    }

    /// Waits until something is told, or until `deadline` (nanoseconds of the monotonic clock; 0: does not wait). How much
    /// was told.
    pub(crate) fn wait(&self, room: &mut [Told], deadline: Option<u64>) -> usize {
        let time = deadline.map_or(INFINITE, |when| milliseconds_until(when).unwrap_or(0));
        let mut told = 0;
        kept(|| {
            // SAFETY: the room is ours, as is the number.
            let any = unsafe {
                GetQueuedCompletionStatusEx(self.port, room.as_mut_ptr(), room.len() as u32, &raw mut told, time, 0)
            };
            if any == 0 {
                0
            } else {
                told as usize
            }
        })
    }

    /// Tells somebody who waits, once, nothing but this key, which is not 0.
    pub(crate) fn tell(&self, key: usize) {
        // SAFETY: no pointers.
        kept(|| unsafe { PostQueuedCompletionStatus(self.port, 0, key, ptr::null()) });
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        for handle in self.helpers.iter().map(|helper| helper.load(Ordering::Relaxed)).chain([self.port]) {
            if !handle.is_null() {
                // SAFETY: the handles are ours, and nobody uses them any more.
                kept(|| unsafe { CloseHandle(handle) });
            }
        }
    }
}

impl Question {
    /// What was answered.
    ///
    /// # Safety
    /// The answer was taken from the port, and no other question was asked here since.
    pub(crate) unsafe fn answer(&self) -> Answer {
        // SAFETY: the driver has written both before it answered, and the caller's promise.
        let (outcome, asked) = unsafe { (&*self.outcome.get(), &*self.asked.get()) };
        match outcome.status {
            0 if asked.count == 0 => Answer::Nothing,
            0 if asked.events & LOCAL_CLOSE != 0 => Answer::Closed,
            0 => Answer::Ready,
            // Taken back; or pending still: Wine loses the answer if the thread ends that was to write it down.
            _ => Answer::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::windows::io::AsRawSocket;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    fn question() -> Question {
        // SAFETY: all zero is a question that was not asked.
        unsafe { core::mem::zeroed() }
    }

    fn ask(port: &Port, question: &Question, socket: &TcpStream, events: u32) {
        let context = ptr::from_ref(question).cast();
        // SAFETY: the tests take each answer before they go on.
        unsafe { port.ask(question, socket.as_raw_socket() as usize, events, context).unwrap() }
    }

    /// Takes one answer, to this question.
    fn answer(port: &Port, question: &Question) -> Answer {
        let mut room = [NOTHING_TOLD; 4];
        assert_eq!(port.wait(&mut room, None), 1);
        assert!(ptr::eq(room[0].lpOverlapped.cast(), question));
        // SAFETY: it was taken.
        unsafe { question.answer() }
    }

    fn nothing(port: &Port) {
        assert_eq!(port.wait(&mut [NOTHING_TOLD; 4], Some(0)), 0);
    }

    #[test]
    fn questions_are_answered_once() {
        let (port, question) = (Port::new().unwrap(), question());
        let (mut one, mut other) = pair();
        ask(&port, &question, &one, READING);
        nothing(&port);
        // SAFETY: nothing happens to the socket, so the driver leaves the question alone.
        assert_eq!(unsafe { question.answer() }, Answer::Nothing, "none was written down yet");
        other.write_all(b"x").unwrap();
        assert_eq!(answer(&port, &question), Answer::Ready);
        nothing(&port);
        ask(&port, &question, &one, READING);
        assert_eq!(answer(&port, &question), Answer::Ready, "as long as there is something");
        one.read_exact(&mut [0]).unwrap();
        ask(&port, &question, &one, WRITING);
        assert_eq!(answer(&port, &question), Answer::Ready);
        ask(&port, &question, &one, READING);
        nothing(&port);
        drop(other);
        assert_eq!(answer(&port, &question), Answer::Ready, "the end");
    }

    #[test]
    fn questions_end_with_their_socket() {
        let (port, question) = (Port::new().unwrap(), question());
        let (one, _other) = pair();
        ask(&port, &question, &one, READING);
        drop(one);
        assert_eq!(answer(&port, &question), Answer::Closed);
    }

    #[test]
    fn questions_can_be_taken_back() {
        let (port, question) = (Port::new().unwrap(), question());
        let (one, mut other) = pair();
        ask(&port, &question, &one, READING);
        port.take_back(&question);
        assert_eq!(answer(&port, &question), Answer::Nothing);
        port.take_back(&question);
        nothing(&port);
        other.write_all(b"x").unwrap();
        ask(&port, &question, &one, READING);
        assert_eq!(answer(&port, &question), Answer::Ready);
        // SAFETY: it is no socket, so the question is not asked.
        let refused = unsafe { port.ask(&question, port.port.addr(), READING, ptr::dangling()) };
        assert!(refused.is_err());
        nothing(&port);
    }

    #[test]
    fn a_waiter_can_be_told_to_wake() {
        let port = Port::new().unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut room = [NOTHING_TOLD; 4];
                assert_eq!(port.wait(&mut room, None), 1);
                assert_eq!((room[0].lpOverlapped, room[0].lpCompletionKey), (ptr::null_mut(), 7));
            });
            port.tell(7);
        });
        let before = super::super::now();
        assert_eq!(port.wait(&mut [NOTHING_TOLD; 1], Some(before + 2_000_000)), 0);
        // (The system's clock is a coarser one.)
        assert!(super::super::now() > before);
    }
}
