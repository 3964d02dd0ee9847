//! Batches that hold several requests of one log: the queue is full before the cosigner starts,
//! so that what is in one batch is no matter of time.

use crate::bench::{NAME, START, log};
use crate::played::Played;
use countersign_server::clock::Course;
use countersign_server::store::StoreError;
use countersign_server::witness::check::{self, Refusal};
use countersign_server::witness::cosigner::{Answer, Cosigner, Job, Queue};
use countersign_server::witness::logs::{Logs, log_key};
use countersign_server::witness::metrics::Metrics;
use countersign_server::witness::origin_hash;
use countersign_server::witness::state::{Commit, Latest, Standing, State, Step};
use keys::Ed25519Secret;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tlog::note::{Note, parse_signatures};
use tlog::vkey::VerifierKey;
use tlog::witness::AddCheckpoint;
use tokio::sync::oneshot;

/// Notes the steps of each commit; fails instead of it when told to.
struct Noting {
    state: State,
    steps: Arc<Mutex<Vec<Vec<Step>>>>,
    fail: bool,
}

impl Commit for Noting {
    fn commit(&self, steps: &[Step]) -> Result<(), StoreError> {
        self.steps.lock().unwrap().push(steps.to_vec());
        if self.fail {
            return Err(StoreError::Hot("as told".into()));
        }
        self.state.commit(steps)
    }
}

/// A witness without a server: only its key and its state.
struct Desk {
    dir: tempfile::TempDir,
    secret: Vec<u8>,
    vkey: VerifierKey,
    logs: Logs,
}

/// What came of a batch.
struct Done {
    /// `None` where nobody was answered.
    answers: Vec<Option<Answer>>,
    steps: Vec<Vec<Step>>,
    /// What stood in memory at the end.
    standing: Arc<Standing>,
    ended: Result<(), StoreError>,
}

impl Desk {
    fn new(logs: &[&Played]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Ed25519Secret::generate().unwrap();
        let vkey = VerifierKey::cosignature(NAME, &key.public_bytes()).unwrap();
        let mut known = Logs::default();
        for vkey in logs.iter().flat_map(|log| log.vkeys()) {
            known.add(log_key(&vkey).unwrap()).unwrap();
        }
        let desk = Self {
            dir,
            secret: key.to_pkcs8_der().to_vec(),
            vkey,
            logs: known,
        };
        State::create(&desk.path(), &desk.vkey).unwrap();
        desk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// What is on disk of a log.
    fn stands(&self, log: &Played) -> Option<Arc<Latest>> {
        let (_, standing) = State::open(&self.path(), &self.vkey).unwrap();
        standing.latest(&origin_hash(&log.origin))
    }

    /// All of `bodies` as one batch, at the times of `clock`, one after the other.
    fn batch(&self, bodies: &[Vec<u8>], clock: &[u64]) -> Done {
        self.batch_on(bodies, clock, false)
    }

    fn batch_on(&self, bodies: &[Vec<u8>], clock: &[u64], fail: bool) -> Done {
        let (state, standing) = State::open(&self.path(), &self.vkey).unwrap();
        let (standing, metrics) = (Arc::new(standing), Arc::new(Metrics::default()));
        let steps = Arc::new(Mutex::new(Vec::new()));
        let times = Mutex::new(Vec::from(clock).into_iter());
        let (queue, jobs) = Queue::new(bodies.len());
        let mut replies = Vec::new();
        for body in bodies {
            let request = check::read(body, |origin| self.logs.find(origin)).unwrap();
            let (reply, answer) = oneshot::channel();
            queue.push(Job { request, reply }).unwrap();
            replies.push(answer);
        }
        queue.close();
        let cosigner = Cosigner {
            key: Ed25519Secret::from_pkcs8_der(&self.secret).unwrap(),
            vkey: self.vkey.clone(),
            state: Noting {
                state,
                steps: Arc::clone(&steps),
                fail,
            },
            standing: Arc::clone(&standing),
            clock: Arc::new(move || times.lock().unwrap().next().unwrap_or(START)),
            uptime: Arc::new(|| 1000),
            course: Course::default(),
            metrics,
        };
        let ended = cosigner.run(&jobs);
        let answers = replies.into_iter().map(|mut r| r.try_recv().ok());
        let done = Done {
            answers: answers.collect(),
            steps: steps.lock().unwrap().clone(),
            standing,
            ended,
        };
        assert!(done.steps.len() <= 1, "it was not one batch");
        done
    }

    /// The time of a cosignature of `note`, which is verified.
    fn time(&self, answer: Option<&Answer>, note: &Note) -> u64 {
        let line = answer.unwrap().as_ref().unwrap();
        let note = Note {
            text: note.text.clone(),
            signatures: parse_signatures(line).unwrap(),
        };
        let signed = note.verify(std::slice::from_ref(&self.vkey)).unwrap();
        signed[0].timestamp.unwrap()
    }
}

fn kind(answer: Option<&Answer>) -> &'static str {
    match answer {
        Some(Ok(_)) => "cosigned",
        Some(Err(refusal)) => refusal.kind(),
        None => "unanswered",
    }
}

#[test]
fn of_two_histories_in_one_batch_one_is_cosigned() {
    for old in [0, 5] {
        let log = log("log.example", 40);
        let fork = log.fork(6, 1);
        // Of one size, and of two.
        for (mine, theirs) in [(9, 9), (9, 11), (11, 9)] {
            for turned in [false, true] {
                let desk = Desk::new(&[&log]);
                if old > 0 {
                    assert_eq!(
                        kind(desk.batch(&[log.body(0, old)], &[]).answers[0].as_ref()),
                        "cosigned"
                    );
                }
                let mut both = [(&log, mine), (&fork, theirs)];
                if turned {
                    both.reverse();
                }
                let bodies = both.map(|(log, size)| log.body(old, size));
                let done = desk.batch(&bodies, &[]);
                let first = both[0];
                desk.time(done.answers[0].as_ref(), &first.0.note(first.1));
                let Some(Err(refusal)) = &done.answers[1] else {
                    panic!("{:?}", done.answers);
                };
                // What it must ask about is what the batch has accepted, not what is on disk.
                let Refusal::Stale { size, .. } = refusal else {
                    panic!("{refusal}");
                };
                assert_eq!((refusal.status(), *size), (409, first.1));
                // Two roots of one size contradict each other, whatever the old size says.
                assert_eq!(refusal.fork().is_some(), mine == theirs);
                let stands = desk.stands(&log).unwrap();
                assert_eq!((stands.size, stands.root), (first.1, first.0.root(first.1)));
                assert_eq!(
                    done.standing.latest(&origin_hash("log.example")),
                    Some(stands)
                );
            }
        }
    }
}

#[test]
fn a_member_is_compared_with_what_the_batch_has_accepted() {
    let log = log("log.example", 40);
    let fork = log.fork(3, 1);
    let desk = Desk::new(&[&log]);
    let wrong = AddCheckpoint::body(5, &[[1; 32]], &log.note(9));
    let bodies = [
        log.body(0, 5),
        // The other history, which knows of the step before it.
        fork.body(5, 5),
        fork.body(5, 9),
        wrong,
        // None of them stands in the way of what goes on from there.
        log.body(5, 9),
        log.body(5, 9),
        log.body(9, 9),
    ];
    let done = desk.batch(&bodies, &[]);
    let kinds: Vec<_> = done.answers.iter().map(|a| kind(a.as_ref())).collect();
    let proof = "consistency-proof";
    assert_eq!(
        kinds,
        [
            "cosigned",
            "other-root",
            proof,
            proof,
            "cosigned",
            "conflict",
            "cosigned"
        ]
    );
    // What contradicts names what it contradicts, though that is not durable yet.
    for refused in &done.answers[1..3] {
        let refusal = refused.as_ref().unwrap().as_ref().unwrap_err();
        let against = refusal.fork().unwrap();
        assert_eq!(
            (against.cosigned.size, against.cosigned.root),
            (5, log.root(5))
        );
        assert_eq!(against.other_root, Some(fork.root(5)));
    }
    assert_eq!(desk.stands(&log).unwrap().size, 9);
}

#[test]
fn a_log_grows_many_times_in_one_batch_and_that_is_one_step() {
    let (log, other) = (log("log.example", 40), log("other.example", 40));
    let desk = Desk::new(&[&log, &other]);
    let mut bodies = Vec::new();
    let mut notes = Vec::new();
    for size in 0..40 {
        for log in [&log, &other] {
            bodies.push(log.body(size, size + 1));
            notes.push(log.note(size + 1));
        }
    }
    let done = desk.batch(&bodies, &[]);
    for (answer, note) in done.answers.iter().zip(&notes) {
        desk.time(answer.as_ref(), note);
    }
    assert_eq!(done.steps[0].len(), 2, "one step a log");
    for step in &done.steps[0] {
        assert_eq!((&step.from, step.to.size), (&None, 40));
    }
    assert_eq!(desk.stands(&log).unwrap().root, log.root(40));
    assert_eq!(desk.stands(&other).unwrap().root, other.root(40));
    // The next batch's first step is from there.
    let done = desk.batch(&[log.body(40, 40), log.body(40, 40)], &[]);
    assert_eq!(done.steps[0][0].from.as_ref().unwrap().size, 40);
}

#[test]
fn no_time_goes_back_in_a_batch_and_each_log_has_its_own() {
    let (log, other) = (log("log.example", 40), log("other.example", 40));
    let desk = Desk::new(&[&log, &other]);
    let asked = [
        (&log, 0, 1, START, START),
        (&other, 0, 1, START - 50, START - 50),
        (&log, 1, 2, START - 100, START),
        (&log, 2, 3, START - 250, START),
        (&other, 1, 2, START - 60, START - 50),
        (&log, 3, 4, START + 7, START + 7),
        (&log, 4, 4, START + 1, START + 7),
        (&other, 2, 3, START + 2, START + 2),
    ];
    let bodies = asked.map(|(log, old, size, ..)| log.body(old, size));
    let clock = asked.map(|(.., now, _)| now);
    let done = desk.batch(&bodies, &clock);
    for ((log, _, size, _, want), answer) in asked.into_iter().zip(&done.answers) {
        assert_eq!(
            desk.time(answer.as_ref(), &log.note(size)),
            want,
            "{} {size}",
            log.origin
        );
    }
    assert_eq!(desk.stands(&log).unwrap().time, START + 7);
    assert_eq!(desk.stands(&other).unwrap().time, START + 2);
    // Nor in the batch after it, which has read that from disk.
    let done = desk.batch(&[log.body(4, 5), log.body(5, 6)], &[START, START + 8]);
    assert_eq!(desk.time(done.answers[0].as_ref(), &log.note(5)), START + 7);
    assert_eq!(desk.time(done.answers[1].as_ref(), &log.note(6)), START + 8);
}

#[test]
fn a_batch_that_is_not_durable_is_answered_to_nobody() {
    let log = log("log.example", 40);
    let desk = Desk::new(&[&log]);
    desk.batch(&[log.body(0, 3)], &[]);
    // The refusals of it too: the second is refused for what the first would have been.
    let bodies = [log.body(3, 5), log.body(3, 5), log.body(5, 6)];
    let done = desk.batch_on(&bodies, &[], true);
    assert_eq!(done.ended.unwrap_err().kind(), "store-hot");
    for answer in &done.answers {
        assert_eq!(kind(answer.as_ref()), "unanswered");
    }
    assert_eq!(
        done.standing
            .latest(&origin_hash("log.example"))
            .unwrap()
            .size,
        3
    );
    assert_eq!(desk.stands(&log).unwrap().size, 3);
}
