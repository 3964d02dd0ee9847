//! A log and its witnesses, all real processes: what they do for a publisher and a client, and
//! what a log is told that is not what was signed before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use countersign_tests::{Process, Said, binary, copy_directory, run};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(60);

struct Bench {
    dir: tempfile::TempDir,
    vkeys: Vec<String>,
}

/// A log, not served yet, and a publisher's keys.
fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench {
        dir,
        vkeys: Vec::new(),
    };
    let said = bench.run("countersign-server", "init --origin log.example --data log");
    assert_eq!(said.code, 0, "{}", said.err);
    let vkeys = String::from_utf8(said.out).unwrap();
    bench.vkeys = vkeys.lines().map(str::to_owned).collect();
    for key in ["root", "release"] {
        bench.ok(&format!("keys generate --unencrypted --out {key}"));
    }
    bench
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: &str, args: &str) -> Command {
        let mut command = Command::new(binary(program).unwrap());
        command
            .args(args.split_whitespace())
            .env("COUNTERSIGN_STATE", self.path("state.json"))
            .current_dir(self.dir.path());
        for proxy in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
            command.env_remove(proxy.to_ascii_lowercase());
        }
        command
    }

    fn run(&self, program: &str, args: &str) -> Said {
        run(self.command(program, args)).unwrap()
    }

    fn ok(&self, args: &str) -> String {
        let said = self.run("countersign", args);
        assert_eq!(said.code, 0, "{args}\n{}", said.err);
        String::from_utf8(said.out).unwrap()
    }

    fn refused(&self, code: i32, kind: &str, args: &str) -> String {
        let said = self.run("countersign", args);
        assert!(
            said.err.contains(&format!("[{kind}]")),
            "{args}\n{}",
            said.err
        );
        assert_eq!(said.code, code, "{args}\n{}", said.err);
        said.err
    }

    /// Makes a witness of this name that knows the log; gives its vkey.
    fn witness(&self, name: &str) -> String {
        let program = "countersign-witness";
        let init = format!("init --data {name} --name {name}.example");
        let said = self.run(program, &init);
        assert_eq!(said.code, 0, "{}", said.err);
        let add = format!("add-log --data {name} {}", self.vkeys.join(" "));
        let added = self.run(program, &add);
        assert_eq!(added.code, 0, "{}", added.err);
        String::from_utf8(said.out).unwrap().trim().to_owned()
    }

    fn serve_witness(&self, name: &str, listen: &str) -> Process {
        let args = format!("serve --data {name} --listen {listen}");
        Process::start(self.command("countersign-witness", &args)).unwrap()
    }

    /// Serves the log in `data`; `more` says how.
    fn serve(&self, data: &str, more: &str) -> Process {
        let args = format!("serve --data {data} --listen 127.0.0.1:0 --admit open {more}");
        Process::start(self.command("countersign-server", &args)).unwrap()
    }

    /// Writes a policy of witnesses.
    fn policy(&self, name: &str, witnesses: &[(&str, &str, &str)], quorum: &str) {
        let mut text = String::new();
        for (name, vkey, url) in witnesses {
            text.push_str(&format!("witness {name} {vkey} {url}\n"));
        }
        let names: Vec<&str> = witnesses.iter().map(|(name, ..)| *name).collect();
        text.push_str(&format!("group all-of-them {quorum} {}\n", names.join(" ")));
        text.push_str("quorum all-of-them\n");
        fs::write(self.path(name), text).unwrap();
    }

    /// Founds the project at a served log; the client's quorum is that of `witnesses`.
    fn found(&self, log: &Process, witnesses: &str) {
        let mut init = format!(
            "project init acme/tool --root-key root --release-key release --purl-prefix pkg:generic/acme/tool \
             --contact mailto:security@acme.example --log {} --policy-out policy.toml --witnesses {witnesses}",
            log.url
        );
        for vkey in &self.vkeys {
            init.push_str(&format!(" --vkey {vkey}"));
        }
        self.ok(&init);
    }

    fn publish(&self, version: &str) -> Said {
        fs::write(self.path("tool"), format!("tool {version}\n")).unwrap();
        let args = format!(
            "publish tool --project acme/tool --version {version} --key release --policy policy.toml"
        );
        self.run("countersign", &args)
    }

    fn published(&self, version: &str) {
        let said = self.publish(version);
        assert_eq!(said.code, 0, "{}", said.err);
    }
}

/// A request by hand: the whole answer as text.
fn ask(url: &str, method: &str, path: &str, body: &[u8]) -> String {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(url: &str, path: &str) -> String {
    ask(url, "GET", path, b"")
}

/// Asks until the answer will do.
fn until(url: &str, path: &str, will_do: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + WAIT;
    loop {
        let answer = get(url, path);
        if will_do(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "{path} still says {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ready(log: &Process) {
    until(&log.url, "/readyz", |answer| answer.contains("ready"));
}

/// A thing at a witness's address that answers each request so; `None` never answers.
fn answers(answer: Option<&'static str>) -> String {
    scripted(move |_| answer.map(str::to_owned))
}

/// The same, by the body of the request.
fn scripted(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            let (mut line, mut length) = (String::new(), 0usize);
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = n.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            match answer(&String::from_utf8_lossy(&body)) {
                Some(answer) => drop((&stream).write_all(answer.as_bytes())),
                None => held.push(stream),
            }
        }
    });
    url
}

#[test]
fn a_stopped_witness_and_one_that_answers_garbage_stop_no_publisher() {
    let bench = bench();
    let keys = ["a", "b", "c"].map(|name| bench.witness(name));
    let good = bench.serve_witness("a", "127.0.0.1:0");
    let garbage = answers(Some("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"));
    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let witnesses = [
        ("A", keys[0].as_str(), good.url.as_str()),
        ("B", keys[1].as_str(), garbage.as_str()),
        ("C", keys[2].as_str(), &format!("http://{gone}")),
    ];
    bench.policy("any", &witnesses, "any");
    bench.policy("all", &witnesses, "all");
    let log = bench.serve("log", "--witnesses any");
    ready(&log);
    bench.found(&log, "any");
    bench.published("1.0");
    bench.ok("verify tool --policy policy.toml");
    // The state of each is the operator's to see.
    let ready = until(&log.url, "/readyz", |a| a.contains("witness C: unreached"));
    assert!(ready.contains("witness A: cosigned"), "{ready}");
    assert!(ready.contains("witness B: garbage"), "{ready}");
    let metrics = get(&log.url, "/metrics");
    for row in [
        "countersign_witness_up{witness=\"A\"} 1",
        "countersign_witness_up{witness=\"B\"} 0",
        "countersign_witness_up{witness=\"C\"} 0",
        "\ncountersign_witnessed 1\n",
    ] {
        assert!(metrics.contains(row), "{row}\n{metrics}");
    }
    // Who demands all three refuses the same bundle, and is told who is missing.
    let policy = fs::read_to_string(bench.path("policy.toml")).unwrap();
    let strict = policy.replace("group all-of-them any", "group all-of-them all");
    assert_ne!(policy, strict);
    fs::write(bench.path("strict.toml"), strict).unwrap();
    let why = bench.refused(1, "quorum-not-met", "verify tool --policy strict.toml");
    assert!(why.contains("cosigned by A, not by B, C"), "{why}");
}

#[test]
fn nothing_is_signed_before_a_quorum_has_said_what_it_saw() {
    let bench = bench();
    let key = bench.witness("a");
    // A port that is free again, for later.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    bench.policy("all", &[("A", &key, &format!("http://{port}"))], "all");
    let log = bench.serve("log", "--witnesses all");
    let answer = until(&log.url, "/readyz", |a| {
        a.contains("unreached") || a.contains("refused")
    });
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("witnesses-asked"), "{answer}");
    let said = {
        let mut init = format!(
            "project init acme/tool --root-key root --release-key release --purl-prefix pkg:generic/acme/tool \
             --log {} --policy-out early.toml --witnesses all",
            log.url
        );
        for vkey in &bench.vkeys {
            init.push_str(&format!(" --vkey {vkey}"));
        }
        bench.run("countersign", &init)
    };
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(
        get(&log.url, "/checkpoint").contains("\n0\n"),
        "nothing was logged"
    );
    // It comes; the log goes on by itself.
    let _witness = bench.serve_witness("a", &port.to_string());
    ready(&log);
    bench.found(&log, "all");
    bench.published("1.0");
    bench.ok("verify tool --policy policy.toml");
}

/// A log with a witness and one release, both running.
fn witnessed(bench: &Bench) -> (Process, Process) {
    let key = bench.witness("a");
    let witness = bench.serve_witness("a", "127.0.0.1:0");
    bench.policy("all", &[("A", &key, &witness.url)], "all");
    let log = bench.serve("log", "--witnesses all");
    ready(&log);
    bench.found(&log, "all");
    bench.published("1.0");
    (log, witness)
}

#[test]
fn a_log_that_went_back_is_told_so_by_its_witness_and_signs_nothing() {
    let bench = bench();
    let (log, _witness) = witnessed(&bench);
    log.stop().unwrap();
    copy_directory(&bench.path("log"), &bench.path("backup"));
    let log = bench.serve("log", "--witnesses all");
    ready(&log);
    let policy = fs::read_to_string(bench.path("policy.toml")).unwrap();
    let at = |url: &str| {
        let line = policy.lines().find(|l| l.starts_with("url = ")).unwrap();
        fs::write(
            bench.path("policy.toml"),
            policy.replace(line, &format!("url = \"{url}\"")),
        )
        .unwrap();
    };
    at(&log.url);
    bench.published("1.1");
    log.stop().unwrap();
    // Without its witnesses nothing keeps the backup from signing another history.
    copy_directory(&bench.path("backup"), &bench.path("fork"));
    let blind = bench.serve("fork", "");
    fs::write(bench.path("other"), "another tool\n").unwrap();
    let fork = "publish other --project acme/tool --version 6.6 --key release --policy policy.toml";
    at(&blind.url);
    // The log takes it; that no witness has cosigned it is for the publisher's own policy to refuse.
    bench.refused(1, "quorum-not-met", fork);
    let (size, forked) = (
        |answer: String| {
            answer
                .split("\r\n\r\n")
                .nth(1)
                .unwrap()
                .lines()
                .nth(1)
                .unwrap()
                .to_owned()
        },
        get(&blind.url, "/checkpoint"),
    );
    let forked = size(forked);
    blind.stop().unwrap();
    // With them it does not come so far: the witness has seen more.
    let back = bench.serve("backup", "--witnesses all");
    let why = until(&back.url, "/readyz", |a| a.contains("read-only"));
    assert!(
        why.contains("witness A") && why.contains("has cosigned"),
        "{why}"
    );
    assert!(size(get(&back.url, "/checkpoint")) < forked);
    at(&back.url);
    let said = bench.run("countersign", fork);
    assert_eq!(said.code, 3, "{}", said.err);
    back.stop().unwrap();
    // Nor does the fork, of the very size that the witness has cosigned, but another root.
    let fork = bench.serve("fork", "--witnesses all");
    let why = until(&fork.url, "/readyz", |a| a.contains("read-only"));
    assert!(why.contains("witness A"), "{why}");
}

/// tlog-witness 1.0.0 answers another root of the same size with a conflict that names no size.
#[test]
fn a_bare_conflict_at_the_size_that_a_witness_named_is_another_tree() {
    let bench = bench();
    let log = bench.serve("log", "");
    ready(&log);
    fs::write(bench.path("none"), "quorum none\n").unwrap();
    bench.found(&log, "none");
    bench.published("1.0");
    drop(log);
    let (a, b) = (bench.witness("a"), bench.witness("b"));
    let witness = bench.serve_witness("a", "127.0.0.1:0");
    let other = scripted(|body| {
        let size = body.split_once("\n\n").unwrap().1.lines().nth(1).unwrap();
        let plain = "HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: ";
        Some(match body.starts_with("old 0\n") {
            false => format!("{plain}0\r\n\r\n"),
            true => format!(
                "{plain}{}\r\nContent-Type: text/x.tlog.size\r\n\r\n{size}\n",
                size.len() + 1
            ),
        })
    });
    bench.policy("any", &[("A", &a, &witness.url), ("B", &b, &other)], "any");
    let log = bench.serve("log", "--witnesses any --cosign-wait 10");
    let said = until(&log.url, "/readyz", |answer| answer.contains("read-only"));
    assert!(said.contains("another tree"), "{said}");
    let said = bench.publish("1.1");
    assert_ne!(said.code, 0, "{}", said.err);
}

/// The witness that knows better is the last to be reached.
#[test]
fn a_contradiction_that_comes_after_others_have_answered_stops_the_log_too() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let bench = bench();
    let (a, b) = (bench.witness("a"), bench.witness("b"));
    let witness = bench.serve_witness("a", "127.0.0.1:0");
    let there = Arc::new(AtomicBool::new(false));
    let is_there = there.clone();
    let late = scripted(move |_| {
        let status = match is_there.load(Ordering::SeqCst) {
            false => "503 Busy\r\nRetry-After: 0",
            true => "422 Unprocessable Content",
        };
        Some(format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ))
    });
    bench.policy("any", &[("A", &a, &witness.url), ("B", &b, &late)], "any");
    let log = bench.serve("log", "--witnesses any --cosign-wait 10");
    ready(&log);
    bench.found(&log, "any");
    bench.published("1.0");
    there.store(true, Ordering::SeqCst);
    until(&log.url, "/readyz", |answer| answer.contains("read-only"));
    let said = bench.publish("1.1");
    assert_ne!(said.code, 0, "{}", said.err);
}

#[test]
fn an_idle_log_is_cosigned_again() {
    let bench = bench();
    let key = bench.witness("a");
    let witness = bench.serve_witness("a", "127.0.0.1:0");
    bench.policy("all", &[("A", &key, &witness.url)], "all");
    let log = bench.serve("log", "--witnesses all --recosign 1");
    ready(&log);
    bench.found(&log, "all");
    let cosigned = |answer: &str| answer.lines().last().unwrap_or_default().to_owned();
    let first = until(&log.url, "/checkpoint", |a| a.contains("a.example"));
    let again = until(&log.url, "/checkpoint", |a| cosigned(a) != cosigned(&first));
    assert!(cosigned(&again).contains("a.example"));
    let text = |answer: &str| {
        answer
            .split("\n\n")
            .next()
            .unwrap_or_default()
            .lines()
            .skip(1)
            .last()
            .map(str::to_owned)
    };
    assert_eq!(text(&again), text(&first), "the same checkpoint");
}

#[test]
fn a_witness_that_never_answers_delays_nobody_who_needs_it_not() {
    let bench = bench();
    let (a, b) = (bench.witness("a"), bench.witness("b"));
    let witness = bench.serve_witness("a", "127.0.0.1:0");
    let mute = answers(None);
    bench.policy("any", &[("A", &a, &witness.url), ("B", &b, &mute)], "any");
    let log = bench.serve("log", "--witnesses any --cosign-wait 10");
    ready(&log);
    let began = Instant::now();
    bench.found(&log, "any");
    bench.published("1.0");
    // Two batches, of which neither waited for the one that never answers.
    assert!(began.elapsed() < Duration::from_secs(10));
    bench.ok("verify tool --policy policy.toml");
    assert!(get(&log.url, "/metrics").contains("\ncountersign_witnessed 1\n"));
}

#[test]
fn whoever_publishes_says_how_long_they_wait_and_is_told_what_they_get() {
    let bench = bench();
    let (a, b) = (bench.witness("a"), bench.witness("b"));
    let first = bench.serve_witness("a", "127.0.0.1:0");
    let second = bench.serve_witness("b", "127.0.0.1:0");
    let listen = second.url.strip_prefix("http://").unwrap().to_owned();
    bench.policy(
        "all",
        &[("A", &a, &first.url), ("B", &b, &second.url)],
        "all",
    );
    let log = bench.serve("log", "--witnesses all --cosign-wait 2");
    ready(&log);
    bench.found(&log, "all");
    bench.published("1.0");
    second.stop().unwrap();
    fs::write(bench.path("late"), "late\n").unwrap();
    bench.ok(
        "publish late --project acme/tool --version 2.0 --policy policy.toml --prepare late.json",
    );
    bench.ok("sign late.json --key release");
    let body = fs::read(bench.path("late.json")).unwrap();
    // Who waits no longer hears of the checkpoint that the log has signed; it is not shown for that.
    let answer = ask(&log.url, "POST", "/api/v1/entries?wait=0", &body);
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.contains("\"status\":\"uncosigned\""), "{answer}");
    assert!(answer.contains("log.example\\n7\\n"), "{answer}");
    // Who waits gets it once the time for the quorum is over.
    let answer = ask(&log.url, "POST", "/api/v1/entries", &body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("countersign-witnessed: no-quorum"),
        "{answer}"
    );
    assert!(get(&log.url, "/metrics").contains("\ncountersign_witnessed 0\n"));
    for bad in ["wait=61", "wait=x", "wait=-1", "wait="] {
        let answer = ask(&log.url, "POST", &format!("/api/v1/entries?{bad}"), &body);
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad}: {answer}");
    }
    // Once it is back, what is shown is cosigned without anything new.
    let _second = bench.serve_witness("b", &listen);
    until(&log.url, "/metrics", |a| {
        a.contains("\ncountersign_witnessed 1\n")
    });
    let answer = ask(&log.url, "POST", "/api/v1/entries", &body);
    assert!(answer.contains("countersign-witnessed: quorum"), "{answer}");
    // Without witnesses nothing is said of them.
    let said = bench.run("countersign-server", "serve --data log --cosign-wait 3");
    assert_eq!(said.code, 2, "{}", said.err);
}

#[test]
fn a_policy_that_cannot_be_met_is_refused_at_the_start() {
    let bench = bench();
    let key = bench.witness("a");
    let serve = "serve --data log --listen 127.0.0.1:0 --witnesses policy";
    for (policy, why) in [
        (
            format!("witness A {key}\nquorum A\n"),
            "cannot meet the quorum",
        ),
        (
            format!("witness A {key} ftp://x\nquorum A\n"),
            "no http or https URL",
        ),
        ("quorum none\n".to_owned(), "nobody would be asked"),
        ("quorum A\n".to_owned(), "line 1"),
    ] {
        fs::write(bench.path("policy"), &policy).unwrap();
        let said = bench.run("countersign-server", serve);
        assert_eq!(said.code, 1, "{policy}\n{}", said.err);
        assert!(said.err.contains(why), "{policy}\n{}", said.err);
    }
    fs::remove_file(bench.path("policy")).unwrap();
    assert_eq!(bench.run("countersign-server", serve).code, 1);
}

#[test]
fn a_frozen_log_takes_nothing_and_is_read_and_cosigned_for_ever() {
    let bench = bench();
    let (log, _witness) = witnessed(&bench);
    let freeze = |reason: &str| {
        let mut command = bench.command("countersign-server", "freeze --data log");
        command.args(["--reason", reason]);
        run(command).unwrap()
    };
    let said = freeze("moved");
    assert_eq!(said.code, 1, "a server runs: {}", said.err);
    log.stop().unwrap();
    for bad in ["", "two\nlines"] {
        assert_eq!(freeze(bad).code, 1, "{bad:?}");
    }
    assert_eq!(freeze("moved to new.example").code, 0);
    let twice = freeze("again").err;
    assert!(twice.contains("moved to new.example"), "{twice}");
    let log = bench.serve("log", "--witnesses all --recosign 1");
    let policy = fs::read_to_string(bench.path("policy.toml")).unwrap();
    let line = policy.lines().find(|l| l.starts_with("url = ")).unwrap();
    let policy = policy.replace(line, &format!("url = \"{}\"", log.url));
    fs::write(bench.path("policy.toml"), policy).unwrap();
    let ready = get(&log.url, "/readyz");
    assert!(ready.contains("log-frozen"), "{ready}");
    fs::copy(bench.path("tool"), bench.path("kept")).unwrap();
    fs::copy(bench.path("tool.bundle"), bench.path("kept.bundle")).unwrap();
    let said = bench.publish("2.0");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("moved to new.example"), "{}", said.err);
    // What is in it is verified as before, and by a view that is new.
    let cosigned = |answer: &str| answer.lines().last().unwrap_or_default().to_owned();
    let first = until(&log.url, "/checkpoint", |a| a.contains("a.example"));
    until(&log.url, "/checkpoint", |a| cosigned(a) != cosigned(&first));
    bench.ok("verify kept --name tool --online --policy policy.toml");
    let check = bench.run("countersign-server", "check --data log");
    assert_eq!(check.code, 0, "{}", check.err);
    log.stop().unwrap();
    // A mark that cannot be read is no permission.
    fs::write(bench.path("log/private/frozen.json"), "{}").unwrap();
    let said = bench.run(
        "countersign-server",
        "serve --data log --listen 127.0.0.1:0",
    );
    assert_eq!(said.code, 1, "{}", said.err);
}
