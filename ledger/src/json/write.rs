//! Canonical JSON (RFC 8785) written straight from what serialises, without a tree in between.

use super::{JsonError, MAX_INTEGER};
use serde::ser::{self, Impossible, Serialize};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Display;
use std::ops::Range;

/// Appends the canonical JSON of `value` to `out`. After an error `out` holds a part of it.
pub(super) fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), JsonError> {
    value.serialize(Canonical { out })
}

/// The order of names in an object: by their UTF-16 code units (RFC 8785, 3.2.3).
fn by_utf16(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        a.cmp(b)
    } else {
        a.encode_utf16().cmp(b.encode_utf16())
    }
}

impl ser::Error for JsonError {
    fn custom<T: Display>(why: T) -> Self {
        Self::Shape(why.to_string())
    }
}

fn beyond(n: impl Display) -> JsonError {
    JsonError::Shape(format!(
        "integer {n} is beyond 2^53-1, and no reader would take it"
    ))
}

/// What no document of ours has, and what JSON has several ways for.
fn no_document() -> JsonError {
    JsonError::Shape("an enum's variant that holds something, or a tuple of its own type".into())
}

struct Canonical<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Canonical<'a> {
    fn word(self, word: &str) -> Result<(), JsonError> {
        self.out.extend_from_slice(word.as_bytes());
        Ok(())
    }

    fn number(self, negative: bool, n: u64) -> Result<(), JsonError> {
        let sign = if negative { "-" } else { "" };
        if n > MAX_INTEGER {
            return Err(beyond(format_args!("{sign}{n}")));
        }
        // The digits of 2^53 - 1 are sixteen.
        let (mut digits, mut rest, mut used) = ([b'0'; 16], n, 0);
        for (digit, count) in digits.iter_mut().rev().zip(1..) {
            if rest > 0 || count == 1 {
                *digit += (rest % 10) as u8;
                (rest, used) = (rest / 10, count);
            }
        }
        self.out.extend_from_slice(sign.as_bytes());
        let from = digits.len() - used;
        self.out
            .extend_from_slice(digits.get(from..).unwrap_or_default());
        Ok(())
    }

    fn list(self) -> List<'a> {
        self.out.push(b'[');
        List {
            out: self.out,
            empty: true,
        }
    }

    fn object(self, members: usize) -> Object<'a> {
        self.out.push(b'{');
        Object {
            start: self.out.len(),
            out: self.out,
            members: Vec::with_capacity(members),
            sorted: true,
        }
    }
}

impl<'a> ser::Serializer for Canonical<'a> {
    type Ok = ();
    type Error = JsonError;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = Impossible<(), JsonError>;
    type SerializeTupleVariant = Impossible<(), JsonError>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Impossible<(), JsonError>;

    fn serialize_bool(self, v: bool) -> Result<(), JsonError> {
        self.word(if v { "true" } else { "false" })
    }
    fn serialize_i8(self, v: i8) -> Result<(), JsonError> {
        self.serialize_i64(v.into())
    }
    fn serialize_i16(self, v: i16) -> Result<(), JsonError> {
        self.serialize_i64(v.into())
    }
    fn serialize_i32(self, v: i32) -> Result<(), JsonError> {
        self.serialize_i64(v.into())
    }
    fn serialize_i64(self, v: i64) -> Result<(), JsonError> {
        self.number(v < 0, v.unsigned_abs())
    }
    fn serialize_u8(self, v: u8) -> Result<(), JsonError> {
        self.serialize_u64(v.into())
    }
    fn serialize_u16(self, v: u16) -> Result<(), JsonError> {
        self.serialize_u64(v.into())
    }
    fn serialize_u32(self, v: u32) -> Result<(), JsonError> {
        self.serialize_u64(v.into())
    }
    fn serialize_u64(self, v: u64) -> Result<(), JsonError> {
        self.number(false, v)
    }
    fn serialize_f32(self, _: f32) -> Result<(), JsonError> {
        Err(JsonError::Fraction)
    }
    fn serialize_f64(self, _: f64) -> Result<(), JsonError> {
        Err(JsonError::Fraction)
    }
    fn serialize_char(self, v: char) -> Result<(), JsonError> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, v: &str) -> Result<(), JsonError> {
        write_string(v, self.out);
        Ok(())
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<(), JsonError> {
        self.collect_seq(v)
    }
    fn serialize_none(self) -> Result<(), JsonError> {
        self.word("null")
    }
    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<(), JsonError> {
        v.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), JsonError> {
        self.word("null")
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), JsonError> {
        self.word("null")
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), JsonError> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        v: &T,
    ) -> Result<(), JsonError> {
        v.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), JsonError> {
        Err(no_document())
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, JsonError> {
        Ok(self.list())
    }
    fn serialize_tuple(self, _: usize) -> Result<List<'a>, JsonError> {
        Ok(self.list())
    }
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, JsonError> {
        Err(no_document())
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, JsonError> {
        Err(no_document())
    }
    fn serialize_map(self, members: Option<usize>) -> Result<Object<'a>, JsonError> {
        Ok(self.object(members.unwrap_or_default()))
    }
    fn serialize_struct(self, _: &'static str, members: usize) -> Result<Object<'a>, JsonError> {
        Ok(self.object(members))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, JsonError> {
        Err(no_document())
    }
}

struct List<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl List<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), JsonError> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        append(v, self.out)
    }

    fn close(self) -> Result<(), JsonError> {
        self.out.push(b']');
        Ok(())
    }
}

impl ser::SerializeSeq for List<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), JsonError> {
        self.add(v)
    }
    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

impl ser::SerializeTuple for List<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), JsonError> {
        self.add(v)
    }
    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

/// An object whose members are written as they come, and put in order at its end if they did
/// not come in order.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// Where the first member begins.
    start: usize,
    /// Each member's name, and where its text lies behind `start`, without the comma.
    members: Vec<(Cow<'static, str>, Range<usize>)>,
    sorted: bool,
}

impl Object<'_> {
    fn name(&mut self, name: Cow<'static, str>) {
        if let Some((last, _)) = self.members.last() {
            self.out.push(b',');
            self.sorted = self.sorted && by_utf16(last, &name).is_lt();
        }
        let from = self.out.len() - self.start;
        write_string(&name, self.out);
        self.out.push(b':');
        self.members.push((name, from..from));
    }

    fn value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), JsonError> {
        append(v, self.out)?;
        if let Some((_, text)) = self.members.last_mut() {
            text.end = self.out.len() - self.start;
        }
        Ok(())
    }

    fn close(mut self) -> Result<(), JsonError> {
        if !self.sorted {
            self.sort()?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn sort(&mut self) -> Result<(), JsonError> {
        self.members.sort_by(|(a, _), (b, _)| by_utf16(a, b));
        let repeated = |pair: &[(Cow<'_, str>, _)]| matches!(pair, [(a, _), (b, _)] if a == b);
        if self.members.windows(2).any(repeated) {
            return Err(JsonError::Shape("a name occurs twice".into()));
        }
        let as_they_came = self.out.split_off(self.start);
        for (position, (_, text)) in self.members.iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            let text = as_they_came.get(text.clone());
            self.out.extend_from_slice(text.unwrap_or_default());
        }
        Ok(())
    }
}

impl ser::SerializeMap for Object<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), JsonError> {
        // A name is a string: `serialize_map` of anything else is no document of ours.
        match serde_json::to_value(key) {
            Ok(serde_json::Value::String(name)) => self.name(name.into()),
            _ => return Err(JsonError::Shape("a name must be a string".into())),
        }
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), JsonError> {
        self.value(v)
    }
    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

impl ser::SerializeStruct for Object<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        v: &T,
    ) -> Result<(), JsonError> {
        self.name(name.into());
        self.value(v)
    }
    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

/// How many bytes are looked at together.
const RUN: usize = 32;

/// Whether a byte cannot stand in a string as it is.
fn special(byte: u8) -> bool {
    // Also every byte of a character beyond ASCII can.
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_string(s: &str, out: &mut Vec<u8>) {
    out.reserve(s.len() + 2);
    out.push(b'"');
    // Most strings are base64 or hexadecimal, with nothing to escape: whole runs are copied.
    let (runs, rest) = s.as_bytes().as_chunks::<RUN>();
    for run in runs {
        // No early end, so that the compiler looks at all bytes of a run at once.
        if run.iter().fold(false, |any, byte| any | special(*byte)) {
            escape(run, out);
        } else {
            out.extend_from_slice(run);
        }
    }
    escape(rest, out);
    out.push(b'"');
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !special(*byte) {
            continue;
        }
        out.extend_from_slice(bytes.get(plain..at).unwrap_or_default());
        plain = at + 1;
        let short: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            0x0c => b"\\f",
            b'\r' => b"\\r",
            _ => b"",
        };
        if short.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(short);
        }
    }
    out.extend_from_slice(bytes.get(plain..).unwrap_or_default());
}
