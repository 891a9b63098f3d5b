//! OpenSSL, a C library: its queue of errors and its random generators lie in thread-local storage, which it frees by the
//! destructor of a pthread key.

use gort_world::crowd::{crowd, scaled, Watch};
use gort_world::mark;
use gort_world::process::descriptors;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::{hash, Hasher, MessageDigest};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sign::{Signer, Verifier};
use openssl::ssl::{SslAcceptor, SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509NameBuilder, X509};
use openssl::{rand, symm};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Goroutines.
const CLIENTS: usize = 1_000;
/// The name in the certificate.
const NAME: &str = "gort.example";

/// Fails in OpenSSL, without looking at the errors that this leaves.
fn fail(i: usize) {
    let stack = ErrorStack::get();
    assert!(stack.errors().is_empty(), "goroutine {i} begins with somebody's errors: {stack}");
    let stack = X509::from_pem(b"nonsense").expect_err("no certificate");
    assert!(!stack.errors().is_empty());
    // Back into the queue, one more than there were for every goroutine before.
    (0..1 + i % 5).for_each(|_| stack.put());
}

#[test]
fn queues_of_errors() {
    let watch = Watch::start("openssl, errors");
    for _ in 0..3 {
        crowd(scaled(CLIENTS), |i| {
            fail(i);
            gort::thread::yield_now();
            let one = ErrorStack::get().errors().len();
            assert!(one > i % 5 && one.is_multiple_of(1 + i % 5), "goroutine {i} has {one} errors");
            assert!(ErrorStack::get().errors().is_empty());
            fail(i); // and leaves the errors behind
        });
    }
    watch.few();
}

#[test]
fn generators_of_random_numbers() {
    let n = scaled(CLIENTS);
    let watch = Watch::start("openssl, random numbers");
    let mut seen = HashSet::new();
    // Goroutines that take over the storage of earlier ones must not begin as those did.
    for _ in 0..3 {
        let numbers = crowd(n, |_| {
            let mut numbers = [[0; 16]; 4];
            for number in &mut numbers {
                rand::rand_bytes(number).expect("random bytes");
                gort::thread::yield_now();
            }
            numbers
        });
        assert!(numbers.into_iter().flatten().all(|number| seen.insert(number)));
    }
    assert_eq!(seen.len(), 3 * 4 * n);
    watch.few();
}

fn key() -> PKey<Private> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    PKey::from_ec_key(EcKey::generate(&curve).expect("a key")).expect("a key")
}

/// Digests, ciphers and signatures that are under way while others do the same.
#[test]
fn digests_ciphers_signatures() {
    let watch = Watch::start("openssl, digests, ciphers, signatures");
    let key = key();
    crowd(scaled(CLIENTS), |i| {
        let text = mark::bytes(i, 3000);
        let mut hasher = Hasher::new(MessageDigest::sha256()).expect("a digest");
        for part in text.chunks(700) {
            hasher.update(part).expect("bytes");
            gort::thread::yield_now();
        }
        let whole = hash(MessageDigest::sha256(), &text).expect("a digest");
        assert_eq!(*hasher.finish().expect("a digest"), *whole);

        let (secret, nonce) = (&whole[..16], &whole[16..28]);
        let mut tag = [0; 16];
        let cipher = symm::Cipher::aes_128_gcm();
        let hidden = symm::encrypt_aead(cipher, secret, Some(nonce), b"", &text, &mut tag).expect("a cipher");
        gort::thread::yield_now();
        assert!(symm::decrypt_aead(cipher, secret, Some(nonce), b"", &hidden, &tag).expect("a cipher") == text);
        tag[i % 16] ^= 1;
        assert!(symm::decrypt_aead(cipher, secret, Some(nonce), b"", &hidden, &tag).is_err());

        let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("a key");
        signer.update(&text).expect("bytes");
        gort::thread::yield_now();
        let signature = signer.sign_to_vec().expect("a signature");
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key).expect("a key");
        verifier.update(&text).expect("bytes");
        gort::thread::yield_now();
        assert!(verifier.verify(&signature).expect("a verdict"));
    });
    watch.few();
}

/// A certificate that vouches for itself.
fn certificate(key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, NAME)?;
    let name = name.build();
    let mut made = X509::builder()?;
    made.set_version(2)?;
    made.set_subject_name(&name)?;
    made.set_issuer_name(&name)?;
    made.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    made.set_not_after(&*Asn1Time::days_from_now(2)?)?;
    made.set_pubkey(key)?;
    let alternative = SubjectAlternativeName::new().dns(NAME).build(&made.x509v3_context(None, None))?;
    made.append_extension(alternative)?;
    made.sign(key, MessageDigest::sha256())?;
    Ok(made.build())
}

/// A connection for each pair of goroutines; half of the clients trust the wrong certificate.
#[test]
fn connections() {
    let n = scaled(CLIENTS / 2);
    descriptors(2 * n + 100);
    let watch = Watch::start("openssl, connections");
    let key = key();
    let made = certificate(&key).expect("a certificate");
    let mut acceptor = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server()).expect("a context");
    acceptor.set_private_key(&key).expect("a key");
    acceptor.set_certificate(&made).expect("a certificate");
    let acceptor = acceptor.build();
    let connector = |trusted: &X509| {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("a context");
        connector.set_verify(SslVerifyMode::PEER);
        connector.cert_store_mut().add_cert(trusted.clone()).expect("a certificate");
        connector.build()
    };
    let other = certificate(&self::key()).expect("a certificate");
    let (right, wrong) = (connector(&made), connector(&other));
    let ends: Vec<_> = (0..n).map(|_| UnixStream::pair().expect("descriptors")).collect();
    crowd(2 * n, |k| {
        let (i, (client, server)) = (k / 2, &ends[k / 2]);
        let text = mark::bytes(i, 40_000);
        if k % 2 == 0 {
            match acceptor.accept(server) {
                Ok(mut stream) => {
                    let mut got = vec![0; text.len()];
                    stream.read_exact(&mut got).expect("bytes");
                    assert!(got == text, "what {i} sent");
                    stream.write_all(&got).expect("they are awaited");
                }
                Err(_) => assert_eq!(i % 2, 1),
            }
        } else if i % 2 == 0 {
            let mut stream = right.connect(NAME, client).expect("it is trusted");
            stream.write_all(&text).expect("they are awaited");
            let mut got = vec![0; text.len()];
            stream.read_exact(&mut got).expect("bytes");
            assert!(got == text, "what {i} got back");
        } else {
            let refused = wrong.connect(NAME, client).expect_err("it is not trusted");
            assert!(refused.to_string().contains("certificate verify failed"), "{refused}");
        }
    });
    watch.few();
}
