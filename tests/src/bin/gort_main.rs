//! Programs with `#[gort::main]` and their twins without. The first argument says `goroutine` or `plain`, the second which.
//!
//! Each is a `main` in a module of its own; the program's own `main` ends as that one does.

use std::process::{ExitCode, Termination};

/// A `main`, and the same with the attribute.
macro_rules! twins {
    ($name:ident, $($function:tt)*) => {
        mod $name {
            pub mod plain {
                #[allow(unused_imports)]
                use crate::*;
                pub $($function)*
            }
            pub mod goroutine {
                #[allow(unused_imports)]
                use crate::*;
                #[gort::main]
                pub $($function)*
            }
        }
    };
}

/// A value that cannot be sent to another thread.
#[derive(Debug)]
struct NotSend(#[allow(dead_code, reason = "printed")] std::rc::Rc<i32>);

twins! { unit, fn main() { println!("done") } }
twins! { fails, fn main() -> Result<(), NotSend> { Err(NotSend(std::rc::Rc::new(5))) } }
twins! { question_mark, fn main() -> Result<(), Box<dyn std::error::Error>> {
    let n: i32 = "x".parse()?;
    println!("{n}");
    Ok(())
} }
twins! { code, fn main() -> ExitCode { ExitCode::from(7) } }
twins! { code_in_result, fn main() -> Result<ExitCode, String> { Ok(ExitCode::from(8)) } }
twins! { opaque, fn main() -> impl Termination { Err::<(), _>("opaque") } }
twins! { never, fn main() -> ! { std::process::exit(3) } }
twins! { exits, fn main() {
    print!("without a line's end");
    std::process::exit(4)
} }
twins! { panics, fn main() { panic!("on {}", "purpose") } }
twins! { quiet_panic, fn main() { std::panic::resume_unwind(Box::new(5)) } }
twins! { deep, fn main() { println!("{}", deep_stack(3 << 20)) } }
twins! { name, fn main() { println!("{:?}", std::thread::current().name()) } }
twins! { others_go_on, fn main() {
    for _ in 0..4 {
        gort::thread::spawn(|| loop { std::hint::spin_loop() });
        gort::thread::spawn(|| loop { gort::thread::park() });
        std::thread::spawn(|| loop { std::thread::park() });
    }
} }

/// Uses that many bytes of the stack at least, without optimisation nearly twice as many.
fn deep_stack(bytes: usize) -> usize {
    let room = std::hint::black_box([1u8; 4096]);
    let deeper = if bytes > 5000 { deep_stack(bytes - 5000) } else { 0 };
    deeper + usize::from(std::hint::black_box(&room)[bytes % 4096])
}

mod is_goroutine {
    #[gort::main]
    pub fn main() {
        assert!(gort::thread::is_goroutine());
        assert_eq!(gort::thread::current().name(), Some("main"));
        assert_eq!(std::thread::spawn(gort::thread::is_goroutine).join().unwrap(), false, "only this one");
        println!("{}", gort::thread::spawn(|| 5).join().unwrap());
    }
}

mod settings {
    #[gort::main(procs = 2 + 1, stack_size = 300 << 10, deadlock_report = false,)]
    pub fn main() {
        println!("{} Ps", gort::stats().procs);
    }

    pub fn twice() -> std::process::ExitCode {
        assert_eq!(main(), std::process::ExitCode::SUCCESS);
        main()
    }
}

mod dead_lock {
    #[gort::main]
    pub fn main() {
        // SAFETY: the default action ends the process, some time after the report.
        unsafe { libc::alarm(4) };
        std::sync::mpsc::sync_channel::<()>(0).1.recv().unwrap_err();
        let (_to, from) = std::sync::mpsc::channel::<()>();
        from.recv().unwrap();
    }
}

fn run<T: Termination>(main: fn() -> T) -> ExitCode {
    main().report()
}

fn main() -> ExitCode {
    let [kind, which] = [1, 2].map(|i| std::env::args().nth(i).unwrap_or_default());
    macro_rules! dispatch {
        ($($name:ident)*) => {
            match (kind.as_str(), which.as_str()) {
                $(
                    ("plain", stringify!($name)) => run($name::plain::main),
                    ("goroutine", stringify!($name)) => $name::goroutine::main(),
                )*
                ("goroutine", "is_goroutine") => is_goroutine::main(),
                ("goroutine", "settings") => settings::main(),
                ("goroutine", "twice") => settings::twice(),
                ("goroutine", "dead_lock") => dead_lock::main(),
                other => panic!("no program {other:?}"),
            }
        };
    }
    dispatch!(unit fails question_mark code code_in_result opaque never exits panics quiet_panic deep name others_go_on)
}
