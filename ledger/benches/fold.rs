//! The fold at 10,000 projects of 10 keys each, without the signatures' arithmetic: statements
//! applied a second, what admission asks of it for one release, the map's update for a batch of
//! 256 releases of 256 projects, and, said once at the start, memory a key.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keys::{PublicKey, SecretKey, Signer as _};
use ledger::Hash;
use ledger::envelope::{Envelope, PAYLOAD_TYPE, Sig};
use ledger::fold::Fold;
use ledger::leaf::{Leaf, StatementLeaf};
use ledger::statement::{Project, Statement, Subject, release_payload};
use std::hint::black_box;
use std::time::{Duration, Instant};

const PROJECTS: usize = 10_000;
const KEYS: usize = 10;
const BATCH: usize = 256;

fn leaf(payload: Vec<u8>, by: &[&PublicKey]) -> Leaf {
    let signature = |key: &&PublicKey| Sig {
        keyid: key.id(),
        sig: vec![1; 71],
    };
    let mut signatures: Vec<Sig> = by.iter().map(signature).collect();
    signatures.sort();
    let statement = Statement::parse(&payload).unwrap();
    let envelope = Envelope {
        payload,
        payload_type: PAYLOAD_TYPE.into(),
        signatures,
        chain: None,
    };
    Leaf::Statement(Box::new(StatementLeaf {
        envelope,
        statement,
        time: 100,
    }))
}

struct World {
    fold: Fold,
    /// Projects with a key that may release.
    projects: Vec<(Hash, PublicKey)>,
    version: u64,
}

/// Bytes of this process in memory, where the system says so.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

impl World {
    fn new() -> Self {
        // Each project has its own copies of its keys, so that fewer will do.
        let key = |_| SecretKey::generate().unwrap().public_key().clone();
        let pool: Vec<PublicKey> = (0..500).map(key).collect();
        let before = resident();
        let mut world = Self {
            fold: Fold::new("log.example"),
            projects: Vec::with_capacity(PROJECTS),
            version: 0,
        };
        for n in 0..PROJECTS {
            let key = |i: usize| pool.get((n * 7 + i) % pool.len()).unwrap().clone();
            let project = Project {
                name: format!("group/project-{n}"),
                log: "log.example".into(),
                version: 1,
                previous: None,
                roots: (0..3).map(key).collect(),
                root_threshold: 2,
                release_keys: (3..KEYS).map(key).collect(),
                release_threshold: 1,
                authorities: Vec::new(),
                purl_prefixes: vec![format!("pkg:generic/group/project-{n}")],
                contact: "mailto:security@example.com".into(),
                max_key_age: None,
                policy: None,
            };
            let by: Vec<PublicKey> = (0..KEYS).map(key).collect();
            let by: Vec<&PublicKey> = by.iter().collect();
            let first = leaf(project.to_payload().unwrap(), &by);
            world.fold.apply(&first).unwrap();
            if let Leaf::Statement(s) = &first {
                world.projects.push((s.envelope.pae_hash(), key(5)));
            }
        }
        world.fold.settle();
        if let (Some(before), Some(after)) = (before, resident()) {
            // What this bench keeps of each project for itself.
            let own = PROJECTS * size_of::<(Hash, PublicKey)>();
            let key = after.saturating_sub(before + own) / (PROJECTS * KEYS);
            println!("memory: {key} bytes a key, {PROJECTS} projects of {KEYS} keys");
        }
        world
    }

    /// 256 releases, one each of this many projects in turn, spread over all.
    fn batch(&mut self, projects: usize) -> Vec<Leaf> {
        self.version += 1;
        let each = |n: usize| {
            let (n, turn) = (n % projects * (PROJECTS / projects), n / projects);
            let (id, key) = self.projects.get(n).unwrap();
            let artifact = Subject {
                name: "tool.tar.gz".into(),
                sha256: [7; 32],
                size: Some(1_000_000),
                digests: Default::default(),
                download_location: None,
            };
            let purl = format!("pkg:generic/group/project-{n}@{}.{turn}", self.version);
            leaf(
                release_payload(id, &purl, &[artifact], None).unwrap(),
                &[key],
            )
        };
        (0..BATCH).map(each).collect()
    }
}

fn fold(c: &mut Criterion) {
    let mut world = World::new();
    // As a server's: what releases said is in the log.
    world.fold = world.fold.lean();

    let mut group = c.benchmark_group("fold");
    group.throughput(Throughput::Elements(BATCH as u64));
    for projects in [1, 16, BATCH] {
        let name = format!("apply 256 releases of {projects} projects and their head");
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                // From the same state each time: else the bench would measure, in the order in
                // which it runs, how large its own releases have made the tables by then.
                let (mut fold, mut spent) = (world.fold.clone(), Duration::ZERO);
                for _ in 0..n {
                    let leaves = world.batch(projects);
                    let began = Instant::now();
                    for leaf in &leaves {
                        fold.apply(black_box(leaf)).unwrap();
                    }
                    fold.settle();
                    let head = fold.next_head(100);
                    fold.apply(&head).unwrap();
                    spent += began.elapsed();
                }
                spent
            });
        });
    }
    group.bench_function("map of 256 projects among 10,000", |b| {
        b.iter_custom(|n| {
            let mut spent = Duration::ZERO;
            for _ in 0..n {
                for leaf in &world.batch(BATCH) {
                    world.fold.follow(leaf, true);
                }
                let began = Instant::now();
                world.fold.settle();
                spent += began.elapsed();
            }
            spent
        });
    });
    group.finish();

    let leaves = world.batch(BATCH);
    let mut next = leaves.iter().cycle();
    c.bench_function("fold/look-up of one release", |b| {
        b.iter(|| {
            let Some(Leaf::Statement(s)) = next.next() else {
                return;
            };
            let said = world.fold.recheck(&s.envelope, &s.statement, 100, None);
            black_box(said).unwrap();
        });
    });
}

criterion_group!(benches, fold);
criterion_main!(benches);
