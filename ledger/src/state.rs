//! The state document of a project, whose hash is the project's value in the ledger map
//! (docs/formats.md, "Ledger map").

use crate::encoding::{hex_hash, hex32, present};
use crate::json::{self, JsonError};
use crate::{Hash, sha256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Everything about a project that a verifier may need to know was not left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StateDocument {
    /// Purl prefixes whose releases, past and later, are withdrawn; a set.
    pub end_of_life: Vec<EndOfLife>,
    /// Whether the operator has stopped admitting this project's statements.
    pub frozen: bool,
    /// The tree of the log indexes of all that was accepted for this project.
    pub leaves: Leaves,
    /// The newest project statement.
    pub project: Current,
    /// Revocations, one entry a target; a set.
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

    /// Requires that the lists that are sets are in their one order (by canonical JSON, without
    /// repeats), with one revocation a target and one end of life a prefix.
    ///
    /// # Errors
    /// [`JsonError::Shape`].
    pub fn check_sets(&self) -> Result<(), JsonError> {
        let targets = self.revoked.iter().map(|r| &r.target);
        let prefixes = self.end_of_life.iter().map(|e| &e.prefix);
        check_set("revoked", &self.revoked, targets)?;
        check_set("endOfLife", &self.end_of_life, prefixes)
    }

    /// The project's value in the ledger map: SHA-256 of the canonical JSON.
    ///
    /// # Errors
    /// As [`StateDocument::to_canonical`].
    pub fn hash(&self) -> Result<Hash, JsonError> {
        Ok(sha256(&self.to_canonical()?))
    }
}

/// Puts a list that is a set in its one order: by the canonical JSON of its members.
pub(crate) fn sort_set<T: Serialize>(list: &mut [T]) {
    if list.len() > 1 {
        // What has no canonical form does not occur; it would show in the document's hash.
        list.sort_by_cached_key(|member| json::canonical_of(member).unwrap_or_default());
    }
}

fn check_set<'a, T: Serialize>(
    name: &str,
    list: &[T],
    keys: impl Iterator<Item = &'a String>,
) -> Result<(), JsonError> {
    let texts: Vec<Vec<u8>> = list
        .iter()
        .map(json::canonical_of)
        .collect::<Result<_, _>>()?;
    if texts.is_sorted() && keys.collect::<BTreeSet<_>>().len() == list.len() {
        Ok(())
    } else {
        Err(JsonError::Shape(format!(
            "{name} must be sorted and without repeats"
        )))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_release_is_looked_for_under_its_own_key_and_each_digest_s() {
        let hex = |byte: &str| byte.repeat(32);
        let key = |text: String| sha256(text.as_bytes());
        let mut want = [
            key(format!("release:{}", hex("01"))),
            key(format!("sha256:{}", hex("02"))),
            key(format!("sha256:{}", hex("03"))),
        ];
        want.sort_unstable();
        let digests = [[3; 32], [2; 32], [3; 32]];
        assert_eq!(withdrawn_keys(&[1; 32], digests), want);
    }

    #[test]
    fn lists_that_are_sets_have_one_order() {
        let revoked = |index, target: &str| Revoked {
            index,
            since: None,
            statement: [1; 32],
            target: target.into(),
        };
        let end = |prefix: &str| EndOfLife {
            prefix: prefix.into(),
            statement: [1; 32],
        };
        let state = |revoked, end_of_life| StateDocument {
            end_of_life,
            frozen: false,
            leaves: Leaves {
                root: [0; 32],
                size: 0,
            },
            project: Current {
                statement: [0; 32],
                version: 1,
            },
            revoked,
            withdrawn: [0; 32],
        };
        for (document, ok) in [
            (state(vec![], vec![]), true),
            (state(vec![revoked(1, "b"), revoked(2, "a")], vec![]), true),
            (state(vec![revoked(2, "a"), revoked(1, "b")], vec![]), false),
            (state(vec![revoked(1, "a"), revoked(2, "a")], vec![]), false),
            (state(vec![], vec![end("pkg:a/b"), end("pkg:a/c")]), true),
            (state(vec![], vec![end("pkg:a/c"), end("pkg:a/b")]), false),
            (state(vec![], vec![end("pkg:a/b"), end("pkg:a/b")]), false),
        ] {
            assert_eq!(document.check_sets().is_ok(), ok, "{document:?}");
        }
    }
}
