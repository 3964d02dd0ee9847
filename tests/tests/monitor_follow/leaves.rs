//! A log by all its leaves.

use super::desk::{found, gauge, now, policy, poll, poll_at, recorded, watch};
use countersign::monitor::alert::Class::{Degraded, Tampering, Unexpected};
use countersign_server::{Config, Server};
use countersign_tests::bench::{Bench, Proxy, ROOTS, bench};
use countersign_tests::copy_directory;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

const LEAVES: &str = "follow = \"leaves\"\n";

/// Founds another project in the bench's log.
fn found_project(bench: &Bench, name: &str, root: &str, release: &str) {
    let policy = fs::read_to_string(bench.path("policy.toml")).unwrap();
    let policy: toml::Value = toml::from_str(&policy).unwrap();
    let mut init = format!(
        "project init {name} --root-key {root} --release-key {release} --purl-prefix pkg:generic/{name} \
         --contact mailto:x@example.org --log {} --policy-out other.toml",
        bench.url
    );
    for vkey in policy["log"]["vkeys"].as_array().unwrap() {
        init.push_str(&format!(" --vkey {}", vkey.as_str().unwrap()));
    }
    let _ = fs::remove_file(bench.path("other.toml"));
    bench.ok(&init);
}

/// Appends leaves as they are; no server runs.
fn append(bench: &Bench, leaves: Vec<Vec<u8>>) {
    let server = Server::start(&Config::new(bench.path("log"))).unwrap();
    server.fill(leaves).unwrap();
    server.shutdown();
}

#[test]
fn all_that_is_said_with_the_keys_or_under_the_name_is_found() {
    let bench = bench();
    bench.published("1.0", "release1");
    let mut all = watch(&bench, "policy.toml", LEAVES);
    assert_eq!(all.len(), 1);
    let task = &mut all[0];
    assert_eq!(task.name(), "leaves log.example");
    let first = poll(task);
    assert_eq!(found(&first), [(Unexpected, "unexpected-release")]);
    assert_eq!(recorded(&first), ["project", "operation"]);
    assert!(first.whole && found(&poll(task)).is_empty());

    // Others' projects are others' matter, but not with these keys, nor under such a name.
    for key in ["a", "b", "c", "d"] {
        bench.key(key);
    }
    found_project(&bench, "zebra/other", "a", "b");
    assert!(poll(task).findings.is_empty());
    found_project(&bench, "zebra/thief", "c", "release1");
    let thief = poll(task);
    assert_eq!(found(&thief), [(Unexpected, "key-used-elsewhere")]);
    let subject = format!("key {} in log.example", bench.id("release1"));
    assert_eq!(thief.findings[0].subject, subject);
    found_project(&bench, "acme/t00l", "d", "b");
    let alike = poll(task);
    assert_eq!(found(&alike), [(Unexpected, "look-alike-project")]);
    assert_eq!(
        alike.findings[0].subject,
        "acme/t00l beside acme/tool in log.example"
    );

    // A restart goes on where it was.
    bench.ok(&format!(
        "keys revoke {} --reason lost {ROOTS}",
        bench.id("root3")
    ));
    let mut again = watch(&bench, "policy.toml", LEAVES).remove(0);
    assert_eq!(
        found(&poll(&mut again)),
        [(Unexpected, "unexpected-revocation")]
    );

    // A key that is only configured.
    let keys = format!("{LEAVES}keys = [\"{}\"]\n", bench.id("b"));
    let state = bench.path("monitor");
    fs::rename(&state, bench.path("first")).unwrap();
    let mut with = watch(&bench, "policy.toml", &keys).remove(0);
    let seen = poll(&mut with);
    let elsewhere = seen
        .findings
        .iter()
        .filter(|f| f.kind == "key-used-elsewhere");
    assert_eq!(elsewhere.count(), 3, "{seen:?}");
}

#[test]
fn a_leaf_that_cannot_be_read_is_said_and_stops_nothing() {
    let mut bench = bench();
    bench.stop();
    let junk = vec![
        b"{\"no\":1}".to_vec(),
        vec![0xff; 9],
        b"{\"apiVersion\":\"countersign/v1\",\"kind\":\"later\"}".to_vec(),
    ];
    append(&bench, junk);
    bench.serve();
    bench.published("1.0", "release1");
    let mut task = watch(&bench, "policy.toml", LEAVES).remove(0);
    let seen = poll(&mut task);
    let want = [
        (Tampering, "unreadable-leaf"),
        (Tampering, "unreadable-leaf"),
        (Unexpected, "unexpected-release"),
    ];
    assert_eq!(found(&seen), want);
    assert_ne!(seen.findings[0].id(), seen.findings[1].id());
    assert!(recorded(&seen).contains(&"unknown-leaves"));
    let details = &seen.findings[0].details;
    let file = &details.iter().find(|(n, _)| n == "evidence").unwrap().1;
    assert!(fs::read_to_string(file).unwrap().contains("\"leaf\":"));
    assert!(found(&poll(&mut task)).is_empty());
}

#[test]
fn a_backlog_is_read_in_steps_that_a_restart_keeps() {
    let mut bench = bench();
    bench.stop();
    let raw = |n: u64| countersign_tests::fill::raw_leaf(n);
    append(&bench, (0..4000).map(raw).collect());
    append(&bench, (0..4000).map(raw).collect());
    append(&bench, (0..4000).map(raw).collect());
    append(&bench, (0..4000).map(raw).collect());
    append(&bench, (0..4000).map(raw).collect());
    bench.serve();
    bench.published("1.0", "release1");
    let mut task = watch(&bench, "policy.toml", LEAVES).remove(0);
    let first = poll(&mut task);
    assert!(!first.whole && first.again && found(&first).is_empty());
    let mut task = watch(&bench, "policy.toml", LEAVES).remove(0);
    let second = poll(&mut task);
    assert!(second.whole && !second.again);
    assert_eq!(found(&second), [(Unexpected, "unexpected-release")]);
    assert!(gauge(&second, "poll_received_bytes") < gauge(&first, "poll_received_bytes"));
}

#[test]
fn leaves_that_are_withheld_become_suspicious_and_an_outage_does_not() {
    let mut bench = bench();
    // 0: honest; 1: no entries; 2: other entries; 3: an old checkpoint; 4: nothing at all.
    let mode = Arc::new(AtomicU8::new(0));
    let (asked, old) = (mode.clone(), std::sync::Mutex::new(Vec::new()));
    let proxy = Proxy::start(&bench.url, move |path, body| {
        let mut old = old.lock().unwrap();
        if old.is_empty() && path == "/checkpoint" {
            old.clone_from(&body);
        }
        match (asked.load(Relaxed), path) {
            (1, p) if p.starts_with("/tile/entries") => b"nothing".to_vec(),
            (2, p) if p.starts_with("/tile/entries") => {
                let mut body = body;
                let last = body.len() - 1;
                body[last] ^= 1;
                body
            }
            (3, "/checkpoint") => old.clone(),
            (4, _) => b"gone".to_vec(),
            _ => body,
        }
    });
    policy(&bench, "proxy.toml", &proxy.url);
    let mut task = watch(&bench, "proxy.toml", LEAVES).remove(0);
    assert!(found(&poll(&mut task)).is_empty());
    bench.published("1.0", "release1");
    let begun = now();
    for (step, (what, want)) in [
        (1, (Degraded, "leaves-unreadable")),
        (2, (Degraded, "leaves-unreadable")),
        // Nothing is known of the log meanwhile: an outage.
        (4, (Degraded, "checkpoint-invalid")),
    ]
    .into_iter()
    .enumerate()
    {
        mode.store(what, Relaxed);
        let at = begun + step as u64 * 60;
        assert_eq!(found(&poll_at(&mut task, at)), [want]);
    }
    // A week later it is back, and not at once whole.
    let later = begun + 7 * 86_400;
    mode.store(1, Relaxed);
    assert_eq!(
        found(&poll_at(&mut task, later)),
        [(Degraded, "leaves-unreadable")]
    );
    // An hour of it is too long; a restart between forgets nothing.
    let mut last = Vec::new();
    for minute in 1..=60 {
        if minute == 30 {
            task = watch(&bench, "proxy.toml", LEAVES).remove(0);
        }
        let seen = poll_at(&mut task, later + minute * 60);
        last = seen.findings;
    }
    assert_eq!(
        (last[0].class, last[0].kind.as_str()),
        (Tampering, "leaves-withheld")
    );
    // And then all is read.
    mode.store(0, Relaxed);
    let back = poll_at(&mut task, later + 4000);
    assert_eq!(found(&back), [(Unexpected, "unexpected-release")]);
    assert!(back.whole);
    mode.store(3, Relaxed);
    assert_eq!(found(&poll(&mut task)), [(Degraded, "stale-checkpoint")]);
    mode.store(0, Relaxed);

    // Another history by the same keys.
    bench.stop();
    copy_directory(&bench.path("log"), &bench.path("honest"));
    bench.serve();
    bench.published("1.1", "release1");
    assert_eq!(
        found(&poll(&mut task)),
        [(Unexpected, "unexpected-release")]
    );
    bench.stop();
    fs::remove_dir_all(bench.path("log")).unwrap();
    fs::rename(bench.path("honest"), bench.path("log")).unwrap();
    bench.serve();
    bench.state = "other/state.json";
    bench.published("2.0", "release1");
    bench.published("2.1", "release1");
    let forked = poll(&mut task);
    assert_eq!(found(&forked), [(Tampering, "not-consistent")]);
    let of = &forked.findings[0].details;
    let file = &of.iter().find(|(name, _)| name == "evidence").unwrap().1;
    bench.ok(&format!("evidence verify {file} --policy policy.toml"));
}
