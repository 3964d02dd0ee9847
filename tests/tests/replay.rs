//! The breach of 2021 replayed, in its short form, each variant, by the built program.
#![allow(clippy::unwrap_used)]

use countersign_tests::{Said, binary, run};
use std::path::Path;
use std::process::Command;

/// The old way needs `curl`, as it did in 2021. Where everything must be tested it must be there.
fn curl() -> bool {
    let there = Command::new("curl").arg("--version").output().is_ok();
    let must = ["CI", "COUNTERSIGN_CI"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()));
    assert!(
        there || !must,
        "curl is not installed, and CI or COUNTERSIGN_CI says that nothing is to be skipped"
    );
    if !there {
        eprintln!("skipped: curl is not installed");
    }
    there
}

fn replay(variant: &str, programs: Option<&Path>) -> Said {
    let mut command = Command::new(binary("replay-2021").unwrap());
    command.args(["--short", "--variant", variant]);
    if let Some(programs) = programs {
        command.env("COUNTERSIGN_BIN_DIR", programs);
    }
    run(command).unwrap()
}

fn short(variant: &str, least: usize) {
    if !curl() {
        return;
    }
    let said = replay(variant, None);
    let out = String::from_utf8(said.out).unwrap();
    assert_eq!(said.code, 0, "{out}\n{}", said.err);
    let shown = out.lines().filter(|l| l.starts_with("  shown ")).count();
    assert!(shown >= least, "{shown} things shown\n{out}");
    let plain = |c: char| c == '\n' || !c.is_control();
    assert!(out.chars().all(plain), "{out:?}");
}

#[test]
fn the_storage_key_leaks() {
    short("storage", 15);
}

#[test]
fn the_release_key_is_stolen() {
    short("release-key", 9);
}

#[test]
fn the_log_is_the_attacker_s() {
    short("log", 5);
}

#[test]
fn a_revocation_is_hidden() {
    short("hidden-revocation", 6);
}

/// What is shown is asserted: with a client that `run` makes careless the replay fails, where it
/// shows `what`.
#[cfg(unix)]
fn found_out(variant: &str, run: &str, what: &str) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    if !curl() {
        return;
    }
    let programs = tempfile::tempdir().unwrap();
    for name in ["countersign-server", "countersign-witness"] {
        symlink(binary(name).unwrap(), programs.path().join(name)).unwrap();
    }
    let real = binary("countersign").unwrap();
    let careless = format!(
        "#!/bin/sh\nreal='{}'\n[ \"$1\" = run ] || exec \"$real\" \"$@\"\n{run}\n",
        real.display()
    );
    let path = programs.path().join("countersign");
    std::fs::write(&path, careless).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = replay(variant, Some(programs.path()));
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains(what), "{}", said.err);
    // Where it failed is said, too.
    assert!(said.err.contains(".rs:"), "{}", said.err);
}

/// `run` with another policy or memory: `change` is done to the file `$a`, which is `option`'s.
#[cfg(unix)]
fn with(option: &str, change: &str) -> String {
    format!(
        "for a do\n  shift\n  if [ \"$last\" = {option} ]; then {change}; fi\n  last=$a\n  set -- \"$@\" \"$a\"\ndone\nexec \"$real\" \"$@\""
    )
}

#[cfg(unix)]
#[test]
fn a_client_that_runs_anything_is_found_out() {
    found_out("storage", "curl -fsS \"$2\" | sh", "new-0 leaked");
}

#[cfg(unix)]
#[test]
fn a_client_that_does_not_wait_is_found_out() {
    let hasty = with(
        "--policy",
        "sed '/^min-age/d' \"$a\" >\"$a.hasty\"; a=\"$a.hasty\"",
    );
    found_out(
        "release-key",
        &hasty,
        "NOT shown: careful jobs do not run what has been public for so short a time",
    );
}

#[cfg(unix)]
#[test]
fn a_client_that_asks_for_no_witness_is_found_out() {
    let alone = with(
        "--policy",
        "sed 's/quorum two/quorum none/; /^max-age/d' \"$a\" >\"$a.alone\"; a=\"$a.alone\"",
    );
    found_out("log", &alone, "NOT shown: no witness has cosigned it");
}

#[cfg(unix)]
#[test]
fn a_client_that_forgets_is_found_out() {
    found_out(
        "hidden-revocation",
        &with("--state", "rm -f \"$a\""),
        "NOT shown: nor does one that did so once",
    );
}
