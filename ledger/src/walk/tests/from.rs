//! Walks that begin where another was, and leaves that are read twice.

use super::*;
use crate::fold::SavedProject;
use crate::statement::{Withdrawal, Withdrawn};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Keeps what a walk would go on from, as a client saves it.
#[derive(Default)]
struct Keeper {
    heard: Heard,
    statements: Vec<(u64, Vec<u8>)>,
    project: Option<Hash>,
    start: Option<Start>,
    last_time: u64,
}

impl Observer for Keeper {
    fn leaf(&mut self, index: u64, leaf: &Leaf, projects: &[Hash], accepted: bool) {
        use crate::statement::Body;
        if let Leaf::Statement(s) = leaf
            && accepted
            && !matches!(s.statement.body, Body::Release(_))
            && self.start.is_none()
        {
            self.project = projects.first().copied();
            self.statements.push((index, leaf.to_bytes().unwrap()));
        }
    }
    fn bundle(&mut self, _: &EntryTile, _: &[u8], at: &At<'_>) {
        if self.start.is_some() {
            return;
        }
        let id = self.project.unwrap();
        let saved = SavedProject {
            id,
            statements: self.statements.clone(),
            standing: at.fold.standing(&id).unwrap().to_bytes(),
        };
        self.last_time = at.fold.last_time();
        let fold = Fold::restored(ORIGIN, at.size, self.last_time, &[saved]).unwrap();
        assert_eq!(fold.digest(), at.fold.digest());
        self.start = Some(Start {
            edge: Edge::parse(&at.edge.to_bytes()).unwrap(),
            fold,
            whole: at.whole,
            folded: at.folded,
            head_wrong: at.head_wrong,
            counts: *at.counts,
        });
    }
    fn finding(&mut self, finding: Finding) {
        self.heard.finding(finding);
    }
}

#[test]
fn a_walk_goes_on_from_where_another_was() {
    let (files, _) = log();
    let mut keeper = Keeper::default();
    let whole = walk(&files, &plan(), &mut keeper).unwrap();
    let start = keeper.start.unwrap();
    assert_eq!(start.counts.leaves, 256);
    for workers in [1, 2] {
        let plan = Plan {
            marks: vec![0, 255, 256, 299],
            workers: NonZero::new(workers),
            ..plan()
        };
        // Nothing before it is read again.
        let mut rest = files.clone();
        rest.0.remove("tile/entries/000");
        rest.0.remove("tile/0/000");
        let mut heard = Heard::default();
        let walked = walk_from(&rest, &plan, start.clone(), &mut heard).unwrap();
        assert_eq!(heard.findings, vec![]);
        assert_eq!(heard.accepted, SIZE - 256);
        assert_eq!(walked.edge, whole.edge);
        assert_eq!(walked.fold.digest(), whole.fold.digest());
        assert_eq!(walked.counts, whole.counts);
        let sizes: Vec<u64> = walked.marks.iter().map(|m| m.size).collect();
        assert_eq!(sizes, [256, 299]);
    }
}

#[test]
fn a_walk_begins_nowhere_else() {
    let (files, _) = log();
    let mut keeper = Keeper::default();
    walk(&files, &plan(), &mut keeper).unwrap();
    let start = keeper.start.unwrap();
    let refused = |change: &dyn Fn(&mut Start)| {
        let mut other = start.clone();
        change(&mut other);
        let stopped = walk_from(&files, &plan(), other, &mut Heard::default());
        assert_eq!(stopped.unwrap_err().kind(), "walk-start");
    };
    refused(&|s| s.counts.leaves = 255);
    refused(&|s| s.counts.leaves = 512);
    refused(&|s| s.edge = Edge::new());
    refused(&|s| s.fold = Fold::new(ORIGIN));
}

#[test]
fn entries_of_others_are_hashed_and_not_read() {
    let (files, root) = log();
    let of_others = rewritten(&files, 5, |_| "no leaf of ours".into());
    let plan = Plan {
        plain: true,
        ..plan()
    };
    let (sound, heard) = walked(&files, &plan);
    assert_eq!((heard.findings, heard.accepted), (vec![], 0));
    assert_eq!((sound.edge.root(), sound.whole), (root, true));
    assert!(!sound.folded);
    let (other, heard) = walked(&of_others, &plan);
    assert_eq!(heard.findings, vec![]);
    assert_ne!(other.edge.root(), root);
}

/// Answers otherwise when the first bundle is read again.
struct Unsteady {
    files: Files,
    again: Vec<u8>,
    reads: AtomicU64,
    steady: bool,
}

impl Source for Unsteady {
    fn bundle(&self, tile: &EntryTile) -> Result<Vec<u8>, Unreadable> {
        if tile.index == 0 && self.reads.fetch_add(1, Relaxed) > 0 {
            return Ok(self.again.clone());
        }
        self.files.bundle(tile)
    }
    fn tile(&self, tile: &Tile) -> Result<Vec<u8>, Unreadable> {
        self.files.tile(tile)
    }
    fn is_steady(&self) -> bool {
        self.steady
    }
}

#[test]
fn a_leaf_that_is_read_again_is_the_one_that_was_walked() {
    // The withdrawals of a release in the bundle before, and of one in the same.
    let withdrawal = |n: u64, third: &Envelope| {
        let of = Statement::parse(&third.payload).unwrap();
        let what = Withdrawal {
            project: of.project_id().unwrap(),
            what: Withdrawn::Release(third.pae_hash()),
            reason: format!("test {n}"),
            successor: None,
        };
        let wanted = n == 20 || n == 270;
        wanted.then(|| what.to_payload(&of.subject).unwrap())
    };
    let (files, root) = log_with(withdrawal);
    let first = files.0.get("tile/entries/000").unwrap();
    let mut entries = tlog::tile::parse_bundle(first, 256).unwrap();
    entries[2] = entries[3].clone();
    let other = encode_bundle(&entries).unwrap();
    let kinds = |again: &[u8], steady| {
        let source = Unsteady {
            files: files.clone(),
            again: again.to_vec(),
            reads: AtomicU64::new(0),
            steady,
        };
        let plan = Plan {
            workers: NonZero::new(1),
            ..plan()
        };
        let mut heard = Heard::default();
        let walked = walk(&source, &plan, &mut heard).unwrap();
        assert_eq!(walked.edge.root(), root);
        heard.findings.iter().map(|f| f.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(first, false), [""; 0]);
    assert_eq!(kinds(&other, false), ["look-up-failed", "fold-ended"]);
    // On a disk of one's own it is believed, and decides.
    assert_eq!(kinds(&other, true)[..1], ["unknown-release"]);
}
