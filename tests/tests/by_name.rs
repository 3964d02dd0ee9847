//! `get` and `run` by name, with a real log and a storage.
#![allow(clippy::unwrap_used, missing_docs)]

use countersign::policy::Policy;
use countersign_tests::Storage;
use countersign_tests::bench::{Bench, Proxy, ROOTS, bench};

/// Publishes `tool` and, where `two`, `other`, as they are then; the storage serves them.
fn publish(bench: &Bench, storage: &Storage, version: &str, two: bool) {
    let mut files = "tool".to_owned();
    std::fs::write(bench.path("store/tool"), format!("echo {version}\n")).unwrap();
    std::fs::copy(bench.path("store/tool"), bench.path("tool")).unwrap();
    if two {
        std::fs::write(bench.path("other"), version).unwrap();
        std::fs::copy(bench.path("other"), bench.path("store/other")).unwrap();
        files.push_str(" other");
    }
    bench.ok(&format!(
        "publish {files} --project acme/tool --version {version} --key release1 --download-base {}",
        storage.url
    ));
}

#[test]
fn what_is_asked_for_by_name_is_found_in_the_proven_history() {
    let mut bench = bench();
    std::fs::create_dir(bench.path("store")).unwrap();
    let storage = Storage::serve(&bench.path("store")).unwrap();
    publish(&bench, &storage, "9.0", false);
    publish(&bench, &storage, "1.0", true);

    // A machine that remembers nothing names the version first.
    bench.state = "fresh.json";
    bench.refused(2, "no-version-or-memory", "get acme/tool/tool -o got");
    bench.ok("get acme/tool@1.0/tool -o got");
    // The latest is the newest entry, whatever its version looks like.
    let said = bench.ok("get acme/tool@latest/tool -o got");
    assert!(said.contains("acme/tool 1.0"), "{said}");
    assert_eq!(std::fs::read(bench.path("got")).unwrap(), b"echo 1.0\n");
    let said = bench.client("run acme/tool/tool --with sh");
    assert_eq!(
        (said.code, said.out),
        (0, b"1.0\n".to_vec()),
        "{}",
        said.err
    );

    let said = bench.refused(2, "several-artifacts", "get acme/tool@1.0");
    assert!(said.contains("other, tool"), "{said}");
    bench.refused(2, "unknown-artifact", "get acme/tool/nothing");
    bench.refused(2, "unknown-release", "get acme/tool@7.7/tool");
    bench.refused(2, "unknown-project", "get acme/tools");
    bench.refused(2, "bad-name", "get acme/tool@");
    let twice = "get acme/tool@1.0/tool --version 1.0";
    bench.refused(2, "contradictory-arguments", twice);
    // What the storage has now is another release's.
    let _ = std::fs::remove_file(bench.path("got"));
    bench.refused(1, "digest-mismatch", "get acme/tool@9.0 -o got");
    assert!(!bench.path("got").exists());

    // The policy's floor, as a version and as an index.
    publish(&bench, &storage, "2.0", false);
    let text = std::fs::read_to_string(bench.path("policy.toml")).unwrap();
    let floor = |version: &str| {
        let mut policy = Policy::parse_toml(&text).unwrap();
        policy.projects[0].min_version = Some(version.into());
        std::fs::write(bench.path("floor.toml"), policy.to_toml().unwrap()).unwrap();
    };
    floor("2.0");
    let other = "get acme/tool/other -o got --policy floor.toml";
    bench.refused(2, "unknown-artifact", other);
    let old = format!("get {}/other -o got --policy floor.toml", storage.url);
    std::fs::copy(bench.path("other.bundle"), bench.path("store/other.bundle")).unwrap();
    bench.refused(1, "rollback", &old);
    floor("1.0");
    bench.ok(other);
    bench.ok(&old);
    floor("3.0");
    bench.refused(2, "unknown-floor", other);

    // What is withdrawn is never the latest, and is refused by version.
    bench.ok(&format!("withdraw --version 2.0 --reason broken {ROOTS}"));
    bench.refused(1, "withdrawn", "get acme/tool@2.0 -o got");
    let said = bench.client("get acme/tool/tool -o got");
    assert!(said.err.contains("[digest-mismatch]") || said.err.contains("[size-mismatch]"));
    std::fs::write(bench.path("store/tool"), "echo 1.0\n").unwrap();
    let said = bench.ok("get acme/tool/tool -o got");
    assert!(said.contains("acme/tool 1.0"), "{said}");

    // A server's word: it hides the newest entry from its list, which the head contradicts.
    let liar = Proxy::start(&bench.url, |path, body| match path.contains("/entries?") {
        true => b"{\"apiVersion\":\"countersign/v1\",\"indexes\":[0,3]}".to_vec(),
        false => body,
    });
    let lied = text.replace(&bench.url, &liar.url);
    std::fs::write(bench.path("liar.toml"), lied).unwrap();
    let asked = "get acme/tool/tool -o got --policy liar.toml";
    bench.refused(3, "bad-answer", asked);
}

#[test]
fn a_release_that_does_not_say_where_it_is_needs_an_address() {
    let bench = bench();
    bench.published("1.0", "release1");
    bench.refused(2, "no-download-location", "get acme/tool@1.0");
}
