//! Bundles of a large log: how long the verifier takes for a project that has rotated its root
//! fifty times, and for a quorum of five of nine witnesses, and, said once at the start, how many bytes a head and its proofs are.
#![allow(clippy::unwrap_used, missing_docs)]

use countersign::memory::Memory;
use countersign::policy::Policy;
use countersign::verify::{Artifact, Wanted, verify};
use criterion::{Criterion, criterion_group, criterion_main};
use keys::{Ed25519Secret, SecretKey, Signer};
use ledger::bundle::{Bundle, Head, Included};
use ledger::envelope::Envelope;
use ledger::fold::Fold;
use ledger::leaf::{Leaf, StatementLeaf};
use ledger::state::withdrawn_keys;
use ledger::statement::{Project, Statement, Subject, Withdrawal, Withdrawn, release_payload};
use ledger::trust::TrustDocument;
use ledger::{API_VERSION, Hash, sha256};
use std::hint::black_box;
use tlog::checkpoint::Checkpoint;
use tlog::in_memory::InMemory;
use tlog::note::{Note, NoteSignature};
use tlog::tree::prove_inclusion;
use tlog::vkey::VerifierKey;

const ORIGIN: &str = "log.example";
const T: u64 = 1_800_000_000;
const PROJECTS: usize = 10_000;

fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

fn artifact(content: &str) -> Subject {
    Subject {
        name: "tool.tar.gz".into(),
        sha256: sha256(content.as_bytes()),
        size: Some(content.len() as u64),
        digests: Default::default(),
        download_location: None,
    }
}

/// A log in memory, whose key signs its checkpoints, and witnesses beside it.
struct Log {
    key: SecretKey,
    witnesses: Vec<Ed25519Secret>,
    fold: Fold,
    leaves: Vec<Vec<u8>>,
    hashes: Vec<Hash>,
}

impl Log {
    fn new() -> Self {
        Self {
            key: key(),
            witnesses: vec![Ed25519Secret::generate().unwrap()],
            fold: Fold::new(ORIGIN),
            leaves: Vec::new(),
            hashes: Vec::new(),
        }
    }

    fn push(&mut self, leaf: &Leaf) -> u64 {
        self.fold.apply(leaf).unwrap();
        let bytes = leaf.to_bytes().unwrap();
        self.hashes.push(tlog::hash::leaf_hash(&bytes));
        self.leaves.push(bytes);
        self.leaves.len() as u64 - 1
    }

    /// Logs what these keys say. Who only fills the log with it need not have signed.
    fn say(&mut self, payload: Vec<u8>, by: &[&dyn Signer]) -> (u64, Envelope) {
        let envelope = Envelope::sign(payload, by).unwrap();
        let statement = Statement::parse(&envelope.payload).unwrap();
        let leaf = StatementLeaf {
            envelope: envelope.clone(),
            statement,
            time: T,
        };
        (self.push(&Leaf::Statement(Box::new(leaf))), envelope)
    }

    fn note(&self, size: u64, root: Hash) -> String {
        let checkpoint = Checkpoint {
            origin: ORIGIN.into(),
            size,
            root,
            extensions: Vec::new(),
        };
        let text = checkpoint.to_text();
        let line = |key: &VerifierKey, signature: Vec<u8>| NoteSignature {
            name: key.name().to_owned(),
            key_id: key.key_id(),
            signature,
        };
        let message = tlog::cosignature::message(T, &text);
        let mut signatures = vec![line(&self.vkey(), self.key.sign(text.as_bytes()).unwrap())];
        for (key, witness) in self.witness_keys().iter().zip(&self.witnesses) {
            let cosigned = witness.sign(&message);
            signatures.push(line(key, tlog::cosignature::encode(T, &cosigned)));
        }
        String::from_utf8(Note { text, signatures }.to_bytes()).unwrap()
    }

    fn vkey(&self) -> VerifierKey {
        VerifierKey::p256(ORIGIN, self.key.public_key().spki_der()).unwrap()
    }

    fn witness_keys(&self) -> Vec<VerifierKey> {
        let key = |(n, w): (usize, &Ed25519Secret)| {
            VerifierKey::cosignature(&format!("w{n}.example"), &w.public_bytes()).unwrap()
        };
        self.witnesses.iter().enumerate().map(key).collect()
    }

    /// A policy that wants `quorum` of the witnesses.
    fn policy(&self, id: Hash, name: &str, quorum: usize) -> Policy {
        let (mut witnesses, mut group) = (String::new(), format!("group Q {quorum}"));
        for (n, key) in self.witness_keys().iter().enumerate() {
            witnesses.push_str(&format!("witness W{n} {key}\n"));
            group.push_str(&format!(" W{n}"));
        }
        let witnesses = format!("{witnesses}{group}\nquorum Q\n");
        let vkeys = vec![self.vkey().to_string()];
        let document = TrustDocument::new(ORIGIN, vkeys, id, name, &witnesses);
        Policy::from_trust(&document, None).unwrap()
    }

    /// The bundle of the release at `index`, at a head that follows now.
    fn bundle(&mut self, id: &Hash, versions: &[u64], index: u64, release: &Envelope) -> Bundle {
        let head = self.fold.next_head(T);
        let last = self.push(&head);
        let tree = InMemory::new(&self.hashes);
        let included = |index: u64| Included {
            index,
            leaf: self.leaves.get(index as usize).unwrap().clone(),
            proof: prove_inclusion(index, tree.size(), &tree).unwrap(),
        };
        let Ok(Leaf::Statement(said)) = Leaf::parse(&included(index).leaf) else {
            unreachable!("it was logged as a statement");
        };
        let digests = said.statement.subject.iter().map(|a| a.sha256);
        let keys = withdrawn_keys(&release.pae_hash(), digests);
        let proof = |key: Hash| (key, self.fold.prove_withdrawn(id, &key).unwrap());
        let last = included(last);
        Bundle {
            api_version: API_VERSION.into(),
            entry: included(index),
            first: self.note(tree.size(), tree.root()),
            head: Head {
                leaf: last.leaf,
                map: self.fold.prove(id),
                proof: last.proof,
                state: self.fold.state(id).unwrap(),
                withdrawn: keys.into_iter().map(proof).collect(),
            },
            latest: None,
            projects: versions.iter().map(|index| included(*index)).collect(),
        }
    }
}

fn project(name: &str, root: &SecretKey, release: &SecretKey) -> Project {
    Project {
        name: name.into(),
        log: ORIGIN.into(),
        version: 1,
        previous: None,
        roots: vec![root.public_key().clone()],
        root_threshold: 1,
        release_keys: vec![release.public_key().clone()],
        release_threshold: 1,
        authorities: Vec::new(),
        purl_prefixes: vec![format!("pkg:generic/{name}")],
        contact: "mailto:security@example.com".into(),
        max_key_age: None,
        policy: None,
    }
}

/// Bytes of the head's parts as the bundle has them: beyond the state document, and in all.
fn head_bytes(bundle: &Bundle) -> (usize, usize) {
    let head = ledger::json::canonical_of(&bundle.head).unwrap().len();
    let state = bundle.head.state.to_canonical().unwrap().len();
    (head - state, head)
}

/// A log of 10,000 projects.
fn crowded() -> Log {
    let mut log = Log::new();
    let (root, release) = (key(), key());
    for n in 0..PROJECTS {
        let other = project(&format!("group/project-{n}"), &root, &release);
        log.say(other.to_payload().unwrap(), &[&root, &release]);
    }
    log
}

/// A project that replaces its only root `times` times, and then releases.
fn rotated(log: &mut Log, name: &str, times: usize) -> (Hash, Bundle) {
    let (mut root, release) = (key(), key());
    let mut now = project(name, &root, &release);
    let (index, said) = log.say(now.to_payload().unwrap(), &[&root, &release]);
    let (id, mut newest, mut versions) = (said.pae_hash(), said.pae_hash(), vec![index]);
    for _ in 0..times {
        let next = key();
        now = Project {
            version: now.version + 1,
            previous: Some(newest),
            roots: vec![next.public_key().clone()],
            ..now
        };
        let (index, said) = log.say(now.to_payload().unwrap(), &[&root, &next]);
        (newest, root) = (said.pae_hash(), next);
        versions.push(index);
    }
    let payload = release_payload(
        &id,
        &format!("pkg:generic/{name}@1.0"),
        &[artifact("genuine")],
        None,
    );
    let (index, said) = log.say(payload.unwrap(), &[&release]);
    let bundle = log.bundle(&id, &versions, index, &said);
    (id, bundle)
}

/// A project with 10,000 releases, of which it withdrew 1,000.
fn busy(log: &mut Log) -> Bundle {
    let (root, release) = (key(), key());
    let first = project("acme/busy", &root, &release);
    let (version, said) = log.say(first.to_payload().unwrap(), &[&root, &release]);
    let id = said.pae_hash();
    let mut last = None;
    for n in 0..10_000 {
        let purl = format!("pkg:generic/acme/busy@{n}");
        let content = artifact(&purl);
        let payload = release_payload(&id, &purl, std::slice::from_ref(&content), None).unwrap();
        let (index, said) = log.say(payload, &[&release]);
        if n % 10 == 0 {
            let withdrawal = Withdrawal {
                project: id,
                what: Withdrawn::Release(said.pae_hash()),
                reason: "a fault".into(),
                successor: None,
            };
            let payload = withdrawal
                .to_payload(std::slice::from_ref(&content))
                .unwrap();
            log.say(payload, &[&release]);
        }
        last = Some((index, said));
    }
    let (index, said) = last.unwrap();
    log.bundle(&id, &[version], index, &said)
}

fn bundle(c: &mut Criterion) {
    let mut log = crowded();
    let large = busy(&mut log);
    let leaves = log.leaves.len();
    let (beyond, all) = head_bytes(&large);
    println!(
        "head of a release among 10,000 with 1,000 withdrawals, {PROJECTS} projects, {leaves} leaves: \
         {all} bytes, {beyond} of them beyond the state document"
    );
    let (id, turned) = rotated(&mut log, "acme/rotated", 50);
    let bytes = turned.to_bytes().unwrap();
    let (beyond, all) = head_bytes(&turned);
    println!(
        "bundle after 50 rotations: {} bytes; its head {all} bytes, {beyond} of them beyond the state document",
        bytes.len()
    );

    let policy = log.policy(id, "acme/rotated", 1);
    let what = "verify/bundle with 50 rotations of the only root";
    bench(c, what, &policy, &bytes);

    let generate = |_| Ed25519Secret::generate().unwrap();
    log.witnesses = (0..9).map(generate).collect();
    let (id, plain) = rotated(&mut log, "acme/plain", 0);
    let policy = log.policy(id, "acme/plain", 5);
    let what = "verify/bundle with a quorum of 5 of 9";
    bench(c, what, &policy, &plain.to_bytes().unwrap());
}

fn bench(c: &mut Criterion, what: &str, policy: &Policy, bytes: &[u8]) {
    let wanted = Wanted {
        project: policy.projects.first().unwrap(),
        version: None,
        no_rollback: false,
    };
    let artifact = Artifact {
        name: "tool.tar.gz",
        sha256: sha256(b"genuine"),
        size: 7,
    };
    let (memory, now) = (Memory::default(), T + 10);
    c.bench_function(what, |b| {
        b.iter(|| {
            let bundle = Bundle::parse(black_box(bytes)).unwrap();
            let verdict = verify(&artifact, &wanted, &bundle, policy, &memory, now);
            black_box(verdict).unwrap();
        });
    });
}

criterion_group!(benches, bundle);
criterion_main!(benches);
