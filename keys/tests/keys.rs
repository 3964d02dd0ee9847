//! Keys, signatures and key files: what is refused, by name.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use keys::file::{AnySecret, Passphrase, is_encrypted, read_secret, write_secret};
use keys::{Ed25519Secret, PublicKey, SecretKey, SignatureError, Signer as _, low_s};
use proptest::prelude::*;

fn secret(path: &std::path::Path, text: &str) -> Passphrase {
    std::fs::write(path, format!("{text}\n")).unwrap();
    Passphrase::File(path.to_owned())
}

#[test]
fn wrong_passphrase() {
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
fn refuses_to_overwrite() {
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
    // Nor through a link whose target does not exist yet.
    #[cfg(unix)]
    {
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let key = AnySecret::P256(SecretKey::generate().unwrap());
        let error = write_secret(&link, &key, &Passphrase::None).unwrap_err();
        assert_eq!(error.kind(), "key-file-exists");
        assert!(!target.exists());
    }
    assert!(matches!(
        read_secret(&path, &Passphrase::None).unwrap(),
        AnySecret::Ed25519(_)
    ));
}

#[cfg(unix)]
#[test]
fn key_file_readable_by_others() {
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
    for mode in [0o640, 0o604, 0o644, 0o620, 0o602, 0o610, 0o601] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = read_secret(&path, &Passphrase::None).unwrap_err();
        assert_eq!(error.kind(), "key-file-readable-by-others");
        assert!(error.to_string().contains("chmod 600"));
    }
}

/// A key file under `kdf`, whose content is of no importance.
fn sealed_under(path: &std::path::Path, kdf: pkcs8::pkcs5::pbes2::Kdf) {
    use pkcs8::der::{Encode as _, asn1::OctetStringRef};
    use pkcs8::pkcs5::pbes2::{EncryptionScheme, Parameters};
    let encryption = EncryptionScheme::Aes256Cbc { iv: [2; 16] };
    let der = pkcs8::EncryptedPrivateKeyInfoRef {
        encryption_algorithm: Parameters { kdf, encryption }.into(),
        encrypted_data: OctetStringRef::new(&[0; 16]).unwrap(),
    };
    let document = pkcs8::SecretDocument::try_from(der.to_der().unwrap().as_slice()).unwrap();
    document
        .write_pem_file(path, "ENCRYPTED PRIVATE KEY", pkcs8::LineEnding::LF)
        .unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn costs_out_of_bounds_are_refused_before_they_are_paid() {
    use pkcs8::pkcs5::pbes2::{Kdf, Pbkdf2Params, ScryptParams};
    let dir = tempfile::tempdir().unwrap();
    let passphrase = secret(&dir.path().join("p"), "x");
    let cost = pkcs8::pkcs5::scrypt::Params::new(14, 8, 1).unwrap();
    let good = ScryptParams::from_params_and_salt(cost, &[1; 16]).unwrap();
    // (N, r, p): zero and no power of two, too much memory, too much work.
    for (i, (n, r, p)) in [(0, 8, 1), (3, 8, 1), (1 << 30, 8, 1), (1 << 14, 8, 60_000)]
        .into_iter()
        .enumerate()
    {
        let path = dir.path().join(format!("scrypt{i}"));
        let mut bad = good;
        (bad.cost_parameter, bad.block_size, bad.parallelization) = (n, r, p);
        sealed_under(&path, Kdf::Scrypt(bad));
        let error = read_secret(&path, &passphrase).unwrap_err();
        assert_eq!(error.kind(), "key-file-malformed", "{n} {r} {p}");
    }
    let path = dir.path().join("pbkdf2");
    let slow = Pbkdf2Params::hmac_sha256(Pbkdf2Params::MAX_ITERATION_COUNT, &[1; 16]).unwrap();
    sealed_under(&path, Kdf::Pbkdf2(slow));
    let error = read_secret(&path, &passphrase).unwrap_err();
    assert_eq!(error.kind(), "key-file-malformed");
    // The same file at a fair cost gets as far as the passphrase.
    let path = dir.path().join("fair");
    sealed_under(&path, Kdf::Scrypt(good));
    let error = read_secret(&path, &passphrase).unwrap_err();
    assert_eq!(error.kind(), "wrong-passphrase");
}

#[test]
fn passphrases_come_from_files_and_the_environment_and_are_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k.pem");
    let key = || AnySecret::Ed25519(Ed25519Secret::generate().unwrap());
    for none in [
        secret(&dir.path().join("empty"), ""),
        Passphrase::File(dir.path().join("absent")),
        Passphrase::Env("COUNTERSIGN_TEST_NO_SUCH_VARIABLE".into()),
    ] {
        let error = write_secret(&path, &key(), &none).unwrap_err();
        assert_eq!(error.kind(), "no-passphrase");
        assert!(!path.exists());
    }
    // A variable that cargo sets for every test.
    let env = Passphrase::Env("CARGO_PKG_NAME".into());
    write_secret(&path, &key(), &env).unwrap();
    assert!(is_encrypted(&path).unwrap());
    let file = secret(&dir.path().join("name"), env!("CARGO_PKG_NAME"));
    assert!(matches!(
        read_secret(&path, &file).unwrap(),
        AnySecret::Ed25519(_)
    ));
    let open = dir.path().join("open.pem");
    write_secret(&open, &key(), &Passphrase::None).unwrap();
    assert!(!is_encrypted(&open).unwrap());
}

#[test]
fn debug_shows_no_secret() {
    let p256 = SecretKey::generate().unwrap();
    let ed25519 = Ed25519Secret::generate().unwrap();
    // In p256's PKCS#8 the scalar follows the marker 04 20; in ours for Ed25519 it ends it.
    let der = p256.to_pkcs8_der().unwrap();
    let at = der.windows(2).position(|w| w == [4, 32]).unwrap() + 2;
    let scalar = der[at..at + 32].to_vec();
    let seed = ed25519.to_pkcs8_der()[16..].to_vec();
    for (secret, shown) in [
        (scalar, format!("{:?}", AnySecret::P256(p256))),
        (seed, format!("{:?}", AnySecret::Ed25519(ed25519))),
    ] {
        assert!(!shown.contains(&hex::encode(&secret)));
        assert!(!shown.contains(&format!("{secret:?}")));
    }
}

#[test]
fn sha256_of_a_stream_is_that_of_the_whole() {
    let mut stream = keys::Sha256Stream::new();
    stream.update(b"a");
    stream.update(b"");
    stream.update(b"bc");
    assert_eq!(
        hex::encode(stream.finish()),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

fn spki() -> Vec<u8> {
    SecretKey::generate()
        .unwrap()
        .public_key()
        .spki_der()
        .to_vec()
}

fn refused(der: &[u8]) {
    assert_eq!(
        PublicKey::from_spki_der(der).unwrap_err().kind(),
        "bad-public-key",
        "{}",
        hex::encode(der)
    );
}

#[test]
fn compressed_point() {
    let der = spki();
    assert!(PublicKey::from_spki_der(&der).is_ok());
    // The same key, compressed: 0x02/0x03 and x only, lengths put right.
    let mut compressed = der[..59].to_vec();
    compressed[26] = 2 + (der[90] & 1);
    compressed[1] = 57;
    compressed[24] = 34;
    // It is a good key for others; we refuse it for its encoding alone.
    use p256::pkcs8::DecodePublicKey as _;
    assert!(p256::PublicKey::from_public_key_der(&compressed).is_ok());
    refused(&compressed);
}

#[test]
fn wrong_curve() {
    let der = spki();
    // The next curve of the same arc (1.2.840.10045.3.1.6) in the place of P-256's name.
    let mut other = der.clone();
    other[22] = 6;
    refused(&other);
    // secp256k1's generator, well formed under its own name (1.3.132.0.10).
    refused(
        &hex::decode(concat!(
            "3056301006072a8648ce3d020106052b8104000a034200",
            "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
        ))
        .unwrap(),
    );
    // Off the curve.
    let mut off = der;
    off[90] ^= 1;
    refused(&off);
}

#[test]
fn other_bytes_in_a_public_key() {
    let der = spki();
    refused(&[der.clone(), vec![0]].concat());
    refused(&der[..90]);
    refused(&[]);
    // A length in the long form, and unused bits in the bit string.
    refused(&[vec![0x30, 0x81], der[1..].to_vec()].concat());
    let mut unused = der;
    unused[25] = 1;
    refused(&unused);
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
fn high_s() {
    let key = SecretKey::generate().unwrap();
    let der = key.sign(b"m").unwrap();
    assert_eq!(key.public_key().verify(b"m", &der), Ok(()));
    let high = twin(&der);
    assert_eq!(
        key.public_key().verify(b"m", &high),
        Err(SignatureError::HighS)
    );
    assert!(low_s::is_low_s(&der) && !low_s::is_low_s(&high));
    assert_eq!(low_s::normalize_der(&high).unwrap(), der);
    assert_eq!(low_s::normalize_der(&der).unwrap(), der);
    assert_eq!(
        key.public_key().verify(b"n", &der),
        Err(SignatureError::Mismatch)
    );
}

/// n/2 rounded down is the largest s that is low, and the next one is high.
#[test]
fn the_border_of_low_s() {
    let half = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8";
    let der = |s: &str| hex::decode(format!("30250201010220{s}")).unwrap();
    assert!(low_s::is_low_s(&der(half)));
    let above = half.replace("92a8", "92a9");
    assert_eq!(
        low_s::require(&der(&above)),
        Err(SignatureError::HighS),
        "{above}"
    );
}

#[test]
fn lax_der() {
    let key = SecretKey::generate().unwrap();
    let der = key.sign(b"m").unwrap();
    let length = der[1];
    let body = &der[2..];
    let r = &body[..2 + usize::from(body[1])];
    let s = &body[r.len()..];
    let padded = |integer: &[u8]| [&[2, integer[1] + 1, 0], &integer[2..]].concat();
    let sequence = |parts: &[&[u8]]| {
        let body = parts.concat();
        [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
    };
    for (what, lax) in [
        ("trailing", [der.as_slice(), &[0]].concat()),
        ("inside", sequence(&[r, s, &[5, 0]])),
        ("long form", [&[0x30, 0x81, length], body].concat()),
        ("indefinite", [&[0x30, 0x80], body, &[0, 0]].concat()),
        ("padded r", sequence(&[&padded(r), s])),
        ("padded s", sequence(&[r, &padded(s)])),
        ("zero r", sequence(&[&[2, 1, 0], s])),
        ("negative s", sequence(&[r, &[2, 1, 0x80]])),
        ("one integer", sequence(&[r])),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(
            key.public_key().verify(b"m", &lax),
            Err(SignatureError::NotDer),
            "{what}"
        );
        assert_eq!(
            low_s::normalize_der(&lax),
            Err(SignatureError::NotDer),
            "{what}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_we_sign_verifies_and_nothing_near_it(message in proptest::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let key = SecretKey::from_pkcs8_der(&SecretKey::generate().unwrap().to_pkcs8_der().unwrap()).unwrap();
        let der = key.sign(&message).unwrap();
        prop_assert!(low_s::is_low_s(&der));
        prop_assert_eq!(key.public_key().verify(&message, &der), Ok(()));
        let high = twin(&der);
        prop_assert_eq!(key.public_key().verify(&message, &high), Err(SignatureError::HighS));
        prop_assert_eq!(&low_s::normalize_der(&high).unwrap(), &der);
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

    /// Near misses reach further than random bytes do.
    #[test]
    fn parsers_never_panic_on_near_misses(at in any::<prop::sample::Index>(), value in any::<u8>(), keep in any::<prop::sample::Index>()) {
        let key = SecretKey::generate().unwrap();
        for good in [key.public_key().spki_der().to_vec(), key.to_pkcs8_der().unwrap().to_vec(), key.sign(b"").unwrap()] {
            let mut near = good.clone();
            near[at.index(good.len())] = value;
            near.truncate(keep.index(good.len()) + 1);
            if let Ok(public) = PublicKey::from_spki_der(&near) {
                prop_assert_eq!(public.spki_der(), &near[..]);
            }
            let _ = SecretKey::from_pkcs8_der(&near);
            let _ = low_s::normalize_der(&near);
        }
    }

    #[test]
    fn key_files_never_panic(text in "(-----BEGIN (ENCRYPTED )?PRIVATE KEY-----\n)?[A-Za-z0-9+/=\n]{0,200}(-----END (ENCRYPTED )?PRIVATE KEY-----\n)?") {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.pem");
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        prop_assert!(read_secret(&path, &Passphrase::None).is_err());
    }
}
