//! The log itself lies (attacker A3 with all of the log's keys): every bundle here is made
//! by hand, signed by the log and cosigned by the witness, and wrong in one point only.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod forger;

use countersign::memory::Memory;
use countersign::verify::{Artifact, Wanted, verify};
use forger::{Liar, ORIGIN, Plan, T, statement};
use keys::{SecretKey, Signer};
use ledger::bundle::Bundle;
use ledger::envelope::Envelope;
use ledger::fold::Fold;
use ledger::leaf::{HeadLeaf, Leaf};
use ledger::sha256;
use ledger::state::{Current, Revoked};
use ledger::statement::{Project, Revocation, Target};
use tlog::prefix::PrefixTree;

#[test]
fn the_genuine_bundles_of_this_log_verify() {
    let liar = Liar::new();
    assert_eq!(liar.kind(&liar.plan()), "verified");
    assert_eq!(
        liar.kind(&Plan {
            more: 3,
            ..liar.plan()
        }),
        "verified"
    );
}

#[test]
fn a_version_that_does_not_follow_is_refused_though_it_is_logged() {
    let liar = Liar::new();
    let (thief, other) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let genuine = liar.rotated(&thief, &[&liar.root, &thief]);
    assert_eq!(liar.kind(&genuine), "verified");
    // Without the root, without the key that is newly listed, by a stranger besides.
    for signers in [
        &[&thief as &dyn Signer][..],
        &[&liar.root],
        &[&liar.root, &thief, &other],
        &[&liar.release, &thief],
    ] {
        assert_eq!(
            liar.kind(&liar.rotated(&thief, signers)),
            "bad-project-chain"
        );
    }
    // A signature that is another's.
    let mut forged = liar.rotated(&thief, &[&liar.root, &thief]);
    let [one, two] = forged.versions[0].signatures.as_mut_slice() else {
        panic!("two signed");
    };
    std::mem::swap(&mut one.sig, &mut two.sig);
    assert_eq!(liar.kind(&forged), "bad-project-chain");
    // A root that was revoked before has no say; what is revoked afterwards had.
    let revoked = |index| {
        let mut plan = liar.rotated(&thief, &[&liar.root, &thief]);
        plan.state.revoked.push(Revoked {
            index,
            since: None,
            statement: [1; 32],
            target: format!("key:{}", liar.root.public_key().id()),
        });
        liar.kind(&plan)
    };
    assert_eq!((revoked(0), revoked(2)), ("bad-project-chain", "verified"));
    // A version stands after the one that it follows.
    let before = Plan {
        last_first: true,
        ..liar.rotated(&thief, &[&liar.root, &thief])
    };
    assert_eq!(liar.kind(&before), "bad-project-chain");
    // The chain ends where the state document says.
    let mut longer = liar.rotated(&thief, &[&liar.root, &thief]);
    longer.versions.clear();
    longer.head_entries -= 1;
    longer.first_size -= 1;
    assert_eq!(liar.kind(&longer), "bad-project-chain");
}

#[test]
fn a_log_that_hides_a_revocation_can_do_so_for_max_age_and_not_from_who_reads_it() {
    let liar = Liar::new();
    let plan = liar.plan();
    // To one client it goes on showing the head from before.
    let (bundle, day) = (liar.bundle(&plan), 86_400);
    let kind = |max_age, now| liar.kind_at(&bundle, plan.id, max_age, now);
    assert_eq!(kind(Some(day), T + 1 + day), "verified");
    assert_eq!(kind(Some(day), T + 2 + day), "time");
    assert_eq!(
        kind(None, T + 900 * day),
        "verified",
        "without max-age it could for ever"
    );
    // Or it signs a newer head that leaves the revocation out: whoever reads its leaves sees.
    let revocation = Revocation {
        project: plan.id,
        target: Target::key(&liar.release.public_key().id()),
        reason: "stolen".into(),
        compromised_since: Some(1),
    };
    let revocation = Envelope::sign(revocation.to_payload().unwrap(), &[&liar.root]).unwrap();
    let mut fold = Fold::new(ORIGIN);
    for envelope in [&plan.project, &plan.release] {
        let leaf = Leaf::parse(&statement(envelope, T)).unwrap();
        fold.apply(&leaf).unwrap();
    }
    let before = fold.map_root();
    fold.apply(&Leaf::parse(&statement(&revocation, T)).unwrap())
        .unwrap();
    let head = |map| {
        Leaf::Head(HeadLeaf {
            entries: 3,
            map,
            time: T,
        })
    };
    assert_eq!(
        fold.clone().apply(&head(before)).unwrap_err().kind(),
        "wrong-head"
    );
    assert_eq!(fold.clone().apply(&head(fold.map_root())), Ok(()));
}

#[test]
fn a_release_that_nobody_authorised_is_refused_though_it_is_logged() {
    let liar = Liar::new();
    let stranger = SecretKey::generate().unwrap();
    let good = liar.plan();
    let by_stranger = liar.released(&good.id, &stranger);
    assert_eq!(
        liar.kind(&Plan {
            release: by_stranger,
            ..liar.plan()
        }),
        "unauthorised-key"
    );
    let by_root = liar.released(&good.id, &liar.root);
    assert_eq!(
        liar.kind(&Plan {
            release: by_root,
            ..liar.plan()
        }),
        "unauthorised-key"
    );
    // The key id of the project's key over a signature that is not its own.
    let mut forged = liar.plan();
    forged.release.signatures[0].sig = stranger.sign(&forged.release.pae()).unwrap();
    assert_eq!(liar.kind(&forged), "bad-signature");
}

#[test]
fn a_release_of_another_project_is_refused() {
    let liar = Liar::new();
    let other = liar.released(&[7; 32], &liar.release);
    assert_eq!(
        liar.kind(&Plan {
            release: other,
            ..liar.plan()
        }),
        "other-project"
    );
}

#[test]
fn a_project_statement_that_its_keys_did_not_all_sign_is_refused() {
    let liar = Liar::new();
    let payload = liar.project().to_payload().unwrap();
    let unsigned = Envelope::sign(payload, &[&liar.release]).unwrap();
    assert_eq!(
        liar.kind(&liar.plan_for(unsigned, &liar.release)),
        "bad-project-chain"
    );
}

#[test]
fn a_project_statement_for_another_log_confers_nothing_here() {
    let liar = Liar::new();
    let project = Project {
        log: "other.example".into(),
        ..liar.project()
    };
    let envelope =
        Envelope::sign(project.to_payload().unwrap(), &[&liar.root, &liar.release]).unwrap();
    assert_eq!(
        liar.kind(&liar.plan_for(envelope, &liar.release)),
        "other-log"
    );
}

#[test]
fn another_project_under_the_same_name_is_not_the_pinned_one() {
    // The liar founds acme/x again with keys of its own, and puts the state of the genuine
    // project's id into the map beside it.
    let (liar, thief) = (Liar::new(), Liar::new());
    let genuine = liar.plan().id;
    let payload = Project { ..thief.project() }.to_payload().unwrap();
    let envelope = Envelope::sign(payload, &[&thief.root, &thief.release]).unwrap();
    let mut plan = liar.plan_for(envelope, &thief.release);
    // Everything is said of the pinned id, and proven in the map, but the statement is not it.
    plan.id = genuine;
    plan.release = liar.released(&genuine, &thief.release);
    assert_eq!(liar.kind(&plan), "other-project");
}

#[test]
fn a_state_document_that_names_another_statement_is_refused() {
    let liar = Liar::new();
    for change in [
        Current {
            statement: [3; 32],
            version: 1,
        },
        Current {
            statement: liar.plan().id,
            version: 2,
        },
    ] {
        let mut plan = liar.plan();
        let keep = plan.state.project.statement;
        plan.state.project = change;
        if plan.state.project.version == 2 {
            plan.state.project.statement = keep;
        }
        assert_eq!(liar.kind(&plan), "bad-project-chain");
    }
}

#[test]
fn a_head_that_covers_other_leaves_than_all_before_it_is_refused() {
    let liar = Liar::new();
    for entries in [0, 1, 3] {
        assert_eq!(
            liar.kind(&Plan {
                head_entries: entries,
                ..liar.plan()
            }),
            "bad-ledger-head",
            "{entries}"
        );
    }
}

#[test]
fn two_checkpoints_that_are_not_one_history_are_refused() {
    let liar = Liar::new();
    let plan = Plan {
        more: 2,
        ..liar.plan()
    };
    let mut bundle = liar.bundle(&plan);
    // Another tree of the first size, as a log that rewrote its past would show.
    bundle.first = liar.note(3, [5; 32], T + 1);
    assert_eq!(liar.kind_of(&bundle, plan.id), "not-consistent");
    let mut bundle = liar.bundle(&plan);
    bundle.latest.as_mut().unwrap().consistency.push([0; 32]);
    assert_eq!(liar.kind_of(&bundle, plan.id), "not-consistent");
}

#[test]
fn a_first_checkpoint_by_keys_of_yesterday_is_part_of_a_signed_view() {
    let liar = Liar::new();
    let plan = Plan {
        more: 2,
        ..liar.plan()
    };
    let resign = |mut bundle: Bundle| {
        // Another log key and another witness key, of the same names' predecessors.
        let text = bundle.first.split_once("\n\n").unwrap().0;
        bundle.first = format!("{text}\n\n\u{2014} log.before AAAAAAA=\n");
        bundle
    };
    let bundle = resign(liar.bundle(&plan));
    assert_eq!(liar.kind_of(&bundle, plan.id), "verified");
    // By itself it is worth nothing.
    let bundle = resign(liar.bundle(&liar.plan()));
    assert_eq!(liar.kind_of(&bundle, plan.id), "log-key-missing");
}

#[test]
fn a_release_logged_after_its_first_checkpoint_is_refused() {
    // `first` is dated by witnesses: one that does not hold the release proves nothing about
    // when it became public.
    let liar = Liar::new();
    assert_eq!(
        liar.kind(&Plan {
            first_size: 1,
            ..liar.plan()
        }),
        "not-included"
    );
}

#[test]
fn a_leaf_dated_after_its_witnesses_saw_it_is_refused() {
    let liar = Liar::new();
    assert_eq!(
        liar.kind(&Plan {
            release_time: T + 301,
            ..liar.plan()
        }),
        "verified"
    );
    assert_eq!(
        liar.kind(&Plan {
            release_time: T + 302,
            ..liar.plan()
        }),
        "time"
    );
}

#[test]
fn a_map_without_the_project_is_refused() {
    let liar = Liar::new();
    let plan = liar.plan();
    let mut bundle = liar.bundle(&plan);
    bundle.head.state.frozen = true;
    assert_eq!(liar.kind_of(&bundle, plan.id), "bad-map-proof");
}

#[test]
fn a_withdrawn_release_is_refused() {
    let liar = Liar::new();
    let mut plan = liar.plan();
    let mut withdrawn = PrefixTree::new();
    let key = ledger::state::withdrawn_release_key(&plan.release.pae_hash());
    withdrawn.insert(key, [4; 32]);
    withdrawn.insert([1; 32], [2; 32]);
    plan.state.withdrawn = withdrawn.root();
    let mut bundle = liar.bundle(&plan);
    for (k, proof) in &mut bundle.head.withdrawn {
        *proof = withdrawn.prove(k);
    }
    assert_eq!(liar.kind_of(&bundle, plan.id), "withdrawn");
    // Leaving out the proof, or giving that of an empty tree, does not help.
    let mut less = bundle.clone();
    less.head.withdrawn.remove(&key);
    assert_eq!(liar.kind_of(&less, plan.id), "bad-withdrawal-proof");
    let mut empty = bundle;
    for (k, proof) in &mut empty.head.withdrawn {
        *proof = PrefixTree::new().prove(k);
    }
    assert_eq!(liar.kind_of(&empty, plan.id), "bad-withdrawal-proof");
}

#[test]
fn a_statement_whose_size_is_not_the_artifact_s_is_refused() {
    let liar = Liar::new();
    let plan = liar.plan();
    let policy = liar.policy(plan.id);
    let wanted = Wanted {
        project: &policy.projects[0],
        version: None,
        no_rollback: false,
    };
    let bundle = liar.bundle(&plan);
    let kind = |size| {
        let artifact = Artifact {
            name: "x.sh",
            sha256: sha256(b"genuine"),
            size,
        };
        verify(
            &artifact,
            &wanted,
            &bundle,
            &policy,
            &Memory::default(),
            T + 10,
        )
        .map_or_else(|e| e.kind(), |_| "verified")
    };
    assert_eq!(kind(7), "verified");
    assert_eq!(kind(8), "size-mismatch");
}
