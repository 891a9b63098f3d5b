//! What goroutines of a scope borrow outlives the scope, and is changed by one at a time.
use gort::thread;

fn main() {
    let mut n = 0;
    thread::scope(|s| {
        s.spawn(|| n += 1);
        s.spawn(|| n += 1); //~ E0499 more than once
    });
    thread::scope(|s| {
        s.spawn(|| n += 1);
        println!("{n}"); //~ E0502 cannot borrow
    });
    thread::scope(|s| {
        let inside = 5;
        s.spawn(|| inside + 1); //~ E0373 closure may outlive
    });
    thread::scope(|s| {
        let inside = 5;
        let borrowed = &inside; //~ E0597 does not live long enough
        s.spawn(move || *borrowed);
    });
    let escaped;
    thread::scope(|s| escaped = s); //~ E0521 escapes
    let _ = escaped;
}
