//! Settings that are none, and return types of programs that are none.
mod unknown {
    #[gort::main(prcos = 2)] //~ E0599 no method named `prcos`
    fn main() {}
}

mod kind {
    #[gort::main(procs = "two")] //~ E0308 mismatched types
    fn main() {}
}

mod twice {
    #[gort::main(procs = 2, procs = 3)] //~ - is given twice
    fn main() {}
}

mod value {
    #[gort::main(procs)] //~ - `procs` needs a value
    fn main() {}
}

mod result {
    #[gort::main]
    fn main() -> i32 { 5 } //~ E0277 Termination
}

mod body {
    #[gort::main]
    fn main() -> Result<(), String> {} //~ E0308 mismatched types
}

fn main() {}
