//! Statements about what was said before: what a replay, a stranger's leaf, or another leaf than
//! the one that was asked for is worth.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use keys::{SecretKey, Signer};
use ledger::envelope::Envelope;
use ledger::fold::Fold;
use ledger::leaf::{Leaf, StatementLeaf};
use ledger::released::{Earlier, Released};
use ledger::statement::{
    Body, KeyNote, Project, Revocation, Statement, Subject, Target, Withdrawal, Withdrawn,
    release_payload,
};
use ledger::{Hash, sha256};
use std::collections::HashMap;
use std::sync::Arc;

const ORIGIN: &str = "log.example";

fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

fn leaf(envelope: &Envelope) -> Leaf {
    let statement = Statement::parse(&envelope.payload).unwrap();
    Leaf::Statement(Box::new(StatementLeaf {
        envelope: envelope.clone(),
        statement,
        time: 100,
    }))
}

fn artifact(name: &str) -> Subject {
    Subject {
        name: name.into(),
        sha256: sha256(name.as_bytes()),
        size: Some(1),
        digests: Default::default(),
        download_location: None,
    }
}

struct World {
    fold: Fold,
    leaves: Vec<Leaf>,
    root: SecretKey,
    releases: [SecretKey; 2],
    project: Project,
    id: Hash,
}

impl World {
    /// A project whose releases need two of two keys.
    fn new() -> Self {
        let (root, releases) = (key(), [key(), key()]);
        let project = Project {
            name: "acme".into(),
            log: ORIGIN.into(),
            version: 1,
            previous: None,
            roots: vec![root.public_key().clone()],
            root_threshold: 1,
            release_keys: releases.iter().map(|k| k.public_key().clone()).collect(),
            release_threshold: 2,
            authorities: Vec::new(),
            purl_prefixes: vec!["pkg:generic/acme".into()],
            contact: "mailto:a@example.com".into(),
            max_key_age: None,
            policy: None,
        };
        let by: [&dyn Signer; 3] = [&root, &releases[0], &releases[1]];
        let first = Envelope::sign(project.to_payload().unwrap(), &by).unwrap();
        let mut world = Self {
            fold: Fold::new(ORIGIN),
            leaves: Vec::new(),
            root,
            releases,
            project,
            id: first.pae_hash(),
        };
        world.say(&first).unwrap();
        world
    }

    fn say(&mut self, envelope: &Envelope) -> Result<(), &'static str> {
        let leaf = leaf(envelope);
        let said = self.fold.apply(&leaf).map_err(|e| e.kind());
        self.leaves.push(leaf);
        said
    }

    fn signed(&self, payload: Vec<u8>, by: &[&SecretKey]) -> Envelope {
        let by: Vec<&dyn Signer> = by.iter().map(|k| *k as &dyn Signer).collect();
        Envelope::sign(payload, &by).unwrap()
    }

    fn release(&self, version: &str, name: &str) -> Envelope {
        let purl = format!("pkg:generic/acme/x@{version}");
        let payload = release_payload(&self.id, &purl, &[artifact(name)], None).unwrap();
        self.signed(payload, &[&self.releases[0], &self.releases[1]])
    }

    fn withdrawal(&self, release: Hash, name: &str, by: &[&SecretKey]) -> Envelope {
        let withdrawal = Withdrawal {
            project: self.id,
            what: Withdrawn::Release(release),
            reason: "crashes".into(),
            successor: None,
        };
        self.signed(withdrawal.to_payload(&[artifact(name)]).unwrap(), by)
    }

    fn withdrawn(&self) -> Hash {
        self.fold.state(&self.id).unwrap().withdrawn
    }
}

/// Anybody can take a signature off a statement that the log shows. Where a lower threshold came
/// since, what is left would do.
#[test]
fn a_withdrawal_that_became_void_is_not_said_again_with_the_signatures_that_count() {
    let mut w = World::new();
    let release = w.release("1", "a");
    w.say(&release).unwrap();
    let by = [&w.releases[0], &w.releases[1]];
    let withdrawal = w.withdrawal(release.pae_hash(), "a", &by);
    w.say(&withdrawal).unwrap();
    assert_ne!(w.withdrawn(), [0; 32]);
    let revocation = Revocation {
        project: w.id,
        target: Target::key(&w.releases[0].public_key().id()),
        reason: "stolen".into(),
        compromised_since: Some(0),
    };
    let revocation = w.signed(revocation.to_payload().unwrap(), &[&w.root]);
    w.say(&revocation).unwrap();
    assert_eq!(w.withdrawn(), [0; 32], "void");
    let two = Project {
        version: 2,
        previous: Some(w.id),
        release_keys: vec![w.releases[1].public_key().clone()],
        release_threshold: 1,
        ..w.project.clone()
    };
    let two = w.signed(two.to_payload().unwrap(), &[&w.root]);
    w.say(&two).unwrap();
    let mut fewer = withdrawal.clone();
    let stolen = w.releases[0].public_key().id();
    fewer.signatures.retain(|s| s.keyid != stolen);
    assert_eq!(w.say(&fewer), Err("statement-stands"));
    assert_eq!(w.withdrawn(), [0; 32]);
    // Who still may can say it anew.
    let new = Withdrawal {
        project: w.id,
        what: Withdrawn::Release(release.pae_hash()),
        reason: "crashes indeed".into(),
        successor: None,
    };
    let new = w.signed(new.to_payload(&[artifact("a")]).unwrap(), &[&w.releases[1]]);
    w.say(&new).unwrap();
    assert_ne!(w.withdrawn(), [0; 32]);
}

#[test]
fn a_note_or_a_revocation_is_said_once() {
    let mut w = World::new();
    let note = KeyNote {
        project: w.id,
        key: [5; 32],
        custody: Some("a safe".into()),
        generated: None,
        owner: None,
        uses: vec![],
    };
    let note = w.signed(note.to_payload().unwrap(), &[&w.root, &w.releases[0]]);
    w.say(&note).unwrap();
    let revocation = Revocation {
        project: w.id,
        target: Target::key(&w.releases[1].public_key().id()),
        reason: "lost".into(),
        compromised_since: None,
    };
    let revocation = w.signed(revocation.to_payload().unwrap(), &[&w.root]);
    w.say(&revocation).unwrap();
    let state = w.fold.state(&w.id).unwrap();
    let mut fewer = note.clone();
    fewer.signatures.pop();
    for again in [note, fewer, revocation] {
        assert_eq!(w.say(&again), Err("statement-stands"));
    }
    assert_eq!(w.fold.state(&w.id).unwrap(), state);
}

/// Where every accepted statement stands, as a server's index has it.
#[derive(Default)]
struct Index(HashMap<Hash, u64>);

impl Released for Index {
    fn released(&self, _: &Hash, _: u64) -> Result<Option<u64>, String> {
        Ok(None)
    }
    fn stated(&self, pae: &Hash) -> Result<Option<u64>, String> {
        Ok(self.0.get(pae).copied())
    }
}

#[test]
fn a_withdrawal_of_what_is_no_release_is_refused_and_not_undecided() {
    let w = World::new();
    let (id, first) = (w.id, w.leaves[0].to_bytes().unwrap());
    let mut fold = w
        .fold
        .clone()
        .looking_up(Arc::new(Index(HashMap::from([(id, 0)]))));
    let withdrawal = leaf(&w.withdrawal(id, "a", &[&w.root]));
    let Leaf::Statement(s) = &withdrawal else {
        panic!()
    };
    assert_eq!(fold.needs(&s.statement).unwrap(), Some(0));
    let earlier = Earlier::parse(0, &first).unwrap();
    let refused = fold.apply_with(&withdrawal, Some(&earlier)).unwrap_err();
    assert_eq!(refused.kind(), "unknown-release");
    assert_eq!(
        Earlier::parse(0, b"{}"),
        None,
        "what cannot be read decides nothing"
    );
}

#[test]
fn another_leaf_than_the_one_that_was_asked_for_withdraws_nothing() {
    let mut w = World::new();
    let (one, two) = (w.release("1", "a"), w.release("2", "b"));
    for release in [&one, &two] {
        w.say(release).unwrap();
    }
    let mut fold = Fold::new(ORIGIN).lean();
    for leaf in &w.leaves {
        fold.apply(leaf).unwrap();
    }
    // A digest that only the second release lists, withdrawn as the first's.
    let withdrawal = leaf(&w.withdrawal(one.pae_hash(), "b", &[&w.root]));
    let Leaf::Statement(s) = &withdrawal else {
        panic!()
    };
    assert_eq!(fold.needs(&s.statement).unwrap(), Some(1));
    let bytes = |n: usize| w.leaves[n].to_bytes().unwrap();
    let right = Earlier::parse(1, &bytes(1)).unwrap();
    let wrong = Earlier::parse(1, &bytes(2)).unwrap();
    for (earlier, kind) in [(&right, "foreign-digest"), (&wrong, "unknown-release")] {
        let refused = fold
            .clone()
            .apply_with(&withdrawal, Some(earlier))
            .unwrap_err();
        assert_eq!(refused.kind(), kind);
    }
}

/// A restatement names the very release that was made void, and of a purl that was released
/// twice the last.
#[test]
fn a_release_is_stated_again_under_its_own_name_only() {
    let mut w = World::new();
    let release = w.release("1", "a");
    w.say(&release).unwrap();
    let revocation = Revocation {
        project: w.id,
        target: Target::key(&w.releases[0].public_key().id()),
        reason: "stolen".into(),
        compromised_since: Some(0),
    };
    let revocation = w.signed(revocation.to_payload().unwrap(), &[&w.root]);
    w.say(&revocation).unwrap();
    let fresh = key();
    let two = Project {
        version: 2,
        previous: Some(w.id),
        release_keys: vec![
            w.releases[1].public_key().clone(),
            fresh.public_key().clone(),
        ],
        ..w.project.clone()
    };
    let two = w.signed(two.to_payload().unwrap(), &[&w.root, &fresh]);
    w.say(&two).unwrap();
    let again = |restates: &Hash| {
        let purl = "pkg:generic/acme/x@1";
        let payload = release_payload(&w.id, purl, &[artifact("a")], Some(restates)).unwrap();
        w.signed(payload, &[&w.releases[1], &fresh])
    };
    let mut fold = w.fold.clone();
    let (wrong, right) = (leaf(&again(&[9; 32])), leaf(&again(&release.pae_hash())));
    assert_eq!(fold.apply(&wrong).unwrap_err().kind(), "not-restated");
    fold.apply(&right).unwrap();
    // It stands now, so once more would be a release of its own.
    let Leaf::Statement(s) = &right else { panic!() };
    let more = leaf(&again(&s.envelope.pae_hash()));
    assert_eq!(fold.apply(&more).unwrap_err().kind(), "not-restated");
}

/// A leaf is asked for only where a decision needs one that is not at hand.
#[test]
fn no_more_is_asked_for_than_a_decision_needs() {
    let mut w = World::new();
    let release = w.release("1", "a");
    w.say(&release).unwrap();
    let mut lean = Fold::new(ORIGIN).lean();
    for leaf in &w.leaves {
        lean.apply(leaf).unwrap();
    }
    let statement = |envelope: &Envelope| Statement::parse(&envelope.payload).unwrap();
    let withdrawal = statement(&w.withdrawal(release.pae_hash(), "a", &[&w.root]));
    assert_eq!(lean.needs(&withdrawal), Ok(Some(1)));
    assert_eq!(w.fold.needs(&withdrawal), Ok(None), "it is at hand");
    let other = statement(&w.withdrawal([9; 32], "a", &[&w.root]));
    assert_eq!(lean.needs(&other), Ok(None), "nothing stands there");
    // The purl was released, which decides by itself.
    assert_eq!(lean.needs(&statement(&release)), Ok(None));
    let again = release_payload(
        &w.id,
        "pkg:generic/acme/x@1",
        &[artifact("a")],
        Some(&release.pae_hash()),
    );
    let again = Statement::parse(&again.unwrap()).unwrap();
    assert_eq!(lean.needs(&again), Ok(Some(1)));
    assert_eq!(w.fold.needs(&again), Ok(None), "it is at hand");
}

/// What a client asks of a chain that it has followed: by the version in force at the release's
/// place, not by a later one or by one of the same place.
#[test]
fn a_release_is_judged_by_the_version_before_it() {
    let mut w = World::new();
    let release = w.release("1", "a");
    let fresh = key();
    let two = Project {
        version: 2,
        previous: Some(w.id),
        release_keys: vec![fresh.public_key().clone()],
        release_threshold: 1,
        ..w.project.clone()
    };
    w.say(&release).unwrap();
    let two = w.signed(two.to_payload().unwrap(), &[&w.root, &fresh]);
    w.say(&two).unwrap();
    let chain = &w.fold.project(&w.id).unwrap().chain;
    let version = |index| chain.at(index).map(|v| v.project.version);
    let versions = (version(0), version(1), version(2), version(3));
    assert_eq!(versions, (None, Some(1), Some(1), Some(2)));
    let Body::Release(r) = Statement::parse(&release.payload).unwrap().body else {
        panic!()
    };
    let at = |envelope: &Envelope, index: u64, revoked: &dyn Fn(&Target) -> bool| {
        let said = chain.check_release(envelope, &r, (index, 100), revoked);
        said.map_err(|e| e.kind())
    };
    assert_eq!(at(&release, 1, &|_| false), Ok(()));
    assert_eq!(at(&release, 0, &|_| false), Err("unknown-project"));
    assert_eq!(at(&release, 3, &|_| false), Err("unauthorised-key"));
    let gone = Target::key(&w.releases[1].public_key().id());
    assert_eq!(at(&release, 1, &|key| *key == gone), Err("key-revoked"));
    let mut one = release.clone();
    one.signatures.pop();
    assert_eq!(at(&one, 1, &|_| false), Err("threshold-not-met"));
    let mut forged = release.clone();
    forged.signatures[0].sig = forged.signatures[1].sig.clone();
    assert_eq!(at(&forged, 1, &|_| false), Err("bad-signature"));
}
