//! The several ways to compute the same: what a server keeps and takes up again, a fold that is
//! handed what it needs, and the comparison with the model.

use crate::model::Model;
use ledger::fold::{Fold, SavedProject};
use ledger::leaf::Leaf;
use ledger::released::{Earlier, Released};
use ledger::statement::Body;
use ledger::{Hash, sha256};
use std::collections::HashMap;

/// Compares what a fold says at some size with the model.
pub fn same(fold: &Fold, model: &Model) {
    let ids: Vec<Hash> = fold.projects().map(|p| p.id).collect();
    assert!(ids.iter().eq(model.projects().iter()), "the same projects");
    for id in &ids {
        let state = String::from_utf8(fold.state(id).unwrap().to_canonical().unwrap()).unwrap();
        assert_eq!(state, model.document(id));
        let state = fold.state(id).unwrap();
        for (key, statement) in model.withdrawn(id).0 {
            let proof = fold.prove_withdrawn(id, &key).unwrap();
            let found = tlog::prefix::verify(&state.withdrawn, &key, &proof).unwrap();
            assert_eq!(found, Some(statement));
        }
        let proof = fold.prove(id);
        let found = tlog::prefix::verify(&fold.map_root(), id, &proof).unwrap();
        assert_eq!(found, Some(state.hash().unwrap()));
    }
    assert_eq!(fold.map_root(), model.map());
}

/// What a server keeps.
#[derive(Default)]
pub struct Kept {
    pub rows: Vec<SavedProject>,
    purls: HashMap<Hash, Vec<u64>>,
    paes: HashMap<Hash, u64>,
}

pub struct Index(pub Kept);

impl Released for Index {
    fn released(&self, purl: &Hash, below: u64) -> Result<Option<u64>, String> {
        let all = self.0.purls.get(purl).into_iter().flatten();
        Ok(all.copied().filter(|i| *i < below).max())
    }
    fn stated(&self, pae: &Hash) -> Result<Option<u64>, String> {
        Ok(self.0.paes.get(pae).copied())
    }
}

impl Kept {
    pub fn of(model: &Model, fold: &Fold) -> Self {
        let mut kept = Self::default();
        for (index, s) in model.statements() {
            let id = fold.project_of(&s.envelope, &s.statement).unwrap();
            kept.paes.insert(s.envelope.pae_hash(), index);
            if let Body::Release(r) = &s.statement.body {
                let purl = sha256(r.purl.as_bytes());
                kept.purls.entry(purl).or_default().push(index);
                continue;
            }
            let leaf = model.leaves[index as usize].to_bytes().unwrap();
            match kept.rows.iter_mut().find(|row| row.id == id) {
                Some(row) => row.statements.push((index, leaf)),
                None => kept.rows.push(SavedProject {
                    id,
                    statements: vec![(index, leaf)],
                    standing: fold.standing(&id).unwrap().to_bytes(),
                }),
            }
        }
        kept
    }
}

/// The next leaf, by a fold that has to be handed the earlier ones.
pub fn lean_apply(fold: &mut Fold, leaves: &[Leaf], leaf: &Leaf) -> bool {
    let needs = match leaf {
        Leaf::Statement(s) => fold.needs(&s.statement).unwrap(),
        _ => None,
    };
    let bytes = needs.map(|i| (i, leaves[i as usize].to_bytes().unwrap()));
    let earlier = bytes.and_then(|(i, bytes)| Earlier::parse(i, &bytes));
    match fold.apply_with(leaf, earlier.as_ref()) {
        Err(undecided) if undecided.kind() == "look-up-failed" => panic!("{undecided}"),
        decided => decided.is_ok(),
    }
}
