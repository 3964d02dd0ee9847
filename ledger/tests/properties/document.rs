//! State documents and the ledger map, by their definition (docs/formats.md, "Ledger map").

use crate::model::{Keys, Model, all_keys, h};
use ledger::Hash;
use ledger::leaf::{Action, Leaf};
use ledger::statement::{Body, Target, Withdrawn};
use std::collections::{BTreeMap, BTreeSet};

impl Model {
    /// What stands withdrawn in a project: key → statement, and prefix → statement.
    pub fn withdrawn(&self, id: &Hash) -> (BTreeMap<Hash, Hash>, BTreeMap<String, Hash>) {
        let (mut keys, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for (i, s) in self.statements() {
            let Body::Withdrawal(w) = &s.statement.body else {
                continue;
            };
            if w.project != *id || self.void(i, s) {
                continue;
            }
            let pae = s.envelope.pae_hash();
            match &w.what {
                Withdrawn::Prefix(prefix) => {
                    ends.entry(prefix.clone()).or_insert(pae);
                }
                Withdrawn::Release(release) => {
                    let mut texts = vec![format!("release:{}", ledger::hex32(release))];
                    let digests = s.statement.subject.iter();
                    texts.extend(digests.map(|a| format!("sha256:{}", ledger::hex32(&a.sha256))));
                    for text in texts {
                        keys.entry(h(&[text.as_bytes()])).or_insert(pae);
                    }
                }
            }
        }
        (keys, ends)
    }

    /// The state document as JSON text, written by hand.
    pub fn document(&self, id: &Hash) -> String {
        let versions = self.versions(id);
        let now = versions.last().expect("it stands");
        let (keys, ends) = self.withdrawn(id);
        let hex = ledger::hex32;
        let ends: BTreeSet<String> = ends
            .iter()
            .map(|(prefix, pae)| {
                format!("{{\"prefix\":\"{prefix}\",\"statement\":\"{}\"}}", hex(pae))
            })
            .collect();
        let listed: Keys = versions.iter().flat_map(|v| all_keys(&v.p)).collect();
        let mut revoked = BTreeSet::new();
        for key in listed {
            let all = self.revocations(id, &Target::Key(key.0));
            let Some(first) = all.first() else { continue };
            let window = all.iter().filter(|r| r.1.is_some()).min_by_key(|r| r.1);
            let since = window.and_then(|r| r.1).map(|s| format!("\"since\":{s},"));
            revoked.insert(format!(
                "{{\"index\":{},{}\"statement\":\"{}\",\"target\":\"key:{key}\"}}",
                first.0,
                since.unwrap_or_default(),
                hex(&window.unwrap_or(first).2)
            ));
        }
        let (mut entries, mut frozen) = (Vec::new(), false);
        for (i, (leaf, ok)) in (0u64..).zip(self.leaves.iter().zip(&self.accepted)) {
            let of = match leaf {
                Leaf::Statement(s) if *ok => self.about(s),
                // Before its first statement there is nothing to do anything to.
                Leaf::Operation(o) if *ok && versions.first().is_some_and(|v| v.index < i) => {
                    Some(o.project)
                }
                _ => None,
            };
            if of != Some(*id) {
                continue;
            }
            entries.push(h(&[&[0], &i.to_be_bytes()]));
            if let Leaf::Operation(o) = leaf {
                frozen = match o.action {
                    Action::Frozen => true,
                    Action::Thawed => false,
                    _ => frozen,
                };
            }
        }
        let join = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(",");
        format!(
            "{{\"endOfLife\":[{}],\"frozen\":{frozen},\"leaves\":{{\"root\":\"{}\",\"size\":{}}},\"project\":{{\"statement\":\"{}\",\"version\":{}}},\"revoked\":[{}],\"withdrawn\":\"{}\"}}",
            join(ends),
            hex(&merkle(&entries)),
            entries.len(),
            hex(&now.pae),
            now.p.version,
            join(revoked),
            hex(&prefix_root(&keys.into_iter().collect::<Vec<_>>(), 0)),
        )
    }

    /// The root of the ledger map.
    pub fn map(&self) -> Hash {
        let projects = self.projects().into_iter();
        let values: Vec<(Hash, Hash)> = projects
            .map(|id| (id, h(&[self.document(&id).as_bytes()])))
            .collect();
        prefix_root(&values, 0)
    }
}

/// RFC 6962's MTH of leaf hashes.
fn merkle(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => h(&[]),
        [one] => *one,
        many => {
            let mut k = 1;
            while k * 2 < many.len() {
                k *= 2;
            }
            h(&[&[1], &merkle(&many[..k]), &merkle(&many[k..])])
        }
    }
}

/// The prefix tree's hash of these keys, which share their first `depth` bits.
fn prefix_root(values: &[(Hash, Hash)], depth: usize) -> Hash {
    match values {
        [] => [0; 32],
        [(key, value)] => h(&[&[2], key, value]),
        many => {
            let bit = |key: &Hash| key[depth / 8] >> (7 - depth % 8) & 1 == 1;
            let (right, left): (Vec<_>, Vec<_>) = many.iter().partition(|(key, _)| bit(key));
            h(&[
                &[3],
                &prefix_root(&left, depth + 1),
                &prefix_root(&right, depth + 1),
            ])
        }
    }
}
