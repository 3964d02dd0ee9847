//! What happened, what was reported, and who checks it.

use countersign_tests::bench::{Bench, ROOTS, bench};
use countersign_tests::{Said, binary, copy_directory, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a thief or a careless person writes for everybody to read.
pub const HOSTILE: &str = "<script>alert(1)</script>~](javascript:alert(1))~\u{202e}gpj";

/// Versions 1 to 3 by a key that is then in other hands: 2 is a thief's, 3 is genuine.
pub struct Scene {
    pub bench: Bench,
    pub old: String,
}

impl Scene {
    pub fn begin() -> Self {
        let bench = bench();
        let old = bench.id("release1");
        bench.key("release2");
        for version in ["1", "2", "3"] {
            bench.published(version, "release1");
        }
        Self { bench, old }
    }

    /// What the owner does about it.
    pub fn answered() -> Self {
        let scene = Self::begin();
        let (bench, old, second) = (&scene.bench, &scene.old, scene.entry("2"));
        bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
        bench.ok(&format!(
            "keys revoke {old} --reason {HOSTILE} --compromised-since {second} {ROOTS}"
        ));
        bench.ok("publish tool-3 --project acme/tool --version 3 --key release2 --restate");
        bench.ok(&format!("withdraw --version 1 --project acme/tool --reason leaks --successor {HOSTILE} --key release2 --yes"));
        bench.published("4", "release2");
        scene
    }

    /// Where the first release of a version stands.
    pub fn entry(&self, version: &str) -> u64 {
        let all = self.bench.json("releases acme/tool --json");
        let all = all["releases"].as_array().unwrap().clone();
        let ends = format!("@{version}");
        let of = |r: &&Value| r["purl"].as_str().unwrap().ends_with(&ends);
        all.iter().find(of).unwrap()["index"].as_u64().unwrap()
    }

    pub fn report(&self, question: &str, out: &str) -> Value {
        self.bench
            .ok(&format!("incident report acme/tool {question} --out {out}"));
        let bytes = fs::read(self.bench.path(out).join("report.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// Somebody who has a report and the policy, and nothing else: no state, and no log to ask.
pub struct Stranger {
    pub dir: tempfile::TempDir,
}

impl Stranger {
    pub fn given(bench: &Bench, report: &str) -> Self {
        let stranger = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        copy_directory(&bench.path(report), &stranger.report());
        let policy = fs::read_to_string(bench.path("policy.toml")).unwrap();
        let offline = policy.replace(&bench.url, "http://127.0.0.1:9");
        fs::write(stranger.dir.path().join("policy.toml"), offline).unwrap();
        stranger
    }

    pub fn report(&self) -> PathBuf {
        self.dir.path().join("report")
    }

    /// Verifying it, by this program.
    pub fn command(&self, more: &str) -> Command {
        let mut command = Command::new(binary("countersign").unwrap());
        command
            .args(["incident", "verify", "report"])
            .args(more.split_whitespace())
            .env("COUNTERSIGN_STATE", self.dir.path().join("state.json"))
            .env("COUNTERSIGN_POLICY", self.dir.path().join("policy.toml"))
            .current_dir(self.dir.path());
        command
    }

    pub fn verify(&self, more: &str) -> Said {
        run(self.command(more)).unwrap()
    }

    pub fn verified(&self) -> Vec<String> {
        let said = self.verify("");
        let out = String::from_utf8(said.out).unwrap();
        assert_eq!(said.code, 0, "{out}\n{}", said.err);
        let proven = out.lines().filter(|l| l.starts_with("proven: entry "));
        proven.map(str::to_owned).collect()
    }

    /// With something changed the report is refused so; then it is put back.
    pub fn refused(&self, kind: &str, change: impl FnOnce(&Path)) -> String {
        self.fails(1, kind, change)
    }

    /// The same with another exit code.
    pub fn fails(&self, code: i32, kind: &str, change: impl FnOnce(&Path)) -> String {
        let (whole, report) = (self.dir.path().join("whole"), self.report());
        copy_directory(&report, &whole);
        change(&report);
        let said = self.verify("");
        assert!(
            said.code == code && said.err.contains(&format!("[{kind}]")),
            "want {code} {kind}, got {}: {}",
            said.code,
            said.err
        );
        assert!(said.err.contains("hint:"), "{}", said.err);
        let json: Value = serde_json::from_slice(&self.verify("--json").out).unwrap();
        if json.get("verified").is_some() {
            assert_eq!(json["verified"], false, "{json}");
        }
        fs::remove_dir_all(&report).unwrap();
        fs::rename(whole, report).unwrap();
        String::from_utf8(said.out).unwrap() + &said.err
    }
}

pub fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, ledger::json::to_canonical(&value).unwrap()).unwrap();
}

pub fn numbers(list: &Value, name: &str) -> Vec<u64> {
    let list = list.as_array().unwrap().iter();
    list.map(|v| v[name].as_u64().unwrap()).collect()
}
