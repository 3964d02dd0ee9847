//! `countersign-load` against the built server: what it says it did is what the log has.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign_tests::wire::{Connection, Place};
use countersign_tests::{Process, Said, binary, run};
use ledger::leaf::Leaf;
use ledger::statement::Body;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::tile::{EntryTile, parse_bundle};

struct Bench {
    dir: tempfile::TempDir,
    server: Process,
}

impl Bench {
    /// A log that admits everybody, and the project acme/x in it.
    fn new() -> Self {
        Self::with(&[])
    }

    /// The same, served with these arguments too.
    fn with(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("log");
        let program = binary("countersign-server").unwrap();
        let mut init = Command::new(&program);
        init.args(["init", "--origin", "log.example", "--data"])
            .arg(&data);
        let vkeys = String::from_utf8(run(init).unwrap().out).unwrap();
        let mut serve = Command::new(&program);
        serve.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admit",
            "open",
            "--data",
        ]);
        serve.arg(&data).args(more);
        let server = Process::start(serve).unwrap();
        let bench = Self { dir, server };
        for key in ["root.key", "release.key", "strange.key"] {
            bench.client(&["keys", "generate", "--unencrypted", "--out", key]);
        }
        let mut args = vec!["project", "init", "acme/x", "--log", &bench.server.url];
        args.extend(["--root-key", "root.key", "--release-key", "release.key"]);
        args.extend([
            "--purl-prefix",
            "pkg:generic/acme/x",
            "--policy-out",
            "policy.toml",
        ]);
        args.extend(vkeys.lines().flat_map(|v| ["--vkey", v]));
        bench.client(&args);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn client(&self, args: &[&str]) {
        let mut command = Command::new(binary("countersign").unwrap());
        command
            .args(args)
            .env("COUNTERSIGN_STATE", self.path("state.json"));
        command.current_dir(self.dir.path());
        let said = run(command).unwrap();
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
    }

    fn load(&self, args: &[&str]) -> (Said, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-load"));
        command
            .args(["--log", &self.server.url, "--json"])
            .args(args);
        command.current_dir(self.dir.path());
        let said = run(command).unwrap();
        let value = serde_json::from_slice(&said.out).unwrap_or_default();
        (said, value)
    }

    /// Releases in the log, counted in its entry bundles.
    fn releases(&self) -> u64 {
        let place = Place::parse(&self.server.url).unwrap();
        let mut log = Connection::new(&place, Duration::from_secs(30));
        let note = Note::parse(&log.body("/checkpoint").unwrap()).unwrap();
        let size = Checkpoint::parse(&note.text).unwrap().size;
        let mut releases = 0;
        for index in 0..size.div_ceil(256) {
            let width = u16::try_from((size - index * 256).min(256)).unwrap();
            let path = EntryTile { index, width }.path();
            let bytes = log.body(&format!("/{path}")).unwrap();
            for entry in parse_bundle(&bytes, width).unwrap() {
                let leaf = Leaf::parse(&entry).unwrap();
                if let Leaf::Statement(s) = leaf
                    && matches!(s.statement.body, Body::Release(_))
                {
                    releases += 1;
                }
            }
        }
        releases
    }
}

fn number(value: &Value, path: &str) -> f64 {
    value
        .pointer(path)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no {path} in {value}"))
}

fn count(value: &Value, path: &str) -> u64 {
    value
        .pointer(path)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no {path} in {value}"))
}

#[test]
fn what_a_load_says_is_what_the_log_has() {
    let bench = Bench::new();
    let mine = ["--project", "acme/x", "--key", "release.key"];
    let with = |more: &[&'static str]| [&mine[..], more].concat();

    // Closed loop, repeating some, reading beside it, and verifying all.
    let (said, closed) = bench.load(&with(&[
        "--releases",
        "200",
        "--connections",
        "8",
        "--duplicates",
        "0.2",
        "--readers",
        "1",
        "--verify",
        "policy.toml",
    ]));
    assert_eq!(said.code, 0, "{} {}", said.err, closed);
    assert_eq!(
        bench.releases(),
        200,
        "each once, however often it was sent"
    );
    assert_eq!(count(&closed, "/accepted"), 200);
    assert_eq!(count(&closed, "/verified"), 200);
    let repeated = count(&closed, "/duplicates");
    assert!((5..150).contains(&repeated), "{repeated}");
    assert_eq!(count(&closed, "/offered"), 200 + repeated);
    assert_eq!(closed["errors"], serde_json::json!({}));
    assert_eq!(closed["mode"], "closed");
    for positive in [
        "/acceptedPerSecond",
        "/floor/micros",
        "/latencyMs/p50",
        "/latencyMs/p99",
        "/latencyMs/p99.9",
        "/ratio",
        "/readers/checkpoints",
        "/readers/latencyMs/p50",
        "/readers/perSecond",
        "/seconds",
        "/server/cpuSeconds",
        "/server/residentBytes",
    ] {
        assert!(number(&closed, positive) > 0.0, "{positive} in {closed}");
    }
    let (p50, p99) = (
        number(&closed, "/latencyMs/p50"),
        number(&closed, "/latencyMs/p99"),
    );
    assert!(p50 <= p99 && p99 <= number(&closed, "/latencyMs/max"));
    let rate = number(&closed, "/acceptedPerSecond") * number(&closed, "/seconds");
    assert!((rate - 200.0).abs() < 1e-6, "{rate}");

    // Open loop: 60 releases at 200 a second take 0.3 s, whatever the log does.
    let (said, open) = bench.load(&with(&["--releases", "60", "--rate", "200"]));
    assert_eq!(said.code, 0, "{} {}", said.err, open);
    assert_eq!(
        (count(&open, "/accepted"), count(&open, "/offered")),
        (60, 60)
    );
    assert!(number(&open, "/seconds") >= 59.0 / 200.0, "{open}");
    assert_eq!(open["mode"], "open");
    assert_eq!(bench.releases(), 260, "another run's releases are others");

    // A key that is not the project's: counted by kind, and nothing is logged.
    let (said, wrong) = bench.load(&[
        "--project",
        "acme/x",
        "--key",
        "strange.key",
        "--releases",
        "20",
    ]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert_eq!(
        wrong["errors"],
        serde_json::json!({ "unauthorised-key": 20 })
    );
    assert_eq!(count(&wrong, "/accepted"), 0);
    assert_eq!(bench.releases(), 260);
}

#[test]
fn above_its_peak_the_log_turns_away_and_what_it_takes_is_logged() {
    let bench = Bench::with(&["--queue", "1"]);
    let mut args = vec!["--project", "acme/x", "--key", "release.key"];
    args.extend(["--releases", "400", "--rate", "4000", "--duration", "1"]);
    args.extend(["--max-connections", "32"]);
    let (said, value) = bench.load(&args);
    assert_eq!(said.code, 0, "no room is no error: {} {}", said.err, value);
    let (accepted, busy) = (count(&value, "/accepted"), count(&value, "/errors/busy"));
    assert!(accepted > 0 && busy > 0, "{value}");
    assert_eq!(count(&value, "/turnedAway"), busy);
    let sent = count(&value, "/offered") - count(&value, "/notSent");
    assert_eq!(sent, accepted + busy, "every send has its answer");
    assert_eq!(bench.releases(), accepted);
}

#[test]
fn a_project_can_be_founded_and_what_cannot_be_asked_is_said() {
    let bench = Bench::new();
    let args = [
        "--new-project",
        "bench",
        "--releases",
        "10",
        "--connections",
        "2",
    ];
    let (said, value) = bench.load(&args);
    assert_eq!(said.code, 0, "{} {}", said.err, value);
    assert_eq!(bench.releases(), 10);
    let name = value["project"].as_str().unwrap();
    assert!(name.starts_with("bench/load-"), "{name}");

    let key = ["--key", "release.key", "--releases", "1"];
    let (said, _) = bench.load(&[&["--project", "acme/unknown"][..], &key].concat());
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("unknown-project") && said.err.contains("project init"),
        "{}",
        said.err
    );
    let (said, _) = bench.load(&["--releases", "1"]);
    assert_eq!(said.code, 2, "no project: {}", said.err);

    // Nobody listens there any more.
    let Bench { dir, server } = bench;
    let url = server.url.clone();
    server.stop().unwrap();
    assert_eq!(load_at(&url, dir.path()), 2);
}

fn load_at(url: &str, dir: &Path) -> i32 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-load"));
    command.args(["--log", url, "--releases", "1", "--new-project", "bench"]);
    command.current_dir(dir);
    run(command).unwrap().code
}
