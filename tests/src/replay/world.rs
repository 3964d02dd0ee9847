//! A log, its witnesses, a project with its owner and a storage, all real processes and sockets.

use super::jobs::uploader;
use super::store::{StorageKey, Store};
use crate::{Process, Said, binary, copy_directory, run};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

pub const PROJECT: &str = "acme/uploader";
pub const CONTACT: &str = "security@acme.example";
/// The owner's roots, two of which it takes.
pub const ROOTS: &str = "--project acme/uploader --key root1 --key root2 --yes";

pub struct World {
    dir: tempfile::TempDir,
    pub log: Option<Process>,
    witnesses: Vec<Process>,
    pub store: Store,
    pub storage_key: StorageKey,
    /// The release key's id.
    pub release: String,
}

impl World {
    /// With the uploader 1.0 released and uploaded. `policy` is added to what jobs trust.
    pub fn new(policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage_key = StorageKey::generate();
        let store = Store::serve(&dir.path().join("storage"), &storage_key);
        let mut world = Self {
            dir,
            log: None,
            witnesses: Vec::new(),
            store,
            storage_key,
            release: String::new(),
        };
        let init = "init --origin log.example --data log";
        let said = world.run("countersign-server", init);
        assert_eq!(said.code, 0, "{}", said.err);
        let vkeys = String::from_utf8(said.out).unwrap();
        world.witness_all(&vkeys);
        world.serve_log();
        for key in ["root1", "root2", "root3", "release"] {
            world.ok(&format!("keys generate --unencrypted --out {key}"));
        }
        let url = world.log.as_ref().unwrap().url.clone();
        let mut found = format!(
            "project init {PROJECT} --root-key root1 --root-key root2 --root-key root3 --root-threshold 2 \
             --release-key release --purl-prefix pkg:generic/acme/uploader --contact mailto:{CONTACT} \
             --log {url} --policy-out policy.toml --witnesses witnesses"
        );
        for vkey in vkeys.lines() {
            found.push_str(&format!(" --vkey {vkey}"));
        }
        world.ok(&found);
        let shown = world.json("keys show release --json");
        world.release = shown["id"].as_str().unwrap().to_owned();
        let text = fs::read_to_string(world.path("policy.toml")).unwrap();
        let handed = "[run]\nenvironment = [\"CI\", \"CI_JOB\", \"PATH\"]\n\n[log]";
        let jobs = text.replacen("[log]", handed, 1);
        fs::write(world.path("hasty.toml"), &jobs).unwrap();
        let at = jobs.find("[run]").unwrap();
        let (head, tail) = jobs.split_at(at);
        fs::write(world.path("jobs.toml"), format!("{head}{policy}\n{tail}")).unwrap();
        world.publish("1.0", &uploader("1.0"), "release");
        world.upload("1.0");
        world
    }

    fn witness_all(&mut self, vkeys: &str) {
        let mut policy = String::new();
        let names = ["w1", "w2", "w3"];
        for name in names {
            let init = format!("init --data {name} --name {name}.example");
            let said = self.run("countersign-witness", &init);
            assert_eq!(said.code, 0, "{}", said.err);
            let vkey = String::from_utf8(said.out).unwrap();
            let vkeys: Vec<&str> = vkeys.lines().collect();
            let add = format!("add-log --data {name} {}", vkeys.join(" "));
            assert_eq!(self.run("countersign-witness", &add).code, 0);
            let serve = format!("serve --data {name} --listen 127.0.0.1:0");
            let witness = Process::start(self.command("countersign-witness", &serve)).unwrap();
            policy += &format!("witness {name} {} {}\n", vkey.trim(), witness.url);
            self.witnesses.push(witness);
        }
        policy += &format!("group two 2 {}\nquorum two\n", names.join(" "));
        fs::write(self.path("witnesses"), policy).unwrap();
    }

    /// A witness's address.
    pub fn witness(&self, n: usize) -> &str {
        &self.witnesses[n].url
    }

    fn serve_log(&mut self) {
        let serve =
            "serve --data log --listen 127.0.0.1:0 --admit open --witnesses witnesses --recosign 1";
        let log = Process::start(self.command("countersign-server", serve)).unwrap();
        until("the log is ready", || {
            let answer = super::jobs::agent()
                .get(format!("{}/readyz", log.url))
                .call();
            answer.is_ok_and(|a| a.status() == 200)
        });
        self.log = Some(log);
    }

    /// Another server on a copy of the log's data, as whoever has its disk can start it.
    pub fn serve_copy(&self, data: &str, more: &str) -> Process {
        let serve = format!("serve --data {data} --listen 127.0.0.1:0 --admit open {more}");
        Process::start(self.command("countersign-server", &serve)).unwrap()
    }

    /// Copies the log's data while its server is stopped; the server then is at another address, and
    /// the policies name it.
    pub fn copy_log(&mut self, to: &str) {
        let before = self.log.take().unwrap();
        let old = before.url.clone();
        before.stop().unwrap();
        copy_directory(&self.path("log"), &self.path(to));
        self.serve_log();
        let new = self.log.as_ref().unwrap().url.clone();
        for policy in ["policy.toml", "jobs.toml", "hasty.toml"] {
            self.point(policy, policy, &old, &new);
        }
    }

    /// Writes the policy `from` as `to`, with another address in it.
    pub fn point(&self, from: &str, to: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path(from)).unwrap();
        let pointed = replaced(&text, old, new);
        assert!(pointed != text, "{from} names {old}");
        fs::write(self.path(to), pointed).unwrap();
    }

    pub fn url(&self) -> &str {
        &self.log.as_ref().unwrap().url
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program with the owner's policy and memory. Arguments stand between blanks; `~` stands for a
    /// blank within one.
    pub fn command(&self, program: &str, args: &str) -> Command {
        let mut command = Command::new(binary(program).unwrap());
        command
            .args(args.split_whitespace().map(|a| a.replace('~', " ")))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .current_dir(self.dir.path());
        command
    }

    pub fn run(&self, program: &str, args: &str) -> Said {
        let mut command = self.command(program, args);
        command.env("COUNTERSIGN_POLICY", self.path("policy.toml"));
        command.env("COUNTERSIGN_STATE", self.path("state.json"));
        run(command).unwrap()
    }

    pub fn client(&self, args: &str) -> Said {
        self.run("countersign", args)
    }

    pub fn ok(&self, args: &str) -> String {
        let said = self.client(args);
        assert_eq!(said.code, 0, "{args}\n{}", said.err);
        String::from_utf8(said.out).unwrap()
    }

    pub fn json(&self, args: &str) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Publishes a version of the uploader, which will be at the storage.
    pub fn publish(&self, version: &str, script: &str, key: &str) {
        let name = file(version);
        fs::write(self.path(&name), script).unwrap();
        let url = &self.store.url;
        self.ok(&format!(
            "publish {name} --project {PROJECT} --version {version} --key {key} --download-base {url}"
        ));
    }

    /// Puts it there, with its bundle.
    pub fn upload(&self, version: &str) {
        let name = file(version);
        for name in [name.clone(), format!("{name}.bundle")] {
            let bytes = fs::read(self.path(&name)).unwrap();
            assert_eq!(self.store.put(&self.storage_key, &name, &bytes), 200);
        }
    }

    /// The address of a version at the storage.
    pub fn at(&self, version: &str) -> String {
        format!("{}/{}", self.store.url, file(version))
    }

    /// The log index of a version's release.
    pub fn index(&self, version: &str) -> u64 {
        let releases = self.json(&format!("releases {PROJECT} --json"));
        let ends = format!("@{version}");
        let all = releases["releases"].as_array().unwrap();
        let of = |r: &&Value| r["purl"].as_str().unwrap().ends_with(&ends);
        all.iter().find(of).unwrap()["index"].as_u64().unwrap()
    }

    /// Runs the owner's monitor once; its exit code.
    pub fn watch(&self) -> i32 {
        self.client("monitor --config monitor.toml --once").code
    }

    /// The owner acknowledges what the monitor told so far.
    pub fn heard(&self) {
        let alerts = self.alerts();
        let told = alerts.lines().map(|l| serde_json::from_str(l).unwrap());
        let mut ids: Vec<String> = told
            .filter_map(|m: Value| Some(m["alert"].as_str()?.to_owned()))
            .collect();
        ids.sort();
        ids.dedup();
        self.ok(&format!(
            "monitor ack --config monitor.toml {}",
            ids.join(" ")
        ));
    }

    /// Sets it up: what is in `announced` is expected, and the storage is watched.
    pub fn monitor(&self, version: &str) {
        fs::create_dir_all(self.path("announced")).unwrap();
        let bundle = format!("{}.bundle", file(version));
        fs::copy(self.path(&bundle), self.path("announced").join(&bundle)).unwrap();
        let config = format!(
            "api-version = \"countersign/v1\"\nstate = \"monitor\"\n\
             [[log]]\npolicy = \"policy.toml\"\nexpected = {{ bundles = \"announced\" }}\n\
             [[watch]]\nurl = \"{}\"\n[[sink]]\nname = \"owner\"\nfile = \"alerts.jsonl\"\n",
            self.at(version)
        );
        fs::write(self.path("monitor.toml"), config).unwrap();
    }

    /// What the monitor told.
    pub fn alerts(&self) -> String {
        fs::read_to_string(self.path("alerts.jsonl")).unwrap_or_default()
    }
}

/// `text` with `new` for `old`, but where a digit goes on: one port begins as another does.
fn replaced(text: &str, old: &str, new: &str) -> String {
    let mut parts = text.split(old);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let longer = part.starts_with(|c: char| c.is_ascii_digit());
        out.push_str(if longer { old } else { new });
        out.push_str(part);
    }
    out
}

/// The uploader's file name; versions lie beside each other.
pub fn file(version: &str) -> String {
    format!("uploader-{version}.sh")
}

/// Waits until it is so.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "in a minute not: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn a_port_that_begins_another_is_not_taken_for_it() {
        let text = "url = \"http://127.0.0.1:4000\"\nwitness w http://127.0.0.1:40001/\nhttp://127.0.0.1:4000/x\n";
        assert_eq!(
            replaced(text, "http://127.0.0.1:4000", "http://127.0.0.1:5"),
            "url = \"http://127.0.0.1:5\"\nwitness w http://127.0.0.1:40001/\nhttp://127.0.0.1:5/x\n"
        );
    }
}
