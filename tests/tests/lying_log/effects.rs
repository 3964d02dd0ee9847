//! What is said to have happened has happened: a statement that was sent is in the log, in the
//! history that is remembered, and counts.

use super::bench::{Bench, ROOTS};
use super::liar::Liar;
use super::stub::{Stub, forward};
use countersign_tests::copy_directory;
use ledger::bundle::Bundle;
use ledger::statement::{Revocation, Target};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[test]
fn a_withdrawal_that_became_void_is_not_reported_as_made_when_it_is_said_again() {
    let bench = Bench::new();
    bench.published("1.0", "release1");
    let withdraw = "withdraw --project acme/tool --version 1.0 --reason bug --yes --key";
    bench.ok(&format!("{withdraw} release1"));
    // Said again while it stands it is the same entry, and that is no failure.
    bench.ok(&format!("{withdraw} release1"));
    let old = bench.id("release1");
    bench.ok("keys generate --unencrypted --out release2");
    bench.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    let since = bench.json("releases acme/tool --json")["releases"][0]["index"].clone();
    let revocation = Revocation {
        project: bench.project_id(),
        target: Target::Key(ledger::from_hex32(&old).unwrap()),
        reason: "stolen".into(),
        compromised_since: Some(since.as_u64().unwrap() + 1),
    };
    let payload = revocation.to_payload().unwrap();
    bench.signed("revocation.json", payload, &["root1", "root2"]);
    bench.ok("submit revocation.json");
    let standing = || bench.json("releases acme/tool --json")["releases"][0]["standing"].clone();
    assert_eq!(standing(), "stands");
    bench.refused(2, "no-effect", &format!("{withdraw} release2"));
    assert_eq!(standing(), "stands");
    bench.ok(&withdraw
        .replace("bug", "a~bug")
        .replace("--key", "--key release2"));
    assert_eq!(standing(), "withdrawn");
}

#[test]
fn a_note_that_a_later_one_has_replaced_is_not_reported_as_made_when_it_is_said_again() {
    let bench = Bench::new();
    let id = bench.id("release1");
    let note = |custody: &str| {
        format!("keys note {id} --project acme/tool --custody {custody} --key root1 --yes")
    };
    bench.ok(&note("A"));
    bench.ok(&note("A"));
    bench.ok(&note("B"));
    bench.refused(2, "no-effect", &note("A"));
    bench.ok(&note("C"));
}

#[test]
fn a_log_that_takes_a_statement_in_and_does_not_count_it_is_caught() {
    let mut bench = Bench::new();
    bench.published("1.0", "release1");
    let id = bench.id("release1");
    bench.ok("project update acme/tool --contact mailto:b@acme.example --prepare next.json");
    bench.ok("sign next.json --key root1 --key root2");
    let says = [
        format!("keys revoke {id} --reason stolen {ROOTS}"),
        format!("keys note {id} --project acme/tool --owner ops --key root1 --yes"),
        "withdraw --project acme/tool --version 1.0 --reason bug --key release1 --yes".to_owned(),
        "submit next.json".to_owned(),
    ];
    for (what, counts) in says.iter().flat_map(|what| [(what, false), (what, true)]) {
        let mut liar = Liar::new(&bench.path("log"), &bench.url, |leaf| leaf);
        liar.counts = counts;
        let liar = Mutex::new(liar);
        let log = Stub::serve(move |request| liar.lock().unwrap().answer(request));
        let _ = std::fs::remove_file(bench.path("l.json"));
        bench.machine(("l.json", "l.toml"), &[&log.url], |_| ());
        match counts {
            true => drop(bench.ok(what)),
            false => drop(bench.refused(1, "not-counted", what)),
        }
        bench.home();
    }
}

#[test]
fn a_log_that_answers_from_another_history_is_caught_and_not_remembered() {
    let mut bench = Bench::new();
    bench.published("1.0", "release1");
    bench.server.take().unwrap().stop().unwrap();
    // Two servers with the same keys and the same beginning.
    copy_directory(&bench.path("log"), &bench.path("fork"));
    let (one, other) = (bench.serve("log"), bench.serve("fork"));
    for (server, state, versions) in [
        (&one, "state.json", &["1.1"][..]),
        (&other, "other.json", &["2.0", "2.1", "2.2"]),
    ] {
        bench.machine((state, "at.toml"), &[&server.url], |_| ());
        versions.iter().for_each(|v| bench.published(v, "release1"));
    }
    let remembered = std::fs::read(bench.path("state.json")).unwrap();
    // A bundle that is of the other's newest view is not simply up to date.
    bench.machine(("state.json", "at.toml"), &[&other.url], |_| ());
    let said = bench.refused(1, "not-consistent", "refresh tool-2.2");
    // It is kept in a file that proves it without this machine, its memory, or a network.
    let line = said
        .lines()
        .find_map(|l| l.trim().strip_prefix("evidence: "));
    let evidence = std::path::PathBuf::from(line.unwrap_or_else(|| panic!("{said}")));
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::copy(&evidence, elsewhere.path().join("fork.json")).unwrap();
    std::fs::copy(bench.path("at.toml"), elsewhere.path().join("policy.toml")).unwrap();
    let mut verify = std::process::Command::new(countersign_tests::binary("countersign").unwrap());
    verify
        .args(["evidence", "verify", "fork.json", "--policy", "policy.toml"])
        .current_dir(elsewhere.path())
        .env_clear()
        .env("HOME", elsewhere.path());
    let told = countersign_tests::run(verify).unwrap();
    assert_eq!(told.code, 0, "{}", told.err);
    let told = String::from_utf8(told.out).unwrap();
    assert!(
        told.contains("two histories that contradict each other"),
        "{told}"
    );
    assert!(told.contains("keys of your policy's log"), "{told}");
    bench.refused(1, "not-consistent", "verify tool-2.2 --online");
    // Nor is one whose entry the log has never had: the log's answer does not go on from it.
    bench.machine(("fresh.json", "at.toml"), &[&one.url], |_| ());
    let said = bench.refused(1, "not-consistent", "verify tool-2.0 --online");
    assert!(
        said.contains("  bundle: ") && said.contains("  now: "),
        "{said}"
    );
    let (a, b, posted) = (one.url.clone(), other.url.clone(), AtomicBool::new(false));
    // What is read is of the one, until something is said: that is answered by the other.
    let split = Stub::serve(move |request| {
        if request.method == "POST" {
            posted.store(true, Relaxed);
        }
        forward(if posted.load(Relaxed) { &b } else { &a }, request)
    });
    let id = bench.id("release1");
    std::fs::write(bench.path("tool-3.0"), "the tool").unwrap();
    bench.machine(("state.json", "split.toml"), &[&split.url], |_| ());
    let note = format!("keys note {id} --project acme/tool --owner ops --key root1 --yes");
    let said = bench.refused(1, "not-consistent", &note);
    assert!(said.contains("remembered:"), "{said}");
    let now = || std::fs::read(bench.path("state.json")).unwrap();
    assert!(now() == remembered, "the other history is remembered");
    let publish = "publish tool-3.0 --project acme/tool --version 3.0 --key release1";
    bench.refused(1, "not-consistent", publish);
    assert!(now() == remembered, "the other history is remembered");
    assert!(!bench.path("tool-3.0.bundle").exists());

    // A bundle with a signed view of its own needs no signature on its first checkpoint: who takes
    // those away does not make the fork one that nobody signed.
    bench.machine(("other.json", "at.toml"), &[&other.url], |_| ());
    bench.ok("refresh tool-2.0");
    bench.machine(("more.json", "at.toml"), &[&one.url], |_| ());
    for version in ["1.2", "1.3", "1.4", "1.5", "1.6"] {
        bench.published(version, "release1");
    }
    let path = bench.path("tool-2.0.bundle");
    let mut bundle = Bundle::parse(&std::fs::read(&path).unwrap()).unwrap();
    let (text, _) = bundle.first.split_once("\n\n").unwrap();
    bundle.first = format!("{text}\n\n\u{2014} log.before AAAAAAA=\n");
    std::fs::write(&path, bundle.to_bytes().unwrap()).unwrap();
    bench.machine(("new/state.json", "at.toml"), &[&one.url], |_| ());
    bench.ok("verify tool-2.0");
    bench.machine(("newer/state.json", "at.toml"), &[&one.url], |_| ());
    let said = bench.refused(1, "not-consistent", "verify tool-2.0 --online");
    assert!(said.contains("evidence verify "), "{said}");
}

#[test]
fn what_publish_and_submit_prove_is_remembered() {
    let bench = Bench::new();
    bench.published("1.0", "release1");
    let before = bench.remembered();
    bench.published("1.1", "release1");
    let after = bench.remembered();
    assert!(after > before);
    std::fs::write(bench.path("tool-1.2"), "the tool").unwrap();
    bench.ok("publish tool-1.2 --project acme/tool --version 1.2 --prepare next.json");
    bench.ok("sign next.json --key release1");
    bench.ok("submit next.json");
    let submitted = bench.remembered();
    assert!(submitted > after);
    bench.ok("project update acme/tool --contact mailto:b@acme.example --prepare next.json");
    bench.ok("sign next.json --key root1 --key root2");
    bench.ok("submit next.json");
    assert!(bench.remembered() > submitted);
}
