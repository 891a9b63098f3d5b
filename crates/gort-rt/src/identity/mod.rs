//! A goroutine's identity: the thread block that makes code running on it a thread to Rust and to C.
//!
//! A thread's block has two parts. The *thread control block* (TCB) is glibc's `struct pthread`. Static TLS holds the
//! thread-local variables of all modules that were there at the start, and some room. Between them, or at the end of one, is
//! the place that the thread pointer points at; from there a word leads to the thread vector, which finds the variables of
//! libraries loaded later. A goroutine has such a block of its own at the top of its stack mapping, where `pthread_create`
//! puts a thread's. The ABI of a processor has one of two arrangements:
//!
//! ```text
//!   lo                             tp - below           tp            tp + above <= hi
//!   | guard |  stack, grows down <-|  static TLS        | TCB         |    x86-64 (variant II)
//!   | guard |  stack, grows down <-|  TCB               | static TLS  |    AArch64 (variant I)
//! ```
//!
//! Which one it is, is learnt as everything else is: from where `pthread_self` says that the TCB is.
//!
//! # Two ways to make one
//!
//! **Built.** `_dl_allocate_tls` fills static TLS in and makes the thread vector; a *recipe* adds what `pthread_create`
//! would have added to the block. The recipe is not written down in this crate: it is learnt at start-up by comparing a
//! block of ours with those of two real threads ([`recipe`]). Some words cannot be copied from a thread and are known by
//! name: the thread id (a number of the goroutine's own, never a real thread's, so that mutexes tell owners apart), the
//! links of glibc's list of threads (a list of one, so that `fork` finds nothing to unlink), and the area where the kernel
//! would keep the CPU number (marked "not registered", so that `sched_getcpu` asks).
//!
//! **Donor.** A real thread is created on the stack and leaves without glibc's noticing ([`donor`]). Tens of microseconds
//! instead of one, and the memory can never be given back, but right by construction. It is chosen if the comparison found a
//! word that it could not explain, or by `GORT_IDENTITY=donor`. `GORT_IDENTITY=built` insists on the other way and fails
//! where it cannot be trusted.
//!
//! If glibc lacks one of the names that are needed, [`init`] fails, and with it the start of the runtime.
//!
//! # Life of a block
//!
//! [`create`], then any number of times: [`start`] on the block, user code, [`run_destructors`] on the block, [`reset`] by
//! anyone. At last [`destroy`]. [`changing`] precedes and [`refresh`] follows each `dlopen` and `dlclose`. Once per process,
//! [`guard_credentials`]; and when the library goes, [`unload`].
//!
//! # Known limits
//!
//! * `pthread_self()` of a goroutine is a valid argument for functions that look only at the block. Those that ask the kernel
//!   about the thread id (`pthread_kill`, `pthread_setaffinity_np`, and `pthread_getattr_np`, which fills its result in and
//!   then fails with `ESRCH`) do not know it. Hooks answer in their place where there are any.
//! * `pthread_exit` on a goroutine has no start frame to unwind to, unless `pthread` has made one, and ends in a null access;
//!   where there are hooks, with a message.
//! * The kernel does not know a goroutine's list of robust mutexes, nor its id as an owner of priority-inheriting ones.
//! * Where nobody calls [`refresh`] (no hooks), goroutines that exist already read zeros in the initial-exec variables of a
//!   library loaded later. With TLS descriptors, which AArch64's compilers use, a library with few variables counts as such.
//! * Constructors that `dlopen` runs *on a goroutine* see zeros in initial-exec variables of their own library: the loader
//!   fills in only blocks in its list before it runs them. So `gort-interpose` has them run on the kernel thread's own block.
//! * A goroutine that a constructor starts has those variables put back to their first values once more when [`refresh`]
//!   follows.
//! * Libraries in a second namespace (`dlmopen`) keep their variables over a reuse, as libc does.

mod block;
mod credentials;
mod destructors;
mod donor;
mod estate;
mod evidence;
mod glibc;
mod lock;
mod modules;
mod recipe;
mod symtab;
#[cfg(test)]
mod tests;

use crate::chaos::{happens, Whim};
use core::ops::Range;
use std::ffi::{c_int, c_void, CStr, OsString};
use std::fmt;
use std::sync::OnceLock;

use crate::error::MORE_THREADS;
use crate::os;
use evidence::Evidence;
pub(crate) use glibc::run_late_destructors;
use glibc::Glibc;
pub(crate) use modules::Change;
use modules::Share;
use recipe::Recipe;

/// Whether goroutines can have thread blocks of their own on this target: with a glibc that the loader has loaded, since what
/// is needed of it is found by name.
pub(crate) const SUPPORTED: bool = cfg!(all(target_env = "gnu", not(target_feature = "crt-static")));
/// Whether they have them unless somebody says otherwise.
pub(crate) const USUAL: bool = SUPPORTED;

/// Environment variable that chooses how blocks are made.
const VARIABLE: &str = "GORT_IDENTITY";

/// Why goroutines cannot have thread blocks here, or why one could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// This glibc (or a libc that is none, or a static one) does not export a name that is needed.
    MissingSymbol(&'static CStr),
    /// Something is not where this glibc's own tables say it is.
    Layout(String),
    /// `GORT_IDENTITY` has a value that means nothing.
    Variable(OsString),
    /// `GORT_IDENTITY=built`, but blocks built by hand would differ from real ones in a way not understood.
    Refused(String),
    /// The stack has fewer bytes than a block and a little stack need.
    TooSmall { needed: usize },
    /// No memory for a thread vector.
    NoMemory,
    /// A call of this name failed with this error number.
    Os(&'static str, c_int),
}

impl Error {
    /// Whether the environment asks for what has no meaning.
    pub(crate) fn is_setting(&self) -> bool {
        matches!(self, Error::Variable(_))
    }

    /// Whether goroutines can be kernel threads in place of that.
    pub(crate) fn leaves_threads(&self) -> bool {
        matches!(self, Error::MissingSymbol(_) | Error::Layout(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::MissingSymbol(name) => write!(f, "the C library does not export {}", name.to_string_lossy()),
            Error::Layout(what) => write!(f, "the C library's thread blocks are not as expected: {what}"),
            Error::Variable(value) => write!(f, "{VARIABLE} is {value:?}; it may be \"built\" or \"donor\""),
            Error::Refused(why) => write!(f, "{VARIABLE} is \"built\", but {why}"),
            Error::TooSmall { needed } => write!(f, "a goroutine's stack needs {needed} bytes at least"),
            Error::NoMemory => write!(f, "no memory for a thread block"),
            Error::Os(call, code @ libc::EAGAIN) => {
                write!(f, "{call}: {}; {MORE_THREADS}", std::io::Error::from_raw_os_error(*code))
            }
            Error::Os(call, code) => write!(f, "{call}: {}", std::io::Error::from_raw_os_error(*code)),
        }
    }
}

impl std::error::Error for Error {}

/// How blocks are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By hand, checked against real threads at start-up.
    Built,
    /// By a thread each, because of what the text says.
    Donor(String),
}

/// The shape of a block, the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bytes of the block below the thread pointer. The stack begins under them.
    pub(crate) below: usize,
    /// Bytes of the block from the thread pointer up.
    pub(crate) above: usize,
    /// Alignment of the thread pointer, a power of two.
    pub(crate) align: usize,
    /// Offset from the thread pointer of the TCB, whose address is the thread's number (`pthread_t`).
    pub(crate) number: isize,
}

impl Layout {
    /// The thread pointer of a block at the top of a mapping that ends at `hi`.
    pub(crate) fn thread_pointer(&self, hi: usize) -> usize {
        (hi - self.above) & !(self.align - 1)
    }

    /// Bytes of a block.
    fn size(&self) -> usize {
        self.below + self.above
    }

    /// The addresses of the block with this thread pointer.
    fn block(&self, tp: usize) -> Range<usize> {
        tp - self.below..tp + self.above
    }

    /// Where the stack of a block begins, 16-byte aligned: pushes go below this address.
    #[cfg(test)]
    pub(crate) fn stack_top(&self, tp: usize) -> usize {
        (tp - self.below) & !15
    }
}

/// What [`init`] finds out.
#[derive(Debug, Clone)]
struct State {
    glibc: Glibc,
    recipe: Recipe,
    mode: Mode,
    /// Libc's place in each block, if it has a fixed one.
    libc: Option<Share>,
}

static STATE: OnceLock<State> = OnceLock::new();

/// What [`look_up`] has found.
static GLIBC: OnceLock<Glibc> = OnceLock::new();

/// Finds by name what is needed of the C library, for which it takes the loader's lock. Whoever may not wait for that lock later
/// calls this before; any number of calls at a time.
pub(crate) fn look_up() {
    // An error that is not of the moment is `init`'s to tell.
    let _ = glibc();
}

fn glibc() -> Result<Glibc, Error> {
    if let Some(found) = GLIBC.get() {
        return Ok(found.clone());
    }
    let found = Glibc::find()?;
    // Not under the lock of the cell, which others would wait for.
    let _ = GLIBC.set(found.clone());
    Ok(found)
}

/// Finds out how thread blocks are made here. Once it has succeeded, later calls do nothing; after a failure, which may be one
/// of the moment, they try again.
///
/// Starts and ends two threads. Call it on a thread, not on a goroutine, one call at a time, and before any other function of
/// this module.
pub(crate) fn init() -> Result<(), Error> {
    if STATE.get().is_some() {
        return Ok(());
    }
    let state = State::find(std::env::var_os(VARIABLE))?;
    if let Mode::Donor(why) = &state.mode {
        eprintln!("gort: goroutines get their thread blocks from donor threads, which is slower: {why}");
    }
    STATE.get_or_init(|| state);
    Ok(())
}

/// The state, which [`init`] has left.
fn state() -> &'static State {
    STATE.get().expect("identity::init has succeeded")
}

/// The shape of blocks.
pub(crate) fn layout() -> Layout {
    state().glibc.layout
}

/// The number (`pthread_t`) of the thread or goroutine with this thread pointer.
pub(crate) fn number_of(tp: usize) -> usize {
    tp.wrapping_add_signed(layout().number)
}

/// The thread pointer of the thread or goroutine with this number.
pub(crate) fn tp_of(number: usize) -> usize {
    number.wrapping_sub(layout().number.cast_unsigned())
}

/// In a forked child, on a goroutine: the kernel is to forget the block of the kernel thread that forked, with the thread pointer
/// `native`. To glibc that thread is one of those that the child has not; it may free the stack with the block in it, or give
/// both to a new thread, while the kernel would still write a CPU number there at each switch, and kill who has no such memory.
/// Async-signal-safe.
pub(crate) fn forget_native(native: usize) {
    if let Some(rseq) = &state().glibc.rseq {
        os::forget_rseq(native.wrapping_add_signed(rseq.start), rseq.len());
    }
}

/// Bytes that a mapping must have for a block to be made in it, however little else is to be there.
pub(crate) fn least() -> usize {
    match mode() {
        Mode::Built => 0,
        // glibc takes no smaller one for a thread.
        Mode::Donor(_) => libc::PTHREAD_STACK_MIN,
    }
}

/// How blocks are made, and why so if not by hand.
pub(crate) fn mode() -> &'static Mode {
    &state().mode
}

/// Makes a block at the top of `[lo, hi)` and returns its thread pointer.
///
/// `tid` is what mutexes know the goroutine by: unique among living goroutines of the process, in 2^22 .. 2^30, where no real thread's is.
/// Fails if the mapping is too small or memory is short.
///
/// # Safety
/// The mapping is readable, writable and otherwise unused, and stays mapped until [`destroy`] has allowed otherwise.
pub(crate) unsafe fn create(lo: *mut u8, hi: *mut u8, tid: u32) -> Result<usize, Error> {
    if happens(Whim::Block, None) {
        return Err(Error::NoMemory);
    }
    let state = state();
    // SAFETY: the caller's promise, passed on; the block is new.
    unsafe {
        let tp = state.create(&state.mode, lo, hi, tid)?;
        if let (Mode::Built, Some(share)) = (&state.mode, state.libc) {
            estate::inherit(&state.glibc, share, tp);
        }
        Ok(tp)
    }
}

/// Makes the calling goroutine's C library state that of a new thread: errno, locale, cancellation.
///
/// # Safety
/// Runs on a block of ours, before any user code of a goroutine does.
pub(crate) unsafe fn start() {
    // Since libc's own variables are not reset, this undoes what the last goroutine may have done to them.
    // SAFETY: these act on the calling thread only. Choosing the global locale also loads the character tables of the
    // locale in force now, as the start of a thread does.
    unsafe {
        *libc::__errno_location() = 0;
        libc::uselocale(GLOBAL_LOCALE);
        pthread_setcancelstate(0, core::ptr::null_mut());
        pthread_setcanceltype(0, core::ptr::null_mut());
    }
}

/// `LC_GLOBAL_LOCALE`.
const GLOBAL_LOCALE: libc::locale_t = -1isize as libc::locale_t;

extern "C-unwind" {
    /// Zero is `PTHREAD_CANCEL_ENABLE`.
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    /// Zero is `PTHREAD_CANCEL_DEFERRED`.
    fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int;
}

/// Runs the destructors of the goroutine's thread-local variables and pthread keys.
///
/// # Safety
/// Runs on a block of ours, at the goroutine's end: no user code but the destructors follows until [`reset`].
pub(crate) unsafe fn run_destructors() {
    // SAFETY: the caller's promise, passed on.
    unsafe { destructors::run(&state().glibc) }
}

/// Gives all thread-local variables but libc's and ld.so's their first values again. Never waits, in blocks that are built.
///
/// False: it is not known what they are, since libraries come or go just now, or have without [`refresh`]. The block must be
/// destroyed; a new one will be right.
///
/// # Safety
/// `tp` came from [`create`], its goroutine has run its destructors, and nothing runs on the block or refers into it.
#[must_use]
pub(crate) unsafe fn reset(tp: usize) -> bool {
    // SAFETY: the caller's promise, passed on.
    unsafe { modules::reset(tp) || reset_donors(tp) }
}

/// What [`reset`] does with a block that it cannot reset: one that must be kept it resets all the same, and waits for that.
///
/// # Safety
/// As for [`reset`].
#[cold]
unsafe fn reset_donors(tp: usize) -> bool {
    let state = state();
    let keep = state.mode != Mode::Built;
    if keep {
        // SAFETY: the caller's promise, passed on.
        unsafe { modules::reset_by_learning(&state.glibc, tp) };
    }
    keep
}

/// Learns of libraries that came or went without [`refresh`], if a [`reset`] has met any; does not wait.
pub(crate) fn catch_up() {
    modules::catch_up();
}

/// Waits until what [`catch_up`] has begun is done. Not with a lock of the loader's held.
pub(crate) fn caught_up() {
    modules::caught_up();
}

/// Frees what a block owns, but for what libc keeps in it, which the next block that is built takes over (`estate`). True if
/// its memory may be given back; a donor's may not, ever, but it may go on being reused.
///
/// # Safety
/// As for [`reset`]; if the result is true, the block is not used again.
#[must_use]
pub(crate) unsafe fn destroy(tp: usize) -> bool {
    let state = state();
    if state.mode != Mode::Built {
        return false;
    }
    // SAFETY: the block was built by hand, so nothing of glibc's refers to it, and the caller is done with it.
    unsafe {
        state.glibc.keys.free_blocks(tp);
        if let Some(share) = state.libc {
            estate::leave(&state.glibc, share, tp);
        }
        (state.glibc.deallocate_tls)(tp as *mut _, false);
    }
    true
}

/// Names blocks: calls its argument with the thread pointer of each.
pub(crate) type Live<'a> = &'a mut dyn FnMut(&mut dyn FnMut(usize));

/// The loaded modules are about to change: until [`refresh`] goroutines get new blocks. May wait; not on the way to a
/// goroutine's begin.
pub(crate) fn changing() -> Change {
    modules::changing()
}

/// Follows a change of the loaded modules: a library's initial-exec variables get their values in blocks made before it.
///
/// `live` calls its argument with the thread pointer of every block that was created and not destroyed, idle ones included.
/// Fails if memory is short.
///
/// # Safety
/// Each thread pointer named is a block of ours. Called after each `dlopen` (before its caller can use what it loaded) and
/// each `dlclose`, with loading, unloading and these calls serialised by one lock of the caller's. `change` is None if the
/// runtime was started meanwhile.
pub(crate) unsafe fn refresh(change: Option<Change>, live: Live<'_>) -> Result<(), Error> {
    let state = state();
    // glibc knows donors' blocks and has filled them in itself.
    let live = (state.mode == Mode::Built).then_some(live);
    // SAFETY: the caller's promise, passed on.
    unsafe { modules::refresh(&state.glibc, change, live) }
}

/// What `GORT_IDENTITY` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// Nothing: built if that is right, else donors.
    Checked,
    Built,
    Donor,
}

/// How blocks are made with this recipe.
fn choose(choice: Choice, recipe: &Recipe) -> Result<Mode, Error> {
    match (choice, recipe.objection()) {
        (Choice::Built, Some(why)) => Err(Error::Refused(why)),
        (_, Some(why)) => Ok(Mode::Donor(why)),
        (Choice::Donor, None) => Ok(Mode::Donor(format!("{VARIABLE} says so"))),
        (_, None) => Ok(Mode::Built),
    }
}

/// Makes `setuid`, `setgid` and their kin work while kernel threads run goroutines. Without it they never return.
///
/// `native` says what the calling kernel thread's own thread pointer is, or zero if the calling code runs on it already. It
/// is called in a signal handler on any thread. Call this after [`init`]; later calls do nothing, until
/// [`unguard_credentials`]. Fails if the C library has not the mechanism that this mends.
///
/// # Safety
/// `native` may be called at any instruction, is async-signal-safe, and is right.
pub(crate) unsafe fn guard_credentials(native: fn() -> usize) -> Result<(), Error> {
    // SAFETY: the caller's promise, passed on.
    unsafe { credentials::guard(native) }
}

/// Undoes [`guard_credentials`], and waits until nobody runs the handler if `and_wait`, which takes a signal to each thread. False:
/// somebody has put a handler before ours since, and calls it.
pub(crate) fn unguard_credentials(and_wait: bool) -> bool {
    credentials::unguard(and_wait)
}

/// Deletes all pthread keys whose destructor is at an address that `is_ours` approves of; as far as the C library lets itself be
/// looked into.
///
/// # Safety
/// No such key is used any more.
pub(crate) unsafe fn forget_keys(is_ours: fn(*const c_void) -> bool) {
    if let Ok(glibc) = glibc() {
        // SAFETY: the caller's promise, passed on.
        unsafe { glibc.keys.forget(is_ours) };
    }
}

/// Frees what is kept for blocks to come, when none is left and none will be made. False: blocks are left, since donors' can
/// never go, and their memory must stay.
///
/// # Safety
/// No other function of this module is called any more, but those that have been called have returned.
pub(crate) unsafe fn unload() -> bool {
    let Some(state) = STATE.get() else { return true };
    let built = state.mode == Mode::Built;
    // SAFETY: the caller's promise, passed on. Nobody looks at the state any more, and statics are not dropped otherwise.
    unsafe {
        if let Some(share) = state.libc {
            estate::unload(share);
        }
        modules::unload();
        (&raw const *state).cast_mut().drop_in_place();
    }
    built
}

impl State {
    /// Looks at this process's glibc. `choice` is the value of `GORT_IDENTITY`.
    fn find(choice: Option<OsString>) -> Result<State, Error> {
        let choice = match choice {
            None => Choice::Checked,
            Some(value) if value == "built" => Choice::Built,
            Some(value) if value == "donor" => Choice::Donor,
            Some(value) => return Err(Error::Variable(value)),
        };
        let glibc = glibc()?;
        destructors::check(&glibc)?;
        // A library that another thread loads at this moment makes blocks differ for no reason that lasts: look again.
        const LOOKS: usize = 4;
        let mut recipe = Evidence::collect(&glibc)?.recipe(&glibc)?;
        for _ in 1..LOOKS {
            if recipe.objection().is_none() {
                break;
            }
            recipe = Evidence::collect(&glibc)?.recipe(&glibc)?;
        }
        let libc = modules::init(&glibc)?;
        let mode = choose(choice, &recipe)?;
        Ok(State { glibc, recipe, mode, libc })
    }

    /// [`create`], in a given way.
    ///
    /// # Safety
    /// As for [`create`].
    unsafe fn create(&self, mode: &Mode, lo: *mut u8, hi: *mut u8, tid: u32) -> Result<usize, Error> {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match mode {
                Mode::Built => block::build(&self.glibc, &self.recipe, lo, hi, tid),
                Mode::Donor(_) => block::donate(&self.glibc, &self.recipe, lo, hi, tid),
            }
        }
    }
}
