//! Goroutines for `pthread_create`, which Windows has not: no goroutine is held by a number.

/// What a goroutine keeps for those who know its number: nobody.
pub(crate) struct Record(());

impl Record {
    pub(crate) const fn new() -> Record {
        Record(())
    }

    /// The scheduler lets go of the body. True: nobody else holds it.
    pub(crate) fn let_go(&self) -> bool {
        true
    }

    /// The number is nobody's any more.
    pub(crate) fn close(&self) {}

    /// The name that the goroutine was given by its number.
    pub(crate) fn name_bytes(&self) -> &'static [u8] {
        b""
    }
}

/// The start of the runtime: decides whether threads become goroutines from now on. They do not.
pub(crate) fn init(_on: bool) {}
