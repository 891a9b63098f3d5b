//! libcurl, the system's C library, through the crate `curl`: an easy handle for each goroutine.

use curl::easy::Easy;
use gort_world::crowd::{crowd, scaled, Watch, MOST_THREADS};
use gort_world::pool::Pool;
use gort_world::process::descriptors;
use gort_world::server::Server;
use gort_world::{http, mark};
use std::fs;
use std::sync::Barrier;
use std::time::Duration;

/// Goroutines with a handle each.
const CLIENTS: usize = 1_000;

fn get(easy: &mut Easy, url: &str) -> Vec<u8> {
    let mut body = Vec::new();
    easy.get(true).expect("an option");
    easy.url(url).expect("an option");
    let mut transfer = easy.transfer();
    transfer
        .write_function(|data| {
            body.extend_from_slice(data);
            Ok(data.len())
        })
        .expect("an option");
    transfer.perform().unwrap_or_else(|e| panic!("{url}: {e}"));
    drop(transfer);
    assert_eq!(easy.response_code().expect("an answer"), 200, "{url}");
    body
}

fn post(easy: &mut Easy, url: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = data;
    easy.post(true).expect("an option");
    easy.url(url).expect("an option");
    easy.post_field_size(data.len() as u64).expect("an option");
    let mut transfer = easy.transfer();
    transfer.read_function(|into| std::io::Read::read(&mut rest, into).map_err(|_| unreachable!())).expect("an option");
    transfer
        .write_function(|data| {
            body.extend_from_slice(data);
            Ok(data.len())
        })
        .expect("an option");
    transfer.perform().unwrap_or_else(|e| panic!("{url}: {e}"));
    drop(transfer);
    body
}

#[test]
fn easy_handles() {
    let n = scaled(CLIENTS);
    descriptors(6 * n + 100);
    curl::init();
    let watch = Watch::start("curl, easy handles");
    let server = Server::start(http::serve);
    let all_open = Barrier::new(n);
    crowd(n, |i| {
        let mut easy = Easy::new();
        // By number and by name: curl finds `localhost` itself.
        let host = if i % 2 == 0 { "127.0.0.1" } else { "localhost" };
        let base = format!("http://{host}:{}", server.addr().port());
        assert_eq!(get(&mut easy, &format!("{base}/square/{i}")), (i * i).to_string().as_bytes());
        all_open.wait();
        assert!(get(&mut easy, &format!("{base}/bytes/{i}/100000")) == mark::bytes(i, 100_000), "bytes of {i}");
        let data = mark::bytes(i, 50_000);
        assert!(post(&mut easy, &format!("{base}/echo"), &data) == data, "echo of {i}");
    });
    let counts = server.stop();
    assert_eq!((counts.accepted, counts.failed), (n, 0), "a handle keeps its connection");
    watch.few();
}

/// The machine's own name, which must have an address: in `/etc/hosts`, say. curl asks the system's resolver for it, on a
/// thread of its own: as many more kernel threads as names are being looked up.
#[test]
fn the_systems_resolver() {
    const AT_A_TIME: usize = 8;
    let n = scaled(CLIENTS) / 10;
    descriptors(6 * n + 100);
    curl::init();
    let watch = Watch::start("curl, names from the system's resolver");
    // The machine's name may stand for any of its addresses.
    let server = Server::on("0.0.0.0:0", http::serve);
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("/proc is mounted");
    let url = format!("http://{}:{}", name.trim(), server.addr().port());
    let turns = Pool::new(0..AT_A_TIME);
    crowd(n, |i| {
        let turn = turns.take();
        let mut easy = Easy::new();
        easy.ip_resolve(curl::easy::IpResolve::V4).expect("an option");
        assert_eq!(get(&mut easy, &format!("{url}/square/{i}")), (i * i).to_string().as_bytes());
        drop(turn);
    });
    assert_eq!(server.stop().first_error, None);
    watch.at_most(MOST_THREADS + AT_A_TIME);
}

/// A server that does not answer; the time limit is curl's.
#[test]
fn time_limits() {
    let n = scaled(CLIENTS);
    descriptors(6 * n + 100);
    curl::init();
    let watch = Watch::start("curl, time limits");
    let server = Server::start(|mut stream| {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut all).map(drop)
    });
    crowd(n, |_| {
        let mut easy = Easy::new();
        easy.url(&format!("http://{}/", server.addr())).expect("an option");
        easy.timeout(Duration::from_millis(500)).expect("an option");
        let error = easy.perform().expect_err("nobody answers");
        assert!(error.is_operation_timedout(), "{error}");
    });
    server.stop();
    watch.few();
}
