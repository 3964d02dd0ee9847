//! Leaves: what is logged, byte for byte (docs/formats.md, "Leaves").
//!
//! A leaf is canonical JSON with a `kind`. Reading requires the canonical bytes, so that
//! one leaf has one encoding and every auditor hashes the same thing.

use crate::encoding::{from_hex32, hex32};
use crate::envelope::{Envelope, EnvelopeError, read_chain, write_chain};
use crate::json::{self, JsonError};
use crate::statement::{Body, Statement, StatementError};
use crate::{API_VERSION, Hash, MAX_LEAF_BYTES};
use keys::certificate::CertificateChain;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Why bytes are not a leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// Not strict or not canonical JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The envelope is not one.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The statement in the envelope is not one.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A field is missing, unknown or of the wrong type.
    #[error("leaf: {0}")]
    Shape(String),
    /// Over 65,535 bytes.
    #[error(
        "leaf of {0} bytes, want at most {MAX_LEAF_BYTES}: about 270 artifacts fit in one statement; split the release by purl qualifiers"
    )]
    TooLarge(usize),
}

impl LeafError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "leaf-not-canonical-json",
            Self::Envelope(e) => e.kind(),
            Self::Statement(e) => e.kind(),
            Self::Shape(_) => "leaf-shape",
            Self::TooLarge(_) => "leaf-too-large",
        }
    }
}

/// What the operator did to a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Its statements are admitted from here on.
    Admitted,
    /// It was not let in.
    Refused,
    /// Its statements are not admitted for now.
    Frozen,
    /// Its statements are admitted again.
    Thawed,
}

impl Action {
    /// The word in the leaf.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Frozen => "frozen",
            Self::Thawed => "thawed",
        }
    }

    fn read(word: &str) -> Option<Self> {
        [Self::Admitted, Self::Refused, Self::Frozen, Self::Thawed]
            .into_iter()
            .find(|a| a.word() == word)
    }
}

/// A signed statement as logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementLeaf {
    /// The envelope, its payload byte for byte as signed.
    pub envelope: Envelope,
    /// The payload, parsed.
    pub statement: Statement,
    /// The server's Unix time in seconds, never decreasing.
    pub time: u64,
}

/// What is written of a [`StatementLeaf`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatementText<'a> {
    api_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<Vec<String>>,
    envelope: &'a Envelope,
    kind: &'a str,
    time: u64,
}

/// The server's commitment to every project's state, last leaf of every batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadLeaf {
    /// Its own index: the map is over leaves 0…entries−1.
    pub entries: u64,
    /// The root of the ledger map.
    pub map: Hash,
    /// The server's Unix time in seconds.
    pub time: u64,
}

/// What the operator did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationLeaf {
    /// What was done.
    pub action: Action,
    /// By whom, in the operator's words.
    pub by: String,
    /// To which project.
    pub project: Hash,
    /// Why.
    pub reason: Option<String>,
    /// The server's Unix time in seconds.
    pub time: u64,
}

/// A certificate that the log's issuer is about to hand out: logged first, so that whoever it is
/// about can see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateLeaf {
    /// End certificate first, anchor omitted.
    pub chain: CertificateChain,
    /// The server's Unix time in seconds.
    pub time: u64,
}

/// A leaf of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// A signed statement.
    Statement(Box<StatementLeaf>),
    /// A ledger head.
    Head(HeadLeaf),
    /// An operator's act.
    Operation(OperationLeaf),
    /// A certificate of the log's issuer.
    Certificate(Box<CertificateLeaf>),
    /// A kind that this version does not know: counted, reported, confers nothing.
    Unknown {
        /// The `kind` field.
        kind: String,
    },
}

fn shape(what: impl Into<String>) -> LeafError {
    LeafError::Shape(what.into())
}

struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn only(&self, known: &[&str]) -> Result<(), LeafError> {
        match self.0.keys().find(|k| !known.contains(&k.as_str())) {
            Some(k) => Err(shape(format!(
                "unknown field {:?}",
                k.chars().take(40).collect::<String>()
            ))),
            None => Ok(()),
        }
    }
    fn text(&self, name: &str) -> Result<&'a str, LeafError> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| shape(format!("{name} must be a string")))
    }
    fn number(&self, name: &str) -> Result<u64, LeafError> {
        self.0
            .get(name)
            .and_then(Value::as_u64)
            .ok_or_else(|| shape(format!("{name} must be an integer")))
    }
    fn hash(&self, name: &str) -> Result<Hash, LeafError> {
        from_hex32(self.text(name)?)
            .ok_or_else(|| shape(format!("{name} must be 64 lower-case hexadecimal digits")))
    }
}

/// Only releases and withdrawals are vouched for by a certificate: who may speak for a project is
/// for its roots to say.
///
/// # Errors
/// [`LeafError::Shape`].
pub fn may_have_chain(envelope: &Envelope, statement: &Statement) -> Result<(), LeafError> {
    match &statement.body {
        Body::Release(_) | Body::Withdrawal(_) => Ok(()),
        _ if envelope.chain.is_none() => Ok(()),
        other => Err(shape(format!(
            "a {} statement is signed by keys of the project, and has no chain",
            other.kind()
        ))),
    }
}

impl Leaf {
    /// Reads a leaf from its logged bytes.
    ///
    /// # Errors
    /// [`LeafError`]; a leaf of an unknown `kind` is [`Leaf::Unknown`], not an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > MAX_LEAF_BYTES {
            return Err(LeafError::TooLarge(bytes.len()));
        }
        let value = json::parse_own(bytes)?;
        json::require_canonical(bytes, &value)?;
        let fields = Fields(value.as_object().ok_or_else(|| shape("not an object"))?);
        if fields.text("apiVersion")? != API_VERSION {
            return Err(shape(format!("apiVersion must be {API_VERSION:?}")));
        }
        match fields.text("kind")? {
            "statement" => {
                fields.only(&["apiVersion", "chain", "envelope", "kind", "time"])?;
                let envelope = fields
                    .0
                    .get("envelope")
                    .ok_or_else(|| shape("envelope is missing"))?;
                let mut envelope = Envelope::from_leaf(envelope)?;
                if let Some(chain) = fields.0.get("chain") {
                    envelope = envelope.with_chain(read_chain(chain)?)?;
                }
                let statement = Statement::parse(&envelope.payload)?;
                may_have_chain(&envelope, &statement)?;
                Ok(Self::Statement(Box::new(StatementLeaf {
                    envelope,
                    statement,
                    time: fields.number("time")?,
                })))
            }
            "ledger-head" => {
                fields.only(&["apiVersion", "entries", "kind", "map", "time"])?;
                Ok(Self::Head(HeadLeaf {
                    entries: fields.number("entries")?,
                    map: fields.hash("map")?,
                    time: fields.number("time")?,
                }))
            }
            "operation" => {
                fields.only(&[
                    "action",
                    "apiVersion",
                    "by",
                    "kind",
                    "project",
                    "reason",
                    "time",
                ])?;
                let action =
                    Action::read(fields.text("action")?).ok_or_else(|| shape("unknown action"))?;
                let reason = if fields.0.contains_key("reason") {
                    Some(fields.text("reason")?.to_owned())
                } else {
                    None
                };
                Ok(Self::Operation(OperationLeaf {
                    action,
                    by: fields.text("by")?.to_owned(),
                    project: fields.hash("project")?,
                    reason,
                    time: fields.number("time")?,
                }))
            }
            "certificate" => {
                fields.only(&["apiVersion", "chain", "kind", "time"])?;
                let chain = fields.0.get("chain");
                let chain = chain.ok_or_else(|| shape("chain is missing"))?;
                Ok(Self::Certificate(Box::new(CertificateLeaf {
                    chain: read_chain(chain)?,
                    time: fields.number("time")?,
                })))
            }
            other => Ok(Self::Unknown {
                kind: other.to_owned(),
            }),
        }
    }

    /// The leaf's logged bytes.
    ///
    /// # Errors
    /// [`LeafError::TooLarge`]; [`LeafError::Shape`] for an unknown kind, which only its
    /// original bytes can say.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LeafError> {
        let bytes = match self {
            Self::Statement(s) => json::canonical_of(&StatementText {
                api_version: API_VERSION,
                chain: s.envelope.chain.as_ref().map(write_chain),
                envelope: &s.envelope,
                kind: "statement",
                time: s.time,
            }),
            Self::Head(h) => json::to_canonical(&json!({
                "apiVersion": API_VERSION, "entries": h.entries, "kind": "ledger-head",
                "map": hex32(&h.map), "time": h.time,
            })),
            Self::Operation(o) => {
                let mut v = json!({
                    "action": o.action.word(), "apiVersion": API_VERSION, "by": o.by, "kind": "operation",
                    "project": hex32(&o.project), "time": o.time,
                });
                if let (Some(fields), Some(reason)) = (v.as_object_mut(), &o.reason) {
                    fields.insert("reason".into(), reason.clone().into());
                }
                json::to_canonical(&v)
            }
            Self::Certificate(c) => json::to_canonical(&json!({
                "apiVersion": API_VERSION, "chain": write_chain(&c.chain), "kind": "certificate",
                "time": c.time,
            })),
            Self::Unknown { .. } => return Err(shape("an unknown kind cannot be written")),
        }?;
        if bytes.len() > MAX_LEAF_BYTES {
            Err(LeafError::TooLarge(bytes.len()))
        } else {
            Ok(bytes)
        }
    }

    /// The leaf's time in Unix seconds, where it has one.
    #[must_use]
    pub fn time(&self) -> Option<u64> {
        match self {
            Self::Statement(s) => Some(s.time),
            Self::Head(h) => Some(h.time),
            Self::Operation(o) => Some(o.time),
            Self::Certificate(c) => Some(c.time),
            Self::Unknown { .. } => None,
        }
    }
}
