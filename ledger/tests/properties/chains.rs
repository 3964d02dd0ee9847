//! Chains of project statements as a client follows them from its pin, with real signatures.

use crate::story::{Act, KEYS, ORIGIN, Story, artifact, leaf, public};
use keys::{SecretKey, Signer};
use ledger::Hash;
use ledger::envelope::Envelope;
use ledger::fold::{Chain, Fold, Version, check_first_statement};
use ledger::leaf::Leaf;
use ledger::statement::{Project, release_payload};

/// Versions 1 to n of a project, each of which replaces a key, and their envelopes.
fn rotations(n: usize) -> Vec<(Envelope, Project)> {
    let keys: Vec<SecretKey> = (0..=n).map(|_| SecretKey::generate().unwrap()).collect();
    let (mut root, mut release) = (&keys[0], &keys[1]);
    let mut p = Project {
        name: "acme".into(),
        log: ORIGIN.into(),
        version: 1,
        previous: None,
        roots: vec![root.public_key().clone()],
        root_threshold: 1,
        release_keys: vec![release.public_key().clone()],
        release_threshold: 1,
        authorities: Vec::new(),
        purl_prefixes: vec!["pkg:generic/acme".into()],
        contact: "mailto:a@example.com".into(),
        max_key_age: None,
        policy: None,
    };
    let first = Envelope::sign(p.to_payload().unwrap(), &[root, release]).unwrap();
    let mut all = vec![(first, p.clone())];
    for next in &keys[2..] {
        (p.version, p.previous) = (p.version + 1, Some(all.last().unwrap().0.pae_hash()));
        let by: [&dyn Signer; 2] = [root, next];
        if p.version % 3 == 0 {
            release = next;
            p.release_keys = vec![release.public_key().clone()];
        } else {
            root = next;
            p.roots = vec![root.public_key().clone()];
        }
        let envelope = Envelope::sign(p.to_payload().unwrap(), &by).unwrap();
        all.push((envelope, p.clone()));
    }
    all
}

/// Follows statements from the pin, as a client does.
fn followed(pin: &Hash, all: &[(Envelope, Project)]) -> Result<Chain, String> {
    let [(first, p), rest @ ..] = all else {
        return Err("none".into());
    };
    if first.pae_hash() != *pin {
        return Err("another project".into());
    }
    check_first_statement(first, p).map_err(|e| e.to_string())?;
    let mut chain = Chain::begin(*pin, 0, 0, p.clone());
    for (index, (envelope, p)) in (1..).zip(rest) {
        chain
            .check_next(envelope, p, &|_| false)
            .map_err(|e| e.to_string())?;
        chain.push(Version {
            index,
            time: index,
            statement: envelope.pae_hash(),
            project: p.clone(),
        });
    }
    Ok(chain)
}

#[test]
fn a_chain_of_any_length_is_followed_from_the_pin_and_only_whole() {
    let all = rotations(60);
    let pin = all[0].0.pae_hash();
    for length in 1..=all.len() {
        assert!(followed(&pin, &all[..length]).is_ok(), "{length}");
    }
    for n in 0..all.len() - 1 {
        let mut without = all.clone();
        without.remove(n);
        assert!(followed(&pin, &without).is_err(), "without {n}");
        let mut swapped = all.clone();
        swapped.swap(n, n + 1);
        assert!(followed(&pin, &swapped).is_err(), "{n} swapped");
        let mut twice = all.clone();
        twice.insert(n, all[n].clone());
        assert!(followed(&pin, &twice).is_err(), "{n} twice");
        // A signature less, and a signature of something else.
        let mut fewer = all.clone();
        fewer[n].0.signatures.remove(0);
        assert!(followed(&pin, &fewer).is_err(), "{n} with a signature less");
        let mut moved = all.clone();
        moved[n].0.signatures = all[n + 1].0.signatures.clone();
        assert!(
            followed(&pin, &moved).is_err(),
            "{n} with the next one's signatures"
        );
    }
    assert!(followed(&[1; 32], &all).is_err());
}

/// With the arithmetic: what one bit of a signature, its twin with n − s, or a signature of
/// another statement is worth.
#[test]
fn a_signature_is_worth_something_for_what_it_signs_only() {
    let acts: Vec<Act> = Vec::new();
    let mut fold = Story::tell(&acts, true).fold;
    let (envelope, p) = rotations(1).remove(0);
    fold.apply(&leaf(envelope.clone(), 1000)).unwrap();
    let Leaf::Statement(s) = leaf(envelope.clone(), 1000) else {
        panic!()
    };
    assert_eq!(p.version, 1);
    let fresh = Fold::new(ORIGIN);
    assert!(fresh.check(&envelope, &s.statement, 1000, None).is_ok());
    for at in 0..envelope.signatures.len() {
        for byte in 0..envelope.signatures[at].sig.len() {
            let mut other = envelope.clone();
            other.signatures[at].sig[byte] ^= 1;
            let refused = fresh.check(&other, &s.statement, 1000, None).unwrap_err();
            assert_eq!(refused.kind(), "bad-signature");
        }
    }
    // Of another payload.
    let payload = release_payload(
        &envelope.pae_hash(),
        "pkg:generic/acme@1",
        &[artifact(1)],
        None,
    );
    let stranger = Envelope::sign(payload.unwrap(), &[&KEYS[0]]).unwrap();
    let Leaf::Statement(r) = leaf(stranger.clone(), 1001) else {
        panic!()
    };
    let refused = fold.check(&stranger, &r.statement, 1001, None).unwrap_err();
    assert_eq!(refused.kind(), "unauthorised-key");
    assert_eq!(public(0), public(KEYS.len()));
}
