//! The Ps: as many as a model begins with.

use crate::sched::global::Sched;
use crate::sched::p::P;
use core::cell::OnceCell;
use core::ops::Deref;

pub(crate) struct Procs(OnceCell<Box<[P]>>);

impl Deref for Procs {
    type Target = [P];

    fn deref(&self) -> &[P] {
        self.0.get().map_or(&[], |ps| ps)
    }
}

impl Procs {
    pub(crate) const fn none() -> Procs {
        Procs(OnceCell::new())
    }

    pub(crate) fn in_use(&self) -> usize {
        self.len()
    }

    pub(crate) fn wanted(&self) -> usize {
        self.len()
    }

    pub(crate) fn too_many(&self) -> bool {
        false
    }
}

pub(crate) fn begin(s: &'static Sched, n: usize) -> Result<(), i32> {
    let all = s.ps.0.get_or_init(|| (0..n as u32).map(P::new).collect());
    let (first, others) = all.split_at(n);
    s.idle.lock().begin(first, others);
    Ok(())
}

pub(crate) fn retire(_: &'static Sched) -> bool {
    false
}
