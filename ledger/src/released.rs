//! Which purls were released, and where: in memory whole, or in memory for the last leaves
//! and looked up for those before (docs/formats.md, "The fold": a purl stands once).

use crate::{Hash, sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Where purls are kept that are too many for memory.
pub trait Released: Send + Sync {
    /// The log index at which the purl with this SHA-256 was released, if it was.
    ///
    /// # Errors
    /// A sentence, where it cannot be read.
    fn released(&self, purl: &Hash) -> Result<Option<u64>, String>;
}

/// The purls of a fold.
#[derive(Clone, Default)]
pub(crate) struct Purls {
    recent: HashMap<Hash, u64>,
    pub(crate) earlier: Option<Arc<dyn Released>>,
}

impl fmt::Debug for Purls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purls")
            .field("recent", &self.recent.len())
            .field("earlier", &self.earlier.is_some())
            .finish()
    }
}

impl Purls {
    pub(crate) fn insert(&mut self, purl: &str, index: u64) {
        self.recent.insert(sha256(purl.as_bytes()), index);
    }

    /// Where `purl` was released before leaf `size`. What is kept elsewhere may be ahead of
    /// this fold; that is not yet so here.
    pub(crate) fn get(&self, purl: &str, size: u64) -> Result<Option<u64>, String> {
        let key = sha256(purl.as_bytes());
        if let Some(index) = self.recent.get(&key) {
            return Ok(Some(*index));
        }
        let Some(earlier) = &self.earlier else {
            return Ok(None);
        };
        Ok(earlier.released(&key)?.filter(|index| *index < size))
    }

    /// Drops those before `index`, where they can be looked up.
    pub(crate) fn forget(&mut self, index: u64) {
        if self.earlier.is_some() {
            self.recent.retain(|_, at| *at >= index);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Kept(Result<Option<u64>, String>);

    impl Released for Kept {
        fn released(&self, _: &Hash) -> Result<Option<u64>, String> {
            self.0.clone()
        }
    }

    fn purls(kept: Result<Option<u64>, String>) -> Purls {
        Purls {
            recent: HashMap::new(),
            earlier: Some(Arc::new(Kept(kept))),
        }
    }

    #[test]
    fn what_is_forgotten_is_looked_up_and_only_below_the_size() {
        let mut p = purls(Ok(Some(5)));
        p.insert("pkg:a/b@1", 5);
        p.forget(6);
        assert!(p.recent.is_empty());
        assert_eq!(p.get("pkg:a/b@1", 6), Ok(Some(5)));
        assert_eq!(p.get("pkg:a/b@1", 5), Ok(None), "ahead of this fold");
    }

    #[test]
    fn nothing_is_forgotten_that_cannot_be_looked_up() {
        let mut p = Purls::default();
        p.insert("pkg:a/b@1", 5);
        p.forget(6);
        assert_eq!(p.get("pkg:a/b@1", 6), Ok(Some(5)));
    }

    #[test]
    fn a_look_up_that_fails_decides_nothing() {
        assert!(purls(Err("disk".into())).get("pkg:a/b@1", 6).is_err());
    }
}
