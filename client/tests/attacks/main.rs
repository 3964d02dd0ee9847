//! The attacks of `tests/attacks` that are a bundle beside an artifact: each folder holds what a
//! downloader would have, and the verifier refuses it as the folder says. `forge` makes the
//! folders' bundles, from keys that everybody knows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../../../tests/src/attacks.rs"]
#[allow(dead_code)]
mod corpus;
mod forge;
#[path = "../forger/mod.rs"]
mod forger;

use corpus::{Attack, Outcome};
use countersign::memory::Memory;
use countersign::policy::Policy;
use countersign::verify::{Artifact, Wanted, verify};
use ledger::bundle::Bundle;
use ledger::sha256;
use serde::Deserialize;
use std::path::Path;

/// `case.json`: how the verifier is asked. Beside it lie `artifact`, `artifact.bundle`,
/// `policy.toml` and, where there is a memory, `state.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    /// The artifact's name.
    name: String,
    /// Unix seconds.
    now: u64,
    /// The version that is asked for.
    version: Option<String>,
    /// As `get` and `run` ask, which take nothing older than what they remember.
    #[serde(default)]
    no_rollback: bool,
}

fn outcome(dir: &Path) -> Result<String, String> {
    let read = |name: &str| std::fs::read(dir.join(name)).expect(name);
    let case: Case = serde_json::from_slice(&read("case.json")).expect("case.json");
    let (bytes, policy) = (read("artifact"), read("policy.toml"));
    let policy = Policy::parse_toml(std::str::from_utf8(&policy).unwrap())
        .map_err(|e| e.kind().to_owned())?;
    let memory = Memory::load(&dir.join("state.json")).map_err(|_| "state".to_owned())?;
    let bundle = Bundle::parse(&read("artifact.bundle")).map_err(|e| e.kind().to_owned())?;
    let artifact = Artifact {
        name: &case.name,
        sha256: sha256(&bytes),
        size: bytes.len() as u64,
    };
    let wanted = Wanted {
        project: &policy.projects[0],
        version: case.version.as_deref(),
        no_rollback: case.no_rollback,
    };
    match verify(&artifact, &wanted, &bundle, &policy, &memory, case.now) {
        Ok(verdict) => Ok(format!("verified as {}", verdict.purl)),
        Err(e) => Err(e.kind().to_owned()),
    }
}

#[test]
fn bundles_that_lie_are_refused() {
    let attacks = corpus::read().unwrap();
    let tried = corpus::judge(&attacks, |name: &str, attack: &Attack| {
        let dir = corpus::corpus().join(name);
        (!attack.script).then(|| match outcome(&dir) {
            Ok(gained) => Outcome::Succeeded(gained),
            Err(kind) => Outcome::Refused(kind),
        })
    });
    let tried = tried.unwrap_or_else(|e| panic!("{e}"));
    println!("{tried} attacks");
}

/// What lies in a folder besides `attack.toml`, by file name.
fn files(folder: &forge::Folder) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let mut case = serde_json::to_vec_pretty(&folder.case()).unwrap();
    case.push(b'\n');
    vec![
        ("case.json", Some(case)),
        ("artifact", Some(folder.artifact.clone())),
        ("artifact.bundle", Some(folder.bundle.clone())),
        ("policy.toml", Some(folder.policy.clone().into_bytes())),
        ("state.json", folder.state.clone()),
    ]
}

#[test]
fn the_folders_are_what_is_forged_here() {
    let forged = forge::folders();
    for (name, attack) in corpus::read().unwrap() {
        assert!(
            attack.script || forged.iter().any(|(n, _)| *n == name),
            "nothing here makes {name}"
        );
    }
    for (name, folder) in forged {
        for (file, bytes) in files(&folder) {
            let there = std::fs::read(corpus::corpus().join(name).join(file)).ok();
            assert!(there == bytes, "{name}/{file} is not what is forged here");
        }
    }
}

/// Writes them: `cargo test -p countersign --test attacks -- --ignored`.
#[test]
#[ignore = "writes to the repository"]
fn make_the_folders() {
    for (name, folder) in forge::folders() {
        let dir = corpus::corpus().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        for (file, bytes) in files(&folder) {
            if let Some(bytes) = bytes {
                std::fs::write(dir.join(file), bytes).unwrap();
            }
        }
    }
}

#[test]
fn what_the_attacks_start_from_verifies() {
    let dir = tempfile::tempdir().unwrap();
    for (file, bytes) in files(&forge::Folder::genuine()) {
        if let Some(bytes) = bytes {
            std::fs::write(dir.path().join(file), bytes).unwrap();
        }
    }
    assert!(outcome(dir.path()).is_ok());
}
