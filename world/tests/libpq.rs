//! libpq, PostgreSQL's C library, called as C programs call it, over a socket in the file system.

use gort_world::crowd::{crowd, scaled, Watch};
use gort_world::pool::Pool;
use gort_world::process::descriptors;
use gort_world::servers;
use pq_sys::{ConnStatusType, ExecStatusType, PGconn, PGresult};
use std::ffi::{CStr, CString};
use std::ptr;

/// Goroutines.
const CLIENTS: usize = 1_000;
/// Connections that they share.
const CONNECTIONS: usize = 50;

/// A connection, used by one goroutine at a time.
struct Connection(*mut PGconn);

// SAFETY: libpq allows a connection to be used by any thread, one at a time.
unsafe impl Send for Connection {}

impl Connection {
    fn open() -> Connection {
        let url = CString::new(servers::postgres_unix()).expect("no zero");
        // SAFETY: the URL is a C string.
        let connection = Connection(unsafe { pq_sys::PQconnectdb(url.as_ptr()) });
        // SAFETY: libpq accepts whatever PQconnectdb returned.
        let status = unsafe { pq_sys::PQstatus(connection.0) };
        assert_eq!(status, ConnStatusType::CONNECTION_OK, "{}", connection.message());
        connection
    }

    fn message(&self) -> String {
        // SAFETY: the connection is open; the message is a C string that lives as long as nothing else is called.
        unsafe { CStr::from_ptr(pq_sys::PQerrorMessage(self.0)) }.to_string_lossy().into_owned()
    }

    /// The first field of the first row; empty if there is none.
    fn run(&mut self, sql: &str, parameters: &[&str]) -> String {
        let sql = CString::new(sql).expect("no zero");
        let texts: Vec<_> = parameters.iter().map(|text| CString::new(*text).expect("no zero")).collect();
        let values: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        // SAFETY: the connection is open and ours; there are as many values as is said; null stands for text everywhere.
        let result = Answer(unsafe {
            pq_sys::PQexecParams(
                self.0,
                sql.as_ptr(),
                values.len() as i32,
                ptr::null(),
                values.as_ptr(),
                ptr::null(),
                ptr::null(),
                0,
            )
        });
        result.first_field().unwrap_or_else(|| panic!("{sql:?}: {}", self.message()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: it is open, and nobody uses it hereafter.
        unsafe { pq_sys::PQfinish(self.0) }
    }
}

/// What the server answered.
struct Answer(*mut PGresult);

impl Answer {
    /// `None` if the command failed.
    fn first_field(&self) -> Option<String> {
        // SAFETY: libpq accepts whatever PQexecParams returned.
        match unsafe { pq_sys::PQresultStatus(self.0) } {
            ExecStatusType::PGRES_COMMAND_OK => Some(String::new()),
            // SAFETY: the result is one with rows.
            ExecStatusType::PGRES_TUPLES_OK if unsafe { pq_sys::PQntuples(self.0) } == 0 => Some(String::new()),
            ExecStatusType::PGRES_TUPLES_OK => {
                // SAFETY: there is a row; a field of it is a C string that lives as long as the result.
                Some(unsafe { CStr::from_ptr(pq_sys::PQgetvalue(self.0, 0, 0)) }.to_string_lossy().into_owned())
            }
            _ => None,
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody uses it hereafter.
        unsafe { pq_sys::PQclear(self.0) }
    }
}

#[test]
fn queries_over_a_pool() {
    let n = scaled(CLIENTS);
    descriptors(CONNECTIONS + 100);
    let watch = Watch::start("libpq, queries over a pool");
    let mut admin = Connection::open();
    admin.run("DROP TABLE IF EXISTS pq", &[]);
    admin.run("CREATE TABLE pq (client bigint PRIMARY KEY, n bigint NOT NULL)", &[]);
    let pool = Pool::new(crowd(CONNECTIONS, |_| Connection::open()));
    crowd(n, |i| {
        let mut connection = pool.take();
        let i = i.to_string();
        connection.run("BEGIN", &[]);
        assert_eq!(connection.run("INSERT INTO pq VALUES ($1, $2) RETURNING client", &[&i, &i]), i);
        assert_eq!(connection.run("UPDATE pq SET n = n * 2 WHERE client = $1 RETURNING n / 2", &[&i]), i);
        connection.run("COMMIT", &[]);
        // A result of some size, so that it comes in pieces.
        let long = connection.run("SELECT repeat($1, 20000)", &["abc"]);
        assert!(long.len() == 60_000 && long.as_bytes().chunks(3).all(|c| c == b"abc"));
    });
    assert_eq!(admin.run("SELECT count(*) FROM pq", &[]), n.to_string());
    assert_eq!(admin.run("SELECT sum(n) FROM pq", &[]), (n * (n - 1)).to_string());
    assert_eq!(pool.into_inner().len(), CONNECTIONS);
    watch.few();
}

/// All connections wait in the server for the same lock.
#[test]
fn locks_in_the_server() {
    let n = scaled(CONNECTIONS);
    let watch = Watch::start("libpq, locks in the server");
    let mut admin = Connection::open();
    admin.run("DROP TABLE IF EXISTS pq_hot", &[]);
    admin.run("CREATE TABLE pq_hot (n bigint)", &[]);
    admin.run("INSERT INTO pq_hot VALUES (0)", &[]);
    admin.run("BEGIN", &[]);
    admin.run("SELECT n FROM pq_hot FOR UPDATE", &[]);
    gort::thread::scope(|s| {
        let all: Vec<_> = (0..n)
            .map(|_| {
                s.spawn(|| {
                    let mut connection = Connection::open();
                    connection.run("UPDATE pq_hot SET n = n + 1", &[]);
                })
            })
            .collect();
        // They come one after the other once this transaction ends.
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        let mut other = Connection::open();
        while other.run(waiting, &[]) != n.to_string() {
            gort::thread::yield_now();
        }
        admin.run("COMMIT", &[]);
        all.into_iter().for_each(|one| one.join().expect("updated"));
    });
    assert_eq!(admin.run("SELECT n FROM pq_hot", &[]), n.to_string());
    watch.few();
}
