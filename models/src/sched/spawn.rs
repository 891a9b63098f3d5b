//! Goroutines begin: each has a thread of the model for a stack, which waits until somebody switches to it.

use crate::arch;
use crate::engine;
use crate::sched::g::G;
use crate::sched::m::M;
use crate::sched::revoke::leave;
use crate::sched::switch;
use crate::sched::task::Task;
use crate::sched::wake;
use crate::tls;

/// Spawns a goroutine.
pub(crate) fn go(f: impl FnOnce(&'static G) + 'static) {
    start(G::goroutine(), f);
}

/// Spawns the goroutine `g`.
pub(crate) fn start(g: &'static G, f: impl FnOnce(&'static G) + 'static) {
    g.sp.set(arch::context());
    engine::spawn(move || {
        // SAFETY: the block lives as long as the execution.
        unsafe { tls::settls(&g.tls) };
        // SAFETY: the context was made for this thread.
        unsafe { arch::begin(g.sp.get()) };
        arch::until_the_end(|| {
            // SAFETY: whoever resumed the goroutine set its M.
            let m = unsafe { &*g.m.get() };
            switch::finish(m);
            leave(m);
            f(g);
            switch::exit(g);
        });
    });
    wake::spawned(&g.task);
}

pub(crate) fn embody(_: &'static M, task: *const Task) -> Option<*const G> {
    // SAFETY: it came from a queue, so it is ours.
    unsafe { (*task).g() }
}

pub(crate) fn embody_on_g0(m: &'static M, task: *const Task) -> *const G {
    embody(m, task).expect("goroutines of models have begun")
}
