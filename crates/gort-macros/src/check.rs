//! Which functions may be callbacks.
//!
//! Each rule has one of two reasons. C must be able to call the function and to get back what it expects
//! (the calling convention, no `self`, no type parameters, no `async`), or the body must fit into the
//! closure that catches its panics (no variadic list, which a closure cannot capture; no `-> !`, which
//! leaves nothing to return to C after a panic).

use syn::spanned::Spanned;
use syn::{Error, FnArg, GenericParam, ItemFn, Result, ReturnType, Signature, Type};

/// Accepts or refuses a function.
///
/// # Errors
///
/// All the rules that `function` breaks, as one combined error.
pub(crate) fn check(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    let mut problems = Vec::new();
    problems.extend(wrong_convention(signature));
    problems.extend(wrong_qualifier(signature));
    problems.extend(wrong_generics(signature));
    problems.extend(wrong_inputs(signature));
    problems.extend(wrong_output(signature));
    match problems.into_iter().reduce(|mut all, next| {
        all.combine(next);
        all
    }) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The calling convention must be C's own, and one that panics do not leave by.
fn wrong_convention(signature: &Signature) -> Option<Error> {
    let Some(abi) = &signature.abi else {
        return Some(Error::new(signature.fn_token.span(), "a callback is called by C: write `extern \"C\" fn`"));
    };
    // A bare `extern fn` is `extern "C" fn`.
    let name = abi.name.as_ref()?;
    match name.value().as_str() {
        "C" | "system" => None,
        "C-unwind" | "system-unwind" => Some(Error::new(
            name.span(),
            "a panic never leaves a callback: write `extern \"C\"` or `extern \"system\"`",
        )),
        other => Some(Error::new(
            name.span(),
            format!(
                "C does not call `extern \"{other}\"` functions: \
                 write `extern \"C\"` or `extern \"system\"`"
            ),
        )),
    }
}

/// `async` and `const` change what a call means.
fn wrong_qualifier(signature: &Signature) -> Option<Error> {
    if let Some(token) = &signature.asyncness {
        return Some(Error::new(
            token.span(),
            "a callback cannot be `async`, C would get a future: remove `async` and block, \
             or spawn a goroutine in the body",
        ));
    }
    signature
        .constness
        .as_ref()
        .map(|token| Error::new(token.span(), "a callback cannot be `const`, it enters the runtime: remove `const`"))
}

/// Lifetimes are erased and may stay; types and constants would make several functions of one name.
fn wrong_generics(signature: &Signature) -> Option<Error> {
    let parameter =
        signature.generics.params.iter().find(|parameter| !matches!(parameter, GenericParam::Lifetime(_)))?;
    Some(Error::new(
        parameter.span(),
        "a callback cannot be generic, C calls one address: write the concrete type, \
         or pass a `*mut c_void` and cast it in the body",
    ))
}

/// No `self`, no `impl Trait`, no `...`.
fn wrong_inputs(signature: &Signature) -> Vec<Error> {
    let mut problems = Vec::new();
    for input in &signature.inputs {
        match input {
            FnArg::Receiver(receiver) => problems.push(Error::new(
                receiver.span(),
                "a callback cannot take `self`: make it a function and take a pointer, \
                 as in `this: *mut c_void`",
            )),
            FnArg::Typed(argument) => {
                if let Type::ImplTrait(_) = *argument.ty {
                    problems.push(Error::new(
                        argument.ty.span(),
                        "a callback cannot be generic, C calls one address: write the concrete type",
                    ));
                }
            }
        }
    }
    if let Some(variadic) = &signature.variadic {
        problems.push(Error::new(
            variadic.span(),
            "a callback cannot be variadic: write the arguments out, or take a pointer to them",
        ));
    }
    problems
}

/// A callback comes back.
fn wrong_output(signature: &Signature) -> Option<Error> {
    match &signature.output {
        ReturnType::Type(_, output) if matches!(**output, Type::Never(_)) => Some(Error::new(
            output.span(),
            "a callback returns to C, even after a panic: give it a return type other than `!`",
        )),
        _ => None,
    }
}
