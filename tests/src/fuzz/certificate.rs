//! Certificates, chains of them, and requests for them.

use crate::certificates::der::{oid, sequence};
use crate::certificates::{NOW, World, email};
use keys::certificate::{
    Anchor, CertificateChain, MAX_CERTIFICATE_BYTES, MAX_CHAIN, read_certificates, read_request,
    request_key, write_certificate,
};
use std::sync::OnceLock;

/// A root, an intermediate that it issued, and an end certificate below that; and everything that
/// was ever signed by their keys.
struct Genuine {
    anchor: Anchor,
    chain: Vec<Vec<u8>>,
    signed: Vec<Vec<u8>>,
}

fn genuine() -> &'static Genuine {
    static GENUINE: OnceLock<Genuine> = OnceLock::new();
    GENUINE.get_or_init(|| {
        let mut world = World::new(1);
        let (anchor, chain) = (world.anchor(), world.chain());
        let address = sequence(&[&email("ci@forge.example")]);
        world.end.set(oid::SUBJECT_ALT_NAME, true, address);
        Genuine {
            anchor: Anchor::parse(&anchor).unwrap(),
            signed: [chain.clone(), world.chain()].concat(),
            chain,
        }
    })
}

/// What is read says what it stood for; a path leads to the root only by what the root's holder
/// and the intermediate's signed.
fn chain(ders: &[impl AsRef<[u8]>]) {
    let Ok(read) = CertificateChain::parse(ders) else {
        return;
    };
    assert!((1..=MAX_CHAIN).contains(&ders.len()));
    assert!(read.ders().eq(ders.iter().map(AsRef::as_ref)));
    assert!(read.ders().all(|d| d.len() <= MAX_CERTIFICATE_BYTES));
    let end = read.end();
    assert!(end.not_before <= end.not_after);
    assert!(end.san.bytes().all(|b| b.is_ascii_graphic()) && !end.san.is_empty());
    assert!((1..=20).contains(&end.serial.len()));
    assert!(end.issuer().is_some_and(|i| !i.is_empty()));
    let (genuine, known) = (genuine(), |der| genuine().signed.iter().any(|g| g == der));
    match read.verify(&genuine.anchor, NOW) {
        Ok(()) => assert!(read.ders().all(known), "what was never signed is valid"),
        Err(e) => assert!(e.kind().starts_with("certificate-")),
    }
    // At no time is a path valid that its end certificate does not cover.
    for time in [
        0,
        end.not_before.saturating_sub(1),
        end.not_after.saturating_add(1),
        u64::MAX,
    ] {
        if !(end.not_before..=end.not_after).contains(&time) {
            assert!(read.verify(&genuine.anchor, time).is_err());
        }
    }
}

/// Certificates: bytes are PEM, or one certificate or request in DER, which takes each place in
/// the genuine chain.
pub fn certificate(data: &[u8]) {
    let genuine = genuine();
    if let Ok(ders) = read_certificates(data) {
        assert!(!ders.is_empty() && ders.len() <= MAX_CHAIN + 1);
        chain(&ders);
        let pem: Result<String, _> = ders.iter().map(|d| write_certificate(d)).collect();
        assert_eq!(read_certificates(pem.unwrap().as_bytes()).unwrap(), ders);
    }
    chain(&[data]);
    chain(&[data, &genuine.chain[1]]);
    chain(&[&genuine.chain[0], data]);
    if let Ok(anchor) = Anchor::parse(data) {
        assert_eq!(anchor.der(), data);
        // Whoever made it, it has the genuine root's key or vouches for nothing of its.
        let path = CertificateChain::parse(&genuine.chain).unwrap();
        if path.verify(&anchor, NOW).is_ok() {
            assert_eq!(anchor.key(), genuine.anchor.key());
        }
    }
    if let Ok(key) = read_request(data).and_then(|der| request_key(&der)) {
        assert!(!key.spki_der().is_empty());
    }
}
