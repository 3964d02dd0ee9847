//! The inventory of a project's keys, from what the log proves: for each key when it came, who
//! made it and where, where it is used, what it has signed, and how it is replaced or revoked.

use crate::cmd::complete::Complete;
use crate::fail::Fail;
use ::keys::PublicKey;
use ledger::fold::ProjectState;
use ledger::state::{Revoked, StateDocument};
use ledger::statement::{Body, KeyNote, Project};
use ledger::{Hash, KeyId};
use std::collections::BTreeMap;

/// What a key may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Change the project, revoke, withdraw.
    Root,
    /// Publish and withdraw releases.
    Release,
}

impl Purpose {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Release => "release",
        }
    }
}

/// Where something stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) index: u64,
    /// The leaf's time, Unix seconds.
    pub(crate) time: u64,
}

/// A key that the project lists or has listed.
#[derive(Debug, Clone)]
pub(crate) struct KeyRow {
    pub(crate) key: PublicKey,
    pub(crate) purpose: Purpose,
    /// Where it was first listed.
    pub(crate) listed: At,
    /// Where it was left out for the last time, if it is not listed now.
    pub(crate) dropped: Option<At>,
    /// The key of the same purpose that came when it went, where that was one.
    pub(crate) successor: Option<KeyId>,
    pub(crate) revoked: Option<Revoked>,
    /// What it signed, by kind of statement.
    pub(crate) uses: BTreeMap<&'static str, u64>,
    pub(crate) last_use: Option<At>,
    /// The last release among it.
    pub(crate) last_release: Option<At>,
    /// What is noted about it; of several notes the newest that says it.
    pub(crate) note: Noted,
    /// How old it is, in seconds, as of `now`.
    pub(crate) age: u64,
    /// The age that the project allows, where this key is bound by it.
    pub(crate) max_age: Option<u64>,
}

/// A note, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) at: At,
    pub(crate) keys: Vec<KeyId>,
    /// Whether a signature on it counts still; else nothing of it is taken up.
    pub(crate) counts: bool,
}

/// What notes say of a key or another secret.
#[derive(Debug, Clone, Default)]
pub(crate) struct Noted {
    /// The newest that counts.
    pub(crate) at: Option<At>,
    /// All of them, oldest first.
    pub(crate) sources: Vec<Source>,
    pub(crate) custody: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) generated_by: Option<String>,
    pub(crate) generated_at: Option<u64>,
    pub(crate) generated_where: Option<String>,
    pub(crate) uses: Vec<String>,
}

impl Noted {
    /// Takes up a note, unless every key that signed it is revoked for that time: a thief notes
    /// what he likes.
    fn take(&mut self, source: Source, note: &KeyNote) {
        let (at, counts) = (source.at, source.counts);
        self.sources.push(source);
        if !counts {
            return;
        }
        let put = |to: &mut Option<String>, from: &Option<String>| {
            if from.is_some() {
                to.clone_from(from);
            }
        };
        self.at = Some(at);
        put(&mut self.custody, &note.custody);
        put(&mut self.owner, &note.owner);
        if let Some(generated) = &note.generated {
            put(&mut self.generated_by, &generated.by);
            put(&mut self.generated_where, &generated.place);
            self.generated_at = generated.time.or(self.generated_at);
        }
        if !note.uses.is_empty() {
            self.uses.clone_from(&note.uses);
        }
    }
}

impl KeyRow {
    pub(crate) fn id(&self) -> KeyId {
        self.key.id()
    }

    /// `in force`, `retired` or `revoked`.
    pub(crate) fn state(&self) -> &'static str {
        match (&self.revoked, self.dropped) {
            (Some(_), _) => "revoked",
            (None, Some(_)) => "retired",
            (None, None) => "in force",
        }
    }

    pub(crate) fn in_force(&self) -> bool {
        self.state() == "in force"
    }

    /// How many statements it signed.
    pub(crate) fn times(&self) -> u64 {
        self.uses.values().sum()
    }

    pub(crate) fn overdue(&self) -> bool {
        self.in_force() && self.max_age.is_some_and(|max| self.age > max)
    }
}

/// A secret that is no signing key, tracked by notes under an opaque id.
#[derive(Debug, Clone)]
pub(crate) struct OtherRow {
    pub(crate) id: Hash,
    pub(crate) note: Noted,
}

/// All of them.
#[derive(Debug, Clone)]
pub(crate) struct Inventory {
    /// By purpose, then in the order in which they were listed.
    pub(crate) keys: Vec<KeyRow>,
    pub(crate) others: Vec<OtherRow>,
}

fn listed(p: &Project, purpose: Purpose) -> &[PublicKey] {
    match purpose {
        Purpose::Root => &p.roots,
        Purpose::Release => &p.release_keys,
    }
}

impl Inventory {
    /// The inventory of a project whose history is `complete`, at `now` (Unix seconds).
    pub(crate) fn new(complete: &Complete, project: &Hash, now: u64) -> Self {
        let (Some(known), Some(state)) =
            (complete.fold.project(project), complete.fold.state(project))
        else {
            return Self {
                keys: Vec::new(),
                others: Vec::new(),
            };
        };
        let times: BTreeMap<u64, u64> = complete.statements().map(|(i, s)| (i, s.time)).collect();
        let mut keys = Vec::new();
        for purpose in [Purpose::Root, Purpose::Release] {
            keys.extend(rows(known, &state, purpose, &times, now));
        }
        let mut inventory = Self {
            keys,
            others: Vec::new(),
        };
        inventory.read(complete, known);
        inventory
    }

    /// The keys whose id begins so.
    pub(crate) fn find(&self, beginning: &str) -> Vec<&KeyRow> {
        let found = |row: &&KeyRow| row.id().to_string().starts_with(beginning);
        self.keys.iter().filter(found).collect()
    }

    /// The one key of `project` whose id begins with `text`.
    ///
    /// # Errors
    /// Exit code 2.
    pub(crate) fn one(&self, text: &str, project: &str) -> Result<&KeyRow, Fail> {
        let hex = text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let found = if hex {
            self.find(&text.to_ascii_lowercase())
        } else {
            Vec::new()
        };
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(Fail::usage(
                "unknown-key",
                format!("{project} has no key {text:?}"),
            )
            .hint("give the first 8 or more digits of a key's id, as `countersign keys list` shows it")),
            _ => Err(Fail::usage("ambiguous-key", format!("several keys begin with {text:?}"))
                .hint("give more digits of the id")),
        }
    }

    fn read(&mut self, complete: &Complete, known: &ProjectState) {
        for (index, leaf) in complete.statements() {
            let at = At {
                index,
                time: leaf.time,
            };
            let signers: Vec<KeyId> = leaf.envelope.signatures.iter().map(|s| s.keyid).collect();
            for key in &signers {
                if let Some(row) = self.keys.iter_mut().find(|row| row.id() == *key) {
                    *row.uses.entry(leaf.statement.body.kind()).or_default() += 1;
                    row.last_use = Some(at);
                    if matches!(leaf.statement.body, Body::Release(_)) {
                        row.last_release = Some(at);
                    }
                }
            }
            let Body::KeyNote(note) = &leaf.statement.body else {
                continue;
            };
            let source = Source {
                at,
                counts: signers.iter().any(|key| known.counts(key, index)),
                keys: signers,
            };
            if let Some(row) = self.keys.iter_mut().find(|r| r.id().0 == note.key) {
                row.note.take(source, note);
                continue;
            }
            let place = self.others.iter().position(|o| o.id == note.key);
            let place = place.unwrap_or_else(|| {
                self.others.push(OtherRow {
                    id: note.key,
                    note: Noted::default(),
                });
                self.others.len() - 1
            });
            if let Some(other) = self.others.get_mut(place) {
                other.note.take(source, note);
            }
        }
    }
}

fn rows(
    known: &ProjectState,
    state: &StateDocument,
    purpose: Purpose,
    times: &BTreeMap<u64, u64>,
    now: u64,
) -> Vec<KeyRow> {
    let at = |index: u64| At {
        index,
        time: times.get(&index).copied().unwrap_or_default(),
    };
    let max_age = match purpose {
        Purpose::Release => known.current().project.max_key_age,
        Purpose::Root => None,
    };
    let mut rows: Vec<KeyRow> = Vec::new();
    let mut before: &[PublicKey] = &[];
    for version in known.versions() {
        let keys = listed(&version.project, purpose);
        let fresh: Vec<&PublicKey> = keys.iter().filter(|k| !before.contains(k)).collect();
        let gone: Vec<&PublicKey> = before.iter().filter(|k| !keys.contains(k)).collect();
        for row in &mut rows {
            if gone.contains(&&row.key) {
                row.dropped = Some(at(version.index));
                row.successor = match (gone.as_slice(), fresh.as_slice()) {
                    ([_], [one]) => Some(one.id()),
                    _ => None,
                };
            }
        }
        for key in fresh {
            if let Some(row) = rows.iter_mut().find(|row| row.key == *key) {
                (row.dropped, row.successor) = (None, None);
                continue;
            }
            let target = format!("key:{}", key.id());
            let listed = at(version.index);
            rows.push(KeyRow {
                key: key.clone(),
                purpose,
                listed,
                dropped: None,
                successor: None,
                revoked: state.revoked.iter().find(|r| r.target == target).cloned(),
                uses: BTreeMap::new(),
                last_use: None,
                last_release: None,
                note: Noted::default(),
                age: now.saturating_sub(listed.time),
                max_age,
            });
        }
        before = keys;
    }
    rows
}
