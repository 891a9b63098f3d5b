//! Thread-local words: thread-local variables, which are there whenever a thread or a goroutine runs.

/// Makes a thread-local word, of a plain type: `static NAME: TYPE = INITIAL`.
macro_rules! thread_word {
    ($($(#[$attr:meta])* static $name:ident : $type:ty = $init:expr);* $(;)?) => {
        std::thread_local! {
            $(
                $(#[$attr])*
                static $name: core::cell::Cell<$type> = const { core::cell::Cell::new($init) };
            )*
        }
    };
}
pub(crate) use thread_word;
