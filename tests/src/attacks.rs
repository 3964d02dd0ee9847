//! The attack corpus, `tests/attacks/<name>/`: one folder an attack. `attack.toml` says what the
//! attacker holds, what they would gain, how they are refused, and which check of ours refuses
//! them; that it does is proven by taking the check out and seeing the attack succeed
//! (docs/attacks.md). This file knows no more than `std`, serde and toml, since the client's own
//! tests read the corpus too.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The families that the corpus covers, each by one attack at least.
pub const FAMILIES: &[&str] = &[
    "storage swap",
    "another's bundle",
    "altered proof",
    "size and index",
    "wrong tree",
    "signature lines",
    "log keys",
    "cosignatures",
    "quorum",
    "split view",
    "rollback and freeze",
    "hidden revocation",
    "signature encoding",
    "envelope",
    "replayed statement",
    "json",
    "names",
    "destination",
    "check and run",
    "network",
    "clock",
    "revoked and withdrawn",
    "client state",
    "terminal",
];

/// How a check is taken out, to see the attack succeed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Weaken {
    /// A step of the verifier, left out by `--cfg without="STEP"` (tests/every-check-matters).
    Step {
        /// The step's name.
        without: String,
    },
    /// Other source text in the place of a piece that stands exactly once in a file
    /// (`countersign-attacks`).
    Text {
        /// From the repository's root.
        file: String,
        /// What stands there.
        find: String,
        /// What is put there.
        replace: String,
    },
}

/// One attack, as its folder says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// One of [`FAMILIES`].
    pub family: String,
    /// What the attacker holds.
    pub holds: String,
    /// What they gain if it works.
    pub gains: String,
    /// The stable kind of the refusal.
    pub expect: String,
    /// A script of `tests/tests/attacks`; else the folder holds a bundle that is verified.
    #[serde(default)]
    pub script: bool,
    /// Each with the others makes the weakened program.
    pub weaken: Vec<Weaken>,
}

/// What became of an attack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused, with this kind.
    Refused(String),
    /// The attacker has what they wanted: how that was seen.
    Succeeded(String),
    /// Neither: what was seen.
    Odd(String),
    /// It cannot be carried out on this machine, for want of this.
    Untried(String),
}

/// The corpus's directory.
#[must_use]
pub fn corpus() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).join("tests/attacks")
}

/// Reads the whole corpus, strictly.
///
/// # Errors
/// A sentence that names the folder.
pub fn read() -> Result<BTreeMap<String, Attack>, String> {
    let dir = corpus();
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut attacks = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(|e| e.to_string())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let attack = one(&entry.path()).map_err(|e| format!("tests/attacks/{name}: {e}"))?;
        attacks.insert(name, attack);
    }
    Ok(attacks)
}

fn one(dir: &Path) -> Result<Attack, String> {
    let text = std::fs::read_to_string(dir.join("attack.toml"))
        .map_err(|e| format!("attack.toml: {e}"))?;
    let attack: Attack = toml::from_str(&text).map_err(|e| format!("attack.toml: {e}"))?;
    if !FAMILIES.contains(&attack.family.as_str()) {
        return Err(format!("no family {:?}", attack.family));
    }
    for (what, said) in [("holds", &attack.holds), ("gains", &attack.gains)] {
        if said.trim().len() < 10 {
            return Err(format!("{what} says nothing"));
        }
    }
    if attack.weaken.is_empty() {
        return Err("nothing proves that it can succeed".into());
    }
    if attack.script == dir.join("case.json").exists() {
        return Err("want either script = true or a case.json".into());
    }
    Ok(attack)
}

/// What this run is to show: `None`, that every attack is refused; else, that these succeed
/// against a build with their check taken out (`COUNTERSIGN_ATTACKS_SUCCEED`, names with commas).
#[must_use]
pub fn succeeding() -> Option<Vec<String>> {
    let names = std::env::var("COUNTERSIGN_ATTACKS_SUCCEED").ok()?;
    Some(names.split(',').map(str::to_owned).collect())
}

/// Judges what became of the attacks: each is refused with its kind, or, in a weakened build,
/// has succeeded.
///
/// # Errors
/// One line for each that is not as it should be.
pub fn judge(
    all: &BTreeMap<String, Attack>,
    outcome: impl Fn(&str, &Attack) -> Option<Outcome>,
) -> Result<usize, String> {
    let weakened = succeeding();
    let (mut tried, mut wrong) = (0, Vec::new());
    for (name, attack) in all {
        if weakened.as_ref().is_some_and(|names| !names.contains(name)) {
            continue;
        }
        let Some(outcome) = outcome(name, attack) else {
            continue;
        };
        if let (Outcome::Untried(want), None) = (&outcome, &weakened) {
            eprintln!("{name} is not tried: {want}");
            continue;
        }
        tried += 1;
        let as_wanted = match (&outcome, &weakened) {
            (Outcome::Refused(kind), None) => *kind == attack.expect,
            (Outcome::Succeeded(_), Some(_)) => true,
            _ => false,
        };
        if !as_wanted {
            wrong.push(format!(
                "{name}: {outcome:?}, want {}",
                match &weakened {
                    None => format!("refused as {}", attack.expect),
                    Some(_) => "success: its check is taken out".to_owned(),
                }
            ));
        }
    }
    if wrong.is_empty() {
        Ok(tried)
    } else {
        Err(wrong.join("\n"))
    }
}
