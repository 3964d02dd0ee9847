//! Which releases were accepted, and where: in memory whole, or in memory for the last leaves
//! and looked up for those before (docs/formats.md, "Fold": a purl stands once).

use crate::envelope::Envelope;
use crate::leaf::{Leaf, StatementLeaf};
use crate::statement::{Body, Release, content};
use crate::{Hash, sha256};
use keys::KeyId;
use keys::certificate::CertificateChain;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Where releases are kept that are too many for memory.
pub trait Released: Send + Sync {
    /// The greatest log index below `below` at which a release of the purl with this SHA-256 was
    /// accepted, if there is one.
    ///
    /// # Errors
    /// A sentence, where it cannot be read.
    fn released(&self, purl: &Hash, below: u64) -> Result<Option<u64>, String>;

    /// The log index of the statement of this PAE hash, if it was accepted.
    ///
    /// # Errors
    /// A sentence, where it cannot be read.
    fn stated(&self, pae: &Hash) -> Result<Option<u64>, String>;
}

/// An accepted release, as far as a later statement may be about it. Who keeps a log keeps its
/// leaves, not these: [`crate::fold::Fold::needs`] says which leaf a decision needs, and
/// [`Earlier::parse`] reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    pub(crate) index: u64,
    pub(crate) pae: Hash,
    pub(crate) project: Hash,
    /// SHA-256 of its purl.
    pub(crate) purl: Hash,
    /// See [`content`].
    pub(crate) content: Hash,
    pub(crate) digests: Box<[Hash]>,
    /// Who signed it, and when it was logged: as far as that decides whether it counts.
    pub(crate) signed: Signed,
}

/// Whose signatures an accepted statement has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signed {
    /// Of these keys.
    Keys(Box<[KeyId]>),
    /// Of a certificate's key; with the time of the leaf.
    Certified(Box<CertificateChain>, u64),
}

impl Earlier {
    pub(crate) fn new(index: u64, s: &StatementLeaf, r: &Release) -> Self {
        Self {
            index,
            pae: s.envelope.pae_hash(),
            project: r.package_id,
            purl: sha256(r.purl.as_bytes()),
            content: content(&s.statement.subject),
            digests: s.statement.subject.iter().map(|a| a.sha256).collect(),
            signed: match &s.envelope.chain {
                Some(chain) => Signed::Certified(Box::new(chain.clone()), s.time),
                None => Signed::Keys(signers(&s.envelope).collect()),
            },
        }
    }

    /// Reads the leaf at `index`; `None` where it cannot be read. A leaf that is no release is
    /// the release of no project, so that whatever claims it as one is refused.
    #[must_use]
    pub fn parse(index: u64, leaf: &[u8]) -> Option<Self> {
        match Leaf::parse(leaf).ok()? {
            Leaf::Statement(s) => match &s.statement.body {
                Body::Release(r) => Some(Self::new(index, &s, r)),
                _ => Some(Self::none(index)),
            },
            _ => Some(Self::none(index)),
        }
    }

    fn none(index: u64) -> Self {
        let none = [0; 32];
        Self {
            index,
            pae: none,
            project: none,
            purl: none,
            content: none,
            digests: Box::default(),
            signed: Signed::Keys(Box::default()),
        }
    }
}

/// The keys that signed.
pub(crate) fn signers(envelope: &Envelope) -> impl Iterator<Item = KeyId> {
    envelope.signatures.iter().map(|s| s.keyid)
}

/// The releases of a fold.
#[derive(Clone, Default)]
pub(crate) struct Releases {
    /// SHA-256 of purls → the last release.
    purls: HashMap<Hash, u64>,
    /// PAE hash → log index.
    paes: HashMap<Hash, u64>,
    /// Of each: its PAE hash and its purl's, and, where the leaf is not to be had again, the rest.
    recent: Vec<(u64, Hash, Hash)>,
    briefs: HashMap<u64, Earlier>,
    pub(crate) earlier: Option<Arc<dyn Released>>,
    /// Whether the leaves that a decision needs are always handed in, so that none is kept.
    lean: bool,
}

impl fmt::Debug for Releases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Releases")
            .field("recent", &self.recent.len())
            .field("earlier", &self.earlier.is_some())
            .finish()
    }
}

impl Releases {
    pub(crate) fn lean(&mut self) {
        self.lean = true;
    }

    pub(crate) fn insert(&mut self, index: u64, s: &StatementLeaf, r: &Release) {
        let (pae, purl) = (s.envelope.pae_hash(), sha256(r.purl.as_bytes()));
        self.purls.insert(purl, index);
        self.paes.insert(pae, index);
        if self.earlier.is_some() {
            self.recent.push((index, pae, purl));
        }
        if !self.lean {
            self.briefs.insert(index, Earlier::new(index, s, r));
        }
    }

    /// Where `purl` was released last before leaf `size`. What is kept elsewhere may be ahead of
    /// this fold; that is not yet so here.
    pub(crate) fn last(&self, purl: &str, size: u64) -> Result<Option<u64>, String> {
        let key = sha256(purl.as_bytes());
        match (self.purls.get(&key), &self.earlier) {
            (Some(index), _) => Ok(Some(*index)),
            (None, Some(earlier)) => Ok(earlier.released(&key, size)?.filter(|i| *i < size)),
            (None, None) => Ok(None),
        }
    }

    /// Where the release of this PAE hash was accepted before leaf `size`.
    pub(crate) fn stated(&self, pae: &Hash, size: u64) -> Result<Option<u64>, String> {
        match (self.paes.get(pae), &self.earlier) {
            (Some(index), _) => Ok(Some(*index)),
            (None, Some(earlier)) => Ok(earlier.stated(pae)?.filter(|i| *i < size)),
            (None, None) => Ok(None),
        }
    }

    /// The release at `index`: one of those at hand, or the one that was handed in.
    pub(crate) fn brief<'a>(
        &'a self,
        index: u64,
        given: Option<&'a Earlier>,
    ) -> Result<&'a Earlier, String> {
        let given = given.filter(|b| b.index == index);
        let found = self.briefs.get(&index).or(given);
        found.ok_or_else(|| format!("entry {index} is not at hand"))
    }

    /// Whether [`Releases::brief`] has it without anything handed in.
    pub(crate) fn has(&self, index: u64) -> bool {
        self.briefs.contains_key(&index)
    }

    /// Drops those before `index`, where they can be looked up.
    pub(crate) fn forget(&mut self, index: u64) {
        if self.earlier.is_none() {
            return;
        }
        let (purls, paes, briefs) = (&mut self.purls, &mut self.paes, &mut self.briefs);
        self.recent.retain(|(at, pae, purl)| {
            let keep = *at >= index;
            if !keep {
                paes.remove(pae);
                briefs.remove(at);
                if purls.get(purl) == Some(at) {
                    purls.remove(purl);
                }
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Kept(Result<Option<u64>, String>);

    impl Released for Kept {
        fn released(&self, _: &Hash, _: u64) -> Result<Option<u64>, String> {
            self.0.clone()
        }
        fn stated(&self, _: &Hash) -> Result<Option<u64>, String> {
            self.0.clone()
        }
    }

    fn releases(kept: Result<Option<u64>, String>) -> Releases {
        Releases {
            earlier: Some(Arc::new(Kept(kept))),
            ..Releases::default()
        }
    }

    fn insert(r: &mut Releases, purl: &str, index: u64) {
        let purl = sha256(purl.as_bytes());
        r.purls.insert(purl, index);
        r.paes.insert([7; 32], index);
        r.recent.push((index, [7; 32], purl));
    }

    #[test]
    fn what_is_forgotten_is_looked_up_and_only_below_the_size() {
        let mut r = releases(Ok(Some(5)));
        insert(&mut r, "pkg:a/b@1", 5);
        r.forget(6);
        assert!(r.purls.is_empty() && r.paes.is_empty() && r.recent.is_empty());
        assert_eq!(r.last("pkg:a/b@1", 6), Ok(Some(5)));
        assert_eq!(r.last("pkg:a/b@1", 5), Ok(None), "ahead of this fold");
        assert_eq!(r.stated(&[7; 32], 6), Ok(Some(5)));
        assert_eq!(r.stated(&[7; 32], 5), Ok(None), "ahead of this fold");
    }

    #[test]
    fn a_newer_release_of_the_purl_is_not_forgotten_with_the_older() {
        let mut r = releases(Ok(None));
        insert(&mut r, "pkg:a/b@1", 5);
        insert(&mut r, "pkg:a/b@1", 9);
        r.forget(6);
        assert_eq!(r.last("pkg:a/b@1", 10), Ok(Some(9)));
    }

    #[test]
    fn nothing_is_forgotten_that_cannot_be_looked_up() {
        let mut r = Releases::default();
        insert(&mut r, "pkg:a/b@1", 5);
        r.forget(6);
        assert_eq!(r.last("pkg:a/b@1", 6), Ok(Some(5)));
    }

    #[test]
    fn a_look_up_that_fails_decides_nothing() {
        let r = releases(Err("disk".into()));
        assert!(r.last("pkg:a/b@1", 6).is_err());
        assert!(r.stated(&[1; 32], 6).is_err());
        assert!(r.brief(3, None).is_err());
    }
}
