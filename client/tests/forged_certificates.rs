//! The log itself lies about releases that are signed with certificates: bundles made by hand, each
//! wrong in one point only, beside the genuine one.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod forger;

use countersign::memory::Memory;
use countersign::policy::Policy;
use countersign::verify::{Artifact, Wanted, verify};
use forger::{Liar, Plan, T, released_as};
use keys::certificate::{
    Anchor, Authority as Issuer, Identity as Whom, Life, make_intermediate, make_root,
};
use keys::{SecretKey, Signer};
use ledger::bundle::Bundle;
use ledger::envelope::Envelope;
use ledger::sha256;
use ledger::state::Revoked;
use ledger::statement::{Authority, Identity, Project, Target};
use std::collections::BTreeMap;

const SAN: &str = "https://forge.example/acme/x/release.yml@refs/tags/1.0";
const TOKENS: &str = "https://token.forge.example";
/// The last second of every certificate here.
const END: u64 = T + 600;

struct Scene {
    liar: Liar,
    anchor: Anchor,
    issuer: Issuer,
    key: SecretKey,
}

impl Scene {
    fn new() -> Self {
        Self::until(T + 1_000_000)
    }

    /// With an issuer that is valid until then.
    fn until(issuer_ends: u64) -> Self {
        let (root, between) = (
            SecretKey::generate().unwrap(),
            SecretKey::generate().unwrap(),
        );
        let life = Life {
            from: T - 1000,
            until: T + 1_000_000,
        };
        let anchor = Anchor::parse(&make_root(&root, "root", life).unwrap()).unwrap();
        let life = Life {
            until: issuer_ends,
            ..life
        };
        let own = make_intermediate(&root, &anchor, between.public_key(), "one", life).unwrap();
        Self {
            liar: Liar::new(),
            issuer: Issuer::new(Box::new(between), vec![own]).unwrap(),
            anchor,
            key: SecretKey::generate().unwrap(),
        }
    }

    fn identity() -> Identity {
        Identity {
            issuer: TOKENS.into(),
            san: "https://forge.example/acme/x/*".into(),
            claims: BTreeMap::new(),
        }
    }

    fn certified(&self, envelope: Envelope, san: &str) -> Envelope {
        let whom = Whom {
            san: san.into(),
            issuer: TOKENS.into(),
            claims: BTreeMap::new(),
        };
        let life = Life {
            from: T,
            until: END,
        };
        let chain = self.issuer.issue(self.key.public_key(), &whom, life);
        envelope.with_chain(chain.unwrap()).unwrap()
    }

    /// A genuine one.
    fn plan(&self) -> Plan {
        let project = Project {
            release_keys: Vec::new(),
            authorities: vec![Authority {
                anchor: self.anchor.clone(),
                identities: vec![Self::identity()],
            }],
            ..self.liar.project()
        };
        let project = Envelope::sign(project.to_payload().unwrap(), &[&self.liar.root]).unwrap();
        let plan = self.liar.plan_for(project, &self.key);
        Plan {
            release: self.certified(plan.release.clone(), SAN),
            ..plan
        }
    }

    /// What a client says soon after.
    fn kind(&self, plan: &Plan) -> &'static str {
        let now = plan.first_signed_at + 10;
        self.liar
            .kind_at(&self.liar.bundle(plan), plan.id, None, now)
    }

    fn revoked(&self, target: Target, index: u64, since: Option<u64>) -> &'static str {
        let mut plan = self.plan();
        plan.state.revoked.push(Revoked {
            index,
            since,
            statement: [1; 32],
            target: target.to_string(),
        });
        self.kind(&plan)
    }
}

#[test]
fn a_release_with_a_certificate_verifies() {
    let scene = Scene::new();
    assert_eq!(scene.kind(&scene.plan()), "verified");
}

/// A thief who finds the key after its certificate has ended has the log date his release back.
#[test]
fn a_release_that_became_public_after_its_certificate_s_end_is_refused() {
    let scene = Scene::new();
    let public = |first_signed_at| {
        scene.kind(&Plan {
            first_signed_at,
            ..scene.plan()
        })
    };
    assert_eq!(public(END), "verified");
    assert_eq!(public(END + 300), "verified");
    assert_eq!(public(END + 301), "time");
    assert_eq!(public(END + 1_000_000), "time");
}

/// An issuer that has ended, or whose key is found then, certifies for a time that is to come, and the
/// log dates the release back into the issuer's time.
#[test]
fn a_release_that_became_public_after_its_issuer_s_end_is_refused() {
    let scene = Scene::until(T + 200);
    let public = |first_signed_at| {
        scene.kind(&Plan {
            first_signed_at,
            ..scene.plan()
        })
    };
    assert_eq!(public(T + 500), "verified");
    assert_eq!(public(T + 501), "time");
}

#[test]
fn without_witnesses_no_certificate_counts() {
    let scene = Scene::new();
    let plan = scene.plan();
    let bundle = scene.liar.bundle(&plan);
    let bundle = Bundle::parse(&bundle.to_bytes().unwrap()).unwrap();
    let genuine = scene.liar.policy(plan.id);
    let text = genuine.to_toml().unwrap();
    let witnesses = genuine.witnesses_text.clone();
    let none = text.replace(witnesses.trim_end(), "quorum none");
    let none = Policy::parse_toml(&none).unwrap();
    assert!(none.witnesses.quorum_none());
    let kind = |policy: &Policy| {
        let artifact = Artifact {
            name: "x.sh",
            sha256: sha256(b"genuine"),
            size: 7,
        };
        let wanted = Wanted {
            project: &policy.projects[0],
            version: None,
            no_rollback: false,
        };
        let memory = Memory::default();
        let verdict = verify(&artifact, &wanted, &bundle, policy, &memory, T + 10);
        verdict.map_or_else(|e| e.kind(), |_| "verified")
    };
    assert_eq!((kind(&genuine), kind(&none)), ("verified", "time"));
}

#[test]
fn what_nobody_certified_for_the_project_is_refused_though_it_is_logged() {
    let scene = Scene::new();
    let with = |release: Envelope| {
        let plan = Plan {
            release,
            ..scene.plan()
        };
        scene.kind(&plan)
    };
    let plan = scene.plan();
    let payload = || released_as(&plan.id, &[("x.sh", b"genuine")]);
    let bare = || Envelope::sign(payload(), &[&scene.key]).unwrap();
    assert_eq!(with(scene.certified(bare(), SAN)), "verified");
    // No certificate, one for others, one of another authority.
    assert_eq!(with(bare()), "unauthorised-key");
    let others = SAN.replace("/x/", "/y/");
    assert_eq!(with(scene.certified(bare(), &others)), "other-identity");
    let stranger = Scene {
        key: SecretKey::generate().unwrap(),
        ..Scene::new()
    };
    let strange = Envelope::sign(payload(), &[&stranger.key]).unwrap();
    let strange = stranger.certified(strange, SAN);
    assert_eq!(with(strange), "certificate-other-issuer");
    // The right certificate over another key's signature.
    let mut forged = scene.certified(bare(), SAN);
    let by_root = Envelope::sign(payload(), &[&scene.liar.root]).unwrap();
    forged.signatures[0]
        .sig
        .clone_from(&by_root.signatures[0].sig);
    assert_eq!(with(forged), "bad-signature");
    // Logged before the certificate began, or after it had ended.
    let at = |release_time| {
        scene.kind(&Plan {
            release_time,
            first_signed_at: release_time,
            ..scene.plan()
        })
    };
    assert_eq!((at(T), at(END)), ("verified", "verified"));
    assert_eq!(
        (at(T - 1), at(END + 1)),
        ("certificate-time", "certificate-time")
    );
}

/// The release stands at index 1.
#[test]
fn a_revoked_identity_or_authority_on_the_path_is_noticed_and_no_other() {
    let scene = Scene::new();
    let identity = Target::Identity(Scene::identity().hash().unwrap());
    let anchor = Target::Authority(scene.anchor.key_hash());
    let issuer = Target::Authority(scene.issuer.key().id().0);
    for target in [identity, anchor, issuer] {
        // Before it, after it, and after it with a window that takes it in or does not.
        let refused = match target {
            Target::Identity(_) => "identity-revoked",
            _ => "authority-revoked",
        };
        assert_eq!(scene.revoked(target, 0, None), refused);
        assert_eq!(scene.revoked(target, 2, None), "verified");
        assert_eq!(scene.revoked(target, 5, Some(1)), "void");
        assert_eq!(scene.revoked(target, 5, Some(2)), "verified");
    }
    for other in [Target::Identity([7; 32]), Target::Authority([7; 32])] {
        assert_eq!(scene.revoked(other, 0, None), "verified");
    }
}
