//! What `trust check` says of policies, and what `trust update` follows.
#![allow(clippy::unwrap_used, missing_docs)]

use countersign::policy::Policy;
use countersign_tests::bench::{Bench, Proxy, ROOTS, bench};
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

    // Back to none, and to one key of the log.
    written(&bench, |policy| {
        policy.log.url = Some(bench.url.clone());
        policy.witnesses_text = "quorum none\n".into();
    });
    bench.ok(&format!("{recommend} --policy old.toml"));
    std::fs::write(bench.path("policy.toml"), before).unwrap();
    bench.ok(&format!("{update} --yes --allow-weaker"));
    assert!(read().contains("quorum none"));
}
