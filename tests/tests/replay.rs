//! The breach of 2021 replayed, in its short form, each variant, by the built program.
#![allow(clippy::unwrap_used)]

use countersign_tests::{Said, binary, run};
use std::path::Path;
use std::process::Command;

/// The old way needs `curl`, as it did in 2021.
fn curl() -> bool {
    let there = Command::new("curl").arg("--version").output().is_ok();
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

/// What is shown is asserted: with a client that runs whatever is served, the replay fails.
#[cfg(unix)]
#[test]
fn a_client_that_runs_anything_is_found_out() {
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
        "#!/bin/sh\n[ \"$1\" = run ] || exec {} \"$@\"\ncurl -fsS \"$2\" | sh\n",
        real.display()
    );
    let path = programs.path().join("countersign");
    std::fs::write(&path, careless).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = replay("storage", Some(programs.path()));
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("new-0 leaked"), "{}", said.err);
}
