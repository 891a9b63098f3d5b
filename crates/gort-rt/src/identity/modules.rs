//! The modules that have thread-local storage, and putting a block's share of it back to how a thread starts.
//!
//! Libc and ld.so keep caches in theirs (malloc's, the locale's, the resolver's) that a next goroutine may well use, and
//! that nothing public could free; they are left alone. Of every other module the static image is copied again.
//!
//! # The list of modules
//!
//! [`reset`] is on the path of every goroutine, so it takes no lock and asks the loader nothing: it reads a [`View`] behind
//! one pointer. A view owns copies of the images, since a module may be unmapped at any time. Views are replaced, never
//! changed, and never freed, for a reader may hold one; equal lists are shared, so loading and unloading the same plug-in
//! for ever costs three words each time. Learning is serialised by [`LEARNING`], which is taken with none of the loader's
//! locks held.
//!
//! # When does a view go stale?
//!
//! The loader counts the changes to its set of modules with thread-local storage and stamps each thread vector with the
//! count, at its making and when its thread meets a variable of a module loaded since. So a stamp newer than any the
//! view has seen says "learn again", and a stamp equal to the view's own says that the vector's entries are about the
//! same modules as the view. The stamp needs no room in the block beyond the vector's own.
//!
//! What a stamp cannot tell is that a library was loaded whose variables are reached with fixed offsets
//! (initial-exec): blocks made before it read zeros there. That is [`refresh`]'s work, which belongs after every
//! `dlopen` and `dlclose`.
//!
//! # Dynamic blocks
//!
//! Variables of libraries loaded later lie in blocks made at first use and noted in the thread vector. If the stamp equals
//! the view's they are written over in place; otherwise an entry may be about a module that is gone, so they are freed and
//! marked "not allocated", which is how a thread starts and which the loader mends at the next use.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};
use std::alloc;

use super::block::DTV;
use super::glibc::{Glibc, DTV_UNALLOCATED};
use super::lock::{Guard, Lock};
use super::Error;

/// A module with thread-local storage.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    /// The loader's number for it: its entry in each thread vector.
    id: usize,
    /// How far below the thread pointer its share begins, if it has a fixed place.
    offset: Option<usize>,
    /// What its variables start as; the rest of `size` is zero.
    image: Box<[u8]>,
    size: usize,
}

/// The modules whose share is put back, those with a fixed place first.
#[derive(Debug, PartialEq, Eq)]
struct List {
    fixed: Vec<Module>,
    dynamic: Vec<Module>,
}

/// A list with the stamps it goes with.
struct View {
    list: &'static List,
    /// The stamp of a vector made when the list was learnt.
    stamp: usize,
    /// The newest stamp of any vector that led to learning.
    seen: usize,
}

static CURRENT: AtomicPtr<View> = AtomicPtr::new(core::ptr::null_mut());
/// The list whose modules live blocks have been given. Not always the current one: a [`reset`] may be first to learn of
/// a library whose loader has yet to call [`refresh`]. Used with [`LEARNING`] held.
static DELIVERED: AtomicPtr<List> = AtomicPtr::new(core::ptr::null_mut());
static LEARNING: Lock = Lock::new();

/// One entry of a thread vector: address and what to free. Entry 0 holds the stamp, entry -1 the number of entries.
type Entry = [usize; 2];

/// The thread vector of a block.
///
/// # Safety
/// `tp` is the thread pointer of a block made by glibc.
unsafe fn vector(tp: usize) -> *mut Entry {
    // SAFETY: the ABI gives the vector's address this place.
    unsafe { ((tp + DTV) as *const *mut Entry).read() }
}

/// Puts every module's variables back, libc's and ld.so's excepted.
///
/// # Safety
/// `tp` is the thread pointer of a complete block of ours, nobody runs on it, and no reference into it is left.
pub(super) unsafe fn reset(glibc: &Glibc, tp: usize) {
    // SAFETY: the caller vouches for the block; the vector has at least the entry with the stamp.
    let (vector, stamp) = unsafe {
        let vector = vector(tp);
        (vector, (*vector)[0])
    };
    let mut view = current();
    if stamp > view.seen {
        view = learn(glibc, &LEARNING.lock(), stamp).unwrap_or(view);
    }
    for module in &view.list.fixed {
        // SAFETY: the caller vouches for the block, and the list says that the module's place is in it.
        unsafe { module.put_fixed(tp) };
    }
    if stamp == view.stamp {
        for module in &view.list.dynamic {
            // SAFETY: the stamps are equal, so the vector is long enough and its entry about this module.
            unsafe { module.put_dynamic(vector) };
        }
    } else {
        // SAFETY: nobody runs on the block, so nobody uses its dynamic parts.
        unsafe { free_dynamic(vector) };
    }
}

/// After a change to the modules: learns them and gives the newly placed ones' variables their values in live blocks.
///
/// # Safety
/// As for [`super::refresh`].
pub(super) unsafe fn refresh(glibc: &Glibc, live: Option<super::Live<'_>>) -> Result<(), Error> {
    let guard = LEARNING.lock();
    let new = learn(glibc, &guard, 0)?;
    let old = DELIVERED.swap((&raw const *new.list).cast_mut(), Ordering::Relaxed);
    // SAFETY: lists live for ever, and `init` has stored the first.
    let old = unsafe { &*old };
    let fresh: Vec<_> = new.list.fixed.iter().filter(|module| !old.fixed.contains(module)).collect();
    if let (Some(live), false) = (live, fresh.is_empty()) {
        // SAFETY: the caller names complete blocks; nobody uses the variables of a module whose loading has not returned.
        live(&mut |tp| fresh.iter().for_each(|module| unsafe { module.put_fixed(tp) }));
    }
    Ok(())
}

/// Learns the modules for the first time.
pub(super) fn init(glibc: &Glibc) -> Result<(), Error> {
    let guard = LEARNING.lock();
    let view = learn(glibc, &guard, 0)?;
    DELIVERED.store((&raw const *view.list).cast_mut(), Ordering::Relaxed);
    Ok(())
}

fn current() -> &'static View {
    let view = CURRENT.load(Ordering::Acquire);
    assert!(!view.is_null(), "identity::init has not been called");
    // SAFETY: views are leaked before they are published, and never changed.
    unsafe { &*view }
}

impl Module {
    /// # Safety
    /// The module has a fixed place, and `tp` is the thread pointer of a complete block.
    unsafe fn put_fixed(&self, tp: usize) {
        if let Some(offset) = self.offset {
            // SAFETY: the loader gave the module these bytes of every block.
            unsafe { self.put((tp - offset) as *mut u8) };
        }
    }

    /// # Safety
    /// `vector` is a thread vector whose entry for this module is up to date and whose thread does not run.
    unsafe fn put_dynamic(&self, vector: *mut Entry) {
        // SAFETY: as promised, the entry exists; if it holds an address, that is a block of this module's size.
        unsafe {
            let [address, _] = *vector.add(self.id);
            if address != DTV_UNALLOCATED && address != 0 {
                self.put(address as *mut u8);
            }
        }
    }

    /// # Safety
    /// `to` is valid for writing `size` bytes.
    unsafe fn put(&self, to: *mut u8) {
        let len = self.image.len();
        // SAFETY: the image is no longer than the size.
        unsafe {
            core::ptr::copy_nonoverlapping(self.image.as_ptr(), to, len);
            core::ptr::write_bytes(to.add(len), 0, self.size - len);
        }
    }
}

/// # Safety
/// Nobody runs on the block that `vector` belongs to.
unsafe fn free_dynamic(vector: *mut Entry) {
    // SAFETY: glibc stores the number of entries before entry 0, and in each what its own clean-up would free.
    unsafe {
        for i in 1..=(*vector.sub(1))[0] {
            let entry = vector.add(i);
            if (*entry)[1] != 0 {
                libc::free((*entry)[1] as *mut c_void);
                entry.write([DTV_UNALLOCATED, 0]);
            }
        }
    }
}

/// Asks the loader for its modules and publishes a new view. `seen` is the stamp that gave the occasion.
fn learn(glibc: &Glibc, _guard: &Guard<'_>, seen: usize) -> Result<&'static View, Error> {
    let old = CURRENT.load(Ordering::Acquire);
    let (list, stamp) = loop {
        let before = Scratch::new(glibc)?;
        let list = loaded(glibc, &before);
        // A change in between would show in the stamp.
        let stamp = before.stamp();
        if Scratch::new(glibc)?.stamp() == stamp {
            break (list, stamp);
        }
    };
    // SAFETY: published views live for ever.
    let old = unsafe { old.as_ref() };
    let view: &'static View = Box::leak(Box::new(View {
        list: share(list),
        stamp,
        seen: seen.max(stamp).max(old.map_or(0, |old| old.seen)),
    }));
    CURRENT.store((&raw const *view).cast_mut(), Ordering::Release);
    Ok(view)
}

/// Keeps one copy of each distinct list. Called with [`LEARNING`] held.
fn share(list: List) -> &'static List {
    /// All lists so far, newest first.
    struct Node {
        list: List,
        next: Option<&'static Node>,
    }
    static LISTS: AtomicPtr<Node> = AtomicPtr::new(core::ptr::null_mut());
    // SAFETY: nodes are leaked before they are stored.
    let first = unsafe { LISTS.load(Ordering::Acquire).as_ref::<'static>() };
    let mut at = first;
    while let Some(node) = at {
        if node.list == list {
            return &node.list;
        }
        at = node.next;
    }
    let node: &'static Node = Box::leak(Box::new(Node { list, next: first }));
    LISTS.store((&raw const *node).cast_mut(), Ordering::Release);
    &node.list
}

/// A thread block that nobody will run on: its vector tells where the loader puts things.
struct Scratch<'a> {
    glibc: &'a Glibc,
    memory: *mut u8,
    tp: usize,
}

impl Scratch<'_> {
    fn new(glibc: &Glibc) -> Result<Scratch<'_>, Error> {
        let layout = Scratch::layout(glibc);
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc::alloc_zeroed(layout) };
        if memory.is_null() {
            return Err(Error::NoMemory);
        }
        let scratch = Scratch { glibc, memory, tp: glibc.thread_pointer(memory as usize + layout.size()) };
        // SAFETY: there are `below` bytes under the thread pointer and a zero TCB above it.
        if unsafe { (glibc.allocate_tls)(scratch.tp as *mut c_void) }.is_null() {
            return Err(Error::NoMemory);
        }
        Ok(scratch)
    }

    fn layout(glibc: &Glibc) -> alloc::Layout {
        alloc::Layout::from_size_align(glibc.size().next_multiple_of(glibc.align), glibc.align)
            .expect("glibc's alignment is a power of two")
    }

    fn stamp(&self) -> usize {
        // SAFETY: the block has a vector since `new`.
        unsafe { (*vector(self.tp))[0] }
    }

    /// How far below the thread pointer a module begins, if it has a fixed place.
    fn offset(&self, id: usize) -> Option<usize> {
        // SAFETY: as above; the number of entries stands before entry 0.
        let address = unsafe {
            let vector = vector(self.tp);
            if id > (*vector.sub(1))[0] {
                return None;
            }
            (*vector.add(id))[0]
        };
        let offset = self.tp.wrapping_sub(address);
        (1..=self.glibc.below).contains(&offset).then_some(offset)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        // SAFETY: the vector and the memory are ours and nobody else knows them. After a failed allocation the vector's
        // address is null and there is nothing to free but the memory.
        unsafe {
            if !vector(self.tp).is_null() {
                (self.glibc.deallocate_tls)(self.tp as *mut c_void, false);
            }
            alloc::dealloc(self.memory, Scratch::layout(self.glibc));
        }
    }
}

/// What `dl_iterate_phdr`'s callback works with.
struct Survey<'a> {
    scratch: &'a Scratch<'a>,
    /// An address in each object whose variables stay as they are.
    kept: [usize; 2],
    list: List,
}

/// The modules of the program's namespace, without libc and ld.so.
fn loaded(glibc: &Glibc, scratch: &Scratch<'_>) -> List {
    let kept = [glibc.call_tls_dtors as *const () as usize, glibc.allocate_tls as *const () as usize];
    let mut survey = Survey { scratch, kept, list: List { fixed: Vec::new(), dynamic: Vec::new() } };
    // SAFETY: the callback gets our survey, which outlives the call. The loader's lock, held meanwhile, keeps the objects
    // mapped while their images are copied.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut survey).cast()) };
    survey.list
}

unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: the loader passes a description of one object, and `loaded` passed a survey.
    let (info, survey) = unsafe { (&*info, &mut *data.cast::<Survey<'_>>()) };
    // SAFETY: the description says so.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let base = info.dlpi_addr as usize;
    let holds = |address: &usize| {
        headers.iter().any(|header| {
            let start = base.wrapping_add(header.p_vaddr as usize);
            header.p_type == libc::PT_LOAD && address.wrapping_sub(start) < header.p_memsz as usize
        })
    };
    if info.dlpi_tls_modid == 0 || survey.kept.iter().any(holds) {
        return 0;
    }
    for header in headers.iter().filter(|header| header.p_type == libc::PT_TLS) {
        let start = base.wrapping_add(header.p_vaddr as usize) as *const u8;
        // SAFETY: the initialisation image is part of the object, which is mapped while the loader's lock is held.
        let image = unsafe { core::slice::from_raw_parts(start, header.p_filesz as usize) };
        let offset = survey.scratch.offset(info.dlpi_tls_modid);
        let module = Module { id: info.dlpi_tls_modid, offset, image: image.into(), size: header.p_memsz as usize };
        let list = if offset.is_some() { &mut survey.list.fixed } else { &mut survey.list.dynamic };
        list.push(module);
    }
    0
}
