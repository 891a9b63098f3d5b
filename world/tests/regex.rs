//! `regex`: an expression has a cache for the thread that used it first, and a pool of caches for others, told apart by numbers
//! that are kept in thread-local storage. Here all goroutines share expressions, and let each other run in the middle of a search.

use gort_world::crowd::{crowd, scaled, Watch};
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// Goroutines.
const CLIENTS: usize = 1_000;

/// `key=value` pairs.
static PAIR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?<key>\p{L}\w*)=(?<value>-?\d+)").expect("an expression"));
/// One that keeps the slower engines busy.
static WORDS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)\b(a|ab|abc)+?(c|bcd)?(d*)\b").expect("an expression"));

fn text(i: usize) -> String {
    (0..20).map(|k| format!("ключ{k}={} abcABCd{} ", i * 100 + k, "d".repeat(k % 5))).collect()
}

/// All of it with this function between steps.
fn work(i: usize, between: fn()) -> (u64, String, usize) {
    let text = text(i);
    let mut sum = 0;
    for pair in PAIR.captures_iter(&text) {
        between();
        let value: u64 = pair["value"].parse().expect("digits");
        sum += value;
        // The same expression again, while the search above is under way.
        assert_eq!(PAIR.find(pair.get(0).expect("all of it").as_str()).map(|whole| whole.start()), Some(0));
    }
    let doubled = PAIR.replace_all(&text, |pair: &Captures<'_>| {
        between();
        let value: u64 = pair["value"].parse().expect("digits");
        let key = WORDS.replace(&pair["key"], "never");
        between();
        format!("{key}={}", 2 * value)
    });
    let words = WORDS.find_iter(&text).inspect(|_| between()).map(|word| word.len()).sum();
    (sum, doubled.into_owned(), words)
}

#[test]
fn searches_of_a_thousand_goroutines() {
    let n = scaled(CLIENTS);
    let watch = Watch::start("regex, shared expressions");
    // Goroutines that come later have other numbers, and stacks and storage of earlier ones.
    for round in 0..3 {
        let found = crowd(n, |i| work(i, gort::thread::yield_now));
        if round == 0 {
            for (i, found) in found.iter().enumerate() {
                assert_eq!(*found, work(i, || ()), "as a plain thread finds");
                assert_eq!(found.0, (0..20).map(|k| i as u64 * 100 + k).sum());
            }
        }
    }
    watch.few();
}

/// An expression each, made and dropped by different goroutines.
#[test]
fn expressions_that_wander() {
    let n = scaled(CLIENTS);
    let watch = Watch::start("regex, wandering expressions");
    let made = crowd(n, |i| {
        let expression = Regex::new(&format!(r"\b{i}-(\d+)\b")).expect("an expression");
        assert!(expression.is_match(&format!("{i}-{i}")));
        expression
    });
    let mut others: Vec<_> = made.into_iter().enumerate().map(Some).collect();
    others.rotate_left(n / 2);
    let others: Vec<_> = others.into_iter().map(std::sync::Mutex::new).collect();
    crowd(n, |k| {
        let (i, expression) = others[k].lock().expect("locked once").take().expect("there");
        gort::thread::yield_now();
        let text = format!("0-1 {i}-{k} {i}x-2");
        let all: Vec<_> = expression.captures_iter(&text).map(|found| found[1].to_owned()).collect();
        assert!(all.contains(&k.to_string()), "{text}: {all:?}");
    });
    watch.few();
}
