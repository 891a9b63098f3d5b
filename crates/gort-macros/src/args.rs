//! What stands in the parentheses of `#[gort::callback(...)]`.
//!
//! The grammar is a list of `key = value`, in any order, with an optional comma at the end:
//! `on_panic = EXPRESSION`, `on_panic = abort`, `export`, `export = "NAME"` and `crate = PATH`. The lone word `abort` is a policy and
//! not an expression; a variable of that name can still be returned as `{ abort }`.

use crate::export::Export;
use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Error, Expr, Ident, Path, Result, Token};

/// What C gets when the body panics.
pub(crate) enum OnPanic {
    /// This value.
    Value(Box<Expr>),
    /// Nothing: the process ends.
    Abort,
}

/// The arguments of the attribute, complete and checked.
pub(crate) struct Args {
    /// What to do when the body panics.
    pub(crate) on_panic: OnPanic,
    /// The symbol that C links with, if one was asked for.
    pub(crate) export: Option<Export>,
    /// The path of the runtime crate.
    pub(crate) krate: Path,
}

/// Reads the arguments.
///
/// # Errors
///
/// An error with the place and the cure, for anything that is not the grammar above.
pub(crate) fn parse(tokens: TokenStream) -> Result<Args> {
    Args::parse.parse2(tokens)
}

impl Parse for Args {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut on_panic = None;
        let mut export = None;
        let mut krate = None;
        while !input.is_empty() {
            let key = input.call(Ident::parse_any).map_err(|error| {
                Error::new(error.span(), "expected `on_panic = VALUE`, `on_panic = abort`, `export` or `crate = PATH`")
            })?;
            match key.to_string().as_str() {
                "on_panic" => {
                    expect_equals(input, &key, "on_panic = VALUE` or `on_panic = abort")?;
                    set_once(&mut on_panic, &key, parse_policy(input)?)?;
                }
                "export" => set_once(&mut export, &key, Export::parse(key.clone(), input)?)?,
                "crate" => {
                    expect_equals(input, &key, "crate = PATH")?;
                    set_once(&mut krate, &key, input.call(Path::parse_mod_style)?)?;
                }
                other => {
                    return Err(Error::new(
                        key.span(),
                        format!(
                            "`{other}` is not an argument of `callback`: \
                             write `on_panic = VALUE`, `on_panic = abort`, `export` or `crate = PATH`"
                        ),
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let Some(on_panic) = on_panic else {
            return Err(Error::new(
                Span::call_site(),
                "say what C gets if the body panics: add `on_panic = VALUE` with a value of the return \
                 type (`on_panic = ()` if there is none), or `on_panic = abort` to end the process",
            ));
        };
        Ok(Self { on_panic, export, krate: krate.unwrap_or_else(|| syn::parse_quote!(::gort)) })
    }
}

/// Reads the `=` after `key`, or says how the whole argument is written.
pub(crate) fn expect_equals(input: ParseStream, key: &Ident, usage: &str) -> Result<()> {
    if input.peek(Token![=]) && !input.peek(Token![==]) {
        input.parse::<Token![=]>()?;
        if !input.is_empty() {
            return Ok(());
        }
    }
    Err(Error::new(key.span(), format!("`{key}` needs a value: write `{usage}`")))
}

/// Reads the value of `on_panic`.
fn parse_policy(input: ParseStream) -> Result<OnPanic> {
    let value: Expr = input.parse()?;
    match &value {
        Expr::Path(path) if path.path.is_ident("abort") => Ok(OnPanic::Abort),
        _ => Ok(OnPanic::Value(Box::new(value))),
    }
}

/// Stores `value`, unless the argument was given before.
pub(crate) fn set_once<T>(slot: &mut Option<T>, key: &Ident, value: T) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::new(key.span(), format!("`{key}` is given twice: keep one")));
    }
    Ok(())
}
