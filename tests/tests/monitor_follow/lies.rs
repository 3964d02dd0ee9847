//! A log that signs what is not so: only its own keys could have, and it is kept as evidence.

use super::desk::{found, policy, poll, watch};
use super::liar::Liar;
use super::stub::Stub;
use countersign::monitor::alert::Class::{Tampering, Unexpected};
use countersign::monitor::task::{Poll, Task};
use countersign_tests::bench::{Bench, ROOTS, bench};
use ledger::leaf::Leaf;
use ledger::statement::Body;
use std::sync::{Arc, Mutex};

/// The bench's log from here on, with its own keys, and a task that follows it.
fn lying(bench: &Bench, change: impl Fn(Leaf) -> Leaf) -> (Arc<Mutex<Liar>>, Stub, Box<dyn Task>) {
    let liar = Liar::new(&bench.path("log"), &bench.url, change);
    let liar = Arc::new(Mutex::new(liar));
    let answers = liar.clone();
    let stub = Stub::serve(move |request| answers.lock().unwrap().answer(request));
    policy(bench, "liar.toml", &stub.url);
    let task = watch(bench, "liar.toml", "").remove(0);
    (liar, stub, task)
}

fn evidence(poll: &Poll) -> String {
    let of = &poll.findings[0].details;
    let file = &of.iter().find(|(name, _)| name == "evidence").unwrap().1;
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn a_head_that_leaves_out_a_revocation_is_tampering() {
    let mut bench = bench();
    bench.published("1.0", "release1");
    let revoke = format!("keys revoke {} --reason lost {ROOTS}", bench.id("root3"));
    bench.ok(&revoke);
    let (liar, stub, mut task) = lying(&bench, |leaf| leaf);
    let kinds = [
        (Unexpected, "unexpected-release"),
        (Unexpected, "unexpected-revocation"),
    ];
    assert_eq!(found(&poll(&mut task)), kinds);
    let published = |bench: &mut Bench, version: &str| {
        bench.state = "other/state.json";
        std::fs::write(bench.path("tool"), version).unwrap();
        bench.ok(&format!(
            "publish tool --project acme/tool --version {version} --key release1 --log {} --policy liar.toml --state s-{version}",
            stub.url
        ));
    };
    // Leaves 0 to 2 are the founding, 3 and 4 the release, 5 and 6 the revocation.
    liar.lock().unwrap().deny(5);
    published(&mut bench, "1.1");
    let shown = poll(&mut task);
    assert_eq!(found(&shown), [(Tampering, "statement-omitted")]);
    assert!(evidence(&shown).contains("\"head\":{"));
    // It stays so, as one alert, however much is added to it.
    published(&mut bench, "1.2");
    let again = poll(&mut task);
    assert_eq!(found(&again), [(Tampering, "statement-omitted")]);
    assert_eq!(again.findings[0].id(), shown.findings[0].id());
}

#[test]
fn a_head_that_counts_what_the_rules_do_not_is_tampering() {
    let bench = bench();
    bench.published("1.0", "release1");
    // The release's signature is by its key, and of another statement.
    let by_root = Mutex::new(None);
    let forge = |leaf: Leaf| match leaf {
        Leaf::Statement(mut s) => {
            let mut other = by_root.lock().unwrap();
            let own = s.envelope.signatures.first_mut().unwrap();
            match (&s.statement.body, &*other) {
                (Body::Release(_), Some(sig)) => own.sig.clone_from(sig),
                _ => *other = Some(own.sig.clone()),
            }
            Leaf::Statement(s)
        }
        other => other,
    };
    let (_liar, _stub, mut task) = lying(&bench, forge);
    let shown = poll(&mut task);
    assert_eq!(found(&shown), [(Tampering, "wrong-state")]);
    assert!(evidence(&shown).contains("wrong-state"));
}
