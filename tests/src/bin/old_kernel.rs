//! `old_kernel ERROR CALL[,CALL...] COMMAND [ARGUMENT...]`: runs a command for which these system calls fail, with `ENOSYS` as on a
//! kernel without them or with `EPERM` as in a careful sandbox. For the names see [`Call::named`].

use gort_tests::refuse::{refuse, Call};
use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("old_kernel ERROR CALL[,CALL...] COMMAND [ARGUMENT...]");
    let error = match next().as_str() {
        "ENOSYS" => libc::ENOSYS,
        "EPERM" => libc::EPERM,
        other => panic!("no error {other:?}"),
    };
    let calls: Vec<_> =
        next().split(',').map(|name| Call::named(name).unwrap_or_else(|| panic!("no call {name:?}"))).collect();
    let command = next();
    refuse(&calls, error).expect("a kernel with seccomp filters");
    panic!("{command}: {}", Command::new(&command).args(arguments).exec());
}
