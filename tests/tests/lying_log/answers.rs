//! What is proven of a project's whole history: `releases`, `keys list`.

use super::bench::{Bench, ROOTS};
use super::liar::Liar;
use super::stub::{Stub, forward, get};
use ledger::hex32;
use ledger::leaf::Leaf;
use ledger::statement::Body;
use std::sync::Mutex;
use tlog::vkey::VerifierKey;

/// The log's leaves, with a bit of the last signature of one statement flipped.
fn forged(bench: &Bench, which: fn(&Body) -> bool) -> Stub {
    let liar = Liar::new(&bench.path("log"), &bench.url, |mut leaf| {
        if let Leaf::Statement(s) = &mut leaf
            && which(&s.statement.body)
        {
            let signature = s.envelope.signatures.last_mut().unwrap();
            *signature.sig.last_mut().unwrap() ^= 1;
        }
        leaf
    });
    let liar = Mutex::new(liar);
    Stub::serve(move |request| liar.lock().unwrap().answer(request))
}

#[test]
fn a_log_that_counts_what_nobody_signed_is_caught() {
    let mut bench = Bench::new();
    bench.published("1.0", "release1");
    let id = bench.id("release1");
    bench.ok(&format!("keys revoke {id} --reason stolen {ROOTS}"));
    bench.ok(&format!(
        "keys note {id} --project acme/tool --owner ops --key root1 --yes"
    ));
    let honest = forged(&bench, |_| false);
    bench.machine(("1.json", "1.toml"), &[&honest.url], |_| ());
    bench.ok("releases acme/tool");
    bench.ok("keys list --project acme/tool");
    let junk: [fn(&Body) -> bool; 4] = [
        |body| matches!(body, Body::Release(_)),
        |body| matches!(body, Body::Revocation(_)),
        |body| matches!(body, Body::KeyNote(_)),
        |body| matches!(body, Body::Project(_)),
    ];
    for which in junk {
        let forged = forged(&bench, which);
        bench.home();
        bench.machine(("2.json", "2.toml"), &[&forged.url], |_| ());
        for asked in ["releases acme/tool", "keys list --project acme/tool"] {
            let said = bench.refused(1, "wrong-state", asked);
            assert!(said.contains("signature"), "{said}");
        }
        assert!(!bench.path("2.json").exists(), "nothing is remembered");
    }
}

#[test]
fn an_answer_of_yesterday_does_not_hide_a_revocation_that_is_remembered() {
    let mut bench = Bench::new();
    bench.published("1.0", "release1");
    let project = hex32(&bench.project_id());
    let of = |what: &str| format!("/api/v1/projects/{project}/{what}");
    let recorded = [of("head"), of("entries")].map(|path| (get(&bench.url, &path), path));
    let id = bench.id("release1");
    bench.ok(&format!("keys revoke {id} --reason stolen {ROOTS}"));
    let log = bench.url.clone();
    let replay = Stub::serve(move |request| {
        let old = recorded
            .iter()
            .find(|(_, path)| request.path.split('?').next() == Some(path));
        match old {
            Some((body, _)) => (200, body.clone()),
            None => forward(&log, request),
        }
    });
    let asked = "keys list --project acme/tool";
    let log = bench.url.clone();
    // Who remembers nothing cannot know: what it shows is complete as of then.
    bench.machine(("new.json", "r.toml"), &[&replay.url], |_| ());
    bench.ok(asked);
    bench.machine(("state.json", "r.toml"), &[&replay.url], |_| ());
    bench.refused(3, "stale-head", asked);
    bench.refused(3, "stale-head", "releases acme/tool");
    // A mirror that has the newest view is asked next.
    bench.machine(("state.json", "m.toml"), &[&replay.url, &log], |_| ());
    bench.ok(asked);
}

#[test]
fn an_old_view_is_not_shown_where_the_policy_allows_none() {
    let mut bench = Bench::new();
    bench.published("1.0", "release1");
    let key = keys::Ed25519Secret::generate().unwrap();
    let vkey = VerifierKey::cosignature("w.example", &key.public_bytes()).unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    let mut liar = Liar::new(&bench.path("log"), &bench.url, |leaf| leaf);
    liar.witness = Some((key, now - 50_000));
    let liar = Mutex::new(liar);
    let log = Stub::serve(move |request| liar.lock().unwrap().answer(request));
    for (max_age, fresh) in [(100_000, true), (40_000, false)] {
        bench.home();
        bench.machine(("w.json", "w.toml"), &[&log.url], |policy| {
            policy.witnesses_text = format!("witness W {vkey}\nquorum W\n");
            policy.max_age = Some(max_age);
        });
        if fresh {
            let said = bench.json("releases acme/tool --json");
            assert_eq!(said["viewTime"], now - 50_000);
        } else {
            bench.refused(3, "stale-head", "releases acme/tool");
        }
    }
}

#[test]
fn what_is_not_signed_or_not_proven_says_nothing_and_the_next_mirror_is_asked() {
    let mut bench = Bench::new();
    bench.published("1.0", "release1");
    type Change = fn(&str, Vec<u8>) -> Vec<u8>;
    let changes: [(&str, Change); 4] = [
        ("unsigned", |path, body| {
            // Another root under the same signatures.
            let swap = |text: String| match text.find("log.example\\n") {
                Some(at) => text[..at].to_owned() + "log.example\\n9" + &text[at + 13..],
                None => text,
            };
            match path.ends_with("/head") {
                true => swap(String::from_utf8(body).unwrap()).into_bytes(),
                false => body,
            }
        }),
        ("another state", |path, body| {
            let text = String::from_utf8_lossy(&body).into_owned();
            match path.ends_with("/head") {
                true => text
                    .replace("\"frozen\":false", "\"frozen\":true")
                    .into_bytes(),
                false => body,
            }
        }),
        ("a damaged tile of entries", |path, mut body| {
            if path.contains("tile/entries/") {
                let last = body.len() - 3;
                body[last] ^= 1;
                // The first entry is the project's.
                body[40] ^= 1;
            }
            body
        }),
        ("no list", |path, body| {
            match path.contains("/entries?from") {
                true => b"{}".to_vec(),
                false => body,
            }
        }),
    ];
    for (what, change) in changes {
        let log = bench.url.clone();
        let between = Stub::serve(move |request| {
            let (status, body) = forward(&log, request);
            (status, change(&request.path, body))
        });
        let log = bench.url.clone();
        bench.machine(("a.json", "a.toml"), &[&between.url], |_| ());
        let said = bench.client("releases acme/tool");
        assert_eq!(said.code, 3, "{what}: {}", said.err);
        assert!(!said.err.contains("do not use this file"), "{}", said.err);
        bench.machine(("b.json", "b.toml"), &[&between.url, &log], |_| ());
        bench.ok("releases acme/tool");
        bench.home();
    }
}
