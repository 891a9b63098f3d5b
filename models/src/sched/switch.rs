//! Leaving and resuming a goroutine: what `switch.rs` of the runtime does in `park`, `swap_out` and `finish`, without the
//! choice of who runs meanwhile.

use crate::sched::g::G;
use crate::sched::p::P;

pub(crate) fn park(g: &G) -> bool {
    if g.is_armed() {
        g.saved.write(|saved| *saved = 1);
        if g.publish_parked() {
            g.stay();
        }
        g.saved.write(|saved| *saved = 0);
    }
    g.timed_out()
}

pub(crate) fn count_switch(p: &P, _inherit: bool) -> u32 {
    P::bump(&p.switches)
}
