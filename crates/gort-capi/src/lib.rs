//! gort for C and C++: what `include/gort.h` declares.
//!
//! The header is made from the doc comments of this crate, which are written for the readers of that header; `cbindgen.toml`
//! has its beginning. `install.sh` builds and installs header, libraries and the pkg-config file. `docs/c.md` is the guide.
//!
//! Rules that every function keeps:
//!
//! * It returns a code (`code`), or writes nothing but what its out-parameters say. No panic leaves it: `code::run`.
//! * What C holds is a number and not an address: `table`. So a handle that is over is a code.
//! * In a forked child everything is refused: `fork`.
//!
//! | File | Functions |
//! |---|---|
//! | `start` | starting, shutting down |
//! | `spawn`, `current`, `park` | goroutines and threads |
//! | `channel`, `queue` | channels of pointers; how they wait |
//! | `inside` | enter and leave, blocking calls, staying on a kernel thread |
//! | `text` | texts of panics and errors |
//! | `stats`, `dump`, `hooks` | figures; what everybody does; which of libc's functions park |
//! | `os` | no functions: what differs between platforms |

// In the order of the header, which the blank lines keep.
mod code;

mod start;

mod spawn;

mod current;

mod park;

mod channel;

mod inside;

mod hooks;

mod stats;

mod dump;

mod text;

mod fork;
mod os;
mod queue;
mod table;
