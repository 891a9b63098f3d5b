//! Errors, of which models want no more than that they are there.

pub struct Error;

impl Error {
    pub(crate) fn shut(_: String) -> Error {
        Error
    }
}
