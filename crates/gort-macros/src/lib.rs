//! Attributes of the `gort` crate.
//!
//! * [`macro@callback`] turns an `extern "C"` function into one that any thread of a C program may call, whether or not the
//!   runtime has ever seen that thread.
//! * [`macro@main`] runs a program's `main` on a goroutine, [`macro@test`] a test.
//!
//! Each works in three steps: it reads what stands in the attribute's parentheses, refuses functions that cannot be what they
//! are to be, and writes the new function. For callbacks these are `args` (with `export`), `check` and `expand`; for the
//! other two, `entry`. All work on `proc_macro2` streams, so that plain unit tests (in `tests`) can call them.

mod args;
mod check;
mod entry;
mod expand;
mod export;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Marks an `extern "C"` function that C code may call from any thread.
///
/// The body then runs inside the runtime: on a thread that the runtime did not make, the first call binds
/// that thread, and the thread's exit releases it. In the body, goroutines may be spawned and `std`'s
/// blocking calls used. The signature that C sees does not change; attributes, the visibility and the
/// documentation are kept.
///
/// A panic never enters C frames. What happens instead must be said:
///
/// * `on_panic = VALUE`: the panic is caught and C gets `VALUE`, any expression of the return type. It is
///   evaluated only then, and it may name the function's arguments if the body has not consumed them. For
///   a function that returns nothing, write `on_panic = ()`. The text of the panic can be read with
///   `gort::ffi::take_last_panic()`.
/// * `on_panic = abort`: the process ends.
///
/// `export` gives the function a symbol that C can link with, its own name; `export = "NAME"` another one. Without it the
/// function has none, unless `#[no_mangle]` or `#[export_name]` gives it one: a symbol is one name in the whole program, and
/// most callbacks are passed to C as pointers. Both at once are an error.
///
/// A last argument, `crate = PATH`, names the runtime crate where it is not `::gort`; a library that
/// depends on the runtime without its hooks writes `crate = gort_rt`.
///
/// ```ignore
/// use std::ffi::{c_int, c_void};
///
/// /// Called by the C library for each packet; -1 tells it to drop the packet.
/// #[gort::callback(on_panic = -1, export)]
/// pub unsafe extern "C" fn on_packet(host: *mut c_void, length: c_int) -> c_int {
///     if length == 0 {
///         return 0;
///     }
///     gort::thread::spawn(move || println!("{length} bytes"));
///     length
/// }
/// ```
///
/// # Errors
///
/// Compilation fails, with the place and with what to write instead, if `on_panic` is missing or an
/// argument is unknown or repeated; if `export` and an attribute both name the symbol, or C has no such name; if the function is not `extern "C"` or `extern "system"`; and if it is
/// `async`, `const`, generic over types or constants, variadic, a method with `self`, or never returns.
#[proc_macro_attribute]
pub fn callback(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::callback(args.into(), item.into()).into()
}

/// Runs a program's `main` on a goroutine.
///
/// The arguments are settings of `gort::Config`, by the names of its functions; with none, the runtime starts as it does at
/// the first spawn. A last argument, `crate = PATH`, names the crate where it is not `::gort`.
///
/// ```ignore
/// #[gort::main(procs = 2, threads_as_goroutines = true)]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
///     for stream in listener.incoming() {
///         let stream = stream?; // parks this goroutine
///         gort::thread::spawn(move || drop(stream));
///     }
///     Ok(())
/// }
/// ```
///
/// What is true of a plain `main` is true of this one: it may return whatever `main` may, and errors are printed and make
/// exit code 1; a panic is one of the thread `main`, and makes exit code 101; it has 8 MiB of stack; and when it returns the
/// process exits, whatever other goroutines do. (Who wants them to end first joins them, or calls `gort::shutdown` in a
/// plain `main`.) If the runtime cannot start, as where a setting has no meaning or it runs already and there are
/// settings, a line on standard error says so, the body does not run, and the exit code is 1.
///
/// The body does not run on the process's main thread. That one waits meanwhile, and takes the process's signals.
///
/// # Errors
///
/// Compilation fails if the function is not `fn main`, is `async`, `const`, `unsafe` or generic, or has arguments; and
/// if a setting is not one.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(entry::Entry::Main, args.into(), item.into()).into()
}

/// Marks a test whose body runs on a goroutine.
///
/// It is a test as those of `#[test]` are: it may return what they may, `#[should_panic]`, `#[ignore]` and `#[cfg]` mean
/// what they do there, what it prints is captured, and its name is in the message of its panic.
///
/// `stack_size = BYTES` gives it another stack than tests have (2 MiB, or `RUST_MIN_STACK`); `crate = PATH` names the crate
/// where it is not `::gort`. The runtime is one for all tests of the process, so its settings come from the environment.
///
/// ```ignore
/// #[gort::test]
/// fn messages_arrive() {
///     let (to, from) = std::sync::mpsc::channel();
///     gort::thread::spawn(move || to.send(1).unwrap());
///     assert_eq!(from.recv(), Ok(1)); // parks this goroutine
/// }
/// ```
///
/// With `GORT_INTERPOSE=0` the test runs, but without its name in messages, and what it prints is not captured.
///
/// # Errors
///
/// Compilation fails if the function is `async`, `const`, `unsafe` or generic, or has arguments; if it has another `test`
/// attribute; and if an argument is unknown.
#[proc_macro_attribute]
pub fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(entry::Entry::Test, args.into(), item.into()).into()
}
