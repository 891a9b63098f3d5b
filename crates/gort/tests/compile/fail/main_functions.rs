//! Functions that cannot be `main`.
mod asynchronous {
    #[gort::main]
    async fn main() {} //~ - remove `async`
}

mod arguments {
    #[gort::main]
    fn main(arguments: Vec<String>) {} //~ - takes no arguments
}

mod generic {
    #[gort::main]
    fn main<T>() {} //~ - cannot be generic
}

mod unsafety {
    #[gort::main]
    unsafe fn main() {} //~ - remove `unsafe`
}

mod convention {
    #[gort::main]
    extern "C" fn main() {} //~ - remove `extern`
}

mod constant {
    #[gort::main]
    const fn main() {} //~ - cannot be `const`
}

mod name {
    #[gort::main]
    fn run() {} //~ - belongs on `fn main`
}

#[gort::main]
struct NoFunction; //~ - belongs on a function

fn main() {}
