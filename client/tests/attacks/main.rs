//! The attacks of `tests/attacks` that are a bundle beside an artifact: each folder holds what a
//! downloader would have, and the verifier refuses it as the folder says. `forge` makes the
//! folders' bundles, from keys that everybody knows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../../../tests/src/attacks.rs"]
#[allow(dead_code)]
mod corpus;

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
