//! Hex and base64 as our own formats have them (docs/formats.md, "Encoding").

use crate::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// 64 lower-case hexadecimal digits.
#[must_use]
pub fn hex32(hash: &Hash) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |four_bits: u8| {
        let digit = DIGITS.get(usize::from(four_bits));
        char::from(digit.copied().unwrap_or_default())
    };
    // Many of these are written for each entry, and `hex::encode` takes longer than the hash.
    let mut text = String::with_capacity(64);
    for byte in hash {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// Reads exactly 64 lower-case hexadecimal digits; anything else is `None`.
#[must_use]
pub fn from_hex32(text: &str) -> Option<Hash> {
    if text.len() != 64
        || text
            .bytes()
            .any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    let mut hash = [0u8; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

/// Padded standard base64.
#[must_use]
pub fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads padded standard base64 in its one canonical form; anything else is `None`.
#[must_use]
pub fn from_b64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Serde: a hash as 64 lower-case hexadecimal digits.
pub(crate) mod hex_hash {
    use super::{Hash, from_hex32, hex32};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(hash: &Hash, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex32(hash))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(d)?;
        from_hex32(&text).ok_or_else(|| D::Error::custom("want 64 lower-case hexadecimal digits"))
    }
}

/// Serde: a list of hashes as hexadecimal.
pub(crate) mod hex_hashes {
    use super::{Hash, from_hex32, hex32};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(hashes: &[Hash], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(hashes.iter().map(hex32))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Hash>, D::Error> {
        Vec::<String>::deserialize(d)?
            .iter()
            .map(|t| {
                from_hex32(t)
                    .ok_or_else(|| D::Error::custom("want 64 lower-case hexadecimal digits"))
            })
            .collect()
    }
}

/// Serde: bytes as padded standard base64.
pub(crate) mod base64_bytes {
    use super::{b64, from_b64};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&b64(bytes))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        from_b64(&text).ok_or_else(|| D::Error::custom("want padded standard base64"))
    }
}

/// Serde: an optional field that is absent, never null.
pub(crate) fn present<'de, T: serde::Deserialize<'de>, D: serde::Deserializer<'de>>(
    d: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}
