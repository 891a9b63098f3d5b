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
//! for ever costs two words each time. Learning is serialised by [`LEARNING`], which is taken with none of the loader's
//! locks held.
//!
//! # When does a view go stale?
//!
//! The loader counts the changes to its set of modules with thread-local storage and stamps each thread vector with the
//! count, at its making and when its thread meets a variable of a module loaded since. So a stamp newer than those that
//! are [`KNOWN`] says that there is something to learn, and a stamp equal to the view's own says that the vector's entries
//! are about the same modules as the view. The stamp needs no room in the block beyond the vector's own.
//!
//! Learning takes locks of the loader's, and their holder may wait for the very goroutine that is about to begin: in a
//! callback of `dl_iterate_phdr`, say. So a reset does not learn. It says that it cannot, the block is thrown away and a new
//! one made, which glibc fills in; and [`catch_up`] has a thread of its own learn, which may wait. (Donors' blocks cannot be
//! thrown away. For them a reset does learn.)
//!
//! What a stamp cannot tell is that a library was loaded whose variables are reached with fixed offsets
//! (initial-exec): blocks made before it read zeros there. That is [`refresh`]'s work, which belongs after every
//! `dlopen` and `dlclose`. From before the call until then ([`changing`]) no block is reset: goroutines that a constructor
//! starts get new ones.
//!
//! # Dynamic blocks
//!
//! Variables of libraries loaded later lie in blocks made at first use and noted in the thread vector. If the stamp equals
//! the view's they are written over in place; otherwise an entry may be about a module that is gone, so they are freed and
//! marked "not allocated", which is how a thread starts and which the loader mends at the next use.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::alloc;

use super::glibc::{Glibc, DTV_UNALLOCATED};
use super::lock::{Guard, Lock};
use super::Error;
use crate::arch;
use crate::os::{self, Thread};
use crate::sync::rawmutex::RawMutex;

/// A module with thread-local storage.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    /// The loader's number for it: its entry in each thread vector.
    id: usize,
    /// Where its share begins, from the thread pointer, if it has a fixed place.
    offset: Option<isize>,
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

/// A list with the stamp it goes with.
struct View {
    list: &'static List,
    /// The stamp of a vector made when the list was learnt.
    stamp: usize,
    /// The one before, which somebody may look at still.
    older: Option<&'static View>,
}

/// Libc's place in every block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Where it begins, from the thread pointer.
    offset: isize,
    /// Its length in bytes.
    size: usize,
}

impl Share {
    /// Its first word in the block at `tp`.
    pub(super) fn start(self, tp: usize) -> *mut usize {
        tp.wrapping_add_signed(self.offset) as *mut usize
    }

    /// Its length in words.
    pub(super) fn words(self) -> usize {
        self.size / size_of::<usize>()
    }
}

static CURRENT: AtomicPtr<View> = AtomicPtr::new(core::ptr::null_mut());
/// Vectors with stamps below this one are about modules that the current view has or that are gone. 0 while modules change.
/// Stored after [`CURRENT`], and read before it.
static KNOWN: AtomicUsize = AtomicUsize::new(0);
/// The newest stamp that a [`reset`] met and did not know.
static MET: AtomicUsize = AtomicUsize::new(0);
/// True while a thread of [`catch_up`]'s is under way.
static CATCHING_UP: AtomicBool = AtomicBool::new(false);
/// The list whose modules live blocks have been given. Not always the current one: a [`reset`] may be first to learn of
/// a library whose loader has yet to call [`refresh`]. Used with [`LEARNING`] held.
static DELIVERED: AtomicPtr<List> = AtomicPtr::new(core::ptr::null_mut());
static LEARNING: Lock = Lock::new();
/// Changes of the modules that are under way. Used with [`LEARNING`] held.
static CHANGES: AtomicUsize = AtomicUsize::new(0);
/// The value of [`KNOWN`] when nothing changes. Used with [`LEARNING`] held.
static KNOWN_AT_REST: AtomicUsize = AtomicUsize::new(0);

/// One entry of a thread vector: address and what to free. Entry 0 holds the stamp, entry -1 the number of entries.
type Entry = [usize; 2];

/// The thread vector of a block.
///
/// # Safety
/// `tp` is the thread pointer of a block made by glibc.
unsafe fn vector(tp: usize) -> *mut Entry {
    // SAFETY: the ABI gives the vector's address this place.
    unsafe { ((tp + arch::THREAD_VECTOR) as *const *mut Entry).read() }
}

/// Puts every module's variables back, libc's and ld.so's excepted. False: it cannot, because the block has met modules that
/// are not known yet; it is as it was.
///
/// # Safety
/// `tp` is the thread pointer of a complete block of ours, nobody runs on it, and no reference into it is left.
#[must_use]
pub(super) unsafe fn reset(tp: usize) -> bool {
    // SAFETY: the caller vouches for the block; the vector has at least the entry with the stamp.
    let stamp = unsafe { (*vector(tp))[0] };
    if stamp >= KNOWN.load(Ordering::Acquire) {
        MET.fetch_max(stamp, Ordering::Relaxed);
        return false;
    }
    // SAFETY: the caller's promise, passed on.
    unsafe { put_back(current(), tp) };
    true
}

/// Writes what the view knows over the block's variables.
///
/// # Safety
/// As for [`reset`].
#[inline]
unsafe fn put_back(view: &View, tp: usize) {
    // SAFETY: as in `reset`.
    let (vector, stamp) = unsafe {
        let vector = vector(tp);
        (vector, (*vector)[0])
    };
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

/// As [`reset`], for blocks that cannot be thrown away: learns what it must, and waits for the loader.
///
/// # Safety
/// As for [`reset`].
pub(super) unsafe fn reset_by_learning(glibc: &Glibc, tp: usize) {
    // SAFETY: the caller's promise, passed on. `put_back` is right for any stamp, see there; what an unlearnt module has in
    // the block stays as it is when there is no memory to learn of it.
    unsafe {
        if !reset(tp) {
            let view = learn(glibc, &LEARNING.lock()).unwrap_or_else(|_| current());
            put_back(view, tp);
        }
    }
}

/// A change of the modules that is under way; [`refresh`] ends it.
#[must_use]
pub(crate) struct Change(());

/// The modules are about to change: no block is reset until [`refresh`].
pub(super) fn changing() -> Change {
    let _guard = LEARNING.lock();
    CHANGES.fetch_add(1, Ordering::Relaxed);
    KNOWN.store(0, Ordering::Release);
    Change(())
}

/// The thread that [`catch_up`] has started last.
static LEARNER: RawMutex<Option<Thread>> = RawMutex::new(None);

/// Waits for the end of the thread that [`catch_up`] has started.
pub(super) fn caught_up() {
    let learner = LEARNER.lock().take();
    if let Some(thread) = learner {
        thread.join();
    }
}

/// Learns of modules that a [`reset`] has met, if there are any, on a thread of its own; returns at once.
pub(super) fn catch_up() {
    extern "C" fn main(_: *mut c_void) -> *mut c_void {
        // If there is no memory, there is another time.
        let _ = learn(&super::state().glibc, &LEARNING.lock());
        CATCHING_UP.store(false, Ordering::Relaxed);
        core::ptr::null_mut()
    }
    /// Room for the loader's own frames.
    const STACK: usize = 256 << 10;
    let behind = MET.load(Ordering::Relaxed) >= KNOWN_AT_REST.load(Ordering::Relaxed);
    if !behind || CATCHING_UP.swap(true, Ordering::Relaxed) {
        return;
    }
    // sysmon does not wait: the one before is done, or nearly.
    let before = LEARNER.lock().take();
    if let Some(Err(before)) = before.map(Thread::try_join) {
        *LEARNER.lock() = Some(before);
        CATCHING_UP.store(false, Ordering::Relaxed);
        return;
    }
    match os::spawn_thread(c"gort-modules", STACK, main, core::ptr::null_mut()) {
        Ok(thread) => *LEARNER.lock() = Some(thread),
        Err(_) => CATCHING_UP.store(false, Ordering::Relaxed),
    }
}

/// After a change to the modules: learns them and gives the newly placed ones' variables their values in live blocks.
///
/// # Safety
/// As for [`super::refresh`].
pub(super) unsafe fn refresh(
    glibc: &Glibc,
    change: Option<Change>,
    live: Option<super::Live<'_>>,
) -> Result<(), Error> {
    let guard = LEARNING.lock();
    if change.is_some() {
        CHANGES.fetch_sub(1, Ordering::Relaxed);
    }
    let new = learn(glibc, &guard)?;
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

/// Learns the modules for the first time. Returns libc's place in a block, if it has a fixed one.
pub(super) fn init(glibc: &Glibc) -> Result<Option<Share>, Error> {
    let guard = LEARNING.lock();
    let view = learn(glibc, &guard)?;
    DELIVERED.store((&raw const *view.list).cast_mut(), Ordering::Relaxed);
    Ok(loaded(glibc, &Scratch::new(glibc)?).1)
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
            unsafe { self.put(tp.wrapping_add_signed(offset) as *mut u8) };
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

/// Asks the loader for its modules and publishes a view of them.
fn learn(glibc: &Glibc, _guard: &Guard<'_>) -> Result<&'static View, Error> {
    // Before the list: a module that has been met is there, or gone.
    let met = MET.load(Ordering::Relaxed);
    let (list, stamp) = loop {
        let before = Scratch::new(glibc)?;
        let (list, _) = loaded(glibc, &before);
        // A change in between would show in the stamp.
        let stamp = before.stamp();
        if Scratch::new(glibc)?.stamp() == stamp {
            break (list, stamp);
        }
    };
    let list = share(list);
    // SAFETY: published views live for ever.
    let older = unsafe { CURRENT.load(Ordering::Acquire).as_ref::<'static>() };
    let same = older.filter(|old| core::ptr::eq(old.list, list) && old.stamp == stamp);
    let view = same.unwrap_or_else(|| Box::leak(Box::new(View { list, stamp, older })));
    CURRENT.store((&raw const *view).cast_mut(), Ordering::Release);
    // A vector that is made now may have an older stamp than others have: glibc takes that of the newest module that is left.
    let known = KNOWN_AT_REST.load(Ordering::Relaxed).max(stamp + 1).max(met + 1);
    KNOWN_AT_REST.store(known, Ordering::Relaxed);
    if CHANGES.load(Ordering::Relaxed) == 0 {
        KNOWN.store(known, Ordering::Release);
    }
    Ok(view)
}

/// A list in the chain of all so far.
struct Node {
    list: List,
    /// The one before.
    next: Option<&'static Node>,
}

/// The newest list.
static LISTS: AtomicPtr<Node> = AtomicPtr::new(core::ptr::null_mut());

/// Frees all views and lists.
///
/// # Safety
/// No other function of this module is called any more.
pub(super) unsafe fn unload() {
    // SAFETY: views and nodes were leaked boxes, each in one chain, and nobody looks at them any more.
    unsafe {
        free_all(&CURRENT, |view| view.older);
        free_all(&LISTS, |node| node.next);
    }
}

/// # Safety
/// The chain is of leaked boxes, which nobody looks at any more.
unsafe fn free_all<T>(chain: &AtomicPtr<T>, next: fn(&T) -> Option<&'static T>) {
    let mut at = chain.swap(core::ptr::null_mut(), Ordering::Relaxed);
    while !at.is_null() {
        // SAFETY: the caller's promise.
        let this = unsafe { Box::from_raw(at) };
        at = next(&this).map_or(core::ptr::null_mut(), ptr_of);
    }
}

fn ptr_of<T>(at: &'static T) -> *mut T {
    (&raw const *at).cast_mut()
}

/// Keeps one copy of each distinct list. Called with [`LEARNING`] held.
fn share(list: List) -> &'static List {
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
    LISTS.store(ptr_of(node), Ordering::Release);
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
        // SAFETY: the memory has room for a block around the thread pointer, and is zero.
        if unsafe { (glibc.allocate_tls)(scratch.tp as *mut c_void) }.is_null() {
            return Err(Error::NoMemory);
        }
        Ok(scratch)
    }

    fn layout(glibc: &Glibc) -> alloc::Layout {
        alloc::Layout::from_size_align(glibc.layout.size().next_multiple_of(glibc.layout.align), glibc.layout.align)
            .expect("glibc's alignment is a power of two")
    }

    fn stamp(&self) -> usize {
        // SAFETY: the block has a vector since `new`.
        unsafe { (*vector(self.tp))[0] }
    }

    /// Where a module begins, from the thread pointer, if it has a fixed place.
    fn offset(&self, id: usize) -> Option<isize> {
        // SAFETY: as above; the number of entries stands before entry 0.
        let address = unsafe {
            let vector = vector(self.tp);
            if id > (*vector.sub(1))[0] {
                return None;
            }
            (*vector.add(id))[0]
        };
        let fixed = self.glibc.layout.block(self.tp).contains(&address);
        fixed.then(|| address.wrapping_sub(self.tp).cast_signed())
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
    libc: Option<Share>,
}

/// The modules of the program's namespace, without libc and ld.so; and libc's place, if it has a fixed one.
fn loaded(glibc: &Glibc, scratch: &Scratch<'_>) -> (List, Option<Share>) {
    let kept = [glibc.call_tls_dtors as *const () as usize, glibc.allocate_tls as *const () as usize];
    let list = List { fixed: Vec::new(), dynamic: Vec::new() };
    let mut survey = Survey { scratch, kept, list, libc: None };
    // SAFETY: the callback gets our survey, which outlives the call. The loader's lock, held meanwhile, keeps the objects
    // mapped while their images are copied.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut survey).cast()) };
    (survey.list, survey.libc)
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
    if info.dlpi_tls_modid == 0 {
        return 0;
    }
    let [libc, loader] = &survey.kept;
    let (libc, loader) = (holds(libc), holds(loader));
    for header in headers.iter().filter(|header| header.p_type == libc::PT_TLS) {
        let offset = survey.scratch.offset(info.dlpi_tls_modid);
        let size = header.p_memsz as usize;
        if libc {
            survey.libc = offset.map(|offset| Share { offset, size });
        }
        if libc || loader {
            continue;
        }
        let start = base.wrapping_add(header.p_vaddr as usize) as *const u8;
        // SAFETY: the initialisation image is part of the object, which is mapped while the loader's lock is held.
        let image = unsafe { core::slice::from_raw_parts(start, header.p_filesz as usize) };
        let module = Module { id: info.dlpi_tls_modid, offset, image: image.into(), size };
        let list = if offset.is_some() { &mut survey.list.fixed } else { &mut survey.list.dynamic };
        list.push(module);
    }
    0
}
