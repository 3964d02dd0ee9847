#![allow(clippy::unwrap_used)]
use super::*;
use crate::{SecretKey, Signer as _};
use std::collections::BTreeMap;

const DAY: u64 = 86_400;
const NOW: u64 = 1_790_000_000;

fn life(from: u64, until: u64) -> Life {
    Life { from, until }
}

fn identity() -> Identity {
    Identity {
        san: "https://forge.example/acme/tool/.ci/release.yml@refs/tags/v1".into(),
        issuer: "https://token.forge.example".into(),
        claims: BTreeMap::from([
            ("1.3.6.1.4.1.57264.1.5".into(), "acme/tool".into()),
            (
                "1.3.6.1.4.1.57264.1.12".into(),
                "https://forge.example/acme/tool".into(),
            ),
        ]),
    }
}

struct World {
    root_key: SecretKey,
    root: Anchor,
    authority: Authority,
    intermediate: Vec<u8>,
}

fn world() -> World {
    let (root_key, between) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let years = life(NOW - DAY, NOW + 3650 * DAY);
    let root = Anchor::parse(&make_root(&root_key, "acme root", years).unwrap()).unwrap();
    let year = life(NOW - DAY, NOW + 365 * DAY);
    let intermediate = make_intermediate(
        &root_key,
        &root,
        between.public_key(),
        "acme issuer 1",
        year,
    )
    .unwrap();
    let authority = Authority::new(Box::new(between), vec![intermediate.clone()]).unwrap();
    World {
        root_key,
        root,
        authority,
        intermediate,
    }
}

fn chain(w: &World) -> (SecretKey, CertificateChain) {
    let key = SecretKey::generate().unwrap();
    let minutes = life(NOW, NOW + 600);
    let chain = w.authority.issue(key.public_key(), &identity(), minutes);
    (key, chain.unwrap())
}

#[test]
fn what_is_issued_is_read_again_and_leads_to_the_root() {
    let w = world();
    let (key, chain) = chain(&w);
    let end = chain.end();
    assert_eq!(end.key, *key.public_key());
    assert_eq!(end.san, identity().san);
    assert_eq!(end.issuer(), Some("https://token.forge.example"));
    assert_eq!(end.serial.len(), 20);
    for (id, text) in identity().claims {
        assert_eq!(end.claims.get(&id), Some(&text));
    }
    chain.verify(&w.root, NOW).unwrap();
    chain.verify(&w.root, NOW + 600).unwrap();
    // From its bytes again, without what was remembered.
    let ders: Vec<&[u8]> = chain.ders().collect();
    let again = CertificateChain::parse(&ders).unwrap();
    assert_eq!(again, chain);
    again.verify(&w.root, NOW).unwrap();
    let above: Vec<[u8; 32]> = chain.authorities(&w.root).collect();
    assert_eq!(above, [w.authority.key().id().0, w.root.key_hash()]);
}

#[test]
fn a_second_early_or_late_is_refused_and_so_is_the_root_s_time() {
    let w = world();
    let (_, chain) = chain(&w);
    for time in [0, NOW - 1, NOW + 601, NOW + 3651 * DAY, u64::MAX] {
        let refused = chain.verify(&w.root, time).unwrap_err();
        assert_eq!(refused.kind(), "certificate-time", "{time}: {refused}");
    }
    // A root that has ended vouches for nothing, whatever the certificate says.
    let old = make_root(&w.root_key, "acme root", life(NOW - 9 * DAY, NOW + 1)).unwrap();
    let old = Anchor::parse(&old).unwrap();
    chain.verify(&old, NOW + 1).unwrap();
    let refused = chain.verify(&old, NOW + 2).unwrap_err();
    assert_eq!(refused.kind(), "certificate-time");
    // Never valid together.
    let gone = make_root(&w.root_key, "acme root", life(NOW - 9 * DAY, NOW - 8 * DAY)).unwrap();
    let refused = chain
        .verify(&Anchor::parse(&gone).unwrap(), NOW)
        .unwrap_err();
    assert_eq!(refused.kind(), "certificate-time");
}

#[test]
fn another_authority_s_chain_is_refused_even_under_the_same_name() {
    let (w, other) = (world(), world());
    let (_, chain) = chain(&w);
    let refused = chain.verify(&other.root, NOW).unwrap_err();
    assert_eq!(refused.kind(), "certificate-other-issuer", "{refused}");
    // Nor does an end certificate pass for one that another intermediate issued.
    let own: Vec<&[u8]> = chain.ders().collect();
    let stolen = CertificateChain::parse(&[own[0], &other.intermediate]);
    assert_eq!(stolen.unwrap_err().kind(), "certificate-order");
}

#[test]
fn every_changed_byte_is_noticed() {
    let w = world();
    let (_, chain) = chain(&w);
    let ders: Vec<Vec<u8>> = chain.ders().map(<[u8]>::to_vec).collect();
    for number in 0..ders.len() {
        for at in 0..ders[number].len() {
            let mut changed = ders.clone();
            changed[number][at] ^= 1;
            let judged = CertificateChain::parse(&changed).and_then(|c| c.verify(&w.root, NOW));
            assert!(judged.is_err(), "certificate {number}, byte {at}");
        }
    }
}

#[test]
fn a_chain_has_the_right_certificates_in_the_right_order_and_no_others() {
    let w = world();
    let (_, chain) = chain(&w);
    let ders: Vec<Vec<u8>> = chain.ders().map(<[u8]>::to_vec).collect();
    let (end, above, root) = (&ders[0], &ders[1], w.root.der().to_vec());
    let kind = |list: &[&[u8]]| match CertificateChain::parse(list) {
        Ok(c) => c
            .verify(&w.root, NOW)
            .map_or_else(|e| e.kind(), |()| "valid"),
        Err(e) => e.kind(),
    };
    assert_eq!(kind(&[end, above]), "valid");
    assert_eq!(kind(&[end]), "certificate-other-issuer");
    assert_eq!(kind(&[above, &root]), "certificate-is-authority");
    assert_eq!(kind(&[above, end]), "certificate-is-authority");
    assert_eq!(kind(&[end, end]), "certificate-not-authority");
    assert_eq!(kind(&[end, &root]), "certificate-order");
    assert_eq!(kind(&[end, above, above]), "certificate-order");
    assert_eq!(kind(&[]), "certificate-count");
    assert_eq!(
        kind(&[end, above, above, above, above]),
        "certificate-count"
    );
    // The anchor is not in the chain: it would be its own issuer.
    assert_ne!(kind(&[end, above, &root]), "valid");
}

#[test]
fn an_intermediate_makes_no_intermediate() {
    let w = world();
    let (between, below) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let year = life(NOW - DAY, NOW + 365 * DAY);
    let first = make_intermediate(&w.root_key, &w.root, between.public_key(), "one", year).unwrap();
    let above = Anchor::parse(&first).unwrap();
    let second = make_intermediate(&between, &above, below.public_key(), "two", year).unwrap();
    let authority = Authority::new(Box::new(below), vec![second, first.clone()]).unwrap();
    let key = SecretKey::generate().unwrap();
    let chain = authority
        .issue(key.public_key(), &identity(), life(NOW, NOW + 600))
        .unwrap();
    let refused = chain.verify(&w.root, NOW).unwrap_err();
    assert_eq!(refused.kind(), "certificate-path-length", "{refused}");
    // As an anchor of its own it allows none below it either.
    let ders: Vec<&[u8]> = chain.ders().take(2).collect();
    let shorter = CertificateChain::parse(&ders).unwrap();
    assert_eq!(
        shorter.verify(&above, NOW).unwrap_err().kind(),
        "certificate-path-length"
    );
}

#[test]
fn a_name_that_is_none_of_the_profile_is_not_issued() {
    let w = world();
    let key = SecretKey::generate().unwrap();
    let issue = |san: &str| {
        let identity = Identity {
            san: san.into(),
            ..identity()
        };
        w.authority
            .issue(key.public_key(), &identity, life(NOW, NOW + 600))
    };
    for good in ["https://a.example/x", "ci@a.example", "spiffe://a/b"] {
        assert_eq!(issue(good).unwrap().end().san, good);
    }
    let long = format!("https://a.example/{}", "x".repeat(500));
    for bad in [
        "",
        "a",
        "https://a.example/a b",
        "https://\u{430}.example/x",
        "https://a\0b",
        &long,
    ] {
        assert!(issue(bad).is_err(), "{bad:?}");
    }
    let mut odd = identity();
    odd.claims.insert("1.2.3".into(), "x".into());
    assert_eq!(
        w.authority
            .issue(key.public_key(), &odd, life(NOW, NOW + 1))
            .unwrap_err()
            .kind(),
        "certificate-claim"
    );
    // Reversed.
    let reversed = w
        .authority
        .issue(key.public_key(), &identity(), life(NOW, NOW - 1));
    assert_eq!(reversed.unwrap_err().kind(), "certificate-validity");
}

#[test]
fn an_end_certificate_lives_for_a_day_at_most() {
    let w = world();
    let key = SecretKey::generate().unwrap();
    let issue = |seconds| {
        w.authority
            .issue(key.public_key(), &identity(), life(NOW, NOW + seconds))
    };
    assert!(issue(MAX_LIFE).is_ok());
    assert_eq!(issue(MAX_LIFE + 1).unwrap_err().kind(), "certificate-life");
}

#[test]
fn a_request_proves_that_its_sender_has_the_key() {
    let key = SecretKey::generate().unwrap();
    let request = make_request(&key).unwrap();
    assert_eq!(request_key(&request).unwrap(), *key.public_key());
    for at in 0..request.len() {
        let mut changed = request.clone();
        changed[at] ^= 1;
        assert!(request_key(&changed).is_err(), "byte {at}");
    }
    // The last byte is the signature's.
    let mut foreign = request.clone();
    *foreign.last_mut().unwrap() ^= 1;
    assert_eq!(
        request_key(&foreign).unwrap_err().kind(),
        "certificate-possession"
    );
    assert_eq!(
        request_key(&[request.clone(), vec![0]].concat())
            .unwrap_err()
            .kind(),
        "certificate-request"
    );
    assert_eq!(request_key(&[]).unwrap_err().kind(), "certificate-request");
}

#[test]
fn an_authority_is_of_its_certificate_s_key() {
    let w = world();
    let other = SecretKey::generate().unwrap();
    let refused = Authority::new(Box::new(other), vec![w.intermediate.clone()]);
    assert_eq!(refused.unwrap_err().kind(), "certificate-key");
    let (key, chain) = chain(&w);
    let end = chain.ders().next().unwrap().to_vec();
    let refused = Authority::new(Box::new(key), vec![end]).unwrap_err();
    assert_eq!(refused.kind(), "certificate-not-authority");
}
