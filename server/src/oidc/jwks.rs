//! An issuer's keys (RFC 7517), read strictly: those that its tokens may be signed with.

use super::token::MAX_ID;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use keys::PublicKey;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Largest key set in bytes.
pub const MAX_KEYS_BYTES: u64 = 256 * 1024;
/// Most keys in one.
pub const MAX_KEYS: usize = 64;
/// What a P-256 SubjectPublicKeyInfo begins with, before the two coordinates.
const P256_HEAD: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// Members of a JWK that are secret.
const SECRET: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A key for one algorithm.
#[derive(Clone, Debug)]
pub struct Key {
    /// The only algorithm that it is used with.
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// An issuer's keys by their identifiers.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: BTreeMap<String, Key>,
    /// Why the others are not used.
    refused: BTreeMap<String, String>,
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let text = jwk.get(name).and_then(Value::as_str);
    let decoded = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    decoded.ok_or_else(|| format!("its {name} is missing, or not base64url"))
}

fn bits(number: &[u8]) -> usize {
    let whole: &[u8] = match number.iter().position(|b| *b != 0) {
        Some(at) => number.get(at..).unwrap_or_default(),
        None => return 0,
    };
    let zeros = whole.first().map_or(0, |b| b.leading_zeros());
    whole.len() * 8 - usize::try_from(zeros).unwrap_or_default()
}

fn rsa(jwk: &Map<String, Value>) -> Result<Key, String> {
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    if !(2048..=8192).contains(&bits(&n)) {
        return Err(format!(
            "its RSA modulus has {} bits, want 2048 to 8192",
            bits(&n)
        ));
    }
    let odd = e.last().is_some_and(|b| b % 2 == 1);
    if !odd || !(17..=32).contains(&bits(&e)) {
        return Err("its RSA exponent is not odd, or not of 17 to 32 bits".into());
    }
    // Without leading zeros, as the cryptography below wants them.
    let strip =
        |number: &[u8]| -> Vec<u8> { number.iter().copied().skip_while(|b| *b == 0).collect() };
    Ok(Key {
        algorithm: Algorithm::RS256,
        decoding: DecodingKey::from_rsa_raw_components(&strip(&n), &strip(&e)),
    })
}

fn ec(jwk: &Map<String, Value>) -> Result<Key, String> {
    let curve = jwk.get("crv").and_then(Value::as_str).unwrap_or_default();
    if curve != "P-256" {
        let curve: String = curve.chars().take(20).collect();
        return Err(format!("its curve is {curve:?}, want P-256"));
    }
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    let spki = [&P256_HEAD[..], &x, &y].concat();
    if x.len() != 32 || PublicKey::from_spki_der(&spki).is_err() {
        return Err("it is no point on P-256".into());
    }
    let point = spki.get(P256_HEAD.len() - 1..).unwrap_or_default();
    Ok(Key {
        algorithm: Algorithm::ES256,
        decoding: DecodingKey::from_ec_der(point),
    })
}

fn key(jwk: &Map<String, Value>) -> Result<Key, String> {
    if let Some(secret) = SECRET.iter().find(|name| jwk.contains_key(**name)) {
        return Err(format!("its secret part {secret:?} is published"));
    }
    let text = |name: &str| match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("its {name} is no text")),
    };
    if let Some(other) = text("use")?.filter(|u| *u != "sig") {
        let other: String = other.chars().take(20).collect();
        return Err(format!("its use is {other:?}, not sig"));
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => {}
        Some(_) => return Err("its key_ops lack verify".into()),
    }
    let key = match text("kty")? {
        Some("RSA") => rsa(jwk)?,
        Some("EC") => ec(jwk)?,
        _ => return Err("it is neither RSA nor EC".into()),
    };
    let only = format!("{:?}", key.algorithm);
    match text("alg")? {
        Some(alg) if alg != only => Err(format!("its alg is not {only}")),
        _ => Ok(key),
    }
}

impl KeySet {
    /// Reads a key set. Keys that no token here may be signed with are remembered with the
    /// reason, and not used.
    ///
    /// # Errors
    /// Why the set as a whole is refused: not strict JSON, too large, an identifier that two
    /// keys have, or no key in it that can be used.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        if document.len() as u64 > MAX_KEYS_BYTES {
            return Err(format!("the key set is over {MAX_KEYS_BYTES} bytes"));
        }
        let document = ledger::json::parse(document).map_err(|e| format!("the key set: {e}"))?;
        let list = document.get("keys").and_then(Value::as_array);
        let list = list.ok_or("the key set has no list of keys")?;
        if list.len() > MAX_KEYS {
            let count = list.len();
            return Err(format!(
                "the key set has {count} keys, at most {MAX_KEYS} are read"
            ));
        }
        let mut set = Self::default();
        for jwk in list {
            let jwk = jwk
                .as_object()
                .ok_or("the key set has a key that is no object")?;
            // Without an identifier no token can name it.
            let Some(kid) = jwk.get("kid") else { continue };
            let kid = kid.as_str().filter(|kid| (1..=MAX_ID).contains(&kid.len()));
            let kid = kid.ok_or("the key set has a kid that is no text of 1 to 256 bytes")?;
            if set.keys.contains_key(kid) || set.refused.contains_key(kid) {
                return Err(format!("two keys of the key set have the kid {kid:?}"));
            }
            match key(jwk) {
                Ok(key) => drop(set.keys.insert(kid.to_owned(), key)),
                Err(why) => drop(set.refused.insert(kid.to_owned(), why)),
            }
        }
        if set.keys.is_empty() {
            let why = set.refused.into_iter().next();
            let why = why.map_or(String::new(), |(kid, why)| format!("; {kid:?}: {why}"));
            return Err(format!("the key set has no key that can be used{why}"));
        }
        Ok(set)
    }

    /// The key with this identifier.
    ///
    /// # Errors
    /// Why there is none.
    pub fn get(&self, kid: &str) -> Result<&Key, String> {
        self.keys
            .get(kid)
            .ok_or_else(|| match self.refused.get(kid) {
                Some(why) => format!("is not used: {why}"),
                None => "is not among those that it lists".into(),
            })
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
