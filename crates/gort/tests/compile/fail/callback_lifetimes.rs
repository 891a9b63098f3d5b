//! What a callback, or a call out, borrows and returns lives as long as it does elsewhere.
use gort::ffi;

fn main() {
    let _: &str = ffi::callback(|| {
        let text = String::new();
        &*text.clone() //~ E0515 cannot return
    });
    let mut kept: &str = "";
    ffi::callback(|| {
        let text = String::from("gone");
        kept = &text; //~ E0521 escapes
    });
    println!("{kept}");
    let mut n = 0;
    let mut add = || n += 1;
    ffi::blocking(|| n += 1); //~ E0499 more than once
    add();
    let moved = String::new();
    ffi::on_system_stack(move || drop(moved));
    println!("{moved}"); //~ E0382 moved
}
