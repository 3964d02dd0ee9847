//! What outlives the process, the clock, and a store that fails.

use crate::bench::{Bench, START, ask, log};
use countersign_server::store::StoreError;
use countersign_server::witness;
use countersign_server::witness::server::start_with;
use countersign_server::witness::state::{Commit, State, Step};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

#[test]
fn a_restart_goes_on_from_what_was_cosigned() {
    let (first, second) = (log("log.example", 9), log("second.example", 9));
    let mut bench = Bench::new(&[&first, &second]);
    bench.grow(&first, 0, 5);
    bench.grow(&second, 0, 2);
    let shown = bench.latest("log.example");
    bench.start();
    assert_eq!(bench.latest("log.example"), shown);
    assert_eq!(bench.post(&first.body(0, 9)).status, 409);
    let fork = first.fork(4, 1);
    assert_eq!(bench.post(&fork.body(5, 5)).status, 422);
    bench.grow(&first, 5, 9);
    bench.grow(&second, 2, 9);
}

#[test]
fn no_time_is_0_or_before_the_last_one() {
    let log = log("log.example", 9);
    let mut bench = Bench::new(&[&log]);
    assert_eq!(bench.grow(&log, 0, 1), START);
    bench.clock.store(START - 1000, Ordering::SeqCst);
    assert_eq!(bench.grow(&log, 1, 2), START);
    assert_eq!(bench.grow(&log, 2, 2), START);
    bench.clock.store(0, Ordering::SeqCst);
    bench.start();
    assert_eq!(bench.grow(&log, 2, 3), START);
    bench.clock.store(START + 5, Ordering::SeqCst);
    assert_eq!(bench.grow(&log, 3, 4), START + 5);
    bench.clock.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(bench.grow(&log, 4, 5), i64::MAX as u64);
    // A log that was never cosigned, and no clock at all.
    let other = crate::bench::log("other.example", 1);
    let bench = Bench::new(&[&other]);
    bench.clock.store(0, Ordering::SeqCst);
    assert_eq!(bench.grow(&other, 0, 1), 1);
}

/// A store that fails when it is told to, after its effect or instead of it.
struct Failing {
    state: State,
    fail: Arc<AtomicBool>,
    after: bool,
}

impl Commit for Failing {
    fn commit(&self, steps: &[Step]) -> Result<(), StoreError> {
        let fail = self.fail.load(Ordering::SeqCst);
        if !fail || self.after {
            self.state.commit(steps)?;
        }
        if fail {
            return Err(StoreError::Hot("as told".into()));
        }
        Ok(())
    }
}

#[test]
fn what_could_not_be_made_durable_is_never_answered_nor_shown() {
    for after in [false, true] {
        let log = log("log.example", 9);
        let mut bench = Bench::new(&[&log]);
        bench.handle = None;
        let fail = Arc::new(AtomicBool::new(false));
        let (send, failed) = mpsc::channel();
        let wrapped = Arc::clone(&fail);
        let wrap = move |state| Failing {
            state,
            fail: wrapped,
            after,
        };
        let handle = start_with(&bench.config(), wrap, move |e| send.send(e).unwrap());
        bench.handle = Some(handle.unwrap());
        bench.grow(&log, 0, 3);
        fail.store(true, Ordering::SeqCst);
        let answer = bench.post(&log.body(3, 5));
        assert_eq!(answer.said(), (503, "stopping".into()));
        assert_eq!(failed.recv().unwrap().kind(), "store-hot");
        assert_eq!(bench.latest("log.example").unwrap().text, log.note(3).text);
        // In the program the process has ended; here nothing more is cosigned.
        assert_eq!(bench.post(&log.body(3, 4)).said(), (503, "stopping".into()));
        bench.start();
        let stands = if after { 5 } else { 3 };
        assert_eq!(
            bench.latest("log.example").unwrap().text,
            log.note(stands).text
        );
        bench.grow(&log, stands, 9);
    }
}

#[test]
fn another_writer_is_noticed() {
    let log = log("log.example", 9);
    let mut bench = Bench::new(&[&log]);
    bench.grow(&log, 0, 3);
    bench.handle = None;
    let path = bench.dir.path().join("private/state");
    let (state, standing) = State::open(&path, &bench.vkey).unwrap();
    let hash = witness::origin_hash("log.example");
    let latest = standing.latest(&hash).unwrap();
    let step = |from| Step {
        log: hash,
        from,
        to: Arc::clone(&latest),
    };
    let fresh = state.commit(&[step(None)]).unwrap_err();
    assert_eq!(fresh.kind(), "store-conflict");
    let mut other = (*latest).clone();
    other.size += 1;
    let stale = state.commit(&[step(Some(Arc::new(other)))]).unwrap_err();
    assert_eq!(stale.kind(), "store-conflict");
    state.commit(&[step(Some(Arc::clone(&latest)))]).unwrap();
    drop(state);
    bench.start();
    bench.grow(&log, 3, 9);
}

#[test]
fn what_waits_when_it_stops_is_answered_and_kept() {
    let log = log("log.example", 9);
    let mut bench = Bench::new(&[&log]);
    let (addr, body) = (bench.addr(), log.body(0, 3));
    let asking = std::thread::spawn(move || ask(addr, "POST", "/add-checkpoint", &body));
    let answer = asking.join().unwrap();
    bench.handle.take().unwrap().shutdown();
    bench.cosigned(&answer, &log.note(3));
    bench.start();
    assert_eq!(bench.latest("log.example").unwrap().text, log.note(3).text);
}
