//! Expansions of `main` and `test`, on token streams. (What must not compile: `crates/gort/tests/compile/fail`.)

use super::{expand, Entry};
use proc_macro2::TokenStream;
use quote::quote;
use std::str::FromStr;

/// Asserts that the expansion is `expected`, without regard to white space.
fn assert_expands(entry: Entry, args: &str, item: &str, expected: TokenStream) {
    let [args, item] = [args, item].map(|text| TokenStream::from_str(text).expect("the test's tokens"));
    let expanded = expand(entry, args, item);
    syn::parse2::<syn::File>(expanded.clone()).expect("the expansion parses");
    assert_eq!(expanded.to_string(), expected.to_string());
}

#[test]
fn main_keeps_its_body_and_its_result() {
    assert_expands(
        Entry::Main,
        "",
        "/// Text.\n fn main() -> Result<(), E> { #![allow(unused)] use x::y; y()?; Ok(()) }",
        quote! {
            #[doc = " Text."]
            #[allow(unused)]
            fn main() -> ::std::process::ExitCode {
                fn main() -> Result<(), E> { use x::y; y()?; Ok(()) }
                ::gort::entry::main(::core::option::Option::None, main)
            }
        },
    );
}

#[test]
fn settings_are_calls_in_their_order() {
    assert_expands(
        Entry::Main,
        "procs = 1 + 1, crate = other::name, deadlock_report = false,",
        "pub fn main() {}",
        quote! {
            pub fn main() -> ::std::process::ExitCode {
                fn main() {}
                other::name::entry::main(
                    ::core::option::Option::Some(
                        other::name::Config::new().procs(1 + 1).deadlock_report(false)
                    ),
                    main
                )
            }
        },
    );
}

#[test]
fn a_test_that_returns_nothing_still_does() {
    for output in [quote!(), quote!(-> ())] {
        assert_expands(
            Entry::Test,
            "stack_size = 1 << 20",
            &format!("#[should_panic] fn r#match() {output} {{ f() }}"),
            quote! {
                #[::core::prelude::v1::test]
                #[should_panic]
                fn r#match() #output {
                    fn r#match() #output { f() }
                    ::gort::entry::test(
                        ::core::concat!(::core::module_path!(), "::", "match"),
                        ::core::option::Option::Some(1 << 20),
                        r#match
                    )
                }
            },
        );
    }
}

#[test]
fn a_test_that_returns_something_returns_an_exit_code() {
    assert_expands(
        Entry::Test,
        "",
        "fn f() -> Result<(), E> { g() }",
        quote! {
            #[::core::prelude::v1::test]
            fn f() -> ::std::process::ExitCode {
                fn f() -> Result<(), E> { g() }
                ::gort::entry::test_with_result(
                    ::core::concat!(::core::module_path!(), "::", "f"),
                    ::core::option::Option::None,
                    f
                )
            }
        },
    );
}

#[test]
fn mistakes_are_reported_together_and_the_function_is_kept() {
    let item = "async unsafe fn f<T>(n: i32) {}";
    let expanded = expand(Entry::Main, quote!(procs), TokenStream::from_str(item).expect("tokens")).to_string();
    assert_eq!(expanded.matches("compile_error").count(), 6, "{expanded}");
    assert!(expanded.ends_with(&TokenStream::from_str(item).expect("tokens").to_string()));
}
