//! Expansions and error messages, on token streams.

use crate::expand;
use proc_macro2::TokenStream;
use quote::quote;
use std::str::FromStr;

/// Expands, with both halves given as text.
fn expand(args: &str, item: &str) -> TokenStream {
    let tokens = |text| TokenStream::from_str(text).expect("the test's tokens");
    expand::callback(tokens(args), tokens(item))
}

/// Asserts that the expansion is `expected`, without regard to white space.
fn assert_expands(args: &str, item: &str, expected: TokenStream) {
    let expanded = expand(args, item);
    syn::parse2::<syn::File>(expanded.clone()).expect("the expansion parses");
    assert_eq!(expanded.to_string(), expected.to_string());
}

/// Every error: its text and the source text it points at in `args` or `item`. An error that points at
/// the attribute as a whole has an empty place.
fn errors(args: &str, item: &str) -> Vec<(String, String)> {
    let tokens = |text| TokenStream::from_str(text).expect("the test's tokens");
    let (args, item) = (tokens(args), tokens(item));
    let expanded = expand::callback(args, item.clone());
    let file: syn::File = syn::parse2(expanded.clone()).unwrap_or_else(|_| {
        // The item itself is not legal Rust for syn; only the errors in front of it are looked at.
        let count = expanded.clone().into_iter().count() - item.clone().into_iter().count();
        syn::parse2(expanded.into_iter().take(count).collect()).expect("the errors parse")
    });
    let mut found = Vec::new();
    for item in file.items {
        let syn::Item::Macro(call) = item else {
            continue;
        };
        let place = call.mac.path.segments[0].ident.span();
        let text: syn::LitStr = syn::parse2(call.mac.tokens).expect("compile_error! has a text");
        found.push((text.value(), place.source_text().unwrap_or_default()));
    }
    found
}

/// Asserts one error that starts with `text` and points at something that starts with `place`.
fn assert_error(args: &str, item: &str, text: &str, place: &str) {
    let found = errors(args, item);
    assert_eq!(found.len(), 1, "one error: {found:?}");
    let (found_text, found_place) = &found[0];
    assert!(found_text.starts_with(text), "expected `{text}...`, found `{found_text}`");
    assert!(
        found_place.starts_with(place) && found_place.is_empty() == place.is_empty(),
        "expected a place at `{place}`, found `{found_place}`"
    );
}

const GOOD: &str = "extern \"C\" fn f(a: i32) -> i32 { a }";

#[test]
fn value() {
    assert_expands(
        "on_panic = -1",
        GOOD,
        quote! {
            extern "C" fn f(a: i32) -> i32 {
                ::gort::ffi::callback_or(move || -> i32 { a }, || -> i32 { -1 })
            }
        },
    );
}

#[test]
fn unit() {
    assert_expands(
        "on_panic = (),",
        "extern \"system\" fn f() { g(); }",
        quote! {
            extern "system" fn f() {
                ::gort::ffi::callback_or(move || -> () { g(); }, || -> () { () })
            }
        },
    );
}

#[test]
fn abort_names_the_function() {
    assert_expands(
        "on_panic = abort",
        "extern fn f() -> u8 { 1 }",
        quote! {
            extern fn f() -> u8 {
                ::gort::ffi::callback_or_abort(
                    ::core::concat!(::core::module_path!(), "::", "f"),
                    move || -> u8 { 1 },
                )
            }
        },
    );
}

#[test]
fn crate_path_in_any_order() {
    for (args, path) in [
        ("crate = gort_rt, on_panic = 0", quote!(gort_rt)),
        ("on_panic = 0, crate = ::gort_rt", quote!(::gort_rt)),
        ("on_panic = 0, crate = crate::inner", quote!(crate::inner)),
    ] {
        assert_expands(
            args,
            GOOD,
            quote! {
                extern "C" fn f(a: i32) -> i32 {
                    #path::ffi::callback_or(move || -> i32 { a }, || -> i32 { 0 })
                }
            },
        );
    }
}

#[test]
fn keeps_attributes_visibility_and_qualifiers() {
    assert_expands(
        "on_panic = None",
        "/// Text.\n #[unsafe(no_mangle)] #[cfg(unix)] pub(crate) unsafe extern \"C\" \
         fn f<'a>(mut a: &'a T, _: u8) -> Option<&'a T> { #![allow(unused)] a = g(a); Some(a) }",
        quote! {
            #[doc = " Text."]
            #[unsafe(no_mangle)]
            #[cfg(unix)]
            #[allow(unused)]
            pub(crate) unsafe extern "C" fn f<'a>(mut a: &'a T, _: u8) -> Option<&'a T> {
                ::gort::ffi::callback_or(
                    move || -> Option<&'a T> { a = g(a); Some(a) },
                    || -> Option<&'a T> { None }
                )
            }
        },
    );
}

#[test]
fn a_symbol_by_its_own_name_or_another() {
    for (args, attribute) in [
        ("export, on_panic = 0", quote!(#[unsafe(no_mangle)])),
        ("on_panic = 0, export = \"their_name2\"", quote!(#[unsafe(export_name = "their_name2")])),
    ] {
        assert_expands(
            args,
            GOOD,
            quote! {
                #attribute
                extern "C" fn f(a: i32) -> i32 {
                    ::gort::ffi::callback_or(move || -> i32 { a }, || -> i32 { 0 })
                }
            },
        );
    }
}

#[test]
fn two_symbols_are_one_too_many() {
    let text = "`export` gives the function its symbol: remove `#[no_mangle]`";
    for attribute in [
        "#[no_mangle]",
        "#[unsafe(no_mangle)]",
        "#[export_name = \"g\"]",
        "#[unsafe(export_name = \"g\")]",
        "#[cfg_attr(unix, unsafe(no_mangle))]",
    ] {
        assert_error("on_panic = 0, export", &format!("{attribute} {GOOD}"), text, "export");
        assert!(expand("on_panic = 0", &format!("{attribute} {GOOD}")).to_string().contains("callback_or"));
    }
}

#[test]
fn bad_symbols() {
    for name in ["", "1st", "a-b", "a b", "x\\0"] {
        let args = format!("on_panic = 0, export = \"{name}\"");
        assert_error(&args, GOOD, "C has no such name as", "\"");
    }
    assert_error("on_panic = 0, export = name", GOOD, "write `export`, or `export = \"NAME\"`", "name");
    assert_error("export, on_panic = 0, export", GOOD, "`export` is given twice", "export");
}

#[test]
fn a_variable_named_abort_is_a_value_in_braces() {
    let expanded = expand("on_panic = { abort }", GOOD).to_string();
    assert!(expanded.contains("callback_or (") && expanded.contains("abort"));
}

#[test]
fn missing_on_panic() {
    let text = "say what C gets if the body panics: add `on_panic = VALUE`";
    assert_error("", GOOD, text, "");
    assert_error("crate = gort_rt", GOOD, text, "");
}

#[test]
fn bad_arguments() {
    assert_error("on_panik = 1", GOOD, "`on_panik` is not an argument of `callback`: write `on_panic", "on_panik");
    assert_error("on_panic", GOOD, "`on_panic` needs a value: write `on_panic = VALUE` or", "on_panic");
    assert_error("on_panic =", GOOD, "`on_panic` needs a value", "on_panic");
    assert_error("on_panic(3)", GOOD, "`on_panic` needs a value", "on_panic");
    assert_error("crate, on_panic = 1", GOOD, "`crate` needs a value: write `crate = PATH`", "crate");
    assert_error("on_panic = 1, on_panic = abort", GOOD, "`on_panic` is given twice", "on_panic");
    assert_error("crate = a, on_panic = 1, crate = b", GOOD, "`crate` is given twice", "crate");
    assert_error("-1", GOOD, "expected `on_panic = VALUE`, `on_panic = abort`, `export` or `crate = PATH`", "-");
    assert_error("on_panic = 1 crate = a", GOOD, "expected `,`", "crate");
}

#[test]
fn wrong_items() {
    assert_error("on_panic = 1", "struct S;", "`callback` belongs on an `extern \"C\" fn` with a body", "struct");
    assert_error(
        "on_panic = 1",
        "extern \"C\" fn f() -> i32;",
        "`callback` belongs on an `extern \"C\" fn` with a body",
        ";",
    );
}

#[test]
fn wrong_functions() {
    for (item, text, place) in [
        ("fn f() -> i32 { 1 }", "a callback is called by C: write `extern \"C\" fn`", "fn"),
        (
            "extern \"Rust\" fn f() -> i32 { 1 }",
            "C does not call `extern \"Rust\"` functions: write `extern \"C\"`",
            "\"Rust\"",
        ),
        (
            "extern \"C-unwind\" fn f() -> i32 { 1 }",
            "a panic never leaves a callback: write `extern \"C\"`",
            "\"C-unwind\"",
        ),
        (
            "async extern \"C\" fn f() -> i32 { 1 }",
            "a callback cannot be `async`, C would get a future: remove `async`",
            "async",
        ),
        (
            "const extern \"C\" fn f() -> i32 { 1 }",
            "a callback cannot be `const`, it enters the runtime: remove `const`",
            "const",
        ),
        (
            "extern \"C\" fn f<'a, T>(a: &'a T) -> i32 { 1 }",
            "a callback cannot be generic, C calls one address: write the concrete type",
            "T",
        ),
        ("extern \"C\" fn f<const N: usize>() -> i32 { 1 }", "a callback cannot be generic", "const"),
        ("extern \"C\" fn f(a: impl Fn()) -> i32 { 1 }", "a callback cannot be generic", "impl"),
        (
            "extern \"C\" fn f(&self) -> i32 { 1 }",
            "a callback cannot take `self`: make it a function and take a pointer",
            "&",
        ),
        (
            "unsafe extern \"C\" fn f(a: i32, ...) -> i32 { 1 }",
            "a callback cannot be variadic: write the arguments out",
            "...",
        ),
        ("extern \"C\" fn f() -> ! { loop {} }", "a callback returns to C, even after a panic", "!"),
    ] {
        assert_error("on_panic = 1", item, text, place);
    }
}

#[test]
fn all_mistakes_are_reported_together_and_the_function_is_kept() {
    let item = "async fn f<T>(self) {}";
    assert_eq!(errors("", item).len(), 5);
    let expanded = expand("", item).to_string();
    let kept = TokenStream::from_str(item).expect("tokens").to_string();
    assert!(expanded.ends_with(&kept));
}
