//! A goroutine may outlive whoever made it, so it borrows nothing of his.
use gort::thread::{self, Builder};

fn main() {
    let text = String::from("local");
    thread::spawn(|| text.len()); //~ E0373 closure may outlive
    let _ = Builder::new().spawn(|| text.len()); //~ E0373 closure may outlive
    let borrowed = &text; //~ E0597 does not live long enough
    thread::spawn(move || borrowed.len());
}
