//! PKCS#11 URIs (RFC 7512) of one key. What is not understood is refused: an attribute that was
//! passed over could have been the one that told two keys apart.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// The longest URI that is read.
const MAX_URI: usize = 4096;
/// The longest CKA_ID.
const MAX_ID: usize = 255;
/// What may be said of a key, and of the module and the PIN.
const KNOWN: &str =
    "token, manufacturer, model, serial, object, id, type=private; ?module-path=, pin-source=file:";

/// Why a text is no URI of a key. No message repeats a value: it may be a PIN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// A PIN on the command line.
    #[error(
        "pin-value is refused: everybody on this machine can read a command line, and shells and CI logs keep it; use pin-source=file:/…, COUNTERSIGN_PIN or the prompt"
    )]
    PinValue,
    /// Another attribute than those that are understood.
    #[error("pkcs11: URI: {0:?} is not understood; known are {KNOWN}")]
    Unknown(String),
    /// An attribute given twice.
    #[error("pkcs11: URI: {0} is given twice")]
    Repeated(&'static str),
    /// Not in the URI's form.
    #[error("pkcs11: URI: {0}")]
    Malformed(String),
}

impl UriError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PinValue => "pin-on-command-line",
            Self::Unknown(_) | Self::Repeated(_) | Self::Malformed(_) => "bad-pkcs11-uri",
        }
    }
}

/// Which token, which key on it, by which module, and where its PIN is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenUri {
    /// The token's label.
    pub token: Option<String>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// The key's CKA_LABEL.
    pub object: Option<String>,
    /// The key's CKA_ID.
    pub id: Option<Vec<u8>>,
    /// The module's whole path.
    pub module: Option<PathBuf>,
    /// The file whose first line is the PIN.
    pub pin_source: Option<PathBuf>,
    /// That it is the private key is said; no other could sign.
    pub(super) private: bool,
}

fn malformed(why: impl Into<String>) -> UriError {
    UriError::Malformed(why.into())
}

/// A name is repeated only where it is one: in a slip of the keyboard it could be a value.
fn unknown(name: &str) -> UriError {
    let plain = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
    UriError::Unknown(if plain {
        name.to_owned()
    } else {
        "…".to_owned()
    })
}

/// Undoes the percent-encoding of a value. Which characters may stand for themselves RFC 7512
/// lists; `more` are those of the component.
fn decode(name: &str, value: &str, more: &[u8]) -> Result<Vec<u8>, UriError> {
    let mut out = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let digits = tail
                    .get(..2)
                    .filter(|d| d.iter().all(u8::is_ascii_hexdigit));
                let byte = digits
                    .and_then(|d| std::str::from_utf8(d).ok())
                    .and_then(|d| u8::from_str_radix(d, 16).ok());
                let bad = || malformed(format!("{name}: % is not followed by two hex digits"));
                out.push(byte.ok_or_else(bad)?);
                rest = tail.get(2..).unwrap_or_default();
            }
            c if c.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=".contains(c) => out.push(*c),
            c if more.contains(c) => out.push(*c),
            _ => {
                return Err(malformed(format!(
                    "{name}: a character that must be written as %XX"
                )));
            }
        }
    }
    match out.is_empty() {
        true => Err(malformed(format!("{name} is empty"))),
        false => Ok(out),
    }
}

fn text(name: &str, value: &str, more: &[u8]) -> Result<String, UriError> {
    let text = String::from_utf8(decode(name, value, more)?);
    let text = text.map_err(|_| malformed(format!("{name} is not UTF-8")))?;
    match text.chars().any(char::is_control) {
        true => Err(malformed(format!("{name} has a control character"))),
        false => Ok(text),
    }
}

/// A file by its whole path: nothing is looked up in the working directory.
fn path(name: &str, text: &str) -> Result<PathBuf, UriError> {
    match Path::new(text).is_absolute() {
        true => Ok(PathBuf::from(text)),
        false => Err(malformed(format!("{name} is no whole path"))),
    }
}

fn set<T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), UriError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Repeated(name)),
    }
}

impl TokenUri {
    /// Reads a URI strictly.
    ///
    /// # Errors
    /// [`UriError`].
    pub fn parse(uri: &str) -> Result<Self, UriError> {
        if uri.len() > MAX_URI {
            return Err(malformed(format!("longer than {MAX_URI} bytes")));
        }
        let rest = uri
            .strip_prefix("pkcs11:")
            .ok_or_else(|| malformed("it does not begin with pkcs11:"))?;
        let (key, query) = match rest.split_once('?') {
            Some((key, query)) => (key, Some(query)),
            None => (rest, None),
        };
        let mut read = Self::default();
        for attribute in key.split(';').filter(|_| !key.is_empty()) {
            read.attribute(attribute)?;
        }
        for attribute in query.iter().flat_map(|q| q.split('&')) {
            read.query(attribute)?;
        }
        // As we write it too, so that what was read can be read again: we escape what need not be.
        let written = read.to_string().len();
        if written > MAX_URI {
            let what = format!("longer than {MAX_URI} bytes ({written}) with all escapes");
            return Err(malformed(what));
        }
        Ok(read)
    }

    fn attribute(&mut self, attribute: &str) -> Result<(), UriError> {
        let (name, value) = attribute
            .split_once('=')
            .ok_or_else(|| malformed("want attributes NAME=VALUE between semicolons"))?;
        let more = b"&";
        match name {
            "token" => set("token", &mut self.token, text(name, value, more)?),
            "manufacturer" => {
                let value = text(name, value, more)?;
                set("manufacturer", &mut self.manufacturer, value)
            }
            "model" => set("model", &mut self.model, text(name, value, more)?),
            "serial" => set("serial", &mut self.serial, text(name, value, more)?),
            "object" => set("object", &mut self.object, text(name, value, more)?),
            "id" => {
                let id = decode(name, value, more)?;
                if id.len() > MAX_ID {
                    return Err(malformed(format!("an id of more than {MAX_ID} bytes")));
                }
                set("id", &mut self.id, id)
            }
            "type" if value == "private" => match std::mem::replace(&mut self.private, true) {
                false => Ok(()),
                true => Err(UriError::Repeated("type")),
            },
            "type" => Err(malformed("type: only a private key signs: type=private")),
            // Also where it stands in the wrong place.
            "pin-value" => Err(UriError::PinValue),
            other => Err(unknown(other)),
        }
    }

    fn query(&mut self, attribute: &str) -> Result<(), UriError> {
        let (name, value) = attribute
            .split_once('=')
            .ok_or_else(|| malformed("want NAME=VALUE between ampersands after ?"))?;
        let more = b"/?|";
        match name {
            "module-path" => {
                let module = path(name, &text(name, value, more)?)?;
                set("module-path", &mut self.module, module)
            }
            "pin-source" => {
                let source = text(name, value, more)?;
                let source = source
                    .strip_prefix("file:")
                    .ok_or_else(|| malformed("pin-source: want file: and a whole path"))?;
                // Without a host: file:/a and file:///a are the same.
                let source = source.strip_prefix("//").unwrap_or(source);
                // What is left of file:////a would be read as a host once written.
                if source.starts_with("//") {
                    return Err(malformed("pin-source is no whole path"));
                }
                set("pin-source", &mut self.pin_source, path(name, source)?)
            }
            "pin-value" => Err(UriError::PinValue),
            other => Err(unknown(other)),
        }
    }
}

fn encode(bytes: &[u8], plain: bool) -> String {
    let mut out = String::new();
    for byte in bytes {
        if plain && (byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("object", &self.object),
        ];
        let mut parts = Vec::new();
        for (name, value) in texts {
            let value = value.iter();
            parts.extend(value.map(|v| format!("{name}={}", encode(v.as_bytes(), true))));
        }
        let id = self.id.iter();
        parts.extend(id.map(|id| format!("id={}", encode(id, false))));
        if self.private {
            parts.push("type=private".to_owned());
        }
        let file = |name: &str, path: &Option<PathBuf>| {
            let path = path.as_ref()?.to_string_lossy().into_owned();
            let segments = path.split('/').map(|s| encode(s.as_bytes(), true));
            Some(format!("{name}{}", segments.collect::<Vec<_>>().join("/")))
        };
        let query = [
            file("module-path=", &self.module),
            file("pin-source=file:", &self.pin_source),
        ];
        let query: Vec<String> = query.into_iter().flatten().collect();
        write!(f, "pkcs11:{}", parts.join(";"))?;
        match query.is_empty() {
            true => Ok(()),
            false => write!(f, "?{}", query.join("&")),
        }
    }
}

#[cfg(test)]
mod tests;
