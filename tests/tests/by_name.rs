//! `get` and `run` by name, with a real log and a storage.
#![allow(clippy::unwrap_used, missing_docs)]

use countersign::policy::Policy;
use countersign_tests::Storage;
use countersign_tests::bench::{Bench, Proxy, ROOTS, bench};
use keys::Ed25519Secret;
use ledger::bundle::Bundle;
use std::fs;
use std::sync::Arc;
use tlog::note::{Note, NoteSignature};
use tlog::vkey::VerifierKey;

/// Publishes `tool` and, where `two`, `other`, as they are then; the storage serves them.
fn publish(bench: &Bench, storage: &Storage, version: &str, two: bool) {
    let mut files = "tool".to_owned();
    std::fs::write(bench.path("store/tool"), format!("echo {version}\n")).unwrap();
    std::fs::copy(bench.path("store/tool"), bench.path("tool")).unwrap();
    if two {
        std::fs::write(bench.path("other"), version).unwrap();
        std::fs::copy(bench.path("other"), bench.path("store/other")).unwrap();
        files.push_str(" other");
    }
    bench.ok(&format!(
        "publish {files} --project acme/tool --version {version} --key release1 --download-base {}",
        storage.url
    ));
}

#[test]
fn what_is_asked_for_by_name_is_found_in_the_proven_history() {
    let mut bench = bench();
    std::fs::create_dir(bench.path("store")).unwrap();
    let storage = Storage::serve(&bench.path("store")).unwrap();
    publish(&bench, &storage, "9.0", false);
    publish(&bench, &storage, "1.0", true);

    // A machine that remembers nothing names the version first.
    bench.state = "fresh.json";
    bench.refused(2, "no-version-or-memory", "get acme/tool/tool -o got");
    bench.ok("get acme/tool@1.0/tool -o got");
    // The latest is the newest entry, whatever its version looks like.
    let said = bench.ok("get acme/tool@latest/tool -o got");
    assert!(said.contains("acme/tool 1.0"), "{said}");
    assert_eq!(std::fs::read(bench.path("got")).unwrap(), b"echo 1.0\n");
    let said = bench.client("run acme/tool/tool --with sh");
    assert_eq!(
        (said.code, said.out),
        (0, b"1.0\n".to_vec()),
        "{}",
        said.err
    );

    let said = bench.refused(2, "several-artifacts", "get acme/tool@1.0");
    assert!(said.contains("other, tool"), "{said}");
    bench.refused(2, "unknown-artifact", "get acme/tool/nothing");
    bench.refused(2, "unknown-release", "get acme/tool@7.7/tool");
    bench.refused(2, "unknown-project", "get acme/tools");
    bench.refused(2, "bad-name", "get acme/tool@");
    let twice = "get acme/tool@1.0/tool --version 1.0";
    bench.refused(2, "contradictory-arguments", twice);
    // What the storage has now is another release's.
    let _ = std::fs::remove_file(bench.path("got"));
    bench.refused(1, "digest-mismatch", "get acme/tool@9.0 -o got");
    assert!(!bench.path("got").exists());

    // The policy's floor, as a version and as an index.
    publish(&bench, &storage, "2.0", false);
    let text = std::fs::read_to_string(bench.path("policy.toml")).unwrap();
    let floor = |version: &str| {
        let mut policy = Policy::parse_toml(&text).unwrap();
        policy.projects[0].min_version = Some(version.into());
        std::fs::write(bench.path("floor.toml"), policy.to_toml().unwrap()).unwrap();
    };
    floor("2.0");
    let other = "get acme/tool/other -o got --policy floor.toml";
    bench.refused(2, "unknown-artifact", other);
    let old = format!("get {}/other -o got --policy floor.toml", storage.url);
    std::fs::copy(bench.path("other.bundle"), bench.path("store/other.bundle")).unwrap();
    bench.refused(1, "rollback", &old);
    floor("1.0");
    bench.ok(other);
    bench.ok(&old);
    floor("3.0");
    bench.refused(2, "unknown-floor", other);

    // What is withdrawn is never the latest, and is refused by version.
    bench.ok(&format!("withdraw --version 2.0 --reason broken {ROOTS}"));
    bench.refused(1, "withdrawn", "get acme/tool@2.0 -o got");
    let said = bench.client("get acme/tool/tool -o got");
    assert!(said.err.contains("[digest-mismatch]") || said.err.contains("[size-mismatch]"));
    std::fs::write(bench.path("store/tool"), "echo 1.0\n").unwrap();
    let said = bench.ok("get acme/tool/tool -o got");
    assert!(said.contains("acme/tool 1.0"), "{said}");

    // A server's word: it hides the newest entry from its list, which the head contradicts.
    let liar = Proxy::start(&bench.url, |path, body| match path.contains("/entries?") {
        true => b"{\"apiVersion\":\"countersign/v1\",\"indexes\":[0,3]}".to_vec(),
        false => body,
    });
    let lied = text.replace(&bench.url, &liar.url);
    std::fs::write(bench.path("liar.toml"), lied).unwrap();
    let asked = "get acme/tool/tool -o got --policy liar.toml";
    bench.refused(3, "bad-answer", asked);
}

#[test]
fn a_release_that_does_not_say_where_it_is_needs_an_address() {
    let bench = bench();
    bench.published("1.0", "release1");
    bench.refused(2, "no-download-location", "get acme/tool@1.0");
}

/// Writes the bench's policy with these changes.
fn written(bench: &Bench, file: &str, change: impl FnOnce(&mut Policy)) {
    let text = fs::read_to_string(bench.path("policy.toml")).unwrap();
    let mut policy = Policy::parse_toml(&text).unwrap();
    change(&mut policy);
    fs::write(bench.path(file), policy.to_toml().unwrap()).unwrap();
}

/// A witness, which dates what it cosigns as it is told.
struct Witness(Ed25519Secret);

impl Witness {
    fn vkey(&self) -> VerifierKey {
        VerifierKey::cosignature("w.test", &self.0.public_bytes()).unwrap()
    }

    /// The note with its cosignature of so many seconds ago.
    fn cosign(&self, note: &str, ago: u64) -> String {
        let mut note = Note::parse(note.as_bytes()).unwrap();
        let time = countersign::cmd::common::now() - ago;
        let signed = self.0.sign(&tlog::cosignature::message(time, &note.text));
        let cosignature = tlog::cosignature::encode(time, &signed);
        note.signatures
            .push(NoteSignature::by(&self.vkey(), cosignature));
        String::from_utf8(note.to_bytes()).unwrap()
    }

    fn bundle(&self, bytes: &[u8], ago: u64) -> Vec<u8> {
        let mut bundle = Bundle::parse(bytes).unwrap();
        bundle.first = self.cosign(&bundle.first, ago);
        bundle.to_bytes().unwrap()
    }
}

#[test]
fn by_name_too_a_release_must_have_been_public_for_the_minimum_age() {
    let bench = bench();
    fs::create_dir(bench.path("store")).unwrap();
    let storage = Storage::serve(&bench.path("store")).unwrap();
    publish(&bench, &storage, "1.0", false);
    publish(&bench, &storage, "2.0", false);
    let own = fs::read(bench.path("tool.bundle")).unwrap();
    // All that the log shows has just been cosigned.
    let witness = Arc::new(Witness(Ed25519Secret::generate().unwrap()));
    let by = witness.clone();
    let log = Proxy::start(&bench.url, move |path, body| {
        if path.ends_with("/bundle") {
            return by.bundle(&body, 10);
        }
        if !path.ends_with("/head") {
            return body;
        }
        let mut answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let note = by.cosign(answer["checkpoint"].as_str().unwrap(), 10);
        answer["checkpoint"] = note.into();
        answer.to_string().into_bytes()
    });
    let policy = |file: &str, all: Option<u64>, own: Option<u64>| {
        written(&bench, file, |policy| {
            let w = witness.vkey();
            policy.witnesses_text = format!("witness W {w}\nquorum W\n");
            policy.log.url = Some(log.url.clone());
            (policy.min_age, policy.projects[0].min_age) = (all, own);
        });
    };
    policy("none.toml", None, None);
    policy("all.toml", Some(100), None);
    policy("own.toml", None, Some(100));
    policy("hour.toml", Some(3600), None);
    policy("other.toml", Some(3600), Some(5));
    let get = |what: &str, policy: &str| format!("get acme/tool{what} -o got --policy {policy}");
    bench.ok(&get("@latest", "none.toml"));
    fs::remove_file(bench.path("got")).unwrap();
    // The newest is too young. No older one is taken in its place, nobody asked for that.
    for policy in ["all.toml", "own.toml", "hour.toml"] {
        for what in ["", "@latest", "@2.0"] {
            let said = bench.refused(1, "time", &get(what, policy));
            assert!(said.contains("old enough at "), "{said}");
        }
        let run = format!("run acme/tool --with cat --policy {policy}");
        bench.refused(121, "time", &run);
    }
    assert!(!bench.path("got").exists());
    bench.ok(&get("@latest", "other.toml"));
    // Since when it has been public is shown by the bundle beside the artifact, if it is of the release.
    fs::write(bench.path("store/tool.bundle"), witness.bundle(&own, 200)).unwrap();
    bench.ok(&get("@latest", "all.toml"));
    bench.ok(&get("@latest", "own.toml"));
    bench.refused(1, "time", &get("@latest", "hour.toml"));
    fs::write(bench.path("store/tool.bundle"), "no bundle").unwrap();
    bench.refused(1, "time", &get("@latest", "all.toml"));
}

#[test]
fn what_is_void_or_at_its_end_of_life_is_never_the_latest_and_refused_by_version() {
    let bench = bench();
    fs::create_dir(bench.path("store")).unwrap();
    let storage = Storage::serve(&bench.path("store")).unwrap();
    for version in ["1.0", "2.0", "3.0"] {
        if version == "3.0" {
            let old = bench.id("release1");
            bench.key("release2");
            bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
            fs::rename(bench.path("release2"), bench.path("release1")).unwrap();
        }
        publish(&bench, &storage, version, false);
    }
    let serves = |version: &str| {
        fs::write(bench.path("store/tool"), format!("echo {version}\n")).unwrap();
    };
    let said = bench.ok("get acme/tool -o got");
    assert!(said.contains("acme/tool 3.0"), "{said}");

    // By its end of life.
    let end = "withdraw --prefix pkg:generic/acme/tool@3.0 --reason old";
    let said = bench.client(&format!("{end} {ROOTS}"));
    assert_eq!(said.code, 0, "{}", said.err);
    bench.refused(1, "withdrawn", "get acme/tool@3.0 -o got");
    serves("2.0");
    let said = bench.client("get acme/tool -o got");
    let out = String::from_utf8_lossy(&said.out);
    assert!(out.contains("acme/tool 2.0"), "{out}{}", said.err);
    // A step back is said: 3.0 was verified here.
    assert!(said.err.contains("older than version 3.0 "), "{}", said.err);
    let twice = "get acme/tool@latest --version 1.0 -o got";
    bench.refused(2, "contradictory-arguments", twice);

    // By the key that signed it, from the second release on.
    let json = bench.json("releases acme/tool --json");
    let second = &json["releases"][1];
    let (key, since) = (&second["keys"][0], &second["index"]);
    let key = key.as_str().unwrap();
    bench.ok(&format!(
        "keys revoke {key} --reason stolen --compromised-since {since} {ROOTS}"
    ));
    bench.refused(1, "void", "get acme/tool@2.0 -o got");
    serves("1.0");
    let said = bench.ok("get acme/tool@latest -o got");
    assert!(said.contains("acme/tool 1.0"), "{said}");
    let said = bench.client("run acme/tool@2.0 --with cat");
    assert_eq!((said.code, said.out), (121, Vec::new()), "{}", said.err);

    // And where nothing stands any more there is no latest.
    bench.ok(&format!("withdraw --version 1.0 --reason broken {ROOTS}"));
    bench.refused(1, "no-release", "get acme/tool -o got");
}

#[test]
fn by_name_a_mirror_is_asked_where_the_log_is_away_or_answers_nothing_of_use() {
    let bench = bench();
    fs::create_dir(bench.path("store")).unwrap();
    let storage = Storage::serve(&bench.path("store")).unwrap();
    publish(&bench, &storage, "1.0", false);
    let liar = Proxy::start(&bench.url, |path, body| match path.contains("/api/") {
        true => b"{}".to_vec(),
        false => body,
    });
    let silent = "http://127.0.0.1:1";
    for (log, mirrors, good) in [
        (Some(silent), vec![bench.url.as_str()], true),
        (None, vec![bench.url.as_str()], true),
        (
            Some(liar.url.as_str()),
            vec![silent, bench.url.as_str()],
            true,
        ),
        (Some(silent), vec![liar.url.as_str()], false),
        (Some(liar.url.as_str()), vec![], false),
    ] {
        written(&bench, "m.toml", |policy| {
            policy.log.url = log.map(str::to_owned);
            policy.log.mirrors = mirrors.iter().map(|m| (*m).to_owned()).collect();
        });
        let _ = fs::remove_file(bench.path("got"));
        let said = bench.client("get acme/tool -o got --policy m.toml");
        assert_eq!(said.code == 0, good, "{log:?} {mirrors:?}: {}", said.err);
        assert_eq!(bench.path("got").exists(), good);
        if !good {
            assert_eq!(said.code, 3, "{}", said.err);
        }
    }
}
