//! Fork evidence: one file that proves, to anybody and offline, that a log signed two histories
//! (docs/formats.md, "Fork evidence"). Canonical JSON; pure, as everything in this crate is.
//!
//! It is here and not in `tlog`, which has one module per public specification: this format is
//! our own. Nothing of it needs a policy: the keys are in the file, and whether they are the
//! log's is for whoever reads it to compare.

mod note;

use crate::encoding::{hex_hash, hex_hashes, present};
use crate::json::{self, JsonError};
use crate::{API_VERSION, Hash};
use note::Noted;
use serde::{Deserialize, Serialize};
use tlog::proof::{ProofError, verify_consistency};
use tlog::vkey::{Algorithm, VerifierKey};

/// Largest evidence file in bytes: two notes with their signatures, and one proof.
pub const MAX_EVIDENCE_BYTES: usize = 256 * 1024;
/// Most keys of a log, and most witnesses, in one file.
pub const MAX_EVIDENCE_KEYS: usize = 64;
/// What `kind` is.
pub const KIND: &str = "fork";

/// Two signed checkpoints of one log that contradict each other, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Evidence {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// What the newer tree has at the older size; absent where the two sizes are the same.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub between: Option<Between>,
    /// Always [`KIND`].
    pub kind: String,
    /// The checkpoint of the greater size, a signed note as text.
    pub newer: String,
    /// The other.
    pub older: String,
    /// The log's keys that signed both; each must have.
    pub vkeys: Vec<String>,
    /// Witnesses that cosigned either; for the times that they give.
    pub witnesses: Vec<String>,
}

/// The newer tree's own beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// RFC 6962 consistency proof, from `root` at the older size to the newer checkpoint.
    #[serde(with = "hex_hashes")]
    pub consistency: Vec<Hash>,
    /// Root of the newer tree's first entries, as many as the older checkpoint has.
    #[serde(with = "hex_hash")]
    pub root: Hash,
}

/// Which of the two checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The smaller.
    Older,
    /// The greater.
    Newer,
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Older => "older",
            Self::Newer => "newer",
        })
    }
}

/// Why a file proves no fork.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// Not strict, canonical JSON of the schema.
    #[error("fork evidence: {0}")]
    Json(#[from] JsonError),
    /// A version that we do not know.
    #[error("fork evidence: apiVersion is {0:?}, want {API_VERSION:?}")]
    Version(String),
    /// Another kind of document.
    #[error("fork evidence: kind is {0:?}, want {KIND:?}")]
    Kind(String),
    /// Over [`MAX_EVIDENCE_BYTES`].
    #[error("fork evidence of {0} bytes, want at most {MAX_EVIDENCE_BYTES}")]
    TooLarge(usize),
    /// The lists of keys are not what they must be.
    #[error("fork evidence: {list}: {why}")]
    Keys {
        /// `vkeys` or `witnesses`.
        list: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A note is malformed, or not signed as the lists say.
    #[error("fork evidence: the {which} checkpoint: {why}")]
    Note {
        /// Which.
        which: Which,
        /// What is wrong.
        why: String,
    },
    /// The notes are of two logs, or in the wrong order.
    #[error("fork evidence: {0}")]
    Pair(String),
    /// The proof from the newer tree does not hold, or is missing, or there is one too many.
    #[error("fork evidence: {0}")]
    Between(String),
    /// The two checkpoints are of one history.
    #[error("fork evidence: the two checkpoints agree: {0}")]
    Agree(&'static str),
}

impl EvidenceError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "evidence-malformed",
            Self::Version(_) => "evidence-version",
            Self::Kind(_) => "evidence-kind",
            Self::TooLarge(_) => "evidence-too-large",
            Self::Keys { .. } => "evidence-keys",
            Self::Note { .. } => "evidence-note",
            Self::Pair(_) => "evidence-pair",
            Self::Between(_) => "evidence-proof",
            Self::Agree(_) => "evidence-no-fork",
        }
    }
}

/// One of the two checkpoints, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Tree size.
    pub size: u64,
    /// The root that was signed.
    pub root: Hash,
    /// When which witness cosigned it, Unix seconds, in the order of the note.
    pub cosigned: Vec<(String, u64)>,
}

/// A fork that is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// The log.
    pub origin: String,
    /// The checkpoint of the smaller size.
    pub older: Side,
    /// The other.
    pub newer: Side,
    /// The root at the older size in the newer tree; it is not the older checkpoint's.
    pub root: Hash,
    /// Hashes of the proof of that.
    pub hashes: usize,
    /// The log's keys, all of which signed both.
    pub keys: Vec<VerifierKey>,
}

impl Evidence {
    /// Reads evidence strictly: canonical JSON, no unknown field, nothing after it. Nothing is
    /// verified: see [`Evidence::verify`].
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(EvidenceError::TooLarge(bytes.len()));
        }
        let value = json::parse_own(bytes)?;
        // Version and kind first: a newer file is "too new", not "malformed".
        let short = |name: &str| -> Option<String> {
            let text = value.get(name)?.as_str()?;
            Some(text.chars().take(40).collect())
        };
        if let Some(version) = short("apiVersion").filter(|v| v != API_VERSION) {
            return Err(EvidenceError::Version(version));
        }
        if let Some(kind) = short("kind").filter(|k| k != KIND) {
            return Err(EvidenceError::Kind(kind));
        }
        Ok(json::exactly(bytes, value)?)
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// [`EvidenceError`] never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EvidenceError> {
        Ok(json::canonical_of(self)?)
    }

    /// Puts evidence together from two notes of one log, of which neither is older than the
    /// other by anything but its size, and `between`, which may be left out where they are of one
    /// size. Of `keys` it lists those that signed both, of `witnesses` those that cosigned
    /// either; what others put on the notes is left away. It proves a fork, or is not made.
    ///
    /// # Errors
    /// [`EvidenceError`]: why the two prove no fork by these keys.
    pub fn make(
        notes: (&str, &str),
        between: Option<Between>,
        keys: &[VerifierKey],
        witnesses: &[VerifierKey],
    ) -> Result<Self, EvidenceError> {
        let one = Noted::parse(Which::Older, notes.0)?;
        let two = Noted::parse(Which::Newer, notes.1)?;
        let (older, newer) = if one.checkpoint.size <= two.checkpoint.size {
            (one, two)
        } else {
            (two, one)
        };
        let both = |key: &&VerifierKey| older.has(key) && newer.has(key);
        let either = |key: &&VerifierKey| older.has(key) || newer.has(key);
        let keys: Vec<VerifierKey> = keys.iter().filter(both).cloned().collect();
        let witnesses: Vec<VerifierKey> = witnesses.iter().filter(either).cloned().collect();
        if keys.is_empty() {
            let why = "no key of the log's signed both checkpoints".to_owned();
            return Err(EvidenceError::Keys { list: "vkeys", why });
        }
        let all: Vec<VerifierKey> = keys.iter().chain(&witnesses).cloned().collect();
        let same_size = older.checkpoint.size == newer.checkpoint.size;
        let evidence = Self {
            api_version: API_VERSION.to_owned(),
            between: between.filter(|_| !same_size),
            kind: KIND.to_owned(),
            newer: newer.only(&all),
            older: older.only(&all),
            vkeys: sorted(&keys),
            witnesses: sorted(&witnesses),
        };
        evidence.verify()?;
        Self::parse(&evidence.to_bytes()?)
    }

    /// Verifies all of it: keys, signatures, and that no tree that only grows has both roots.
    ///
    /// # Errors
    /// [`EvidenceError`]: the first reason why this proves nothing.
    pub fn verify(&self) -> Result<Fork, EvidenceError> {
        let keys = keys("vkeys", &self.vkeys)?;
        let witnesses = keys_of_witnesses(&self.witnesses)?;
        if keys.is_empty() {
            let why = "there is none".to_owned();
            return Err(EvidenceError::Keys { list: "vkeys", why });
        }
        let older = Noted::parse(Which::Older, &self.older)?;
        let newer = Noted::parse(Which::Newer, &self.newer)?;
        let (old, new) = (&older.checkpoint, &newer.checkpoint);
        if old.origin != new.origin {
            return Err(EvidenceError::Pair(format!(
                "the checkpoints are of two logs, {:?} and {:?}",
                old.origin, new.origin
            )));
        }
        if let Some(other) = keys.iter().find(|k| k.name() != old.origin) {
            let why = format!("{other} is not named for the log, {:?}", old.origin);
            return Err(EvidenceError::Keys { list: "vkeys", why });
        }
        let older_times = older.verify(&keys, &witnesses)?;
        let newer_times = newer.verify(&keys, &witnesses)?;
        let named = |w: &VerifierKey| older.has(w) || newer.has(w);
        if let Some(idle) = witnesses.iter().find(|w| !named(w)) {
            return Err(EvidenceError::Keys {
                list: "witnesses",
                why: format!("{idle} has cosigned neither checkpoint"),
            });
        }
        let (root, hashes) = self.root_at(older.at(), newer.at())?;
        if root == old.root {
            return Err(EvidenceError::Agree(
                "at the older size the newer tree has the root that the older one has",
            ));
        }
        let side = |noted: &Noted, cosigned| Side {
            size: noted.checkpoint.size,
            root: noted.checkpoint.root,
            cosigned,
        };
        Ok(Fork {
            origin: old.origin.clone(),
            older: side(&older, older_times),
            newer: side(&newer, newer_times),
            root,
            hashes,
            keys,
        })
    }

    /// The root that the newer tree has at the older size, and how many hashes prove it.
    fn root_at(&self, old: (u64, Hash), new: (u64, Hash)) -> Result<(Hash, usize), EvidenceError> {
        let bad = |why: String| Err(EvidenceError::Between(why));
        match &self.between {
            _ if old.0 > new.0 => Err(EvidenceError::Pair(
                "the checkpoint called newer is of the smaller size".into(),
            )),
            Some(_) if old.0 == new.0 => bad("two checkpoints of one size need no proof".into()),
            None if old.0 == new.0 => Ok((new.1, 0)),
            None => bad(
                "there is no proof that the newer tree has another root at the older size".into(),
            ),
            Some(b) => verify_consistency(old.0, &b.root, new.0, &new.1, &b.consistency)
                .map(|()| (b.root, b.consistency.len()))
                .or_else(|e: ProofError| {
                    bad(format!(
                        "the proof from the newer tree does not hold, and proves nothing: {e}"
                    ))
                }),
        }
    }
}

impl Fork {
    /// What happened, in plain words, a line each; `time` writes Unix seconds for people.
    #[must_use]
    pub fn explain(&self, time: impl Fn(u64) -> String) -> Vec<String> {
        let root = |root: &Hash| crate::b64(root);
        let (old, new) = (&self.older, &self.newer);
        let mut lines = vec![format!(
            "fork: the log {} has signed two histories that contradict each other",
            self.origin
        )];
        lines.push(format!(
            "at {} entries it signed the root {}",
            old.size,
            root(&old.root)
        ));
        lines.push(format!(
            "at {} entries it signed the root {}",
            new.size,
            root(&new.root)
        ));
        if old.size == new.size {
            lines.push("a tree has one root at one size: these are two trees".to_owned());
        } else {
            lines.push(format!(
                "the first {} entries of that tree have the root {}, by a proof of {} hashes: they are not the {} entries that were signed before, and no log that only grows has both",
                old.size,
                root(&self.root),
                self.hashes,
                old.size
            ));
        }
        for key in &self.keys {
            lines.push(format!("signed both: {key}"));
        }
        for (which, side) in [(Which::Older, old), (Which::Newer, new)] {
            for (witness, at) in &side.cosigned {
                let at = time(*at);
                lines.push(format!("the {which} was cosigned by {witness} at {at}"));
            }
        }
        if old.cosigned.is_empty() && new.cosigned.is_empty() {
            lines.push("when is not proven: no witness that is listed cosigned either".to_owned());
        }
        lines
    }
}

fn sorted(keys: &[VerifierKey]) -> Vec<String> {
    let mut texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.dedup();
    texts
}

/// A sorted set of keys that may sign a log's checkpoints.
fn keys(list: &'static str, texts: &[String]) -> Result<Vec<VerifierKey>, EvidenceError> {
    let keys = set(list, texts)?;
    let plain =
        |k: &&VerifierKey| !matches!(k.algorithm(), Algorithm::Ed25519 | Algorithm::EcdsaP256);
    match keys.iter().find(plain) {
        Some(key) => Err(EvidenceError::Keys {
            list,
            why: format!("{key} is of no type that signs checkpoints here"),
        }),
        None => Ok(keys),
    }
}

fn keys_of_witnesses(texts: &[String]) -> Result<Vec<VerifierKey>, EvidenceError> {
    let list = "witnesses";
    let keys = set(list, texts)?;
    let other = |k: &&VerifierKey| k.algorithm() != Algorithm::CosignatureV1;
    match keys.iter().find(other) {
        Some(key) => Err(EvidenceError::Keys {
            list,
            why: format!("{key} is no witness's key"),
        }),
        None => Ok(keys),
    }
}

fn set(list: &'static str, texts: &[String]) -> Result<Vec<VerifierKey>, EvidenceError> {
    let bad = |why: String| EvidenceError::Keys { list, why };
    if texts.len() > MAX_EVIDENCE_KEYS {
        return Err(bad(format!(
            "{} keys, want at most {MAX_EVIDENCE_KEYS}",
            texts.len()
        )));
    }
    if !texts.is_sorted_by(|a, b| a < b) {
        return Err(bad("want a sorted set without repeats".into()));
    }
    let parse = |text: &String| {
        let key = VerifierKey::parse(text).map_err(|e| bad(e.to_string()))?;
        // One spelling a key: else a file could list one twice.
        if key.to_string() == *text {
            Ok(key)
        } else {
            Err(bad(format!("want {key}, got another spelling of it")))
        }
    };
    texts.iter().map(parse).collect()
}
