//! Two trees of one size: whoever sees both has the evidence, offline.

use super::bench::Bench;
use super::stub::get;
use countersign_tests::{binary, copy_directory};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The file that was named, and that it proves the fork to somebody who has nothing else.
fn proven(said: &str) -> PathBuf {
    let line = said
        .lines()
        .find_map(|l| l.trim().strip_prefix("evidence: "));
    let file = PathBuf::from(line.unwrap_or_else(|| panic!("{said}")));
    let hint = format!("hint: `countersign evidence verify {}`", file.display());
    assert!(said.contains(&hint), "{said}");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(&file, elsewhere.path().join("fork.json")).unwrap();
    let mut verify = Command::new(binary("countersign").unwrap());
    verify
        .args(["evidence", "verify", "fork.json"])
        .current_dir(elsewhere.path())
        .env_clear()
        .env("HOME", elsewhere.path());
    let told = countersign_tests::run(verify).unwrap();
    assert_eq!(told.code, 0, "{}", told.err);
    let told = String::from_utf8(told.out).unwrap();
    let fork = "two histories that contradict each other";
    assert!(told.contains(fork), "{told}");
    file
}

#[test]
fn two_trees_of_one_size_are_kept_as_evidence() {
    let mut bench = Bench::new();
    bench.published("1.0", "release1");
    bench.server.take().unwrap().stop().unwrap();
    // Two servers with the same keys and the same beginning.
    copy_directory(&bench.path("log"), &bench.path("fork"));
    let (one, other) = (bench.serve("log"), bench.serve("fork"));
    let mut sizes = Vec::new();
    for (server, state, version) in [
        (&one, "one/state.json", "1.1"),
        (&other, "other/state.json", "2.0"),
    ] {
        bench.machine((state, "at.toml"), &[&server.url], |_| ());
        bench.published(version, "release1");
        sizes.push(bench.remembered());
    }
    assert_eq!(sizes[0], sizes[1]);

    // A bundle, offline; what answers; and what a bundle is refreshed by.
    bench.machine(("one/state.json", "at.toml"), &[&other.url], |_| ());
    let remembered = fs::read(bench.path(bench.state)).unwrap();
    let evidence = bench.path("one/evidence");
    for args in [
        "verify tool-2.0",
        "verify tool-2.0 --json",
        "releases acme/tool",
        "refresh tool-1.1",
        "verify tool-1.1 --online",
    ] {
        let _ = fs::remove_dir_all(&evidence);
        if args.ends_with("--json") {
            let said = bench.client(args);
            let json: serde_json::Value = serde_json::from_slice(&said.out).unwrap();
            assert_eq!((said.code, &json["kind"]), (1, &"fork".into()));
            let file = json["details"]["evidence"].as_str().unwrap();
            assert!(fs::exists(file).unwrap(), "{json}");
            continue;
        }
        let said = bench.refused(1, "fork", args);
        assert!(said.contains("remembered: ") && said.contains("now: "));
        assert!(proven(&said).starts_with(&evidence), "{said}");
    }
    // Without a memory, by the policy's floor.
    let floor = String::from_utf8(get(&other.url, "/checkpoint")).unwrap();
    bench.machine(("fresh/state.json", "floor.toml"), &[&one.url], |policy| {
        policy.log.checkpoint_floor = Some(floor);
    });
    let said = bench.refused(1, "fork", "verify tool-1.1");
    assert!(proven(&said).starts_with(bench.path("fresh/evidence")));

    // Where it cannot be kept it is refused all the same, and the notes are there to keep by hand.
    bench.machine(("one/state.json", "at.toml"), &[&other.url], |_| ());
    let _ = fs::remove_dir_all(&evidence);
    fs::write(&evidence, "").unwrap();
    let said = bench.refused(1, "fork", "verify tool-2.0");
    assert!(said.contains("evidence: it cannot be written"), "{said}");
    assert!(said.contains("remembered: log.example"), "{said}");
    assert!(fs::read(bench.path(bench.state)).unwrap() == remembered);
}
