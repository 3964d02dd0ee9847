//! A small log that has one of everything: full and partial tiles on two levels, two
//! projects, releases below and above the last full bundle, trust documents public and
//! waiting, and projects that wait and were refused.

use crate::common::{ORIGIN, Publisher, Running, artifact, copy, init, program, publisher};
use countersign_server::check::{Options, Report};
use countersign_server::{Config, Server};
use ledger::hex32;
use ledger::trust::TrustDocument;
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use std::sync::OnceLock;
use tempfile::TempDir;

/// Leaves that [`filled`] adds, opaque ones.
pub const RAW: u64 = 290;

pub struct Log {
    pub dir: TempDir,
    pub vkeys: Vec<String>,
}

impl Log {
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Opaque leaves, small, so that a full bundle of them is.
pub fn raw(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let leaf = |i| format!(r#"{{"apiVersion":"countersign/v1","kind":"test","n":{i}}}"#);
    range.map(|i| leaf(i).into_bytes()).collect()
}

fn upload(server: &Running, vkeys: &[String], project: &Publisher) {
    let name = &project.project.name;
    let document = TrustDocument::new(ORIGIN, vkeys.to_vec(), project.id, name, "quorum none\n");
    let (bytes, hash) = (document.to_canonical().unwrap(), document.hash().unwrap());
    let path = format!("/api/v1/trust/{}", hex32(&hash));
    assert_eq!(
        server.send("PUT", &path, "application/json", &bytes).status,
        204
    );
}

pub fn release(server: &Running, by: &Publisher, n: u64) {
    let name = format!("file-{n}");
    let purl = format!("{}/tool@{n}", by.project.purl_prefixes[0]);
    let answer = server.submit(&by.envelope(&purl, &[artifact(&name, name.as_bytes())]));
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
}

/// The log, made once; nobody changes it.
pub fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let vkeys = init(dir.path());
        let (acme, other) = (
            publisher("acme/tool", "pkg:generic/acme"),
            publisher("other/tool", "pkg:generic/other"),
        );
        let server = Running::start(dir.path(), &["--admit", "open"]);
        for project in [&acme, &other] {
            assert_eq!(server.submit(&project.first).status, 200);
        }
        (0..3).for_each(|n| release(&server, &acme, n));
        upload(&server, &vkeys, &acme);
        assert!(server.stop());
        let server = Server::start(&Config::new(dir.path())).unwrap();
        server.fill(raw(0..RAW)).unwrap();
        server.shutdown();
        let server = Running::start(dir.path(), &["--admit", "approve"]);
        (0..3).for_each(|n| release(&server, &other, n));
        let (waits, refused) = (
            publisher("waits/tool", "pkg:generic/waits"),
            publisher("refused/tool", "pkg:generic/refused"),
        );
        for project in [&waits, &refused] {
            assert_eq!(server.submit(&project.first).status, 202);
        }
        upload(&server, &vkeys, &waits);
        let data = dir.path().to_str().unwrap();
        let out = program(&["project", "refuse", "refused/tool", "--data", data]);
        assert!(out.status.success());
        assert!(server.stop());
        Log { dir, vkeys }
    })
}

/// A copy to do something to.
pub fn copied() -> TempDir {
    let to = tempfile::tempdir().unwrap();
    copy(log().path(), to.path());
    // A key that others can read is refused, as it must be.
    std::fs::set_permissions(
        to.path().join("private"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    to
}

/// Checking as the program does it, in this process.
pub fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_countersign-server"))
}

/// Runs the program on a directory.
pub fn run(args: &[&str], dir: &Path, more: &[&str]) -> Output {
    let dir = dir.to_str().unwrap();
    let args: Vec<&str> = args
        .iter()
        .map(|a| if *a == "DIR" { dir } else { a })
        .collect();
    program(&[args.as_slice(), more].concat())
}

/// `check --data DIR --json` with its exit code.
pub fn check_json(dir: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let out = run(&["check", "--json", "--data", "DIR"], dir, more);
    let text = String::from_utf8(out.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(text.lines().count(), 1, "one object: {text}{stderr}");
    (out.status.code(), serde_json::from_str(&text).unwrap())
}

/// Kinds of the findings of a report.
pub fn kinds(report: &Report) -> Vec<&'static str> {
    report.heard.findings.iter().map(|f| f.kind).collect()
}
