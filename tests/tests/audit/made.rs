//! Logs made by hand, with keys of the test's own: what an honest log writes, and what a log may
//! do that has its keys.

use countersign_tests::{binary, run};
use keys::{Ed25519Secret, SecretKey, Signer as _};
use ledger::envelope::Envelope;
use ledger::fold::Fold;
use ledger::leaf::{Action, HeadLeaf, Leaf, OperationLeaf, StatementLeaf};
use ledger::statement::{Project, Statement, Subject, Withdrawal, Withdrawn, release_payload};
use ledger::{Hash, sha256};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tlog::checkpoint::Checkpoint;
use tlog::hash::leaf_hash;
use tlog::note::{Note, NoteSignature};
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, encode_bundle};
use tlog::tree::Edge;
use tlog::vkey::VerifierKey;

pub const ORIGIN: &str = "log.example";
const BEGAN: u64 = 1_700_000_000;
/// Leaves from one head to the next.
const BATCH: u64 = 16;

struct Keys {
    log: Ed25519Secret,
    witness: Ed25519Secret,
    root: SecretKey,
    release: SecretKey,
}

#[derive(Clone)]
pub struct Log {
    keys: Arc<Keys>,
    pub fold: Fold,
    pub project: Hash,
    pub entries: Vec<Vec<u8>>,
    /// When the witness cosigns; `None` for never.
    pub cosigned: Option<u64>,
    /// The release that a withdrawal is about.
    pub release: Option<Envelope>,
}

impl Log {
    /// With a project, its admission, and a head.
    pub fn new() -> Self {
        let keys = Keys {
            log: Ed25519Secret::generate().unwrap(),
            witness: Ed25519Secret::generate().unwrap(),
            root: SecretKey::generate().unwrap(),
            release: SecretKey::generate().unwrap(),
        };
        let project = Project {
            name: "acme/hello".into(),
            log: ORIGIN.into(),
            version: 1,
            previous: None,
            roots: vec![keys.root.public_key().clone()],
            root_threshold: 1,
            release_keys: vec![keys.release.public_key().clone()],
            release_threshold: 1,
            authorities: Vec::new(),
            purl_prefixes: vec!["pkg:generic/acme/hello".into()],
            contact: "security@example.org".into(),
            max_key_age: None,
            policy: None,
        };
        let payload = project.to_payload().unwrap();
        let first = Envelope::sign(payload, &[&keys.root, &keys.release]).unwrap();
        let mut log = Self {
            keys: Arc::new(keys),
            fold: Fold::new(ORIGIN),
            project: first.pae_hash(),
            entries: Vec::new(),
            cosigned: Some(BEGAN + 100_000),
            release: None,
        };
        log.state(first);
        log.push(&Leaf::Operation(OperationLeaf {
            action: Action::Admitted,
            by: "operator".into(),
            project: log.project,
            reason: None,
            time: log.time(),
        }));
        log.head();
        log
    }

    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    fn time(&self) -> u64 {
        BEGAN + self.size() / BATCH
    }

    /// What an honest log takes in.
    pub fn push(&mut self, leaf: &Leaf) {
        match leaf {
            Leaf::Unknown { .. } => self.fold.follow(leaf, false),
            leaf => self.fold.apply(leaf).unwrap(),
        }
        self.entries.push(leaf.to_bytes().unwrap());
    }

    /// What it may take in that has its keys.
    pub fn raw(&mut self, entry: &[u8]) {
        let kind = "raw".to_owned();
        self.fold.follow(&Leaf::Unknown { kind }, false);
        self.entries.push(entry.to_vec());
    }

    fn leaf(&self, envelope: Envelope) -> Leaf {
        let statement = Statement::parse(&envelope.payload).unwrap();
        Leaf::Statement(Box::new(StatementLeaf {
            envelope,
            statement,
            time: self.time(),
        }))
    }

    fn state(&mut self, envelope: Envelope) {
        let leaf = self.leaf(envelope);
        self.push(&leaf);
    }

    pub fn head(&mut self) {
        let head = self.fold.next_head(self.time());
        self.push(&head);
    }

    /// A head that says of the map what is not so.
    pub fn wrong_head(&mut self) {
        let head = HeadLeaf {
            entries: self.size(),
            map: [7; 32],
            time: self.time(),
        };
        self.raw(&Leaf::Head(head).to_bytes().unwrap());
    }

    pub fn release_of(&self, purl: &str) -> Envelope {
        let subject = Subject {
            name: "hello".into(),
            sha256: sha256(purl.as_bytes()),
            size: Some(8),
            digests: BTreeMap::default(),
            download_location: None,
        };
        let payload = release_payload(&self.project, purl, &[subject], None).unwrap();
        Envelope::sign(payload, &[&self.keys.release]).unwrap()
    }

    /// A release of a version that was not there before.
    pub fn release(&mut self) {
        let purl = format!("pkg:generic/acme/hello@{}", self.size());
        let envelope = self.release_of(&purl);
        self.release.get_or_insert(envelope.clone());
        self.state(envelope);
    }

    /// The same with a signature that is none.
    pub fn forged_release(&mut self) {
        let purl = format!("pkg:generic/acme/hello@{}", self.size());
        let mut envelope = self.release_of(&purl);
        let other = self.release_of("pkg:generic/acme/hello@other");
        envelope.signatures.clone_from(&other.signatures);
        let leaf = self.leaf(envelope);
        self.raw(&leaf.to_bytes().unwrap());
    }

    /// The first release again: a purl that stands.
    pub fn release_again(&mut self) {
        let envelope = self.release.clone().unwrap();
        let leaf = self.leaf(envelope);
        self.raw(&leaf.to_bytes().unwrap());
    }

    /// Takes the first release back.
    pub fn withdraw(&mut self) {
        let release = self.release.clone().unwrap();
        let statement = Statement::parse(&release.payload).unwrap();
        let what = Withdrawal {
            project: self.project,
            what: Withdrawn::Release(release.pae_hash()),
            reason: format!("test {}", self.size()),
            successor: None,
        };
        let payload = what.to_payload(&statement.subject).unwrap();
        self.state(Envelope::sign(payload, &[&self.keys.release]).unwrap());
    }

    /// Leaves of a kind that nobody knows; of each batch of ours the first is a release, the
    /// second of some a withdrawal, and the last a head.
    pub fn grow(&mut self, size: u64) {
        while self.size() < size {
            let n = self.size();
            match n % BATCH {
                _ if n + 1 == size => self.head(),
                0 => self.release(),
                1 if n % 256 == 17 => self.withdraw(),
                15 => self.head(),
                _ => self.filler(""),
            }
        }
    }

    pub fn filler(&mut self, word: &str) {
        let n = self.size();
        let text = format!(
            "{{\"apiVersion\":\"countersign/v1\",\"kind\":\"fill\",\"n\":{n},\"word\":\"{word}\"}}"
        );
        self.raw(text.as_bytes());
    }

    fn edge(&self, size: u64) -> (Edge, Vec<(String, Vec<u8>)>) {
        let all = &self.entries[..usize::try_from(size).unwrap()];
        let hashes: Vec<Hash> = all.iter().map(|e| leaf_hash(e)).collect();
        let (mut edge, mut files) = (Edge::new(), Vec::new());
        for full in edge.append(&hashes) {
            files.push((full.tile().path(), full.bytes));
        }
        for tile in (0..8).filter_map(|level| Tile::partial(size, level)) {
            files.push((tile.path(), edge.partial(tile.level).concat()));
        }
        for (index, entries) in (0..).zip(all.chunks(TILE_WIDTH.into())) {
            let width = u16::try_from(entries.len()).unwrap();
            let path = EntryTile { index, width }.path();
            files.push((path, encode_bundle(entries).unwrap()));
        }
        (edge, files)
    }

    pub fn checkpoint(&self, size: u64) -> String {
        self.claimed(size, self.edge(size).0.root())
    }

    /// A checkpoint that is signed, whatever it says.
    pub fn claimed(&self, size: u64, root: tlog::Hash) -> String {
        let text = Checkpoint {
            origin: ORIGIN.into(),
            size,
            root,
            extensions: Vec::new(),
        };
        let text = text.to_text();
        let log = VerifierKey::ed25519(ORIGIN, &self.keys.log.public_bytes()).unwrap();
        let signature = self.keys.log.sign(text.as_bytes()).to_vec();
        let mut note = Note {
            signatures: vec![NoteSignature::by(&log, signature)],
            text,
        };
        if let Some(time) = self.cosigned {
            let key = &self.keys.witness;
            let vkey = VerifierKey::cosignature("w.example", &key.public_bytes()).unwrap();
            let signed = key.sign(&tlog::cosignature::message(time, &note.text));
            let cosignature = tlog::cosignature::encode(time, &signed);
            note.signatures.push(NoteSignature::by(&vkey, cosignature));
        }
        String::from_utf8(note.to_bytes()).unwrap()
    }

    /// Writes the log of its first `size` leaves, as a mirror has it.
    pub fn write(&self, dir: &Path, size: u64) {
        let (_, files) = self.edge(size);
        for (path, bytes) in files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("checkpoint"), self.checkpoint(size)).unwrap();
    }

    pub fn vkey(&self) -> String {
        let key = VerifierKey::ed25519(ORIGIN, &self.keys.log.public_bytes());
        key.unwrap().to_string()
    }

    pub fn policy(&self) -> String {
        let key = self.keys.witness.public_bytes();
        let witness = VerifierKey::cosignature("w.example", &key).unwrap();
        format!(
            "api-version = \"countersign/v1\"\nwitnesses = \"witness W {witness}\\nquorum W\\n\"\n\
             [log]\norigin = \"{ORIGIN}\"\nvkeys = [\"{}\"]\n",
            self.vkey()
        )
    }
}

/// A place with a log's policy and tiles.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub log: Log,
}

impl Place {
    /// With a log of `size` leaves.
    pub fn new(size: u64) -> Self {
        let mut log = Log::new();
        log.grow(size);
        Self::of(log)
    }

    pub fn of(log: Log) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("policy.toml"), log.policy()).unwrap();
        log.write(&dir.path().join("tiles"), log.size());
        Self { dir, log }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("countersign").unwrap());
        command.current_dir(self.dir.path());
        // Nothing of whoever runs the test.
        command.env("HOME", self.dir.path());
        command.env_remove("XDG_STATE_HOME");
        command.args(["audit", "--json", "--policy", "policy.toml"]);
        command.args(args);
        command
    }

    pub fn audit(&self, args: &[&str]) -> Said {
        let said = run(self.command(args)).unwrap();
        let out = String::from_utf8(said.out).unwrap();
        let json = serde_json::from_str(&out);
        let json = json.unwrap_or_else(|e| panic!("{e}: {out}\n{}", said.err));
        Said {
            code: said.code,
            json,
            err: said.err,
        }
    }

    /// Of the tiles, with `args`.
    pub fn tiles(&self, args: &[&str]) -> Said {
        self.audit(&[&["--tiles", "tiles"], args].concat())
    }
}

#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub json: Value,
    pub err: String,
}

impl Said {
    pub fn kinds(&self) -> Vec<String> {
        let findings = self.json["findings"].as_array().unwrap();
        let kinds = findings.iter().map(|f| f["kind"].as_str().unwrap().into());
        kinds.collect()
    }

    /// Of an audit that came to no verdict.
    pub fn failed(&self, code: i32, kind: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.json["kind"], kind, "{self:?}");
    }

    pub fn sound(&self) {
        assert_eq!(self.code, 0, "{self:?}");
        assert_eq!(self.json["verdict"], "sound", "{self:?}");
        assert_eq!(self.json["found"], 0);
    }

    pub fn unsound(&self, kind: &str) {
        assert_eq!(self.code, 1, "{self:?}");
        assert_eq!(self.json["verdict"], "unsound", "{self:?}");
        let kinds = self.kinds();
        assert!(kinds.iter().any(|k| k == kind), "{kind}: {self:?}");
    }
}

/// All files below a directory, by their path.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for item in std::fs::read_dir(at).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}
