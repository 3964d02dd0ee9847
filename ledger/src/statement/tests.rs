#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::{from_hex32, hex32, sha256};
use keys::{PublicKey, SecretKey, Signer as _};
use proptest::prelude::*;
use std::sync::LazyLock;

static KEYS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| {
    let key = |_| SecretKey::generate().unwrap().public_key().clone();
    let mut keys: Vec<PublicKey> = (0..6).map(key).collect();
    keys.sort_by_key(|k| crate::b64(k.spki_der()));
    keys
});

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>()
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äöü…]{1,40}"
}

fn project() -> impl Strategy<Value = Project> {
    let keys = (1usize..4, 1usize..4, any::<prop::sample::Index>());
    let rest = (
        hash(),
        text(),
        any::<Option<u32>>(),
        any::<Option<[u8; 32]>>(),
    );
    (1u64..4, keys, rest).prop_map(|(version, (roots, release, pick), rest)| {
        let (previous, contact, age, policy) = rest;
        Project {
            name: format!("acme/{version}"),
            log: "log.example".into(),
            version,
            previous: (version > 1).then_some(previous),
            roots: KEYS[..roots].to_vec(),
            root_threshold: pick.index(roots) as u64 + 1,
            release_keys: KEYS[roots..roots + release.min(6 - roots)].to_vec(),
            release_threshold: pick.index(release) as u64 + 1,
            authorities: Vec::new(),
            purl_prefixes: vec!["pkg:generic/acme/a".into(), "pkg:generic/acme/b".into()],
            contact,
            max_key_age: age.map(u64::from),
            policy: policy.filter(|_| version > 1),
        }
    })
}

fn subjects(sizes: bool) -> impl Strategy<Value = Vec<Subject>> {
    prop::collection::btree_map("[a-z]{1,8}", (hash(), 0u64..1 << 53), 1..4).prop_map(
        move |artifacts| {
            let one = |(name, (sha256, size)): (String, (Hash, u64))| Subject {
                name,
                sha256,
                size: sizes.then_some(size),
                digests: BTreeMap::new(),
                download_location: None,
            };
            artifacts.into_iter().map(one).collect()
        },
    )
}

fn target() -> impl Strategy<Value = Target> {
    (0..3, hash()).prop_map(|(kind, hash)| match kind {
        0 => Target::Key(hash),
        1 => Target::Identity(hash),
        _ => Target::Authority(hash),
    })
}

fn note() -> impl Strategy<Value = KeyNote> {
    let generated = (
        prop::option::of(text()),
        any::<Option<u32>>(),
        prop::option::of(text()),
    );
    let generated = generated.prop_map(|(by, time, place)| Generated {
        by,
        time: time.map(u64::from),
        place,
    });
    let generated =
        prop::option::of(generated.prop_filter("says something", |g| *g != Generated::default()));
    let texts = (prop::option::of(text()), prop::option::of(text()));
    let uses = prop::collection::btree_set(text(), 0..4);
    (hash(), hash(), texts, generated, uses).prop_map(
        |(project, key, (custody, owner), generated, uses)| KeyNote {
            project,
            key,
            custody,
            generated,
            owner,
            uses: uses.into_iter().collect(),
        },
    )
}

/// A statement of each kind with the payload that says it.
fn built() -> impl Strategy<Value = (Body, Vec<u8>)> {
    let project = project().prop_map(|p| {
        let payload = p.to_payload().unwrap();
        (Body::Project(p), payload)
    });
    let release = (hash(), prop::option::of(hash()), subjects(true), 0u8..9);
    let release = release.prop_map(|(package_id, restates, subjects, version)| {
        let release = Release {
            package_id,
            purl: format!("pkg:generic/acme/a@{version}"),
            restates,
        };
        let payload = release_payload(
            &package_id,
            &release.purl,
            &subjects,
            release.restates.as_ref(),
        );
        let payload = payload.unwrap();
        (Body::Release(release), payload)
    });
    let revocation = (hash(), target(), text(), prop::option::of(0u64..1 << 53));
    let revocation = revocation.prop_map(|(project, target, reason, compromised_since)| {
        let revocation = Revocation {
            project,
            target,
            reason,
            compromised_since,
        };
        let payload = revocation.to_payload().unwrap();
        (Body::Revocation(revocation), payload)
    });
    let texts = (text(), prop::option::of(text()));
    let withdrawal = (hash(), prop::option::of(hash()), subjects(false), texts);
    let withdrawal = withdrawal.prop_map(|(project, release, subjects, (reason, successor))| {
        let what = match release {
            Some(release) => Withdrawn::Release(release),
            None => Withdrawn::Prefix("pkg:generic/acme/".into()),
        };
        let artifacts = if release.is_some() { subjects } else { vec![] };
        let withdrawal = Withdrawal {
            project,
            what,
            reason,
            successor,
        };
        let payload = withdrawal.to_payload(&artifacts).unwrap();
        (Body::Withdrawal(withdrawal), payload)
    });
    let note = note().prop_map(|note| {
        let payload = note.to_payload().unwrap();
        (Body::KeyNote(note), payload)
    });
    prop_oneof![project, release, revocation, withdrawal, note]
}

/// Every place in a value where another could stand, with what stands there.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            into.push(at.to_owned());
            for (name, v) in fields {
                places(v, &format!("{at}/{name}"), into);
            }
        }
        Value::Array(list) => {
            for (i, v) in list.iter().enumerate() {
                places(v, &format!("{at}/{i}"), into);
            }
        }
        _ => into.push(at.to_owned()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_built_is_read_back((body, payload) in built()) {
        let statement = Statement::parse(&payload).unwrap();
        prop_assert_eq!(&statement.body, &body);
        // What is built is in the one form that a builder has.
        let value = json::parse(&payload).unwrap();
        prop_assert_eq!(json::to_canonical(&value).unwrap(), payload);
    }

    /// In our own statements another type, a null, an unknown member or a digit less is refused,
    /// wherever it stands.
    #[test]
    fn a_member_that_is_not_as_it_must_be_is_refused(
        (body, payload) in built(),
        pick in any::<prop::sample::Index>(),
        how in 0usize..6,
    ) {
        let mut value = json::parse(&payload).unwrap();
        let mut all = Vec::new();
        places(&value, "", &mut all);
        let place = pick.get(&all).clone();
        let tolerant = matches!(body, Body::Release(_)) || place.starts_with("/subject");
        let there = value.pointer_mut(&place).unwrap();
        match (there, how) {
            (Value::Object(fields), _) if !tolerant => {
                fields.insert("surplus".into(), Value::from(1));
            }
            (Value::Object(_), _) => return Ok(()),
            (there, 0) => *there = Value::Null,
            (there, 1) => *there = serde_json::json!({}),
            (there, 2) => *there = serde_json::json!([[]]),
            (there, 3) => *there = Value::from(-1),
            (Value::String(s), 4) => *s = "\u{1}".into(),
            (Value::String(s), _) => s.clear(),
            (there, _) => *there = Value::from("1"),
        }
        // A restated release and a location may be absent, never of another type; other digests
        // of an artifact and unknown members of in-toto's are not ours.
        prop_assert!(Statement::parse(&serde_json::to_vec(&value).unwrap()).is_err(), "{place} {how}");
    }

    /// A hash, a number or a text that differs is another statement, or none.
    #[test]
    fn no_member_is_read_past(
        (_, payload) in built(),
        pick in any::<prop::sample::Index>(),
    ) {
        let before = Statement::parse(&payload).unwrap();
        let mut value = json::parse(&payload).unwrap();
        let mut all = Vec::new();
        places(&value, "", &mut all);
        let place = pick.get(&all).clone();
        let there = value.pointer_mut(&place).unwrap();
        match there {
            Value::String(s) if from_hex32(s).is_some() => {
                *s = hex32(&sha256(s.as_bytes()));
            }
            Value::String(s) => s.push('x'),
            Value::Number(n) => *there = (n.as_u64().unwrap() ^ 1).into(),
            _ => return Ok(()),
        }
        if let Ok(after) = Statement::parse(&serde_json::to_vec(&value).unwrap()) {
            prop_assert_ne!(after, before, "{}", place);
        }
    }

    #[test]
    fn a_target_has_one_spelling(target in target()) {
        let text = target.to_string();
        prop_assert_eq!(Target::parse(&text), Some(target));
        prop_assert_eq!(Target::parse(&text.to_uppercase()), None);
        prop_assert_eq!(Target::parse(&text[1..]), None);
        prop_assert_eq!(Target::parse(&text[..text.len() - 1]), None);
        let (more, space) = (text.clone() + "0", text + " ");
        prop_assert_eq!(Target::parse(&more), None);
        prop_assert_eq!(Target::parse(&space), None);
    }
}

fn kind(payload: Result<Vec<u8>, StatementError>) -> &'static str {
    payload.unwrap_err().kind()
}

fn one() -> Project {
    Project {
        name: "acme".into(),
        log: "log.example".into(),
        version: 1,
        previous: None,
        roots: KEYS[..2].to_vec(),
        root_threshold: 2,
        release_keys: KEYS[2..4].to_vec(),
        release_threshold: 2,
        authorities: Vec::new(),
        purl_prefixes: vec!["pkg:generic/acme".into()],
        contact: "mailto:a@example.com".into(),
        max_key_age: None,
        policy: None,
    }
}

#[test]
fn versions_have_what_they_must_and_not_what_they_must_not() {
    let later = Project {
        version: 2,
        previous: Some([1; 32]),
        ..one()
    };
    assert!(one().to_payload().is_ok());
    assert!(later.to_payload().is_ok());
    let shape = "statement-shape";
    for (project, want) in [
        (
            Project {
                version: 0,
                ..one()
            },
            shape,
        ),
        (
            Project {
                previous: Some([1; 32]),
                ..one()
            },
            shape,
        ),
        (
            Project {
                policy: Some([1; 32]),
                ..one()
            },
            shape,
        ),
        (
            Project {
                previous: None,
                ..later.clone()
            },
            shape,
        ),
        (
            Project {
                root_threshold: 0,
                ..one()
            },
            "bad-threshold",
        ),
        (
            Project {
                root_threshold: 3,
                ..one()
            },
            "bad-threshold",
        ),
        (
            Project {
                release_threshold: 0,
                ..later.clone()
            },
            "bad-threshold",
        ),
        (
            Project {
                release_threshold: 3,
                ..later.clone()
            },
            "bad-threshold",
        ),
        (
            Project {
                roots: vec![],
                ..later.clone()
            },
            shape,
        ),
        (
            Project {
                release_keys: vec![KEYS[1].clone()],
                release_threshold: 1,
                ..later
            },
            "key-in-two-roles",
        ),
    ] {
        assert_eq!(kind(project.to_payload()), want, "{project:?}");
    }
}

#[test]
fn a_payload_that_repeats_or_mixes_is_refused() {
    let revocation = Revocation {
        project: [1; 32],
        target: Target::Key([2; 32]),
        reason: "lost".into(),
        compromised_since: Some(3),
    };
    let text = String::from_utf8(revocation.to_payload().unwrap()).unwrap();
    let hex = hex32(&[2; 32]);
    for (from, to, want) in [
        (
            "\"compromisedSince\":3",
            "\"compromisedSince\":3.5",
            "statement-shape",
        ),
        (
            "\"compromisedSince\":3",
            "\"compromisedSince\":9007199254740992",
            "not-strict-json",
        ),
        (
            "\"compromisedSince\":3",
            "\"compromisedSince\":3,\"compromisedSince\":4",
            "not-strict-json",
        ),
        ("key:0", "keys:0", "statement-shape"),
        (":v1\"", ":v2\"", "unknown-predicate-type"),
        ("Statement/v1", "Statement/v0.1", "statement-shape"),
        ("}]}", "},{}]}", "statement-shape"),
    ] {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text, "{from}");
        assert_eq!(
            kind(Statement::parse(other.as_bytes()).map(|_| vec![])),
            want,
            "{to}"
        );
    }
    // The subject is the target.
    let at = text.rfind(&hex).unwrap();
    let other = format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..]);
    assert_eq!(
        kind(Statement::parse(other.as_bytes()).map(|_| vec![])),
        "subject-digest"
    );
    let artifact = |name: &str, n: u8| Subject {
        name: name.into(),
        sha256: [n; 32],
        size: None,
        digests: BTreeMap::new(),
        download_location: None,
    };
    let withdrawal = Withdrawal {
        project: [1; 32],
        what: Withdrawn::Release([4; 32]),
        reason: "crashes".into(),
        successor: None,
    };
    assert_eq!(kind(withdrawal.to_payload(&[])), "statement-shape");
    let twice = withdrawal.to_payload(&[artifact("a", 1), artifact("b", 1)]);
    assert_eq!(Statement::parse(&twice.unwrap()).unwrap().subject.len(), 2);
    let text = String::from_utf8(withdrawal.to_payload(&[artifact("a", 1)]).unwrap()).unwrap();
    let both = text.replacen(
        "\"reason\"",
        "\"purlPrefix\":\"pkg:generic/a\",\"reason\"",
        1,
    );
    assert_eq!(
        kind(Statement::parse(both.as_bytes()).map(|_| vec![])),
        "statement-shape"
    );
    let subject = &text[text.find("{\"digest\"").unwrap()..text.len() - 2];
    let repeated = text.replacen(subject, &format!("{subject},{subject}"), 1);
    assert_eq!(
        kind(Statement::parse(repeated.as_bytes()).map(|_| vec![])),
        "repeated-artifact"
    );
    let end = Withdrawal {
        what: Withdrawn::Prefix("pkg:generic/a/../b".into()),
        ..withdrawal.clone()
    };
    assert_eq!(kind(end.to_payload(&[])), "bad-purl");
}
