//! A project through its heads.

use super::desk::{config, found, gauge, now, policy, poll, poll_at, recorded, watch};
use countersign::monitor::alert::Class::{Degraded, Operational, Tampering, Unexpected};
use countersign::monitor::follow::tasks;
use countersign_tests::bench::{Proxy, ROOTS, bench};
use countersign_tests::copy_directory;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[test]
fn what_nobody_announced_is_found_at_the_next_poll_and_once() {
    let bench = bench();
    bench.published("1.0", "release1");
    let mut all = watch(&bench, "policy.toml", "");
    assert_eq!(all.len(), 1);
    let task = &mut all[0];
    assert_eq!(task.name(), "heads acme/tool in log.example");
    // The whole history is looked at: the project's first statement is pinned, its admission the
    // operator's; the release is nobody's.
    let first = poll(task);
    assert_eq!(found(&first), [(Unexpected, "unexpected-release")]);
    assert_eq!(recorded(&first), ["project", "operation"]);
    assert!(first.whole);
    let release = &first.findings[0];
    assert_eq!(release.subject, "acme/tool in log.example");
    assert!(
        release.hint.contains("countersign keys revoke "),
        "{release:?}"
    );
    let detail = |name: &str| release.details.iter().find(|(n, _)| n == name).unwrap();
    assert_eq!(detail("purl").1, "pkg:generic/acme/tool@1.0");
    assert!(detail("keys").1 == bench.id("release1"));
    assert!(detail("digests").1.contains("tool-1.0 sha256:"));
    assert!(found(&poll(task)).is_empty());

    bench.published("1.1", "release1");
    bench.ok(&format!(
        "keys revoke {} --reason lost {ROOTS}",
        bench.id("release1")
    ));
    let next = poll(task);
    let kinds = [
        (Unexpected, "unexpected-release"),
        (Unexpected, "unexpected-revocation"),
    ];
    assert_eq!(found(&next), kinds);

    // What was not committed is found again, after a restart too; what was is not.
    bench.ok(&format!(
        "keys revoke {} --reason lost~too {ROOTS}",
        bench.id("root3")
    ));
    let lost = task.poll(now());
    assert_eq!(found(&lost), [(Unexpected, "unexpected-revocation")]);
    let mut again = watch(&bench, "policy.toml", "");
    let seen = poll(&mut again[0]);
    assert_eq!(seen.findings, lost.findings);
    assert_eq!(seen.findings[0].id(), lost.findings[0].id());
    assert!(found(&poll(&mut watch(&bench, "policy.toml", "")[0])).is_empty());
}

#[test]
fn what_was_announced_is_only_recorded() {
    let bench = bench();
    fs::create_dir(bench.path("announced")).unwrap();
    let announce = "expected = { bundles = \"announced\", grace = 100 }\n";
    let mut all = watch(&bench, "policy.toml", announce);
    let task = &mut all[0];
    assert_eq!(recorded(&poll(task)), ["project", "operation"]);

    // Before it is logged, as a prepared statement or a bundle; or after, within the grace.
    bench.published("1.0", "release1");
    fs::copy(
        bench.path("tool-1.0.bundle"),
        bench.path("announced/1.0.bundle"),
    )
    .unwrap();
    let seen = poll(task);
    assert_eq!(recorded(&seen), ["release"]);
    assert!(found(&seen).is_empty());
    bench.published("1.1", "release1");
    bench.published("1.2", "release1");
    // However slowly the rest goes, they are held back from here on at the earliest.
    let then = now();
    let held = poll(task);
    assert!(found(&held).is_empty() && recorded(&held).is_empty());
    // A restart forgets none of it.
    let mut all = watch(&bench, "policy.toml", announce);
    let task = &mut all[0];
    fs::copy(
        bench.path("tool-1.1.bundle"),
        bench.path("announced/x.json"),
    )
    .unwrap();
    fs::write(bench.path("announced/broken.json"), "{").unwrap();
    let seen = poll_at(task, then + 99);
    assert_eq!(recorded(&seen), ["release"]);
    assert_eq!(found(&seen), [(Operational, "announcement-broken")]);
    fs::remove_file(bench.path("announced/broken.json")).unwrap();
    let late = poll_at(task, now() + 101);
    assert_eq!(found(&late), [(Unexpected, "unexpected-release")]);
    assert!(found(&poll(task)).is_empty());

    // Nothing on the watched storage announces.
    let inside = format!("{announce}[[watch]]\ndirectory = \".\"\n");
    let refused = tasks(&config(&bench, "policy.toml", &inside))
        .err()
        .unwrap();
    assert_eq!(
        (refused.code, refused.kind.as_str()),
        (2, "announced-where-watched")
    );
}

#[test]
fn a_configuration_that_cannot_be_followed_is_refused_before_anything_runs() {
    let bench = bench();
    policy(&bench, "again.toml", &bench.url);
    let text = fs::read_to_string(bench.path("policy.toml")).unwrap();
    let without: Vec<&str> = text.lines().filter(|l| !l.starts_with("url")).collect();
    fs::write(bench.path("nowhere.toml"), without.join("\n")).unwrap();
    for (file, more, kind) in [
        ("missing.toml", "", "no-policy"),
        ("nowhere.toml", "", "no-log-url"),
        (
            "policy.toml",
            "follow = \"leaves\"\nkeys = [\"ab\"]\n",
            "bad-key-id",
        ),
        (
            "policy.toml",
            "[[log]]\npolicy = \"again.toml\"\n",
            "log-followed-twice",
        ),
    ] {
        let refused = tasks(&config(&bench, file, more)).err().unwrap();
        assert_eq!((refused.code, refused.kind.as_str()), (2, kind));
        assert!(refused.hint.is_some(), "{kind}");
    }
}

#[test]
fn what_a_command_does_not_decide_is_asked_again_and_told_after_an_hour() {
    let bench = bench();
    // It answers what the file says.
    let answer = bench.path("answer");
    fs::write(&answer, "3").unwrap();
    let script = format!("exit $(cat {})", answer.display());
    let ask = format!("expected = {{ command = [\"sh\", \"-c\", \"{script}\"] }}\n");
    bench.published("1.0", "release1");
    bench.published("1.1", "release1");
    let mut task = watch(&bench, "policy.toml", &ask).remove(0);
    let begun = now();
    let first = poll_at(&mut task, begun);
    assert_eq!(found(&first), [(Operational, "approval-command")]);
    assert_eq!(recorded(&first), ["project", "operation"]);
    let mut task = watch(&bench, "policy.toml", &ask).remove(0);
    let later = poll_at(&mut task, begun + 3599);
    assert_eq!(found(&later), [(Operational, "approval-command")]);
    let late = poll_at(&mut task, begun + 3600);
    let release = (Unexpected, "unexpected-release");
    assert_eq!(
        found(&late),
        [(Operational, "approval-command"), release, release]
    );
    let said = (
        "announced".to_owned(),
        "no source could decide within an hour".to_owned(),
    );
    assert!(late.findings[1].details.contains(&said));
    // It decides again.
    fs::write(&answer, "0").unwrap();
    bench.published("1.2", "release1");
    assert_eq!(recorded(&poll(&mut task)), ["release"]);
    fs::write(&answer, "1").unwrap();
    bench.published("1.3", "release1");
    assert_eq!(found(&poll(&mut task)), [release]);
}

#[test]
fn an_outage_is_degraded_and_a_week_later_it_goes_on() {
    let mut bench = bench();
    let mut all = watch(&bench, "policy.toml", "");
    let task = &mut all[0];
    assert!(poll(task).findings.is_empty());
    bench.stop();
    let down = poll(task);
    assert_eq!(found(&down), [(Degraded, "unreachable")]);
    assert!(!down.whole);
    let later = now() + 7 * 86_400;
    assert_eq!(found(&poll_at(task, later)), [(Degraded, "unreachable")]);
    bench.serve();
    bench.published("1.0", "release1");
    let back = poll_at(task, later + 60);
    assert_eq!(found(&back), [(Unexpected, "unexpected-release")]);
    assert!(back.whole);
}

#[test]
fn a_log_without_the_project_is_no_error_and_one_that_loses_it_is() {
    let bench = bench();
    let gone = Arc::new(AtomicBool::new(true));
    let hidden = gone.clone();
    let proxy = Proxy::start(&bench.url, move |path, body| {
        // `Proxy` keeps the status where the body is as it was.
        if hidden.load(Relaxed) && path.contains("/head") {
            b"{}".to_vec()
        } else {
            body
        }
    });
    let empty = countersign_tests::hostile::Hostile::new(|_, out| {
        out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    });
    policy(&bench, "empty.toml", &empty.url);
    let mut task = watch(&bench, "empty.toml", "").remove(0);
    let poll_of_nothing = poll(&mut task);
    // Without a checkpoint it is no log.
    assert_eq!(found(&poll_of_nothing), [(Degraded, "log-absent")]);
    policy(&bench, "other.toml", &bench.url);
    let text = std::fs::read_to_string(bench.path("other.toml")).unwrap();
    let at = text.find("\nid = \"").unwrap() + 7;
    let other = format!("{}{}{}", &text[..at], "7".repeat(64), &text[at + 64..]);
    std::fs::write(bench.path("other.toml"), other).unwrap();
    let mut task = watch(&bench, "other.toml", "").remove(0);
    let poll_of_nothing = poll(&mut task);
    assert!(found(&poll_of_nothing).is_empty() && poll_of_nothing.whole);

    // Of nonsense nothing follows but that it is of no use.
    policy(&bench, "proxy.toml", &proxy.url);
    let mut task = watch(&bench, "proxy.toml", "").remove(0);
    assert_eq!(found(&poll(&mut task)), [(Degraded, "bad-answer")]);
    gone.store(false, Relaxed);
    assert!(found(&poll(&mut task)).is_empty());
    let mut task = watch(&bench, "empty.toml", "").remove(0);
    assert_eq!(found(&poll(&mut task)), [(Degraded, "project-absent")]);
}

#[test]
fn a_log_that_goes_on_and_shows_no_head_becomes_suspicious() {
    let bench = bench();
    let hides = Arc::new(AtomicBool::new(false));
    let hiding = hides.clone();
    let proxy = Proxy::start(&bench.url, move |path, body| {
        if hiding.load(Relaxed) && path.ends_with("/head") {
            return b"{}".to_vec();
        }
        body
    });
    policy(&bench, "proxy.toml", &proxy.url);
    let mut task = watch(&bench, "proxy.toml", "").remove(0);
    let begun = now();
    assert!(found(&poll_at(&mut task, begun)).is_empty());
    hides.store(true, Relaxed);
    // As long as it has signed nothing more there is nothing that it could hide.
    for hour in 1..=3 {
        let seen = poll_at(&mut task, begun + hour * 3600);
        assert_eq!(found(&seen), [(Degraded, "bad-answer")]);
    }
    bench.published("1.0", "release1");
    let mut last = Vec::new();
    for minute in 0..=60 {
        last = poll_at(&mut task, begun + 20_000 + minute * 60).findings;
        let want = if minute < 60 { Degraded } else { Tampering };
        assert_eq!(last[0].class, want, "{minute}");
    }
    assert_eq!(last[0].kind, "head-withheld");
    hides.store(false, Relaxed);
    let seen = poll_at(&mut task, begun + 30_000);
    assert_eq!(found(&seen), [(Unexpected, "unexpected-release")]);
}

#[test]
fn an_old_answer_hides_no_revocation() {
    let bench = bench();
    bench.published("1.0", "release1");
    // A server that goes on giving the head of today.
    let frozen: Arc<std::sync::Mutex<Option<Vec<u8>>>> = Arc::default();
    let kept = frozen.clone();
    let proxy = Proxy::start(&bench.url, move |path, body| {
        if !path.contains("/head") {
            return body;
        }
        let mut kept = kept.lock().unwrap();
        kept.get_or_insert(body).clone()
    });
    policy(&bench, "proxy.toml", &proxy.url);
    let mut all = watch(&bench, "policy.toml", "");
    let task = &mut all[0];
    assert_eq!(
        found(&poll(&mut watch(&bench, "proxy.toml", "")[0])).len(),
        1
    );
    bench.ok(&format!(
        "keys revoke {} --reason lost {ROOTS}",
        bench.id("release1")
    ));
    assert_eq!(found(&poll(task)), [(Unexpected, "unexpected-revocation")]);
    let mut old = watch(&bench, "proxy.toml", "").remove(0);
    assert_eq!(found(&poll(&mut old)), [(Degraded, "stale-head")]);
}

#[test]
fn a_poll_without_news_moves_little() {
    let mut bench = bench();
    bench.stop();
    let fill = |leaves: u64| {
        let mut command =
            std::process::Command::new(countersign_tests::binary("countersign-fill").unwrap());
        command.arg("--data").arg(bench.path("log"));
        command.args(["--leaves", &leaves.to_string()]);
        let said = countersign_tests::run(command).unwrap();
        assert_eq!(said.code, 0, "{}", said.err);
    };
    fill(12_000);
    let mut bench = bench;
    bench.serve();
    let mut task = watch(&bench, "policy.toml", "").remove(0);
    poll(&mut task);
    // Nothing new at all.
    let idle = gauge(&poll(&mut task), "poll_received_bytes");
    assert!(idle < 20_000.0, "{idle}");
    // The log grows, the project does not.
    bench.stop();
    let mut command =
        std::process::Command::new(countersign_tests::binary("countersign-fill").unwrap());
    command.arg("--data").arg(bench.path("log"));
    command.args(["--leaves", "14000"]);
    assert_eq!(countersign_tests::run(command).unwrap().code, 0);
    bench.serve();
    let busy = poll(&mut task);
    assert!(gauge(&busy, "log_size_leaves") >= 14_000.0);
    let busy = gauge(&busy, "poll_received_bytes");
    assert!(busy < 20_000.0, "{busy}");
    // One new entry.
    bench.published("1.0", "release1");
    let one = poll(&mut task);
    assert_eq!(found(&one), [(Unexpected, "unexpected-release")]);
    let one = gauge(&one, "poll_received_bytes");
    assert!(one < 20_000.0, "{one}");
    eprintln!("bytes: {idle} {busy} {one}");
}

#[test]
fn two_trees_of_one_log_are_tampering_with_evidence() {
    let mut bench = bench();
    bench.published("1.0", "release1");
    bench.stop();
    copy_directory(&bench.path("log"), &bench.path("fork"));
    bench.serve();
    let mut task = watch(&bench, "policy.toml", "").remove(0);
    poll(&mut task);
    bench.published("1.1", "release1");
    assert_eq!(
        found(&poll(&mut task)),
        [(Unexpected, "unexpected-release")]
    );
    bench.stop();
    // Its keys sign another history now: shorter at first, then of the same size, then longer.
    fs::rename(bench.path("log"), bench.path("honest")).unwrap();
    fs::rename(bench.path("fork"), bench.path("log")).unwrap();
    bench.serve();
    let shrunk = poll(&mut task);
    assert_eq!(found(&shrunk), [(Degraded, "stale-head")]);
    bench.state = "other/state.json";
    bench.published("2.0", "release1");
    let same = poll(&mut task);
    assert_eq!(found(&same), [(Tampering, "fork")]);
    bench.published("2.1", "release1");
    let longer = poll(&mut task);
    assert_eq!(found(&longer), [(Tampering, "not-consistent")]);
    for poll in [same, longer] {
        let of = &poll.findings[0].details;
        let file = &of.iter().find(|(name, _)| name == "evidence").unwrap().1;
        assert!(file.starts_with(&bench.path("monitor/evidence").display().to_string()));
        bench.ok(&format!("evidence verify {file} --policy policy.toml"));
    }
}
