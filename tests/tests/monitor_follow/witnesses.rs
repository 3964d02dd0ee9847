//! What witnesses have cosigned, beside what the log shows.

use super::desk::{found, gauge, now, poll_at, watch};
use countersign::monitor::alert::Class::{Degraded, Tampering};
use countersign::monitor::task::Task;
use countersign_tests::bench::{Bench, Proxy, bench};
use countersign_tests::{Process, binary, copy_directory, run};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A log with one witness, of whose cosignatures the log waits for none.
struct Watched {
    bench: Bench,
    witness: Option<Process>,
    line: String,
}

fn witnessed() -> Watched {
    let mut bench = bench();
    let program = |args: &[&str]| {
        let mut command = Command::new(binary("countersign-witness").unwrap());
        command.args(args).current_dir(bench.dir.path());
        let said = run(command).unwrap();
        assert_eq!(said.code, 0, "{}", said.err);
        String::from_utf8(said.out).unwrap()
    };
    let vkey = program(&["init", "--data", "w", "--name", "w.example"]);
    let policy: toml::Value =
        toml::from_str(&fs::read_to_string(bench.path("policy.toml")).unwrap()).unwrap();
    let vkeys = policy["log"]["vkeys"].as_array().unwrap();
    let mut add = vec!["add-log", "--data", "w"];
    add.extend(vkeys.iter().map(|v| v.as_str().unwrap()));
    program(&add);
    let mut serve = Command::new(binary("countersign-witness").unwrap());
    serve.args(["serve", "--data", "w", "--listen", "127.0.0.1:0"]);
    serve.current_dir(bench.dir.path());
    let witness = Process::start(serve).unwrap();
    let line = format!("witness W {} {}\n", vkey.trim(), witness.url);
    fs::write(bench.path("witnesses"), format!("{line}quorum W\n")).unwrap();
    bench.stop();
    let mut watched = Watched {
        bench,
        witness: Some(witness),
        line,
    };
    watched.serve(true);
    watched
}

impl Watched {
    /// Serves the log, with its witness or without.
    fn serve(&mut self, witnesses: bool) {
        let mut command = Command::new(binary("countersign-server").unwrap());
        command
            .arg("serve")
            .arg("--data")
            .arg(self.bench.path("log"));
        command.args(["--admit", "open", "--listen"]);
        command.arg(self.bench.url.strip_prefix("http://").unwrap());
        if witnesses {
            command.arg("--witnesses").arg(self.bench.path("witnesses"));
        }
        self.bench.server = Some(Process::start(command).unwrap());
        // It signs nothing before it has asked its witness.
        let end = Instant::now() + Duration::from_secs(60);
        while self.bench.client("releases acme/tool").code != 0 {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The witness's task, of a log at `url`; the policy's quorum is none, so that a log may show
    /// what nobody cosigned.
    fn task(&self, url: &str, more: &str) -> Box<dyn Task> {
        let text = fs::read_to_string(self.bench.path("policy.toml")).unwrap();
        let mut policy = countersign::policy::Policy::parse_toml(&text).unwrap();
        policy.log.url = Some(url.to_owned());
        policy.witnesses_text = format!("{}quorum none\n", self.line);
        fs::write(self.bench.path("watched.toml"), policy.to_toml().unwrap()).unwrap();
        watch(&self.bench, "watched.toml", more).remove(1)
    }

    /// Publishes, and waits until the witness has cosigned it.
    fn published(&self, version: &str) {
        let published = |end: Instant| loop {
            let said = self.bench.publish(version, "release1", "");
            if said.code == 0 {
                return;
            }
            assert!(Instant::now() < end, "{}", said.err);
            std::thread::sleep(Duration::from_millis(100));
        };
        published(Instant::now() + Duration::from_secs(60));
    }
}

#[test]
fn a_witness_that_agrees_is_a_number_and_one_that_is_gone_an_outage() {
    let mut watched = witnessed();
    watched.published("1.0");
    let mut task = watched.task(&watched.bench.url, "");
    assert_eq!(task.name(), "witness W of log.example");
    let seen = poll_at(&mut task, now());
    assert!(seen.findings.is_empty() && seen.whole, "{seen:?}");
    assert!(gauge(&seen, "witness_size_leaves") >= 5.0);
    assert_eq!(gauge(&seen, "log_lag_leaves"), 0.0);
    assert!(gauge(&seen, "poll_received_bytes") < 20_000.0);
    watched.witness = None;
    assert_eq!(
        found(&poll_at(&mut task, now())),
        [(Degraded, "unreachable")]
    );
    // The log stands without it, and shows what nobody cosigned: that is the policy's matter.
    watched.bench.stop();
    assert_eq!(
        found(&poll_at(&mut task, now())),
        [(Degraded, "unreachable")]
    );
}

#[test]
fn what_was_cosigned_and_is_not_shown_becomes_suspicious() {
    let watched = witnessed();
    let hides = Arc::new(AtomicBool::new(false));
    let (hiding, kept) = (hides.clone(), std::sync::Mutex::new(Vec::new()));
    let proxy = Proxy::start(&watched.bench.url, move |path, body| {
        let mut kept = kept.lock().unwrap();
        match path {
            "/checkpoint" if !hiding.load(Relaxed) => {
                kept.clone_from(&body);
                body
            }
            "/checkpoint" => kept.clone(),
            _ if hiding.load(Relaxed) => b"not here".to_vec(),
            _ => body,
        }
    });
    let mut task = watched.task(&proxy.url, "");
    let begun = now();
    assert!(found(&poll_at(&mut task, begun)).is_empty());
    hides.store(true, Relaxed);
    watched.published("1.0");
    // At first it is a log on its way.
    let first = poll_at(&mut task, begun + 60);
    assert!(found(&first).is_empty());
    assert!(gauge(&first, "log_lag_leaves") > 0.0);
    let next = poll_at(&mut task, begun + 120);
    assert_eq!(found(&next), [(Degraded, "cosigned-not-served")]);
    let mut last = Vec::new();
    for minute in 3..=61 {
        last = poll_at(&mut task, begun + minute * 60).findings;
    }
    let said: Vec<_> = last.iter().map(|f| (f.class, f.kind.as_str())).collect();
    assert_eq!(said, [(Tampering, "cosigned-not-served")]);
    hides.store(false, Relaxed);
    assert!(found(&poll_at(&mut task, begun + 7200)).is_empty());
}

#[test]
fn another_tree_than_the_witness_cosigned_is_tampering() {
    let mut watched = witnessed();
    watched.published("1.0");
    watched.bench.stop();
    let bench = &watched.bench;
    copy_directory(&bench.path("log"), &bench.path("fork"));
    watched.serve(true);
    watched.published("1.1");
    watched.bench.stop();
    let bench = &watched.bench;
    fs::rename(bench.path("log"), bench.path("cosigned")).unwrap();
    fs::rename(bench.path("fork"), bench.path("log")).unwrap();
    // The same keys, and no witness: of one size, then of a larger one.
    watched.bench.state = "other/state.json";
    watched.serve(false);
    watched.published("2.0");
    let mut task = watched.task(&watched.bench.url, "");
    let same = poll_at(&mut task, now());
    assert_eq!(found(&same), [(Tampering, "fork")]);
    watched.published("2.1");
    let longer = poll_at(&mut task, now());
    assert_eq!(found(&longer), [(Tampering, "not-consistent")]);
    for poll in [same, longer] {
        let of = &poll.findings[0].details;
        let file = &of.iter().find(|(name, _)| name == "evidence").unwrap().1;
        watched
            .bench
            .ok(&format!("evidence verify {file} --policy policy.toml"));
    }
}
