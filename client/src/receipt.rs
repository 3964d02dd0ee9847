//! Receipts: what a client trusted, a line each, so that it can be asked later who trusted what
//! turned out to be bad (docs/formats.md, "Receipts").
//!
//! A receipt holds names and never values: whoever gets a file of them learns what ran where, and
//! no secret.

mod keep;
mod redact;

pub use keep::{Kept, keep};
pub use redact::address;

use ledger::json::MAX_INTEGER;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Bytes of one receipt at most, without its newline.
pub const MAX_RECEIPT_BYTES: usize = 64 * 1024;
/// What `kind` says.
pub const KIND: &str = "receipt";

/// One thing that was verified and trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Receipt<'a> {
    /// `countersign/v1`.
    #[serde(borrow)]
    pub api_version: Cow<'a, str>,
    /// The name that it was released under.
    #[serde(borrow)]
    pub artifact: Cow<'a, str>,
    /// What was done with it.
    pub command: Command,
    /// The names of the environment variables that were handed over; of `run` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Vec<String>>,
    /// The view by which it was judged.
    #[serde(borrow)]
    pub head: Head<'a>,
    /// What the machine or job is called.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Cow<'a, str>>,
    /// The release's log index.
    pub index: u64,
    /// The keys that signed it, 64 hexadecimal digits each.
    pub keys: Vec<String>,
    /// Always [`KIND`].
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// The log's origin.
    #[serde(borrow)]
    pub log: Cow<'a, str>,
    /// SHA-256 of the policy file.
    #[serde(borrow)]
    pub policy: Cow<'a, str>,
    /// The project's name, as the policy has it.
    #[serde(borrow)]
    pub project: Cow<'a, str>,
    /// The project's id.
    #[serde(borrow)]
    pub project_id: Cow<'a, str>,
    /// The release's purl.
    #[serde(borrow)]
    pub purl: Cow<'a, str>,
    /// The git remotes of the working directory, without credentials; absent where they are not
    /// known, empty where there are none. Of `run` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remotes: Option<Vec<String>>,
    /// SHA-256 of the artifact.
    #[serde(borrow)]
    pub sha256: Cow<'a, str>,
    /// The artifact's size in bytes.
    pub size: u64,
    /// PAE hash of the release.
    #[serde(borrow)]
    pub statement: Cow<'a, str>,
    /// When, in Unix seconds.
    pub time: u64,
    /// Where it was fetched from, without credentials.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Cow<'a, str>>,
    /// The release's version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
}

/// What was done with an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// It was found good where it was.
    Verify,
    /// It was put into its place.
    Get,
    /// It was started.
    Run,
}

impl Command {
    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Get => "get",
            Self::Run => "run",
        }
    }
}

/// A view of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Head<'a> {
    /// The checkpoint's root.
    #[serde(borrow)]
    pub root: Cow<'a, str>,
    /// Its tree size.
    pub size: u64,
    /// When the witnesses saw it, in Unix seconds; absent without witnesses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_time: Option<u64>,
}

/// Why a line is no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Longer than [`MAX_RECEIPT_BYTES`].
    #[error("longer than {MAX_RECEIPT_BYTES} bytes")]
    Large,
    /// No JSON, a field twice, unknown or missing, or text after it.
    #[error("not a receipt: {0}")]
    Malformed(String),
    /// The last line, without its end: whoever wrote it was stopped.
    #[error("half written: the line has no end")]
    HalfWritten,
    /// Of a version that we do not know.
    #[error("apiVersion is {0:?}, want \"countersign/v1\"")]
    Version(String),
    /// A field that does not have what it must.
    #[error("{field} is not {want}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it must be.
        want: &'static str,
    },
}

impl ReceiptError {
    /// A stable word for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Large => "receipt-large",
            Self::Malformed(_) => "receipt-malformed",
            Self::HalfWritten => "receipt-half-written",
            Self::Version(_) => "receipt-version",
            Self::Field { .. } => "receipt-field",
        }
    }
}

/// What is read first of a line that is not understood: of another version it may well have
/// other fields.
#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "apiVersion")]
    api_version: String,
}

impl<'a> Receipt<'a> {
    /// Reads one line, without its newline, strictly.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn parse(line: &'a [u8]) -> Result<Self, ReceiptError> {
        if line.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::Large);
        }
        // A field that stands twice is refused by serde for each of our structs.
        let receipt: Self =
            serde_json::from_slice(line).map_err(|e| {
                match serde_json::from_slice::<Versioned>(line) {
                    Ok(v) if v.api_version != ledger::API_VERSION => {
                        ReceiptError::Version(v.api_version)
                    }
                    _ => ReceiptError::Malformed(e.to_string()),
                }
            })?;
        receipt.check()?;
        Ok(receipt)
    }

    fn check(&self) -> Result<(), ReceiptError> {
        if self.api_version != ledger::API_VERSION {
            return Err(ReceiptError::Version(self.api_version.to_string()));
        }
        let field = |field, want, good: bool| match good {
            true => Ok(()),
            false => Err(ReceiptError::Field { field, want }),
        };
        field("kind", "\"receipt\"", self.kind == KIND)?;
        let hex = "64 lower-case hexadecimal digits";
        for (name, value) in [
            ("head.root", &self.head.root),
            ("policy", &self.policy),
            ("projectId", &self.project_id),
            ("sha256", &self.sha256),
            ("statement", &self.statement),
        ] {
            field(name, hex, is_hash(value))?;
        }
        field("keys", hex, self.keys.iter().all(|k| is_hash(k)))?;
        let view = self.head.view_time.unwrap_or(0);
        for (name, value) in [
            ("head.size", self.head.size),
            ("head.viewTime", view),
            ("index", self.index),
            ("size", self.size),
            ("time", self.time),
        ] {
            field(name, "below 2^53", value <= MAX_INTEGER)?;
        }
        let run = self.command == Command::Run;
        let handed = self.environment.is_some();
        field("environment", "there for run alone", handed == run)?;
        let known = self.remotes.is_some();
        field("remotes", "of a run", run || !known)
    }

    /// The line, with its newline.
    ///
    /// # Errors
    /// [`ReceiptError::Large`], or what [`Receipt::parse`] would refuse.
    pub fn to_line(&self) -> Result<Vec<u8>, ReceiptError> {
        self.check()?;
        let mut line =
            ledger::json::canonical_of(self).map_err(|e| ReceiptError::Malformed(e.to_string()))?;
        if line.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::Large);
        }
        line.push(b'\n');
        Ok(line)
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
