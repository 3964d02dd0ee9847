//! `countersign scan`, by the built programs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use countersign_tests::archives::{gzip, image, tar, zip};
use countersign_tests::bench::{Bench, ROOTS, bench};
use serde_json::Value;

/// A project with releases 1, which stands; 2, withdrawn; 3, void; and a directory to be scanned.
fn project() -> Bench {
    let bench = bench();
    let old = bench.id("release1");
    bench.key("release2");
    for version in ["1", "2", "3"] {
        bench.published(version, "release1");
    }
    let releases = bench.json("releases acme/tool --json");
    let third = &releases["releases"][2]["index"];
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    bench.ok(&format!(
        "keys revoke {old} --reason stolen --compromised-since {third} {ROOTS}"
    ));
    bench.ok("withdraw --version 2 --project acme/tool --reason leaks --key release2 --yes");
    std::fs::create_dir(bench.path("tree")).unwrap();
    bench
}

fn bytes(version: &str) -> Vec<u8> {
    format!("the tool, {version}\n").into_bytes()
}

fn put(bench: &Bench, name: &str, bytes: &[u8]) {
    let path = bench.path("tree").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn scan(bench: &Bench, code: i32, path: &str) -> Value {
    let said = bench.client(&format!("scan {path} --json"));
    let out = String::from_utf8(said.out).unwrap();
    assert_eq!(said.code, code, "{out}\n{}", said.err);
    serde_json::from_str(&out).unwrap()
}

/// Kinds and inner places of what was found.
fn found(all: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let inner = |f: &Value| {
        f["inner"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(" > ")
    };
    let findings = all["findings"].as_array().unwrap().iter();
    findings.map(|f| (text(&f["kind"]), inner(f))).collect()
}

#[test]
fn what_is_withdrawn_or_void_is_found_wherever_it_is_packed() {
    let bench = project();
    put(&bench, "clean/tool-1", &bytes("1"));
    put(&bench, "clean/other", b"nobody's");
    put(
        &bench,
        "clean/a.tar.gz",
        &gzip(&tar(&[("tool-1", &bytes("1"))])),
    );
    let all = scan(&bench, 0, "tree/clean");
    assert_eq!((found(&all).len(), &all["ofReleases"]), (0, &2.into()));

    let two = bytes("2");
    let found_in = |name: &str, packed: &[u8]| {
        put(&bench, name, packed);
        let all = scan(&bench, 1, &format!("tree/{name}"));
        std::fs::remove_file(bench.path("tree").join(name)).unwrap();
        let layer = all["findings"][0]["layer"].clone();
        (found(&all), layer)
    };
    let one = |kind: &str, inner: &str| vec![(kind.to_owned(), inner.to_owned())];
    // Renamed, too.
    assert_eq!(found_in("renamed", &two).0, one("withdrawn", ""));
    assert_eq!(found_in("v3", &bytes("3")).0, one("void", ""));
    let packed = gzip(&tar(&[("bin/x", &two)]));
    assert_eq!(
        found_in("a.tar.gz", &packed).0,
        one("withdrawn", "a.tar > bin/x")
    );
    let zipped = zip(&[("deep/x", &two)]);
    assert_eq!(found_in("a.zip", &zipped).0, one("withdrawn", "deep/x"));
    let (saved, layers) = image(&[
        vec![("etc/os-release", b"x")],
        vec![("usr/bin/x", &two)],
        vec![("usr/bin/.wh.x", b"")],
    ]);
    let (found, layer) = found_in("image.tar", &saved);
    assert_eq!(found.len(), 1);
    assert!(found[0].1.ends_with("usr/bin/x"), "{found:?}");
    assert_eq!(layer, format!("sha256:{}", layers[1]));
    let nested = zip(&[("image.tar", &saved)]);
    assert_eq!(found_in("n.zip", &nested).0.len(), 1);
}

#[test]
fn what_passes_for_an_artifact_and_is_not_is_found() {
    let bench = project();
    put(&bench, "bin/tool-1", b"the tool, 1 with a line more\n");
    put(&bench, "bin/tool-1.bundle", b"{}");
    let all = scan(&bench, 1, "tree");
    assert_eq!(found(&all), [("unknown-digest".to_owned(), String::new())]);
    assert_eq!(all["findings"][0]["project"], "acme/tool");
    // In words; and no name steers the terminal.
    put(&bench, "\u{1b}[2J\u{202e}/tool-1", b"other");
    let said = bench.client("scan tree");
    let text = String::from_utf8(said.out).unwrap();
    assert!(said.code == 1 && text.contains("unknown-digest"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
}

#[test]
fn what_a_genuine_archive_holds_passes_for_nothing() {
    let bench = project();
    let packed = gzip(&tar(&[
        ("tool-helper", b"of the release"),
        ("tool-1", b"another"),
    ]));
    std::fs::write(bench.path("tool-5.tar.gz"), &packed).unwrap();
    bench.ok("publish tool-5.tar.gz --project acme/tool --version 5 --key release2");
    let policy = std::fs::read_to_string(bench.path("policy.toml")).unwrap();
    let patterns = "name = \"acme/tool\"\nartifacts = [\"tool-*\"]";
    let policy = policy.replace("name = \"acme/tool\"", patterns);
    std::fs::write(bench.path("policy.toml"), policy).unwrap();
    put(&bench, "tool-5.tar.gz", &packed);
    let all = scan(&bench, 0, "tree");
    assert_eq!((found(&all).len(), &all["ofReleases"]), (0, &1.into()));
    // Beside it, it does.
    put(&bench, "tool-helper", b"of the release");
    let all = scan(&bench, 1, "tree");
    assert_eq!(found(&all), [("unknown-digest".to_owned(), String::new())]);
}

#[test]
fn what_cannot_be_looked_into_is_listed_and_links_lead_nowhere() {
    let bench = project();
    put(&bench, "good", b"x");
    let tree = bench.path("tree");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(".", tree.join("loop")).unwrap();
        std::os::unix::fs::symlink("/", tree.join("out")).unwrap();
    }
    let all = scan(&bench, 0, "tree");
    assert_eq!((&all["links"], &all["files"]), (&2.into(), &1.into()));
    let problem = |name: &str, packed: &[u8], kind: &str| {
        put(&bench, name, packed);
        let all = scan(&bench, 3, "tree");
        assert_eq!(all["problems"][0]["kind"], kind, "{all}");
        std::fs::remove_file(tree.join(name)).unwrap();
    };
    let packed = gzip(&vec![7; 100_000]);
    problem("cut.gz", &packed[..packed.len() / 2], "broken-archive");
    let mut nested = b"x".to_vec();
    for _ in 0..20 {
        nested = gzip(&nested);
    }
    problem("deep.gz", &nested, "nested-too-deep");
    problem("a.7z", b"7z\xbc\xaf\x27\x1c", "unsupported-archive");
    let evil = tar(&[("/etc/x", b"1"), ("../../x", b"2")]);
    put(&bench, "evil.tar", &evil);
    let all = scan(&bench, 0, "tree");
    assert_eq!(all["files"], 4);
    assert!(!bench.path("x").exists());
    // What a privileged user cannot read there is none of.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let closed = tree.join("good");
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o0)).unwrap();
        if std::fs::read(&closed).is_err() {
            let all = scan(&bench, 3, "tree");
            assert_eq!(all["problems"][0]["kind"], "unreadable");
        } else {
            eprintln!("skipped: this user may read everything");
        }
    }
    bench.refused(2, "unreadable", "scan missing");
    // What was found counts for more than what could not be looked into.
    put(&bench, "deep.gz", &nested);
    put(&bench, "bad", &bytes("2"));
    let all = scan(&bench, 1, "tree");
    assert_eq!(all["problems"].as_array().unwrap().len(), 1);
}

#[test]
fn a_bomb_ends_and_is_listed() {
    let bench = project();
    let zeros = vec![0_u8; 64 << 20];
    // Seventeen times 64 MiB, from some hundred kilobytes.
    let packed = gzip(&zeros);
    let names: Vec<String> = (0..17).map(|n| format!("{n}.gz")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &packed[..])).collect();
    put(&bench, "bomb.tar.gz", &gzip(&tar(&files)));
    let all = scan(&bench, 3, "tree");
    assert_eq!(all["problems"][0]["kind"], "unpacks-too-large");
}
