//! What no project may say, each by the name of its refusal: a table of bad statements, and
//! what ten thousand good ones cost.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use keys::{SecretKey, Signer};
use ledger::envelope::Envelope;
use ledger::fold::Fold;
use ledger::leaf::{Leaf, StatementLeaf};
use ledger::statement::{
    KeyNote, Project, Revocation, Statement, Subject, Target, Withdrawal, Withdrawn,
    release_payload,
};
use ledger::{Hash, sha256};

const ORIGIN: &str = "log.example";

fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

fn public(keys: &[&SecretKey]) -> Vec<keys::PublicKey> {
    keys.iter().map(|k| k.public_key().clone()).collect()
}

fn signed(payload: Vec<u8>, by: &[&SecretKey]) -> Envelope {
    let by: Vec<&dyn Signer> = by.iter().map(|k| *k as &dyn Signer).collect();
    Envelope::sign(payload, &by).unwrap()
}

fn leaf(envelope: &Envelope) -> Leaf {
    Leaf::Statement(Box::new(StatementLeaf {
        envelope: envelope.clone(),
        statement: Statement::parse(&envelope.payload).unwrap(),
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

/// A log with two projects; ours has three roots of which two must sign, and two release keys.
struct World {
    fold: Fold,
    roots: [SecretKey; 3],
    releases: [SecretKey; 2],
    other: SecretKey,
    project: Project,
    id: Hash,
    other_id: Hash,
    /// A release of ours.
    released: Hash,
}

impl World {
    fn new() -> Self {
        let (roots, releases, other) = ([key(), key(), key()], [key(), key()], key());
        let project = Project {
            name: "acme".into(),
            log: ORIGIN.into(),
            version: 1,
            previous: None,
            roots: public(&[&roots[0], &roots[1], &roots[2]]),
            root_threshold: 2,
            release_keys: public(&[&releases[0], &releases[1]]),
            release_threshold: 1,
            authorities: Vec::new(),
            purl_prefixes: vec!["pkg:generic/acme".into()],
            contact: "mailto:a@example.com".into(),
            max_key_age: None,
            policy: None,
        };
        let theirs_release = key();
        let theirs = Project {
            name: "other".into(),
            roots: public(&[&other]),
            root_threshold: 1,
            release_keys: public(&[&theirs_release]),
            purl_prefixes: vec!["pkg:generic/other".into()],
            ..project.clone()
        };
        let by = [&roots[0], &roots[1], &roots[2], &releases[0], &releases[1]];
        let first = signed(project.to_payload().unwrap(), &by);
        let second = signed(theirs.to_payload().unwrap(), &[&other, &theirs_release]);
        let mut world = Self {
            fold: Fold::new(ORIGIN),
            id: first.pae_hash(),
            other_id: second.pae_hash(),
            roots,
            releases,
            other,
            project,
            released: [0; 32],
        };
        world.say(&first);
        world.say(&second);
        let release = world.release("1.0", &[&world.releases[0]]);
        world.released = release.pae_hash();
        world.say(&release);
        world
    }

    fn say(&mut self, envelope: &Envelope) {
        self.fold.check_leaf(envelope).unwrap();
        self.fold.apply(&leaf(envelope)).unwrap();
    }

    /// The refusal of `payload`, signed by these; it changes nothing.
    fn refused(&self, payload: Vec<u8>, by: &[&SecretKey]) -> &'static str {
        let envelope = signed(payload, by);
        match self.fold.check_leaf(&envelope) {
            Ok(()) => "accepted",
            Err(kind) => {
                let (mut fold, before) = (self.fold.clone(), self.fold.map_root());
                assert_eq!(fold.apply(&leaf(&envelope)).unwrap_err().kind(), kind);
                assert_eq!(
                    fold.map_root(),
                    before,
                    "{kind}: what is refused changes nothing"
                );
                kind
            }
        }
    }

    fn release(&self, version: &str, by: &[&SecretKey]) -> Envelope {
        let purl = format!("pkg:generic/acme/x@{version}");
        let payload = release_payload(&self.id, &purl, &[artifact(version)], None);
        signed(payload.unwrap(), by)
    }

    fn next(&self) -> Project {
        Project {
            version: 2,
            previous: Some(self.id),
            ..self.project.clone()
        }
    }

    fn revocation(&self, key: &SecretKey) -> Revocation {
        Revocation {
            project: self.id,
            target: Target::key(&key.public_key().id()),
            reason: "leaked".into(),
            compromised_since: None,
        }
    }

    fn withdrawal(&self) -> Withdrawal {
        Withdrawal {
            project: self.id,
            what: Withdrawn::Release(self.released),
            reason: "crashes".into(),
            successor: None,
        }
    }
}

trait Check {
    fn check_leaf(&self, envelope: &Envelope) -> Result<(), &'static str>;
}

impl Check for Fold {
    fn check_leaf(&self, envelope: &Envelope) -> Result<(), &'static str> {
        let statement = Statement::parse(&envelope.payload).unwrap();
        self.check(envelope, &statement, 100, None)
            .map_err(|e| e.kind())
    }
}

#[test]
fn versions_that_may_not_follow() {
    let w = World::new();
    let [r0, r1, r2] = &w.roots;
    let (fresh, stranger) = (key(), key());
    let said = |p: Project, by: &[&SecretKey]| w.refused(p.to_payload().unwrap(), by);
    assert_eq!(said(w.next(), &[r0, r1]), "accepted");
    // Another place in the chain.
    let skipped = Project {
        version: 3,
        ..w.next()
    };
    assert_eq!(said(skipped, &[r0, r1]), "wrong-version");
    let unknown = Project {
        previous: Some([7; 32]),
        ..w.next()
    };
    assert_eq!(said(unknown, &[r0, r1]), "unknown-previous");
    // Another log's, another name.
    let elsewhere = Project {
        log: "other.example".into(),
        ..w.next()
    };
    assert_eq!(said(elsewhere, &[r0, r1]), "other-origin");
    let renamed = Project {
        name: "acme2".into(),
        ..w.next()
    };
    assert_eq!(said(renamed, &[r0, r1]), "name-changed");
    // Too few roots; a release key instead; a stranger besides; another project's root.
    assert_eq!(said(w.next(), &[r0]), "threshold-not-met");
    assert_eq!(said(w.next(), &[r0, &w.releases[0]]), "unauthorised-key");
    assert_eq!(said(w.next(), &[r0, r1, &stranger]), "unauthorised-key");
    assert_eq!(said(w.next(), &[r0, &w.other]), "unauthorised-key");
    // Its own threshold counts too.
    let all = Project {
        root_threshold: 3,
        ..w.next()
    };
    assert_eq!(said(all.clone(), &[r0, r1]), "threshold-not-met");
    assert_eq!(said(all, &[r0, r1, r2]), "accepted");
    // A new key that has not signed: whoever lists it may not hold it.
    let rotated = Project {
        release_keys: public(&[&fresh]),
        ..w.next()
    };
    assert_eq!(said(rotated.clone(), &[r0, r1]), "missing-signature");
    assert_eq!(said(rotated, &[r0, r1, &fresh]), "accepted");
    // A key changes its role.
    let swapped = Project {
        roots: public(&[r0, r1, &w.releases[0]]),
        release_keys: public(&[&w.releases[1]]),
        ..w.next()
    };
    assert_eq!(said(swapped, &[r0, r1, &w.releases[0]]), "key-changed-role");
    // A prefix that another project holds.
    let broader = Project {
        purl_prefixes: vec!["pkg:generic/other/sub".into()],
        ..w.next()
    };
    assert_eq!(said(broader, &[r0, r1]), "prefix-overlap");
}

#[test]
fn a_version_is_followed_once_and_lists_no_key_that_was_revoked() {
    let mut w = World::new();
    let revoked = w.revocation(&w.releases[1]);
    let by = [&w.roots[0], &w.roots[1]];
    let envelope = signed(revoked.to_payload().unwrap(), &by);
    w.say(&envelope);
    let by = [&w.roots[0], &w.roots[1]];
    assert_eq!(
        w.refused(w.next().to_payload().unwrap(), &by),
        "key-revoked"
    );
    let without = Project {
        release_keys: public(&[&w.releases[0]]),
        ..w.next()
    };
    let envelope = signed(without.to_payload().unwrap(), &by);
    w.say(&envelope);
    let by = [&w.roots[0], &w.roots[1]];
    // The same, and another of the same version: both follow what is not the newest any more.
    assert_eq!(
        w.refused(without.to_payload().unwrap(), &by),
        "other-previous"
    );
    let repeated = Project {
        contact: "mailto:b@example.com".into(),
        ..without
    };
    assert_eq!(
        w.refused(repeated.to_payload().unwrap(), &by),
        "other-previous"
    );
}

#[test]
fn revocations_that_may_not_be_said() {
    let mut w = World::new();
    let said =
        |w: &World, r: &Revocation, by: &[&SecretKey]| w.refused(r.to_payload().unwrap(), by);
    let [r0, r1, r2] = &w.roots;
    let of_release = w.revocation(&w.releases[0]);
    assert_eq!(said(&w, &of_release, &[r0, r1]), "accepted");
    // By whom it is no right of.
    assert_eq!(said(&w, &of_release, &[r0]), "threshold-not-met");
    assert_eq!(said(&w, &of_release, &[&w.releases[0]]), "unauthorised-key");
    assert_eq!(
        said(&w, &of_release, &[r0, &w.releases[1]]),
        "unauthorised-key"
    );
    assert_eq!(said(&w, &of_release, &[&w.other]), "unauthorised-key");
    // Of what the project never listed: another project's key, an authority.
    assert_eq!(
        said(&w, &w.revocation(&w.other), &[r0, r1]),
        "unknown-target"
    );
    let authority = Revocation {
        target: Target::Authority([1; 32]),
        ..of_release.clone()
    };
    assert_eq!(said(&w, &authority, &[r0, r1]), "unknown-target");
    let nobody = Revocation {
        project: [9; 32],
        ..of_release.clone()
    };
    assert_eq!(said(&w, &nobody, &[r0, r1]), "unknown-project");
    // A window that begins where there is no leaf yet.
    let size = w.fold.size();
    let since = |n| Revocation {
        compromised_since: Some(n),
        ..of_release.clone()
    };
    assert_eq!(said(&w, &since(size), &[r0, r1]), "window-beyond-tree");
    assert_eq!(said(&w, &since(size - 1), &[r0, r1]), "accepted");
    // Roots for the threshold must be left: after one of three, no second.
    let [first, second] = [w.revocation(r2), w.revocation(r1)];
    let by = [r0, r1];
    let envelope = signed(first.to_payload().unwrap(), &by);
    let windowed = signed(since(1).to_payload().unwrap(), &by);
    w.say(&envelope);
    w.say(&windowed);
    let by = [&w.roots[0], &w.roots[1]];
    assert_eq!(said(&w, &second, &by), "too-few-roots");
    assert_eq!(
        said(&w, &second, &[&w.roots[0], &w.roots[2]]),
        "key-revoked"
    );
    // A window only widens; the same words again say nothing.
    let since = |n| Revocation {
        compromised_since: Some(n),
        ..of_release.clone()
    };
    assert_eq!(said(&w, &since(2), &by), "window-not-wider");
    assert_eq!(said(&w, &since(1), &by), "statement-stands");
    let reworded = Revocation {
        reason: "leaked, again".into(),
        ..since(1)
    };
    assert_eq!(said(&w, &reworded, &by), "window-not-wider");
    assert_eq!(said(&w, &since(0), &by), "accepted");
}

#[test]
fn withdrawals_and_notes_that_may_not_be_said() {
    let w = World::new();
    let [r0, r1, _] = &w.roots;
    let by_key = &w.releases[0];
    let of = |withdrawal: &Withdrawal, name: &str, by: &[&SecretKey]| {
        w.refused(withdrawal.to_payload(&[artifact(name)]).unwrap(), by)
    };
    assert_eq!(of(&w.withdrawal(), "1.0", &[by_key]), "accepted");
    assert_eq!(of(&w.withdrawal(), "1.0", &[r0, r1]), "accepted");
    assert_eq!(of(&w.withdrawal(), "1.0", &[r0]), "threshold-not-met");
    assert_eq!(
        of(&w.withdrawal(), "1.0", &[r0, r1, by_key]),
        "mixed-signers"
    );
    assert_eq!(of(&w.withdrawal(), "1.0", &[&w.other]), "unauthorised-key");
    // A digest that is not the release's; what is no release; another project's.
    assert_eq!(of(&w.withdrawal(), "2.0", &[by_key]), "foreign-digest");
    let of_project = Withdrawal {
        what: Withdrawn::Release(w.id),
        ..w.withdrawal()
    };
    assert_eq!(of(&of_project, "1.0", &[by_key]), "unknown-release");
    let theirs = Withdrawal {
        project: w.other_id,
        ..w.withdrawal()
    };
    assert_eq!(of(&theirs, "1.0", &[&w.other]), "unknown-release");
    // An end of life: by the roots only, of what is the project's.
    let end = |prefix: &str| Withdrawal {
        what: Withdrawn::Prefix(prefix.into()),
        ..w.withdrawal()
    };
    let end = |prefix: &str, by: &[&SecretKey]| w.refused(end(prefix).to_payload(&[]).unwrap(), by);
    assert_eq!(end("pkg:generic/acme/x", &[r0, r1]), "accepted");
    assert_eq!(end("pkg:generic/acme/x", &[by_key]), "unauthorised-key");
    assert_eq!(
        end("pkg:generic/other/x", &[r0, r1]),
        "prefix-outside-project"
    );
    // A note is by a key in force of the same project.
    let note = KeyNote {
        project: w.id,
        key: [3; 32],
        custody: None,
        generated: None,
        owner: Some("ops".into()),
        uses: Vec::new(),
    };
    let note = |by: &[&SecretKey]| w.refused(note.to_payload().unwrap(), by);
    assert_eq!(note(&[by_key]), "accepted");
    assert_eq!(note(&[&w.other]), "unauthorised-key");
}

#[test]
fn what_is_looked_for_by_name_or_statement_is_found() {
    let mut w = World::new();
    let version = signed(w.next().to_payload().unwrap(), &[&w.roots[0], &w.roots[1]]);
    w.say(&version);
    assert_eq!(w.fold.project_by_name("acme"), Some(w.id));
    assert_eq!(w.fold.project_by_name("acm"), None);
    assert_eq!(w.fold.project_by_statement(&version.pae_hash()), Some(w.id));
    assert_eq!(w.fold.project_by_statement(&w.released), None);
    for envelope in [&version, &w.release("2.0", &[&w.releases[0]])] {
        assert_eq!(w.fold.about(&leaf(envelope)), [w.id]);
    }
    assert!(w.fold.about(&w.fold.next_head(100)).is_empty());
    let size = w.fold.size();
    w.fold.skip_to(size + 5);
    assert_eq!(w.fold.size(), size + 5);
    w.fold.skip_to(size);
    assert_eq!(w.fold.size(), size + 5, "never back");
}

/// A project that says very much costs the log what each statement says, not what all before it
/// said: windows over thousands of withdrawals, each a statement of its own, end in no time.
/// Taking all withdrawals again for each window, this would be two million insertions.
#[test]
fn ten_thousand_statements_of_one_project() {
    let mut w = World::new();
    let version = |n: u64| format!("{n}.0");
    let mut first = None;
    for n in 2..4_002 {
        let release = w.release(&version(n), &[&w.releases[0]]);
        let withdrawal = Withdrawal {
            what: Withdrawn::Release(release.pae_hash()),
            ..w.withdrawal()
        };
        let payload = withdrawal.to_payload(&[artifact(&version(n))]).unwrap();
        let withdrawal = signed(payload, &[&w.releases[0]]);
        first.get_or_insert(w.fold.size());
        for envelope in [&release, &withdrawal] {
            w.fold.apply(&leaf(envelope)).unwrap();
        }
    }
    // Windows that widen by one withdrawal each.
    let last = w.fold.size();
    for n in 1..=2_000 {
        let wider = Revocation {
            compromised_since: Some(last - 2 * n),
            ..w.revocation(&w.releases[0])
        };
        let wider = signed(wider.to_payload().unwrap(), &[&w.roots[0], &w.roots[1]]);
        w.fold.apply(&leaf(&wider)).unwrap();
    }
    let state = w.fold.state(&w.id).unwrap();
    assert_eq!(state.leaves.size, 2 + 4_000 * 2 + 2_000);
    let gone = last - 2 * 2_000;
    assert_eq!(
        (state.revoked.len(), state.revoked[0].since),
        (1, Some(gone))
    );
    // Half of the withdrawals stand, half are void.
    let proves = |release: u64| {
        let release = w.release(&version(release), &[&w.releases[0]]).pae_hash();
        let key = ledger::state::withdrawn_release_key(&release);
        let proof = w.fold.prove_withdrawn(&w.id, &key).unwrap();
        tlog::prefix::verify(&state.withdrawn, &key, &proof)
            .unwrap()
            .is_some()
    };
    assert_eq!((proves(2), proves(2_001)), (true, true));
    assert_eq!((proves(2_002), proves(4_001)), (false, false));
}
