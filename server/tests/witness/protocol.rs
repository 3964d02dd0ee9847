//! What is cosigned, and each refusal by its status and kind.

use crate::bench::{Bench, START, log, trust};
use crate::played::Played;
use keys::Ed25519Secret;
use serde_json::Value;
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use tlog::cosignature::{encode, message};
use tlog::hash::EMPTY_ROOT;
use tlog::note::{Note, NoteSignature};
use tlog::vkey::VerifierKey;
use tlog::witness::AddCheckpoint;

fn stale(bench: &Bench, body: &[u8], size: u64) {
    let answer = bench.post(body);
    assert_eq!((answer.status, answer.body), (409, format!("{size}\n")));
    let kind = "content-type: text/x.tlog.size";
    assert!(answer.head.lines().any(|l| l == kind), "{}", answer.head);
}

#[test]
fn a_log_grows_and_what_was_cosigned_last_is_shown() {
    let log = log("log.example", 300);
    let bench = Bench::new(&[&log]);
    assert_eq!(bench.latest("log.example"), None);
    let mut old = 0;
    for size in [0, 0, 1, 2, 2, 7, 8, 255, 256, 257, 300] {
        stale(&bench, &log.body(old + 1, 300), old);
        bench.clock.fetch_add(1, Ordering::SeqCst);
        let time = bench.grow(&log, old, size);
        assert_eq!(time, bench.clock.load(Ordering::SeqCst));
        old = size;
        let shown = bench.latest("log.example").unwrap();
        assert_eq!(shown.text, log.note(size).text);
        assert_eq!(shown.signatures[..2], log.note(size).signatures);
        let signed = shown.verify(std::slice::from_ref(&bench.vkey)).unwrap();
        assert_eq!(signed[0].timestamp, Some(time));
        assert_eq!(shown.signatures.len(), 3);
    }
    // Smaller again: the old size is what it asks about.
    stale(&bench, &log.body(0, 7), 300);
    stale(&bench, &log.body(7, 8), 300);
    let list: Value = serde_json::from_str(&bench.get("/logs").body).unwrap();
    assert_eq!(list["logs"][0]["size"], 300);
    assert_eq!(list["logs"][0]["origin"], "log.example");
    let page = bench.get("/metrics").body;
    for row in [
        "countersign_witness_logs 1",
        "countersign_witness_origins 1",
        "countersign_witness_add_checkpoint_total{kind=\"cosigned\",status=\"200\"} 11",
        "countersign_witness_add_checkpoint_total{kind=\"conflict\",status=\"409\"} 13",
    ] {
        assert!(page.lines().any(|l| l == row), "{row}\n{page}");
    }
    let last = format!("countersign_witness_last_cosigned_seconds {}", START + 11);
    assert!(page.lines().any(|l| l == last), "{page}");
}

#[test]
fn each_bad_request_has_its_status_and_its_kind() {
    let log = log("log.example", 20);
    let stranger = crate::bench::log("other.example", 20);
    let bench = Bench::new(&[&log]);
    bench.grow(&log, 0, 5);
    let note = |size| String::from_utf8(log.note(size).to_bytes()).unwrap();
    let hashes = |count| "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=\n".repeat(count);
    let body =
        |old: u64, proof: &str, note: &str| format!("old {old}\n{proof}\n{note}").into_bytes();
    let unsigned = |text: &str| note(8).replacen(&log.note(8).text, text, 1);
    let empty = log.signed(0, EMPTY_ROOT, &[]);
    let wrong_empty = log.signed(0, [7; 32], &[]);
    let fork = log.fork(3, 1);
    let long = "x".repeat(16 * 1024);
    let mut swapped = log.proof(5, 8);
    swapped.swap(0, 1);
    let mut surplus = log.proof(5, 8);
    surplus.push([0; 32]);
    let mut short = log.proof(5, 8);
    short.pop();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("nothing", vec![], 400, "invalid-input"),
        ("no old", note(8).into_bytes(), 400, "invalid-input"),
        ("not UTF-8", b"old \xff\n\nx".to_vec(), 400, "invalid-input"),
        (
            "old +5",
            format!("old +5\n\n{}", note(8)).into(),
            400,
            "invalid-input",
        ),
        (
            "old 05",
            format!("old 05\n\n{}", note(8)).into(),
            400,
            "invalid-input",
        ),
        (
            "64 hashes",
            body(5, &hashes(64), &note(8)),
            400,
            "invalid-input",
        ),
        (
            "short hash",
            body(5, "AAAA\n", &note(8)),
            400,
            "invalid-input",
        ),
        (
            "no empty line",
            format!("old 5\n{}", note(8)).into(),
            400,
            "invalid-input",
        ),
        (
            "no signatures",
            body(5, "", &log.note(8).text),
            400,
            "invalid-input",
        ),
        (
            "no newline",
            body(5, "", note(8).trim_end()),
            400,
            "invalid-input",
        ),
        (
            "no size",
            body(5, "", &unsigned("log.example\nx\nAAAA\n")),
            400,
            "invalid-checkpoint",
        ),
        (
            "no root",
            body(5, "", &unsigned("log.example\n8\nAAAA\n")),
            400,
            "invalid-checkpoint",
        ),
        (
            "two lines",
            body(5, "", &unsigned("log.example\n8\n")),
            400,
            "invalid-checkpoint",
        ),
        (
            "long text",
            AddCheckpoint::body(5, &log.proof(5, 8), &log.signed(8, log.root(8), &[&long])),
            400,
            "invalid-checkpoint",
        ),
        (
            "old above size",
            body(5, "", &note(4)),
            400,
            "old-size-too-large",
        ),
        ("unknown log", stranger.body(0, 5), 404, "unknown-log"),
        (
            "a change",
            body(5, "", &unsigned(&log.note(7).text)),
            403,
            "invalid-signature",
        ),
        ("no proof", body(5, "", &note(8)), 422, "consistency-proof"),
        (
            "another proof",
            body(5, &hashes(3), &note(8)),
            422,
            "consistency-proof",
        ),
        (
            "swapped",
            AddCheckpoint::body(5, &swapped, &log.note(8)),
            422,
            "consistency-proof",
        ),
        (
            "surplus",
            AddCheckpoint::body(5, &surplus, &log.note(8)),
            422,
            "consistency-proof",
        ),
        (
            "short",
            AddCheckpoint::body(5, &short, &log.note(8)),
            422,
            "consistency-proof",
        ),
        (
            "proof to itself",
            body(5, &hashes(1), &note(5)),
            422,
            "consistency-proof",
        ),
        ("another root", fork.body(5, 5), 422, "other-root"),
        ("another history", fork.body(5, 8), 422, "consistency-proof"),
    ];
    for (name, body, status, kind) in cases {
        let answer = bench.post(&body);
        assert_eq!(
            answer.said(),
            (status, kind.to_owned()),
            "{name}: {answer:?}"
        );
    }
    let large = bench.post(&vec![b'x'; 64 * 1024 + 1]);
    assert_eq!(large.said(), (413, "body-too-large".into()));
    // Of a log that was never cosigned.
    let second = crate::bench::log("second.example", 5);
    let third = Bench::new(&[&second, &log]);
    let proof = third.post(&body(
        0,
        &hashes(1),
        &String::from_utf8(second.note(5).to_bytes()).unwrap(),
    ));
    assert_eq!(proof.said(), (422, "consistency-proof".into()));
    let wrong = third.post(&AddCheckpoint::body(0, &[], &wrong_empty));
    assert_eq!(wrong.said(), (422, "empty-root".into()));
    stale(&third, &second.body(1, 5), 0);
    third.cosigned(&third.post(&AddCheckpoint::body(0, &[], &empty)), &empty);
    // And nothing of all this has changed anything.
    assert_eq!(bench.latest("log.example").unwrap().text, log.note(5).text);
    bench.grow(&log, 5, 8);
}

#[test]
fn every_line_of_a_trusted_key_must_verify_and_one_is_enough() {
    let log = log("log.example", 9);
    let bench = Bench::new(&[&log]);
    let body = |old, size, change: &dyn Fn(&mut Vec<NoteSignature>)| {
        let mut note = log.note(size);
        change(&mut note.signatures);
        AddCheckpoint::body(old, &log.proof(old, size), &note)
    };
    for key in [0, 1] {
        let forged = bench.post(&body(0, 3, &|lines| {
            *lines[key].signature.last_mut().unwrap() ^= 1
        }));
        assert_eq!(forged.said(), (403, "invalid-signature".into()));
        // Also where the genuine line stands beside it.
        let beside = bench.post(&body(0, 3, &|lines| {
            let mut line = lines[key].clone();
            *line.signature.last_mut().unwrap() ^= 1;
            lines.push(line);
        }));
        assert_eq!(beside.said(), (403, "invalid-signature".into()));
    }
    let none = bench.post(&body(0, 3, &|lines| {
        lines.iter_mut().for_each(|l| l.key_id = [1, 2, 3, 4]);
    }));
    assert_eq!(none.said(), (403, "invalid-signature".into()));
    for (key, (old, size)) in [(0, (0, 3)), (1, (3, 4))] {
        let one = bench.post(&body(old, size, &|lines| {
            *lines = vec![lines[key].clone()];
        }));
        bench.cosigned(&one, &log.note(size));
        assert_eq!(bench.latest("log.example").unwrap().signatures.len(), 2);
    }
    // Twice the same line counts and is kept once.
    let twice = bench.post(&body(4, 5, &|lines| lines.extend(lines.clone())));
    bench.cosigned(&twice, &log.note(5));
    assert_eq!(bench.latest("log.example").unwrap().signatures.len(), 3);
}

#[test]
fn what_others_signed_is_ignored_and_not_kept() {
    let log = log("log.example", 9);
    let bench = Bench::new(&[&log]);
    let other = Ed25519Secret::generate().unwrap();
    let key = VerifierKey::cosignature("other.witness", &other.public_bytes()).unwrap();
    let mut note = log.note(3);
    let cosignature = encode(START, &other.sign(&message(START, &note.text)));
    note.signatures
        .insert(0, NoteSignature::by(&key, cosignature));
    // One under the log's name, and one in the name of this witness, which it did not make.
    let mut line = note.signatures[1].clone();
    line.key_id = [9; 4];
    note.signatures.push(line);
    note.signatures
        .push(NoteSignature::by(&bench.vkey, vec![7; 72]));
    note.signatures.push(NoteSignature::by(&key, vec![1]));
    let answer = bench.post(&AddCheckpoint::body(0, &[], &note));
    bench.cosigned(&answer, &note);
    let shown = bench.latest("log.example").unwrap();
    assert_eq!(shown.signatures[..2], log.note(3).signatures);
    assert_eq!(shown.signatures.len(), 3);
    assert_eq!(format!("{}", shown.signatures[2].to_line()), answer.body);
}

#[test]
fn extension_lines_are_cosigned_with_the_rest() {
    let log = log("log.example", 9);
    let bench = Bench::new(&[&log]);
    let lines = ["a line", "another"];
    let note = log.signed(4, log.root(4), &lines);
    let answer = bench.post(&AddCheckpoint::body(0, &[], &note));
    bench.cosigned(&answer, &note);
    assert_eq!(bench.latest("log.example").unwrap().text, note.text);
    // The same tree without them is no fork.
    bench.grow(&log, 4, 4);
    // A text that takes several pieces, and then fewer again.
    let long = "x".repeat(15_000);
    for lines in [vec![long.as_str()], vec![], vec![&long[..5000]]] {
        let note = log.signed(4, log.root(4), &lines);
        let answer = bench.post(&AddCheckpoint::body(4, &[], &note));
        bench.cosigned(&answer, &note);
        assert_eq!(bench.latest("log.example").unwrap().text, note.text);
    }
}

#[test]
fn several_keys_of_one_origin_are_keys_of_one_state() {
    let old = log("log.example", 9);
    let mut new = Played::new("log.example", true).unwrap();
    new.grow(9, 0);
    let bench = Bench::new(&[&old]);
    bench.grow(&old, 0, 3);
    let mut bench = bench;
    trust(bench.dir.path(), &new.vkeys());
    bench.start();
    stale(&bench, &new.body(0, 5), 3);
    bench.grow(&new, 3, 5);
    bench.grow(&old, 5, 6);
    let fork = new.fork(2, 1);
    assert_eq!(
        bench.post(&fork.body(6, 6)).said(),
        (422, "other-root".into())
    );
    // Both at once, and one of them wrongly: refused.
    let mut note = old.note(7);
    note.signatures.extend(new.note(7).signatures);
    let good = note.clone();
    *note.signatures[3].signature.last_mut().unwrap() ^= 1;
    let body = |note: &Note| AddCheckpoint::body(6, &old.proof(6, 7), note);
    assert_eq!(bench.post(&body(&note)).status, 403);
    bench.cosigned(&bench.post(&body(&good)), &good);
}

#[test]
fn of_many_requests_for_one_old_size_one_wins() {
    let log = log("log.example", 40);
    let bench = Bench::new(&[&log]);
    bench.grow(&log, 0, 3);
    let bodies: Vec<(u64, Vec<u8>)> = (4..36).map(|size| (size, log.body(3, size))).collect();
    let start = Barrier::new(bodies.len());
    let answers: Vec<(u64, crate::bench::Answer)> = std::thread::scope(|scope| {
        let all: Vec<_> = bodies
            .iter()
            .map(|(size, body)| {
                let (start, bench) = (&start, &bench);
                scope.spawn(move || {
                    start.wait();
                    (*size, bench.post(body))
                })
            })
            .collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let won: Vec<u64> = answers
        .iter()
        .filter(|(_, a)| a.status == 200)
        .map(|(size, _)| *size)
        .collect();
    let [won] = won[..] else {
        panic!("{won:?} won")
    };
    for (size, answer) in &answers {
        if *size != won {
            assert_eq!((answer.status, &*answer.body), (409, &*format!("{won}\n")));
        }
    }
    assert_eq!(
        bench.latest("log.example").unwrap().text,
        log.note(won).text
    );
}

#[test]
fn addresses_are_what_they_are() {
    let log = log("log.example", 3);
    let bench = Bench::new(&[&log]);
    assert_eq!(bench.get("/healthz").body, "ok\n");
    for path in [
        "/",
        "/checkpoint",
        "/x/checkpoint",
        "/logs/",
        "/add-checkpoint/x",
    ] {
        assert_eq!(bench.get(path).said(), (404, "not-found".into()), "{path}");
    }
    let hash = hex::encode(countersign_server::witness::origin_hash("log.example"));
    let upper = format!("/{}/checkpoint", hash.to_uppercase());
    assert_eq!(bench.get(&upper).said(), (404, "not-found".into()));
    for (method, path) in [
        ("GET", "/add-checkpoint"),
        ("POST", "/logs"),
        ("PUT", "/healthz"),
    ] {
        let answer = crate::bench::ask(bench.addr(), method, path, b"");
        assert_eq!(answer.said(), (405, "method-not-allowed".into()), "{path}");
    }
    let answer = crate::bench::ask(bench.addr(), "DELETE", &format!("/{hash}/checkpoint"), b"");
    assert_eq!(answer.status, 404);
}
