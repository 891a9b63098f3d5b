//! Attributes of the `gort` crate.
//!
//! * [`macro@callback`] turns an `extern "C"` function into one that any thread of a C program may call, whether or not the
//!   runtime has ever seen that thread.
//!
//! Each works in three steps: it reads what stands in the attribute's parentheses, refuses functions that cannot be what they
//! are to be, and writes the new function: `args` (with `export`), `check`, `expand`. All work on `proc_macro2` streams, so that plain unit tests (in `tests`) can call them.

mod args;
mod check;
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
