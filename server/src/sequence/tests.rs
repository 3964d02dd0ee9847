#![allow(clippy::unwrap_used)]

use super::*;
use crate::datadir::{DataDir, init};
use crate::recover::recover;
use crate::store::StoreError;
use keys::{SecretKey, Signer as _};
use ledger::statement::{Project, Subject, release_payload};

const ORIGIN: &str = "log.example.org";

/// A disk that takes nothing.
struct Broken;

impl Hot for Broken {
    fn head(&self) -> Result<Option<Head>, StoreError> {
        Ok(None)
    }
    fn entries(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        Ok(Vec::new())
    }
    fn commit(&self, _: Option<&Head>, _: &HotBatch) -> Result<(), StoreError> {
        Err(StoreError::Hot("no space".into()))
    }
}

fn sequencer(dir: &std::path::Path) -> (DataDir, Sequencer) {
    init(dir, ORIGIN).unwrap();
    let data = DataDir::open(dir).unwrap();
    let keys = data.layout.keys().unwrap();
    let found = recover(&data.layout, ORIGIN, &keys, None).unwrap();
    let (fold, edge) = (
        found.published.fold.clone(),
        found.published.view.edge.clone(),
    );
    let view = Arc::clone(&found.published.view);
    let tail = view.tail.clone();
    let log = Log::new(
        ORIGIN.into(),
        keys.vkeys(),
        found.blobs,
        found.index,
        found.published,
        None,
    );
    let (log, hot, head, durable) = (Arc::new(log), found.hot, found.head, found.durable);
    (
        data,
        Sequencer {
            log,
            hot,
            mark: None,
            keys,
            fold,
            edge,
            tail,
            head,
            durable,
            view,
        },
    )
}

fn statements() -> (Envelope, Envelope) {
    let (root, release) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let project = Project {
        name: "acme/tool".into(),
        log: ORIGIN.into(),
        version: 1,
        previous: None,
        roots: vec![root.public_key().clone()],
        root_threshold: 1,
        release_keys: vec![release.public_key().clone()],
        release_threshold: 1,
        authorities: Vec::new(),
        purl_prefixes: vec!["pkg:generic/acme".into()],
        contact: "security@example.org".into(),
        max_key_age: None,
        policy: None,
    };
    let first = Envelope::sign(project.to_payload().unwrap(), &[&root, &release]).unwrap();
    let artifact = Subject {
        name: "tool".into(),
        sha256: [7; 32],
        size: Some(1),
        digests: Default::default(),
        download_location: None,
    };
    let payload = release_payload(
        &first.pae_hash(),
        "pkg:generic/acme/tool@1",
        &[artifact],
        None,
    )
    .unwrap();
    (first, Envelope::sign(payload, &[&release]).unwrap())
}

fn push(queue: &Queue, envelope: &Envelope) -> oneshot::Receiver<Answer> {
    let (reply, answer) = oneshot::channel();
    let statement = Box::new(Statement::parse(&envelope.payload).unwrap());
    let envelope = envelope.clone();
    queue
        .push(Job::Statement {
            pae: envelope.pae_hash(),
            envelope,
            statement,
            place: None,
            reply,
        })
        .unwrap();
    answer
}

#[test]
fn a_full_queue_says_so_at_once() {
    let job = || Job::Fill {
        leaves: Vec::new(),
        reply: oneshot::channel().0,
    };
    let (queue, jobs) = Queue::new(2);
    queue.push(job()).unwrap();
    queue.push(job()).unwrap();
    assert_eq!(queue.push(job()), Err(Rejection::Busy));
    assert_eq!(Rejection::Busy.status(), 503);
    drop(jobs);
    assert_eq!(queue.push(job()), Err(Rejection::Stopping));
}

#[test]
fn one_batch_takes_all_that_waits_and_twins_in_flight_are_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (_data, sequencer) = sequencer(dir.path());
    let log = Arc::clone(&sequencer.log);
    let (first, release) = statements();
    let (queue, jobs) = Queue::new(8);
    let answers = [&first, &release, &release, &first].map(|e| push(&queue, e));
    drop(queue);
    sequencer.run(&jobs).unwrap();
    let indexes: Vec<u64> = answers
        .into_iter()
        .map(|a| a.blocking_recv().unwrap().unwrap().index)
        .collect();
    // Statement, admitted, release, head: one batch.
    assert_eq!(indexes, [0, 2, 2, 0]);
    assert_eq!(log.view().size, 4);
    assert_eq!(log.index.size().unwrap(), 4);
}

#[test]
fn after_a_failed_commit_nothing_is_shown_or_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (_data, mut sequencer) = sequencer(dir.path());
    sequencer.hot = Box::new(Broken);
    let log = Arc::clone(&sequencer.log);
    let (queue, jobs) = Queue::new(8);
    let answer = push(&queue, &statements().0);
    assert_eq!(
        sequencer.run(&jobs),
        Err(Error::Store(StoreError::Hot("no space".into())))
    );
    assert!(answer.blocking_recv().is_err(), "no answer at all");
    assert_eq!((log.view().size, log.index.size().unwrap()), (0, 0));
}
