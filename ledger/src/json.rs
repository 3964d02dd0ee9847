//! Strict JSON in, canonical JSON out (RFC 7493 I-JSON, RFC 8785 JCS;
//! docs/formats.md, "Encoding").
//!
//! Reading refuses what two parsers could understand differently: a name that occurs
//! twice in an object, an integer beyond ±(2^53−1), trailing bytes, nesting over 127.
//! Writing sorts names by their UTF-16 code units. Only integers are written: no format
//! of ours has a fraction, so a fraction is an error and not a rounding question.

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use std::fmt;

mod write;

/// The largest integer that every JSON reader holds exactly: 2^53 − 1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why bytes are not JSON that we accept, or a value not one that we write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not I-JSON: syntax, a repeated name, an integer out of range, trailing bytes.
    #[error("not strict JSON: {0}")]
    Syntax(String),
    /// A number with a fraction or exponent, which canonical JSON of ours never holds.
    #[error("a number that is not an integer cannot be written canonically")]
    Fraction,
    /// A well-formed document that does not have the fields or types of its schema.
    #[error("wrong shape: {0}")]
    Shape(String),
    /// Well-formed, but not the canonical encoding of what it says.
    #[error("not canonical JSON (RFC 8785)")]
    NotCanonical,
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Value, E> {
        if v > MAX_INTEGER {
            return Err(E::custom(format!("integer {v} is over 2^53-1")));
        }
        Ok(Value::Number(v.into()))
    }
    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Value, E> {
        if v.unsigned_abs() > MAX_INTEGER {
            return Err(E::custom(format!("integer {v} is beyond 2^53-1")));
        }
        Ok(Value::Number(v.into()))
    }
    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        // Integers beyond 64 bits come as floats. From 2^53 on every float is an integer.
        if v.abs() > MAX_INTEGER as f64 {
            return Err(E::custom(format!("number {v:e} is beyond 2^53-1")));
        }
        Number::from_f64(v)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(v) = seq.next_element_seed(Strict)? {
            out.push(v);
        }
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Strict)?;
            if out.contains_key(&name) {
                let shown: String = name.chars().take(40).collect();
                return Err(serde::de::Error::custom(format!(
                    "the name {shown:?} occurs twice"
                )));
            }
            out.insert(name, value);
        }
        Ok(Value::Object(out))
    }
}

/// Parses one JSON value strictly.
///
/// # Errors
/// [`JsonError::Syntax`] for anything that I-JSON does not allow, and trailing bytes.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut d = serde_json::Deserializer::from_slice(bytes);
    let value = Strict
        .deserialize(&mut d)
        .map_err(|e| JsonError::Syntax(e.to_string()))?;
    d.end().map_err(|e| JsonError::Syntax(e.to_string()))?;
    Ok(value)
}

/// Parses strictly, and further requires that no `null` occurs anywhere, as in all
/// formats of ours (an optional field is absent, never null).
///
/// # Errors
/// As [`parse`], and [`JsonError::Shape`] for a null.
pub fn parse_own(bytes: &[u8]) -> Result<Value, JsonError> {
    let value = parse(bytes)?;
    no_null(&value)?;
    Ok(value)
}

/// Refuses a `null` anywhere in `value`.
///
/// # Errors
/// [`JsonError::Shape`].
pub fn no_null(value: &Value) -> Result<(), JsonError> {
    match value {
        Value::Null => Err(JsonError::Shape(
            "null is never used: leave the field out".into(),
        )),
        Value::Array(a) => a.iter().try_for_each(no_null),
        Value::Object(o) => o.values().try_for_each(no_null),
        _ => Ok(()),
    }
}

/// Turns a parsed value into a typed document.
///
/// # Errors
/// [`JsonError::Shape`] for a missing, unknown or ill-typed field.
pub fn typed<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T, JsonError> {
    serde_json::from_value(value).map_err(|e| JsonError::Shape(e.to_string()))
}

/// The canonical JSON (RFC 8785) of `value`.
///
/// # Errors
/// [`JsonError::Fraction`].
pub fn to_canonical(value: &Value) -> Result<Vec<u8>, JsonError> {
    canonical_of(value)
}

/// The canonical JSON of anything that serialises.
///
/// # Errors
/// [`JsonError::Fraction`], or [`JsonError::Shape`] where it is not a JSON document.
pub fn canonical_of<T: Serialize>(document: &T) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(256);
    write::append(document, &mut out)?;
    Ok(out)
}

/// Appends the canonical JSON of anything that serialises: for documents that are put together
/// from parts. After an error `out` holds a part of it.
///
/// # Errors
/// As [`canonical_of`].
pub(crate) fn append<T: Serialize + ?Sized>(
    document: &T,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    write::append(document, out)
}

/// Requires that `bytes` are the canonical encoding of `value`, which was parsed from them.
///
/// # Errors
/// [`JsonError::NotCanonical`].
pub fn require_canonical(bytes: &[u8], value: &Value) -> Result<(), JsonError> {
    if to_canonical(value)? == bytes {
        Ok(())
    } else {
        Err(JsonError::NotCanonical)
    }
}

/// Turns a value, which was parsed from `bytes`, into a typed document whose one encoding the
/// bytes are. More than [`require_canonical`]: serde also reads a structure from a list of its
/// fields, which is canonical JSON but not what we would write.
///
/// # Errors
/// As [`typed`], and [`JsonError::NotCanonical`].
pub fn exactly<T>(bytes: &[u8], value: Value) -> Result<T, JsonError>
where
    T: Serialize + for<'de> Deserialize<'de>,
{
    require_canonical(bytes, &value)?;
    let document: T = typed(value)?;
    if canonical_of(&document)? == bytes {
        Ok(document)
    } else {
        Err(JsonError::NotCanonical)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn duplicate_names_are_refused_at_any_depth() {
        assert!(
            parse(br#"{"a":1,"b":{"c":1,"c":2}}"#)
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
        // An escaped spelling of the same name is the same name.
        assert!(parse(br#"{"a":1,"\u0061":2}"#).is_err());
    }

    #[test]
    fn integers_beyond_2_53_and_trailing_bytes_are_refused() {
        assert!(parse(b"9007199254740991").is_ok());
        assert!(parse(b"9007199254740992").is_err());
        assert!(parse(b"-9007199254740992").is_err());
        assert!(parse(b"18446744073709551616").is_err());
        assert!(parse(b"-9223372036854775809").is_err());
        assert!(parse(b"1e400").is_err());
        assert!(parse(b"9007199254740992.0").is_err());
        assert!(parse(b"0.5").is_ok());
        // What could not be read back is not written.
        assert!(to_canonical(&Value::from(MAX_INTEGER)).is_ok());
        assert!(to_canonical(&Value::from(MAX_INTEGER + 1)).is_err());
        assert!(parse(b"{} x").is_err());
        assert!(parse(b"{}{}").is_err());
        assert!(parse(b"\"\\ud800\"").is_err());
        assert!(parse(&[b'['; 100_000]).is_err());
    }

    #[test]
    fn names_sort_by_utf16_units() {
        // RFC 8785, 3.2.3: U+1F600 (surrogates d83d…) sorts before U+FB33.
        let v = parse("{\"\u{fb33}\":1,\"\u{1f600}\":2,\"a\":3}".as_bytes()).unwrap();
        let c = String::from_utf8(to_canonical(&v).unwrap()).unwrap();
        assert_eq!(c, "{\"a\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..=MAX_INTEGER).prop_map(Value::from),
            (-1_000_000i64..0).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn what_does_not_come_in_order_is_put_in_order() {
        #[derive(Serialize)]
        struct Mixed {
            z: (i8, Option<char>),
            #[serde(rename = "\u{1f600}")]
            face: &'static str,
            #[serde(rename = "\u{fb33}")]
            letter: (),
            a: std::collections::HashMap<&'static str, u64>,
            empty: [u8; 0],
        }
        let mixed = Mixed {
            z: (-2, Some('"')),
            face: "\u{1f}é\n",
            letter: (),
            a: [("y", MAX_INTEGER), ("x", 0), ("z", 10)].into(),
            empty: [],
        };
        let text = String::from_utf8(canonical_of(&mixed).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"a\":{\"x\":0,\"y\":9007199254740991,\"z\":10},\"empty\":[],\
             \"z\":[-2,\"\\\"\"],\
             \"\u{1f600}\":\"\\u001fé\\n\",\"\u{fb33}\":null}"
        );
    }

    #[test]
    fn what_no_reader_would_take_is_not_written() {
        use std::collections::BTreeMap;
        assert_eq!(canonical_of(&0.5), Err(JsonError::Fraction));
        assert!(canonical_of(&u64::MAX).is_err() && canonical_of(&i64::MIN).is_err());
        assert!(canonical_of(&BTreeMap::from([(1, 2)])).is_err());
        #[derive(Serialize)]
        enum Kind {
            One(u8),
            Named { a: u8 },
        }
        assert!(
            canonical_of(&Kind::One(1)).is_err() && canonical_of(&Kind::Named { a: 1 }).is_err()
        );
        #[derive(Serialize)]
        struct Twice {
            b: u8,
            #[serde(flatten)]
            more: BTreeMap<&'static str, u8>,
        }
        let more = BTreeMap::from([("a", 1), ("b", 2)]);
        assert!(canonical_of(&Twice { b: 1, more }).is_err());
    }

    #[test]
    fn every_byte_is_escaped_wherever_it_stands() {
        for at in [0, 1, 30, 31, 32, 33, 63, 64, 70] {
            for byte in 0..0x80u8 {
                let mut text = "x".repeat(71);
                text.replace_range(at..=at, char::from(byte).encode_utf8(&mut [0; 4]));
                let bytes = to_canonical(&Value::from(text.as_str())).unwrap();
                // serde_json escapes the same characters in the same way.
                assert_eq!(bytes, serde_json::to_vec(&text).unwrap(), "{byte} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn canonical_round_trip(v in any_json()) {
            let bytes = to_canonical(&v).unwrap();
            let back = parse(&bytes).unwrap();
            prop_assert_eq!(&back, &v);
            prop_assert_eq!(to_canonical(&back).unwrap(), bytes);
        }

        #[test]
        fn parse_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
