//! What is asked is answered, and what is prepared can be signed and sent.

use super::scene::{Scene, Stranger, edit, numbers};
use countersign::cmd::common::time;
use countersign_tests::bench::ROOTS;
use ledger::{hex32, sha256};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

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
    assert!(key["good"][0]["purl"].as_str().unwrap().ends_with("@4"));
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
        // What is said against a release is a line of its own.
        let lines = numbers(&report["timeline"], "index");
        for release in report["releases"].as_array().unwrap() {
            let by = &release["against"]["by"]["index"];
            assert!(
                by.is_null() || lines.contains(&by.as_u64().unwrap()),
                "{release}"
            );
        }
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

    // Of a window the keys that released in it are in question; a root key's loss voids nothing.
    let since = |out: &str, file: &str| {
        let bytes = fs::read(bench.path(out).join(file)).unwrap();
        let envelope = ledger::envelope::Envelope::parse_prepared(&bytes).unwrap();
        let said = ledger::statement::Statement::parse(&envelope.payload).unwrap();
        let ledger::statement::Body::Revocation(r) = said.body else {
            panic!("{file} is no revocation");
        };
        r.compromised_since
    };
    assert_eq!(since("first", &revoke), Some(two));
    let window = "--since 2020-01-01T00:00:00Z --until 2100-01-01T00:00:00Z";
    let all = scene.report(window, "window");
    let of_window: Vec<&Value> = all["next"].as_array().unwrap().iter().collect();
    assert_eq!(of_window[0]["file"], json!(revoke));
    assert_eq!(of_window.len(), 4, "{of_window:?}");
    assert_eq!(since("window", &revoke), Some(0));
    let root = bench.id("root1");
    let of_root = scene.report(&format!("--key {root}"), "root");
    let file = format!("next/revoke-{root:.16}.json");
    assert_eq!(of_root["next"][0]["file"], json!(file));
    assert_eq!(since("root", &file), None);

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

#[test]
fn what_to_use_instead_is_of_the_same_package() {
    let scene = Scene::begin();
    let (bench, old) = (&scene.bench, &scene.old);
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    // Newer than all others, and nobody asks about it.
    let gui = "pkg:generic/acme/tool/gui";
    let said = bench.publish("7", "release2", &format!("--purl {gui}"));
    assert_eq!(said.code, 0, "{}", said.err);
    let good = |report: &Value| report["good"].clone();
    let three = scene.entry("3");
    assert_eq!(
        good(&scene.report("--version 2", "version")),
        json!([{ "index": three, "purl": "pkg:generic/acme/tool@3" }])
    );
    // All of the tool is in question, and the other package is no tool.
    assert_eq!(
        good(&scene.report(&format!("--key {old}"), "key")),
        json!([])
    );
    let text = fs::read_to_string(bench.path("key/report.md")).unwrap();
    assert!(
        text.contains("Use no release of `pkg:generic/acme/tool`"),
        "{text}"
    );
    // Which package these bytes were taken for nobody knows.
    let never = scene.report(&format!("--digest {}", "ab".repeat(32)), "never");
    assert_eq!(good(&never), json!([]));
    let text = fs::read_to_string(bench.path("never/report.md")).unwrap();
    assert!(!text.contains("Use no release"), "{text}");
}

#[test]
fn a_stolen_root_key_has_a_window_from_the_first_thing_after_the_founding() {
    let scene = Scene::begin();
    let (bench, old) = (&scene.bench, &scene.old);
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    let root = bench.id("root1");
    let report = scene.report(&format!("--key {root}"), "root");
    let rows = report["timeline"].as_array().unwrap();
    let mut versions = rows.iter().filter(|r| r["kind"] == "project").skip(1);
    let second = versions.next().unwrap()["index"].as_u64().unwrap();
    let file = format!("root/next/revoke-{root:.16}.json");
    let bytes = fs::read(bench.path(&file)).unwrap();
    let envelope = ledger::envelope::Envelope::parse_prepared(&bytes).unwrap();
    let said = ledger::statement::Statement::parse(&envelope.payload).unwrap();
    let ledger::statement::Body::Revocation(r) = said.body else {
        panic!("{file} is no revocation");
    };
    assert_eq!(r.compromised_since, Some(second));
    // The log takes it.
    bench.ok(&format!("sign {file} --key root2 --key root3"));
    bench.ok(&format!("submit {file} --out sent.bundle"));
}
