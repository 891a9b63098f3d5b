//! `export` and `export = "NAME"`: giving a callback a symbol that C can link with.
//!
//! A callback has none unless it asks: most are passed to C as pointers, and a symbol is one name in the whole program, claimed
//! from every crate and library in it. Who writes `#[no_mangle]` himself has asked by that; both together are one too many.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::parse::ParseStream;
use syn::{Attribute, Error, LitStr, Meta, Result, Token};

/// The argument, as it was written.
pub(crate) struct Export {
    /// The word `export`, for its place.
    key: Ident,
    /// The symbol, if it is not to be the function's name.
    name: Option<LitStr>,
}

impl Export {
    /// Reads what follows the word `export`.
    ///
    /// # Errors
    ///
    /// What follows is not `= "NAME"`, or C could not write the name.
    pub(crate) fn parse(key: Ident, input: ParseStream) -> Result<Self> {
        if !input.peek(Token![=]) {
            return Ok(Self { key, name: None });
        }
        input.parse::<Token![=]>()?;
        let name: LitStr = input
            .parse()
            .map_err(|error| Error::new(error.span(), "write `export`, or `export = \"NAME\"` for another name"))?;
        if is_identifier(&name.value()) {
            Ok(Self { key, name: Some(name) })
        } else {
            Err(Error::new(
                name.span(),
                format!(
                    "C has no such name as {:?}: write letters, digits and `_`, no digit first; \
                     for other symbols write `#[unsafe(export_name = ...)]` in place of `export`",
                    name.value()
                ),
            ))
        }
    }

    /// The attribute for the function.
    pub(crate) fn attribute(&self) -> TokenStream {
        let span = self.key.span();
        match &self.name {
            None => quote_spanned! { span=> #[unsafe(no_mangle)] },
            Some(name) => quote_spanned! { span=> #[unsafe(export_name = #name)] },
        }
    }

    /// Refuses a function that has a symbol by an attribute of its own.
    ///
    /// # Errors
    ///
    /// So it has.
    pub(crate) fn check(&self, attributes: &[Attribute]) -> Result<()> {
        match attributes.iter().find(|attribute| names_symbol(attribute)) {
            None => Ok(()),
            Some(_) => Err(Error::new(
                self.key.span(),
                "`export` gives the function its symbol: remove `#[no_mangle]` and `#[export_name]`, or remove `export`",
            )),
        }
    }
}

/// Whether C could write this name.
fn is_identifier(name: &str) -> bool {
    name.chars().enumerate().all(|(i, c)| c == '_' || c.is_ascii_alphabetic() || (i > 0 && c.is_ascii_digit()))
        && !name.is_empty()
}

/// Whether this is `no_mangle` or `export_name`, perhaps within `unsafe(...)` or `cfg_attr(...)`.
fn names_symbol(attribute: &Attribute) -> bool {
    fn is_one(word: &Ident) -> bool {
        word == "no_mangle" || word == "export_name"
    }
    fn has_one(tokens: TokenStream) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(word) => is_one(&word),
            TokenTree::Group(group) => has_one(group.stream()),
            _ => false,
        })
    }
    let path = attribute.path();
    path.get_ident().is_some_and(is_one)
        || matches!(&attribute.meta, Meta::List(list)
            if (path.is_ident("unsafe") || path.is_ident("cfg_attr")) && has_one(list.tokens.clone()))
}
