//! What must stay on its thread does not come back from another one.
use gort::thread;
use std::rc::Rc;

fn main() {
    thread::spawn(|| Rc::new(5)); //~ E0277 cannot be sent between threads safely
    thread::scope(|s| {
        s.spawn(|| Rc::new(5)); //~ E0277 cannot be sent between threads safely
    });
}
