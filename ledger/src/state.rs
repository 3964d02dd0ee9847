//! The state document of a project, whose hash is the project's value in the ledger map
//! (docs/formats.md, "Ledger map").

use crate::encoding::{hex_hash, hex32, present};
use crate::json::{self, JsonError};
use crate::{Hash, sha256};
use serde::{Deserialize, Serialize};

/// Everything about a project that a verifier may need to know was not left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StateDocument {
    /// Purl prefixes whose releases, past and later, are withdrawn; sorted by prefix.
    pub end_of_life: Vec<EndOfLife>,
    /// Whether the operator has stopped admitting this project's statements.
    pub frozen: bool,
    /// The tree of the log indexes of all that was accepted for this project.
    pub leaves: Leaves,
    /// The newest project statement.
    pub project: Current,
    /// Revocations, one entry a target, sorted by target.
    pub revoked: Vec<Revoked>,
    /// Root of the prefix tree of withdrawn releases and digests; zeros while empty.
    #[serde(with = "hex_hash")]
    pub withdrawn: Hash,
}

/// A purl prefix at its end of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndOfLife {
    /// The prefix.
    pub prefix: String,
    /// PAE hash of the withdrawal.
    #[serde(with = "hex_hash")]
    pub statement: Hash,
}

/// An RFC 6962 tree over 8-byte big-endian log indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaves {
    /// Its root.
    #[serde(with = "hex_hash")]
    pub root: Hash,
    /// Its number of leaves.
    pub size: u64,
}

/// Which project statement is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Current {
    /// Its PAE hash.
    #[serde(with = "hex_hash")]
    pub statement: Hash,
    /// Its version, from 1.
    pub version: u64,
}

/// A revoked key, identity or authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Log index of the first revocation.
    pub index: u64,
    /// The smallest `compromisedSince` given.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub since: Option<u64>,
    /// PAE hash of the revocation that set `since`, else of the first.
    #[serde(with = "hex_hash")]
    pub statement: Hash,
    /// `key:`, `identity:` or `authority:` and a hash.
    pub target: String,
}

impl StateDocument {
    /// Its canonical JSON.
    ///
    /// # Errors
    /// [`JsonError`] never in practice: the type holds nothing that has no canonical form.
    pub fn to_canonical(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical_of(self)
    }

    /// The project's value in the ledger map: SHA-256 of the canonical JSON.
    ///
    /// # Errors
    /// As [`StateDocument::to_canonical`].
    pub fn hash(&self) -> Result<Hash, JsonError> {
        Ok(sha256(&self.to_canonical()?))
    }
}

/// Key of a release in the tree of withdrawals: SHA-256(`release:` ‖ PAE hash in hex).
#[must_use]
pub fn withdrawn_release_key(pae_hash: &Hash) -> Hash {
    sha256(format!("release:{}", hex32(pae_hash)).as_bytes())
}

/// Key of a digest in the tree of withdrawals: SHA-256(`sha256:` ‖ digest in hex).
#[must_use]
pub fn withdrawn_digest_key(digest: &Hash) -> Hash {
    sha256(format!("sha256:{}", hex32(digest)).as_bytes())
}

/// All keys under which a release could stand withdrawn, sorted, without repeats.
#[must_use]
pub fn withdrawn_keys(pae_hash: &Hash, digests: impl IntoIterator<Item = Hash>) -> Vec<Hash> {
    let mut keys = vec![withdrawn_release_key(pae_hash)];
    keys.extend(digests.into_iter().map(|d| withdrawn_digest_key(&d)));
    keys.sort_unstable();
    keys.dedup();
    keys
}
