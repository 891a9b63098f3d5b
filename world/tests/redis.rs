//! The blocking client of the crate `redis` against a real Redis server.

use gort_world::crowd::{crowd, scaled, Watch};
use gort_world::process::descriptors;
use gort_world::{mark, servers};
use redis::{Client, Commands, Connection};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Barrier, Mutex};
use std::time::Duration;

/// Goroutines with a connection each.
const CLIENTS: usize = 1_000;

fn connect(client: &Client) -> Connection {
    client.get_connection().expect("the server accepts")
}

/// The same server over TCP and over a socket in the file system.
fn both_ways() -> [Client; 2] {
    [servers::redis(), servers::redis_unix()].map(|url| Client::open(url).expect("a URL"))
}

/// A client, and a prefix for keys that no other run uses.
fn client(test: &str) -> (Client, String) {
    let client = Client::open(servers::redis()).expect("a URL");
    let run: u64 = connect(&client).incr("runs", 1).expect("a number");
    (client, format!("{test}:{run}"))
}

#[test]
fn incr_get_set_and_pipelines() {
    let n = scaled(CLIENTS);
    descriptors(n + 100);
    let ([tcp, unix], prefix) = (both_ways(), client("incr").1);
    let watch = Watch::start("redis, incr, get, set, pipelines");
    let (counter, total) = (format!("{prefix}:counter"), format!("{prefix}:total"));
    let all_open = Barrier::new(n);
    let sums = crowd(n, |i| {
        let mut redis = connect(if i % 2 == 0 { &tcp } else { &unix });
        all_open.wait();
        let mut sum: u64 = redis.incr(&counter, 1).expect("a number");
        let key = format!("{prefix}:{i}");
        let value = mark::bytes(i, 10 + i);
        redis.set::<_, _, ()>(&key, &value).expect("OK");
        assert_eq!(redis.get::<_, Vec<u8>>(&key).expect("bytes"), value);
        let mut pipe = redis::pipe();
        for k in 0..10 {
            pipe.incr(&counter, 1);
            pipe.cmd("INCRBY").arg(&total).arg(i + k).ignore();
        }
        let seen: Vec<u64> = pipe.query(&mut redis).expect("ten numbers");
        assert!(seen.windows(2).all(|w| w[0] < w[1]), "{seen:?}");
        sum += seen.iter().sum::<u64>();
        let (length, gone): (usize, usize) =
            redis::pipe().atomic().strlen(&key).del(&key).query(&mut redis).expect("a transaction");
        assert_eq!((length, gone), (value.len(), 1));
        sum
    });
    // Every increment saw a number of its own, so that the sum of what they saw is known.
    let n = n as u64;
    let mut redis = connect(&tcp);
    assert_eq!(redis.get::<_, u64>(&counter).expect("a number"), 11 * n);
    assert_eq!(sums.iter().sum::<u64>(), 11 * n * (11 * n + 1) / 2);
    assert_eq!(redis.get::<_, u64>(&total).expect("a number"), 10 * (n * (n - 1) / 2) + 45 * n);
    watch.few();
}

/// Half of them wait in the server for what the other half sends them, and answer.
#[test]
fn blpop_waits() {
    let pairs = scaled(CLIENTS / 2);
    descriptors(2 * pairs + 100);
    let (client, prefix) = client("blpop");
    let watch = Watch::start("redis, blpop");
    let all_open = Barrier::new(2 * pairs);
    crowd(2 * pairs, |i| {
        let mut redis = connect(&client);
        all_open.wait();
        let (pair, asks) = (i / 2, i % 2 == 0);
        let (question, answer) = (format!("{prefix}:{pair}:question"), format!("{prefix}:{pair}:answer"));
        for round in 0..3 {
            if asks {
                redis.rpush::<_, _, ()>(&question, pair + round).expect("pushed");
                let (_, twice): (String, usize) = redis.blpop(&answer, 0.0).expect("an answer");
                assert_eq!(twice, 2 * (pair + round));
            } else {
                let (_, n): (String, usize) = redis.blpop(&question, 0.0).expect("a question");
                redis.rpush::<_, _, ()>(&answer, 2 * n).expect("pushed");
            }
        }
    });
    watch.few();
}

/// A time-out in the server, and one of the socket (SO_RCVTIMEO), after which the connection is of no use.
#[test]
fn time_outs() {
    let n = scaled(200);
    descriptors(n + 100);
    let (client, prefix) = client("time_outs");
    let watch = Watch::start("redis, time-outs");
    crowd(n, |i| {
        let mut redis = connect(&client);
        let nothing = format!("{prefix}:nothing");
        if i % 2 == 0 {
            let got: Option<(String, String)> = redis.blpop(&nothing, 0.1).expect("an answer");
            assert_eq!(got, None);
            assert_eq!(redis.exists::<_, usize>(&nothing).expect("a number"), 0);
        } else {
            redis.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
            let error = redis.blpop::<_, (String, String)>(&nothing, 0.0).expect_err("nobody pushes");
            assert!(error.is_timeout(), "{error}");
        }
    });
    watch.few();
}

#[test]
fn publish_and_subscribe() {
    const MESSAGES: usize = 20;
    let n = scaled(CLIENTS / 2);
    descriptors(n + 100);
    let (client, prefix) = client("publish");
    let watch = Watch::start("redis, publish and subscribe");
    let subscribed = AtomicUsize::new(0);
    let (last, all) = mpsc::channel();
    let all = Mutex::new(all);
    crowd(n + 1, |i| {
        let mut redis = connect(&client);
        if i == n {
            all.lock().expect("used once").recv().expect("the last one sends");
            for k in 0..MESSAGES {
                assert_eq!(redis.publish::<_, _, usize>(&prefix, k).expect("a number"), n);
            }
            return;
        }
        let mut messages = redis.as_pubsub();
        messages.subscribe(&prefix).expect("subscribed");
        if subscribed.fetch_add(1, SeqCst) + 1 == n {
            last.send(()).expect("the publisher waits");
        }
        for k in 0..MESSAGES {
            assert_eq!(messages.get_message().expect("a message").get_payload::<usize>().expect("a number"), k);
        }
    });
    watch.few();
}
