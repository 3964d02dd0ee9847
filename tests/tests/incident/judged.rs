//! What of a report is judged whoever made it, whatever stands beside it, and what is not there.

use super::scene::{Scene, Stranger, edit};
use ledger::{hex32, sha256};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const JSON: &str = "report.json";

/// By another program that writes the same form of report.
fn by_another(v: &mut Value) {
    v["asked"]["madeBy"] = json!("countersign 9.9.9");
}

/// Of a form that is not known.
fn of_another_form(v: &mut Value) {
    by_another(v);
    v["reportFormat"] = json!(99);
}

fn proven(said: &str) -> usize {
    said.lines()
        .filter(|l| l.starts_with("proven: entry "))
        .count()
}

#[test]
fn facts_are_judged_whoever_made_the_report() {
    let scene = Scene::answered();
    let report = scene.report(&format!("--key {}", scene.old), "report");
    let lines = report["timeline"].as_array().unwrap().len();
    let stranger = Stranger::given(&scene.bench, "report");
    let mut good = report["good"].clone();
    match &mut good {
        Value::Array(all) => all[0]["purl"] = json!("pkg:generic/acme/tool@666"),
        one => one["purl"] = json!("pkg:generic/acme/tool@666"),
    }
    let parts = [
        ("good", good),
        ("releases", json!([])),
        ("revocations", json!([])),
        ("withdrawals", json!([])),
        ("keys", json!([])),
        ("entries", json!(3)),
        (
            "asOf",
            json!({ "log": "log.example", "size": 1, "root": "00".repeat(32) }),
        ),
    ];
    for (part, to) in parts {
        for made in [by_another, of_another_form] {
            stranger.refused("report-changed", |r| {
                edit(&r.join(JSON), |v| {
                    made(v);
                    v[part] = to.clone();
                });
            });
        }
    }
    // What is said against a release is taken out, or said of one that nothing is said against.
    for made in [by_another, of_another_form] {
        stranger.refused("report-changed", |r| {
            edit(&r.join(JSON), |v| {
                made(v);
                v["releases"][0].as_object_mut().unwrap().remove("against");
            });
        });
        stranger.refused("report-changed", |r| {
            edit(&r.join(JSON), |v| {
                made(v);
                let against = v["releases"][0]["against"].clone();
                v["releases"][3]["against"] = against;
            });
        });
        stranger.refused("row-changed", |r| {
            edit(&r.join(JSON), |v| {
                made(v);
                v["timeline"][1]["time"] = json!(1);
            });
        });
        stranger.refused("sample-changed", |r| {
            edit(&r.join(JSON), |v| {
                made(v);
                v["samples"] =
                    json!([{ "sha256": "00".repeat(32), "released": [], "accounts": [] }]);
            });
            let _ = fs::create_dir(r.join("samples"));
        });
    }
    // The same form of report is in the same words, whoever says to have made it.
    stranger.refused("row-changed", |r| {
        edit(&r.join(JSON), |v| {
            by_another(v);
            v["timeline"][1]["says"] = json!("all is well");
        });
    });
    stranger.refused("file-changed", |r| edit(&r.join(JSON), by_another));
    // Of another form it may be in other words, and have more; that is not known, and not verified.
    let other = |change: &dyn Fn(&Path, &mut Value)| {
        let said = stranger.fails(3, "other-version", |r| {
            edit(&r.join(JSON), |v| {
                of_another_form(v);
                change(r, v);
            });
        });
        assert_eq!(proven(&said), lines, "{said}");
    };
    other(&|_, _| ());
    other(&|_, v| v["timeline"][1]["says"] = json!("all is well"));
    other(&|_, v| v["steps"] = json!(["countersign keys revoke"]));
    other(&|_, v| v["more"] = json!({ "to": "come" }));
    other(&|_, v| v["timeline"][1]["more"] = json!(1));
    other(&|_, v| v["asked"]["more"] = json!(1));
    other(&|r, _| fs::write(r.join("report.md"), "# in other words\n").unwrap());
    other(&|r, _| fs::write(r.join("report.csv"), "to come").unwrap());
    stranger.verified();
}

/// A quarantine with bytes of which only the beginning came, and of others only the account.
fn quarantine(scene: &Scene) -> (String, String) {
    let dir = scene.bench.path("quarantine");
    fs::create_dir(&dir).unwrap();
    let digests = [b"part", b"gone"].map(|b| hex32(&sha256(b)));
    for (digest, whole) in digests.iter().zip([false, true]) {
        let account = json!({ "subject": "https://s.example/tool", "why": "bytes-not-logged", "userAgent": "curl", "proxy": null,
            "request": [], "answers": [], "began": "2026-01-31T08:30:00Z", "ended": "2026-01-31T08:30:01Z", "size": 4, "whole": whole });
        fs::write(dir.join(format!("{digest}-1.json")), account.to_string()).unwrap();
    }
    let [part, gone] = digests;
    fs::write(dir.join(format!("{part}.bin")), "part").unwrap();
    (part, gone)
}

#[test]
fn lines_are_judged_whatever_is_wrong_beside_them() {
    let scene = Scene::answered();
    quarantine(&scene);
    let question = format!("--key {} --quarantine quarantine", scene.old);
    let report = scene.report(&question, "report");
    let lines = report["timeline"].as_array().unwrap().len();
    let stranger = Stranger::given(&scene.bench, "report");
    let bad = |r: &Path| {
        let mut all = fs::read_dir(r.join("samples")).unwrap();
        let bin = |p: &fs::DirEntry| p.path().extension().is_some_and(|e| e == "bin");
        let file = all.find(|p| bin(p.as_ref().unwrap())).unwrap().unwrap();
        fs::write(file.path(), "other").unwrap();
    };
    let said = stranger.refused("sample-changed", bad);
    assert_eq!(proven(&said), lines, "{said}");
    let said = stranger.refused("file-surplus", |r| {
        fs::write(r.join("notes.txt"), "x").unwrap()
    });
    assert_eq!(proven(&said), lines, "{said}");
    // A line that does not hold is named all the same.
    let said = stranger.refused("row-changed", |r| {
        bad(r);
        edit(&r.join(JSON), |v| v["timeline"][1]["time"] = json!(1));
    });
    assert_eq!(proven(&said), lines - 1, "{said}");
    // A name that somebody chose neither steers a terminal nor a script's output.
    #[cfg(unix)]
    {
        let hostile = "x\u{1b}[2J\nproven: all\u{202e}";
        let said = stranger.refused("file-surplus", |r| fs::write(r.join(hostile), "x").unwrap());
        assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
        fs::write(stranger.report().join(hostile), "x").unwrap();
        let said: Value = serde_json::from_slice(&stranger.verify("--json").out).unwrap();
        let error = &said["error"];
        for text in [&error["message"], &error["details"]["file"]] {
            let text = text.as_str().unwrap();
            assert!(
                !text.contains(['\u{1b}', '\n', '\u{202e}']) && text.contains("x\u{fffd}[2J"),
                "{text:?}"
            );
        }
    }
}

#[test]
fn what_was_not_supplied_is_said_and_the_rest_verifies() {
    let scene = Scene::begin();
    let report = scene.report(&format!("--key {}", scene.old), "plain");
    assert!(!report["next"].as_array().unwrap().is_empty());
    // Where there are no samples there is no directory for their owner alone.
    assert!(!scene.bench.path("plain/samples").exists());
    let stranger = Stranger::given(&scene.bench, "plain");
    fs::remove_dir_all(stranger.report().join("next")).unwrap();
    let said = stranger.verify("");
    let out = String::from_utf8(said.out).unwrap();
    assert_eq!(said.code, 0, "{out}{}", said.err);
    assert!(
        out.contains("next/: not supplied, not checked") && !out.contains("samples/"),
        "{out}"
    );

    let (part, gone) = quarantine(&scene);
    let question = format!("--key {} --quarantine quarantine", scene.old);
    scene.report(&question, "report");
    let stranger = Stranger::given(&scene.bench, "report");
    let said = stranger.verify("");
    let out = String::from_utf8(said.out).unwrap();
    assert_eq!(said.code, 0, "{out}{}", said.err);
    let of = |digest: &str, out: &str| {
        let begins = format!("observed, not proven: sample {digest:.16}");
        let line = out.lines().find(|l| l.starts_with(&begins)).unwrap();
        line.to_owned()
    };
    assert!(of(&part, &out).contains("only the beginning"), "{out}");
    assert!(of(&part, &out).contains("as listed"), "{out}");
    assert!(!of(&gone, &out).contains("as listed"), "{out}");
    assert!(of(&gone, &out).contains("no bytes"), "{out}");
    for name in ["report.md", "report.html"] {
        let text = fs::read_to_string(stranger.report().join(name)).unwrap();
        assert!(text.contains("only the beginning"), "{text}");
        assert!(text.contains("no bytes"), "{text}");
    }
    fs::remove_dir_all(stranger.report().join("samples")).unwrap();
    let said = stranger.verify("");
    let out = String::from_utf8(said.out).unwrap();
    assert_eq!(said.code, 0, "{out}{}", said.err);
    assert!(out.contains("samples/: not supplied, not checked"), "{out}");
    assert!(!out.contains("as listed"), "{out}");
    let said: Value = serde_json::from_slice(&stranger.verify("--json").out).unwrap();
    assert_eq!(
        (&said["verified"], &said["notSupplied"]),
        (&json!(true), &json!(["samples"]))
    );
    // Which releases have such bytes is still what the proofs give.
    stranger.refused("sample-changed", |r| {
        edit(&r.join(JSON), |v| v["samples"][0]["released"] = json!([1]));
    });
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_is_said_and_lines_are_judged() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let scene = Scene::answered();
    quarantine(&scene);
    let question = format!("--key {} --quarantine quarantine", scene.old);
    let report = scene.report(&question, "report");
    let lines = report["timeline"].as_array().unwrap().len();
    let stranger = Stranger::given(&scene.bench, "report");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let samples = stranger.report().join("samples");
    // Who may read everything is to be somebody else.
    let root = fs::metadata(stranger.dir.path()).unwrap().uid() == 0;
    mode(stranger.dir.path(), 0o755);
    mode(&samples, if root { 0o700 } else { 0 });
    let mut command = stranger.command("");
    if root {
        use std::os::unix::process::CommandExt as _;
        command.uid(65_534).gid(65_534);
    }
    let said = match countersign_tests::run(command) {
        Ok(said) => said,
        Err(e) => panic!("{e}"),
    };
    mode(&samples, 0o700);
    let out = String::from_utf8(said.out).unwrap();
    assert!(
        said.code == 3 && said.err.contains("[unreadable]"),
        "{}: {out}{}",
        said.code,
        said.err
    );
    assert!(said.err.contains("samples"), "{}", said.err);
    assert_eq!(proven(&out), lines, "{out}");
}

#[test]
fn where_the_log_was_asked_is_its_makers_word() {
    let scene = Scene::begin();
    scene.report("--version 1", "report");
    let stranger = Stranger::given(&scene.bench, "report");
    let said = stranger.verify("");
    let out = String::from_utf8(said.out).unwrap();
    assert_eq!(said.code, 0, "{}", said.err);
    // The stranger's policy has another address.
    let note = out.lines().find(|l| l.starts_with("note: "));
    let note = note.unwrap_or_default();
    assert!(
        note.contains(&scene.bench.url) && note.contains("http://127.0.0.1:9"),
        "{out}"
    );
    let text = fs::read_to_string(stranger.report().join("report.md")).unwrap();
    let address = scene.bench.url.replace("http://", "");
    assert!(text.contains(&address), "{text}");
}

#[test]
fn the_owners_part_is_beside_what_is_prepared_and_not_in_what_is_published() {
    let scene = Scene::begin();
    let report = scene.report(&format!("--key {}", scene.old), "report");
    let read = |name: &str| fs::read_to_string(scene.bench.path("report").join(name));
    for name in ["report.md", "report.html"] {
        let text = read(name).unwrap();
        assert!(
            !text.contains("keys rotate") && !text.contains("next/"),
            "{text}"
        );
    }
    let text = read("next/README.md").unwrap();
    assert!(text.contains("keys rotate"), "{text}");
    for next in report["next"].as_array().unwrap() {
        let file = next["file"].as_str().unwrap().replace("next/", "");
        assert!(text.contains(&format!("]({file})")), "{text}");
    }
    let stranger = Stranger::given(&scene.bench, "report");
    stranger.refused("file-changed", |r| {
        fs::write(r.join("next/README.md"), "sign all of it\n").unwrap();
    });
    stranger.refused("file-missing", |r| {
        fs::remove_file(r.join("next/README.md")).unwrap();
    });
}

#[test]
fn what_a_run_that_was_ended_left_is_said() {
    let scene = Scene::begin();
    let left = scene.bench.path(".countersign-incident-AbCdEf");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("report.json"), "{").unwrap();
    let said = scene
        .bench
        .client("incident report acme/tool --version 1 --out report");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains(".countersign-incident-AbCdEf"),
        "{}",
        said.err
    );
    // It may be at work: it is left alone.
    assert!(left.join("report.json").exists());
}
