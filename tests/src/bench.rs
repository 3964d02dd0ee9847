//! A log, a project with two of three roots, and its keys, for the end-to-end tests on keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

use crate::{Process, Said, binary, run};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

/// A log that is served, and one project's owner and downloaders in a directory.
pub struct Bench {
    /// Where all of it is.
    pub dir: tempfile::TempDir,
    /// The log's server, while it runs.
    pub server: Option<Process>,
    /// Its address.
    pub url: String,
    /// Whose memory the client uses.
    pub state: &'static str,
}

impl Bench {
    /// A file there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The client. Arguments stand between blanks; `~` stands for a blank within one.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(binary("countersign").unwrap());
        command
            .args(args.split_whitespace().map(|a| a.replace('~', " ")))
            .env("COUNTERSIGN_STATE", self.path(self.state))
            .env("COUNTERSIGN_POLICY", self.path("policy.toml"))
            .current_dir(self.dir.path());
        command
    }

    /// Runs the client.
    pub fn client(&self, args: &str) -> Said {
        run(self.command(args)).unwrap()
    }

    /// It succeeds; gives standard output.
    pub fn ok(&self, args: &str) -> String {
        let said = self.client(args);
        assert_eq!(said.code, 0, "{args}\n{}", said.err);
        String::from_utf8(said.out).unwrap()
    }

    /// It fails so, and says what to do; gives what it said.
    pub fn refused(&self, code: i32, kind: &str, args: &str) -> String {
        let said = self.client(args);
        assert!(
            said.err.contains(&format!("[{kind}]")),
            "{args}: want {kind}\n{}",
            said.err
        );
        assert_eq!(said.code, code, "{args}\n{}", said.err);
        assert!(said.err.contains("hint:"), "{args}\n{}", said.err);
        said.err
    }

    /// What it prints, as JSON.
    pub fn json(&self, args: &str) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Runs the server on the log.
    pub fn server(&self, args: &[&str]) -> Said {
        let mut command = Command::new(binary("countersign-server").unwrap());
        command.args(args).arg("--data").arg(self.path("log"));
        run(command).unwrap()
    }

    /// Serves the log.
    pub fn serve(&mut self) {
        let mut command = Command::new(binary("countersign-server").unwrap());
        command.arg("serve").arg("--data").arg(self.path("log"));
        command.args(["--admit", "open", "--listen"]);
        // The second time at the same address, which the policy has.
        command.arg(self.url.strip_prefix("http://").unwrap_or("127.0.0.1:0"));
        let server = Process::start(command).unwrap();
        self.url = server.url.clone();
        self.server = Some(server);
    }

    /// Stops it.
    pub fn stop(&mut self) {
        self.server.take().unwrap().stop().unwrap();
    }

    /// A key file's id.
    pub fn id(&self, key: &str) -> String {
        let shown = self.json(&format!("keys show {key} --json"));
        shown["id"].as_str().unwrap().to_owned()
    }

    /// Makes a key; gives its id.
    pub fn key(&self, name: &str) -> String {
        self.ok(&format!("keys generate --unencrypted --out {name}"));
        self.id(name)
    }

    /// Publishes a version of the tool.
    pub fn publish(&self, version: &str, key: &str, more: &str) -> Said {
        let name = format!("tool-{version}");
        std::fs::write(self.path(&name), format!("the tool, {version}\n")).unwrap();
        self.client(&format!(
            "publish {name} --project acme/tool --version {version} --key {key} {more}"
        ))
    }

    /// The same, and it must succeed.
    pub fn published(&self, version: &str, key: &str) {
        let said = self.publish(version, key, "");
        assert_eq!(said.code, 0, "{}", said.err);
    }
}

/// A served log and a project with two roots (threshold 2 of 3) and one release key.
#[must_use]
pub fn bench() -> Bench {
    let mut bench = Bench {
        dir: tempfile::tempdir().unwrap(),
        server: None,
        url: String::new(),
        state: "state.json",
    };
    let said = bench.server(&["init", "--origin", "log.example"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let vkeys = String::from_utf8(said.out).unwrap();
    bench.serve();
    for name in ["root1", "root2", "root3", "release1"] {
        bench.key(name);
    }
    let mut init = format!(
        "project init acme/tool --root-key root1 --root-key root2 --root-key root3 --root-threshold 2 \
         --release-key release1 --purl-prefix pkg:generic/acme/tool --contact mailto:security@acme.example \
         --log {} --policy-out policy.toml",
        bench.url
    );
    for vkey in vkeys.lines() {
        init.push_str(&format!(" --vkey {vkey}"));
    }
    bench.ok(&init);
    bench
}

/// Two of the roots, which is enough.
pub const ROOTS: &str = "--project acme/tool --key root1 --key root2 --yes";

/// A server between client and log that puts other answers in the place of some.
pub struct Proxy {
    /// `http://ADDR`.
    pub url: String,
}

impl Proxy {
    /// Passes each request on to `log`; `change` has its path and the answer's body.
    pub fn start(
        log: &str,
        change: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let host = log.strip_prefix("http://").unwrap().to_owned();
        let change = std::sync::Arc::new(change);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (host, change) = (host.clone(), change.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(&stream);
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
                    while line.len() > 2 {
                        line.clear();
                        reader.read_line(&mut line).unwrap();
                    }
                    let (mut status, got) = get(&host, &path);
                    let body = change(&path, got.clone());
                    // What is put in the place of an error is an answer.
                    if body != got {
                        status = "200 OK".to_owned();
                    }
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let mut out = &stream;
                    let _ = out
                        .write_all(head.as_bytes())
                        .and_then(|()| out.write_all(&body));
                });
            }
        });
        Self { url }
    }
}

/// A GET by hand: status and body.
#[must_use]
pub fn get(host: &str, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.lines().next().unwrap().split_once(' ').unwrap().1;
    (status.to_owned(), answer[end + 4..].to_vec())
}
