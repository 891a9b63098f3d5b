//! The hooks that make blocking calls park goroutines: there are none on Windows yet. Goroutines are kernel threads there, so
//! each call blocks its own.

use std::fmt;

/// One function of the system's or of a C library's that a hook stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// The C name.
    pub name: &'static str,
    /// Whether calls in this process go to the hook.
    pub live: bool,
}

/// Which hooks are live in this process, and whether parking is switched on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether calls may park: false.
    pub enabled: bool,
    /// All hooks: none.
    pub hooks: Vec<Hook>,
}

impl Report {
    /// Whether parking is on and every hook is live.
    pub fn all_live(&self) -> bool {
        self.enabled && self.hooks.iter().all(|hook| hook.live)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no calls park on Windows, where goroutines are kernel threads")
    }
}

/// Finds out which hooks calls in this process go to.
///
/// ```
/// assert!(!gort::interpose::report().all_live());
/// ```
pub fn report() -> Report {
    Report { enabled: false, hooks: Vec::new() }
}
