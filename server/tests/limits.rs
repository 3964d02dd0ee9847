//! The write path's protection against real sockets: slow, endless and many clients, and
//! fairness between addresses and projects. Each defence is tried without it too: there the
//! attack works.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::wire::{Wire, retry_after, stream, within};
use common::{Publisher, Running, artifact, init, publisher};
use countersign_server::{Config, Server, limits};
use ledger::envelope::Envelope;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The loopback addresses of one who attacks and one who publishes.
const ATTACKER: u8 = 2;
const VICTIM: u8 = 3;

fn log() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    dir
}

fn release(p: &Publisher, version: impl std::fmt::Display) -> Envelope {
    let purl = format!("{}/tool@{version}", p.project.purl_prefixes[0]);
    p.envelope(&purl, &[artifact("tool", version.to_string().as_bytes())])
}

/// Sends a byte every tenth of a second until the server closes; how long that took.
fn trickle(mut stream: TcpStream) -> (Duration, String) {
    let (began, mut answer) = (Instant::now(), Vec::new());
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    while began.elapsed() < Duration::from_secs(8) {
        let _ = stream.write_all(b"x");
        match stream.read_to_end(&mut answer) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    (began.elapsed(), text)
}

#[test]
fn a_head_or_a_body_that_trickles_in_is_cut_off() {
    let dir = log();
    let server = Running::start(
        dir.path(),
        &[
            "--head-seconds",
            "1",
            "--request-seconds",
            "1",
            "--connection-seconds",
            "2",
        ],
    );
    // A connection that is always busy ends too, after the answer under way.
    let mut busy = Wire::new(ATTACKER, &server.addr);
    let began = Instant::now();
    assert!(within(6, || busy.get("/healthz").is_none()));
    assert!(began.elapsed() < Duration::from_millis(3500));
    let (took, _) = std::thread::scope(|scope| {
        let head = scope.spawn(|| {
            let mut slow = stream(ATTACKER, &server.addr).unwrap();
            slow.write_all(b"GET /checkpoint HTTP/1.1\r\nX-Slow: ")
                .unwrap();
            trickle(slow)
        });
        let mut slow = stream(ATTACKER, &server.addr).unwrap();
        let start = "POST /api/v1/entries HTTP/1.1\r\nHost: log\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n";
        slow.write_all(start.as_bytes()).unwrap();
        let (took, answer) = trickle(slow);
        assert!(took < Duration::from_secs(5), "body: {took:?}");
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        head.join().unwrap()
    });
    assert!(took < Duration::from_secs(5), "head: {took:?}");
    assert_eq!(server.metric("countersign_connections"), 1.0);
}

#[test]
fn a_head_or_a_body_without_end_is_refused_at_its_limit() {
    let dir = log();
    let server = Running::start(dir.path(), &[]);
    let mut wire = Wire::new(ATTACKER, &server.addr);
    let head = format!(
        "GET /checkpoint HTTP/1.1\r\nX-Big: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let _ = wire.send(head.as_bytes());
    let mut answer = Vec::new();
    let _ = wire.0.read_to_end(&mut answer);
    // The connection may be reset while the rest of the head is on its way.
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));
    for method in ["POST", "GET"] {
        let mut wire = Wire::new(ATTACKER, &server.addr);
        let start = format!(
            "{method} /api/v1/entries HTTP/1.1\r\nHost: log\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        wire.send(start.as_bytes()).unwrap();
        let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
        let sent = (0..4096).take_while(|_| wire.send(&chunk).is_ok()).count();
        // What the buffers of both ends take, at most; without a limit all 64 MiB.
        assert!(sent < 2048, "{method}: {sent} chunks of 16 KiB were taken");
    }
    assert!(server.memory() < 200_000);
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_each_counts() {
    let dir = log();
    let server = Running::start(
        dir.path(),
        &["--limit-loopback", "--address-rate", "1/h:10"],
    );
    let mut wire = Wire::new(ATTACKER, &server.addr);
    let get = |i: u32| format!("GET /api/v1/entries/{i} HTTP/1.1\r\nHost: log\r\n\r\n");
    let healthy = "GET /healthz HTTP/1.1\r\nHost: log\r\n\r\n";
    let all: String = (0..100).map(|i| get(i) + healthy).collect();
    wire.send(all.as_bytes()).unwrap();
    for _ in 0..100 {
        assert_eq!(wire.answer().unwrap().status, 404);
        assert_eq!(wire.answer().unwrap().status, 200);
    }
    let post = "POST /api/v1/entries HTTP/1.1\r\nHost: log\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    wire.send(post.repeat(12).as_bytes()).unwrap();
    let statuses: Vec<u16> = (0..12).map_while(|_| Some(wire.answer()?.status)).collect();
    assert_eq!(statuses[..10], [400; 10]);
    assert_eq!(statuses[10], 429);
}

/// A log with one full bundle of nearly 16 MB.
fn large() -> tempfile::TempDir {
    let dir = log();
    let server = Server::start(&Config::new(dir.path())).unwrap();
    let leaf = |i: u32| {
        let pad = "x".repeat(60_000);
        let text =
            format!(r#"{{"apiVersion":"countersign/v1","kind":"test","n":{i},"pad":"{pad}"}}"#);
        text.into_bytes()
    };
    server.fill((0..257).map(leaf).collect()).unwrap();
    server.shutdown();
    dir
}

#[test]
fn clients_that_read_no_answer_hold_bounded_memory_and_only_for_a_time() {
    let dir = large();
    let bundle = b"GET /tile/entries/000 HTTP/1.1\r\nHost: log\r\n\r\n";
    let ask = |server: &Running| {
        let mut wire = Wire::new(VICTIM, &server.addr);
        wire.get("/tile/entries/000").unwrap()
    };
    for (stall, life, cut) in [
        ("1", "300", true),
        ("3600", "1", true),
        ("3600", "300", false),
    ] {
        let more = ["--stall-seconds", stall, "--connection-seconds", life];
        let server = Running::start(dir.path(), &more);
        let idle: Vec<TcpStream> = (0..40)
            .map(|_| {
                let mut stream = stream(ATTACKER, &server.addr).unwrap();
                stream.write_all(bundle).unwrap();
                stream
            })
            .collect();
        // Their answers are on their way when nobody else gets one.
        assert!(within(10, || ask(&server).status == 503));
        let refused = ask(&server);
        if refused.status == 503 {
            assert_eq!(refused.kind(), "busy");
            assert_eq!(retry_after(&refused), Some(1));
        }
        // 40 bundles would be over 600 MB. The check after the start reads one too.
        assert!(server.memory() < 400_000, "{} KiB", server.memory());
        let free = within(if cut { 10 } else { 3 }, || ask(&server).status == 200);
        assert_eq!(free, cut, "stall {stall}, life {life}");
        drop(idle);
        assert!(within(10, || ask(&server).status == 200));
    }
}

#[test]
fn an_address_with_many_connections_keeps_nobody_else_out() {
    for (most, open) in [("20", true), ("0", false)] {
        let dir = log();
        let more = [
            "--admit",
            "open",
            "--limit-loopback",
            "--address-connections",
            most,
        ];
        let server = Running::start_limited(dir.path(), 160, &more);
        let idle: Vec<TcpStream> = (0..150)
            .map_while(|_| stream(ATTACKER, &server.addr).ok())
            .collect();
        assert_eq!(idle.len(), 150);
        let acme = publisher("acme/tool", "pkg:generic/acme");
        let publish = |envelope: &Envelope| {
            let mut wire = Wire::new(VICTIM, &server.addr);
            let patience = Duration::from_secs(if open { 20 } else { 2 });
            wire.0.get_ref().set_read_timeout(Some(patience)).unwrap();
            wire.submit(envelope).map(|a| a.status)
        };
        let want = open.then_some(200);
        assert_eq!(publish(&acme.first), want);
        if open {
            assert_eq!(publish(&release(&acme, 1)), want);
            let closed = r#"countersign_limited_total{limit="address-connections"}"#;
            assert!(server.metric(closed) >= 100.0);
        }
    }
}

#[test]
fn a_flooding_address_is_turned_away_before_its_bodies_are_read() {
    for (rate, held) in [("20/s:40", true), ("0", false)] {
        let dir = log();
        let more = [
            "--admit",
            "open",
            "--limit-loopback",
            "--address-rate",
            rate,
        ];
        let server = Running::start(dir.path(), &more);
        let acme = publisher("acme/tool", "pkg:generic/acme");
        let mut wire = Wire::new(VICTIM, &server.addr);
        assert_eq!(wire.submit(&acme.first).unwrap().status, 200);
        let releases: Vec<_> = (0..10).map(|i| release(&acme, i)).collect();
        let (stop, began) = (AtomicBool::new(false), Instant::now());
        let turned_away = std::thread::scope(|scope| {
            let flood = || {
                let (mut wire, mut turned_away) = (Wire::new(ATTACKER, &server.addr), 0);
                while !stop.load(Ordering::Relaxed) {
                    let answer = wire.post("{}", "").unwrap();
                    if answer.status == 429 {
                        assert_eq!(answer.kind(), "address-rate");
                        assert!(retry_after(&answer).unwrap() >= 1);
                        turned_away += 1;
                    }
                }
                turned_away
            };
            let flooders: Vec<_> = (0..4).map(|_| scope.spawn(flood)).collect();
            for release in &releases {
                let asked = Instant::now();
                assert_eq!(wire.submit(release).unwrap().status, 200);
                assert!(asked.elapsed() < Duration::from_secs(5));
                std::thread::sleep(Duration::from_millis(50));
            }
            stop.store(true, Ordering::Relaxed);
            let counts = flooders.into_iter().map(|f| f.join().unwrap());
            counts.sum::<u32>()
        });
        let read = server.metric("countersign_submitted_total") - 11.0;
        let most = 20.0 * began.elapsed().as_secs_f64() + 41.0;
        assert_eq!(read <= most, held, "{read} were read, of {most}");
        assert_eq!(turned_away > 0, held);
    }
}

#[test]
fn a_large_body_that_is_turned_away_unread_does_not_hide_the_answer() {
    let dir = log();
    let server = Running::start(dir.path(), &["--limit-loopback", "--address-rate", "1/h:1"]);
    let body = "x".repeat(120_000);
    assert_eq!(
        Wire::new(VICTIM, &server.addr)
            .post(&body, "")
            .unwrap()
            .status,
        400
    );
    for _ in 0..50 {
        let answer = Wire::new(VICTIM, &server.addr).post(&body, "");
        assert_eq!(answer.expect("no answer").status, 429);
    }
}

#[test]
fn behind_a_trusted_proxy_its_clients_are_counted_and_it_is_not() {
    let dir = log();
    let proxy = format!("127.0.0.{VICTIM}");
    let more = ["--trusted-proxy", &proxy, "--address-rate", "1/h:3"];
    let server = Running::start(dir.path(), &more);
    let ask = |host: u8, from: &str| {
        let mut wire = Wire::new(host, &server.addr);
        let answer = wire.post("{}", &format!("X-Forwarded-For: {from}\r\n"));
        answer.unwrap().status
    };
    for _ in 0..3 {
        assert_eq!(ask(VICTIM, "10.0.0.1, 192.0.2.1"), 400);
    }
    // Whatever the client itself says comes before what the proxy adds.
    assert_eq!(ask(VICTIM, "10.0.0.2, 192.0.2.1"), 429);
    assert_eq!(ask(VICTIM, "192.0.2.2"), 400);
    // A proxy that says nothing of use is one client, and so is one that is not known as such:
    // neither is exempt as who comes from this machine itself, and no stranger is believed.
    for host in [ATTACKER, VICTIM] {
        for _ in 0..3 {
            assert_eq!(ask(host, "unknown"), 400);
        }
        assert_eq!(ask(host, "unknown"), 429);
    }
    assert_eq!(ask(ATTACKER, "192.0.2.3"), 429);
    let mut wire = Wire::new(4, &server.addr);
    for _ in 0..5 {
        assert_eq!(wire.post("{}", "").unwrap().status, 400, "by no proxy");
    }
}

#[test]
fn a_quota_holds_for_its_project_alone_and_only_its_keys_spend_it() {
    let dir = log();
    let quota = ["--admit", "open", "--project-rate", "1/h:3"];
    let server = Running::start(dir.path(), &[&quota[..], &["--limit-loopback"]].concat());
    let acme = publisher("acme/tool", "pkg:generic/acme");
    let other = publisher("other/tool", "pkg:generic/other");
    let mut wire = Wire::new(VICTIM, &server.addr);
    assert_eq!(wire.submit(&acme.first).unwrap().status, 200);
    assert_eq!(wire.submit(&other.first).unwrap().status, 200);
    for i in 0..10 {
        let mut forged = release(&acme, format!("forged{i}"));
        forged.signatures[0].sig = release(&acme, "x").signatures[0].sig.clone();
        assert_eq!(wire.submit(&forged).unwrap().kind(), "bad-signature");
    }
    for i in 0..3 {
        assert_eq!(wire.submit(&release(&acme, i)).unwrap().status, 200);
    }
    let refused = wire.submit(&release(&acme, 3)).unwrap();
    assert_eq!(
        (refused.status, refused.kind().as_str()),
        (429, "project-rate")
    );
    assert!((3000..=3600).contains(&retry_after(&refused).unwrap()));
    // What stands already is not a release more, and others are not concerned.
    assert_eq!(wire.submit(&release(&acme, 2)).unwrap().status, 200);
    assert_eq!(wire.submit(&release(&other, 0)).unwrap().status, 200);
    let limited = r#"countersign_limited_total{limit="project-rate"}"#;
    assert_eq!(server.metric(limited), 1.0);
    assert!(server.stop());
    let server = Running::start(dir.path(), &quota);
    for i in 10..15 {
        let status = server.submit(&release(&acme, i)).status;
        assert_eq!(status, 200, "loopback is exempt unless asked otherwise");
    }
}

/// What became of a flood of one project, and of another's releases meanwhile.
#[derive(Debug, Default)]
struct Flood {
    taken: u32,
    turned_away: u32,
    slowest_no: Duration,
    published: usize,
    slowest_yes: Duration,
}

/// 24 connections that wait for nothing, before a queue of 8: over ten times what it takes.
fn flood(addr: &str) -> Flood {
    let flooder = publisher("flood/tool", "pkg:generic/flood");
    let acme = publisher("acme/tool", "pkg:generic/acme");
    let mut wire = Wire::new(VICTIM, addr);
    for first in [&flooder.first, &acme.first] {
        assert_eq!(wire.submit(first).unwrap().status, 200);
    }
    let releases: Vec<_> = (0..25).map(|i| release(&acme, i)).collect();
    let (stop, running) = (AtomicBool::new(false), std::sync::Barrier::new(25));
    let one = |n: u32| {
        let (mut wire, mut seen) = (Wire::new(ATTACKER, addr), Flood::default());
        let mut next = 0;
        let mut envelope = release(&flooder, format!("{n}.{next}"));
        running.wait();
        while !stop.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let answer = wire.submit(&envelope).unwrap();
            if answer.status == 200 {
                seen.taken += 1;
                next += 1;
                envelope = release(&flooder, format!("{n}.{next}"));
            } else {
                assert!([429, 503].contains(&answer.status), "{}", answer.status);
                assert_eq!(retry_after(&answer), Some(1));
                seen.turned_away += 1;
                seen.slowest_no = seen.slowest_no.max(asked.elapsed());
            }
        }
        seen
    };
    std::thread::scope(|scope| {
        let one = &one;
        let flooders: Vec<_> = (0..24).map(|n| scope.spawn(move || one(n))).collect();
        running.wait();
        let mut all = Flood::default();
        for release in &releases {
            let asked = Instant::now();
            if wire.submit(release).unwrap().status == 200 {
                all.published += 1;
                all.slowest_yes = all.slowest_yes.max(asked.elapsed());
            }
        }
        stop.store(true, Ordering::Relaxed);
        for seen in flooders.into_iter().map(|f| f.join().unwrap()) {
            all.taken += seen.taken;
            all.turned_away += seen.turned_away;
            all.slowest_no = all.slowest_no.max(seen.slowest_no);
        }
        all
    })
}

#[test]
fn a_flooding_project_keeps_no_other_from_publishing_and_is_turned_away_at_once() {
    let dir = log();
    let server = Running::start(dir.path(), &["--admit", "open", "--queue", "8"]);
    let before = server.memory();
    let seen = flood(&server.addr);
    println!("fair: {seen:?}, {before} KiB, then {} KiB", server.memory());
    assert_eq!(seen.published, 25);
    assert!(seen.slowest_yes < Duration::from_secs(5));
    assert!(seen.taken > 0 && seen.turned_away > seen.taken);
    assert!(seen.slowest_no < Duration::from_secs(5));
    assert!(server.memory() < before + 100_000);
    assert!(server.metric(r#"countersign_refused_total{kind="project-busy"}"#) > 0.0);
    assert_eq!(server.metric("countersign_waiting"), 0.0);
}

#[test]
fn without_fairness_the_same_flood_keeps_others_out() {
    let dir = log();
    let mut config = Config::new(dir.path()).open();
    config.queue = 8;
    config.limits = limits::Settings {
        fair_queue: false,
        ..limits::Settings::default()
    };
    let server = Server::start(&config).unwrap();
    let seen = flood(&server.addr().to_string());
    println!("unfair: {seen:?}");
    assert!(seen.published < 25);
}

/// The log is busy with another batch for longer than a request may take.
#[test]
fn an_answer_that_comes_too_late_does_not_say_that_the_log_refused() {
    let dir = log();
    let mut config = Config::new(dir.path()).open();
    config.limits.request = Duration::from_millis(100);
    let server = Server::start(&config).unwrap();
    let addr = server.addr().to_string();
    let leaf = |i: u32| format!(r#"{{"apiVersion":"countersign/v1","kind":"test","n":{i}}}"#);
    let acme = publisher("acme/tool", "pkg:generic/acme");
    std::thread::scope(|scope| {
        scope.spawn(|| server.fill((0..100_000).map(|i| leaf(i).into_bytes()).collect()));
        assert!(within(20, || server.log().view().size > 0));
        let late = Wire::new(VICTIM, &addr).submit(&acme.first).unwrap();
        assert_eq!((late.status, late.kind().as_str()), (503, "timeout"));
        assert_eq!(retry_after(&late), Some(1));
    });
    let asked = || Wire::new(VICTIM, &addr).submit(&acme.first).unwrap();
    assert!(within(20, || asked().status == 200));
    let bundle = ledger::bundle::Bundle::parse(&asked().body).unwrap();
    assert_eq!(bundle.entry.index, 100_000, "it was logged the first time");
}

#[test]
fn the_metrics_are_valid_and_say_what_happened() {
    let dir = log();
    let server = Running::start(dir.path(), &["--admit", "open"]);
    let acme = publisher("acme/tool", "pkg:generic/acme");
    assert_eq!(server.submit(&acme.first).status, 200);
    assert_eq!(
        server
            .send("POST", "/api/v1/entries", "text/plain", b"")
            .status,
        415
    );
    let answer = server.get("/metrics");
    assert!(answer.head.contains("text/plain; version=0.0.4"));
    let page = String::from_utf8(answer.body).unwrap();
    // Every row belongs to the family whose HELP and TYPE came last, and each comes once.
    let (mut family, mut kind, mut seen) = (String::new(), String::new(), Vec::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(!seen.contains(&family), "{family} twice");
            seen.push(family.clone());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, what) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            kind = what.to_owned();
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = name.split('{').next().unwrap();
            let part = name.strip_prefix(family.as_str()).expect(line);
            let parts: &[&str] = match kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(parts.contains(&part), "{line}");
        }
    }
    let row = |row: &str| server.metric(row);
    assert_eq!(row("countersign_log_size"), 3.0);
    assert_eq!(row("countersign_ready"), 1.0);
    assert_eq!(row(r#"countersign_read_only{reason="disk-full"}"#), 0.0);
    assert_eq!(
        row(r#"countersign_refused_total{kind="unsupported-media-type"}"#),
        1.0
    );
    assert_eq!(row(r#"countersign_batch_leaves_bucket{le="2"}"#), 0.0);
    assert_eq!(row(r#"countersign_batch_leaves_bucket{le="4"}"#), 1.0);
    assert_eq!(row("countersign_batch_leaves_sum"), 3.0);
    assert_eq!(row("countersign_commit_seconds_count"), 1.0);
    assert!(row("countersign_commit_seconds_sum") > 0.0);
    assert!(row("countersign_free_bytes") > 0.0);
    // Each request has a connection of its own. The server learns of the last one's end after the
    // client, and may take the next before: it counts down to this one, in its own time.
    let end = Instant::now() + Duration::from_secs(20);
    while row("countersign_connections") != 1.0 {
        assert!(Instant::now() < end, "connections that ended are counted");
        std::thread::sleep(Duration::from_millis(20));
    }
}
