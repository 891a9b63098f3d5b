//! Named numbers in an SQLite database.
//!
//! One goroutine owns the connection that writes and takes its work from a channel. What has piled up while it committed goes
//! into the next transaction together, so a hundred callers share one `fsync`. Each reader has a connection of its own.

use crate::{callback, Function, Host, FAILED, INVALID, OK};
use gort::thread::{self, JoinHandle};
use rusqlite::{params, Connection, OptionalExtension};
use std::ffi::{c_char, c_int, c_void, CStr};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{mpsc, Mutex};

/// The most additions that share a transaction.
const BATCH: usize = 256;

/// An addition, and who wants to know what came out.
struct Addition {
    name: String,
    amount: i64,
    reply: Reply,
}

/// Where a result goes.
enum Reply {
    /// To a caller that waits.
    Channel(mpsc::SyncSender<i64>),
    /// To a function of the host's, on a goroutine of its own.
    Function(Host),
}

impl Reply {
    fn give(self, total: i64) {
        match self {
            // A caller that is not there any more does not want it.
            Reply::Channel(channel) => drop(channel.send(total)),
            Reply::Function(host) => drop(thread::spawn(move || host.call(total))),
        }
    }
}

/// `struct hosts_store`.
pub struct Store {
    path: PathBuf,
    writer: JoinHandle<()>,
    additions: mpsc::SyncSender<Addition>,
    /// Connections that no reader uses now.
    readers: Mutex<Vec<Connection>>,
}

impl Store {
    fn open(path: &Path) -> rusqlite::Result<Store> {
        let connection = connect(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, total INTEGER NOT NULL)", [])?;
        let (additions, work) = mpsc::sync_channel(BATCH);
        let writer = thread::spawn(move || write(connection, &work));
        Ok(Store { path: path.to_owned(), writer, additions, readers: Mutex::default() })
    }

    fn add(&self, addition: Addition) {
        assert!(!addition.name.is_empty(), "a number needs a name");
        self.additions.send(addition).expect("the writer takes work until it is closed");
    }

    fn get(&self, name: &str) -> rusqlite::Result<i64> {
        let free = self.readers.lock().expect("nobody panics with it").pop();
        let connection = free.map_or_else(|| connect(&self.path), Ok)?;
        let total = gort::ffi::blocking(|| {
            connection
                .prepare_cached("SELECT total FROM numbers WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()
        })?;
        self.readers.lock().expect("nobody panics with it").push(connection);
        Ok(total.unwrap_or(0))
    }

    fn close(self) {
        drop(self.additions);
        self.writer.join().expect("the writer has written everything");
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(60))?;
    Ok(connection)
}

/// The writer: transaction after transaction, until nobody can give it work any more.
fn write(mut connection: Connection, work: &mpsc::Receiver<Addition>) {
    while let Ok(first) = work.recv() {
        let batch: Vec<Addition> = [first].into_iter().chain(work.try_iter().take(BATCH - 1)).collect();
        // Other goroutines have the processor while SQLite waits for the disk.
        let totals = gort::ffi::blocking(|| transaction(&mut connection, &batch));
        match totals {
            Ok(totals) => batch.into_iter().zip(totals).for_each(|(addition, total)| addition.reply.give(total)),
            Err(error) => {
                eprintln!("the store: {error}");
                batch.into_iter().for_each(|addition| addition.reply.give(FAILED.into()));
            }
        }
    }
}

/// Makes all additions or none, and returns what the numbers are after each.
fn transaction(connection: &mut Connection, batch: &[Addition]) -> rusqlite::Result<Vec<i64>> {
    let transaction = connection.transaction()?;
    let mut add = transaction.prepare_cached(
        "INSERT INTO numbers (name, total) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET total = total + excluded.total RETURNING total",
    )?;
    let one = |addition: &Addition| add.query_row(params![addition.name, addition.amount], |row| row.get(0));
    let totals = batch.iter().map(one).collect::<rusqlite::Result<Vec<i64>>>()?;
    drop(add);
    transaction.commit()?;
    Ok(totals)
}

/// What C calls a string. None: it is null, or no UTF-8.
///
/// # Safety
/// The pointer is null or a string's.
unsafe fn text<'a>(string: *const c_char) -> Option<&'a str> {
    if string.is_null() {
        return None;
    }
    // SAFETY: by the contract.
    unsafe { CStr::from_ptr(string) }.to_str().ok()
}

/// Opens a store.
///
/// # Safety
/// The path is null or a string.
#[callback(on_panic = ptr::null_mut())]
#[no_mangle]
pub unsafe extern "C" fn hosts_store_open(path: *const c_char) -> *mut Store {
    // SAFETY: by the contract.
    let path = unsafe { text(path) }.expect("the path is text");
    let store = Store::open(Path::new(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Box::into_raw(Box::new(store))
}

/// Adds, and waits.
///
/// # Safety
/// The store is null or of `hosts_store_open` and open; the name is null or a string.
#[callback(on_panic = i64::from(FAILED))]
#[no_mangle]
pub unsafe extern "C" fn hosts_store_add(store: *const Store, name: *const c_char, amount: i64) -> i64 {
    // SAFETY: by the contract.
    let (Some(store), Some(name), 0..) = (unsafe { (store.as_ref(), text(name), amount) }) else {
        return INVALID.into();
    };
    let (to, from) = mpsc::sync_channel(1);
    store.add(Addition { name: name.to_owned(), amount, reply: Reply::Channel(to) });
    from.recv().expect("the writer replies")
}

/// Adds, and does not wait.
///
/// # Safety
/// As for `hosts_store_add`, and as `hosts.h` says of the function.
#[callback(on_panic = FAILED)]
#[no_mangle]
pub unsafe extern "C" fn hosts_store_add_later(
    store: *const Store,
    name: *const c_char,
    amount: i64,
    done: Function,
    context: *mut c_void,
) -> c_int {
    // SAFETY: by the contract.
    let (Some(store), Some(name), 0..) = (unsafe { (store.as_ref(), text(name), amount) }) else { return INVALID };
    let Some(host) = Host::new(done, context) else { return INVALID };
    store.add(Addition { name: name.to_owned(), amount, reply: Reply::Function(host) });
    OK
}

/// Looks a number up.
///
/// # Safety
/// As for `hosts_store_add`.
#[callback(on_panic = i64::from(FAILED))]
#[no_mangle]
pub unsafe extern "C" fn hosts_store_get(store: *const Store, name: *const c_char) -> i64 {
    // SAFETY: by the contract.
    let (Some(store), Some(name)) = (unsafe { (store.as_ref(), text(name)) }) else { return INVALID.into() };
    store.get(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Closes a store.
///
/// # Safety
/// The store is null or of `hosts_store_open`, and nobody uses it now or later.
#[callback(on_panic = FAILED)]
#[no_mangle]
pub unsafe extern "C" fn hosts_store_close(store: *mut Store) -> c_int {
    if store.is_null() {
        return INVALID;
    }
    // SAFETY: it is a box's, by the contract, and nobody's any more.
    unsafe { Box::from_raw(store) }.close();
    OK
}
