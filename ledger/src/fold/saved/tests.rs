#![allow(clippy::unwrap_used)]

use super::*;
use crate::envelope::Envelope;
use crate::leaf::{Action, OperationLeaf, StatementLeaf};
use crate::sha256;
use crate::statement::{Project, Statement, Subject, release_payload};
use keys::{SecretKey, Signer as _};
use proptest::prelude::*;
use std::sync::LazyLock;

const ORIGIN: &str = "log.example.org";

fn statement(envelope: Envelope, time: u64) -> Leaf {
    let statement = Statement::parse(&envelope.payload).unwrap();
    Leaf::Statement(Box::new(StatementLeaf {
        envelope,
        statement,
        time,
    }))
}

/// Three projects' first statements, with their keys.
static PROJECTS: LazyLock<Vec<(Hash, Leaf, SecretKey)>> = LazyLock::new(|| {
    let one = |n: u64| {
        let (root, key) = (
            SecretKey::generate().unwrap(),
            SecretKey::generate().unwrap(),
        );
        let project = Project {
            name: format!("acme/{n}"),
            log: ORIGIN.into(),
            version: 1,
            previous: None,
            roots: vec![root.public_key().clone()],
            root_threshold: 1,
            release_keys: vec![key.public_key().clone()],
            release_threshold: 1,
            authorities: Vec::new(),
            purl_prefixes: vec![format!("pkg:generic/p{n}")],
            contact: "mailto:a@example.com".into(),
            max_key_age: Some(1000),
            policy: None,
        };
        let envelope = Envelope::sign(project.to_payload().unwrap(), &[&root, &key]).unwrap();
        (envelope.pae_hash(), statement(envelope, 100 + n), key)
    };
    (0..3).map(one).collect()
});

fn release(project: usize, version: u64, time: u64) -> Leaf {
    let (id, _, key) = &PROJECTS[project];
    let subject = Subject {
        name: "x".into(),
        sha256: sha256(&version.to_be_bytes()),
        size: Some(8),
        digests: Default::default(),
        download_location: None,
    };
    let purl = format!("pkg:generic/p{project}/x@{version}");
    let payload = release_payload(id, &purl, &[subject], None).unwrap();
    statement(Envelope::sign(payload, &[key]).unwrap(), time)
}

fn operation(project: usize, action: Action, time: u64) -> Leaf {
    Leaf::Operation(OperationLeaf {
        action,
        by: "operator".into(),
        project: PROJECTS[project].0,
        reason: None,
        time,
    })
}

/// What a server keeps: rows that each leaf adds to.
#[derive(Default)]
struct Rows(Vec<SavedProject>);

impl Rows {
    fn keep(&mut self, fold: &Fold, index: u64, leaf: &Leaf) {
        let id = match leaf {
            Leaf::Statement(s) => match &s.statement.body {
                Body::Release(r) => r.package_id,
                _ => {
                    let id = fold.project_of(&s.envelope, &s.statement).unwrap();
                    let one = (index, leaf.to_bytes().unwrap());
                    match self.0.iter_mut().find(|row| row.id == id) {
                        Some(row) => row.statements.push(one),
                        None => self.0.push(SavedProject {
                            id,
                            statements: vec![one],
                            standing: Vec::new(),
                        }),
                    }
                    id
                }
            },
            Leaf::Operation(o) => o.project,
            _ => return,
        };
        for row in self.0.iter_mut().filter(|row| row.id == id) {
            row.standing = fold.standing(&id).unwrap().to_bytes();
        }
    }
}

fn story(acts: &[(usize, u8)]) -> (Fold, Rows) {
    let (mut fold, mut rows) = (Fold::new(ORIGIN), Rows::default());
    for ((project, act), n) in acts.iter().zip(0..) {
        let time = 200 + n;
        let leaf = match act {
            0 => PROJECTS[*project].1.clone(),
            1 => operation(*project, Action::Frozen, time),
            2 => operation(*project, Action::Thawed, time),
            3 => fold.next_head(time),
            _ => release(*project, n, time),
        };
        let index = fold.size();
        if fold.apply(&leaf).is_ok() {
            rows.keep(&fold, index, &leaf);
        }
    }
    (fold, rows)
}

fn restored(fold: &Fold, rows: &Rows) -> Result<Fold, SavedError> {
    Fold::restored(ORIGIN, fold.size(), fold.last_time(), &rows.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_restored_fold_is_the_fold_and_goes_on_alike(
        acts in prop::collection::vec((0usize..3, 0u8..8), 0..40),
    ) {
        let (mut fold, rows) = story(&acts);
        let mut again = restored(&fold, &rows).unwrap();
        prop_assert_eq!(again.digest(), fold.digest());
        for project in 0..3 {
            let id = &PROJECTS[project].0;
            prop_assert_eq!(again.state(id), fold.state(id));
            let versions = |f: &Fold| f.project(id).map(|p| p.versions().cloned().collect::<Vec<_>>());
            prop_assert_eq!(versions(&again), versions(&fold));
            // A key's age is counted from the same moment.
            for time in [900, 2000] {
                let leaf = release(project, 1_000_000 + time, time);
                prop_assert_eq!(again.clone().apply(&leaf), fold.clone().apply(&leaf));
            }
            for leaf in [PROJECTS[project].1.clone(), operation(project, Action::Frozen, 1)] {
                prop_assert_eq!(again.apply(&leaf), fold.apply(&leaf));
            }
        }
        prop_assert_eq!(again.digest(), fold.digest());
    }

    #[test]
    fn a_standing_has_one_form(bytes in prop::collection::vec(any::<u8>(), 0..120), size in 0u64..4) {
        // Near the form, too.
        let near = [&[1, 0][..], &size.to_be_bytes(), &bytes].concat();
        for bytes in [bytes, near] {
            if let Some(standing) = Standing::parse(&bytes) {
                prop_assert_eq!(standing.to_bytes(), bytes);
            }
        }
    }
}

#[test]
fn what_was_saved_otherwise_is_refused_or_shows_in_the_digest() {
    let acts = [(0, 0), (1, 0), (0, 5), (0, 5), (0, 5), (1, 1), (1, 5)];
    let (fold, rows) = story(&acts);
    assert_eq!(restored(&fold, &rows).unwrap().digest(), fold.digest());
    for project in 0..2 {
        for at in 0..rows.0[project].standing.len() {
            let mut other = Rows(rows.0.clone());
            other.0[project].standing[at] ^= 1;
            match restored(&fold, &other) {
                Ok(other) => assert_ne!(other.digest(), fold.digest(), "byte {at}"),
                Err(e) => assert_eq!(e.kind(), "saved-standing", "byte {at}"),
            }
        }
    }
    let refused = |change: &dyn Fn(&mut Vec<SavedProject>), kind: &str| {
        let mut other = Rows(rows.0.clone());
        change(&mut other.0);
        assert_eq!(restored(&fold, &other).unwrap_err().kind(), kind);
    };
    refused(&|r| r[0].id[0] ^= 1, "saved-leaf-of-other-project");
    refused(
        &|r| r[0].statements[0].1 = release(0, 7, 7).to_bytes().unwrap(),
        "saved-leaf-of-other-project",
    );
    refused(&|r| r.push(r[0].clone()), "saved-twice");
    refused(
        &|r| r[0].statements[0].1.truncate(9),
        "leaf-not-canonical-json",
    );
    refused(&|r| r[0].standing.push(0), "saved-standing");
    refused(&|r| r[0].statements.clear(), "saved-first-missing");
    let twice = |r: &mut Vec<SavedProject>| {
        let first = r[0].statements[0].clone();
        r[0].statements.push(first);
    };
    refused(&twice, "saved-leaf-of-other-project");
    // One that is missing is a state of its own.
    let fewer = Rows(rows.0[..1].to_vec());
    assert_ne!(restored(&fold, &fewer).unwrap().digest(), fold.digest());
}
