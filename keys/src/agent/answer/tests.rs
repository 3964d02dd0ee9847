#![allow(clippy::unwrap_used)]
use super::*;
use crate::{SecretKey, Signer as _};
use p256::ecdsa::Signature;
use proptest::prelude::*;

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn mpint(scalar: &[u8]) -> Vec<u8> {
    let start = scalar.iter().position(|b| *b != 0).unwrap_or(scalar.len());
    let digits = &scalar[start..];
    match digits.first() {
        Some(first) if *first >= 0x80 => string(&[&[0], digits].concat()),
        _ => string(digits),
    }
}

fn key_blob(name: &[u8], curve: &[u8], point: &[u8]) -> Vec<u8> {
    [string(name), string(curve), string(point)].concat()
}

fn signed(name: &[u8], inner: &[u8]) -> Vec<u8> {
    [
        vec![SIGN_RESPONSE],
        string(&[string(name), string(inner)].concat()),
    ]
    .concat()
}

fn kind<T: std::fmt::Debug>(of: Result<T, AgentError>) -> &'static str {
    of.unwrap_err().kind()
}

#[test]
fn a_key_is_read_in_one_form() {
    let key = SecretKey::generate().unwrap();
    let point = key.public_key().spki_der().get(26..).unwrap();
    let good = key_blob(P256, CURVE, point);
    assert_eq!(public_key(&good).unwrap(), *key.public_key());
    for cut in 0..good.len() {
        assert!(public_key(&good[..cut]).is_err());
    }
    let mut off = point.to_vec();
    off[64] ^= 1;
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    for bad in [
        [&good[..], &[0]].concat(),
        key_blob(P256, b"nistp384", point),
        key_blob(P256, CURVE, &off),
        key_blob(P256, CURVE, &compressed),
        key_blob(P256, CURVE, &[]),
    ] {
        assert_eq!(kind(public_key(&bad)), "agent-bad-answer");
    }
    let other = |name: &[u8]| kind(public_key(&key_blob(name, CURVE, point)));
    assert_eq!(other(b"ssh-ed25519"), "wrong-key-type");
    assert_eq!(other(b"ecdsa-sha2-nistp384"), "wrong-key-type");
    assert_eq!(
        other(b"ecdsa-sha2-nistp256-cert-v01@openssh.com"),
        "wrong-key-type"
    );
    assert_eq!(other(b"sk-ecdsa-sha2-nistp256@openssh.com"), "security-key");
}

#[test]
fn a_list_of_keys_is_read_in_one_form() {
    let entry = |blob: &[u8], comment: &[u8]| [string(blob), string(comment)].concat();
    let list =
        |count: u32, rest: &[u8]| [&[IDENTITIES_ANSWER][..], &count.to_be_bytes(), rest].concat();
    let two = [entry(b"\0\0\0\x01x", b"one"), entry(b"", b"\xff")].concat();
    let read = parse_identities(&list(2, &two)).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(
        (read[0].comment.as_str(), read[0].key_type().as_str()),
        ("one", "x")
    );
    assert_eq!(read[1].key_type(), "unknown");
    assert_eq!(parse_identities(&list(0, &[])), Ok(vec![]));
    for bad in [
        list(1, &two),
        list(3, &two),
        list(u32::MAX, &two),
        list(2049, &two),
        vec![],
        vec![12],
        vec![5, 0],
        vec![14],
    ] {
        assert_eq!(kind(parse_identities(&bad)), "agent-bad-answer", "{bad:?}");
    }
    assert_eq!(kind(parse_identities(&[FAILURE])), "agent-refused");
    assert_eq!(kind(parse_signature(&[FAILURE])), "agent-refused");
}

#[test]
fn a_scalar_is_read_in_its_shortest_form() {
    let one = string(&[1]);
    let scalars = |r: &[u8]| parse_signature(&signed(P256, &[string(r), one.clone()].concat()));
    assert!(scalars(&[1]).is_ok() && scalars(&[0, 0x80]).is_ok());
    let order =
        hex::decode("00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    for bad in [
        &[][..],
        &[0],
        &[0, 1],
        &[0x80],
        &[0, 0, 0x80],
        &[1; 33],
        &[0x7f; 34],
        &order,
    ] {
        assert_eq!(kind(scalars(bad)), "agent-bad-answer", "{bad:?}");
    }
    for bad in [
        signed(b"ssh-ed25519", &[one.clone(), one.clone()].concat()),
        signed(P256, &one),
        signed(P256, &[one.clone(), one.clone(), vec![0]].concat()),
        [signed(P256, &[one.clone(), one.clone()].concat()), vec![0]].concat(),
    ] {
        assert_eq!(kind(parse_signature(&bad)), "agent-bad-answer");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn signatures_come_out_as_ours(message: Vec<u8>, high: bool) {
        let key = SecretKey::generate().unwrap();
        let der = key.sign(&message).unwrap();
        let (r, mut s) = Signature::from_der(&der).unwrap().split_scalars();
        if high {
            s = -s;
        }
        let inner = [mpint(&r.to_bytes()), mpint(&s.to_bytes())].concat();
        prop_assert_eq!(parse_signature(&signed(P256, &inner)), Ok(der));
    }

    #[test]
    fn any_bytes_are_read_or_refused(kind in prop_oneof![Just(12u8), Just(14)], rest: Vec<u8>) {
        let bytes = [vec![kind], rest].concat();
        let _ = (parse_identities(&bytes), public_key(&bytes));
        if let Ok(der) = parse_signature(&bytes) {
            prop_assert_eq!(low_s::require(&der), Ok(()));
        }
    }
}
