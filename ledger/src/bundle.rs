//! The bundle: what ships beside an artifact (docs/formats.md, "Bundle").
//! `application/vnd.countersign.bundle.v1+json`, canonical JSON, one file.

use crate::encoding::{base64_bytes, from_hex32, hex_hash, hex_hashes, hex32, present};
use crate::json::{self, JsonError};
use crate::state::StateDocument;
use crate::{API_VERSION, Hash};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use tlog::prefix::MapProof;

/// Media type of a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.countersign.bundle.v1+json";
/// Largest bundle in bytes: a full leaf, and a long chain of project statements.
pub const MAX_BUNDLE_BYTES: usize = 4 * 1024 * 1024;

/// Why bytes are not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Not strict, canonical JSON of the schema.
    #[error("bundle: {0}")]
    Json(#[from] JsonError),
    /// A version that we do not know.
    #[error("bundle: apiVersion is {0:?}, want {API_VERSION:?}")]
    Version(String),
    /// Over [`MAX_BUNDLE_BYTES`].
    #[error("bundle of {0} bytes, want at most {MAX_BUNDLE_BYTES}")]
    TooLarge(usize),
}

impl BundleError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "bundle-malformed",
            Self::Version(_) => "bundle-version",
            Self::TooLarge(_) => "bundle-too-large",
        }
    }
}

/// A leaf with its place and its inclusion proof to the head's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Included {
    /// Log index, from 0.
    pub index: u64,
    /// The leaf's bytes.
    #[serde(with = "base64_bytes")]
    pub leaf: Vec<u8>,
    /// RFC 6962 inclusion proof, the leaf's sibling first.
    #[serde(with = "hex_hashes")]
    pub proof: Vec<Hash>,
}

/// The ledger head of the view, and what it proves about the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The ledger-head leaf, last of its checkpoint.
    #[serde(with = "base64_bytes")]
    pub leaf: Vec<u8>,
    /// The project's proof in the ledger map.
    #[serde(with = "map_proof")]
    pub map: MapProof,
    /// The head leaf's inclusion proof.
    #[serde(with = "hex_hashes")]
    pub proof: Vec<Hash>,
    /// The project's state document.
    pub state: StateDocument,
    /// Proofs in the tree of withdrawals, for the release and each of its digests.
    #[serde(with = "proof_by_key")]
    pub withdrawn: BTreeMap<Hash, MapProof>,
}

/// A later checkpoint, and its proof of consistency with `first`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latest {
    /// The signed note as text.
    pub checkpoint: String,
    /// RFC 6962 consistency proof from `first`.
    #[serde(with = "hex_hashes")]
    pub consistency: Vec<Hash>,
}

/// A bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Bundle {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// The release.
    pub entry: Included,
    /// The checkpoint at publication, a signed note as text.
    pub first: String,
    /// The head, at `latest` if present, else at `first`.
    pub head: Head,
    /// A later view.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub latest: Option<Latest>,
    /// The project statements, versions 1…V.
    pub projects: Vec<Included>,
}

impl Bundle {
    /// Reads a bundle strictly: canonical JSON, no unknown field, nothing after it.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLarge(bytes.len()));
        }
        let value = json::parse_own(bytes)?;
        // The version first: a newer bundle is "too new", not "malformed".
        if let Some(version) = value.get("apiVersion").and_then(serde_json::Value::as_str)
            && version != API_VERSION
        {
            return Err(BundleError::Version(version.chars().take(40).collect()));
        }
        let bundle: Self = json::exactly(bytes, value)?;
        bundle.head.state.check_sets()?;
        Ok(bundle)
    }

    /// The bundle's bytes.
    ///
    /// # Errors
    /// [`JsonError`] never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical_of(self)
    }
}

/// What all bundles of one project at one checkpoint have in common, written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// From the entry to where the head's `withdrawn` begins.
    middle: Vec<u8>,
    /// From there to the end.
    end: Vec<u8>,
    withdrawn: Hash,
}

impl Shared {
    /// What bundles with the checkpoint `first`, the head `head` and the statements `projects`
    /// share; the head's `withdrawn` belongs to one release and is not looked at.
    ///
    /// # Errors
    /// As [`Bundle::to_bytes`].
    pub fn new(first: &str, mut head: Head, projects: &[Included]) -> Result<Self, JsonError> {
        head.withdrawn.clear();
        let mut middle = b",\"first\":".to_vec();
        json::append(first, &mut middle)?;
        middle.extend_from_slice(b",\"head\":");
        json::append(&head, &mut middle)?;
        // Of a head's names the last in order is `withdrawn`, empty here.
        if !middle.ends_with(b"\"withdrawn\":{}}") {
            return Err(JsonError::NotCanonical);
        }
        middle.truncate(middle.len() - b"{}}".len());
        let mut end = b"},\"projects\":".to_vec();
        json::append(projects, &mut end)?;
        end.push(b'}');
        let withdrawn = head.state.withdrawn;
        Ok(Self {
            middle,
            end,
            withdrawn,
        })
    }

    /// The root of the project's tree of withdrawals: zeros while that is empty, and every proof
    /// in it with it.
    #[must_use]
    pub fn withdrawn(&self) -> &Hash {
        &self.withdrawn
    }

    /// The bytes of the bundle of `entry`, as [`Bundle::to_bytes`] would give them, without
    /// `latest`.
    ///
    /// # Errors
    /// As [`Bundle::to_bytes`].
    pub fn bundle(
        &self,
        entry: &Included,
        withdrawn: &BTreeMap<Hash, MapProof>,
    ) -> Result<Vec<u8>, JsonError> {
        let own = entry.leaf.len() * 4 / 3 + entry.proof.len() * 67 + withdrawn.len() * 90;
        let mut out = Vec::with_capacity(own + 256 + self.middle.len() + self.end.len());
        out.extend_from_slice(b"{\"apiVersion\":");
        json::append(API_VERSION, &mut out)?;
        out.extend_from_slice(b",\"entry\":");
        json::append(entry, &mut out)?;
        out.extend_from_slice(&self.middle);
        json::append(&Withdrawn(withdrawn), &mut out)?;
        out.extend_from_slice(&self.end);
        Ok(out)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Withdrawn<'a>(
    #[serde(serialize_with = "proof_by_key::serialize")] &'a BTreeMap<Hash, MapProof>,
);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProof {
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    found: Option<(Hex, Hex)>,
    #[serde(with = "hex_hashes")]
    siblings: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Hex(#[serde(with = "hex_hash")] Hash);

impl RawProof {
    fn of(p: &MapProof) -> Self {
        Self {
            found: p.found.map(|(k, v)| (Hex(k), Hex(v))),
            siblings: p.siblings.clone(),
        }
    }
    fn proof(self) -> MapProof {
        MapProof {
            found: self.found.map(|(k, v)| (k.0, v.0)),
            siblings: self.siblings,
        }
    }
}

mod map_proof {
    use super::{Deserialize, Deserializer, MapProof, RawProof, Serialize, Serializer};
    pub fn serialize<S: Serializer>(p: &MapProof, s: S) -> Result<S::Ok, S::Error> {
        RawProof::of(p).serialize(s)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<MapProof, D::Error> {
        Ok(RawProof::deserialize(d)?.proof())
    }
}

mod proof_by_key {
    use super::{
        BTreeMap, Deserialize, Deserializer, Hash, MapProof, RawProof, Serializer, from_hex32,
        hex32,
    };
    pub fn serialize<S: Serializer>(m: &BTreeMap<Hash, MapProof>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(m.iter().map(|(k, p)| (hex32(k), RawProof::of(p))))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<BTreeMap<Hash, MapProof>, D::Error> {
        BTreeMap::<String, RawProof>::deserialize(d)?
            .into_iter()
            .map(|(k, p)| {
                let key = from_hex32(&k).ok_or_else(|| super::bad_key::<D>())?;
                Ok((key, p.proof()))
            })
            .collect()
    }
}

fn bad_key<'de, D: Deserializer<'de>>() -> D::Error {
    D::Error::custom("want 64 lower-case hexadecimal digits as name")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::state::{Current, Leaves};

    #[test]
    fn what_is_shared_gives_the_bytes_of_the_whole() {
        let included = |index: u64, length: usize| Included {
            index,
            leaf: vec![b'"'; length],
            proof: vec![[index as u8; 32]; length % 5],
        };
        let proof = |siblings| MapProof {
            found: Some(([1; 32], [2; 32])),
            siblings,
        };
        let state = StateDocument {
            end_of_life: Vec::new(),
            frozen: true,
            leaves: Leaves {
                root: [3; 32],
                size: 4,
            },
            project: Current {
                statement: [5; 32],
                version: 6,
            },
            revoked: Vec::new(),
            withdrawn: [7; 32],
        };
        let absent = MapProof::default();
        for releases in 0..3_u8 {
            let withdrawn: BTreeMap<_, _> = (0..releases)
                .map(|n| ([n; 32], absent.clone()))
                .chain([([9; 32], proof(vec![[1; 32]]))])
                .collect();
            let bundle = Bundle {
                api_version: API_VERSION.to_owned(),
                entry: included(300, 700),
                first: "log.example\n2\n\n\u{2014} log.example \"withdrawn\":{}}\n".to_owned(),
                head: Head {
                    leaf: b"head".to_vec(),
                    map: proof(vec![[8; 32]; 3]),
                    proof: vec![[9; 32]; 2],
                    state: state.clone(),
                    withdrawn: withdrawn.clone(),
                },
                latest: None,
                projects: (0..u64::from(releases)).map(|n| included(n, 99)).collect(),
            };
            let Bundle {
                first,
                head,
                projects,
                entry,
                ..
            } = &bundle;
            let shared = Shared::new(first, head.clone(), projects).unwrap();
            let bytes = shared.bundle(entry, &withdrawn).unwrap();
            assert_eq!(bytes, bundle.to_bytes().unwrap());
            assert_eq!(Bundle::parse(&bytes).unwrap(), bundle);
        }
    }
}
