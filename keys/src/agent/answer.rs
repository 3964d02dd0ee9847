//! What an ssh-agent answers, in its one form: RFC 4251's strings and numbers, RFC 5656's keys
//! and signatures.

use super::{AgentError, Fingerprint};
use crate::{PublicKey, low_s};

const FAILURE: u8 = 5;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_RESPONSE: u8 = 14;
/// More keys than OpenSSH's agent lists.
const MAX_IDENTITIES: usize = 2048;
const P256: &[u8] = b"ecdsa-sha2-nistp256";
const CURVE: &[u8] = b"nistp256";

fn malformed(why: &str) -> AgentError {
    AgentError::Malformed(why.to_owned())
}

/// Reads on from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], AgentError> {
        let (head, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| malformed("a length goes beyond its end"))?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<usize, AgentError> {
        let bytes = self.take(4)?;
        let bytes = bytes.try_into().map_err(|_| malformed("no number"))?;
        Ok(u32::from_be_bytes(bytes) as usize)
    }

    fn string(&mut self) -> Result<&'a [u8], AgentError> {
        let length = self.number()?;
        self.take(length)
    }

    /// A positive mpint of at most 32 bytes, in its shortest form.
    fn scalar(&mut self) -> Result<[u8; 32], AgentError> {
        let bytes = self.string()?;
        let digits = match bytes {
            [0, next, ..] if *next >= 0x80 => bytes.get(1..).unwrap_or_default(),
            [1..0x80, ..] => bytes,
            _ => {
                return Err(malformed(
                    "a scalar is not positive, or not in its shortest form",
                ));
            }
        };
        let mut out = [0; 32];
        let start = out
            .len()
            .checked_sub(digits.len())
            .ok_or_else(|| malformed("a scalar of more than 32 bytes"))?;
        if let Some(room) = out.get_mut(start..) {
            room.copy_from_slice(digits);
        }
        Ok(out)
    }

    fn end(&self) -> Result<(), AgentError> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(malformed("bytes after its end")),
        }
    }
}

/// Takes the kind of an answer off.
fn of_kind<'a>(answer: &'a [u8], want: u8, what: &'static str) -> Result<Reader<'a>, AgentError> {
    match answer.split_first() {
        Some((kind, rest)) if *kind == want => Ok(Reader(rest)),
        Some((&FAILURE, [])) => Err(AgentError::Refused(what)),
        Some((kind, _)) => Err(AgentError::Malformed(format!("kind {kind}, want {want}"))),
        None => Err(malformed("it is empty")),
    }
}

/// A key that an agent has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The public key, as SSH writes it.
    pub blob: Vec<u8>,
    /// What its owner wrote beside it.
    pub comment: String,
}

impl Identity {
    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(crate::digest::sha256(&self.blob))
    }

    /// Its type, such as `ecdsa-sha2-nistp256`.
    #[must_use]
    pub fn key_type(&self) -> String {
        shown_type(Reader(&self.blob).string().unwrap_or_default())
    }
}

fn shown_type(name: &[u8]) -> String {
    let cut = name.get(..64).unwrap_or(name);
    let plain = !cut.is_empty() && cut.iter().all(u8::is_ascii_graphic);
    match plain {
        true => String::from_utf8_lossy(cut).into_owned(),
        false => "unknown".to_owned(),
    }
}

/// Reads the answer to a request for the keys.
///
/// # Errors
/// [`AgentError::Refused`] or [`AgentError::Malformed`].
pub fn parse_identities(answer: &[u8]) -> Result<Vec<Identity>, AgentError> {
    let mut reader = of_kind(answer, IDENTITIES_ANSWER, "list its keys")?;
    let count = reader.number()?;
    if count > MAX_IDENTITIES {
        let why = format!("{count} keys, at most {MAX_IDENTITIES}");
        return Err(AgentError::Malformed(why));
    }
    let mut identities = Vec::new();
    for _ in 0..count {
        identities.push(Identity {
            blob: reader.string()?.to_vec(),
            comment: String::from_utf8_lossy(reader.string()?).into_owned(),
        });
    }
    reader.end()?;
    Ok(identities)
}

/// Reads a key as SSH writes it (RFC 5656, section 3.1): P-256, uncompressed.
///
/// # Errors
/// [`AgentError::WrongType`], [`AgentError::SecurityKey`] or [`AgentError::Malformed`].
pub fn public_key(blob: &[u8]) -> Result<PublicKey, AgentError> {
    let mut reader = Reader(blob);
    let name = reader.string()?;
    if name != P256 {
        let shown = shown_type(name);
        return Err(match name.starts_with(b"sk-") {
            true => AgentError::SecurityKey(shown),
            false => AgentError::WrongType(shown),
        });
    }
    if reader.string()? != CURVE {
        return Err(malformed("a P-256 key of another curve"));
    }
    let point = reader.string()?;
    reader.end()?;
    PublicKey::from_point(point).map_err(|e| AgentError::Malformed(e.to_string()))
}

/// Reads the answer to a request to sign (RFC 5656, section 3.1.2), as strict DER with s ≤ n/2.
///
/// # Errors
/// [`AgentError::Refused`] or [`AgentError::Malformed`].
pub fn parse_signature(answer: &[u8]) -> Result<Vec<u8>, AgentError> {
    let mut reader = of_kind(answer, SIGN_RESPONSE, "sign")?;
    let mut outer = Reader(reader.string()?);
    reader.end()?;
    if outer.string()? != P256 {
        return Err(malformed("a signature of another algorithm"));
    }
    let mut inner = Reader(outer.string()?);
    outer.end()?;
    let (r, s) = (inner.scalar()?, inner.scalar()?);
    inner.end()?;
    low_s::from_scalars(&r, &s).map_err(|_| malformed("r or s is out of range"))
}

/// The request to sign `message` with the key `blob`, without flags.
pub(super) fn sign_request(kind: u8, blob: &[u8], message: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    for part in [blob, message] {
        // What is too long for the protocol is refused by the caller; no length wraps here.
        out.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(part);
    }
    out.extend([0; 4]);
    out
}

#[cfg(test)]
mod tests;
