//! A goroutine that std's own functions make: there are no hooks for them on Windows.

use std::io;
use std::thread::Result as Outcome;

/// Would run `body` on such a goroutine. None: it was not run.
pub(super) fn on_goroutine<T, F>(_name: &str, _stack: Option<usize>, _body: F) -> io::Result<Option<Outcome<T>>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    Ok(None)
}
