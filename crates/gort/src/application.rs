//! Telling the runtime, before `main`, that the program is an application: it names this crate.

/// Runs with the initialisers of the program, or of the library that has linked this crate.
extern "C" fn declare() {
    gort_rt::hook::declare_application();
}

#[used]
#[cfg_attr(target_os = "linux", link_section = ".init_array")]
#[cfg_attr(windows, link_section = ".CRT$XCU")]
static DECLARE: extern "C" fn() = declare;
