//! Fork evidence: what proves to anybody that a log signed two histories, and what does not.
#![allow(clippy::unwrap_used, missing_docs)]

use countersign_tests::wire::{Connection, Place, add_checkpoint};
use countersign_tests::witness::played::Played;
use countersign_tests::{Process, Said, binary, run};
use ledger::evidence::{Evidence, MAX_EVIDENCE_BYTES};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/countersign")
}

/// Runs the command in an empty directory, with no policy, memory or network of anybody's.
fn verify(dir: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(binary("countersign").unwrap());
    command
        .args(["evidence", "verify"])
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir);
    run(command).unwrap()
}

fn refused(dir: &Path, kind: &str, code: i32, args: &[&str]) {
    let said = verify(dir, args);
    assert!(
        said.err.contains(&format!("[{kind}]")),
        "{kind}: {}",
        said.err
    );
    assert_eq!(said.code, code, "{}", said.err);
    assert!(said.err.contains("hint:"), "{}", said.err);
}

#[test]
fn a_fork_is_told_in_plain_words_on_another_machine() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["fork-evidence.json", "fork-evidence-same-size.json"] {
        fs::copy(vectors().join(name), dir.path().join(name)).unwrap();
        let said = verify(dir.path(), &[name]);
        assert_eq!(said.code, 0, "{}", said.err);
        let text = String::from_utf8(said.out).unwrap();
        let evidence = Evidence::parse(&fs::read(vectors().join(name)).unwrap()).unwrap();
        assert!(
            text.contains("two histories that contradict each other"),
            "{text}"
        );
        for vkey in &evidence.vkeys {
            assert!(text.contains(vkey.as_str()), "{text}");
        }
        assert!(text.contains("compare the keys"), "{text}");
        let json = verify(dir.path(), &[name, "--json"]);
        let json: Value = serde_json::from_slice(&json.out).unwrap();
        assert_eq!(
            (&json["fork"], &json["ofPolicy"]),
            (&true.into(), &false.into())
        );
    }
}

/// A policy of the log of the vector, or of one with another name or key.
fn policy(dir: &Path, origin: &str, vkeys: &[String]) {
    let list: Vec<String> = vkeys.iter().map(|v| format!("\"{v}\"")).collect();
    let text = format!(
        "api-version = \"countersign/v1\"\nwitnesses = \"quorum none\\n\"\n\n[log]\norigin = \"{origin}\"\nvkeys = [{}]\n\n\
         [[project]]\nid = \"{}\"\nname = \"acme/tool\"\n",
        list.join(", "),
        "1".repeat(64)
    );
    fs::write(dir.join("policy.toml"), text).unwrap();
}

#[test]
fn it_is_compared_with_the_policy_s_log() {
    let dir = tempfile::tempdir().unwrap();
    let file = vectors().join("fork-evidence.json");
    let evidence = Evidence::parse(&fs::read(&file).unwrap()).unwrap();
    let fork = evidence.verify().unwrap();
    let file = file.to_str().unwrap();
    let args = [file, "--policy", "policy.toml"];
    policy(dir.path(), &fork.origin, &evidence.vkeys);
    let said = verify(dir.path(), &args);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(String::from_utf8_lossy(&said.out).contains("keys of your policy's log"));
    // Of the same name, by keys that somebody else made.
    let secret = keys::Ed25519Secret::generate().unwrap();
    let other = tlog::vkey::VerifierKey::ed25519(&fork.origin, &secret.public_bytes()).unwrap();
    policy(dir.path(), &fork.origin, &[other.to_string()]);
    refused(dir.path(), "evidence-other-log", 1, &args);
    let other = tlog::vkey::VerifierKey::ed25519("other.example", &secret.public_bytes()).unwrap();
    policy(dir.path(), "other.example", &[other.to_string()]);
    refused(dir.path(), "evidence-other-log", 1, &args);
    refused(dir.path(), "no-policy", 2, &[file, "--policy", "none.toml"]);
}

#[test]
fn what_was_altered_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(vectors().join("fork-evidence.json")).unwrap();
    let write = |text: &str| fs::write(dir.path().join("e.json"), text).unwrap();
    for (from, to, kind) in [
        ("countersign/v1", "countersign/v2", "evidence-version"),
        ("\"kind\":\"fork\"", "\"kind\":\"spoon\"", "evidence-kind"),
        (
            "{\"apiVersion\"",
            "{\"aMember\":1,\"apiVersion\"",
            "evidence-malformed",
        ),
        ("\"newer\"", " \"newer\"", "evidence-malformed"),
    ] {
        assert!(text.contains(from));
        write(&text.replacen(from, to, 1));
        refused(dir.path(), kind, 1, &["e.json"]);
    }
    write(&format!("{text}\n"));
    refused(dir.path(), "evidence-malformed", 1, &["e.json"]);
    write(&"x".repeat(MAX_EVIDENCE_BYTES + 1));
    refused(dir.path(), "evidence-too-large", 1, &["e.json"]);
    // The notes change places; the proof is of another tree.
    let evidence = Evidence::parse(text.as_bytes()).unwrap();
    let turned = Evidence {
        newer: evidence.older.clone(),
        older: evidence.newer.clone(),
        ..evidence.clone()
    };
    write(&String::from_utf8(turned.to_bytes().unwrap()).unwrap());
    refused(dir.path(), "evidence-pair", 1, &["e.json"]);
    let mut astray = evidence;
    astray.between.as_mut().unwrap().root = [7; 32];
    write(&String::from_utf8(astray.to_bytes().unwrap()).unwrap());
    refused(dir.path(), "evidence-proof", 1, &["e.json"]);
    refused(dir.path(), "unreadable", 2, &["none.json"]);
}

/// What a real witness wrote about a log that signed two histories, checked by the client.
#[test]
fn a_fork_that_a_witness_kept_is_verified_by_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("witness");
    let program = binary("countersign-witness").unwrap();
    let witness = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).arg("--data").arg(&data);
        command
    };
    let told = |args: &[&str]| {
        let said = run(witness(args)).unwrap();
        assert_eq!(said.code, 0, "{}", said.err);
        String::from_utf8(said.out).unwrap()
    };
    let vkey = told(&["init", "--name", "witness.example"]);
    let mut log = Played::new("log.example", true).unwrap();
    log.grow(20, 0);
    let fork = log.fork(3, 1);
    let mut add = vec!["add-log".to_owned()];
    add.extend(log.vkeys());
    told(&add.iter().map(String::as_str).collect::<Vec<_>>());
    let running = Process::start(witness(&["serve", "--listen", "127.0.0.1:0"])).unwrap();
    let place = Place::parse(&running.url).unwrap();
    let mut connection = Connection::new(&place, Duration::from_secs(30));
    let mut ask = |body: Vec<u8>| {
        let request = add_checkpoint(&place.host, &body);
        connection.send(&request).unwrap().status
    };
    assert_eq!(ask(log.body(0, 5)), 200);
    // The other history at the same size, and further on; and what accuses nobody.
    assert_eq!(ask(fork.body(5, 5)), 422);
    assert_eq!(ask(fork.body(5, 9)), 422);
    assert_eq!(ask(log.body(5, 8)), 200);
    assert_eq!(ask(fork.body(8, 12)), 422);
    drop(running);

    let away = tempfile::tempdir().unwrap();
    policy(away.path(), "log.example", &{
        let mut vkeys = log.vkeys();
        vkeys.sort();
        vkeys
    });
    let mut forks = 0;
    for item in fs::read_dir(data.join("evidence")).unwrap() {
        let item = item.unwrap();
        let name = item.file_name().into_string().unwrap();
        fs::copy(item.path(), away.path().join(&name)).unwrap();
        if name.starts_with("degraded-") {
            refused(away.path(), "evidence-malformed", 1, &[&name]);
            continue;
        }
        forks += 1;
        let said = verify(away.path(), &[&name, "--policy", "policy.toml"]);
        assert_eq!(said.code, 0, "{}", said.err);
        let text = String::from_utf8(said.out).unwrap();
        for part in [
            "two histories",
            "keys of your policy's log",
            "the older was cosigned by witness.example",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let evidence = Evidence::parse(&fs::read(item.path()).unwrap()).unwrap();
        assert_eq!(evidence.witnesses, [vkey.trim()]);
    }
    assert_eq!(forks, 2);
}
