//! A goroutine of a scope is no goroutine for ever: neither the scope nor what it lends goes to one.
use gort::thread;

fn lends<'a>(text: &'a str) -> thread::JoinHandle<&'a str> {
    thread::spawn(move || text) //~ - lifetime may not live long enough
}

fn handle<'scope>(s: &'scope thread::Scope<'scope, '_>) -> thread::ScopedJoinHandle<'static, ()> {
    s.spawn(|| ()) //~ - lifetime may not live long enough
}

fn main() {
    lends("");
    thread::scope(|s| drop(handle(s)));
}
