//! What `trust check` says of policies, and what `trust update` follows.
#![allow(clippy::unwrap_used, missing_docs)]

use countersign::policy::Policy;
use countersign_tests::bench::{Bench, Proxy, ROOTS, bench};
use ledger::Hash;
use ledger::statement::{Body, Statement};
use ledger::trust::TrustDocument;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use tlog::vkey::VerifierKey;

fn vkey(name: &str) -> VerifierKey {
    let key = keys::Ed25519Secret::generate().unwrap();
    VerifierKey::cosignature(name, &key.public_bytes()).unwrap()
}

/// Writes the bench's policy with these changes as x.toml.
fn written(bench: &Bench, change: impl FnOnce(&mut Policy)) {
    let text = std::fs::read_to_string(bench.path("policy.toml")).unwrap();
    let mut policy = Policy::parse_toml(&text).unwrap();
    change(&mut policy);
    std::fs::write(bench.path("x.toml"), policy.to_toml().unwrap()).unwrap();
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(bench.path("x.toml"), mode).unwrap();
}

#[test]
fn a_policy_is_explained_and_what_is_weak_is_warned_of() {
    let bench = bench();
    written(&bench, |_| ());
    let said = bench.ok("trust check x.toml");
    for kind in ["[quorum-none]", "[no-min-age]", "[no-max-age]"] {
        assert!(said.contains(kind), "{kind}: {said}");
    }
    assert!(!said.contains("[writable-by-others]"), "{said}");
    bench.refused(1, "weak-policy", "trust check x.toml --strict");
    bench.refused(2, "no-policy", "trust check nowhere.toml");
    std::fs::write(bench.path("bad.toml"), "x = 1").unwrap();
    bench.refused(2, "policy-malformed", "trust check bad.toml --strict");

    // Nested groups of three operators, ages, a floor: nothing to warn of.
    let (a, b, c) = (vkey("a.test"), vkey("b.test"), vkey("c.test"));
    let strong = |policy: &mut Policy| {
        policy.witnesses_text = format!(
            "witness A {a}\nwitness B {b}\nwitness C {c}\ngroup BC any B C\ngroup Q all A BC\nquorum Q\n"
        );
        (policy.min_age, policy.max_age) = (Some(86_400), Some(604_800));
        let own = &mut policy.projects[0];
        (own.min_version, own.min_age) = (Some("1.2".into()), Some(3600));
        own.artifacts = vec!["tool-*".into()];
    };
    written(&bench, strong);
    let said = bench.ok("trust check x.toml --strict");
    for words in [
        "all 2 of these (Q):",
        "any one of these 2 (BC):",
        "      the witness C (c.test+",
        "public for 1day",
        "in place of the above: a release of acme/tool must have been public for 1h",
        "no release older than 1.2",
        "named tool-*",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(
        bench
            .ok("trust show --policy x.toml")
            .contains("all 2 of these (Q):")
    );
    let json = bench.json("trust check x.toml --json");
    assert_eq!(json["warnings"], serde_json::json!([]));
    assert_eq!(json["projects"][0]["minAge"], 3600);

    // The same, where everybody can write it.
    let mode = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(bench.path("x.toml"), mode).unwrap();
    let json = bench.json("trust check x.toml --json");
    assert_eq!(json["warnings"][0]["kind"], "writable-by-others");
}

/// A log whose checkpoints a witness cosigns.
fn cosigned(log: &str) -> (Proxy, VerifierKey) {
    use base64::Engine as _;
    let key = keys::Ed25519Secret::generate().unwrap();
    let vkey = VerifierKey::cosignature("w.test", &key.public_bytes()).unwrap();
    let (name, id) = (vkey.name().to_owned(), vkey.key_id());
    let proxy = Proxy::start(log, move |path, body| {
        if !path.ends_with("/head") {
            return body;
        }
        let mut answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let note = answer["checkpoint"].as_str().unwrap().to_owned();
        let text = note.split_once("\n\n").unwrap().0.to_owned() + "\n";
        let now = countersign::cmd::common::now();
        let signature = key.sign(&tlog::cosignature::message(now, &text));
        let line = [&id[..], &tlog::cosignature::encode(now, &signature)].concat();
        let line = base64::engine::general_purpose::STANDARD.encode(line);
        answer["checkpoint"] = format!("{note}\u{2014} {name} {line}\n").into();
        answer.to_string().into_bytes()
    });
    (proxy, vkey)
}

#[test]
fn what_the_project_recommends_is_followed_and_nothing_weaker() {
    let bench = bench();
    let update = "trust update policy.toml";
    let recommend = format!("project update acme/tool --recommend x.toml {ROOTS}");
    let recommend = recommend.replace("--project acme/tool ", "");
    let read = || std::fs::read_to_string(bench.path("policy.toml")).unwrap();
    // A machine that has seen nothing of the log yet could be shown yesterday's.
    bench.refused(2, "no-memory-or-max-age", update);
    bench.ok("releases acme/tool");
    assert!(bench.ok(update).contains("nothing is recommended"));

    let (proxy, witness) = cosigned(&bench.url);
    written(&bench, |policy| {
        policy.witnesses_text = format!("witness W {witness}\nquorum W\n");
    });
    bench.ok(&recommend);
    std::fs::copy(bench.path("policy.toml"), bench.path("old.toml")).unwrap();
    // Not while the log cannot be verified so.
    let before = read();
    bench.refused(3, "not-in-force", &format!("{update} --yes"));
    std::fs::write(
        bench.path("policy.toml"),
        before.replace(&bench.url, &proxy.url),
    )
    .unwrap();
    let before = read();
    let said = bench.refused(2, "not-confirmed", update);
    assert!(said.contains("the witness W (w.test+"), "{said}");
    assert_eq!(read(), before);
    bench.ok(&format!("{update} --yes"));
    assert!(read().contains("quorum W"));
    assert!(bench.ok(update).contains("as it is recommended"));
    let followed = read();

    // Back to none, and to one key of the log.
    written(&bench, |policy| {
        policy.log.url = Some(bench.url.clone());
        policy.witnesses_text = "quorum none\n".into();
    });
    bench.ok(&format!("{recommend} --policy old.toml"));
    std::fs::write(bench.path("policy.toml"), &followed).unwrap();
    bench.refused(1, "weaker-policy", &format!("{update} --yes"));
    assert_eq!(read(), followed);
    // A script sees the same.
    let said = bench.client(&format!("{update} --yes --json"));
    let refused: Value = serde_json::from_slice(&said.out).unwrap();
    assert_eq!((said.code, &refused["kind"]), (1, &"weaker-policy".into()));
    let json = bench.json(&format!("{update} --yes --allow-weaker --json"));
    assert_eq!(
        json,
        json!({ "updated": true, "policy": "policy.toml", "logKeysAdded": [], "logKeysRemoved": [],
            "witnesses": "quorum none\n" })
    );
    assert!(read().contains("quorum none"));
    let json = bench.json(&format!("{update} --json"));
    assert_eq!(
        (&json["updated"], &json["reason"]),
        (&false.into(), &"as-recommended".into())
    );
}

/// Logs a version of the project that recommends the document of this hash, whatever that is.
fn recommends(bench: &Bench, hash: Hash) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let contact = format!("mailto:{}@acme.example", ledger::hex32(&hash));
    bench.ok(&format!(
        "project update acme/tool --contact {contact} --prepare next.json"
    ));
    let text = std::fs::read_to_string(bench.path("next.json")).unwrap();
    let mut envelope: Value = serde_json::from_str(&text).unwrap();
    let payload = STANDARD
        .decode(envelope["payload"].as_str().unwrap())
        .unwrap();
    let Body::Project(mut project) = Statement::parse(&payload).unwrap().body else {
        panic!("{text}");
    };
    project.policy = Some(hash);
    envelope["payload"] = STANDARD.encode(project.to_payload().unwrap()).into();
    std::fs::write(bench.path("next.json"), envelope.to_string()).unwrap();
    bench.ok("sign next.json --key root1 --key root2");
    bench.ok("submit next.json");
}

#[test]
fn what_is_recommended_about_another_log_or_project_is_not_followed() {
    let bench = bench();
    let text = std::fs::read_to_string(bench.path("policy.toml")).unwrap();
    let policy = Policy::parse_toml(&text).unwrap();
    let id = policy.projects[0].id;
    let vkeys: Vec<String> = policy.log.vkeys.iter().map(ToString::to_string).collect();
    let key = keys::Ed25519Secret::generate().unwrap().public_bytes();
    let strange = VerifierKey::ed25519("log.test", &key).unwrap().to_string();
    let none = "quorum none\n";
    let (w, fresh) = (vkey("w.test"), vkey("f.test"));
    let more = format!("witness W {w}\nwitness F {fresh}\ngroup Q all W F\nquorum Q\n");
    for (document, kind) in [
        (
            TrustDocument::new("log.test", vec![strange], id, "acme/tool", none),
            "other-log",
        ),
        (
            TrustDocument::new("log.example", vkeys.clone(), [7; 32], "acme/tool", none),
            "other-project",
        ),
        // Even where it is stronger.
        (
            TrustDocument::new("log.example", vkeys.clone(), [7; 32], "acme/tool", &more),
            "other-project",
        ),
    ] {
        let bytes = document.to_canonical().unwrap();
        recommends(&bench, document.hash().unwrap());
        // The log that is asked has it.
        let proxy = Proxy::start(&bench.url, move |path, body| {
            match path.contains("/api/v1/trust/") {
                true => bytes.clone(),
                false => body,
            }
        });
        let before = text.replace(&bench.url, &proxy.url);
        std::fs::write(bench.path("x.toml"), &before).unwrap();
        bench.refused(1, kind, "trust update x.toml --yes --allow-weaker");
        assert_eq!(
            std::fs::read_to_string(bench.path("x.toml")).unwrap(),
            before
        );
    }
    // What has another hash is no document of anybody's, and a mirror may have the right one.
    let document = TrustDocument::new("log.example", vkeys, id, "acme/tool", none);
    recommends(&bench, document.hash().unwrap());
    let good = document.to_canonical().unwrap();
    let liar = Proxy::start(&bench.url, |path, body| {
        match path.contains("/api/v1/trust/") {
            true => b"{}".to_vec(),
            false => body,
        }
    });
    std::fs::write(bench.path("x.toml"), text.replace(&bench.url, &liar.url)).unwrap();
    bench.refused(3, "other-document", "trust update x.toml");
    let mirror = Proxy::start(&bench.url, move |path, body| {
        match path.contains("/api/v1/trust/") {
            true => good.clone(),
            false => body,
        }
    });
    written(&bench, |policy| {
        policy.log.url = Some(liar.url.clone());
        policy.log.mirrors = vec![mirror.url.clone()];
    });
    assert!(
        bench
            .ok("trust update x.toml")
            .contains("as it is recommended")
    );
}

#[test]
fn projects_of_one_policy_that_recommend_different_things_are_not_followed() {
    let bench = bench();
    let text = std::fs::read_to_string(bench.path("policy.toml")).unwrap();
    let policy = Policy::parse_toml(&text).unwrap();
    let mut init = format!(
        "project init acme/other --root-key root1 --release-key release1 --contact mailto:a@acme.example \
         --purl-prefix pkg:generic/acme/other --log {} --policy-out other.toml",
        bench.url
    );
    for key in &policy.log.vkeys {
        init.push_str(&format!(" --vkey {key}"));
    }
    bench.ok(&init);
    let other = std::fs::read_to_string(bench.path("other.toml")).unwrap();
    let other = Policy::parse_toml(&other).unwrap();
    let (proxy, w) = cosigned(&bench.url);
    let both = || {
        written(&bench, |policy| {
            policy.log.url = Some(proxy.url.clone());
            policy.projects.push(other.projects[0].clone());
        });
        std::fs::copy(bench.path("x.toml"), bench.path("both.toml")).unwrap();
    };
    let recommend = |name: &str, keys: &str, witnesses: &str| {
        written(&bench, |policy| {
            policy.witnesses_text = witnesses.to_owned()
        });
        let own = if name == "acme/tool" {
            "policy.toml"
        } else {
            "other.toml"
        };
        bench.ok(&format!(
            "project update {name} --recommend x.toml {keys} --yes --policy {own}"
        ));
    };
    let update = "trust update both.toml --yes";
    let witnessed = format!("witness W {w}\nquorum W\n");
    // One says nothing, then both the same, then each something else.
    recommend("acme/tool", "--key root1 --key root2", &witnessed);
    both();
    let before = std::fs::read_to_string(bench.path("both.toml")).unwrap();
    let said = bench.refused(2, "projects-disagree", update);
    assert!(said.contains("acme/other"), "{said}");
    recommend(
        "acme/other",
        "--key root1",
        &format!("witness X {w}\nquorum none\n"),
    );
    bench.refused(2, "projects-disagree", update);
    assert_eq!(
        std::fs::read_to_string(bench.path("both.toml")).unwrap(),
        before
    );
    recommend("acme/other", "--key root1", &witnessed);
    let json = bench.json(&format!("{update} --json"));
    assert_eq!(
        (&json["updated"], &json["witnesses"]),
        (&true.into(), &witnessed.into())
    );
}
