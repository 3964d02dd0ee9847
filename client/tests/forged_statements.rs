//! The log lies about statements that are no releases (attacker A3 with all of the log's keys):
//! each is in its tree, and either nobody who could said it, or the head does not count it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod forger;

use countersign::memory::{Memory, SeenHead};
use countersign::stated::{Stands, verify_statement};
use forger::{Liar, Plan, T};
use keys::{SecretKey, Signer};
use ledger::bundle::Bundle;
use ledger::envelope::Envelope;
use ledger::state::{EndOfLife, Revoked, StateDocument, withdrawn_digest_key};
use ledger::statement::{KeyNote, Project, Revocation, Subject, Target, Withdrawal, Withdrawn};
use ledger::{Hash, KeyId, hex32, sha256};
use tlog::prefix::PrefixTree;

fn kind(liar: &Liar, bundle: &Bundle, id: &Hash, memory: &Memory) -> String {
    let bundle = Bundle::parse(&bundle.to_bytes().unwrap()).unwrap();
    match verify_statement(id, &bundle, &liar.policy(*id), memory, T + 10) {
        Ok(stated) => stated.stands.word().to_owned(),
        Err(e) => format!("refused: {}", e.kind()),
    }
}

/// What a bundle of `said` in the place of the release is taken for, where the head withdraws what
/// `withdrawn` has.
fn taken(liar: &Liar, mut plan: Plan, said: Envelope, withdrawn: &PrefixTree) -> String {
    plan.release = said;
    plan.state.withdrawn = withdrawn.root();
    let mut bundle = liar.bundle(&plan);
    for (key, proof) in &mut bundle.head.withdrawn {
        *proof = withdrawn.prove(key);
    }
    kind(liar, &bundle, &plan.id, &Memory::default())
}

fn id(key: &SecretKey) -> KeyId {
    key.public_key().id()
}

fn revoked(key: &SecretKey, index: u64, since: Option<u64>) -> Revoked {
    Revoked {
        index,
        since,
        statement: [1; 32],
        target: format!("key:{}", id(key)),
    }
}

/// The signature that `by` made, under the name of `of`.
fn forged(payload: &[u8], of: &SecretKey, by: &SecretKey) -> Envelope {
    let mut envelope = Envelope::sign(payload.to_vec(), &[of]).unwrap();
    envelope.signatures[0].sig = by.sign(&envelope.pae()).unwrap();
    envelope
}

fn by(payload: &[u8], key: &SecretKey) -> Envelope {
    Envelope::sign(payload.to_vec(), &[key]).unwrap()
}

#[test]
fn a_revocation_counts_where_roots_said_it_and_the_head_has_it() {
    let (liar, stranger) = (Liar::new(), SecretKey::generate().unwrap());
    let says = |since| {
        let revocation = Revocation {
            project: liar.plan().id,
            target: Target::key(&id(&liar.release)),
            reason: "stolen".into(),
            compromised_since: since,
        };
        revocation.to_payload().unwrap()
    };
    let none = PrefixTree::new();
    let with = |state: Option<Revoked>, said| {
        let mut plan = liar.plan();
        plan.state.revoked.extend(state);
        taken(&liar, plan, said, &none)
    };
    let at = |since| Some(revoked(&liar.release, 1, since));
    let (plain, window) = (says(None), says(Some(0)));
    assert_eq!(with(at(None), by(&plain, &liar.root)), "stands");
    assert_eq!(with(at(Some(0)), by(&window, &liar.root)), "stands");
    // The head leaves it out, or its window.
    assert_eq!(
        with(None, by(&plain, &liar.root)),
        "refused: bad-ledger-head"
    );
    assert_eq!(
        with(at(None), by(&window, &liar.root)),
        "refused: bad-ledger-head"
    );
    // Nobody who could has said it.
    for (said, want) in [
        (by(&plain, &liar.release), "refused: unauthorised-key"),
        (by(&plain, &stranger), "refused: unauthorised-key"),
        (
            forged(&plain, &liar.root, &stranger),
            "refused: bad-signature",
        ),
    ] {
        assert_eq!(with(at(None), said), want);
    }
}

#[test]
fn a_withdrawal_counts_where_the_head_has_it_and_is_void_with_its_key() {
    let (liar, stranger) = (Liar::new(), SecretKey::generate().unwrap());
    let subject = Subject {
        name: "x.sh".into(),
        sha256: sha256(b"genuine"),
        size: None,
        digests: Default::default(),
        download_location: None,
    };
    let withdrawal = Withdrawal {
        project: liar.plan().id,
        what: Withdrawn::Release([5; 32]),
        reason: "bad".into(),
        successor: None,
    };
    let says = withdrawal.to_payload(&[subject]).unwrap();
    let (none, mut tree) = (PrefixTree::new(), PrefixTree::new());
    tree.insert(withdrawn_digest_key(&sha256(b"genuine")), [6; 32]);
    let with = |said, tree: &PrefixTree| taken(&liar, liar.plan(), said, tree);
    assert_eq!(with(by(&says, &liar.release), &tree), "stands");
    assert_eq!(with(by(&says, &liar.root), &tree), "stands");
    assert_eq!(
        with(by(&says, &liar.root), &none),
        "refused: bad-withdrawal-proof"
    );
    assert_eq!(
        with(by(&says, &stranger), &tree),
        "refused: unauthorised-key"
    );
    let said = forged(&says, &liar.release, &stranger);
    assert_eq!(with(said, &tree), "refused: bad-signature");
    let mut plan = liar.plan();
    plan.state.revoked.push(revoked(&liar.release, 2, Some(1)));
    assert_eq!(taken(&liar, plan, by(&says, &liar.release), &none), "void");

    let end = Withdrawal {
        what: Withdrawn::Prefix("pkg:generic/acme/x".into()),
        ..withdrawal
    };
    let says = end.to_payload(&[]).unwrap();
    let ends = || {
        let mut plan = liar.plan();
        plan.state.end_of_life.push(EndOfLife {
            prefix: "pkg:generic/acme/x".into(),
            statement: [6; 32],
        });
        plan
    };
    assert_eq!(taken(&liar, ends(), by(&says, &liar.root), &none), "stands");
    assert_eq!(
        with(by(&says, &liar.root), &none),
        "refused: bad-withdrawal-proof"
    );
    let said = by(&says, &liar.release);
    assert_eq!(
        taken(&liar, ends(), said, &none),
        "refused: unauthorised-key"
    );
}

#[test]
fn a_note_counts_while_a_signature_on_it_does() {
    let (liar, stranger) = (Liar::new(), SecretKey::generate().unwrap());
    let note = |project| {
        let note = KeyNote {
            project,
            key: id(&liar.root).0,
            custody: None,
            generated: None,
            owner: Some("us".into()),
            uses: Vec::new(),
        };
        note.to_payload().unwrap()
    };
    let (says, none) = (note(liar.plan().id), PrefixTree::new());
    let with = |state: Option<Revoked>, said| {
        let mut plan = liar.plan();
        plan.state.revoked.extend(state);
        taken(&liar, plan, said, &none)
    };
    assert_eq!(with(None, by(&says, &liar.release)), "stands");
    let window = || Some(revoked(&liar.release, 2, Some(0)));
    assert_eq!(with(window(), by(&says, &liar.release)), "void");
    let both = Envelope::sign(says.clone(), &[&liar.root, &liar.release]).unwrap();
    assert_eq!(with(window(), both), "stands");
    let before = Some(revoked(&liar.release, 0, None));
    assert_eq!(
        with(before, by(&says, &liar.release)),
        "refused: key-revoked"
    );
    assert_eq!(with(None, by(&says, &stranger)), "refused: bad-signature");
    let said = forged(&says, &liar.root, &stranger);
    assert_eq!(with(None, said), "refused: bad-signature");
    // Of another project, with ours for its head.
    let said = by(&note([7; 32]), &liar.release);
    assert_eq!(with(None, said), "refused: other-project");
}

#[test]
fn a_release_is_void_or_withdrawn_and_a_version_is_of_the_chain() {
    let (liar, stranger) = (Liar::new(), SecretKey::generate().unwrap());
    let plan = || liar.plan();
    let (none, release) = (PrefixTree::new(), plan().release);
    assert_eq!(taken(&liar, plan(), release.clone(), &none), "stands");
    let said = forged(&release.payload, &liar.release, &stranger);
    assert_eq!(taken(&liar, plan(), said, &none), "refused: bad-signature");
    let mut tree = PrefixTree::new();
    tree.insert(withdrawn_digest_key(&sha256(b"genuine")), [6; 32]);
    assert_eq!(taken(&liar, plan(), release.clone(), &tree), "withdrawn");
    let mut void = plan();
    void.state.revoked.push(revoked(&liar.release, 2, Some(1)));
    let newer = void.state.clone();
    assert_eq!(taken(&liar, void, release.clone(), &none), "void");
    // What is remembered of a newer head binds, as it binds a verifier.
    let mut memory = Memory::default();
    let head = SeenHead {
        size: 9,
        state: newer,
    };
    memory.projects.insert(hex32(&plan().id), head.clone());
    let bundle = liar.bundle(&plan());
    assert_eq!(kind(&liar, &bundle, &plan().id, &memory), "void");
    let mut other = head;
    other.state.withdrawn = [9; 32];
    memory.projects.insert(hex32(&plan().id), other);
    assert_eq!(
        kind(&liar, &bundle, &plan().id, &memory),
        "refused: needs-refresh"
    );
    // Of an older one only what cannot be taken back: its revocations, not what was withdrawn
    // since, nor an end of life that turned out void.
    let ends = |state: &mut StateDocument| {
        state.end_of_life.push(EndOfLife {
            prefix: "pkg:generic/acme/x".into(),
            statement: [6; 32],
        });
    };
    let mut older = SeenHead {
        size: 2,
        state: plan().state,
    };
    older.state.withdrawn = [9; 32];
    ends(&mut older.state);
    memory.projects.insert(hex32(&plan().id), older.clone());
    assert_eq!(kind(&liar, &bundle, &plan().id, &memory), "stands");
    let key = revoked(&liar.release, 2, Some(1));
    older.state.revoked.push(key);
    memory.projects.insert(hex32(&plan().id), older);
    assert_eq!(kind(&liar, &bundle, &plan().id, &memory), "void");
    let mut newer = SeenHead {
        size: 9,
        state: plan().state,
    };
    ends(&mut newer.state);
    memory.projects.insert(hex32(&plan().id), newer);
    assert_eq!(kind(&liar, &bundle, &plan().id, &memory), "withdrawn");
    let mut ended = plan();
    ends(&mut ended.state);
    assert_eq!(taken(&liar, ended, release.clone(), &none), "withdrawn");

    // A version: the newest, one before it, one that another project's roots have signed.
    let next = SecretKey::generate().unwrap();
    let rotated = liar.rotated(&next, &[&liar.root, &next]);
    let mut bundle = liar.bundle(&rotated);
    for (version, want) in [(1, "stands"), (0, "replaced")] {
        bundle.entry = bundle.projects[version].clone();
        assert_eq!(kind(&liar, &bundle, &rotated.id, &Memory::default()), want);
    }
    let thief = Liar::new();
    let payload = Project {
        name: "acme/y".into(),
        ..thief.project()
    }
    .to_payload()
    .unwrap();
    let foreign = Envelope::sign(payload, &[&thief.root, &thief.release]).unwrap();
    assert_eq!(
        taken(&liar, plan(), foreign, &none),
        "refused: other-project"
    );
    assert_eq!(Stands::Replaced(2).word(), "replaced");
    // A version that is logged a second time is none of the chain's there.
    let again = plan().project;
    assert_eq!(taken(&liar, plan(), again, &none), "refused: not-included");
}
