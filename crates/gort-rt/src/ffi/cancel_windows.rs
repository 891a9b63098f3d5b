//! Requests of `pthread_cancel`, which Windows has not: callbacks enter and leave without a look for them.

use crate::sched::m::M;

/// The outermost callback of the calling thread has entered.
#[inline(always)]
pub(super) fn entered(_m: &M) {}

/// The outermost callback of the calling thread has left.
#[inline(always)]
pub(super) fn left(_m: &M) {}
