//! Hex and base64 as our own formats have them (docs/formats.md, "Encoding").

use crate::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// 64 lower-case hexadecimal digits.
#[must_use]
pub fn hex32(hash: &Hash) -> String {
    text(&digits(hash)).to_owned()
}

/// The digits as bytes. Many of these are written for each entry, and `hex::encode` takes longer
/// than the hash: here the compiler makes all digits of a hash at once.
fn digits(hash: &Hash) -> [u8; 64] {
    let digit = |n: u8| n + if n < 10 { b'0' } else { b'a' - 10 };
    let mut digits = [0; 64];
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(hash) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    digits
}

fn text(digits: &[u8; 64]) -> &str {
    // Always ASCII.
    std::str::from_utf8(digits).unwrap_or_default()
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
    use super::{Hash, digits, from_hex32, text};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(hash: &Hash, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(text(&digits(hash)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_two_digits() {
        for byte in 0..=u8::MAX {
            assert_eq!(hex32(&[byte; 32]), hex::encode([byte; 32]));
            assert_eq!(from_hex32(&hex32(&[byte; 32])), Some([byte; 32]));
        }
    }
}
