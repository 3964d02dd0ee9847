//! What makes the bundles of `tests/attacks`: genuine ones of a log whose keys everybody knows,
//! wrong in the one point that the folder is about. Signing is deterministic, so the folders are
//! exactly what stands here.

use crate::forger::{Liar, ORIGIN, Plan, T};
use countersign::memory::{Memory, SeenCheckpoint, SeenHead, SeenRelease, release_key};
use countersign::policy::Policy;
use keys::{Ed25519Secret, Signer as _};
use ledger::bundle::Bundle;
use ledger::{Hash, json};
use serde_json::Value;
use tlog::checkpoint::Checkpoint;
use tlog::note::{Note, NoteSignature};
use tlog::vkey::VerifierKey;

mod checkpoints;
mod entries;
mod projects;
mod proofs;
mod times;

/// A day in seconds.
pub const DAY: u64 = 86_400;

/// What a folder holds besides its `attack.toml`.
pub struct Folder {
    pub artifact: Vec<u8>,
    pub name: &'static str,
    pub now: u64,
    pub version: Option<&'static str>,
    pub no_rollback: bool,
    pub bundle: Vec<u8>,
    pub policy: String,
    pub state: Option<Vec<u8>>,
}

/// Every folder that holds a bundle.
pub fn folders() -> Vec<(&'static str, Folder)> {
    let mut all = Vec::new();
    all.extend(entries::folders());
    all.extend(proofs::folders());
    all.extend(checkpoints::folders());
    all.extend(projects::folders());
    all.extend(times::folders());
    all
}

impl Folder {
    /// What the plan's log would serve, and the policy that pins the plan's project.
    pub fn of(liar: &Liar, plan: &Plan) -> Self {
        Self {
            artifact: b"genuine".to_vec(),
            name: "x.sh",
            now: T + 10,
            version: None,
            no_rollback: false,
            bundle: liar.bundle(plan).to_bytes().unwrap(),
            policy: liar.policy(plan.id).to_toml().unwrap(),
            state: None,
        }
    }

    /// The genuine one, which verifies.
    pub fn genuine() -> Self {
        let liar = Liar::known();
        Self::of(&liar, &liar.plan())
    }

    /// With another bundle.
    pub fn bundled(mut self, change: impl FnOnce(&mut Bundle)) -> Self {
        let mut bundle = Bundle::parse(&self.bundle).unwrap();
        change(&mut bundle);
        self.bundle = bundle.to_bytes().unwrap();
        self
    }

    /// With a bundle that may be none.
    pub fn edited(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let mut value = json::parse(&self.bundle).unwrap();
        change(&mut value);
        self.bundle = json::to_canonical(&value).unwrap();
        self
    }

    /// With other signature lines under its one checkpoint.
    pub fn signed(self, change: impl FnOnce(&mut Note)) -> Self {
        self.bundled(|b| {
            let mut note = Note::parse(b.first.as_bytes()).unwrap();
            change(&mut note);
            b.first = String::from_utf8(note.to_bytes()).unwrap();
        })
    }

    /// With another policy.
    pub fn under(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = Policy::parse_toml(&self.policy).unwrap();
        change(&mut policy);
        self.policy = policy.to_toml().unwrap();
        self
    }

    /// With other witnesses in its policy.
    pub fn witnessed(self, lines: &str) -> Self {
        let witnesses = tlog::policy::Policy::parse(lines).unwrap();
        self.under(|p| {
            p.witnesses = witnesses;
            p.witnesses_text = lines.to_owned();
        })
    }

    /// With a memory.
    pub fn remembering(mut self, learn: impl FnOnce(&mut Memory)) -> Self {
        let mut memory = Memory {
            api_version: "countersign/v1".into(),
            ..Memory::default()
        };
        learn(&mut memory);
        self.state = Some(json::canonical_of(&memory).unwrap());
        self
    }

    /// At another time.
    pub fn at(self, now: u64) -> Self {
        Self { now, ..self }
    }

    /// As `case.json` says it.
    pub fn case(&self) -> Value {
        let mut case = serde_json::json!({ "name": self.name, "now": self.now });
        if let Some(version) = self.version {
            case["version"] = version.into();
        }
        if self.no_rollback {
            case["noRollback"] = true.into();
        }
        case
    }
}

/// A log's checkpoint in a memory.
pub fn seen(size: u64, root: Hash, view_time: u64) -> SeenCheckpoint {
    SeenCheckpoint {
        checkpoint: String::new(),
        size,
        root: hex::encode(root),
        view_time,
    }
}

/// A head of the plan's project in a memory, changed.
pub fn seen_head(
    memory: &mut Memory,
    plan: &Plan,
    size: u64,
    change: impl FnOnce(&mut ledger::state::StateDocument),
) {
    let mut state = plan.state.clone();
    change(&mut state);
    let id = hex::encode(plan.id);
    memory.projects.insert(id, SeenHead { size, state });
}

/// A newer release of `x.sh` in a memory.
pub fn seen_release(memory: &mut Memory, plan: &Plan, index: u64) {
    let version = "1.1".to_owned();
    let key = release_key(&plan.id, "x.sh");
    memory.releases.insert(key, SeenRelease { index, version });
}

/// A cosignature of `text` at `time` under `name`.
pub fn cosignature(name: &str, key: &Ed25519Secret, text: &str, time: u64) -> NoteSignature {
    let vkey = VerifierKey::cosignature(name, &key.public_bytes()).unwrap();
    let signature = key.sign(&tlog::cosignature::message(time, text));
    NoteSignature::by(&vkey, tlog::cosignature::encode(time, &signature))
}

/// The same log's checkpoint under an origin, signed by the log and cosigned by its witness.
pub fn note_of(liar: &Liar, origin: &str, size: u64, root: Hash, time: u64) -> String {
    let text = Checkpoint {
        origin: origin.into(),
        size,
        root,
        extensions: Vec::new(),
    }
    .to_text();
    let p256 = VerifierKey::p256(ORIGIN, liar.p256.public_key().spki_der()).unwrap();
    let ed25519 = VerifierKey::ed25519(ORIGIN, &liar.ed25519.public_bytes()).unwrap();
    let signatures = vec![
        NoteSignature::by(&p256, liar.p256.sign(text.as_bytes()).unwrap()),
        NoteSignature::by(&ed25519, liar.ed25519.sign(text.as_bytes()).to_vec()),
        cosignature("w.example", &liar.witness, &text, time),
    ];
    String::from_utf8(Note { text, signatures }.to_bytes()).unwrap()
}
