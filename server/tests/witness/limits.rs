//! Rates and times, against real sockets.

use crate::bench::{Bench, ask, log, raw};
use countersign_server::limits::{Rate, Settings};
use countersign_server::witness::{self, Config};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn limited(bench: &mut Bench, change: impl FnOnce(&mut Config)) {
    bench.handle = None;
    let mut config = bench.config();
    config.limits.limit_loopback = true;
    change(&mut config);
    bench.handle = Some(witness::start(&config).unwrap());
}

#[test]
fn a_log_spends_its_own_rate_and_a_stranger_cannot() {
    let (log, other) = (log("log.example", 40), log("other.example", 40));
    let mut bench = Bench::new(&[&log, &other]);
    limited(&mut bench, |c| c.log_rate = Rate::new(1, 3600, 3));
    let mut forged = log.body(0, 3);
    let at = forged.len() - 20;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    for _ in 0..10 {
        assert_eq!(bench.post(&forged).status, 403);
    }
    bench.grow(&log, 0, 3);
    bench.grow(&log, 3, 4);
    bench.grow(&log, 4, 5);
    let answer = bench.post(&log.body(5, 6));
    assert_eq!(answer.said(), (429, "log-rate".into()));
    assert!(answer.head.contains("retry-after: "), "{}", answer.head);
    bench.grow(&other, 0, 3);
}

/// A log's checkpoints are public, and this witness itself hands them out.
#[test]
fn a_stranger_who_sends_a_log_s_checkpoints_again_spends_nothing_of_the_log_s() {
    let log = log("log.example", 40);
    let mut bench = Bench::new(&[&log]);
    limited(&mut bench, |c| c.log_rate = Rate::new(1, 3600, 3));
    bench.grow(&log, 0, 3);
    // The last one, an old one, and a newer one that is not cosigned yet with a proof that is none.
    let mut wrong = log.proof(3, 9);
    wrong[0] = [1; 32];
    let wrong = tlog::witness::AddCheckpoint::body(3, &wrong, &log.note(9));
    let mut statuses = Vec::new();
    for body in [log.body(3, 3), log.body(0, 2), wrong]
        .iter()
        .cycle()
        .take(9)
    {
        statuses.push(bench.post(body).status);
    }
    assert_eq!(statuses, [200, 409, 422, 429, 429, 429, 429, 429, 429]);
    bench.grow(&log, 3, 4);
    bench.grow(&log, 4, 5);
    assert_eq!(bench.post(&log.body(5, 6)).said(), (429, "log-rate".into()));
}

#[test]
fn an_address_spends_its_own_rate_and_reads_cost_nothing() {
    let log = log("log.example", 40);
    let mut bench = Bench::new(&[&log]);
    limited(&mut bench, |c| {
        c.limits.address_rate = Rate::new(1, 3600, 2)
    });
    bench.grow(&log, 0, 3);
    bench.grow(&log, 3, 4);
    let answer = bench.post(&log.body(4, 5));
    assert_eq!(answer.said(), (429, "address-rate".into()));
    assert!(bench.latest("log.example").is_some());
    let page = bench.get("/metrics").body;
    let row = "countersign_witness_limited_total{limit=\"address-rate\"} 1";
    assert!(page.lines().any(|l| l == row), "{page}");
}

#[test]
fn slow_heads_and_bodies_end() {
    let log = log("log.example", 3);
    let mut bench = Bench::new(&[&log]);
    limited(&mut bench, |c| {
        c.limits = Settings {
            head: Duration::from_secs(1),
            request: Duration::from_secs(1),
            ..Settings::default()
        };
    });
    let began = Instant::now();
    let mut stream = TcpStream::connect(bench.addr()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
        .write_all(b"POST /add-checkpoint HTTP/1.1\r\n")
        .unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    assert!(began.elapsed() < Duration::from_secs(15));
    let half = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: 100\r\n\r\nold";
    assert_eq!(raw(bench.addr(), half).said(), (408, "timeout".into()));
    // Others were not kept waiting, and nothing came of it.
    let answer = ask(bench.addr(), "POST", "/add-checkpoint", &log.body(0, 3));
    bench.cosigned(&answer, &log.note(3));
}

#[test]
fn fewer_hashes_than_bytes_and_many_signatures_are_no_way_around() {
    let log = log("log.example", 40);
    let bench = Bench::new(&[&log]);
    // As many genuine lines as a note may have: verified apart, and refused or taken as one.
    let mut note = log.note(3);
    let line = note.signatures[0].clone();
    note.signatures.extend(std::iter::repeat_n(line, 60));
    let body = tlog::witness::AddCheckpoint::body(0, &[], &note);
    bench.cosigned(&bench.post(&body), &note);
    assert_eq!(bench.latest("log.example").unwrap().signatures.len(), 3);
    let line = note.signatures[0].clone();
    note.signatures.extend(std::iter::repeat_n(line, 60));
    let body = tlog::witness::AddCheckpoint::body(3, &[], &note);
    assert_eq!(bench.post(&body).said(), (400, "invalid-input".into()));
}
