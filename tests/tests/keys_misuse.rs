//! What a thief, a slip or a lying server does with the commands on keys, as the page on keys
//! tells it, with the built binaries.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign_tests::bench::{Bench, Proxy, ROOTS, bench};
use serde_json::Value;

const BY_ROOTS: &str = "--project acme/tool --key root1 --key root2";

/// Version and standing of each release, in order.
fn standing(bench: &Bench) -> Vec<(String, String)> {
    let list = bench.json("releases acme/tool --json");
    let releases = list["releases"].as_array().unwrap().iter();
    let of = |r: &Value| {
        let version = r["purl"].as_str().unwrap().rsplit('@').next().unwrap();
        let standing = r["standing"].as_str().unwrap();
        (version.to_owned(), standing.to_owned())
    };
    releases.map(of).collect()
}

fn stands(bench: &Bench, want: &[(&str, &str)]) {
    let got = standing(bench);
    let got: Vec<(&str, &str)> = got.iter().map(|(v, s)| (v.as_str(), s.as_str())).collect();
    assert_eq!(got, want);
}

/// The log index in which the last thing that was said stands.
fn index(said: &str) -> u64 {
    let line = said.lines().last().unwrap();
    let rest = line.trim().strip_prefix("entry ").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

fn withdraw(bench: &Bench, version: &str, more: &str) -> u64 {
    let line = format!("withdraw --project acme/tool --version {version} {more} --yes");
    index(&bench.ok(&line))
}

fn findings(bench: &Bench) -> Vec<String> {
    let said = bench.client("keys audit --project acme/tool --json");
    let audit: Value = serde_json::from_slice(&said.out).unwrap();
    let list = audit["findings"].as_array().unwrap().iter();
    let of = |f: &Value| {
        format!(
            "{} {}",
            f["kind"].as_str().unwrap(),
            f["key"].as_str().unwrap()
        )
    };
    list.map(of).collect()
}

#[test]
fn what_a_thief_withdraws_is_not_withdrawn_by_the_roots() {
    let bench = bench();
    for version in ["0.9", "1.0"] {
        bench.published(version, "release1");
    }
    let old = bench.id("release1");
    // The owner's, and then the thief's, with the same key in the same window.
    let since = withdraw(&bench, "0.9", "--reason it~crashes --key release1");
    let thiefs = withdraw(
        &bench,
        "1.0",
        "--reason use~mine --successor 6.6 --key release1",
    );
    stands(&bench, &[("0.9", "withdrawn"), ("1.0", "withdrawn")]);
    bench.key("release2");
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    let revoke =
        format!("keys revoke {old} --reason stolen --compromised-since {since} {BY_ROOTS}");
    // All that would be signed again is shown, and nothing is done before it is named.
    let shown = bench.refused(2, "not-confirmed", &revoke);
    for want in [
        "2 withdrawals become void",
        "pkg:generic/acme/tool@0.9",
        "pkg:generic/acme/tool@1.0",
        "reason: use mine",
        "successor: 6.6",
        "tool-1.0",
    ] {
        assert!(shown.contains(want), "{want}\n{shown}");
    }
    assert_eq!(shown.matches("    not kept").count(), 2, "{shown}");
    bench.refused(
        2,
        "unknown-withdrawal",
        &format!("{revoke} --keep-withdrawal 0 --yes"),
    );
    let said = bench.client(&format!("{revoke} --keep-withdrawal {since} --yes"));
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.err.matches("KEPT").count(), 1, "{}", said.err);
    stands(&bench, &[("0.9", "withdrawn"), ("1.0", "stands")]);
    bench.ok("verify tool-1.0 --online");
    bench.refused(1, "withdrawn", "verify tool-0.9 --online");
    assert!(thiefs > since);
    // The same window again is refused before anything is signed.
    bench.refused(2, "window-not-wider", &format!("{revoke} --yes"));
    bench.refused(
        2,
        "already-revoked",
        &format!("keys revoke {old} --reason stolen {BY_ROOTS} --yes"),
    );
}

#[test]
fn by_default_no_withdrawal_in_the_window_is_kept() {
    let bench = bench();
    bench.published("1.0", "release1");
    let since = withdraw(&bench, "1.0", "--reason thief --key release1");
    let old = bench.id("release1");
    bench.key("release2");
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    let before = bench.json("keys list --project acme/tool --json")["asOf"]["treeSize"].clone();
    bench.ok(&format!(
        "keys revoke {old} --reason stolen --compromised-since {since} {ROOTS}"
    ));
    stands(&bench, &[("1.0", "stands")]);
    // One statement and its head: the revocation.
    let after = bench.json("keys list --project acme/tool --json")["asOf"]["treeSize"].clone();
    assert_eq!(after.as_u64().unwrap(), before.as_u64().unwrap() + 2);
}

#[test]
fn a_window_is_prepared_for_roots_elsewhere_though_the_key_has_withdrawn() {
    let bench = bench();
    for version in ["0.9", "1.0"] {
        bench.published(version, "release1");
    }
    let old = bench.id("release1");
    let since = withdraw(&bench, "0.9", "--reason it~crashes --key release1");
    withdraw(&bench, "1.0", "--reason thief --key release1");
    bench.ok(&format!(
        "keys revoke {old} --project acme/tool --reason stolen --compromised-since {since} \
         --keep-withdrawal {since} --prepare r.json"
    ));
    let kept = format!("r.json.keep-{since}");
    for (file, keys) in [("r.json", ["root1", "root2"]), (&kept, ["root2", "root3"])] {
        for key in keys {
            let said = bench.client(&format!("sign {file} --key {key}"));
            let names = said.err.contains("tool-0.9");
            assert_eq!((said.code, names), (0, file == kept), "{}", said.err);
        }
        bench.ok(&format!("submit {file} --out out.bundle"));
    }
    stands(&bench, &[("0.9", "withdrawn"), ("1.0", "stands")]);
}

#[test]
fn the_key_that_goes_does_not_sign_again_and_nothing_stops_its_revocation() {
    for (signers, code, want) in [
        // Root 1 is revoked; without it one root is left of two that it takes.
        ("--key root1 --key root2", 1, "stands"),
        ("--key root1 --key root2 --key root3", 0, "withdrawn"),
        ("--key root2 --key root3", 0, "withdrawn"),
    ] {
        let bench = bench();
        bench.published("1.0", "release1");
        let since = withdraw(&bench, "1.0", "--reason it~crashes --key root1 --key root2");
        let old = bench.id("root1");
        let said = bench.client(&format!(
            "keys revoke {old} --project acme/tool --reason stolen --compromised-since {since} \
             --keep-withdrawal all {signers} --yes"
        ));
        assert_eq!(said.code, code, "{signers}\n{}", said.err);
        if code != 0 {
            for want in [
                "[threshold-not-met]",
                "the key is revoked, but",
                "hint: withdraw it again",
            ] {
                assert!(said.err.contains(want), "{want}\n{}", said.err);
            }
        }
        let shown = bench.json(&format!("keys show {old} --project acme/tool --json"));
        assert_eq!(shown["state"], "revoked", "{signers}");
        stands(&bench, &[("1.0", want)]);
    }
}

#[test]
fn what_others_take_back_too_is_not_said_again() {
    let bench = bench();
    bench.published("1.0", "release1");
    let since = withdraw(&bench, "1.0", "--reason it~crashes --key release1");
    withdraw(&bench, "1.0", "--reason it~does --key root1 --key root2");
    let old = bench.id("release1");
    let said = bench.client(&format!(
        "keys revoke {old} --reason stolen --compromised-since {since} --keep-withdrawal all {ROOTS}"
    ));
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("nothing needs to be done"),
        "{}",
        said.err
    );
    let said = String::from_utf8(said.out).unwrap();
    assert!(!said.contains("withdrawn again"), "{said}");
    stands(&bench, &[("1.0", "withdrawn")]);
}

#[test]
fn a_window_of_a_slip_is_refused() {
    let bench = bench();
    bench.published("1.0", "release1");
    let old = bench.id("release1");
    for (when, kind) in [
        ("2999-01-31T08:30:00Z", "time-in-future"),
        ("2026-01-31T08:30:00", "bad-time"),
        ("999", "window-beyond-tree"),
    ] {
        bench.refused(
            2,
            kind,
            &format!("keys revoke {old} --reason x --compromised-since {when} {ROOTS}"),
        );
    }
}

#[test]
fn an_audit_is_settled_when_the_rest_is_withdrawn() {
    let bench = bench();
    bench.published("1.0", "release1");
    let since = bench.json("releases acme/tool --json")["releases"][0]["index"].clone();
    bench.published("6.6", "release1");
    let old = bench.id("release1");
    bench.key("release2");
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    bench.ok(&format!(
        "keys revoke {old} --reason stolen --compromised-since {since} {ROOTS}"
    ));
    let finding = format!("used-while-compromised {old}");
    assert!(findings(&bench).contains(&finding));
    let said = bench.publish("1.0", "release2", "--restate");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(findings(&bench).contains(&finding));
    // The thief's is not stated again: it is withdrawn, void as it is.
    withdraw(&bench, "6.6", "--reason not~ours --key release2");
    assert!(
        !findings(&bench).contains(&finding),
        "{:?}",
        findings(&bench)
    );
    bench.ok("verify tool-1.0 --online");
    bench.refused(1, "void", "verify tool-6.6 --online");
}

#[test]
fn what_a_thief_notes_is_not_taken_up() {
    let bench = bench();
    let (root, old) = (bench.id("root1"), bench.id("release1"));
    let note = |id: &str, owner: &str, key: &str| {
        bench.ok(&format!(
            "keys note {id} --project acme/tool --owner {owner} --key {key} --yes"
        ))
    };
    let unasked = format!("keys note {root} --project acme/tool --owner us --key root2");
    let said = bench.refused(2, "not-confirmed", &unasked);
    assert!(said.contains("owner: us"), "{said}");
    note(&root, "us", "root2");
    let since = index(&note(&root, "thief", "release1"));
    note(&bench.id("root2"), "thief", "release1");
    // Whose word it is can be seen.
    let shown = bench.ok(&format!("keys show {root} --project acme/tool"));
    assert!(
        shown.contains("thief") && shown.contains(&format!("{old:.16}")),
        "{shown}"
    );
    let unknown = format!("unknown-origin {}", bench.id("root2"));
    assert!(!findings(&bench).contains(&unknown));
    let said = bench.client(&format!(
        "keys revoke {old} --reason stolen --compromised-since {since} {ROOTS}"
    ));
    assert!(
        said.err.contains("2 key-notes are shown no more"),
        "{}",
        said.err
    );
    let shown = bench.json(&format!("keys show {root} --project acme/tool --json"));
    assert_eq!(shown["note"]["owner"], "us");
    assert_eq!(shown["note"]["sources"][1]["counts"], false);
    assert!(findings(&bench).contains(&unknown));
}

#[test]
fn a_withdrawal_says_what_else_it_takes_back() {
    let bench = bench();
    std::fs::write(bench.path("LICENSE"), "do as you like\n").unwrap();
    for version in ["1.0", "2.0"] {
        std::fs::write(bench.path("tool"), version).unwrap();
        bench.ok(&format!(
            "publish tool LICENSE --project acme/tool --version {version} --key release1"
        ));
    }
    let line = "withdraw --project acme/tool --version 1.0 --reason x --key release1";
    let said = bench.refused(2, "not-confirmed", line);
    assert!(said.contains("tool@2.0  (LICENSE)"), "{said}");
    let said = bench.refused(2, "not-confirmed", &format!("{line} --artifact tool"));
    assert!(!said.contains("tool@2.0"), "{said}");
    bench.ok(&format!("{line} --artifact tool --yes"));
    stands(&bench, &[("1.0", "withdrawn"), ("2.0", "stands")]);
}

#[test]
fn the_proof_of_an_entry_is_of_that_entry() {
    let bench = bench();
    bench.published("1.0", "release1");
    let old = bench.id("release1");
    bench.key("release2");
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    bench.ok(&format!("keys revoke {old} --reason stolen {ROOTS}"));
    let show = format!("keys show {old} --project acme/tool --proofs");
    bench.ok(&format!("{show} genuine"));
    // Every file is a genuine statement of the project, but none is the revocation.
    let mut files: Vec<_> = std::fs::read_dir(bench.path("genuine"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    let other = std::fs::read(&files[0]).unwrap();
    let liar = Proxy::start(&bench.url, move |path, body| {
        match path.ends_with("/bundle") {
            true => other.clone(),
            false => body,
        }
    });
    bench.refused(3, "bad-answer", &format!("{show} lies --log {}", liar.url));
    // A chain that is left out would be found out only where the proofs are read.
    let liar = Proxy::start(&bench.url, |path, body| match path.ends_with("/bundle") {
        true => {
            let mut bundle: Value = serde_json::from_slice(&body).unwrap();
            bundle["projects"] = Value::Array(Vec::new());
            serde_json::to_vec(&bundle).unwrap()
        }
        false => body,
    });
    bench.refused(
        3,
        "bad-project-chain",
        &format!("{show} lies --log {}", liar.url),
    );
}

#[test]
fn a_statement_stands_for_its_own_project_and_while_it_counts() {
    let bench = bench();
    bench.published("1.0", "release1");
    bench.published("1.1", "release1");
    let (old, release1) = (bench.id("release1"), "tool-1.1.bundle");
    // Another project of the same log, whose head and whose statements are all genuine.
    for key in ["other-root", "other-release"] {
        bench.key(key);
    }
    let vkeys = std::fs::read_to_string(bench.path("policy.toml")).unwrap();
    let quoted = vkeys.split('"').filter(|t| t.starts_with("log.example+"));
    let vkeys: String = quoted.map(|v| format!(" --vkey {v}")).collect();
    bench.ok(&format!(
        "project init acme/other --root-key other-root --release-key other-release \
         --purl-prefix pkg:generic/acme/other --log {} --policy-out other.toml{vkeys}",
        bench.url
    ));
    let since = bench.json("releases acme/tool --json")["releases"][1]["index"].clone();
    bench.ok("refresh tool-1.0 tool-1.1");
    assert!(
        bench
            .ok("verify --statement tool-1.0.bundle")
            .starts_with("stands: ")
    );
    let foreign = {
        let id = bench.id("other-root");
        bench.ok(&format!(
            "keys show {id} --project acme/other --policy other.toml --proofs other"
        ));
        let files = std::fs::read_dir(bench.path("other")).unwrap();
        files.map(|f| f.unwrap().path()).next().unwrap()
    };
    bench.ok(&format!(
        "verify --statement {} --policy other.toml",
        foreign.display()
    ));
    let read = |path: std::path::PathBuf| -> Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let theirs = read(foreign);
    // Both are proven in the one newest tree: their entry, our head.
    let mut mixed = read(bench.path("tool-1.0.bundle"));
    let size = |text: &Value| text.as_str().unwrap().lines().nth(1).unwrap().to_owned();
    assert_eq!(size(&mixed["latest"]["checkpoint"]), size(&theirs["first"]));
    mixed["entry"] = theirs["entry"].clone();
    std::fs::write(
        bench.path("mixed.bundle"),
        serde_json::to_vec(&mixed).unwrap(),
    )
    .unwrap();
    bench.refused(1, "other-project", "verify --statement mixed.bundle");

    // Void and withdrawn ones are in the log, and say so.
    bench.key("release2");
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    bench.ok(&format!(
        "keys revoke {old} --reason stolen --compromised-since {since} {ROOTS}"
    ));
    bench.refused(1, "void", &format!("refresh {release1}"));
    let said = bench.ok(&format!("verify --statement {release1}"));
    assert!(said.starts_with("void, "), "{said}");
    let said = bench.json(&format!("verify --statement {release1} --json"));
    assert_eq!(
        (&said["stands"], &said["standing"]),
        (&false.into(), &"void".into())
    );
    withdraw(&bench, "1.0", "--reason x --key release2");
    bench.refused(1, "withdrawn", "refresh tool-1.0.bundle");
    let said = bench.ok("verify --statement tool-1.0.bundle");
    assert!(said.starts_with("withdrawn, "), "{said}");
}

#[test]
fn two_keys_that_are_revoked_are_replaced_in_one_version() {
    let bench = bench();
    bench.key("release2");
    bench.ok("project update acme/tool --add-release-key release2 --key root1 --key root2 --yes");
    let (one, two) = (bench.id("release1"), bench.id("release2"));
    bench.ok(&format!("keys revoke {one} --reason stolen {ROOTS}"));
    let said = bench.client(&format!("keys revoke {two} --reason stolen {ROOTS}"));
    assert!(
        said.err
            .contains("project update acme/tool --drop-release-key"),
        "{}",
        said.err
    );
    bench.key("release3");
    bench.refused(
        2,
        "other-key-revoked",
        &format!("keys rotate --old {one} --new release3 {ROOTS}"),
    );
    bench.ok(&format!(
        "project update acme/tool --drop-release-key {one} --drop-release-key {two} \
         --add-release-key release3 --key root1 --key root2 --yes"
    ));
    bench.published("1.0", "release3");
}

#[test]
fn an_update_that_says_nothing_new_is_none_and_a_prepared_one_uploads_nothing() {
    let bench = bench();
    bench.refused(
        2,
        "nothing-changes",
        "project update acme/tool --add-root root1 --key root1 --key root2 --yes",
    );
    bench.ok("project update acme/tool --recommend policy.toml --prepare next.json");
    let text = std::fs::read(bench.path("next.json")).unwrap();
    let next: Value = serde_json::from_slice(&text).unwrap();
    assert!(next["signatures"].as_array().unwrap().is_empty());
    for key in ["root1", "root2"] {
        bench.ok(&format!("sign next.json --key {key}"));
    }
    let said = bench.client("submit next.json --out next.bundle");
    assert!(
        said.code == 0 && !said.err.contains("warning"),
        "{}",
        said.err
    );
}
