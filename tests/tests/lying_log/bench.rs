//! A log, a project with three roots (threshold 2) and a release key, and what its people do.

use super::liar::ORIGIN;
use countersign::policy::Policy;
use countersign_tests::{Process, Said, binary, run};
use keys::file::{AnySecret, Passphrase, read_secret};
use keys::{SecretKey, Signer};
use ledger::Hash;
use ledger::envelope::Envelope;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub server: Option<Process>,
    pub url: String,
    /// Which machine it is: each has a memory and a policy of its own.
    pub state: &'static str,
    pub policy: &'static str,
}

pub const ROOTS: &str = "--project acme/tool --key root1 --key root2 --yes";

impl Bench {
    pub fn new() -> Self {
        let mut bench = Self {
            dir: tempfile::tempdir().unwrap(),
            server: None,
            url: String::new(),
            state: "state.json",
            policy: "policy.toml",
        };
        let said = bench.server(&["init", "--origin", ORIGIN]);
        assert_eq!(said.code, 0, "{}", said.err);
        let vkeys = String::from_utf8(said.out).unwrap();
        let server = bench.serve("log");
        bench.url = server.url.clone();
        bench.server = Some(server);
        for name in ["root1", "root2", "root3", "release1"] {
            bench.ok(&format!("keys generate --unencrypted --out {name}"));
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server(&self, args: &[&str]) -> Said {
        let mut command = Command::new(binary("countersign-server").unwrap());
        command.args(args).arg("--data").arg(self.path("log"));
        run(command).unwrap()
    }

    /// Serves the data directory of this name.
    pub fn serve(&self, data: &str) -> Process {
        let mut command = Command::new(binary("countersign-server").unwrap());
        command.arg("serve").arg("--data").arg(self.path(data));
        command.args(["--admit", "open", "--listen", "127.0.0.1:0"]);
        Process::start(command).unwrap()
    }

    /// Arguments between blanks; `~` stands for a blank within one.
    pub fn client(&self, args: &str) -> Said {
        let mut command = Command::new(binary("countersign").unwrap());
        command
            .args(args.split_whitespace().map(|a| a.replace('~', " ")))
            .env("COUNTERSIGN_STATE", self.path(self.state))
            .env("COUNTERSIGN_POLICY", self.path(self.policy))
            .current_dir(self.dir.path());
        for proxy in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy);
            command.env_remove(proxy.to_ascii_lowercase());
        }
        run(command).unwrap()
    }

    pub fn ok(&self, args: &str) -> String {
        let said = self.client(args);
        assert_eq!(said.code, 0, "{args}\n{}", said.err);
        String::from_utf8(said.out).unwrap()
    }

    pub fn refused(&self, code: i32, kind: &str, args: &str) -> String {
        let said = self.client(args);
        let kind = format!("[{kind}]");
        assert!(
            said.err.contains(&kind),
            "{args}: want {kind}\n{}",
            said.err
        );
        assert_eq!(said.code, code, "{args}\n{}", said.err);
        assert!(said.err.contains("hint:"), "{args}\n{}", said.err);
        said.err
    }

    pub fn json(&self, args: &str) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    pub fn published(&self, version: &str, key: &str) {
        let name = format!("tool-{version}");
        std::fs::write(self.path(&name), format!("the tool, {version}\n")).unwrap();
        self.ok(&format!(
            "publish {name} --project acme/tool --version {version} --key {key}"
        ));
    }

    pub fn id(&self, key: &str) -> String {
        let shown = self.json(&format!("keys show {key} --json"));
        shown["id"].as_str().unwrap().to_owned()
    }

    pub fn project_id(&self) -> Hash {
        let text = std::fs::read_to_string(self.path("policy.toml")).unwrap();
        Policy::parse_toml(&text).unwrap().projects[0].id
    }

    /// What is remembered of the log: the newest tree size.
    pub fn remembered(&self) -> u64 {
        let bytes = std::fs::read(self.path(self.state)).unwrap();
        let state: Value = serde_json::from_slice(&bytes).unwrap();
        state["logs"][ORIGIN]["size"].as_u64().unwrap()
    }

    /// Another machine: nothing is remembered there, and its policy is another. It asks `urls`, the first of them as the log and the rest as mirrors.
    pub fn machine(
        &mut self,
        (state, policy): (&'static str, &'static str),
        urls: &[&str],
        edit: impl FnOnce(&mut Policy),
    ) {
        let text = std::fs::read_to_string(self.path("policy.toml")).unwrap();
        let mut own = Policy::parse_toml(&text).unwrap();
        let mut urls = urls.iter().map(|url| (*url).to_owned());
        own.log.url = urls.next();
        own.log.mirrors = urls.collect();
        edit(&mut own);
        std::fs::write(self.path(policy), own.to_toml().unwrap()).unwrap();
        (self.state, self.policy) = (state, policy);
    }

    /// Back to the owner's machine.
    pub fn home(&mut self) {
        (self.state, self.policy) = ("state.json", "policy.toml");
    }

    /// Writes a signed statement for `submit`.
    pub fn signed(&self, file: &str, payload: Vec<u8>, keys: &[&str]) {
        let read = |name: &&str| -> SecretKey {
            match read_secret(&self.path(name), &Passphrase::None).unwrap() {
                AnySecret::P256(key) => key,
                AnySecret::Ed25519(_) => panic!("{name}"),
            }
        };
        let secrets: Vec<SecretKey> = keys.iter().map(read).collect();
        let signers: Vec<&dyn Signer> = secrets.iter().map(|k| k as &dyn Signer).collect();
        let envelope = Envelope::sign(payload, &signers).unwrap();
        let bytes = ledger::json::to_canonical(&envelope.to_json()).unwrap();
        std::fs::write(self.path(file), bytes).unwrap();
    }
}
