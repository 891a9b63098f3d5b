//! What bounds and lifetimes allow: the counterpart of the files in `fail`.
#![deny(warnings)]

use gort::{ffi, thread};
use std::sync::Mutex;

fn main() {
    let moved = String::from("moved");
    let back: String = thread::spawn(move || moved).join().unwrap();
    let mut numbers = [1, 2, 3];
    let shared = Mutex::new(0);
    let sum = thread::scope(|s| {
        let first = s.spawn(|| back.len());
        s.spawn(|| *shared.lock().unwrap() += 1);
        s.spawn(|| {
            s.spawn(|| numbers[0] += 1); // a goroutine of the scope's, made by another
        });
        first.join().unwrap()
    });
    numbers[1] = sum;
    // A callback runs here and now, so it may borrow, and need not be `Send`.
    let local = std::rc::Rc::new(5);
    let borrowed: &i32 = ffi::callback(|| &*local);
    let mut count = 0;
    ffi::callback(|| count += *borrowed);
    ffi::blocking(|| count += 1);
    ffi::on_system_stack(|| count += 1);
    assert_eq!((count, numbers[0]), (7, 2));
}
