//! What outlives the process, the clock, and a store that fails.

use crate::bench::{Bench, START, ask, log};
use countersign_server::store::StoreError;
use countersign_server::witness;
use countersign_server::witness::server::start_with;
use countersign_server::witness::state::{Commit, State, Step};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

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
fn no_time_is_before_the_last_one_and_no_clock_that_cannot_be_right_is_believed() {
    let log = log("log.example", 9);
    let mut bench = Bench::new(&[&log]);
    let no_time = (503, "clock".to_owned());
    assert_eq!(bench.grow(&log, 0, 1), START);
    bench.clock.store(START - 300, Ordering::SeqCst);
    assert_eq!(bench.grow(&log, 1, 2), START);
    assert_eq!(bench.grow(&log, 2, 2), START);
    // Behind what was dated last, and never set, over a start too.
    for behind in [START - 301, 0] {
        bench.clock.store(behind, Ordering::SeqCst);
        assert_eq!(bench.post(&log.body(2, 3)).said(), no_time);
        bench.start();
        assert_eq!(bench.post(&log.body(2, 3)).said(), no_time);
    }
    bench.clock.store(START + 5, Ordering::SeqCst);
    assert_eq!(bench.grow(&log, 2, 3), START + 5);
    // The machine counted 1000 s meanwhile, and the clock too.
    bench.uptime.fetch_add(1000, Ordering::SeqCst);
    bench.clock.store(START + 1005, Ordering::SeqCst);
    assert_eq!(bench.grow(&log, 3, 4), START + 1005);
    // It went ahead by itself: nothing is dated, by nobody's request, until it is right again.
    for ahead in [START + 1306, u64::MAX] {
        bench.clock.store(ahead, Ordering::SeqCst);
        assert_eq!(bench.post(&log.body(4, 5)).said(), no_time);
        assert_eq!(bench.post(&log.body(4, 4)).said(), no_time);
        assert_eq!(bench.get("/healthz").status, 503);
    }
    bench.clock.store(START + 1305, Ordering::SeqCst);
    assert_eq!(bench.grow(&log, 4, 5), START + 1305);
    assert_eq!(bench.get("/healthz").status, 200);
    // A log that was never cosigned, and no clock at all.
    let other = crate::bench::log("other.example", 1);
    let bench = Bench::new(&[&other]);
    bench.clock.store(0, Ordering::SeqCst);
    assert_eq!(bench.post(&other.body(0, 1)).said(), no_time);
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

/// A store that says when it is asked, and goes on when it is told to.
struct Slow {
    state: State,
    asked: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Commit for Slow {
    fn commit(&self, steps: &[Step]) -> Result<(), StoreError> {
        self.asked.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        self.state.commit(steps)
    }
}

#[test]
fn what_waits_when_it_stops_is_answered_and_kept() {
    let log = log("log.example", 9);
    let mut bench = Bench::new(&[&log]);
    bench.handle = None;
    let ((asked, was_asked), (go, go_on)) = (mpsc::channel(), mpsc::channel());
    let go_on = Mutex::new(go_on);
    let wrap = move |state| Slow {
        state,
        asked,
        go_on,
    };
    let handle = start_with(&bench.config(), wrap, |e| panic!("{e}")).unwrap();
    let (addr, body) = (handle.addr(), log.body(0, 3));
    let asking = std::thread::spawn(move || ask(addr, "POST", "/add-checkpoint", &body));
    was_asked.recv().unwrap();
    let stopping = std::thread::spawn(move || handle.shutdown());
    // It is told to stop while the checkpoint is on its way to the disk.
    std::thread::sleep(Duration::from_millis(200));
    assert!(!stopping.is_finished());
    go.send(()).unwrap();
    let answer = asking.join().unwrap();
    stopping.join().unwrap();
    bench.cosigned(&answer, &log.note(3));
    bench.start();
    assert_eq!(bench.latest("log.example").unwrap().text, log.note(3).text);
}
