//! A log that lies, and what it would have to make for it: bundles that are genuine but for what a
//! test changes.
#![allow(dead_code)]

use countersign::memory::Memory;
use countersign::policy::{Policy, ProjectPolicy};
use countersign::verify::{Artifact, Wanted, verify};
use keys::{Ed25519Secret, SecretKey, Signer};
use ledger::bundle::{Bundle, Head, Included, Latest};
use ledger::envelope::Envelope;
use ledger::leaf::{HeadLeaf, Leaf, StatementLeaf};
use ledger::state::{Current, Leaves, StateDocument, withdrawn_keys};
use ledger::statement::{Project, Statement, Subject, release_payload};
use ledger::{Hash, sha256};
use tlog::checkpoint::Checkpoint;
use tlog::note::{Note, NoteSignature};
use tlog::prefix::PrefixTree;
use tlog::tree::{Compact, HashReader, prove_consistency, prove_inclusion};
use tlog::vkey::VerifierKey;

pub const ORIGIN: &str = "log.example";
pub const T: u64 = 1_800_000_000;

/// The leaf hashes of a log of fewer than 256 leaves are its one tile.
pub struct Tile(pub Vec<Hash>);

impl HashReader for Tile {
    type Error = String;
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<u8>, String> {
        assert_eq!((level, index), (0, 0));
        Ok(self
            .0
            .iter()
            .take(usize::from(width))
            .flatten()
            .copied()
            .collect())
    }
}

/// Everything that a lying operator holds.
pub struct Liar {
    pub p256: SecretKey,
    pub ed25519: Ed25519Secret,
    pub witness: Ed25519Secret,
    pub root: SecretKey,
    pub release: SecretKey,
}

/// The payload of release 1.0 with these artifacts.
pub fn released_as(id: &Hash, artifacts: &[(&str, &[u8])]) -> Vec<u8> {
    let subject = |(name, bytes): &(&str, &[u8])| Subject {
        name: (*name).to_owned(),
        sha256: sha256(bytes),
        size: Some(bytes.len() as u64),
        digests: Default::default(),
        download_location: None,
    };
    let subjects: Vec<Subject> = artifacts.iter().map(subject).collect();
    release_payload(id, "pkg:generic/acme/x@1.0", &subjects, None).unwrap()
}

pub fn statement(envelope: &Envelope, time: u64) -> Vec<u8> {
    let statement = Statement::parse(&envelope.payload).unwrap();
    let leaf = StatementLeaf {
        envelope: envelope.clone(),
        statement,
        time,
    };
    Leaf::Statement(Box::new(leaf)).to_bytes().unwrap()
}

/// What goes into a bundle; a genuine one, until a test changes it.
pub struct Plan {
    pub project: Envelope,
    /// Versions 2…, logged before the release.
    pub versions: Vec<Envelope>,
    /// Whether the last version stands first in the log.
    pub last_first: bool,
    pub release: Envelope,
    pub state: StateDocument,
    pub id: Hash,
    pub head_entries: u64,
    /// Size of the tree at publication.
    pub first_size: u64,
    /// Leaves that come after the head, each with a head of its own at the end.
    pub more: usize,
    pub release_time: u64,
    pub first_signed_at: u64,
}

/// A P-256 key that everybody knows: its scalar is the digest of `seed`.
pub fn known_p256(seed: &str) -> SecretKey {
    let head = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";
    let der = [hex::decode(head).unwrap(), sha256(seed.as_bytes()).to_vec()].concat();
    SecretKey::from_pkcs8_der(&der).unwrap()
}

/// An Ed25519 key that everybody knows.
pub fn known_ed25519(seed: &str) -> Ed25519Secret {
    let head = hex::decode("302e020100300506032b657004220420").unwrap();
    Ed25519Secret::from_pkcs8_der(&[head, sha256(seed.as_bytes()).to_vec()].concat()).unwrap()
}

impl Liar {
    /// The same keys each time, for what is kept.
    pub fn known() -> Self {
        Self {
            p256: known_p256("countersign test log"),
            ed25519: known_ed25519("countersign test log"),
            witness: known_ed25519("countersign test witness"),
            root: known_p256("countersign test root"),
            release: known_p256("countersign test release"),
        }
    }

    pub fn new() -> Self {
        let p256 = || SecretKey::generate().unwrap();
        let ed = || Ed25519Secret::generate().unwrap();
        Self {
            p256: p256(),
            ed25519: ed(),
            witness: ed(),
            root: p256(),
            release: p256(),
        }
    }

    pub fn policy(&self, id: Hash) -> Policy {
        let log = [
            VerifierKey::p256(ORIGIN, self.p256.public_key().spki_der()).unwrap(),
            VerifierKey::ed25519(ORIGIN, &self.ed25519.public_bytes()).unwrap(),
        ];
        let witness = VerifierKey::cosignature("w.example", &self.witness.public_bytes()).unwrap();
        let document = ledger::trust::TrustDocument::new(
            ORIGIN,
            log.iter().map(ToString::to_string).collect(),
            id,
            "acme/x",
            &format!("witness W {witness}\nquorum W\n"),
        );
        Policy::from_trust(&document, None).unwrap()
    }

    pub fn note(&self, size: u64, root: Hash, time: u64) -> String {
        let text = Checkpoint {
            origin: ORIGIN.into(),
            size,
            root,
            extensions: Vec::new(),
        }
        .to_text();
        let p = VerifierKey::p256(ORIGIN, self.p256.public_key().spki_der()).unwrap();
        let e = VerifierKey::ed25519(ORIGIN, &self.ed25519.public_bytes()).unwrap();
        let w = VerifierKey::cosignature("w.example", &self.witness.public_bytes()).unwrap();
        let cosigned = self.witness.sign(&tlog::cosignature::message(time, &text));
        let line = |key: &VerifierKey, signature: Vec<u8>| NoteSignature {
            name: key.name().to_owned(),
            key_id: key.key_id(),
            signature,
        };
        let signatures = vec![
            line(&p, self.p256.sign(text.as_bytes()).unwrap()),
            line(&e, self.ed25519.sign(text.as_bytes()).to_vec()),
            line(&w, tlog::cosignature::encode(time, &cosigned)),
        ];
        String::from_utf8(Note { text, signatures }.to_bytes()).unwrap()
    }

    pub fn project(&self) -> Project {
        Project {
            name: "acme/x".into(),
            log: ORIGIN.into(),
            version: 1,
            previous: None,
            roots: vec![self.root.public_key().clone()],
            root_threshold: 1,
            release_keys: vec![self.release.public_key().clone()],
            release_threshold: 1,
            authorities: Vec::new(),
            purl_prefixes: vec!["pkg:generic/acme/x".into()],
            contact: "mailto:a@example.com".into(),
            max_key_age: None,
            policy: None,
        }
    }

    pub fn plan(&self) -> Plan {
        let project = Envelope::sign(
            self.project().to_payload().unwrap(),
            &[&self.root, &self.release],
        )
        .unwrap();
        self.plan_for(project, &self.release)
    }

    pub fn plan_for(&self, project: Envelope, by: &dyn Signer) -> Plan {
        let id = project.pae_hash();
        let release = self.released(&id, by);
        let mut leaves = Compact::new();
        for i in [0u64, 1] {
            leaves.push(tlog::hash::leaf_hash(&i.to_be_bytes()));
        }
        let state = StateDocument {
            end_of_life: Vec::new(),
            frozen: false,
            leaves: Leaves {
                root: leaves.root(),
                size: 2,
            },
            project: Current {
                statement: id,
                version: 1,
            },
            revoked: Vec::new(),
            withdrawn: [0; 32],
        };
        Plan {
            project,
            versions: Vec::new(),
            last_first: false,
            release,
            state,
            id,
            head_entries: 2,
            first_size: 3,
            more: 0,
            release_time: T,
            first_signed_at: T + 1,
        }
    }

    pub fn released(&self, id: &Hash, by: &dyn Signer) -> Envelope {
        Envelope::sign(released_as(id, &[("x.sh", b"genuine")]), &[by]).unwrap()
    }

    /// The leaves of the log that a plan makes, and its map.
    pub fn leaves(&self, plan: &Plan) -> (Vec<Vec<u8>>, PrefixTree) {
        let mut map = PrefixTree::new();
        map.insert(plan.id, plan.state.hash().unwrap());
        map.insert([9; 32], [8; 32]);
        let head = |entries| {
            Leaf::Head(HeadLeaf {
                entries,
                map: map.root(),
                time: T,
            })
            .to_bytes()
            .unwrap()
        };
        let chain = std::iter::once(&plan.project).chain(&plan.versions);
        let mut leaves: Vec<Vec<u8>> = chain.map(|e| statement(e, T)).collect();
        let versions = leaves.len() as u64;
        if plan.last_first {
            leaves.rotate_right(1);
        }
        leaves.push(statement(&plan.release, plan.release_time));
        leaves.push(head(plan.head_entries));
        for i in 0..plan.more {
            leaves.push(head(versions + 2 + i as u64));
        }
        (leaves, map)
    }

    pub fn bundle(&self, plan: &Plan) -> Bundle {
        let (leaves, _) = self.leaves(plan);
        self.bundle_of(plan, &leaves, &plan.release.pae_hash())
    }

    /// A bundle of the log of these leaves, where the release's PAE hash is `release`.
    pub fn bundle_of(&self, plan: &Plan, leaves: &[Vec<u8>], release: &Hash) -> Bundle {
        self.bundle_hashed(plan, leaves, release, &tlog::hash::leaf_hash)
    }

    /// The same of a log that hashes its leaves so.
    pub fn bundle_hashed(
        &self,
        plan: &Plan,
        leaves: &[Vec<u8>],
        release: &Hash,
        hash: &dyn Fn(&[u8]) -> Hash,
    ) -> Bundle {
        let (_, map) = self.leaves(plan);
        let versions = 1 + plan.versions.len() as u64;
        let tile = Tile(leaves.iter().map(|l| hash(l)).collect());
        let root = |size: u64| {
            let mut tree = Compact::new();
            tile.0
                .iter()
                .take(size as usize)
                .for_each(|h| tree.push(*h));
            tree.root()
        };
        let size = leaves.len() as u64;
        let included = |index: u64| Included {
            index,
            leaf: leaves[index as usize].clone(),
            proof: prove_inclusion(index, size, &tile).unwrap(),
        };
        let last = included(size - 1);
        let latest = (plan.more > 0 || plan.first_size != size).then(|| Latest {
            checkpoint: self.note(size, root(size), T + 2),
            consistency: prove_consistency(plan.first_size, size, &tile).unwrap(),
        });
        let released = Statement::parse(&plan.release.payload).unwrap();
        let digests = released.subject.iter().map(|s| s.sha256);
        let keys = withdrawn_keys(release, digests);
        Bundle {
            api_version: "countersign/v1".into(),
            entry: included(versions),
            first: self.note(plan.first_size, root(plan.first_size), plan.first_signed_at),
            head: Head {
                leaf: last.leaf,
                map: map.prove(&plan.id),
                proof: last.proof,
                state: plan.state.clone(),
                withdrawn: keys
                    .into_iter()
                    .map(|k| (k, PrefixTree::new().prove(&k)))
                    .collect(),
            },
            latest,
            projects: match plan.last_first {
                false => (0..versions).map(included).collect(),
                true => (1..versions).chain([0]).map(included).collect(),
            },
        }
    }

    pub fn kind_of(&self, bundle: &Bundle, id: Hash) -> &'static str {
        self.kind_at(bundle, id, None, T + 10)
    }

    pub fn kind_at(
        &self,
        bundle: &Bundle,
        id: Hash,
        max_age: Option<u64>,
        now: u64,
    ) -> &'static str {
        let policy = Policy {
            max_age,
            ..self.policy(id)
        };
        let pinned = ProjectPolicy {
            id,
            ..policy.projects[0].clone()
        };
        let wanted = Wanted {
            project: &pinned,
            version: None,
            no_rollback: false,
        };
        let artifact = Artifact {
            name: "x.sh",
            sha256: sha256(b"genuine"),
            size: 7,
        };
        // What is on disk is what was parsed: the forgeries are well-formed.
        let bundle = Bundle::parse(&bundle.to_bytes().unwrap()).unwrap();
        match verify(
            &artifact,
            &wanted,
            &bundle,
            &policy,
            &Memory::default(),
            now,
        ) {
            Ok(_) => "verified",
            Err(e) => e.kind(),
        }
    }

    pub fn kind(&self, plan: &Plan) -> &'static str {
        self.kind_of(&self.bundle(plan), plan.id)
    }
}

impl Liar {
    /// A plan with version 2, by which `key` releases, signed by `signers`.
    pub fn rotated(&self, key: &SecretKey, signers: &[&dyn Signer]) -> Plan {
        let plan = self.plan();
        let next = Project {
            version: 2,
            previous: Some(plan.id),
            release_keys: vec![key.public_key().clone()],
            ..self.project()
        };
        let next = Envelope::sign(next.to_payload().unwrap(), signers).unwrap();
        let mut plan = Plan {
            release: self.released(&plan.id, key),
            head_entries: plan.head_entries + 1,
            first_size: plan.first_size + 1,
            ..plan
        };
        plan.state.project = Current {
            statement: next.pae_hash(),
            version: 2,
        };
        plan.versions.push(next);
        plan
    }
}
