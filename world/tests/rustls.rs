//! TLS: an HTTPS server on rustls streams and the client `ureq`, with `ring` and a certificate made here.

use gort_world::crowd::{crowd, scaled, Watch};
use gort_world::process::descriptors;
use gort_world::server::Server;
use gort_world::{http, mark};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::sync::{Arc, Barrier};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::Agent;

/// Goroutines with a client each.
const CLIENTS: usize = 1_000;

/// A server, and an agent that trusts its certificate and nothing else.
fn server_and_agent() -> (Server, Agent) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has what they need")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("key and certificate belong together");
    let config = Arc::new(config);
    let server = Server::start(move |stream| {
        let tls = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
        http::serve(StreamOwned::new(tls, stream))
    });
    let root = Certificate::from_der(made.cert.der()).to_owned();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[root]))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let agent = Agent::config_builder()
        .tls_config(tls)
        .max_idle_connections(CLIENTS)
        .max_idle_connections_per_host(CLIENTS)
        .build()
        .new_agent();
    (server, agent)
}

#[test]
fn ureq_over_tls() {
    let n = scaled(CLIENTS);
    descriptors(2 * n + 100);
    let watch = Watch::start("rustls and ureq");
    let (server, agent) = server_and_agent();
    let base = format!("https://{}", server.addr());
    let all_here = Barrier::new(n);
    crowd(n, |i| {
        let mut answer = agent.get(format!("{base}/square/{i}")).call().expect("an answer");
        // An answer of which something is left keeps its connection, so that there is one for each.
        all_here.wait();
        assert_eq!(answer.body_mut().read_to_string().expect("text"), (i * i).to_string());
        // More than a TLS record.
        let mut answer = agent.get(format!("{base}/bytes/{i}/40000")).call().expect("an answer");
        assert!(answer.body_mut().read_to_vec().expect("bytes") == mark::bytes(i, 40_000), "bytes of {i}");
        let mut answer = agent.post(format!("{base}/echo")).send(&mark::bytes(i, 20_000)[..]).expect("an answer");
        assert!(answer.body_mut().read_to_vec().expect("bytes") == mark::bytes(i, 20_000), "echo of {i}");
    });
    drop(agent);
    let counts = server.stop();
    assert_eq!(counts.most_open, n, "{counts:?}");
    watch.few();
}

/// A client that trusts nothing must refuse the server, on both sides of the connection an error and nothing worse.
#[test]
fn a_certificate_that_nobody_vouches_for() {
    let n = scaled(100);
    let watch = Watch::start("rustls, refused");
    let (server, _) = server_and_agent();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let agent = Agent::config_builder().tls_config(tls).build().new_agent();
    let url = format!("https://{}/square/1", server.addr());
    crowd(n, |_| assert!(agent.get(&url).call().is_err()));
    let counts = server.stop();
    assert_eq!((counts.accepted, counts.failed), (n, n), "{counts:?}");
    watch.few();
}
