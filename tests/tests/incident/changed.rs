//! What was changed in a report is found.

use super::scene::{Scene, Stranger, edit};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

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
    // What no maker can have asked: of an address that is none, or for a reason that no log takes.
    stranger.refused("report-malformed", |r| {
        edit(&r.join(json), |v| {
            v["asked"]["logUrl"] = json!("javascript:x");
        });
    });
    stranger.refused("report-malformed", |r| {
        edit(&r.join(json), |v| {
            v["asked"]["made"] = json!(-1);
        });
    });
    // A log that showed this machine another tree of that size.
    let state = stranger.dir.path().join("state.json");
    let (size, root) = (&report["asOf"]["size"], "00".repeat(32));
    let head = fs::read(stranger.report().join("proofs/head.json")).unwrap();
    let head: Value = serde_json::from_slice(&head).unwrap();
    let seen =
        json!({ "checkpoint": head["checkpoint"], "size": size, "root": root, "viewTime": 0 });
    let memory = json!({ "apiVersion": "countersign/v1", "logs": { "log.example": seen }, "projects": {}, "releases": {} });
    stranger.refused("fork", |_| fs::write(&state, memory.to_string()).unwrap());
    fs::remove_file(&state).unwrap();
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
