//! Keys, signatures and key files: what is refused, by name.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use keys::file::{AnySecret, Passphrase, read_secret, write_secret};
use keys::{Ed25519Secret, PublicKey, SecretKey, SignatureError, Signer as _, low_s};
use proptest::prelude::*;

fn secret(path: &std::path::Path, text: &str) -> Passphrase {
    std::fs::write(path, format!("{text}\n")).unwrap();
    Passphrase::File(path.to_owned())
}

#[test]
fn encrypted_key_files_open_with_their_passphrase_only() {
    let dir = tempfile::tempdir().unwrap();
    let (good, wrong) = (
        secret(&dir.path().join("p"), "correct horse"),
        secret(&dir.path().join("q"), "battery"),
    );
    let key = SecretKey::generate().unwrap();
    let id = key.public_key().id();
    let path = dir.path().join("k.pem");
    write_secret(&path, &AnySecret::P256(key), &good).unwrap();
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .starts_with("-----BEGIN ENCRYPTED PRIVATE KEY")
    );
    let AnySecret::P256(back) = read_secret(&path, &good).unwrap() else {
        panic!()
    };
    assert_eq!(back.public_key().id(), id);
    assert_eq!(
        read_secret(&path, &wrong).unwrap_err().kind(),
        "wrong-passphrase"
    );
    assert_eq!(
        read_secret(&path, &Passphrase::None).unwrap_err().kind(),
        "no-passphrase"
    );
}

#[test]
fn refuses_to_overwrite_a_key_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k.pem");
    write_secret(
        &path,
        &AnySecret::Ed25519(Ed25519Secret::generate().unwrap()),
        &Passphrase::None,
    )
    .unwrap();
    let before = std::fs::read(&path).unwrap();
    let again = write_secret(
        &path,
        &AnySecret::P256(SecretKey::generate().unwrap()),
        &Passphrase::None,
    );
    assert_eq!(again.unwrap_err().kind(), "key-file-exists");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(matches!(
        read_secret(&path, &Passphrase::None).unwrap(),
        AnySecret::Ed25519(_)
    ));
}

#[cfg(unix)]
#[test]
fn a_key_file_readable_by_others_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k.pem");
    write_secret(
        &path,
        &AnySecret::P256(SecretKey::generate().unwrap()),
        &Passphrase::None,
    )
    .unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for mode in [0o640, 0o604, 0o644] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = read_secret(&path, &Passphrase::None).unwrap_err();
        assert_eq!(error.kind(), "key-file-readable-by-others");
        assert!(error.to_string().contains("chmod 600"));
    }
}

#[test]
fn compressed_points_other_curves_and_trailing_bytes_are_refused() {
    let der = SecretKey::generate()
        .unwrap()
        .public_key()
        .spki_der()
        .to_vec();
    assert!(PublicKey::from_spki_der(&der).is_ok());
    assert!(PublicKey::from_spki_der(&[der.clone(), vec![0]].concat()).is_err());
    assert!(PublicKey::from_spki_der(&der[..90]).is_err());
    // The same key, compressed: 0x02/0x03 and x only, lengths put right.
    let mut compressed = der[..59].to_vec();
    compressed[26] = 2 + (der[90] & 1);
    compressed[1] = 57;
    compressed[24] = 34;
    assert!(PublicKey::from_spki_der(&compressed).is_err());
    // secp256k1's name (1.3.132.0.10) on the curve's place.
    let mut other = der.clone();
    other[22] ^= 1;
    assert!(PublicKey::from_spki_der(&other).is_err());
    // Off the curve.
    let mut off = der;
    off[90] ^= 1;
    assert!(PublicKey::from_spki_der(&off).is_err());
}

/// The twin (r, n − s) of a signature, as DER.
fn twin(der: &[u8]) -> Vec<u8> {
    let s = p256::ecdsa::Signature::from_der(der).unwrap();
    let (r, s) = s.split_scalars();
    let high = -*s;
    p256::ecdsa::Signature::from_scalars(*r, high)
        .unwrap()
        .to_der()
        .as_bytes()
        .to_vec()
}

#[test]
fn high_s_and_lax_der_are_refused() {
    let key = SecretKey::generate().unwrap();
    let der = key.sign(b"m").unwrap();
    assert_eq!(key.public_key().verify(b"m", &der), Ok(()));
    let high = twin(&der);
    assert_eq!(
        key.public_key().verify(b"m", &high),
        Err(SignatureError::HighS)
    );
    assert_eq!(low_s::normalize_der(&high).unwrap(), der);
    let trailing = [der.clone(), vec![0]].concat();
    assert_eq!(
        key.public_key().verify(b"m", &trailing),
        Err(SignatureError::NotDer)
    );
    let long_form = [vec![0x30, 0x81], der[1..].to_vec()].concat();
    assert_eq!(
        key.public_key().verify(b"m", &long_form),
        Err(SignatureError::NotDer)
    );
    assert_eq!(
        key.public_key().verify(b"n", &der),
        Err(SignatureError::Mismatch)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_we_sign_verifies_and_nothing_near_it(message in proptest::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let key = SecretKey::from_pkcs8_der(&SecretKey::generate().unwrap().to_pkcs8_der().unwrap()).unwrap();
        let der = key.sign(&message).unwrap();
        prop_assert!(low_s::is_low_s(&der));
        prop_assert_eq!(key.public_key().verify(&message, &der), Ok(()));
        let mut flipped = der.clone();
        let i = at.index(flipped.len());
        flipped[i] ^= 1 << bit;
        prop_assert!(key.public_key().verify(&message, &flipped).is_err());
    }

    #[test]
    fn parsers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = PublicKey::from_spki_der(&bytes);
        let _ = SecretKey::from_pkcs8_der(&bytes);
        let _ = Ed25519Secret::from_pkcs8_der(&bytes);
        let _ = low_s::normalize_der(&bytes);
    }
}
