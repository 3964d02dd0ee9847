//! What a project's proven history says about bytes, small enough to be kept for many projects.

use crate::cmd::complete::{Complete, Release, Standing};
use crate::standing::revoked_words;
use ledger::names::purl_version;
use ledger::{Hash, hex32};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Where bytes stand in the log: an artifact of a release.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) index: u64,
    pub(super) version: Arc<str>,
    name: Arc<str>,
    /// Why the release does not stand.
    fallen: Option<Arc<str>>,
}

/// What the log says about bytes that are served under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Released under this name, and the release stands.
    Stands { index: u64, version: Arc<str> },
    /// Released under this name, and taken back.
    Fallen {
        index: u64,
        version: Arc<str>,
        why: Arc<str>,
    },
    /// Released, but not as this: as what.
    Elsewhere(String),
    /// Never released.
    NotLogged,
}

/// The artifacts of all releases of a project.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Hash of the state that it is all of.
    pub(super) state: Hash,
    places: HashMap<Hash, Vec<Place>>,
    largest: HashMap<Arc<str>, u64>,
    /// Versions of releases that stand, by log index.
    standing: BTreeMap<u64, Arc<str>>,
}

impl Known {
    pub(super) fn new(complete: &Complete, project: &Hash, state: Hash) -> Self {
        Self::of(&complete.releases(project), state)
    }

    pub(super) fn of(releases: &[Release], state: Hash) -> Self {
        let mut known = Self {
            state,
            ..Self::default()
        };
        let mut names: HashMap<String, Arc<str>> = HashMap::new();
        for release in releases {
            let version: Arc<str> = purl_version(&release.purl).unwrap_or_default().into();
            let fallen: Option<Arc<str>> = match &release.standing {
                Standing::Stands => None,
                Standing::Void(target) => Some(
                    format!(
                        "void: signed by {}, which is revoked for that time",
                        revoked_words(target)
                    )
                    .into(),
                ),
                Standing::Withdrawn(by) => {
                    Some(format!("withdrawn by statement {}", hex32(by)).into())
                }
            };
            if fallen.is_none() {
                known.standing.insert(release.index, version.clone());
            }
            for subject in &release.artifacts {
                let name = names
                    .entry(subject.name.clone())
                    .or_insert_with(|| subject.name.as_str().into());
                let largest = known.largest.entry(name.clone()).or_default();
                *largest = (*largest).max(subject.size.unwrap_or(u64::MAX));
                known.places.entry(subject.sha256).or_default().push(Place {
                    index: release.index,
                    version: version.clone(),
                    name: name.clone(),
                    fallen: fallen.clone(),
                });
            }
        }
        known
    }

    /// What the log says about bytes of this digest under `name`, of `version` where only that
    /// may be there.
    pub(super) fn verdict(&self, name: &str, version: Option<&str>, digest: &Hash) -> Verdict {
        let Some(places) = self.places.get(digest) else {
            return Verdict::NotLogged;
        };
        let fits = |p: &&Place| &*p.name == name && version.is_none_or(|v| v == &*p.version);
        // The same bytes may be released again and again: the newest that stands counts.
        let best = places.iter().filter(fits);
        let best = best.max_by_key(|p| (p.fallen.is_none(), p.index));
        match best {
            Some(p) => match &p.fallen {
                None => Verdict::Stands {
                    index: p.index,
                    version: p.version.clone(),
                },
                Some(why) => Verdict::Fallen {
                    index: p.index,
                    version: p.version.clone(),
                    why: why.clone(),
                },
            },
            None => Verdict::Elsewhere(
                places
                    .iter()
                    .take(5)
                    .map(|p| format!("{} of {}", p.name, p.version))
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
        }
    }

    /// Whether a digest that a page names is of a release that stands; else why not.
    pub(super) fn named(&self, digest: &Hash) -> Result<(), String> {
        let Some(places) = self.places.get(digest) else {
            return Err("no release has a file of this digest".into());
        };
        match places.iter().find(|p| p.fallen.is_none()) {
            Some(_) => Ok(()),
            None => Err(places
                .iter()
                .filter_map(|p| p.fallen.as_ref().map(|why| format!("{}: {why}", p.version)))
                .next()
                .unwrap_or_default()),
        }
    }

    /// Whether the release at this log index stands.
    pub(super) fn stands(&self, index: u64) -> bool {
        self.standing.contains_key(&index)
    }

    /// Size of the largest artifact that was ever released under this name.
    pub(super) fn largest(&self, name: &str) -> Option<u64> {
        self.largest.get(name).copied()
    }

    /// The newest versions that stand, by log index, newest first.
    pub(super) fn versions(&self, most: usize) -> Vec<Arc<str>> {
        let mut found: Vec<Arc<str>> = Vec::new();
        for version in self.standing.values().rev() {
            if !version.is_empty() && !found.contains(version) {
                found.push(version.clone());
            }
            if found.len() == most {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ledger::statement::Subject;

    /// A history of (index, version, name, digest byte, stands).
    pub(in super::super) fn known(releases: &[(u64, &str, &str, u8, bool)]) -> Known {
        let releases: Vec<Release> = releases
            .iter()
            .map(|(index, version, name, digest, stands)| Release {
                index: *index,
                time: 0,
                purl: format!("pkg:generic/acme/tool@{version}"),
                statement: [0; 32],
                artifacts: vec![Subject {
                    name: (*name).to_owned(),
                    sha256: [*digest; 32],
                    size: Some(10 * index),
                    digests: Default::default(),
                    download_location: None,
                }],
                keys: Vec::new(),
                standing: match stands {
                    true => Standing::Stands,
                    false => Standing::Withdrawn([9; 32]),
                },
            })
            .collect();
        Known::of(&releases, [0; 32])
    }

    #[test]
    fn bytes_are_what_the_newest_release_that_stands_says() {
        let known = known(&[
            (3, "1.0", "tool", 1, true),
            (5, "1.1", "tool", 1, true),
            (7, "1.2", "tool", 1, false),
            (8, "1.2", "tool-debug", 2, true),
            (9, "1.3", "tool", 3, false),
        ]);
        let stands = |index, version: &str| Verdict::Stands {
            index,
            version: version.into(),
        };
        assert_eq!(known.verdict("tool", None, &[1; 32]), stands(5, "1.1"));
        assert_eq!(
            known.verdict("tool", Some("1.0"), &[1; 32]),
            stands(3, "1.0")
        );
        let fallen = known.verdict("tool", Some("1.2"), &[1; 32]);
        assert!(
            matches!(fallen, Verdict::Fallen { index: 7, .. }),
            "{fallen:?}"
        );
        let fallen = known.verdict("tool", None, &[3; 32]);
        assert!(
            matches!(fallen, Verdict::Fallen { index: 9, .. }),
            "{fallen:?}"
        );
        let other = Verdict::Elsewhere("tool-debug of 1.2".into());
        assert_eq!(known.verdict("tool", None, &[2; 32]), other);
        assert_eq!(known.verdict("tool", None, &[4; 32]), Verdict::NotLogged);
        assert!(known.named(&[2; 32]).is_ok() && known.named(&[1; 32]).is_ok());
        assert!(known.named(&[3; 32]).is_err() && known.named(&[4; 32]).is_err());
        assert_eq!(known.largest("tool"), Some(90));
        assert_eq!(known.largest("other"), None);
        let versions: Vec<String> = known.versions(2).iter().map(|v| v.to_string()).collect();
        assert_eq!(versions, ["1.2", "1.1"]);
    }
}
