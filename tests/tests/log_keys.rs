//! The log's keys are rotated by overlap: what the log, its witness, a project and its old and
//! new clients do, all real processes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use countersign::policy::Policy;
use countersign_tests::bench::{Bench, ROOTS, bench};
use countersign_tests::wire::{Connection, Place};
use countersign_tests::{Process, binary, run};
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};
use tlog::vkey::VerifierKey;

/// `countersign-server keys …` on the stopped log; gives what it says as JSON.
fn keys(bench: &Bench, args: &[&str]) -> Value {
    let said = bench.server(&[&["keys"], args, &["--json"]].concat());
    assert_eq!(said.code, 0, "{args:?}\n{}", said.err);
    serde_json::from_slice(&said.out).unwrap()
}

/// It refuses, and says this.
fn refused(bench: &Bench, args: &[&str], says: &str) {
    let said = bench.server(args);
    assert_eq!(said.code, 1, "{args:?}\n{}", said.err);
    assert!(said.err.contains(says), "{args:?}\n{}", said.err);
}

fn vkeys(value: &Value) -> Vec<VerifierKey> {
    let texts = value.as_array().unwrap().iter();
    texts
        .map(|text| VerifierKey::parse(text.as_str().unwrap()).unwrap())
        .collect()
}

/// Writes the bench's policy with these log keys.
fn policy(bench: &Bench, name: &str, vkeys: Vec<VerifierKey>) {
    let text = fs::read_to_string(bench.path("policy.toml")).unwrap();
    let mut policy = Policy::parse_toml(&text).unwrap();
    policy.log.vkeys = vkeys;
    fs::write(bench.path(name), policy.to_toml().unwrap()).unwrap();
}

fn copy(bench: &Bench, from: &str, to: &str) {
    fs::copy(bench.path(from), bench.path(to)).unwrap();
}

fn recommend(policy: &str) -> String {
    let roots = ROOTS.replace("--project acme/tool ", "");
    format!("project update acme/tool --recommend {policy} {roots}")
}

/// The log takes no such trust document.
fn not_taken(bench: &Bench, args: &str) {
    let said = bench.client(args);
    assert_eq!(said.code, 1, "{args}\n{}", said.err);
    assert!(
        said.err.contains("[trust-other-log-keys]"),
        "{args}\n{}",
        said.err
    );
}

/// What the log answers; any status.
fn fetched(url: &str, path: &str) -> String {
    let place = Place::parse(url).unwrap();
    let answer = Connection::new(&place, Duration::from_secs(30))
        .get(path)
        .unwrap();
    format!(
        "{} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    )
}

/// How many keys have signed the log's checkpoint.
fn signatures(url: &str) -> usize {
    fetched(url, "/checkpoint")
        .matches("\u{2014} log.example ")
        .count()
}

#[test]
fn old_and_new_clients_work_while_the_keys_are_rotated() {
    let mut bench = bench();
    bench.published("1.0", "release1");
    copy(&bench, "policy.toml", "old.toml");
    copy(&bench, "policy.toml", "client.toml");
    let rotate = ["keys", "rotate", "--overlap-days", "30"];
    refused(&bench, &rotate, "in use");
    bench.stop();
    refused(&bench, &["keys", "retire"], "no pair is to be retired");
    let before = keys(&bench, &["list"]);
    assert_eq!(
        (&before["retiring"], &before["retired"]),
        (&Value::Null, &serde_json::json!([]))
    );
    let rotated = keys(&bench, &rotate[1..]);
    assert_eq!(rotated["retiring"]["vkeys"], before["current"]["vkeys"]);
    assert_eq!(rotated["retiring"]["due"], false);
    assert_eq!(keys(&bench, &["list"]), rotated);
    refused(&bench, &rotate, "two pairs sign already");
    refused(&bench, &["keys", "retire"], "--now");
    refused(
        &bench,
        &["keys", "retire", "--now"],
        "start the server once",
    );
    let new = vkeys(&rotated["current"]["vkeys"]);
    let old = vkeys(&before["current"]["vkeys"]);
    policy(&bench, "new.toml", new.clone());

    // The log signs with both pairs, at once; old clients notice nothing.
    bench.serve();
    assert_eq!(signatures(&bench.url), 4);
    assert!(fetched(&bench.url, "/readyz").contains("two pairs sign"));
    let metrics = fetched(&bench.url, "/metrics");
    assert!(
        metrics.contains("\ncountersign_log_keys_retire_at_seconds "),
        "{metrics}"
    );
    bench.published("2.0", "release1");
    bench.ok("verify tool-1.0 --policy old.toml --online");
    bench.ok("verify tool-2.0 --policy old.toml");

    // The project's roots point to a trust document with the new keys: whole pairs alone.
    policy(&bench, "half.toml", vec![new[0].clone()]);
    not_taken(&bench, &recommend("half.toml"));
    policy(&bench, "mixed.toml", vec![new[0].clone(), old[1].clone()]);
    not_taken(&bench, &recommend("mixed.toml"));
    let all = [new.clone(), old.clone()].concat();
    policy(&bench, "all.toml", all);
    bench.ok(&recommend("all.toml"));
    let said = bench.client(&recommend("new.toml"));
    assert_eq!(said.code, 0, "{}", said.err);
    // Who comes now begins with the new keys.
    let string = said.err.lines().find(|l| l.starts_with("countersign1:"));
    let fresh = format!(
        "trust init {} --out fresh.toml --log {}",
        string.unwrap(),
        bench.url
    );
    bench.ok(&fresh);
    bench.ok("verify tool-2.0 --policy fresh.toml");

    // A client follows, and is asked.
    let said = bench.refused(2, "not-confirmed", "trust update client.toml");
    for (sign, keys) in [("-", &old), ("+", &new)] {
        for key in keys {
            assert!(said.contains(&format!("{sign} log key {key}")), "{said}");
        }
    }
    bench.ok("trust update client.toml --yes");
    assert!(
        bench
            .ok("trust update client.toml")
            .contains("as it is recommended")
    );
    let text = fs::read_to_string(bench.path("client.toml")).unwrap();
    assert_eq!(Policy::parse_toml(&text).unwrap().log.vkeys.len(), 2);

    // A bundle from before is renewed; its first checkpoint is signed by the old keys alone.
    bench.ok("verify tool-2.0 --policy client.toml");
    let said = bench.refused(1, "log-key-missing", "verify tool-1.0 --policy client.toml");
    assert!(said.contains("countersign refresh"), "{said}");
    bench.ok("refresh tool-1.0 --policy client.toml");
    bench.ok("verify tool-1.0 --policy client.toml");
    bench.ok("verify tool-1.0 --policy old.toml");
    copy(&bench, "client.toml", "policy.toml");
    bench.published("3.0", "release1");
    bench.ok("verify tool-3.0 --policy old.toml");

    // The overlap ends.
    bench.stop();
    refused(&bench, &["keys", "retire"], "--now");
    let retired = keys(&bench, &["retire", "--now"]);
    assert_eq!(retired["current"]["vkeys"], rotated["current"]["vkeys"]);
    assert_eq!(retired["retired"], before["current"]["vkeys"]);
    for gone in ["log-p256.pem", "log-ed25519.pem"] {
        assert!(!bench.path("log/private").join(gone).exists());
    }
    bench.serve();
    assert_eq!(signatures(&bench.url), 2);
    assert!(!fetched(&bench.url, "/readyz").contains("two pairs sign"));
    bench.published("4.0", "release1");
    for version in ["1.0", "2.0", "3.0", "4.0"] {
        bench.ok(&format!(
            "verify tool-{version} --policy client.toml --online"
        ));
    }
    // Who has not followed is told what happened; what was signed in the overlap still verifies.
    let said = bench.refused(1, "log-key-missing", "verify tool-4.0 --policy old.toml");
    assert!(said.contains("countersign trust update"), "{said}");
    let said = bench.refused(3, "log-key-missing", "trust update old.toml --yes");
    assert!(said.contains("new trust string"), "{said}");
    bench.ok("verify tool-3.0 --policy old.toml");
    // Old documents stay, and no new one lists the old keys.
    not_taken(&bench, &recommend("old.toml"));
    let documents = fs::read_dir(bench.path("log/public/trust")).unwrap();
    let names = documents.map(|d| d.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.collect();
    assert_eq!(names.len(), 3, "version 1's, all.toml's and new.toml's");
    for name in names {
        let hash = name.strip_suffix(".json").unwrap();
        let answer = fetched(&bench.url, &format!("/api/v1/trust/{hash}"));
        assert!(answer.starts_with("200 "), "{answer}");
    }
    bench.stop();
    let said = bench.server(&["check", "--quiet"]);
    let text = String::from_utf8(said.out).unwrap();
    assert_eq!(said.code, 0, "{text}{}", said.err);
}

/// Serves the log, whose checkpoints the witnesses in the file `witnesses` cosign.
fn serve_witnessed(bench: &mut Bench) {
    let mut command = Command::new(binary("countersign-server").unwrap());
    let address = bench.url.strip_prefix("http://").unwrap();
    command
        .args(["serve", "--admit", "open", "--data", "log", "--witnesses"])
        .args(["witnesses", "--listen", address])
        .current_dir(bench.dir.path());
    bench.server = Some(Process::start(command).unwrap());
}

/// Waits until the log says this at /readyz.
fn says(bench: &Bench, what: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = fetched(&bench.url, "/readyz");
        if answer.contains(what) {
            return;
        }
        assert!(Instant::now() < end, "want {what}: {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn witness(bench: &Bench, args: &str) -> String {
    let mut command = Command::new(binary("countersign-witness").unwrap());
    command
        .args(args.split_whitespace())
        .current_dir(bench.dir.path());
    let said = run(command).unwrap();
    assert_eq!(said.code, 0, "{args}\n{}", said.err);
    String::from_utf8(said.out).unwrap().trim().to_owned()
}

fn add_log(bench: &Bench, value: &Value) {
    let vkeys: Vec<String> = vkeys(value).iter().map(ToString::to_string).collect();
    witness(bench, &format!("add-log --data w {}", vkeys.join(" ")));
}

#[test]
fn a_witness_goes_on_by_the_old_keys_and_needs_the_new_ones_once_those_are_retired() {
    let mut bench = bench();
    bench.stop();
    let old = keys(&bench, &["list"])["current"]["vkeys"].clone();
    let vkey = witness(&bench, "init --data w --name w.example");
    add_log(&bench, &old);
    let mut serve = Command::new(binary("countersign-witness").unwrap());
    serve
        .args(["serve", "--data", "w", "--listen", "127.0.0.1:0"])
        .current_dir(bench.dir.path());
    let running = Process::start(serve).unwrap();
    let witnesses = |url: &str| format!("witness W {vkey}{url}\nquorum W\n");
    let asked = witnesses(&format!(" {}", running.url));
    fs::write(bench.path("witnesses"), asked).unwrap();
    let text = fs::read_to_string(bench.path("policy.toml")).unwrap();
    let mut cosigned = Policy::parse_toml(&text).unwrap();
    cosigned.witnesses_text = witnesses("");
    fs::write(bench.path("policy.toml"), cosigned.to_toml().unwrap()).unwrap();

    serve_witnessed(&mut bench);
    says(&bench, "ready\n");
    bench.published("1.0", "release1");
    bench.stop();
    let new = keys(&bench, &["rotate", "--overlap-days", "0"])["current"]["vkeys"].clone();
    policy(&bench, "new.toml", vkeys(&new));
    // The witness verifies by the keys that it knows; it ignores the others.
    serve_witnessed(&mut bench);
    says(&bench, "ready\n");
    bench.published("2.0", "release1");
    bench.ok("verify tool-2.0");
    bench.ok("verify tool-2.0 --policy new.toml");
    bench.stop();
    assert_eq!(keys(&bench, &["list"])["retiring"]["due"], true);
    keys(&bench, &["retire"]);

    // It knows none of the keys that sign now, and cosigns nothing, until it is told them.
    copy(&bench, "new.toml", "policy.toml");
    serve_witnessed(&mut bench);
    says(&bench, "does not trust this log's keys");
    assert!(fetched(&bench.url, "/readyz").starts_with("503"));
    add_log(&bench, &new);
    says(&bench, "ready\n");
    bench.published("3.0", "release1");
    bench.ok("verify tool-3.0");
    bench.ok("verify tool-1.0 --online");
}
