//! `#[gort::main]` and `#[gort::test]`: functions whose body runs on a goroutine.
//!
//! The function becomes one inside itself, so that its body, its return type and what it declares stay as they were written:
//!
//! ```text
//! fn main() -> ::std::process::ExitCode {
//!     fn main() -> Result<(), Oops> { BODY }
//!     ::gort::entry::main(Some(::gort::Config::new().procs(2)), main)
//! }
//! ```
//!
//! What comes out of the goroutine is an exit code and not the function's own value, since that need not be `Send`. Attributes
//! stay on the outer function, where `#[should_panic]`, `#[ignore]` and `#[cfg]` are looked for; lints that are allowed there are
//! allowed inside, too.

use crate::args::{expect_equals, set_once};
use crate::expand::as_outer;
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, ItemFn, Path, Result, ReturnType, Signature, Token, Type};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Main,
    Test,
}

impl Entry {
    fn name(self) -> &'static str {
        match self {
            Entry::Main => "main",
            Entry::Test => "test",
        }
    }
}

/// What stands in the parentheses: `key = value`, in any order, with an optional comma at the end.
struct Args {
    /// Of `main`: names of `Config`'s setters, which know best what they are called and take, and values. Of `test`: its own.
    settings: Vec<(Ident, Expr)>,
    krate: Path,
}

impl Parse for Args {
    fn parse(input: ParseStream) -> Result<Self> {
        let (mut settings, mut krate) = (Vec::<(Ident, Expr)>::new(), None);
        while !input.is_empty() {
            let key = input.call(Ident::parse_any).map_err(|error| {
                Error::new(error.span(), "expected `SETTING = VALUE`, as in `stack_size = 1 << 20`")
            })?;
            if key == "crate" {
                expect_equals(input, &key, "crate = PATH")?;
                set_once(&mut krate, &key, input.call(Path::parse_mod_style)?)?;
            } else {
                expect_equals(input, &key, &format!("{key} = VALUE"))?;
                if settings.iter().any(|(other, _)| *other == key) {
                    return Err(Error::new(key.span(), format!("`{key}` is given twice: keep one")));
                }
                settings.push((key, input.parse()?));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(Self { settings, krate: krate.unwrap_or_else(|| syn::parse_quote!(::gort)) })
    }
}

/// Expands `#[main(args)] item` or `#[test(args)] item`. A function that is wrong is passed on next to the error.
pub(crate) fn expand(entry: Entry, args: TokenStream, item: TokenStream) -> TokenStream {
    let original = item.clone();
    try_expand(entry, args, item).unwrap_or_else(|error| {
        let error = error.to_compile_error();
        quote! { #error #original }
    })
}

fn try_expand(entry: Entry, args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), format!("`{}` belongs on a function with a body: {error}", entry.name()))
    })?;
    let problems = check(entry, &function).into_iter().chain(Args::parse.parse2(args.clone()).err());
    if let Some(error) = problems.reduce(|mut all, next| {
        all.combine(next);
        all
    }) {
        return Err(error);
    }
    let args = Args::parse.parse2(args)?;
    match entry {
        Entry::Main => Ok(main(function, &args)),
        Entry::Test => test(function, &args),
    }
}

/// All that is wrong with the function.
fn check(entry: Entry, function: &ItemFn) -> Vec<Error> {
    let Signature { constness, asyncness, unsafety, abi, ident, generics, inputs, .. } = &function.sig;
    let it = format!("`{}`", entry.name());
    let mut problems = Vec::new();
    let mut refuse = |span: Span, text: String| problems.push(Error::new(span, text));
    if let Some(token) = asyncness {
        refuse(
            token.span(),
            format!("{it} runs its body on a goroutine, which blocks: remove `async` and each `.await`"),
        );
    }
    if let Some(token) = constness {
        refuse(token.span(), format!("{it} cannot be `const`: remove it"));
    }
    if let Some(token) = unsafety {
        refuse(token.span(), format!("{it} is called by nobody who could keep a promise: remove `unsafe`"));
    }
    if let Some(abi) = abi {
        refuse(abi.span(), format!("{it} is called by Rust: remove `extern`"));
    }
    if let Some(parameter) = generics.params.first() {
        refuse(parameter.span(), format!("{it} cannot be generic: nobody says for which type"));
    }
    if let Some(input) = inputs.first() {
        refuse(input.span(), format!("{it} takes no arguments: nobody passes any"));
    }
    if entry == Entry::Main && ident != "main" {
        refuse(ident.span(), "`main` belongs on `fn main`; elsewhere use `gort::thread::spawn`".into());
    }
    let tests = function.attrs.iter().filter(|a| a.path().segments.last().is_some_and(|last| last.ident == "test"));
    for attribute in tests {
        refuse(attribute.span(), format!("{it} cannot be joined with another `test`: keep one of them"));
    }
    problems
}

fn main(function: ItemFn, args: &Args) -> TokenStream {
    let Args { settings, krate } = args;
    let config = if settings.is_empty() {
        quote! { ::core::option::Option::None }
    } else {
        let calls = settings.iter().map(|(key, value)| quote! { .#key(#value) });
        quote! { ::core::option::Option::Some(#krate::Config::new() #(#calls)*) }
    };
    let ItemFn { attrs, vis, sig, block } = function;
    let attrs = attrs.iter().map(as_outer);
    let (name, statements) = (&sig.ident, &block.stmts);
    let outer = Signature { output: exit_code(), ..sig.clone() };
    quote! {
        #(#attrs)*
        #vis #outer {
            #sig { #(#statements)* }
            #krate::entry::main(#config, #name)
        }
    }
}

fn exit_code() -> ReturnType {
    syn::parse_quote! { -> ::std::process::ExitCode }
}

fn test(function: ItemFn, args: &Args) -> Result<TokenStream> {
    let Args { settings, krate } = args;
    let mut stack = quote! { ::core::option::Option::None };
    for (key, value) in settings {
        if key != "stack_size" {
            return Err(Error::new(
                key.span(),
                format!(
                    "`{key}` is not an argument of `test`: write `stack_size = BYTES` or `crate = PATH`. The runtime is one \
                     for all tests of the process; GORT_PROCS and its kin set it up"
                ),
            ));
        }
        stack = quote! { ::core::option::Option::Some(#value) };
    }
    let ItemFn { attrs, vis, sig, block } = function;
    let attrs = attrs.iter().map(as_outer);
    let (ident, statements) = (&sig.ident, &block.stmts);
    let name = ident.unraw().to_string();
    // `#[should_panic]` insists on functions that return nothing.
    let (output, run) = match &sig.output {
        ReturnType::Type(_, output) if !matches!(&**output, Type::Tuple(tuple) if tuple.elems.is_empty()) => {
            (exit_code(), quote!(test_with_result))
        }
        nothing => (nothing.clone(), quote!(test)),
    };
    let outer = Signature { output, ..sig.clone() };
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis #outer {
            #sig { #(#statements)* }
            #krate::entry::#run(::core::concat!(::core::module_path!(), "::", #name), #stack, #ident)
        }
    })
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
