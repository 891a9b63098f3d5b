//! Functions that are looked up by name at run time: crates that also run on older systems find those of [`address`] so, parking_lot
//! among them.

use crate::address;
use core::ffi::{c_char, CStr};
use core::mem::transmute;
use gort_rt::hook::Function;
use windows_sys::Win32::Foundation::HMODULE;

/// What this file stands in for.
pub(crate) static HOOKS: &[&Function] = &[&FIND];

static FIND: Function = Function::new(c"GetProcAddress", find as *const ());

/// Below this, an address of a name is no address but a number.
const ORDINALS: usize = 1 << 16;

/// In place of `GetProcAddress`.
unsafe extern "system" fn find(module: HMODULE, name: *const c_char) -> *const () {
    type Real = unsafe extern "system" fn(HMODULE, *const c_char) -> *const ();
    // SAFETY: the type is that of the function with this name; the caller's promise, passed on.
    let found = unsafe { transmute::<*const (), Real>(FIND.real())(module, name) };
    if found.is_null() || name.addr() < ORDINALS {
        return found;
    }
    // SAFETY: the caller passes a name, by which something was found.
    let name = unsafe { CStr::from_ptr(name) };
    match address::HOOKS.iter().find(|hook| hook.name() == name) {
        Some(hook) => hook.stand_in(found),
        None => found,
    }
}
