#![allow(clippy::unwrap_used)]
use super::*;
use crate::monitor::config::{Alerts, Config, Sink};

const CONFIG: &str = "api-version = \"countersign/v1\"\nstate = \"s\"\n[[log]]\npolicy = \"p\"\n\
    [[sink]]\nname = \"one\"\nfile = \"-\"\n[[sink]]\nname = \"two\"\nlevel = 2\nfile = \"-\"\n\
    [[sink]]\nname = \"grave\"\nfrom = \"tampering\"\nfile = \"-\"\n";

const RULES: Alerts = Alerts {
    repeat_after: 100,
    escalate_after: 30,
    canary_every: 1000,
};

fn sinks() -> Vec<Sink> {
    Config::parse(CONFIG, Path::new("")).unwrap().sinks
}

fn finding(class: Class, key: &str) -> Finding {
    Finding::new(class, "kind", "subject", "message").key(key)
}

fn poll(findings: &[Finding]) -> Poll {
    Poll {
        findings: findings.to_vec(),
        whole: true,
        ..Poll::default()
    }
}

fn book() -> (tempfile::TempDir, Book) {
    let dir = tempfile::tempdir().unwrap();
    let book = Book::open(dir.path()).unwrap();
    (dir, book)
}

/// What each sink is told at `now`, all of which arrives.
fn tell(book: &mut Book, now: u64) -> Vec<(String, Why, u64)> {
    let mut all = Vec::new();
    for sink in sinks() {
        for due in book.due(&sink, &RULES, now) {
            book.arrived(&sink.name, &due, now);
            all.push((sink.name.clone(), due.why, due.number));
        }
    }
    all
}

fn said(of: &[(&str, Why, u64)]) -> Vec<(String, Why, u64)> {
    of.iter()
        .map(|(s, w, n)| ((*s).to_owned(), *w, *n))
        .collect()
}

#[test]
fn an_alert_is_told_repeated_and_goes_to_a_second_recipient_until_it_is_acknowledged() {
    let (_dir, mut book) = book();
    let bad = finding(Class::Unexpected, "a");
    assert!(book.report("t", &poll(std::slice::from_ref(&bad)), 1000));
    assert_eq!(tell(&mut book, 1000), said(&[("one", Why::Raised, 1)]));
    assert_eq!(tell(&mut book, 1029), []);
    assert_eq!(tell(&mut book, 1030), said(&[("two", Why::Escalated, 1)]));
    assert_eq!(tell(&mut book, 1100), said(&[("one", Why::Repeated, 2)]));
    assert_eq!(tell(&mut book, 1130), said(&[("two", Why::Repeated, 2)]));
    // No longer found: an attacker who stops is no reason to be silent.
    assert!(book.report("t", &poll(&[]), 1150));
    assert_eq!(book.gravest(), Some(Class::Unexpected));
    assert_eq!(tell(&mut book, 1200), said(&[("one", Why::Repeated, 3)]));
    let id = book.id_of(bad.id().get(..6).unwrap()).unwrap();
    let (by, note) = ("me".to_owned(), String::new());
    book.acknowledge(
        &id,
        Ack {
            time: 1201,
            by,
            note,
        },
    )
    .unwrap();
    assert_eq!(tell(&mut book, 9999), []);
    assert_eq!(book.gravest(), None);
    // It comes back: told anew.
    assert!(book.report("t", &poll(&[bad]), 10_000));
    assert_eq!(tell(&mut book, 10_000), said(&[("one", Why::Raised, 1)]));
}

#[test]
fn what_passes_is_over_and_those_who_were_told_hear_it() {
    let (_dir, mut book) = book();
    book.report("t", &poll(&[finding(Class::Degraded, "")]), 10);
    assert_eq!(tell(&mut book, 10), said(&[("one", Why::Raised, 1)]));
    // Another task's poll, or one that did not look at everything, ends nothing.
    book.report("u", &poll(&[]), 11);
    book.report("t", &Poll::default(), 12);
    assert_eq!(book.gravest(), Some(Class::Degraded));
    book.report("t", &poll(&[]), 13);
    assert_eq!(book.gravest(), None);
    assert_eq!(tell(&mut book, 13), said(&[("one", Why::Over, 2)]));
    assert_eq!(tell(&mut book, 500), []);
    book.report("t", &poll(&[finding(Class::Degraded, "")]), 600);
    assert_eq!(tell(&mut book, 600), said(&[("one", Why::Raised, 1)]));
}

#[test]
fn an_acknowledged_alert_that_is_still_found_stays_quiet() {
    let (_dir, mut book) = book();
    let bad = finding(Class::Tampering, "a");
    book.report("t", &poll(std::slice::from_ref(&bad)), 10);
    let both = said(&[("one", Why::Raised, 1), ("grave", Why::Raised, 1)]);
    assert_eq!(tell(&mut book, 10), both);
    let (by, note) = ("me".to_owned(), "known".to_owned());
    book.acknowledge(&bad.id(), Ack { time: 11, by, note })
        .unwrap();
    book.report("t", &poll(&[bad]), 12);
    assert_eq!(tell(&mut book, 9999), []);
}

#[test]
fn what_failed_to_arrive_is_due_under_the_same_number_and_survives_a_restart() {
    let (dir, mut book) = book();
    book.report("t", &poll(&[finding(Class::Tampering, "a")]), 10);
    let sinks = sinks();
    let one = sinks.first().unwrap();
    let before = book.due(one, &RULES, 10);
    book.save().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    let again = book.due(one, &RULES, 20);
    assert_eq!(before, again);
    book.arrived("one", again.first().unwrap(), 20);
    assert_eq!(book.due(one, &RULES, 21), []);
}

#[test]
fn a_flood_of_one_kind_is_bounded_and_stays_grave() {
    let (_dir, mut book) = book();
    for i in 0..1000 {
        book.report("t", &poll(&[finding(Class::Tampering, &format!("{i}"))]), i);
    }
    assert_eq!(book.alerts().count(), MOST_OF_A_KIND + 1);
    // Another kind has its own room.
    let mut other = finding(Class::Tampering, "x");
    other.kind = "other".into();
    book.report("t", &poll(&[other]), 1000);
    assert_eq!(book.alerts().count(), MOST_OF_A_KIND + 2);
    assert_eq!(book.gravest(), Some(Class::Tampering));
}

#[test]
fn a_damaged_book_is_never_taken_for_an_empty_one() {
    let (dir, mut book) = book();
    book.report("t", &poll(&[finding(Class::Tampering, "a")]), 10);
    book.save().unwrap();
    let path = dir.path().join("alerts.json");
    let good = std::fs::read(&path).unwrap();
    for bad in [
        &b""[..],
        b"{}",
        good.get(..good.len() / 2).unwrap(),
        &[&good[..], b"x"].concat(),
    ] {
        std::fs::write(&path, bad).unwrap();
        assert_eq!(
            Book::open(dir.path()).unwrap_err().kind,
            "alerts-unreadable"
        );
    }
}

#[test]
fn ids_are_looked_up_by_their_beginning() {
    let (_dir, mut book) = book();
    book.report("t", &poll(&[finding(Class::Tampering, "a")]), 10);
    let id = finding(Class::Tampering, "a").id();
    assert_eq!(book.id_of(&id).unwrap(), id);
    assert!(book.id_of("").is_err() && book.id_of("zzzz").is_err());
    assert!(book.id_of(id.get(..3).unwrap()).is_err());
}

#[test]
fn what_ended_is_forgotten_after_a_time_and_what_is_open_is_not() {
    let (_dir, mut book) = book();
    book.report(
        "t",
        &poll(&[finding(Class::Degraded, ""), finding(Class::Tampering, "")]),
        10,
    );
    book.report("t", &poll(&[]), 20);
    book.forget(20 + KEPT);
    assert_eq!(book.alerts().count(), 2);
    book.forget(21 + KEPT);
    assert_eq!(book.alerts().count(), 1);
}
