//! Of the project: its chain, revocations, withdrawals, ends of life, and what is remembered.

use super::{Folder, seen_head};
use crate::forger::{Liar, Plan, known_p256};
use keys::Signer as _;
use ledger::envelope::Envelope;
use ledger::sha256;
use ledger::state::{EndOfLife, Revoked, StateDocument, withdrawn_keys};
use ledger::statement::Project;
use tlog::prefix::PrefixTree;

type Named = (&'static str, Folder);

pub fn folders() -> Vec<Named> {
    let mut all = chains();
    all.extend(revoked());
    all.extend(withdrawn());
    all.extend(remembered());
    all
}

fn revocation(key: &keys::SecretKey, index: u64, since: Option<u64>) -> Revoked {
    Revoked {
        index,
        since,
        statement: [1; 32],
        target: format!("key:{}", key.public_key().id()),
    }
}

fn chains() -> Vec<Named> {
    let liar = Liar::known();
    let thief = known_p256("countersign test thief");
    let stolen = liar.rotated(&thief, &[&liar.release, &thief]);
    let mut root_gone = liar.rotated(&thief, &[&liar.root, &thief]);
    root_gone
        .state
        .revoked
        .push(revocation(&liar.root, 0, None));
    // The old release key was replaced because it was stolen; its thief leaves the version out.
    let owner = known_p256("countersign test new release key");
    let replaced = Plan {
        release: liar.released(&liar.plan().id, &liar.release),
        ..liar.rotated(&owner, &[&liar.root, &owner])
    };
    let left_out = Folder::of(&liar, &replaced).bundled(|b| b.projects.truncate(1));
    let backwards = Plan {
        last_first: true,
        ..liar.rotated(&thief, &[&liar.root, &thief])
    };
    let elsewhere = Project {
        log: "other.example".into(),
        ..liar.project()
    };
    let elsewhere = Envelope::sign(
        elsewhere.to_payload().unwrap(),
        &[&liar.root, &liar.release],
    );
    let elsewhere = liar.plan_for(elsewhere.unwrap(), &liar.release);
    // A key that is only named as a root, and never agreed.
    let unsigned = Envelope::sign(liar.project().to_payload().unwrap(), &[&liar.release]);
    let unsigned = liar.plan_for(unsigned.unwrap(), &liar.release);
    vec![
        ("release-key-adds-a-key", Folder::of(&liar, &stolen)),
        ("revoked-root-adds-a-key", Folder::of(&liar, &root_gone)),
        ("version-left-out", left_out),
        (
            "version-before-the-one-it-follows",
            Folder::of(&liar, &backwards),
        ),
        ("project-of-another-log", Folder::of(&liar, &elsewhere)),
        (
            "project-that-its-root-never-signed",
            Folder::of(&liar, &unsigned),
        ),
    ]
}

fn with_state(change: impl FnOnce(&Liar, &mut StateDocument)) -> Folder {
    let liar = Liar::known();
    let mut plan = liar.plan();
    change(&liar, &mut plan.state);
    Folder::of(&liar, &plan)
}

fn revoked() -> Vec<Named> {
    let before = with_state(|l, s| s.revoked.push(revocation(&l.release, 0, None)));
    let window = with_state(|l, s| s.revoked.push(revocation(&l.release, 2, Some(1))));
    vec![
        ("key-revoked-before", before),
        ("key-in-its-compromise-window", window),
    ]
}

/// A log in which the release, or its digest, is withdrawn, with the proofs that it gives.
fn taken_back(digest: bool) -> (Liar, Plan, PrefixTree) {
    let liar = Liar::known();
    let mut plan = liar.plan();
    let release = (!digest).then(|| plan.release.pae_hash());
    let other = release.unwrap_or([7; 32]);
    let keys = withdrawn_keys(&other, [sha256(b"genuine")]);
    let of_release = withdrawn_keys(&other, []);
    let mut tree = PrefixTree::new();
    for key in keys {
        if of_release.contains(&key) != digest {
            tree.insert(key, [8; 32]);
        }
    }
    plan.state.withdrawn = tree.root();
    (liar, plan, tree)
}

fn withdrawn() -> Vec<Named> {
    let shown = |digest: bool| {
        let (liar, plan, tree) = taken_back(digest);
        Folder::of(&liar, &plan).bundled(|b| {
            for (key, proof) in &mut b.head.withdrawn {
                *proof = tree.prove(key);
            }
        })
    };
    let (liar, plan, tree) = taken_back(false);
    let left_out = Folder::of(&liar, &plan).bundled(|b| b.head.withdrawn.clear());
    let other = Folder::of(&liar, &plan).bundled(|b| {
        let keys = withdrawn_keys(&[3; 32], [sha256(b"another")]);
        b.head.withdrawn = keys.into_iter().map(|k| (k, tree.prove(&k))).collect();
    });
    let empty = Folder::of(&liar, &plan);
    let end = |prefix: &str| {
        with_state(|_, s| {
            s.end_of_life.push(EndOfLife {
                prefix: prefix.into(),
                statement: [1; 32],
            });
        })
    };
    vec![
        ("release-withdrawn", shown(false)),
        ("digest-withdrawn-and-published-again", shown(true)),
        ("withdrawal-proofs-left-out", left_out),
        ("withdrawal-proofs-of-another-release", other),
        ("withdrawal-proofs-of-an-empty-tree", empty),
        ("purl-at-its-end-of-life", end("pkg:generic/acme/x")),
    ]
}

fn remembered() -> Vec<Named> {
    let liar = Liar::known();
    let plan = liar.plan();
    let with = |change: &dyn Fn(&mut StateDocument)| {
        Folder::genuine().remembering(|m| seen_head(m, &plan, 9, change))
    };
    let mut newer = Folder::genuine().remembering(|m| seen_head(m, &plan, 9, |_| {}));
    let text = String::from_utf8(newer.state.take().unwrap()).unwrap();
    newer.state = Some(
        text.replace("countersign/v1", "countersign/v2")
            .into_bytes(),
    );
    let mut cut = with(&|s| s.revoked.push(revocation(&liar.release, 5, Some(1))));
    cut.state.as_mut().unwrap().truncate(40);
    vec![
        (
            "revocation-that-was-seen-is-hidden",
            with(&|s| s.revoked.push(revocation(&liar.release, 5, Some(1)))),
        ),
        (
            "end-of-life-that-was-seen-is-hidden",
            with(&|s| {
                s.end_of_life.push(EndOfLife {
                    prefix: "pkg:generic/acme/x".into(),
                    statement: [1; 32],
                });
            }),
        ),
        (
            "withdrawals-that-were-seen-are-hidden",
            with(&|s| s.withdrawn = [1; 32]),
        ),
        ("state-file-of-another-version", newer),
        ("state-file-cut-short", cut),
    ]
}
