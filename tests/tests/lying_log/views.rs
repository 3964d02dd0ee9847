//! A newer view for a bundle: `refresh`, `verify --online`, `get`; and what is remembered of it.

use super::bench::{Bench, ROOTS};
use super::liar::Liar;
use super::stub::{Stub, forward, get};
use ledger::bundle::Bundle;
use ledger::leaf::Leaf;
use std::sync::{Arc, Mutex};
use tlog::vkey::VerifierKey;

/// The log at `url`, but for the bundles that it answers with.
fn between(url: &str, change: impl Fn(Bundle) -> Bundle + Send + Sync + 'static) -> Stub {
    let url = url.to_owned();
    Stub::serve(move |request| {
        let (status, body) = forward(&url, request);
        if !request.is("GET", "/bundle") || status != 200 {
            return (status, body);
        }
        let changed = change(Bundle::parse(&body).unwrap());
        (200, changed.to_bytes().unwrap())
    })
}

/// 1.0 with the bundle of its publication, in a log that has grown since.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.published("1.0", "release1");
    bench.published("1.1", "release1");
    bench
}

/// A signed note of another size, with nobody's signature on it.
fn unsigned(bundle: &Bundle, size: u64) -> String {
    let mut lines: Vec<String> = bundle.first.lines().map(str::to_owned).collect();
    lines[1] = size.to_string();
    lines.join("\n") + "\n"
}

#[test]
fn an_answer_that_is_not_whole_leaves_the_bundle_as_it_is_and_a_mirror_is_asked() {
    type Change = fn(Bundle) -> Bundle;
    let changes: [(&str, Change); 8] = [
        ("no versions", |mut b| {
            b.projects.clear();
            b
        }),
        ("another proof of a version", |mut b| {
            b.projects[0].proof[0][0] ^= 1;
            b
        }),
        ("another proof of the entry", |mut b| {
            b.entry.proof[0][0] ^= 1;
            b
        }),
        ("another proof of the head", |mut b| {
            b.head.proof[0][0] ^= 1;
            b
        }),
        ("no proofs of absence", |mut b| {
            b.head.withdrawn.clear();
            b
        }),
        ("another state", |mut b| {
            b.head.state.frozen = true;
            b
        }),
        ("unsigned and smaller", |mut b| {
            b.first = unsigned(&b, 2);
            b
        }),
        ("unsigned and larger", |mut b| {
            b.first = unsigned(&b, 1000);
            b
        }),
    ];
    let mut bench = bench();
    let before = std::fs::read(bench.path("tool-1.0.bundle")).unwrap();
    for (what, change) in changes {
        let log = bench.url.clone();
        let between = between(&log, change);
        let _ = std::fs::remove_file(bench.path("x.json"));
        bench.machine(("x.json", "x.toml"), &[&between.url], |_| ());
        let said = bench.client("refresh tool-1.0");
        assert_eq!(said.code, 3, "{what}: {}", said.err);
        let after = std::fs::read(bench.path("tool-1.0.bundle")).unwrap();
        assert!(before == after, "{what}: the bundle was changed");
        // By its own view the release is good, and that nobody could be asked is said.
        let said = bench.client("verify tool-1.0 --online");
        assert_eq!(said.code, 0, "{what}: {}", said.err);
        assert!(
            said.err.contains("could not be asked"),
            "{what}: {}",
            said.err
        );
        bench.machine(("x.json", "x.toml"), &[&between.url, &log], |_| ());
        assert!(bench.ok("refresh tool-1.0").starts_with("refreshed: "));
        bench.ok("verify tool-1.0");
        std::fs::write(bench.path("tool-1.0.bundle"), &before).unwrap();
    }
}

/// Whoever keeps the bundles can write any checkpoint into one: that is no word of the log's.
#[test]
fn a_bundle_whose_own_checkpoint_was_changed_accuses_no_log() {
    let mut bench = bench();
    let log = bench.url.clone();
    bench.machine(("x.json", "x.toml"), &[&log], |_| ());
    let path = bench.path("tool-1.0.bundle");
    let mut bundle = Bundle::parse(&std::fs::read(&path).unwrap()).unwrap();
    let mut lines: Vec<&str> = bundle.first.lines().collect();
    let root = ledger::b64(&[1; 32]);
    lines[2] = &root;
    bundle.first = lines.join("\n") + "\n";
    std::fs::write(&path, bundle.to_bytes().unwrap()).unwrap();
    for (code, kind, args) in [
        (3, "not-consistent", "refresh tool-1.0"),
        (1, "checkpoint-invalid", "verify tool-1.0 --online"),
        (1, "checkpoint-invalid", "verify tool-1.0"),
    ] {
        let said = bench.refused(code, kind, args);
        assert!(!said.contains("two histories"), "{said}");
        assert!(!said.contains("evidence"), "{said}");
    }
    assert!(!bench.path("evidence").exists());
}

#[test]
fn an_older_view_is_not_the_newest_and_a_mirror_is_asked() {
    let mut bench = bench();
    // What the log answered about 1.1 when that was its newest; then it grew.
    let index = Bundle::parse(&std::fs::read(bench.path("tool-1.1.bundle")).unwrap());
    let path = format!("/api/v1/entries/{}/bundle", index.unwrap().entry.index);
    let old = get(&bench.url, &path);
    bench.published("1.2", "release1");
    bench.ok("refresh tool-1.1");
    let log = bench.url.clone();
    let replay = Stub::serve(move |request| match request.path == path {
        true => (200, old.clone()),
        false => forward(&log, request),
    });
    let log = bench.url.clone();
    bench.machine(("x.json", "x.toml"), &[&replay.url], |_| ());
    // The bundle has a newer one.
    bench.refused(3, "stale-view", "refresh tool-1.1");
    bench.machine(("x.json", "x.toml"), &[&replay.url, &log], |_| ());
    assert!(bench.ok("refresh tool-1.1").starts_with("up to date: "));
}

#[test]
fn a_log_that_stands_still_is_refreshed_by_newer_cosignatures() {
    let mut bench = Bench::new();
    bench.published("1.0", "release1");
    let key = keys::Ed25519Secret::generate().unwrap();
    let vkey = VerifierKey::cosignature("w.example", &key.public_bytes()).unwrap();
    let key = key.to_pkcs8_der();
    let key = move || keys::Ed25519Secret::from_pkcs8_der(&key).unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    // Dated before its witness saw it.
    let mut liar = Liar::new(&bench.path("log"), &bench.url, |mut leaf| {
        if let Leaf::Statement(s) = &mut leaf {
            s.time = 1;
        }
        leaf
    });
    liar.witness = Some((key(), now - 100_000));
    let liar = Arc::new(Mutex::new(liar));
    let served = liar.clone();
    let log = Stub::serve(move |request| served.lock().unwrap().answer(request));
    let own = Bundle::parse(&std::fs::read(bench.path("tool-1.0.bundle")).unwrap()).unwrap();
    let path = format!("/api/v1/entries/{}/bundle", own.entry.index);
    std::fs::write(bench.path("tool-1.0.bundle"), get(&log.url, &path)).unwrap();
    bench.machine(("w.json", "w.toml"), &[&log.url], |policy| {
        policy.witnesses_text = format!("witness W {vkey}\nquorum W\n");
        policy.max_age = Some(50_000);
    });
    bench.refused(1, "time", "verify tool-1.0 --online");
    liar.lock().unwrap().witness = Some((key(), now - 1000));
    assert!(bench.ok("refresh tool-1.0").starts_with("refreshed: "));
    bench.ok("verify tool-1.0");
    assert!(bench.ok("refresh tool-1.0").starts_with("up to date: "));
}

#[test]
fn a_revocation_that_was_seen_once_is_remembered_though_the_release_is_refused() {
    let mut bench = bench();
    let first = std::fs::read(bench.path("tool-1.0.bundle")).unwrap();
    let index = Bundle::parse(&first).unwrap().entry.index;
    let id = bench.id("release1");
    bench.ok(&format!(
        "keys revoke {id} --reason stolen --compromised-since {index} {ROOTS}"
    ));
    bench.refused(1, "void", "refresh tool-1.0");
    // A third machine asks, and the log has nothing newer than its bundle: that is remembered too.
    let log = bench.url.clone();
    bench.machine(("third.json", "third.toml"), &[&log], |_| ());
    bench.refused(1, "void", "refresh tool-1.0");
    assert!(bench.remembered() > index);
    // Another machine, offline: no address to ask.
    bench.machine(("offline.json", "offline.toml"), &[], |_| ());
    let void = "verify tool-1.0";
    let refreshed = std::fs::read(bench.path("tool-1.0.bundle")).unwrap();
    std::fs::write(bench.path("tool-1.0.bundle"), &first).unwrap();
    bench.ok(void);
    std::fs::write(bench.path("tool-1.0.bundle"), &refreshed).unwrap();
    bench.refused(1, "void", void);
    std::fs::write(bench.path("tool-1.0.bundle"), &first).unwrap();
    bench.refused(1, "void", void);
}

#[test]
fn get_and_run_ask_mirrors_where_the_policy_has_no_other_address_and_say_so_where_it_has_none() {
    let mut bench = bench();
    let served = bench.path("served");
    std::fs::create_dir(&served).unwrap();
    for file in ["tool-1.0", "tool-1.0.bundle"] {
        std::fs::copy(bench.path(file), served.join(file)).unwrap();
    }
    let storage = countersign_tests::Storage::serve(&served).unwrap();
    let id = bench.id("release1");
    bench.ok(&format!(
        "keys revoke {id} --reason stolen --compromised-since 2 {ROOTS}"
    ));
    let log = bench.url.clone();
    let get = format!("get {}/tool-1.0 --version 1.0 -o got", storage.url);
    bench.machine(("none.json", "none.toml"), &[], |_| ());
    let said = bench.client(&get);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("could not be asked"), "{}", said.err);
    bench.machine(("m.json", "m.toml"), &[], |policy| {
        policy.log.mirrors = vec![log]
    });
    bench.refused(1, "void", &get);
    let run = get.replace("get ", "run ").replace(" -o got", "");
    bench.machine(("m.json", "m.toml"), &[], |_| ());
    // What the mirror showed is remembered, and binds where nobody is asked.
    let said = bench.client(&run);
    assert!(said.err.contains("[void]"), "{}", said.err);
}

#[test]
fn what_get_refuses_binds_the_bundle_from_before_too() {
    let mut bench = bench();
    let served = bench.path("served");
    std::fs::create_dir(&served).unwrap();
    std::fs::copy(bench.path("tool-1.0"), served.join("tool-1.0")).unwrap();
    std::fs::copy(bench.path("tool-1.0.bundle"), bench.path("first.bundle")).unwrap();
    let id = bench.id("release1");
    bench.ok(&format!(
        "keys revoke {id} --reason stolen --compromised-since 2 {ROOTS}"
    ));
    bench.refused(1, "void", "refresh tool-1.0");
    std::fs::copy(
        bench.path("tool-1.0.bundle"),
        served.join("tool-1.0.bundle"),
    )
    .unwrap();
    let storage = countersign_tests::Storage::serve(&served).unwrap();
    // Nobody is asked: what the bundle itself proves is all that is known.
    bench.machine(("g.json", "g.toml"), &[], |_| ());
    let first = "verify tool-1.0 --bundle first.bundle";
    bench.ok(first);
    let get = format!("get {}/tool-1.0 --version 1.0 -o got", storage.url);
    bench.refused(1, "void", &get);
    bench.refused(1, "void", first);
    assert!(!bench.path("got").exists());
}
