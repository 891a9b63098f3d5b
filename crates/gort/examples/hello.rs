//! Goroutines that add up numbers.
fn main() {
    let sum: u64 = (0..100_000u64).map(|i| gort::thread::spawn(move || i)).map(|g| g.join().unwrap()).sum();
    println!("{sum} {:?}", gort::stats());
    println!("{}", gort::interpose::report());
}
