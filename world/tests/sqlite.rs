//! SQLite, a C library, through `rusqlite`: a file in WAL mode, and writers that get in each other's way; and functions of
//! ours that SQLite calls and that park, or panic, in the middle of a statement.

use gort_tests::measure::on_goroutine;
use gort_world::crowd::{crowd, scaled, Watch};
use gort_world::pool::Pool;
use gort_world::process::descriptors;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, TransactionBehavior};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, process};

/// Goroutines.
const CLIENTS: usize = 1_000;
/// Connections that they share.
const CONNECTIONS: usize = 20;

/// A directory that goes when this is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = env::temp_dir().join(format!("gort-world-{name}-{}", process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left over is in the way of nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a file");
    connection.busy_timeout(Duration::from_secs(300)).expect("a number");
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).expect("a row");
    assert_eq!(mode, "wal");
    connection.execute_batch("PRAGMA synchronous = NORMAL").expect("ok");
    connection
}

fn make_tables(path: &Path) -> Connection {
    let connection = open(path);
    let tables = "CREATE TABLE counter (n INTEGER NOT NULL);
                  INSERT INTO counter VALUES (0);
                  CREATE TABLE seen (client INTEGER PRIMARY KEY, n INTEGER NOT NULL UNIQUE);";
    connection.execute_batch(tables).expect("tables");
    connection
}

/// Reads the counter, and writes down who saw what. Others run while it has the lock, and find that it has it.
fn write(connection: &mut Connection, client: usize) {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).expect("the lock");
    let n: i64 = transaction.query_row("SELECT n FROM counter", [], |row| row.get(0)).expect("a row");
    gort::thread::yield_now();
    transaction.execute("UPDATE counter SET n = ?1", [n + 1]).expect("updated");
    transaction.execute("INSERT INTO seen VALUES (?1, ?2)", [client as i64, n]).expect("inserted");
    transaction.commit().expect("committed");
}

fn check(connection: &Connection, writes: usize) {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a row");
    let writes = writes as i64;
    assert_eq!(count("SELECT n FROM counter"), writes);
    assert_eq!(count("SELECT count(*) FROM seen"), writes);
    assert_eq!(count("SELECT sum(n) FROM seen"), writes * (writes - 1) / 2);
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a row");
    assert_eq!(verdict, "ok");
}

/// A thousand goroutines share twenty connections, each of which waits for the others in SQLite's busy handler.
#[test]
fn writers_over_a_pool() {
    let n = scaled(CLIENTS);
    let directory = Directory::new("sqlite-pool");
    let path = directory.0.join("file.db");
    let watch = Watch::start("sqlite, writers over a pool");
    let first = make_tables(&path);
    let pool = Pool::new((0..CONNECTIONS).map(|_| open(&path)));
    crowd(n, |i| {
        let mut connection = pool.take();
        if i % 3 == 0 {
            let seen: i64 = connection.query_row("SELECT count(*) FROM seen", [], |row| row.get(0)).expect("a row");
            assert!(seen <= n as i64);
        }
        write(&mut connection, i);
    });
    assert_eq!(pool.into_inner().len(), CONNECTIONS);
    check(&first, n);
    watch.few();
}

/// A connection for each, all of them open, and all of them want to write.
#[test]
fn a_connection_each() {
    let n = scaled(CLIENTS);
    descriptors(4 * n + 100);
    let directory = Directory::new("sqlite-each");
    let path = directory.0.join("file.db");
    let watch = Watch::start("sqlite, a connection each");
    let first = make_tables(&path);
    let connections = crowd(n, |i| {
        let mut connection = open(&path);
        write(&mut connection, i);
        connection
    });
    check(&first, n);
    on_goroutine(|| drop(connections));
    watch.few();
}

/// What a statement calls parks, with frames of SQLite's below it, and goes on on another kernel thread.
#[test]
fn functions_that_park() {
    const ROWS: i64 = 50;
    let watch = Watch::start("sqlite, functions that park");
    crowd(scaled(CLIENTS), |i| {
        let i = i as i64;
        let connection = Connection::open_in_memory().expect("memory");
        let flags = FunctionFlags::SQLITE_UTF8;
        let slowly = |context: &rusqlite::functions::Context<'_>| {
            gort::thread::yield_now();
            Ok(context.get::<i64>(0)? * 2)
        };
        connection.create_scalar_function("slowly", 1, flags, slowly).expect("a function");
        let refuse = move |context: &rusqlite::functions::Context<'_>| {
            gort::thread::yield_now();
            // A few panics only, since each writes a message.
            assert!(i % 50 != 0 || context.get::<i64>(0)? != i + 7, "as intended");
            Ok(1)
        };
        connection.create_scalar_function("refuse", 1, flags, refuse).expect("a function");
        let backwards = |a: &str, b: &str| {
            gort::thread::yield_now();
            b.cmp(a)
        };
        connection.create_collation("backwards", backwards).expect("a collation");

        connection.execute_batch("CREATE TABLE numbers (n INTEGER, text TEXT)").expect("a table");
        let mut insert = connection.prepare("INSERT INTO numbers VALUES (?1, ?2)").expect("a statement");
        for n in i..i + ROWS {
            insert.execute((n, format!("{n:06}"))).expect("inserted");
        }
        let sum: i64 = connection.query_row("SELECT sum(slowly(n)) FROM numbers", [], |row| row.get(0)).expect("a row");
        assert_eq!(sum, ROWS * (2 * i + ROWS - 1));
        let mut sorted =
            connection.prepare("SELECT n FROM numbers ORDER BY text COLLATE backwards").expect("a statement");
        let sorted = sorted.query_map([], |row| row.get::<_, i64>(0)).expect("rows");
        assert!(sorted.map(|n| n.expect("a number")).eq((i..i + ROWS).rev()));
        // A panic does not go through SQLite's frames: it becomes an error.
        let refused = || connection.query_row("SELECT sum(refuse(n)) FROM numbers", [], |row| row.get::<_, i64>(0));
        let refused = catch_unwind(AssertUnwindSafe(refused)).expect("no panic comes out");
        assert_eq!(refused.ok(), (i % 50 != 0).then_some(ROWS));
    });
    watch.few();
}
