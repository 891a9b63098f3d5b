//! The function that takes the place of the annotated one.
//!
//! The signature stays as it was written and the body moves into a closure:
//!
//! ```text
//! pub extern "C" fn f(a: i32) -> i32 {
//!     ::gort::ffi::callback_or(move || -> i32 { BODY }, || -> i32 { VALUE })
//! }
//! ```
//!
//! A closure, and not a second function, so that patterns in the arguments, lifetimes and the permission
//! to do unsafe things in an `unsafe fn` carry over as they are. Its return type is written out, so that
//! `return` in the body and a bare `VALUE` need no guessing. The second closure borrows, which lets VALUE
//! name arguments that the first one copied.
//!
//! When the attribute or the function is wrong, the function is passed on unchanged next to the error:
//! otherwise every use of it would be a second, misleading error.

use crate::args::{self, Args, OnPanic};
use crate::check;
use crate::export::Export;
use proc_macro2::TokenStream;
use quote::{quote, ToTokens};
use syn::{Attribute, Error, ItemFn, Result, ReturnType};

/// Expands `#[callback(args)] item`.
pub(crate) fn callback(args: TokenStream, item: TokenStream) -> TokenStream {
    let original = item.clone();
    try_callback(args, item).unwrap_or_else(|error| {
        let error = error.to_compile_error();
        quote! { #error #original }
    })
}

fn try_callback(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), format!("`callback` belongs on an `extern \"C\" fn` with a body: {error}"))
    })?;
    // Both kinds of mistake are reported in one go.
    match (args::parse(args), check::check(&function)) {
        (Ok(args), Ok(())) => {
            if let Some(export) = &args.export {
                export.check(&function.attrs)?;
            }
            Ok(wrap(function, &args))
        }
        (Err(error), Ok(())) | (Ok(_), Err(error)) => Err(error),
        (Err(mut error), Err(other)) => {
            error.combine(other);
            Err(error)
        }
    }
}

/// Writes the new function.
fn wrap(function: ItemFn, args: &Args) -> TokenStream {
    let Args { on_panic, export, krate } = args;
    let symbol = export.as_ref().map(Export::attribute);
    let ItemFn { attrs, vis, sig, block } = function;
    // Attributes inside the braces (`#![allow(...)]`) would not be legal in a closure's block on stable
    // Rust; on the function they mean the same.
    let attrs = attrs.iter().map(as_outer);
    let output = match &sig.output {
        ReturnType::Default => quote! { -> () },
        written => quote! { #written },
    };
    let statements = &block.stmts;
    let call = match on_panic {
        OnPanic::Value(value) => quote! {
            #krate::ffi::callback_or(move || #output { #(#statements)* }, || #output { #value })
        },
        OnPanic::Abort => {
            let name = sig.ident.to_string();
            quote! {
                #krate::ffi::callback_or_abort(
                    ::core::concat!(::core::module_path!(), "::", #name),
                    move || #output { #(#statements)* },
                )
            }
        }
    };
    quote! {
        #symbol
        #(#attrs)*
        #vis #sig {
            #call
        }
    }
}

/// The same attribute in front of the function instead of inside it.
pub(crate) fn as_outer(attribute: &Attribute) -> TokenStream {
    let mut attribute = attribute.clone();
    attribute.style = syn::AttrStyle::Outer;
    attribute.into_token_stream()
}
