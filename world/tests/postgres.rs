//! The blocking client of the crate `postgres`, which runs tokio inside, against a real PostgreSQL: each call parks its
//! goroutine in tokio's `epoll_wait`.

use gort_world::crowd::{crowd, scaled, Watch, MOST_THREADS};
use gort_world::process::descriptors;
use gort_world::servers;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, NoTls};
use r2d2::{ManageConnection, Pool};
use std::sync::mpsc;
use std::time::Duration;

/// Goroutines.
const CLIENTS: usize = 1_000;
/// Connections that they share.
const CONNECTIONS: u32 = 50;
/// Accounts, and what is on each at the start.
const ACCOUNTS: i64 = 100;
const START: i64 = 1_000;

/// A kernel thread for each of the pool's three workers is the pool's own.
const POOL_THREADS: usize = 3;

fn connect() -> Client {
    Client::connect(&servers::postgres(), NoTls).expect("the server accepts")
}

struct Connect;

impl ManageConnection for Connect {
    type Connection = Client;
    type Error = postgres::Error;

    fn connect(&self) -> Result<Client, postgres::Error> {
        Client::connect(&servers::postgres(), NoTls)
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), postgres::Error> {
        client.simple_query("").map(drop)
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}

/// Money goes from account to account in transactions, some of which are rolled back; none is lost.
#[test]
fn transactions_over_a_pool() {
    let n = scaled(CLIENTS);
    descriptors(10 * CONNECTIONS as usize + 100);
    let mut admin = connect();
    let watch = Watch::start("postgres, transactions over a pool");
    admin
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS accounts, moves;
             CREATE TABLE accounts (id bigint PRIMARY KEY, money bigint NOT NULL);
             CREATE TABLE moves (client bigint PRIMARY KEY, amount bigint NOT NULL);
             INSERT INTO accounts SELECT i, {START} FROM generate_series(0, {}) i;",
            ACCOUNTS - 1
        ))
        .expect("tables");
    let pool = Pool::builder().max_size(CONNECTIONS).connection_timeout(Duration::from_secs(120));
    let pool = pool.build(Connect).expect("50 connections");
    crowd(n, |i| {
        let i = i as i64;
        let mut client = pool.get().expect("one gets free");
        let mut transaction = client.transaction().expect("begun");
        let (from, to, amount) = (i % ACCOUNTS, (i * 7 + 1) % ACCOUNTS, i % 13 + 1);
        // In the order of their numbers, lest transactions wait for each other.
        let lock = "SELECT id FROM accounts WHERE id IN ($1, $2) ORDER BY id FOR UPDATE";
        let locked = transaction.query(lock, &[&from, &to]).expect("locked");
        assert_eq!(locked.len(), if from == to { 1 } else { 2 });
        let add = "UPDATE accounts SET money = money + $2 WHERE id = $1";
        assert_eq!(transaction.execute(add, &[&from, &-amount]).expect("updated"), 1);
        assert_eq!(transaction.execute(add, &[&to, &amount]).expect("updated"), 1);
        transaction.execute("INSERT INTO moves VALUES ($1, $2)", &[&i, &amount]).expect("inserted");
        if i % 10 == 9 {
            transaction.rollback().expect("rolled back");
        } else {
            transaction.commit().expect("committed");
        }
    });
    let committed: Vec<i64> = (0..n as i64).filter(|i| i % 10 != 9).collect();
    let row = admin.query_one("SELECT sum(money)::bigint, count(*) FROM accounts", &[]).expect("a row");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (ACCOUNTS * START, ACCOUNTS));
    let row = admin.query_one("SELECT sum(amount)::bigint, count(*) FROM moves", &[]).expect("a row");
    let amounts: i64 = committed.iter().map(|i| i % 13 + 1).sum();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (amounts, committed.len() as i64));
    for row in admin.query("SELECT id, money FROM accounts", &[]).expect("rows") {
        let (id, money): (i64, i64) = (row.get(0), row.get(1));
        let gave: i64 = committed.iter().filter(|i| *i % ACCOUNTS == id).map(|i| i % 13 + 1).sum();
        let got: i64 = committed.iter().filter(|i| (*i * 7 + 1) % ACCOUNTS == id).map(|i| i % 13 + 1).sum();
        assert_eq!(money, START - gave + got, "account {id}");
    }
    drop(pool);
    watch.at_most(MOST_THREADS + POOL_THREADS);
}

/// Goroutines wait in the server for a lock that others hold.
#[test]
fn locks_in_the_server() {
    let n = scaled(CONNECTIONS as usize);
    descriptors(10 * n + 100);
    let mut admin = connect();
    let watch = Watch::start("postgres, locks in the server");
    admin
        .batch_execute("DROP TABLE IF EXISTS hot; CREATE TABLE hot (n bigint); INSERT INTO hot VALUES (0);")
        .expect("ok");
    crowd(n, |_| {
        let mut client = connect();
        for _ in 0..10 {
            let mut transaction = client.transaction().expect("begun");
            let row = transaction.query_one("SELECT n FROM hot FOR UPDATE", &[]).expect("a row");
            let next = row.get::<_, i64>(0) + 1;
            transaction.execute("UPDATE hot SET n = $1", &[&next]).expect("updated");
            transaction.commit().expect("committed");
        }
    });
    let row = admin.query_one("SELECT n FROM hot", &[]).expect("a row");
    assert_eq!(row.get::<_, i64>(0), 10 * n as i64);
    watch.few();
}

#[test]
fn listen_and_notify() {
    const MESSAGES: usize = 10;
    let n = scaled(CONNECTIONS as usize);
    descriptors(10 * n + 100);
    let mut admin = connect();
    let watch = Watch::start("postgres, listen and notify");
    let (ready, all) = mpsc::channel();
    gort::thread::scope(|s| {
        for _ in 0..n {
            let ready = ready.clone();
            s.spawn(move || {
                let mut client = connect();
                client.batch_execute("LISTEN news").expect("ok");
                ready.send(()).expect("the test waits");
                let mut notifications = client.notifications();
                let mut messages = notifications.blocking_iter();
                for k in 0..MESSAGES {
                    let message = messages.next().expect("connected").expect("one more");
                    assert_eq!((message.channel(), message.payload()), ("news", k.to_string().as_str()));
                }
            });
        }
        all.iter().take(n).for_each(drop);
        for k in 0..MESSAGES {
            admin.execute("SELECT pg_notify('news', $1)", &[&k.to_string()]).expect("ok");
        }
    });
    watch.few();
}
