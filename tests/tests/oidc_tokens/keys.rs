//! Issuers' keys: how they are read, fetched, kept and given up.

use super::common::{EC, Played, RSA, URL, kind};
use countersign_server::oidc::issuer::PAUSE;
use countersign_server::oidc::jwks::{KeySet, MAX_KEYS};
use countersign_tests::oidc::b64url;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn a_key_set_is_read_strictly() {
    let parse = |set: Value| KeySet::parse(set.to_string().as_bytes());
    let (rsa, ec) = (RSA.jwk(), EC.jwk());
    assert_eq!(parse(json!({ "keys": [rsa, ec] })).unwrap().len(), 2);
    let changed = |base: &Value, name: &str, value: Value| {
        let mut jwk = base.clone();
        jwk[name] = value;
        jwk
    };
    // Not used, and the token that names one is told why; the other key stays good.
    let small = b64url([0xff; 255]);
    let large = b64url([0xff; 1025]);
    for (base, name, value) in [
        (&rsa, "n", json!(small)),
        (&rsa, "n", json!(large)),
        (&rsa, "n", json!("")),
        (&rsa, "n", json!("+/=")),
        (&rsa, "e", json!("AQ")),
        (&rsa, "e", json!("Aw")),
        (&rsa, "e", json!("AQAA")),
        (&rsa, "e", json!(b64url([1; 9]))),
        (&rsa, "use", json!("enc")),
        (&rsa, "use", json!(1)),
        (&rsa, "key_ops", json!(["sign"])),
        (&rsa, "alg", json!("RS512")),
        (&rsa, "alg", json!("HS256")),
        (&rsa, "kty", json!("oct")),
        (&rsa, "d", json!("AAAA")),
        (&ec, "crv", json!("P-384")),
        (&ec, "crv", json!("secp256k1")),
        (&ec, "x", json!(b64url([1; 32]))),
        (&ec, "x", json!(b64url([1; 31]))),
        (&ec, "y", json!(b64url([1; 33]))),
        (&ec, "alg", json!("RS256")),
        (&ec, "d", json!("AAAA")),
    ] {
        let odd = changed(&changed(base, "kid", json!("odd")), name, value.clone());
        let set = parse(json!({ "keys": [odd, rsa, ec] })).unwrap();
        assert_eq!(set.len(), 2, "{name}: {value}");
        let why = set.get("odd").unwrap_err();
        assert!(why.starts_with("is not used: "), "{why}");
    }
    // Without what is optional it is as good.
    for name in ["alg", "use"] {
        let mut jwk = rsa.clone();
        jwk.as_object_mut().unwrap().remove(name);
        assert_eq!(parse(json!({ "keys": [jwk] })).unwrap().len(), 1);
    }
    // The whole set.
    let many: Vec<Value> = (0..=MAX_KEYS)
        .map(|n| changed(&ec, "kid", json!(n.to_string())))
        .collect();
    assert_eq!(parse(json!({ "keys": many[1..] })).unwrap().len(), MAX_KEYS);
    for bad in [
        json!({ "keys": many }),
        json!({ "keys": [] }),
        json!({ "keys": {} }),
        json!({}),
        json!([]),
        json!({ "keys": [1] }),
        json!({ "keys": [rsa, changed(&ec, "kid", json!("rsa-1"))] }),
        json!({ "keys": [changed(&rsa, "kid", json!(7))] }),
        json!({ "keys": [changed(&rsa, "kty", json!("oct"))] }),
    ] {
        assert!(parse(bad.clone()).is_err(), "{bad}");
    }
    let twice = format!("{{\"keys\":[],\"keys\":[{rsa}]}}");
    assert!(KeySet::parse(twice.as_bytes()).is_err());
    assert!(KeySet::parse(b"").is_err());
    let huge = format!("{{\"keys\":[{rsa}],\"x\":\"{}\"}}", "x".repeat(256 * 1024));
    assert!(KeySet::parse(huge.as_bytes()).is_err());
}

#[test]
fn keys_are_fetched_once_and_again_for_one_that_is_new() {
    let played = Played::of(&[&RSA]);
    let issuer = played.issuer("");
    let start = Instant::now();
    assert_eq!(kind(issuer.key("rsa-1", start)), "good");
    assert_eq!(played.asked(), 2);
    assert_eq!(kind(issuer.key("rsa-1", start)), "good");
    assert_eq!(played.asked(), 0);
    // Made-up identifiers cost the issuer nothing more for a while.
    assert_eq!(
        kind(issuer.key("made-up", start + PAUSE / 2)),
        "unknown-key-id"
    );
    assert_eq!(played.asked(), 0);
    played.keys(&[&EC]);
    assert_eq!(
        kind(issuer.key("ec-1", start + PAUSE / 2)),
        "unknown-key-id"
    );
    assert_eq!(kind(issuer.key("ec-1", start + PAUSE)), "good");
    assert_eq!(played.asked(), 2);
    // What was taken back is gone at once.
    assert_eq!(kind(issuer.key("rsa-1", start + PAUSE)), "unknown-key-id");
    assert_eq!(issuer.fetched(), (2, 0));
}

#[test]
fn keys_that_cannot_be_fetched_again_are_good_for_a_while_and_then_are_not() {
    let played = Played::of(&[&RSA]);
    let issuer = played.issuer("refresh = \"60s\"\nkeep = \"10m\"");
    let start = Instant::now();
    assert_eq!(issuer.refresh(start), Duration::from_secs(60));
    played.take_away();
    assert!(issuer.refresh(start + Duration::from_secs(60)) < Duration::from_secs(60));
    let keep = Duration::from_secs(600);
    assert_eq!(kind(issuer.key("rsa-1", start + keep)), "good");
    // One that is not known may be there by now: nobody can tell.
    assert_eq!(kind(issuer.key("ec-1", start + keep)), "issuer-unreachable");
    let late = start + keep + Duration::from_secs(1);
    let refused = issuer.key("rsa-1", late).unwrap_err();
    assert_eq!(refused.kind(), "issuer-unreachable");
    assert_eq!(refused.status(), 503);
    assert!(refused.retry_after().unwrap() > 0);
    played.bring_back(&[&RSA]);
    assert_eq!(kind(issuer.key("rsa-1", late + PAUSE)), "good");
}

#[test]
fn a_discovery_document_about_somebody_else_is_refused() {
    let place = "/.well-known/openid-configuration";
    let keys = format!("{URL}/.well-known/jwks");
    let start = Instant::now();
    let asked = |document: String| {
        let played = Played::of(&[&RSA]);
        played.put(place, document);
        kind(played.issuer("").key("rsa-1", start))
    };
    assert_eq!(
        asked(json!({ "issuer": URL, "jwks_uri": keys }).to_string()),
        "good"
    );
    for bad in [
        json!({ "issuer": "https://evil.example", "jwks_uri": keys }).to_string(),
        json!({ "issuer": format!("{URL}/"), "jwks_uri": keys }).to_string(),
        json!({ "jwks_uri": keys }).to_string(),
        json!({ "issuer": URL }).to_string(),
        json!({ "issuer": URL, "jwks_uri": 1 }).to_string(),
        json!({ "issuer": URL, "jwks_uri": "http://127.0.0.1/keys" }).to_string(),
        json!({ "issuer": URL, "jwks_uri": "http://a.example/keys" }).to_string(),
        json!({ "issuer": URL, "jwks_uri": "file:///etc/keys" }).to_string(),
        format!("{{\"issuer\":\"{URL}\",\"issuer\":\"{URL}\",\"jwks_uri\":\"{keys}\"}}"),
        "<html>".into(),
    ] {
        assert_eq!(asked(bad.clone()), "issuer-unreachable", "{bad}");
    }
    // Keys that cannot be used do not take the place of those that can.
    let played = Played::of(&[&RSA]);
    let issuer = played.issuer("");
    issuer.refresh(start);
    played.put("/.well-known/jwks", "{\"keys\":[]}");
    issuer.refresh(start + PAUSE);
    assert_eq!(kind(issuer.key("rsa-1", start + PAUSE)), "good");
}
