//! The program itself: its commands, and what it leaves on disk.

use crate::bench::{NAME, ask, log};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tlog::vkey::{Algorithm, VerifierKey};

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign-witness"))
        .args(args)
        .output()
        .unwrap()
}

/// What a command that succeeds says.
pub fn said(args: &[&str]) -> String {
    let out = program(args);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{args:?}: {error}");
    String::from_utf8(out.stdout).unwrap()
}

/// What a command that fails says.
fn refused(args: &[&str]) -> String {
    let out = program(args);
    assert_eq!(out.status.code(), Some(1), "{args:?}");
    assert!(out.stdout.is_empty(), "{args:?}");
    String::from_utf8(out.stderr).unwrap()
}

/// A running witness; killed when dropped.
pub struct Running {
    child: Child,
    pub addr: SocketAddr,
}

impl Running {
    pub fn start(dir: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign-witness"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addr = line.trim().strip_prefix("listening on http://").unwrap();
        let addr = addr.parse().unwrap();
        Self { child, addr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_witness_is_made_once_and_its_key_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("w");
    let data = data.to_str().unwrap();
    for name in ["", "two words", "a+b", "a\u{2003}b", &"x".repeat(201)] {
        let why = refused(&["init", "--data", data, "--name", name]);
        assert!(why.contains("name"), "{why}");
        assert!(!Path::new(data).exists());
    }
    let printed = said(&["init", "--data", data, "--name", NAME]);
    let vkey = VerifierKey::parse(printed.trim()).unwrap();
    assert_eq!(
        (vkey.name(), vkey.algorithm()),
        (NAME, Algorithm::CosignatureV1)
    );
    assert_eq!(said(&["vkey", "--data", data]), printed);
    let mode = |path: &str| {
        let found = std::fs::metadata(Path::new(data).join(path)).unwrap();
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode("private"), 0o700);
    assert_eq!(mode("private/witness-ed25519.pem"), 0o600);
    let again = refused(&["init", "--data", data, "--name", "other"]);
    assert!(again.contains("already holds the witness"), "{again}");
    assert_eq!(said(&["vkey", "--data", data]), printed);
    let none = dir.path().join("none");
    let none = refused(&["serve", "--data", none.to_str().unwrap()]);
    assert!(none.contains("holds no witness: run"), "{none}");
    assert!(said(&["completions", "bash"]).contains("countersign-witness"));
}

#[test]
fn a_log_is_added_to_a_running_witness_and_removed_and_nothing_else_is_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let witness = said(&["init", "--data", data, "--name", NAME]);
    assert!(said(&["logs", "--data", data]).starts_with("no logs"));
    let running = Running::start(dir.path(), &[]);
    let log = log("log.example", 3);
    let body = log.body(0, 3);
    let ask = |body: &[u8]| ask(running.addr, "POST", "/add-checkpoint", body);
    assert_eq!(ask(&body).said(), (404, "unknown-log".into()));

    let [ed25519, p256] = &log.vkeys()[..] else {
        panic!("two keys")
    };
    // One bad key, and none is added.
    let bad = ed25519.replace("log.example+", "log.example+0");
    for bad in [&bad, witness.trim(), "log.example"] {
        refused(&["add-log", "--data", data, ed25519, bad]);
    }
    assert!(said(&["logs", "--data", data]).starts_with("no logs"));
    let added = said(&["add-log", "--data", data, ed25519, p256, ed25519]);
    assert_eq!(
        added,
        "added log.example\nanother key of log.example\nknown already: log.example\n"
    );
    let list: Value = serde_json::from_str(&said(&["logs", "--data", data, "--json"])).unwrap();
    assert_eq!(list["logs"].as_array().unwrap().len(), 1);
    let mut vkeys = log.vkeys();
    vkeys.sort();
    assert_eq!(list["logs"][0]["vkeys"], serde_json::json!(vkeys));

    let until = |status| {
        let end = Instant::now() + Duration::from_secs(20);
        while ask(&body).status != status {
            assert!(Instant::now() < end, "no {status} in time");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until(200);
    said(&["remove-log", "--data", data, "log.example"]);
    let why = refused(&["remove-log", "--data", data, "log.example"]);
    assert!(why.contains("no log of this witness"), "{why}");
    until(404);
    // What was cosigned is not forgotten with it.
    said(&["add-log", "--data", data, ed25519]);
    until(409);
}

#[test]
fn one_witness_at_a_time_and_only_on_its_own_state() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    said(&["init", "--data", data, "--name", NAME]);
    let serve = ["serve", "--data", data, "--listen", "127.0.0.1:0"];
    let running = Running::start(dir.path(), &[]);
    let why = refused(&serve);
    assert!(why.contains("in use by another"), "{why}");
    drop(running);
    let why = refused(&["serve", "--data", data, "--listen", "0.0.0.0:0"]);
    assert!(why.contains("--public-http"), "{why}");

    // Lost state is never made anew: it would forget what was cosigned.
    let (state, away) = (dir.path().join("private/state"), dir.path().join("away"));
    std::fs::rename(&state, &away).unwrap();
    let why = refused(&serve);
    assert!(
        why.contains("state is missing") && why.contains("new key"),
        "{why}"
    );
    assert!(!state.exists());
    std::fs::create_dir(&state).unwrap();
    assert!(refused(&serve).contains("state is missing"));
    std::fs::remove_dir(&state).unwrap();
    let other = tempfile::tempdir().unwrap();
    let others = other.path().to_str().unwrap();
    said(&["init", "--data", others, "--name", NAME]);
    std::fs::rename(other.path().join("private/state"), &state).unwrap();
    assert!(refused(&serve).contains("state of another witness"));
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&away, &state).unwrap();

    let marker = dir.path().join("witness.json");
    let text = std::fs::read_to_string(&marker).unwrap();
    for (bad, part) in [
        (text.replace("\"format\":1", "\"format\":2"), "newer"),
        (
            text.replace("witness\",\"name", "log\",\"name"),
            "another kind",
        ),
        (text.replace(NAME, "example.com/other"), "it gives"),
        (text.replace('{', "{\"x\":1,"), "put back the file"),
        ("{".into(), "witness.json"),
    ] {
        std::fs::write(&marker, &bad).unwrap();
        let why = refused(&serve);
        assert!(why.contains(part), "{bad}: {why}");
    }
    std::fs::remove_file(&marker).unwrap();
    assert!(refused(&serve).contains("half written"));
    std::fs::write(&marker, &text).unwrap();
    let key = dir.path().join("private/witness-ed25519.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&serve).contains("key"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    drop(Running::start(dir.path(), &[]));
}
