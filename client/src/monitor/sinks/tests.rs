#![allow(clippy::unwrap_used)]
use super::*;
use crate::monitor::book::Why;

const RULES: Alerts = Alerts {
    repeat_after: 10_000,
    escalate_after: 1000,
    canary_every: 100,
};

struct Bench {
    dir: tempfile::TempDir,
    book: Mutex<Book>,
    sinks: Vec<Ready>,
}

fn bench(sinks: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "api-version = \"countersign/v1\"\nstate = \"s\"\n[[log]]\npolicy = \"p\"\n{sinks}"
    );
    let config = Config::parse(&text, dir.path()).unwrap();
    Bench {
        book: Mutex::new(Book::open(dir.path()).unwrap()),
        sinks: Ready::all(&config).unwrap(),
        dir,
    }
}

impl Bench {
    fn raise(&self, class: Class, key: &str, now: u64) {
        let poll = Poll {
            findings: vec![Finding::new(class, "k", "s", "m").key(key)],
            ..Poll::default()
        };
        held(&self.book).report("t", &poll, now);
    }
    fn deliver(&self, now: u64) {
        for sink in &self.sinks {
            sink.deliver(&self.book, &RULES, &|| now, false);
        }
    }
    fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }
}

fn types(lines: &[Value]) -> Vec<String> {
    let of = |l: &Value| {
        l.get("why")
            .or(l.get("type"))
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    lines.iter().map(of).collect()
}

#[test]
fn alerts_and_a_canary_a_day_reach_a_file() {
    let b = bench("[[sink]]\nname = \"f\"\nfile = \"out\"\n");
    b.raise(Class::Tampering, "a", 1000);
    b.deliver(1000);
    assert_eq!(types(&b.lines("out")), ["raised", "canary"]);
    b.deliver(1099);
    assert_eq!(b.lines("out").len(), 2);
    b.deliver(1100);
    assert_eq!(types(&b.lines("out")), ["raised", "canary", "canary"]);
    let lines = b.lines("out");
    let first = lines.first().unwrap();
    assert_eq!(first.get("class").unwrap(), "tampering");
    assert_eq!(first.get("severity").unwrap(), "alert");
}

#[test]
fn a_sink_that_fails_is_an_alert_at_the_others_and_loses_nothing() {
    let b = bench(
        "[[sink]]\nname = \"broken\"\nfile = \"no/such/directory\"\n[[sink]]\nname = \"f\"\nfile = \"out\"\n",
    );
    b.raise(Class::Unexpected, "a", 1000);
    b.deliver(1000);
    let lines = b.lines("out");
    let kinds: Vec<&Value> = lines.iter().filter_map(|l| l.get("kind")).collect();
    assert_eq!(kinds, ["k", "sink-failing"]);
    assert_eq!(held(&b.book).sink("broken").failures, 1);
    // It is tried again, longer and longer after the last time.
    (1001..1061).for_each(|now| b.deliver(now));
    let state = held(&b.book).sink("broken");
    assert!((3..=20).contains(&state.failures), "{state:?}");
    // An hour later somebody mends it: all that waited arrives, and it is over.
    std::fs::create_dir_all(b.dir.path().join("no/such")).unwrap();
    b.deliver(4600);
    let late = b.lines("no/such/directory");
    assert_eq!(types(&late), ["raised", "raised", "canary"]);
    let told = types(&b.lines("out"));
    assert_eq!(told, ["raised", "raised", "canary", "over", "canary"]);
    assert_eq!(held(&b.book).sink("broken").failures, 0);
}

#[test]
#[cfg(unix)]
fn a_message_that_is_refused_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let got = dir.path().join("got");
    let script = format!(
        "read -r m; case $m in *POISON*) exit 1;; esac; echo $m >> '{}'",
        got.display()
    );
    let b = bench(&format!(
        "[[sink]]\nname = \"hook\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"
    ));
    for (n, key) in ["POISON-1", "POISON-2", "POISON-3", "POISON-4", "good"]
        .iter()
        .enumerate()
    {
        let mut finding = Finding::new(Class::Tampering, "k", *key, "m");
        finding.key = (*key).to_owned();
        let poll = Poll {
            findings: vec![finding],
            ..Poll::default()
        };
        held(&b.book).report("t", &poll, 1000 + n as u64);
    }
    for now in 1010..1200 {
        b.deliver(now);
    }
    let said = std::fs::read_to_string(&got).unwrap_or_default();
    assert!(said.contains("\"subject\":\"good\""), "{said}");
    assert!(said.contains("canary"), "{said}");
}

#[test]
fn a_canary_that_fails_is_an_alarm() {
    let b = bench("[[sink]]\nname = \"broken\"\nfile = \"no/such/directory\"\n");
    b.deliver(1000);
    assert_eq!(held(&b.book).gravest(), Some(Class::Operational));
}

#[test]
fn hostile_text_neither_steers_a_terminal_nor_fills_a_message() {
    let finding = Finding::new(
        Class::Tampering,
        "k",
        "s\u{1b}[2J\u{202e}",
        "m\n".repeat(MOST_TEXT),
    );
    let many = (0..100).fold(finding, |f, i| f.detail(format!("{i}\r"), "\u{7}"));
    let poll = Poll {
        findings: vec![many],
        ..Poll::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let mut book = Book::open(dir.path()).unwrap();
    book.report("t", &poll, 5);
    let alert = book.alerts().next().unwrap().1.clone();
    let (id, why) = (String::new(), Why::Raised);
    let due = Due {
        id,
        number: 1,
        why,
        alert,
    };
    let said = Message::alert(&due, 5).body.to_string();
    assert!(said.len() < 20_000);
    // Not even escaped: whoever decodes it prints it.
    for bad in ["\\u001b", "\\r", "\\n", "\\u0007", "\u{202e}"] {
        assert!(!said.contains(bad), "{bad:?}");
    }
}

#[test]
fn a_message_has_one_id_until_it_arrives_and_another_when_the_alert_comes_back() {
    let b = bench("[[sink]]\nname = \"f\"\nfile = \"out\"\n");
    b.raise(Class::Degraded, "", 1000);
    b.deliver(1000);
    let whole = Poll {
        whole: true,
        ..Poll::default()
    };
    held(&b.book).report("t", &whole, 1001);
    b.deliver(1001);
    b.raise(Class::Degraded, "", 1002);
    b.deliver(1002);
    let lines = b.lines("out");
    let ids: Vec<&Value> = lines
        .iter()
        .filter(|l| l.get("alert").is_some())
        .filter_map(|l| l.get("message"))
        .collect();
    assert_eq!(ids.len(), 3);
    let mut unique: Vec<String> = ids.iter().map(ToString::to_string).collect();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 3);
}
