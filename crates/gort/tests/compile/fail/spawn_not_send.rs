//! What must stay on its thread does not go to another one.
use gort::thread;
use std::rc::Rc;
use std::sync::Mutex;

static LOCK: Mutex<i32> = Mutex::new(0);

fn main() {
    let rc = Rc::new(5);
    thread::spawn(move || drop(rc)); //~ E0277 cannot be sent between threads safely
    let guard = LOCK.lock().unwrap();
    thread::spawn(move || drop(guard)); //~ E0277 cannot be sent between threads safely
    let cell = std::cell::Cell::new(5);
    thread::scope(|s| {
        s.spawn(|| cell.set(6)); //~ E0277 cannot be shared between threads safely
    });
    let text: Rc<str> = "text".into();
    let _ = thread::Builder::new().spawn(move || drop(text)); //~ E0277 cannot be sent between threads safely
}
