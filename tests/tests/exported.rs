//! Functions with all kinds of signatures that C links with by name and calls, on threads of its own.

use gort::{ffi, thread};
use gort_tests::cthreads::CThread;
use gort_tests::measure::on_goroutine;
use std::ffi::{c_char, c_int, CStr};

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Small {
    a: i32,
    b: f32,
}

#[repr(C)]
struct Large {
    d: [f64; 4],
    n: i64,
    text: *const c_char,
}

#[repr(C)]
union Either {
    whole: u64,
    bytes: [u8; 8],
}

#[repr(C)]
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "C makes them")]
enum Color {
    Red = 1,
    Blue = 7,
}

type Function = extern "C" fn(i32) -> i32;

extern "C" {
    fn ex_all() -> c_int;
    fn ex_panics() -> c_int;
}

/// Ends a body as a panic does, without the message.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("on purpose"))
}

#[allow(clippy::too_many_arguments, reason = "some of them travel on the stack")]
#[gort::callback(on_panic = -100, export)]
extern "C" fn ex_numbers(a: i8, b: u16, c: i64, d: u64, e: f32, f: f64, g: i32, h: i32, i: i32, j: f64, k: u8) -> i8 {
    let right = (b, c, d, e, f, (g, h, i), j, k) == (65535, i64::MIN, u64::MAX, 0.5, -0.25, (7, 8, 9), 10.0, 255);
    match a {
        -1 if right => a,
        -2 => panic_quietly(),
        _ => 0,
    }
}

#[gort::callback(on_panic = Small { a: -1, b: -1.0 }, export)]
extern "C" fn ex_small(s: Small) -> Small {
    let Some(a) = s.a.checked_mul(2) else { panic_quietly() };
    Small { a, b: s.b * 2.0 }
}

#[gort::callback(export, on_panic = Large { d: [9.0; 4], n: -9, text: std::ptr::null() })]
extern "C" fn ex_large(mut l: Large, more: f64) -> Large {
    if l.n < 0 {
        panic_quietly();
    }
    l.d.iter_mut().for_each(|d| *d += more);
    Large { n: l.n * 2, ..l }
}

#[gort::callback(on_panic = abort, export)]
extern "C" fn ex_either(mut e: Either) -> Either {
    // SAFETY: all bits of both are meaningful.
    unsafe { e.bytes.reverse() };
    // SAFETY: as above.
    Either { whole: unsafe { e.whole } }
}

#[gort::callback(on_panic = c, export)]
extern "C" fn ex_color(c: Color, other: bool) -> Color {
    if other {
        Color::Blue
    } else {
        c
    }
}

#[gort::callback(on_panic = None, export)]
extern "C" fn ex_function(f: Option<Function>, result: &mut i32) -> Option<Function> {
    *result = f.map_or(-1, |f| f(21));
    f
}

/// # Safety
/// `text` is null or longer than `skip`.
#[gort::callback(on_panic = std::ptr::null(), export)]
unsafe extern "C" fn ex_text(text: *const c_char, skip: usize) -> *const c_char {
    if text.is_null() {
        panic_quietly();
    }
    // SAFETY: the caller's promise. The body is that of an `unsafe fn`, and a block is needed all the same.
    unsafe {
        let text = CStr::from_ptr(text);
        assert!(skip <= text.count_bytes());
        text.as_ptr().add(skip)
    }
}

#[gort::callback(on_panic = (), export)]
extern "C" fn ex_nothing(array: &mut [u32; 3]) {
    if array[0] == 0 {
        panic_quietly();
    }
    array.reverse();
}

mod inner {
    /// A private function of a private module, under a name that it does not have.
    #[gort::callback(on_panic = 0, export = "ex_under_another_name")]
    extern "C" fn five() -> i32 {
        gort::thread::spawn(|| 5).join().unwrap()
    }
}

/// Row W-15.
#[test]
fn any_signature_that_c_has() {
    // SAFETY: C's functions call those above, as these are declared.
    let all = || unsafe { (ex_all(), ex_panics()) };
    assert_eq!(all(), (0, 0), "lines of exported.c");
    assert_eq!(CThread::spawn(all).join(), (0, 0), "on a thread of C's");
    assert_eq!(on_goroutine(all), (0, 0), "on a goroutine");
    assert_eq!(ffi::take_last_panic(), Some("on purpose".into()));
    thread::spawn(|| assert_eq!(ffi::take_last_panic(), None)).join().unwrap();
}
