#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::envelope::Envelope;
use crate::leaf::{Action, OperationLeaf, StatementLeaf};
use crate::sha256;
use crate::statement::{Project, Statement, Subject, release_payload};
use keys::{SecretKey, Signer as _};
use std::collections::BTreeMap;
use tlog::hash::leaf_hash;
use tlog::tile::encode_bundle;

mod from;

const ORIGIN: &str = "log.example.org";
const SIZE: u64 = 300;

/// A log in memory, by path.
#[derive(Clone)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn get(&self, path: &str) -> Result<Vec<u8>, Unreadable> {
        self.0.get(path).cloned().ok_or(Unreadable::Missing)
    }
}

impl Source for Files {
    fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, Unreadable> {
        self.get(&tile.path())
    }
    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, Unreadable> {
        self.get(&tile.path())
    }
}

#[derive(Default)]
struct Heard {
    findings: Vec<Finding>,
    accepted: u64,
    tiles: BTreeMap<String, Vec<u8>>,
}

impl Observer for Heard {
    fn leaf(&mut self, _: u64, _: &Leaf, _: &[Hash], accepted: bool) {
        self.accepted += u64::from(accepted);
    }
    fn tile(&mut self, tile: &Tile, bytes: &[u8]) {
        self.tiles.insert(tile.path(), bytes.to_vec());
    }
    fn finding(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

fn plan() -> Plan {
    Plan {
        origin: ORIGIN.into(),
        size: SIZE,
        ..Plan::default()
    }
}

fn walked(files: &Files, plan: &Plan) -> (Walked, Heard) {
    let mut heard = Heard::default();
    let walked = walk(files, plan, &mut heard).unwrap();
    (walked, heard)
}

fn statement(envelope: Envelope, time: u64) -> Leaf {
    let statement = Statement::parse(&envelope.payload).unwrap();
    Leaf::Statement(Box::new(StatementLeaf {
        envelope,
        statement,
        time,
    }))
}

/// A genuine log of [`SIZE`] leaves in batches of ten, and its root.
fn log() -> (Files, Hash) {
    log_with(|_, _| None)
}

/// The same, with what `other` says in the place of the release at an index, by the release key;
/// it is given the release at index 2.
fn log_with(other: impl Fn(u64, &Envelope) -> Option<Vec<u8>>) -> (Files, Hash) {
    let (root, release) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let project = Project {
        name: "acme/hello".into(),
        log: ORIGIN.into(),
        version: 1,
        previous: None,
        roots: vec![root.public_key().clone()],
        root_threshold: 1,
        release_keys: vec![release.public_key().clone()],
        release_threshold: 1,
        authorities: Vec::new(),
        purl_prefixes: vec!["pkg:generic/acme/hello".into()],
        contact: "security@example.org".into(),
        max_key_age: None,
        policy: None,
    };
    let first = Envelope::sign(project.to_payload().unwrap(), &[&root, &release]).unwrap();
    let id = first.pae_hash();
    let mut fold = Fold::new(ORIGIN);
    let mut entries: Vec<Vec<u8>> = Vec::new();
    let mut third: Option<Envelope> = None;
    while fold.size() < SIZE {
        let (n, time) = (fold.size(), 1000 + fold.size() / 10);
        let leaf = match n {
            0 => statement(first.clone(), time),
            1 => Leaf::Operation(OperationLeaf {
                action: Action::Admitted,
                by: "operator".into(),
                project: id,
                reason: None,
                time,
            }),
            _ if n % 10 == 9 => fold.next_head(time),
            _ => {
                let artifact = Subject {
                    name: format!("hello-{n}"),
                    sha256: sha256(&n.to_be_bytes()),
                    size: Some(8),
                    digests: BTreeMap::default(),
                    download_location: None,
                };
                let purl = format!("pkg:generic/acme/hello@{n}");
                let payload = third.as_ref().and_then(|third| other(n, third));
                let payload =
                    payload.unwrap_or(release_payload(&id, &purl, &[artifact], None).unwrap());
                let signed = Envelope::sign(payload, &[&release]).unwrap();
                third.get_or_insert(signed.clone());
                statement(signed, time)
            }
        };
        entries.push(leaf.to_bytes().unwrap());
        fold.apply(&leaf).unwrap();
    }
    let hashes: Vec<Hash> = entries.iter().map(|e| leaf_hash(e)).collect();
    let mut edge = Edge::new();
    let mut files = BTreeMap::new();
    for full in edge.append(&hashes) {
        files.insert(full.tile().path(), full.bytes);
    }
    files.insert("tile/0/001.p/44".into(), edge.partial(0).concat());
    files.insert("tile/1/000.p/1".into(), edge.partial(1).concat());
    let (full, rest) = entries.split_at(256);
    files.insert("tile/entries/000".into(), encode_bundle(full).unwrap());
    files.insert("tile/entries/001.p/44".into(), encode_bundle(rest).unwrap());
    (Files(files), edge.root())
}

#[test]
fn a_sound_log_has_no_finding_whatever_the_number_of_workers() {
    let (files, root) = log();
    for workers in [1, 2, 7] {
        let marks = vec![0, 100, 256, 299, SIZE];
        let plan = Plan {
            marks: marks.clone(),
            workers: NonZero::new(workers),
            ..plan()
        };
        let (walked, heard) = walked(&files, &plan);
        assert_eq!(heard.findings, vec![]);
        assert!(walked.whole && walked.folded);
        assert_eq!(walked.edge.root(), root);
        assert_eq!(heard.accepted, SIZE);
        let sizes: Vec<u64> = walked.marks.iter().map(|m| m.size).collect();
        assert_eq!(sizes, marks);
        assert_eq!(walked.marks.last().unwrap().root, root);
        assert_eq!(walked.marks.last().unwrap().fold, walked.fold.digest());
        assert!(matches!(walked.last, Some(Leaf::Head(_))));
        let Counts {
            leaves,
            projects,
            releases,
            operations,
            heads,
            tiles,
            bundles,
            ..
        } = walked.counts;
        assert_eq!((leaves, projects, operations, heads), (SIZE, 1, 1, 30));
        assert_eq!((releases, tiles, bundles), (SIZE - 32, 3, 2));
        // What it tells of tiles is what a mirror has.
        for (path, bytes) in &heard.tiles {
            assert_eq!(files.0.get(path), Some(bytes), "{path}");
        }
        assert_eq!(heard.tiles.len(), 3);
    }
}

/// What an index of the log would say, or its failure.
struct Kept(Result<BTreeMap<Hash, u64>, String>);

impl Released for Kept {
    fn released(&self, purl: &Hash, below: u64) -> Result<Option<u64>, String> {
        let kept = self.0.as_ref().map_err(Clone::clone)?;
        Ok(kept.get(purl).copied().filter(|index| *index < below))
    }
    fn stated(&self, _: &Hash) -> Result<Option<u64>, String> {
        Ok(None)
    }
}

#[test]
fn purls_may_be_looked_up_where_that_fails_nothing_more_is_decided() {
    struct Purls(BTreeMap<Hash, u64>);
    impl Observer for Purls {
        fn leaf(&mut self, index: u64, leaf: &Leaf, _: &[Hash], _: bool) {
            if let Leaf::Statement(s) = leaf
                && let crate::statement::Body::Release(r) = &s.statement.body
            {
                self.0.insert(sha256(r.purl.as_bytes()), index);
            }
        }
        fn finding(&mut self, _: Finding) {}
    }
    let (files, root) = log();
    let mut purls = Purls(BTreeMap::new());
    let whole = walk(&files, &plan(), &mut purls).unwrap();
    let with = |kept| Plan {
        released: Some(LookUp(Arc::new(Kept(kept)))),
        ..plan()
    };
    // The index is ahead of the walk, as that of a finished log is.
    let (looked, heard) = walked(&files, &with(Ok(purls.0)));
    assert_eq!(heard.findings, vec![]);
    assert_eq!(looked.fold.digest(), whole.fold.digest());
    let (failed, heard) = walked(&files, &with(Err("disk".into())));
    let kinds: Vec<_> = heard.findings.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, ["look-up-failed", "fold-ended"]);
    assert_eq!((failed.edge.root(), failed.folded), (root, false));
}

#[test]
fn every_flipped_byte_is_found() {
    let (files, root) = log();
    for (path, bytes) in &files.0 {
        // All of a tile's first rows and length prefixes; then a stride that meets each field.
        let stride = if bytes.len() > 20_000 { 2003 } else { 97 };
        let places = (0..40.min(bytes.len())).chain((40..bytes.len()).step_by(stride));
        for at in places.chain([bytes.len() - 1]) {
            let mut other = files.clone();
            other.0.get_mut(path).unwrap()[at] ^= 1;
            // Without signatures, as after a resume: the tree alone must find it.
            let plan = Plan {
                signed_below: SIZE,
                ..plan()
            };
            let (walked, heard) = walked(&other, &plan);
            let named = heard.findings.iter().any(|f| f.path.starts_with("tile/"));
            assert!(named, "{path} at {at}: {:?}", heard.findings);
            // A flip among the entries is also another tree, where there still is one.
            if path.starts_with("tile/entries") && walked.whole && walked.folded {
                assert_ne!(walked.edge.root(), root, "{path} at {at}");
            }
        }
    }
}

#[test]
fn missing_and_surplus_are_named() {
    let (files, _) = log();
    let kinds = |files: &Files| {
        let (_, heard) = walked(files, &plan());
        heard.findings.iter().map(|f| f.kind).collect::<Vec<_>>()
    };
    for (path, kind) in [
        ("tile/0/000", "tile-missing"),
        ("tile/0/001.p/44", "tile-missing"),
        ("tile/1/000.p/1", "tile-missing"),
        ("tile/entries/000", "bundle-missing"),
        ("tile/entries/001.p/44", "bundle-missing"),
    ] {
        let mut less = files.clone();
        less.0.remove(path);
        assert!(kinds(&less).contains(&kind), "{path}: {:?}", kinds(&less));
        let mut more = files.clone();
        more.0.get_mut(path).unwrap().push(0);
        assert!(!kinds(&more).is_empty(), "{path}");
    }
}

/// Replaces an entry and makes every tile that follows from it, as a log with its keys can.
fn rewritten(files: &Files, index: usize, change: impl Fn(&str) -> String) -> Files {
    let mut files = files.clone();
    let mut entries = Vec::new();
    for (path, width) in [("tile/entries/000", 256), ("tile/entries/001.p/44", 44)] {
        let bundle = files.0.get(path).unwrap();
        entries.extend(tlog::tile::parse_bundle(bundle, width).unwrap());
    }
    let old = String::from_utf8(entries[index].clone()).unwrap();
    entries[index] = change(&old).into_bytes();
    assert_ne!(old.as_bytes(), entries[index]);
    let mut edge = Edge::new();
    let hashes: Vec<Hash> = entries.iter().map(|e| leaf_hash(e)).collect();
    for full in edge.append(&hashes) {
        files
            .0
            .insert(format!("tile/{}/000", full.level), full.bytes);
    }
    files
        .0
        .insert("tile/0/001.p/44".into(), edge.partial(0).concat());
    files
        .0
        .insert("tile/1/000.p/1".into(), edge.partial(1).concat());
    let (full, rest) = entries.split_at(256);
    files
        .0
        .insert("tile/entries/000".into(), encode_bundle(full).unwrap());
    files
        .0
        .insert("tile/entries/001.p/44".into(), encode_bundle(rest).unwrap());
    files
}

#[test]
fn what_a_log_with_its_own_keys_may_not_say_is_found() {
    let (files, root) = log();
    let kinds = |files: &Files, plan: &Plan| {
        let (walked, heard) = walked(files, plan);
        assert_ne!(walked.edge.root(), root);
        heard.findings.iter().map(|f| f.kind).collect::<Vec<_>>()
    };
    // A signature of its own length that is none.
    let forged = rewritten(&files, 5, |leaf| {
        let (start, at) = ("\"sig\":\"", leaf.find("\"sig\":\"").unwrap() + 20);
        assert!(leaf.contains(start));
        let digit = if leaf[at..].starts_with('A') {
            "B"
        } else {
            "A"
        };
        format!("{}{digit}{}", &leaf[..at], &leaf[at + 1..])
    });
    assert_eq!(kinds(&forged, &plan()), ["bad-signature", "fold-ended"]);
    let before = Plan {
        signed_below: SIZE,
        ..plan()
    };
    assert_eq!(kinds(&forged, &before), [""; 0], "verified before, it says");
    // A head that hides something.
    let head = rewritten(&files, 19, |leaf| {
        let at = leaf.find("\"map\":\"").unwrap() + 7;
        let digit = if leaf[at..].starts_with('0') {
            "1"
        } else {
            "0"
        };
        format!("{}{digit}{}", &leaf[..at], &leaf[at + 1..])
    });
    assert_eq!(kinds(&head, &plan()), ["wrong-head"]);
    let late = rewritten(&files, 29, |leaf| {
        leaf.replace("\"time\":1002", "\"time\":7")
    });
    assert_eq!(kinds(&late, &plan()), ["time-went-back"]);
    let unknown = rewritten(&files, 29, |_| {
        "{\"apiVersion\":\"countersign/v1\",\"kind\":\"later\"}".into()
    });
    assert_eq!(kinds(&unknown, &plan()), [""; 0], "counted, no finding");
    assert_eq!(walked(&unknown, &plan()).0.counts.unknown, 1);
}

#[test]
fn a_source_that_fails_gives_no_verdict() {
    struct Broken(Files);
    impl Source for Broken {
        fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, Unreadable> {
            self.0.bundle(tile)
        }
        fn tile(&self, _: &Tile) -> Result<Vec<u8>, Unreadable> {
            Err(Unreadable::Failed("no route".into()))
        }
    }
    let (files, _) = log();
    let stopped = walk(&Broken(files), &plan(), &mut Heard::default()).unwrap_err();
    assert_eq!(stopped.kind(), "walk-source");
    assert!(stopped.to_string().contains("no route"), "{stopped}");
}
