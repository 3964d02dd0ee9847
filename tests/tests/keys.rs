//! Theft and loss, as the page on keys tells it, with the built binaries: a log, a project with
//! two roots, and what its owner and its downloaders do.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign_tests::bench::{ROOTS, bench};
use serde_json::Value;
use std::path::PathBuf;

#[test]
fn a_stolen_release_key_is_replaced_and_what_the_thief_signed_becomes_void() {
    let mut bench = bench();
    bench.published("1.0", "release1");
    // From here on the key is the thief's too: 1.1 is the owner's, 6.6 the thief's.
    let genuine = bench.json("releases acme/tool --json");
    assert_eq!(genuine["releases"].as_array().unwrap().len(), 1);
    bench.published("1.1", "release1");
    bench.published("6.6", "release1");
    std::fs::copy(bench.path("tool-6.6.bundle"), bench.path("stolen.bundle")).unwrap();
    let stolen = "verify tool-6.6 --bundle stolen.bundle";
    bench.ok(stolen);

    let old = bench.id("release1");
    let first = bench.json("releases acme/tool --json")["releases"][1]["index"]
        .as_u64()
        .unwrap();
    // Nobody is there to say yes, and --yes is not given: nothing is signed.
    let unasked = format!(
        "keys revoke {old} --project acme/tool --key root1 --key root2 --reason stolen --compromised-since {first}"
    );
    let said = bench.refused(2, "not-confirmed", &unasked);
    assert!(said.contains("2 releases become void"), "{said}");
    // Release keys do not revoke, one root is too few, and neither is logged.
    bench.refused(
        1,
        "unauthorised-key",
        &format!("keys revoke {old} --project acme/tool --key release1 --reason x --yes"),
    );
    bench.refused(
        1,
        "threshold-not-met",
        &format!("keys revoke {old} --project acme/tool --key root1 --reason x --yes"),
    );
    bench.key("release2");
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    bench.ok(&format!(
        "keys revoke {old} --reason stolen~from~CI --compromised-since {first} {ROOTS}"
    ));
    // The thief publishes no more.
    let said = bench.publish("6.7", "release1", "");
    assert!(
        said.code == 1 && said.err.contains("[key-revoked]"),
        "{}",
        said.err
    );
    // 1.0 stands, before the window; 1.1 and 6.6 do not.
    bench.ok("verify tool-1.0 --online");
    bench.refused(1, "void", &format!("{stolen} --online"));
    // What was learned binds the bundle that knows nothing of it, offline too.
    bench.refused(1, "void", stolen);
    let audit = bench.client("keys audit --project acme/tool --json");
    assert_eq!(audit.code, 1, "{}", audit.err);
    let audit: Value = serde_json::from_slice(&audit.out).unwrap();
    let kinds: Vec<&str> = audit["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"used-while-compromised"), "{kinds:?}");

    // The genuine one is stated again by the new key, with other bytes it is not.
    std::fs::write(bench.path("tool-1.1"), "other bytes").unwrap();
    let said =
        bench.client("publish tool-1.1 --project acme/tool --version 1.1 --key release2 --restate");
    assert!(
        said.code == 1 && said.err.contains("[not-restated]"),
        "{}",
        said.err
    );
    let said = bench.publish("1.1", "release2", "--restate");
    assert_eq!(said.code, 0, "{}", said.err);
    bench.ok("verify tool-1.1");
    let said = bench.publish("1.1", "release2", "--restate");
    assert!(
        said.code == 2 && said.err.contains("[not-void]"),
        "{}",
        said.err
    );
    bench.published("1.2", "release2");
    let list = bench.json("releases acme/tool --json");
    let standing: Vec<(&str, &str)> = list["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            (
                r["purl"].as_str().unwrap().rsplit('@').next().unwrap(),
                r["standing"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        standing,
        [
            ("1.0", "stands"),
            ("1.1", "void"),
            ("6.6", "void"),
            ("1.1", "stands"),
            ("1.2", "stands")
        ]
    );
    // All of it survives a restart, which restores who may speak from the index.
    bench.stop();
    bench.serve();
    assert_eq!(
        bench.json("releases acme/tool --json")["releases"],
        list["releases"]
    );
    let said = bench.server(&["check"]);
    bench.stop();
    assert_eq!(said.code, 0, "{}", said.err);
    let said = bench.server(&["check"]);
    assert_eq!(
        said.code,
        0,
        "{}{}",
        String::from_utf8_lossy(&said.out),
        said.err
    );
}

#[test]
fn one_stolen_or_lost_root_is_replaced_by_the_others() {
    let bench = bench();
    let (old, third) = (bench.id("root3"), bench.id("root2"));
    bench.key("root4");
    // To revoke it first is possible: two are left, and two is the threshold.
    bench.ok(&format!("keys rotate --old {old} --new root4 {ROOTS}"));
    bench.ok(&format!("keys revoke {old} --reason lost {ROOTS}"));
    // The thief of root3 has no say any more, not with a second root either.
    bench.refused(
        1,
        "key-revoked",
        &format!(
            "keys revoke {third} --project acme/tool --key root3 --key root1 --reason x --yes"
        ),
    );
    // It never returns, under any statement.
    bench.refused(
        1,
        "key-revoked",
        "project update acme/tool --add-root root3 --key root1 --key root2 --yes",
    );
    // Two more: the last two roots that the threshold needs are not revoked.
    let first = bench.id("root1");
    bench.ok(&format!(
        "keys revoke {first} --project acme/tool --key root2 --key root4 --reason lost --yes"
    ));
    bench.refused(
        2,
        "too-few-roots",
        &format!(
            "keys revoke {third} --project acme/tool --key root2 --key root4 --reason x --yes"
        ),
    );
    bench.published("1.0", "release1");
    bench.ok("verify tool-1.0");
}

#[test]
fn a_client_pinned_at_the_first_statement_verifies_after_ten_rotations_offline() {
    let mut bench = bench();
    bench.published("1.0", "release1");
    let mut old = bench.id("release1");
    for n in 2..=11 {
        let name = format!("release{n}");
        let new = bench.key(&name);
        bench.ok(&format!("keys rotate --old {old} --new {name} {ROOTS}"));
        old = new;
    }
    bench.published("2.0", "release11");
    let shown = bench.json("verify tool-2.0 --json");
    assert_eq!(shown["authorisedBy"]["version"], 11);
    bench.stop();
    // Another machine: only the policy of the first day, the new file and its bundle.
    bench.state = "elsewhere.json";
    bench.ok("verify tool-2.0");
    bench.ok("verify tool-1.0");
    let said = bench.client("verify tool-2.0 --online");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("could not be asked"), "{}", said.err);
}

#[test]
fn what_is_withdrawn_is_refused_once_it_is_known() {
    let bench = bench();
    for version in ["1.0", "1.1", "2.0"] {
        bench.published(version, "release1");
    }
    bench.refused(
        2,
        "unknown-release",
        "withdraw --project acme/tool --version 9 --reason x --key release1 --yes",
    );
    bench.ok("withdraw --project acme/tool --version 1.1 --reason it~crashes --successor 2.0 --key release1 --yes");
    // An older bundle does not know; asked, it does, and it says so from then on.
    bench.refused(3, "needs-refresh", "verify tool-1.1");
    let mut bench = bench;
    bench.state = "first.json";
    bench.ok("verify tool-1.1");
    bench.state = "state.json";
    let said = bench.client("refresh tool-1.1 tool-2.0.bundle tool-1.0");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("[withdrawn]"), "{}", said.err);
    assert_eq!(
        String::from_utf8(said.out)
            .unwrap()
            .matches("refreshed:")
            .count(),
        2
    );
    let mut elsewhere = bench;
    elsewhere.state = "elsewhere.json";
    elsewhere.refused(1, "withdrawn", "verify tool-1.1");
    elsewhere.ok("verify tool-2.0");
    // An end of life takes the roots, and covers what comes later.
    let ends = "withdraw --project acme/tool --prefix pkg:generic/acme/tool --reason moved";
    elsewhere.refused(
        1,
        "unauthorised-key",
        &format!("{ends} --key release1 --yes"),
    );
    elsewhere.ok(&format!("{ends} --key root1 --key root3 --yes"));
    elsewhere.refused(1, "withdrawn", "verify tool-2.0 --online");
    let said = elsewhere.publish("3.0", "release1", "");
    assert!(
        said.code == 1 && said.err.contains("[withdrawn]"),
        "{}",
        said.err
    );
}

#[test]
fn the_three_questions_are_answered_for_any_key_with_proofs() {
    let bench = bench();
    bench.published("1.0", "release1");
    let id = bench.id("release1");
    bench.ok(&format!(
        "keys note {id} --project acme/tool --generated-by alice --generated-at 2026-01-31T08:30:00Z \
         --generated-where the~build~host --custody CI~secret --owner release~team --used-at pipeline --key release1 --yes"
    ));
    bench.ok(
        "keys note external:bucket --project acme/tool --owner ops --used-at uploads --key root1 --yes",
    );
    let shown = bench.ok(&format!(
        "keys show {id:.8} --project acme/tool --proofs proofs"
    ));
    for want in [
        "2026-01-31T08:30:00Z, by alice, at the build host",
        "CI secret",
        "pipeline",
        "1 key-note, 1 project, 1 release",
        "keys rotate --project acme/tool --old",
        "--compromised-since",
    ] {
        assert!(shown.contains(want), "{want}\n{shown}");
    }
    let proofs: Vec<PathBuf> = std::fs::read_dir(bench.path("proofs"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    assert!(proofs.len() >= 2, "{proofs:?}");
    for proof in &proofs {
        let said = bench.ok(&format!("verify --statement {}", proof.display()));
        assert!(said.starts_with("stands: "), "{said}");
        // One changed byte in what it says, and it does not stand.
        let text = std::fs::read_to_string(proof).unwrap();
        let changed = text
            .replacen("\"proof\":[\"", "\"proof\":[\"0", 1)
            .replacen("0\"", "\"", 1);
        std::fs::write(bench.path("changed.bundle"), changed).unwrap();
        assert_ne!(bench.client("verify --statement changed.bundle").code, 0);
    }
    let bucket = bench.ok("keys show external:bucket --project acme/tool");
    assert!(
        bucket.contains("ops") && bucket.contains("uploads"),
        "{bucket}"
    );
    // Without the file of names the log says nothing of the bucket's name.
    let listed = bench.ok("keys list --project acme/tool --names nothing");
    assert!(
        listed.contains("name not known here") && !listed.contains("bucket"),
        "{listed}"
    );
    for (format, want) in [
        ("md", "# Keys of acme/tool"),
        ("csv", "\"release team\""),
        ("json", "\"findings\""),
    ] {
        let report = bench.ok(&format!(
            "keys report --project acme/tool --format {format}"
        ));
        assert!(report.contains(want), "{report}");
    }
    let audit = bench.client("keys audit --project acme/tool");
    assert_eq!(audit.code, 1);
    let audit = String::from_utf8(audit.out).unwrap();
    assert!(audit.contains("unknown-origin"), "{audit}");
}

#[test]
fn a_frozen_project_takes_nothing_and_goes_on_when_it_is_thawed() {
    let bench = bench();
    bench.published("1.0", "release1");
    let id = bench.id("release1");
    assert_eq!(bench.server(&["project", "freeze", "acme/tool"]).code, 0);
    let said = bench.publish("1.1", "release1", "");
    assert!(
        said.code == 1 && said.err.contains("[project-frozen]"),
        "{}",
        said.err
    );
    bench.refused(
        1,
        "project-frozen",
        &format!("keys revoke {id} --reason x {ROOTS}"),
    );
    bench.refused(
        1,
        "project-frozen",
        "project update acme/tool --contact mailto:x@example.com --key root1 --key root2 --yes",
    );
    bench.ok("verify tool-1.0 --online");
    assert_eq!(bench.server(&["project", "thaw", "acme/tool"]).code, 0);
    bench.published("1.1", "release1");
}

#[test]
fn a_statement_about_the_project_is_prepared_signed_and_submitted_by_several() {
    let bench = bench();
    bench.ok("project update acme/tool --contact mailto:new@acme.example --prepare next.json");
    bench.ok("sign next.json --key root1");
    bench.refused(1, "threshold-not-met", "submit next.json");
    bench.ok("sign next.json --key root3");
    bench.ok("submit next.json --out next.bundle");
    let stands = bench.ok("verify --statement next.bundle");
    assert!(stands.contains("version 2"), "{stands}");
    // Refreshed, it is proven in the newer view.
    bench.published("1.0", "release1");
    std::fs::copy(bench.path("tool-1.0.bundle"), bench.path("older.bundle")).unwrap();
    bench.published("1.1", "release1");
    bench.ok("refresh tool-1.0");
    let older = bench.ok("verify --statement older.bundle");
    let newer = bench.ok("verify --statement tool-1.0.bundle");
    assert!(older.starts_with("stands: release") && newer.starts_with("stands: release"));
    assert_ne!(older, newer);
    // The same again is the same entry.
    bench.ok("submit next.json --out again.bundle");
    let index = |file: &str| -> Value {
        let text = std::fs::read(bench.path(file)).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["entry"]["index"].clone()
    };
    assert_eq!(index("again.bundle"), index("next.bundle"));
}
