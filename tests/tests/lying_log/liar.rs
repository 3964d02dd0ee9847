//! A log that holds its genuine keys, and does with its leaves what it likes: it may log what is
//! junk, and count what it will. All that it says is signed, and proven by its own tree.

use super::stub::{Answer, Request, get};
use countersign_server::datadir::Layout;
use countersign_server::logkeys::LogKeys;
use keys::Ed25519Secret;
use ledger::bundle::{Bundle, Head, Included};
use ledger::envelope::Envelope;
use ledger::fold::Fold;
use ledger::leaf::{Leaf, StatementLeaf};
use ledger::state::withdrawn_keys;
use ledger::statement::Statement;
use ledger::{Hash, from_hex32};
use serde_json::json;
use std::path::Path;
use tlog::checkpoint::Checkpoint;
use tlog::note::{Note, NoteSignature};
use tlog::tile::{EntryTile, Tile, encode_bundle, parse_bundle};
use tlog::tree::{Compact, HashReader, prove_inclusion};
use tlog::vkey::VerifierKey;

pub const ORIGIN: &str = "log.example";

pub struct Liar {
    keys: LogKeys,
    fold: Fold,
    leaves: Vec<Vec<u8>>,
    /// Of which project it counts which leaf.
    counted: Vec<(Hash, u64)>,
    /// Where it cosigns its own checkpoints: the witness's key, and the time that it says.
    pub witness: Option<(Ed25519Secret, u64)>,
    /// Whether it counts what is submitted to it.
    pub counts: bool,
}

/// The leaf hashes of a log of at most 255 leaves are its one tile.
struct One(Vec<Hash>);

impl HashReader for One {
    type Error = String;
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, String> {
        assert_eq!((level, index), (0, 0));
        Ok(self.0[..usize::from(width)].concat())
    }
}

impl Liar {
    /// With the keys in `data`, and the leaves of the log at `url`, each as `change` makes it.
    pub fn new(data: &Path, url: &str, change: impl Fn(Leaf) -> Leaf) -> Self {
        let note = Note::parse(&get(url, "/checkpoint")).unwrap();
        let width = u16::try_from(Checkpoint::parse(&note.text).unwrap().size).unwrap();
        let path = EntryTile { index: 0, width }.path();
        let entries = parse_bundle(&get(url, &format!("/{path}")), width).unwrap();
        let mut liar = Self {
            keys: Layout::new(data).keys().unwrap(),
            fold: Fold::new(ORIGIN),
            leaves: Vec::new(),
            counted: Vec::new(),
            witness: None,
            counts: true,
        };
        for entry in entries {
            liar.push(&change(Leaf::parse(&entry).unwrap()), true);
        }
        liar
    }

    /// Says from its next head on that it never counted this leaf.
    #[allow(dead_code, reason = "not all that share this log ask it to")]
    pub fn deny(&mut self, index: u64) {
        self.counted.retain(|(_, counted)| *counted != index);
        let mut fold = Fold::new(ORIGIN);
        for (index, bytes) in (0..).zip(&self.leaves) {
            let counted = self.counted.iter().any(|(_, counted)| *counted == index);
            fold.follow(&Leaf::parse(bytes).unwrap(), counted);
        }
        self.fold = fold;
    }

    fn push(&mut self, leaf: &Leaf, counted: bool) {
        let index = self.size();
        if counted {
            self.fold.apply(leaf).unwrap();
            let about = self.fold.about(leaf);
            self.counted
                .extend(about.into_iter().map(|project| (project, index)));
        } else {
            self.fold.follow(leaf, false);
        }
        self.leaves.push(leaf.to_bytes().unwrap());
    }

    fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    fn tile(&self) -> One {
        let hashes = self.leaves.iter().map(|l| tlog::hash::leaf_hash(l));
        One(hashes.collect())
    }

    fn checkpoint(&self) -> String {
        let mut tree = Compact::new();
        self.tile().0.into_iter().for_each(|hash| tree.push(hash));
        let note = self.keys.sign(self.size(), tree.root()).unwrap();
        let Some((key, time)) = &self.witness else {
            return note;
        };
        let mut note = Note::parse(note.as_bytes()).unwrap();
        let vkey = VerifierKey::cosignature("w.example", &key.public_bytes()).unwrap();
        let signed = key.sign(&tlog::cosignature::message(*time, &note.text));
        let cosignature = tlog::cosignature::encode(*time, &signed);
        note.signatures.push(NoteSignature::by(&vkey, cosignature));
        String::from_utf8(note.to_bytes()).unwrap()
    }

    fn included(&self, index: u64) -> Included {
        Included {
            index,
            leaf: self.leaves[usize::try_from(index).unwrap()].clone(),
            proof: prove_inclusion(index, self.size(), &self.tile()).unwrap(),
        }
    }

    fn head(&self, project: &Hash) -> Head {
        let last = self.included(self.size() - 1);
        Head {
            leaf: last.leaf,
            map: self.fold.prove(project),
            proof: last.proof,
            state: self.fold.state(project).unwrap(),
            withdrawn: Default::default(),
        }
    }

    fn bundle(&self, index: u64) -> Vec<u8> {
        let entry = self.included(index);
        let Leaf::Statement(leaf) = Leaf::parse(&entry.leaf).unwrap() else {
            panic!("entry {index} is no statement");
        };
        let project = self.fold.project_of(&leaf.envelope, &leaf.statement);
        let project = project.unwrap();
        let digests = leaf.statement.subject.iter().map(|s| s.sha256);
        let keys = withdrawn_keys(&leaf.envelope.pae_hash(), digests);
        let prove = |key| (key, self.fold.prove_withdrawn(&project, &key).unwrap());
        let versions = self.fold.project(&project).unwrap().versions();
        let bundle = Bundle {
            api_version: "countersign/v1".into(),
            entry,
            first: self.checkpoint(),
            head: Head {
                withdrawn: keys.into_iter().map(prove).collect(),
                ..self.head(&project)
            },
            latest: None,
            projects: versions.map(|v| self.included(v.index)).collect(),
        };
        bundle.to_bytes().unwrap()
    }

    /// Logs what is submitted, and counts it or not.
    fn submit(&mut self, body: &[u8]) -> Vec<u8> {
        let envelope = Envelope::parse_submission(body).unwrap();
        let statement = Statement::parse(&envelope.payload).unwrap();
        let time = self.fold.last_time();
        let leaf = StatementLeaf {
            envelope,
            statement,
            time,
        };
        let index = self.size();
        self.push(&Leaf::Statement(Box::new(leaf)), self.counts);
        let head = self.fold.next_head(time);
        self.push(&head, true);
        self.bundle(index)
    }

    pub fn answer(&mut self, request: &Request) -> Answer {
        let path = request.path.trim_start_matches('/');
        if request.method == "POST" {
            return (200, self.submit(&request.body));
        }
        if path == "checkpoint" {
            return (200, self.checkpoint().into_bytes());
        }
        if let Ok(tile) = EntryTile::parse_path(path) {
            let leaves = &self.leaves[..usize::from(tile.width)];
            return (200, encode_bundle(leaves).unwrap());
        }
        if let Ok(tile) = Tile::parse_path(path) {
            return (200, self.tile().tile(0, 0, tile.width).unwrap());
        }
        let words: Vec<&str> = path.split(['/', '?']).collect();
        let answer = match words.as_slice() {
            ["api", "v1", "entries", index, "bundle"] => {
                return (200, self.bundle(index.parse().unwrap()));
            }
            ["api", "v1", "projects", id, "head"] => {
                let head = serde_json::to_value(self.head(&from_hex32(id).unwrap())).unwrap();
                json!({ "apiVersion": "countersign/v1", "checkpoint": self.checkpoint(), "head": head })
            }
            ["api", "v1", "projects", id, "entries", ..] => {
                let of = self
                    .counted
                    .iter()
                    .filter(|(p, _)| Some(*p) == from_hex32(id));
                let indexes: Vec<u64> = of.map(|(_, index)| *index).collect();
                json!({ "apiVersion": "countersign/v1", "indexes": indexes })
            }
            _ => return (404, Vec::new()),
        };
        (200, ledger::json::to_canonical(&answer).unwrap())
    }
}
