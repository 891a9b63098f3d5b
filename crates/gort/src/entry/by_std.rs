//! A goroutine that std's own functions make, by their hook.

use gort_rt::hook::pthread::NextIsGoroutine;
use gort_rt::thread;
use std::io;
use std::thread::Result as Outcome;

/// Runs `body` on such a goroutine, and waits for it. None: no hook has made one, and `body` was not run.
pub(super) fn on_goroutine<T, F>(name: &str, stack: Option<usize>, body: F) -> io::Result<Option<Outcome<T>>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let mut builder = std::thread::Builder::new().name(name.to_owned());
    if let Some(stack) = stack {
        builder = builder.stack_size(stack);
    }
    let next = NextIsGoroutine::begin();
    let made = builder.spawn(move || thread::is_goroutine().then(body));
    drop(next);
    Ok(made?.join().transpose())
}
