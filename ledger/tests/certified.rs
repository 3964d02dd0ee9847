//! Projects whose releases are signed with certificates: which count, from when on they do not,
//! and which projects a logged certificate is about.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use keys::certificate::{
    Anchor, Authority as Issuer, CertificateChain, Identity as Whom, Life, make_intermediate,
    make_root,
};
use keys::{SecretKey, Signer};
use ledger::envelope::Envelope;
use ledger::fold::Fold;
use ledger::leaf::{CertificateLeaf, Leaf, StatementLeaf, may_have_chain};
use ledger::statement::{
    Authority, Body, Identity, KeyNote, Project, Revocation, Statement, Subject, Target,
    Withdrawal, Withdrawn, release_payload,
};
use ledger::{Hash, sha256};
use std::collections::BTreeMap;

const ORIGIN: &str = "log.example";
const NOW: u64 = 1_790_000_000;
const SAN: &str = "https://forge.example/acme/tool/.ci/release.yml@refs/tags/v1";
const TOKENS: &str = "https://token.forge.example";
const REPOSITORY: &str = "1.3.6.1.4.1.57264.1.12";

fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

struct Ca {
    root: SecretKey,
    anchor: Anchor,
    issuer: Issuer,
}

impl Ca {
    fn new() -> Self {
        let (root, between) = (key(), key());
        let life = Life {
            from: NOW - 1000,
            until: NOW + 1_000_000,
        };
        let anchor = make_root(&root, "acme root", life).unwrap();
        let anchor = Anchor::parse(&anchor).unwrap();
        let own = make_intermediate(&root, &anchor, between.public_key(), "acme", life).unwrap();
        let issuer = Issuer::new(Box::new(between), vec![own]).unwrap();
        Self {
            root,
            anchor,
            issuer,
        }
    }

    fn issue(
        &self,
        key: &SecretKey,
        san: &str,
        issuer: &str,
        repository: &str,
    ) -> CertificateChain {
        let whom = Whom {
            san: san.into(),
            issuer: issuer.into(),
            claims: BTreeMap::from([(REPOSITORY.into(), repository.into())]),
        };
        let life = Life {
            from: NOW,
            until: NOW + 600,
        };
        self.issuer.issue(key.public_key(), &whom, life).unwrap()
    }
}

fn identity() -> Identity {
    Identity {
        issuer: TOKENS.into(),
        san: "https://forge.example/acme/tool/*".into(),
        claims: BTreeMap::from([(REPOSITORY.into(), "acme/tool".into())]),
    }
}

fn artifact(name: &str) -> Subject {
    Subject {
        name: name.into(),
        sha256: sha256(name.as_bytes()),
        size: Some(1),
        digests: BTreeMap::new(),
        download_location: None,
    }
}

fn at(envelope: &Envelope, time: u64) -> Leaf {
    let leaf = Leaf::Statement(Box::new(StatementLeaf {
        envelope: envelope.clone(),
        statement: Statement::parse(&envelope.payload).unwrap(),
        time,
    }));
    // What is judged is what is read from the log.
    let bytes = leaf.to_bytes().unwrap();
    let read = Leaf::parse(&bytes).unwrap();
    assert_eq!(read, leaf);
    assert_eq!(read.to_bytes().unwrap(), bytes);
    read
}

struct World {
    fold: Fold,
    root: SecretKey,
    ca: Ca,
    project: Project,
    id: Hash,
}

impl World {
    fn new() -> Self {
        let (root, ca) = (key(), Ca::new());
        let project = Project {
            name: "acme".into(),
            log: ORIGIN.into(),
            version: 1,
            previous: None,
            roots: vec![root.public_key().clone()],
            root_threshold: 1,
            release_keys: Vec::new(),
            release_threshold: 1,
            authorities: vec![Authority {
                anchor: ca.anchor.clone(),
                identities: vec![identity()],
            }],
            purl_prefixes: vec!["pkg:generic/acme".into()],
            contact: "mailto:a@example.com".into(),
            max_key_age: Some(1),
            policy: None,
        };
        let first = Envelope::sign(project.to_payload().unwrap(), &[&root]).unwrap();
        let mut world = Self {
            fold: Fold::new(ORIGIN),
            root,
            ca,
            project,
            id: first.pae_hash(),
        };
        world.say(&first, NOW).unwrap();
        world
    }

    fn say(&mut self, envelope: &Envelope, time: u64) -> Result<u64, &'static str> {
        let (leaf, index) = (at(envelope, time), self.fold.size());
        let checked = self.fold.check_logged(&leaf, None);
        let applied = self.fold.apply(&leaf);
        let checked = checked.map_err(|e| e.kind());
        assert_eq!(checked, applied.map_err(|e| e.kind()));
        checked.map(|()| index)
    }

    fn payload(&self, version: &str, restates: Option<&Hash>) -> Vec<u8> {
        let purl = format!("pkg:generic/acme/x@{version}");
        release_payload(&self.id, &purl, &[artifact("a")], restates).unwrap()
    }

    /// A release with a certificate of the project's identity.
    fn release(&self, version: &str, restates: Option<&Hash>) -> Envelope {
        let key = key();
        let chain = self.ca.issue(&key, SAN, TOKENS, "acme/tool");
        let envelope = Envelope::sign(self.payload(version, restates), &[&key]).unwrap();
        envelope.with_chain(chain).unwrap()
    }

    fn with(&self, chain: CertificateChain, key: &SecretKey) -> Envelope {
        let envelope = Envelope::sign(self.payload("9", None), &[key]).unwrap();
        envelope.with_chain(chain).unwrap()
    }

    fn revoke(&mut self, target: Target, since: Option<u64>) -> Result<u64, &'static str> {
        let revocation = Revocation {
            project: self.id,
            target,
            reason: "stolen".into(),
            compromised_since: since,
        };
        let payload = revocation.to_payload().unwrap();
        let said = Envelope::sign(payload, &[&self.root]).unwrap();
        self.say(&said, NOW)
    }
}

#[test]
fn a_certificate_of_the_project_s_identity_releases_and_no_other_does() {
    let mut w = World::new();
    let good = w.release("1", None);
    // The key is as old as its certificate: maxKeyAge is not for it.
    w.say(&good, NOW + 600).unwrap();

    let k = key();
    let others = [
        (SAN.replace("/tool/", "/other/"), TOKENS, "acme/tool"),
        (SAN.replace("/tool/", "/tool/../"), TOKENS, "acme/tool"),
        (SAN.to_owned(), "https://token.evil.example", "acme/tool"),
        (SAN.to_owned(), TOKENS, "acme/other"),
    ];
    for (san, issuer, repository) in others {
        let chain = w.ca.issue(&k, &san, issuer, repository);
        let said = w.with(chain, &k);
        assert_eq!(
            w.say(&said, NOW),
            Err("other-identity"),
            "{san} {issuer} {repository}"
        );
    }
    // Another authority, and one of the same names.
    let stranger = Ca::new();
    let said = w.with(stranger.issue(&k, SAN, TOKENS, "acme/tool"), &k);
    assert_eq!(w.say(&said, NOW), Err("certificate-other-issuer"));
    // Out of its time, by the leaf's.
    let said = w.with(w.ca.issue(&k, SAN, TOKENS, "acme/tool"), &k);
    for time in [NOW - 1, NOW + 601] {
        assert_eq!(w.say(&said, time), Err("certificate-time"));
    }
    // A key without a certificate, and the root's.
    let bare = Envelope::sign(w.payload("9", None), &[&k]).unwrap();
    assert_eq!(w.say(&bare, NOW), Err("unauthorised-key"));
    let by_root = Envelope::sign(w.payload("9", None), &[&w.root]).unwrap();
    assert_eq!(w.say(&by_root, NOW), Err("unauthorised-key"));
    // A certificate does not make a root a release key.
    let said = w.with(w.ca.issue(&w.root, SAN, TOKENS, "acme/tool"), &w.root);
    assert_eq!(w.say(&said, NOW), Err("key-changed-role"));
    // And the control: the same with the right certificate.
    let said = w.with(w.ca.issue(&k, SAN, TOKENS, "acme/tool"), &k);
    w.say(&said, NOW).unwrap();
}

#[test]
fn the_signature_must_be_by_the_certificate_s_key() {
    let mut w = World::new();
    let k = key();
    let mut said = w.with(w.ca.issue(&k, SAN, TOKENS, "acme/tool"), &k);
    let other = Envelope::sign(w.payload("8", None), &[&k]).unwrap();
    said.signatures[0].sig.clone_from(&other.signatures[0].sig);
    let refused = w.fold.check_logged(&at(&said, NOW), None).unwrap_err();
    assert_eq!(refused.kind(), "bad-signature");
    // The chain of another key is no chain of this envelope, nor is there a second signature.
    let chain = w.ca.issue(&key(), SAN, TOKENS, "acme/tool");
    let bare = Envelope::sign(w.payload("9", None), &[&k]).unwrap();
    assert_eq!(
        bare.with_chain(chain).unwrap_err().kind(),
        "chain-of-another-key"
    );
    let two = Envelope::sign(w.payload("9", None), &[&k, &w.root]).unwrap();
    let chain = w.ca.issue(&k, SAN, TOKENS, "acme/tool");
    assert_eq!(
        two.with_chain(chain).unwrap_err().kind(),
        "chain-of-another-key"
    );
    let good = w.release("1", None);
    w.say(&good, NOW).unwrap();
}

#[test]
fn a_project_of_keys_takes_no_certificate() {
    let mut w = World::new();
    let (root, release) = (key(), key());
    let project = Project {
        name: "keys".into(),
        roots: vec![root.public_key().clone()],
        release_keys: vec![release.public_key().clone()],
        authorities: Vec::new(),
        purl_prefixes: vec!["pkg:generic/keys".into()],
        ..w.project.clone()
    };
    let first = Envelope::sign(project.to_payload().unwrap(), &[&root, &release]).unwrap();
    w.say(&first, NOW).unwrap();
    let payload = release_payload(
        &first.pae_hash(),
        "pkg:generic/keys@1",
        &[artifact("a")],
        None,
    );
    let payload = payload.unwrap();
    let k = key();
    let chain = w.ca.issue(&k, SAN, TOKENS, "acme/tool");
    let said = Envelope::sign(payload.clone(), &[&k]).unwrap();
    let said = said.with_chain(chain).unwrap();
    assert_eq!(w.say(&said, NOW), Err("unwanted-certificate"));
    // Not even its own release key's.
    let chain = w.ca.issue(&release, SAN, TOKENS, "acme/tool");
    let bare = Envelope::sign(payload, &[&release]).unwrap();
    let said = bare.clone().with_chain(chain).unwrap();
    assert_eq!(w.say(&said, NOW), Err("key-changed-role"));
    w.say(&bare, NOW + 1).unwrap();
}

#[test]
fn only_releases_and_withdrawals_have_a_chain() {
    let w = World::new();
    let k = key();
    let chain = || w.ca.issue(&k, SAN, TOKENS, "acme/tool");
    let revocation = Revocation {
        project: w.id,
        target: Target::key(&k.public_key().id()),
        reason: "x".into(),
        compromised_since: None,
    };
    let note = KeyNote {
        project: w.id,
        key: k.public_key().id().0,
        custody: None,
        generated: None,
        owner: None,
        uses: Vec::new(),
    };
    let release = w.release("1", None);
    let payloads = [
        w.project.to_payload().unwrap(),
        revocation.to_payload().unwrap(),
        note.to_payload().unwrap(),
    ];
    for payload in payloads {
        let statement = Statement::parse(&payload).unwrap();
        let bare = Envelope::sign(payload, &[&k]).unwrap();
        let said = bare.clone().with_chain(chain()).unwrap();
        may_have_chain(&bare, &statement).unwrap();
        let refused = may_have_chain(&said, &statement).unwrap_err();
        assert_eq!(refused.kind(), "leaf-shape");
        let leaf = Leaf::Statement(Box::new(StatementLeaf {
            envelope: said,
            statement,
            time: NOW,
        }));
        let refused = Leaf::parse(&leaf.to_bytes().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), "leaf-shape");
    }
    let statement = Statement::parse(&release.payload).unwrap();
    may_have_chain(&release, &statement).unwrap();
}

#[test]
fn a_submission_holds_the_envelope_and_its_chain() {
    let w = World::new();
    let said = w.release("1", None);
    let body = said.to_submission().to_string();
    assert_eq!(Envelope::parse_submission(body.as_bytes()).unwrap(), said);
    // The chain is no part of the identity.
    let bare = Envelope::parse_submission(said.to_json().to_string().as_bytes()).unwrap();
    assert_eq!(bare.pae_hash(), said.pae_hash());
    assert_eq!(bare.chain, None);
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = said.to_submission();
        change(&mut value);
        let read = Envelope::parse_submission(value.to_string().as_bytes());
        read.map_or_else(|e| e.kind(), |_| "read")
    };
    assert_eq!(with(&|_| ()), "read");
    assert_eq!(
        with(&|v| v["chain"] = serde_json::json!([])),
        "certificate-count"
    );
    assert_eq!(
        with(&|v| v["chain"] = serde_json::json!("x")),
        "envelope-shape"
    );
    assert_eq!(
        with(&|v| v["chain"][0] = serde_json::json!("x")),
        "bad-base64"
    );
    assert_eq!(
        with(&|v| v["more"] = serde_json::json!(1)),
        "envelope-shape"
    );
    assert_eq!(
        with(&|v| drop(v.as_object_mut().unwrap().remove("chain"))),
        "envelope-shape"
    );
}

#[test]
fn a_revoked_identity_voids_from_its_window_on_and_is_never_listed_again() {
    let mut w = World::new();
    let before = w.release("1", None);
    let before = (before.pae_hash(), w.say(&before, NOW).unwrap());
    let after = w.release("2", None);
    let after = (after.pae_hash(), w.say(&after, NOW).unwrap());
    let target = Target::Identity(identity().hash().unwrap());
    assert_eq!(
        w.revoke(Target::Identity([7; 32]), None),
        Err("unknown-target")
    );
    w.revoke(target, Some(after.1)).unwrap();
    // Nothing is signed so any more.
    let late = w.release("3", None);
    assert_eq!(w.say(&late, NOW), Err("identity-revoked"));
    let project = w.fold.project(&w.id).unwrap();
    let counts = |index: u64| project.undone_by(&[target], index).is_none();
    assert!(counts(before.1) && !counts(after.1));
    // Listed again, alone or beside others, it is refused.
    let again = Project {
        version: 2,
        previous: Some(w.id),
        ..w.project.clone()
    };
    let said = Envelope::sign(again.to_payload().unwrap(), &[&w.root]).unwrap();
    assert_eq!(w.say(&said, NOW), Err("identity-revoked"));
    let mut next = again;
    next.authorities[0].identities[0].san = SAN.into();
    let said = Envelope::sign(next.to_payload().unwrap(), &[&w.root]).unwrap();
    w.say(&said, NOW).unwrap();
    // What was voided is stated again, what was not is not.
    let kept = w.release("1", Some(&before.0));
    assert_eq!(w.say(&kept, NOW), Err("not-restated"));
    let restated = w.release("2", Some(&after.0));
    w.say(&restated, NOW).unwrap();
}

#[test]
fn of_two_identities_that_match_either_s_revocation_is_enough() {
    let mut w = World::new();
    let narrow = Identity {
        san: SAN.into(),
        ..identity()
    };
    let mut next = Project {
        version: 2,
        previous: Some(w.id),
        ..w.project.clone()
    };
    next.authorities[0].identities.push(narrow.clone());
    let said = Envelope::sign(next.to_payload().unwrap(), &[&w.root]).unwrap();
    w.say(&said, NOW).unwrap();
    let release = w.release("1", None);
    w.say(&release, NOW).unwrap();
    w.revoke(Target::Identity(narrow.hash().unwrap()), None)
        .unwrap();
    let release = w.release("2", None);
    assert_eq!(w.say(&release, NOW), Err("identity-revoked"));
}

#[test]
fn a_revoked_authority_voids_what_any_certificate_below_it_signed() {
    // The anchor, and the intermediate, which no project lists.
    for anchor in [true, false] {
        let mut w = World::new();
        let release = w.release("1", None);
        let (pae, index) = (release.pae_hash(), w.say(&release, NOW).unwrap());
        let hash = if anchor {
            w.ca.anchor.key_hash()
        } else {
            w.ca.issuer.key().id().0
        };
        w.revoke(Target::Authority(hash), Some(index)).unwrap();
        let late = w.release("2", None);
        assert_eq!(w.say(&late, NOW), Err("authority-revoked"));
        let revoked = w.fold.state(&w.id).unwrap().revoked;
        assert_eq!(revoked[0].target, Target::Authority(hash).to_string());
        // Listing the same authority again is refused where it is the anchor.
        let again = Project {
            version: 2,
            previous: Some(w.id),
            ..w.project.clone()
        };
        let said = Envelope::sign(again.to_payload().unwrap(), &[&w.root]).unwrap();
        let want = if anchor {
            Err("authority-revoked")
        } else {
            Ok(4)
        };
        assert_eq!(w.say(&said, NOW), want);
        // A new intermediate of the root speaks again, unless it was the root.
        let (root, between) = (&w.ca.root, key());
        let life = Life {
            from: NOW - 10,
            until: NOW + 10_000,
        };
        let own = make_intermediate(root, &w.ca.anchor, between.public_key(), "new", life);
        w.ca.issuer = Issuer::new(Box::new(between), vec![own.unwrap()]).unwrap();
        let restated = w.release("1", Some(&pae));
        let want = if anchor {
            Err("authority-revoked")
        } else {
            Ok(5)
        };
        assert_eq!(w.say(&restated, NOW), want);
    }
}

#[test]
fn a_withdrawal_with_a_certificate_counts_until_its_identity_is_revoked() {
    let mut w = World::new();
    let release = w.release("1", None);
    w.say(&release, NOW).unwrap();
    let withdrawal = Withdrawal {
        project: w.id,
        what: Withdrawn::Release(release.pae_hash()),
        reason: "crashes".into(),
        successor: None,
    };
    let k = key();
    let payload = withdrawal.to_payload(&[artifact("a")]).unwrap();
    let said = Envelope::sign(payload, &[&k]).unwrap();
    let said = said
        .with_chain(w.ca.issue(&k, SAN, TOKENS, "acme/tool"))
        .unwrap();
    let index = w.say(&said, NOW).unwrap();
    let withdrawn = |w: &World| w.fold.state(&w.id).unwrap().withdrawn;
    assert_ne!(withdrawn(&w), [0; 32]);
    w.revoke(Target::Identity(identity().hash().unwrap()), Some(index))
        .unwrap();
    assert_eq!(withdrawn(&w), [0; 32]);
}

#[test]
fn a_logged_certificate_is_about_the_projects_that_it_may_speak_for() {
    let mut w = World::new();
    let other = Project {
        name: "other".into(),
        purl_prefixes: vec!["pkg:generic/other".into()],
        authorities: vec![Authority {
            anchor: w.ca.anchor.clone(),
            identities: vec![Identity {
                san: "https://forge.example/acme/other/*".into(),
                ..identity()
            }],
        }],
        ..w.project.clone()
    };
    let first = Envelope::sign(other.to_payload().unwrap(), &[&w.root]).unwrap();
    w.say(&first, NOW).unwrap();
    let ca = &w.ca;
    let own = ca.issue(&key(), SAN, TOKENS, "acme/tool");
    let others = ca.issue(&key(), &SAN.replace("tool", "other"), TOKENS, "acme/tool");
    let strangers = Ca::new().issue(&key(), SAN, TOKENS, "acme/tool");
    let nobodys = ca.issue(&key(), &SAN.replace("tool", "third"), TOKENS, "acme/tool");
    let mut log = |chain: CertificateChain, time: u64| {
        let leaf = Leaf::Certificate(Box::new(CertificateLeaf { chain, time }));
        let before = w.fold.state(&w.id).unwrap().leaves.size;
        let leaf = Leaf::parse(&leaf.to_bytes().unwrap()).unwrap();
        w.fold.check_logged(&leaf, None).unwrap();
        w.fold.apply(&leaf).unwrap();
        let after = w.fold.state(&w.id).unwrap().leaves.size;
        (w.fold.about(&leaf), after - before)
    };
    assert_eq!(log(own.clone(), NOW), (vec![w.id], 1));
    assert_eq!(log(others, NOW), (vec![first.pae_hash()], 0));
    assert_eq!(log(nobodys, NOW), (vec![], 0));
    assert_eq!(log(strangers, NOW), (vec![], 0));
    // Out of its time it speaks for nobody.
    assert_eq!(log(own, NOW + 601), (vec![], 0));
}

#[test]
fn a_project_has_keys_or_authorities_and_they_are_sets() {
    let w = World::new();
    let predicate = w.project.to_predicate().unwrap();
    let read = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut p = predicate.clone();
        change(&mut p);
        let digest = ledger::hex32(&sha256(&ledger::json::to_canonical(&p).unwrap()));
        let statement = serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:countersign:project:v1",
            "predicate": p, "subject": [{ "name": "acme", "digest": { "sha256": digest } }],
        });
        let read = Statement::parse(statement.to_string().as_bytes());
        read.map_or_else(|e| e.kind(), |_| "read")
    };
    use serde_json::json;
    assert_eq!(read(&|_| ()), "read");
    assert_eq!(
        read(&|p| p["releaseThreshold"] = json!(1)),
        "statement-shape"
    );
    assert_eq!(read(&|p| p["releaseKeys"] = json!([])), "statement-shape");
    assert_eq!(read(&|p| p["authorities"] = json!([])), "statement-shape");
    assert_eq!(
        read(&|p| p["authorities"][0]["identities"] = json!([])),
        "statement-shape"
    );
    assert_eq!(
        read(&|p| p["authorities"][0]["more"] = json!(1)),
        "statement-shape"
    );
    assert_eq!(
        read(&|p| p["authorities"][0]["certificate"] = json!("AA==")),
        "bad-key"
    );
    assert_eq!(
        read(&|p| p["authorities"][0]["identities"][0]["san"] = json!("https://*")),
        "statement-shape"
    );
    let twice = |p: &mut serde_json::Value| {
        let one = p["authorities"][0].clone();
        p["authorities"].as_array_mut().unwrap().push(one);
    };
    assert_eq!(read(&twice), "not-a-sorted-set");
    // One key under two lists of identities could not be revoked apart.
    let same_key = |p: &mut serde_json::Value| {
        let mut one = p["authorities"][0].clone();
        one["identities"][0]["san"] = json!("https://zzz.example/x");
        p["authorities"].as_array_mut().unwrap().push(one);
    };
    assert_eq!(read(&same_key), "statement-shape");
    let Body::Project(p) = Statement::parse(&w.project.to_payload().unwrap())
        .unwrap()
        .body
    else {
        panic!()
    };
    assert_eq!(p, w.project);
}

/// Whoever carries a statement of the roots to the log could add a chain to it: the signature would
/// then stand on what they chose, and fall with it.
#[test]
fn a_root_s_statement_has_no_chain_whoever_adds_one() {
    let mut w = World::new();
    let release = w.release("1", None);
    w.say(&release, NOW).unwrap();
    let withdrawal = |what: Withdrawn| Withdrawal {
        project: w.id,
        what,
        reason: "crashes".into(),
        successor: None,
    };
    let of_release = withdrawal(Withdrawn::Release(release.pae_hash()));
    let of_release = of_release.to_payload(&[artifact("a")]).unwrap();
    let of_prefix = withdrawal(Withdrawn::Prefix("pkg:generic/acme".into()));
    let of_prefix = of_prefix.to_payload(&[]).unwrap();
    for payload in [of_release, of_prefix] {
        let bare = Envelope::sign(payload, &[&w.root]).unwrap();
        // The project's own authority, and one that anybody makes.
        for ca in [&w.ca, &Ca::new()] {
            let chain = ca.issue(&w.root, SAN, TOKENS, "acme/tool");
            let said = bare.clone().with_chain(chain).unwrap();
            let refused = w.fold.check_logged(&at(&said, NOW), None).unwrap_err();
            assert_eq!(refused.kind(), "unwanted-certificate");
        }
        w.say(&bare, NOW).unwrap();
    }
    // What stands is not undone by whatever is revoked of certificates.
    let before = w.fold.state(&w.id).unwrap().withdrawn;
    w.revoke(Target::Authority([9; 32]), Some(0)).unwrap();
    assert_eq!(w.fold.state(&w.id).unwrap().withdrawn, before);
}

#[test]
fn what_a_key_signed_with_a_certificate_stands_when_it_is_listed_later() {
    let mut w = World::new();
    let k = key();
    let said = w.with(w.ca.issue(&k, SAN, TOKENS, "acme/tool"), &k);
    let index = w.say(&said, NOW).unwrap();
    let next = Project {
        version: 2,
        previous: Some(w.id),
        authorities: Vec::new(),
        release_keys: vec![k.public_key().clone()],
        max_key_age: None,
        ..w.project.clone()
    };
    let next = Envelope::sign(next.to_payload().unwrap(), &[&w.root, &k]).unwrap();
    w.say(&next, NOW).unwrap();
    // As a verifier asks, who knows all versions.
    let Body::Release(r) = Statement::parse(&said.payload).unwrap().body else {
        panic!()
    };
    let chain = &w.fold.project(&w.id).unwrap().chain;
    let kind = |index| {
        let judged = chain.check_release(&said, &r, (index, NOW), &|_| false);
        judged.map_err(|e| e.kind())
    };
    assert_eq!(kind(index), Ok(()));
    assert_eq!(kind(w.fold.size()), Err("key-changed-role"));
    assert_eq!(
        chain.certified_until(index, &said, NOW),
        Ok(Some(NOW + 600))
    );
}

#[test]
fn a_certificate_is_about_a_project_that_has_revoked_its_identity_too() {
    let mut w = World::new();
    w.revoke(Target::Identity(identity().hash().unwrap()), None)
        .unwrap();
    let chain = w.ca.issue(&key(), SAN, TOKENS, "acme/tool");
    let leaf = Leaf::Certificate(Box::new(CertificateLeaf { chain, time: NOW }));
    w.fold.apply(&leaf).unwrap();
    assert_eq!(w.fold.about(&leaf), [w.id]);
}
