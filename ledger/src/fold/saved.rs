//! A fold put away and taken up again, so that a server need not read its whole log at each
//! start. What is saved is not trusted: whoever restores compares [`Fold::digest`] with the
//! one that was committed. The digest covers, through the map, each project's id (the hash of
//! its first statement), its newest version, what it revoked and withdrew, where what was
//! accepted for it stands, and whether it is frozen; not at which index and time each of its
//! statements stands, which only the log's own leaves say.

use super::Fold;
use crate::Hash;
use crate::leaf::{Leaf, LeafError};
use crate::statement::Body;
use tlog::tree::Compact;

/// What is first in a saved [`Standing`]: its version.
const VERSION: u8 = 1;

/// Why saved state is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    /// The bytes are no standing of a known version.
    #[error("the saved standing of project {0} has another form")]
    Standing(String),
    /// The leaf is not one.
    #[error("the saved statement at index {index}: {why}")]
    Leaf {
        /// Its index.
        index: u64,
        /// Why.
        why: LeafError,
    },
    /// The leaf is not a statement that may stand there.
    #[error("the leaf saved for index {0} is not a statement of its project, in order")]
    OtherLeaf(u64),
    /// Two projects were saved under one id, name or prefix.
    #[error("project {0} is saved twice, or shares its name or a prefix")]
    Twice(String),
    /// Of a project its first statement is not saved.
    #[error("the first statement of project {0} is not saved")]
    Missing(String),
}

impl SavedError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Standing(_) => "saved-standing",
            Self::Leaf { why, .. } => why.kind(),
            Self::OtherLeaf(_) => "saved-leaf-of-other-project",
            Self::Twice(_) => "saved-twice",
            Self::Missing(_) => "saved-first-missing",
        }
    }
}

/// What of a project changes with each of its entries: whether it is frozen, and the tree of
/// what was accepted for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    frozen: bool,
    leaves: Compact,
}

impl Standing {
    /// At most 2,058 bytes: a version, whether frozen (0 or 1), the tree's size in 8 bytes
    /// big-endian, and the roots of its complete subtrees, largest first, 32 bytes each.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, u8::from(self.frozen)];
        bytes.extend_from_slice(&self.leaves.size().to_be_bytes());
        bytes.extend_from_slice(&self.leaves.roots().concat());
        bytes
    }

    /// Reads [`Standing::to_bytes`], strictly; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let frozen = match head {
            [VERSION, 0] => false,
            [VERSION, 1] => true,
            _ => return None,
        };
        let (roots, rest) = rest.as_chunks::<32>();
        let leaves = Compact::from_roots(u64::from_be_bytes(*size), roots.to_vec())?;
        rest.is_empty().then_some(Self { frozen, leaves })
    }
}

/// A project as it was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedProject {
    /// Its id.
    pub id: Hash,
    /// Its statements that are not releases, with their log indexes, in order: what decides who
    /// may speak, and what is withdrawn.
    pub statements: Vec<(u64, Vec<u8>)>,
    /// Its [`Standing`], as bytes.
    pub standing: Vec<u8>,
}

impl Fold {
    /// What is to be saved of a project after a leaf that touched it.
    #[must_use]
    pub fn standing(&self, id: &Hash) -> Option<Standing> {
        let project = self.projects.get(id)?;
        let (frozen, leaves) = (project.frozen, project.leaves.clone());
        Some(Standing { frozen, leaves })
    }

    /// The state after `size` leaves, the last of them of time `last_time`, from what was saved
    /// then. The purls released so far are looked up ([`Fold::looking_up`]).
    ///
    /// # Errors
    /// [`SavedError`]. What is well formed and wrong shows in [`Fold::digest`].
    pub fn restored(
        origin: &str,
        size: u64,
        last_time: u64,
        projects: &[SavedProject],
    ) -> Result<Self, SavedError> {
        let mut fold = Self::new(origin);
        for saved in projects {
            fold.restore(saved)?;
        }
        (fold.size, fold.last_time) = (size, last_time);
        fold.settle();
        Ok(fold)
    }

    fn restore(&mut self, saved: &SavedProject) -> Result<(), SavedError> {
        let id = saved.id;
        let hex = || crate::hex32(&id);
        if self.projects.contains_key(&id) {
            return Err(SavedError::Twice(hex()));
        }
        for (index, bytes) in &saved.statements {
            let index = *index;
            let leaf = Leaf::parse(bytes).map_err(|why| SavedError::Leaf { index, why })?;
            let Leaf::Statement(s) = leaf else {
                return Err(SavedError::OtherLeaf(index));
            };
            // The first makes the project; those that follow must be about it.
            let about = self.project_of(&s.envelope, &s.statement);
            let first = matches!(&s.statement.body, Body::Project(p) if p.version == 1);
            if about != Some(id) || first == self.projects.contains_key(&id) {
                return Err(SavedError::OtherLeaf(index));
            }
            if let Body::Project(p) = &s.statement.body {
                let other = |holder: Option<&Hash>| holder.is_some_and(|holder| *holder != id);
                let mut prefixes = p.purl_prefixes.iter();
                if other(self.names.get(&p.name))
                    || prefixes.any(|prefix| other(self.prefixes.get(prefix)))
                {
                    return Err(SavedError::Twice(hex()));
                }
            }
            self.govern(index, &s);
        }
        let standing = Standing::parse(&saved.standing);
        let standing = standing.ok_or_else(|| SavedError::Standing(hex()))?;
        let project = self.projects.get_mut(&id);
        let project = project.ok_or_else(|| SavedError::Missing(hex()))?;
        (project.frozen, project.leaves) = (standing.frozen, standing.leaves);
        self.touched.insert(id);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
