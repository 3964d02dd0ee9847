//! Who may say what: every refusal of the fold, each by a statement that differs from an
//! accepted one in that single point.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use keys::{SecretKey, Signer};
use ledger::envelope::Envelope;
use ledger::fold::Fold;
use ledger::leaf::{Action, Leaf, OperationLeaf, StatementLeaf};
use ledger::statement::{Project, Statement, Subject, release_payload};
use ledger::{Hash, sha256};

const ORIGIN: &str = "log.example";

struct World {
    fold: Fold,
    root: SecretKey,
    release: SecretKey,
    id: Hash,
}

fn project(name: &str, prefix: &str, root: &SecretKey, release: &SecretKey) -> Project {
    Project {
        name: name.into(),
        log: ORIGIN.into(),
        version: 1,
        previous: None,
        roots: vec![root.public_key().clone()],
        root_threshold: 1,
        release_keys: vec![release.public_key().clone()],
        release_threshold: 1,
        authorities: Vec::new(),
        purl_prefixes: vec![prefix.into()],
        contact: "mailto:a@example.com".into(),
        max_key_age: None,
        policy: None,
    }
}

fn leaf(envelope: &Envelope, time: u64) -> Leaf {
    let statement = Statement::parse(&envelope.payload).unwrap();
    Leaf::Statement(Box::new(StatementLeaf {
        envelope: envelope.clone(),
        statement,
        time,
    }))
}

fn try_check(fold: &Fold, envelope: &Envelope, time: u64) -> Result<(), &'static str> {
    let statement = Statement::parse(&envelope.payload).map_err(|e| e.kind())?;
    fold.check(envelope, &statement, time, None)
        .map_err(|e| e.kind())
}

fn world() -> World {
    let (root, release) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let payload = project("acme/x", "pkg:generic/acme/x", &root, &release)
        .to_payload()
        .unwrap();
    let envelope = Envelope::sign(payload, &[&root, &release]).unwrap();
    let mut fold = Fold::new(ORIGIN);
    assert_eq!(try_check(&fold, &envelope, 100), Ok(()));
    fold.apply(&leaf(&envelope, 100)).unwrap();
    fold.apply(&fold.next_head(100)).unwrap();
    World {
        fold,
        root,
        release,
        id: envelope.pae_hash(),
    }
}

fn subjects(text: &str) -> Vec<Subject> {
    vec![Subject {
        name: "x.sh".into(),
        sha256: sha256(text.as_bytes()),
        size: Some(text.len() as u64),
        digests: Default::default(),
        download_location: None,
    }]
}

impl World {
    fn payload(&self, purl: &str) -> Vec<u8> {
        release_payload(&self.id, purl, &subjects("a"), None).unwrap()
    }
    fn released(&self, purl: &str, by: &dyn Signer) -> Result<(), &'static str> {
        try_check(
            &self.fold,
            &Envelope::sign(self.payload(purl), &[by]).unwrap(),
            200,
        )
    }
}

#[test]
fn releases_are_bound_to_keys_prefixes_and_purls() {
    let mut w = world();
    let good = "pkg:generic/acme/x@1.0";
    assert_eq!(w.released(good, &w.release), Ok(()));
    let stranger = SecretKey::generate().unwrap();
    assert_eq!(w.released(good, &stranger), Err("unauthorised-key"));
    assert_eq!(
        w.released(good, &w.root),
        Err("unauthorised-key"),
        "roots do not publish"
    );
    assert_eq!(
        w.released("pkg:generic/acme/xy@1.0", &w.release),
        Err("purl-outside-prefixes")
    );

    // A surplus signature by a key without a say is refused, not ignored.
    let both = Envelope::sign(w.payload(good), &[&w.release, &stranger]).unwrap();
    assert_eq!(try_check(&w.fold, &both, 200), Err("unauthorised-key"));

    // A purl is released once: the same purl with other bytes is refused afterwards.
    let first = Envelope::sign(w.payload(good), &[&w.release]).unwrap();
    w.fold.apply(&leaf(&first, 200)).unwrap();
    let payload = release_payload(&w.id, good, &subjects("b"), None).unwrap();
    let second = Envelope::sign(payload, &[&w.release]).unwrap();
    assert_eq!(
        try_check(&w.fold, &second, 200),
        Err("purl-released-before")
    );
    let size = w.fold.size();
    let map = w.fold.map_root();
    assert!(w.fold.apply(&leaf(&second, 201)).is_err());
    assert_eq!(w.fold.size(), size + 1, "an ignored leaf is a leaf");
    assert_eq!(w.fold.map_root(), map, "and changes nothing");
}

#[test]
fn a_signature_that_does_not_verify_is_refused_whatever_its_shape() {
    let w = world();
    let good = Envelope::sign(w.payload("pkg:generic/acme/x@1.0"), &[&w.release]).unwrap();
    let mut flipped = good.clone();
    let last = flipped.signatures[0].sig.len() - 1;
    flipped.signatures[0].sig[last] ^= 1;
    assert_eq!(try_check(&w.fold, &flipped, 200), Err("bad-signature"));
    let mut trailing = good.clone();
    trailing.signatures[0].sig.push(0);
    assert_eq!(try_check(&w.fold, &trailing, 200), Err("bad-signature"));
    // The signature of another statement.
    let other = Envelope::sign(w.payload("pkg:generic/acme/x@2.0"), &[&w.release]).unwrap();
    let mut moved = good.clone();
    moved.signatures = other.signatures;
    assert_eq!(try_check(&w.fold, &moved, 200), Err("bad-signature"));
    // As a leaf, for whoever replays a history: the rules alone pass it, the whole question does not.
    for bad in [&flipped, &moved] {
        assert_eq!(w.fold.decide(&leaf(bad, 200), None), Ok(()));
        let said = w.fold.check_logged(&leaf(bad, 200), None);
        assert_eq!(said.map_err(|e| e.kind()), Err("bad-signature"));
    }
    assert_eq!(w.fold.check_logged(&leaf(&good, 200), None), Ok(()));
}

#[test]
fn a_project_needs_its_keys_its_origin_a_free_name_and_free_prefixes() {
    let w = world();
    let (root, release) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let say = |p: &Project, by: &[&dyn Signer]| {
        try_check(
            &w.fold,
            &Envelope::sign(p.to_payload().unwrap(), by).unwrap(),
            200,
        )
    };
    let good = project("other", "pkg:generic/other", &root, &release);
    assert_eq!(say(&good, &[&root, &release]), Ok(()));
    assert_eq!(
        say(&good, &[&root]),
        Err("missing-signature"),
        "proof of possession of every key"
    );
    assert_eq!(
        say(
            &Project {
                log: "elsewhere.example".into(),
                ..good.clone()
            },
            &[&root, &release]
        ),
        Err("other-origin")
    );
    assert_eq!(
        say(
            &Project {
                name: "acme/x".into(),
                ..good.clone()
            },
            &[&root, &release]
        ),
        Err("name-taken")
    );
    for prefix in [
        "pkg:generic/acme",
        "pkg:generic/acme/",
        "pkg:generic/acme/x",
        "pkg:generic/acme/x/y",
        "pkg:generic/acme/x@1",
    ] {
        let p = Project {
            purl_prefixes: vec![prefix.into()],
            ..good.clone()
        };
        assert_eq!(
            say(&p, &[&root, &release]),
            Err("prefix-overlap"),
            "{prefix}"
        );
    }
    for prefix in [
        "pkg:generic/acme/xy",
        "pkg:generic/acme/w",
        "pkg:generic/acm",
    ] {
        let p = Project {
            purl_prefixes: vec![prefix.into()],
            ..good.clone()
        };
        assert_eq!(say(&p, &[&root, &release]), Ok(()), "{prefix}");
    }
}

#[test]
fn release_names_and_digests_are_checked() {
    let id = [1; 32];
    let purl = "pkg:generic/a@1";
    let with = |name: &str| {
        vec![Subject {
            name: name.into(),
            ..subjects("a").remove(0)
        }]
    };
    for bad in ["a/b", "..", "a\u{1}", "", "a\\b", &"x".repeat(256)] {
        assert_eq!(
            release_payload(&id, purl, &with(bad), None)
                .unwrap_err()
                .kind(),
            "bad-artifact-name",
            "{bad:?}"
        );
    }
    let twice = [subjects("a"), subjects("b")].concat();
    assert_eq!(
        release_payload(&id, purl, &twice, None).unwrap_err().kind(),
        "repeated-artifact"
    );
    assert_eq!(
        release_payload(&id, "pkg:generic/a", &subjects("a"), None)
            .unwrap_err()
            .kind(),
        "bad-purl"
    );
    let text =
        String::from_utf8(release_payload(&id, purl, &subjects("a"), None).unwrap()).unwrap();
    let digest = hex::encode(subjects("a")[0].sha256);
    for bad in [
        &digest[..62],
        &digest.to_uppercase(),
        &format!("{digest}00"),
    ] {
        let bad = text.replace(&digest, bad);
        assert_eq!(
            Statement::parse(bad.as_bytes()).unwrap_err().kind(),
            "bad-digest"
        );
    }
    // in-toto asks that unknown predicate fields be ignored in a release.
    let more = text.replacen("\"predicate\":{", "\"predicate\":{\"aNewField\":null,", 1);
    assert!(Statement::parse(more.as_bytes()).is_ok());
}

#[test]
fn a_key_older_than_the_project_allows_is_refused() {
    let (root, release) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let p = Project {
        max_key_age: Some(50),
        ..project("a", "pkg:generic/a", &root, &release)
    };
    let envelope = Envelope::sign(p.to_payload().unwrap(), &[&root, &release]).unwrap();
    let mut fold = Fold::new(ORIGIN);
    fold.apply(&leaf(&envelope, 100)).unwrap();
    let payload = release_payload(
        &envelope.pae_hash(),
        "pkg:generic/a@1",
        &subjects("a"),
        None,
    )
    .unwrap();
    let r = Envelope::sign(payload, &[&release]).unwrap();
    assert_eq!(try_check(&fold, &r, 150), Ok(()));
    assert_eq!(try_check(&fold, &r, 151), Err("key-too-old"));
}

#[test]
fn operations_change_admission_and_the_project_s_leaves_only() {
    let mut w = world();
    let op = |action, project| {
        Leaf::Operation(OperationLeaf {
            action,
            by: "operator".into(),
            project,
            reason: None,
            time: 300,
        })
    };
    let before = w.fold.state(&w.id).unwrap();
    w.fold.apply(&op(Action::Frozen, w.id)).unwrap();
    assert_eq!(
        w.released("pkg:generic/acme/x@1.0", &w.release),
        Err("project-frozen")
    );
    // The verdict of a leaf that stands all the same is not the operator's to change.
    let r = Envelope::sign(w.payload("pkg:generic/acme/x@1.0"), &[&w.release]).unwrap();
    w.fold.check_logged(&leaf(&r, 300), None).unwrap();
    w.fold.apply(&leaf(&r, 300)).unwrap();
    w.fold.apply(&op(Action::Thawed, w.id)).unwrap();
    let after = w.fold.state(&w.id).unwrap();
    assert_eq!(after.leaves.size, before.leaves.size + 3);
    assert!(w.fold.apply(&op(Action::Admitted, [9; 32])).is_err());
    let map = w.fold.map_root();
    assert!(w.fold.apply(&op(Action::Refused, [9; 32])).is_ok());
    assert_eq!(w.fold.map_root(), map, "a refused project enters no map");
}

#[test]
fn a_wrong_head_is_named() {
    let mut w = world();
    let Leaf::Head(good) = w.fold.next_head(500) else {
        panic!()
    };
    let mut wrong = good.clone();
    wrong.entries += 1;
    assert_eq!(
        w.fold.clone().apply(&Leaf::Head(wrong)).unwrap_err().kind(),
        "wrong-head"
    );
    let mut wrong = good.clone();
    wrong.map[0] ^= 1;
    assert_eq!(
        w.fold.clone().apply(&Leaf::Head(wrong)).unwrap_err().kind(),
        "wrong-head"
    );
    w.fold.apply(&Leaf::Head(good)).unwrap();
}

#[test]
fn a_leaf_over_the_limit_is_a_named_error() {
    let many: Vec<Subject> = (0..400)
        .map(|i| Subject {
            name: format!("artifact-with-a-long-name-{i:04}.tar.gz"),
            ..subjects("a").remove(0)
        })
        .collect();
    let payload = release_payload(&[1; 32], "pkg:generic/a@1", &many, None).unwrap();
    let key = SecretKey::generate().unwrap();
    let envelope = Envelope::sign(payload, &[&key]).unwrap();
    let error = leaf(&envelope, 1).to_bytes().unwrap_err();
    assert_eq!(error.kind(), "leaf-too-large");
    assert!(error.to_string().contains("270"), "{error}");
}

/// Purls as an index keeps them; `None` where it cannot be read.
#[derive(Clone, Default)]
struct Index(std::sync::Arc<std::sync::Mutex<Option<std::collections::HashMap<Hash, u64>>>>);

impl ledger::released::Released for Index {
    fn released(&self, purl: &Hash, below: u64) -> Result<Option<u64>, String> {
        let map = self.0.lock().unwrap();
        let map = map.as_ref().ok_or("the disk does not answer")?;
        Ok(map.get(purl).copied().filter(|index| *index < below))
    }
    fn stated(&self, _: &Hash) -> Result<Option<u64>, String> {
        Ok(None)
    }
}

#[test]
fn a_fold_that_looks_releases_up_says_the_same_and_nothing_when_it_cannot() {
    let w = world();
    let index = Index::default();
    *index.0.lock().unwrap() = Some(Default::default());
    let purl = "pkg:generic/acme/x@1";
    let sign = |text: &str| {
        let payload = release_payload(&w.id, purl, &subjects(text), None).unwrap();
        Envelope::sign(payload, &[&w.release]).unwrap()
    };
    let (first, again) = (leaf(&sign("a"), 200), leaf(&sign("b"), 201));
    let (mut whole, mut lean) = (
        w.fold.clone(),
        w.fold
            .clone()
            .looking_up(std::sync::Arc::new(index.clone())),
    );
    let mut follower = lean.clone();
    for fold in [&mut whole, &mut lean] {
        fold.apply(&first).unwrap();
    }
    follower.follow(&first, true);
    // What the fold forgets, the index has.
    let at = lean.size() - 1;
    let key = sha256(purl.as_bytes());
    index.0.lock().unwrap().as_mut().unwrap().insert(key, at);
    lean.forget_released(lean.size());
    follower.forget_released(follower.size());
    for fold in [&mut whole, &mut lean] {
        assert_eq!(
            fold.apply(&again).unwrap_err().kind(),
            "purl-released-before"
        );
    }
    follower.follow(&again, false);
    assert_eq!(whole.digest(), lean.digest());
    assert_eq!(whole.digest(), follower.digest());
    // An index that cannot be read: no verdict, and nothing has moved.
    *index.0.lock().unwrap() = None;
    let before = lean.digest();
    assert_eq!(lean.apply(&again).unwrap_err().kind(), "look-up-failed");
    assert_eq!(lean.digest(), before);
}
