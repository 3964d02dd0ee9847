//! Roots that no file holds: a real ssh-agent, and a real PKCS#11 module (SoftHSM), found, change
//! and keep a project in a real log, and its releases verify offline.
//!
//! Where the programs are not installed these tests say that they were skipped; with
//! `COUNTERSIGN_CI=1` that is a failure. For PKCS#11 a client is looked for beside the others, as
//! `countersign-pkcs11`, which `.ci/run` builds with the feature.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use countersign_tests::bench::{Bench, bench};
use countersign_tests::{Said, binary, run};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Says that something is missing, which is allowed on a developer's machine only.
fn skipped(what: &str) {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|v| v == value);
    let hopeless = what.contains("SoftHSM") && is("COUNTERSIGN_WITHOUT", "softhsm2");
    let strict = is("COUNTERSIGN_CI", "1") && !hopeless;
    assert!(!strict, "{what}, and COUNTERSIGN_CI=1 is set");
    eprintln!("skipped: {what}");
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|d| d.join(program).is_file())
}

/// Runs a program of the system's; gives what it printed.
fn system(program: &str, args: &[&str], env: &[(&str, PathBuf)]) -> String {
    let mut command = Command::new(program);
    command.args(args).envs(env.iter().cloned());
    let said = run(command).unwrap();
    assert_eq!(said.code, 0, "{program} {args:?}: {}", said.err);
    String::from_utf8(said.out).unwrap()
}

/// Whoever holds the roots: the client that reaches them, and with what environment.
struct Holder<'a> {
    bench: &'a Bench,
    program: PathBuf,
    env: Vec<(&'static str, PathBuf)>,
}

impl Holder<'_> {
    fn said(&self, args: &str) -> Said {
        let plain = self.bench.command(args);
        let mut command = Command::new(&self.program);
        command
            .args(plain.get_args())
            .current_dir(self.bench.dir.path());
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        // Nothing of the developer's own.
        for name in [
            "SSH_AUTH_SOCK",
            "COUNTERSIGN_PIN",
            "COUNTERSIGN_PASSPHRASE",
            "COUNTERSIGN_PKCS11_MODULE",
        ] {
            command.env_remove(name);
        }
        command.envs(self.env.iter().cloned());
        command.env("COUNTERSIGN_POLICY", self.bench.path("hard.toml"));
        run(command).unwrap()
    }

    fn ok(&self, args: &str) -> String {
        let said = self.said(args);
        assert_eq!(said.code, 0, "{args}\n{}", said.err);
        String::from_utf8(said.out).unwrap()
    }

    fn refused(&self, kind: &str, args: &str) -> String {
        let said = self.said(args);
        assert!(
            said.err.contains(&format!("[{kind}]")),
            "{args}: want {kind}\n{}",
            said.err
        );
        assert_eq!(said.code, 2, "{args}\n{}", said.err);
        said.err
    }

    /// The id of a key, wherever it is.
    fn id(&self, key: &str) -> String {
        let shown = self.ok(&format!("keys show {key} --json"));
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["id"].as_str().unwrap().to_owned()
    }

    fn publish(&self, version: &str, key: &str) {
        let name = format!("hard-{version}");
        std::fs::write(self.bench.path(&name), format!("{name}\n")).unwrap();
        self.ok(&format!(
            "publish {name} --project acme/hard --version {version} --key {key}"
        ));
    }
}

/// Founds a project with `roots` (all of them are needed), changes it, and revokes a key. Then a
/// second version of its owner's, signed on another machine.
fn founded_changed_and_revoked(holder: &Holder<'_>, roots: &[&str]) {
    let bench = holder.bench;
    let vkeys = String::from_utf8(bench.server(&["vkeys"]).out).unwrap();
    let mut init = format!(
        "project init acme/hard --root-threshold {} --release-key release1 --purl-prefix pkg:generic/acme/hard \
         --log {} --policy-out hard.toml",
        roots.len(),
        bench.url
    );
    init.extend(roots.iter().map(|r| format!(" --root-key {r}")));
    init.extend(vkeys.lines().map(|v| format!(" --vkey {v}")));
    holder.ok(&init);
    let keys: String = roots.iter().map(|r| format!(" --key {r}")).collect();
    let by_roots = format!("--project acme/hard{keys} --yes");
    holder.publish("1.0", "release1");

    let old = bench.id("release1");
    bench.key("hard2");
    holder.ok(&format!("keys rotate --old {old} --new hard2 {by_roots}"));
    holder.ok(&format!("keys revoke {old} --reason tried {by_roots}"));
    // A root of a file is added; then it has its say, beside those that are kept elsewhere.
    bench.key("paper");
    holder.ok(&format!(
        "project update acme/hard --add-root paper{keys} --yes"
    ));
    let list = holder.ok("keys list --project acme/hard");
    for root in roots {
        let id = holder.id(root);
        assert!(list.contains(&id[..16]), "{list}");
        // A key that is held is shown by its name here too.
        assert!(
            holder
                .ok(&format!("keys show {root} --project acme/hard"))
                .contains(&id)
        );
    }

    // Prepared on one machine, signed where the roots are, submitted by anybody.
    holder.publish("1.1", "hard2");
    holder.publish("1.2", "hard2");
    holder
        .ok("withdraw --project acme/hard --version 1.1 --reason tried --prepare withdrawal --yes");
    let signed = holder.said(&format!("sign withdrawal{keys}"));
    assert_eq!(signed.code, 0, "{}", signed.err);
    assert!(
        signed.err.contains(&format!("{} signatures", roots.len())),
        "{}",
        signed.err
    );
    holder.ok("submit withdrawal --out withdrawal.bundle");
    // The very same key signs once.
    holder.refused(
        "repeated-signature",
        &format!("sign withdrawal --key {}", roots[0]),
    );
}

/// Without the log, the roots and anything that was remembered.
fn verifies_offline(bench: &mut Bench) {
    bench.stop();
    bench.state = "elsewhere.json";
    let plain = Holder {
        bench,
        program: binary("countersign").unwrap(),
        env: Vec::new(),
    };
    plain.ok("verify hard-1.2");
    plain.ok("verify hard-1.0");
    std::fs::write(plain.bench.path("hard-1.2"), "other bytes").unwrap();
    assert_eq!(plain.said("verify hard-1.2").code, 1);
}

/// A real ssh-agent; it ends with this.
struct SshAgent {
    child: Child,
    socket: PathBuf,
}

impl SshAgent {
    fn start(dir: &Path) -> Self {
        let socket = dir.join("agent.sock");
        let child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !socket.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, socket }
    }

    fn env(&self) -> Vec<(&'static str, PathBuf)> {
        vec![("SSH_AUTH_SOCK", self.socket.clone())]
    }

    /// Makes a key, of which the agent alone is left with the private half; gives its name.
    fn key(&self, dir: &Path, name: &str, kind: &[&str]) -> String {
        let file = dir.join(name);
        let path = file.to_str().unwrap();
        let args = [&["-q", "-N", "", "-C", name, "-f", path, "-t"], kind].concat();
        system("ssh-keygen", &args, &[]);
        system("ssh-add", &["-q", path], &self.env());
        std::fs::remove_file(&file).unwrap();
        let list = system("ssh-add", &["-l"], &self.env());
        let line = list
            .lines()
            .find(|l| l.contains(&format!(" {name} ")))
            .unwrap();
        format!("ssh-agent:{}", line.split(' ').nth(1).unwrap())
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_ssh_agents_key_is_a_projects_root() {
    if !["ssh-agent", "ssh-add", "ssh-keygen"]
        .into_iter()
        .all(installed)
    {
        return skipped("ssh-agent, ssh-add or ssh-keygen is not installed");
    }
    let mut bench = bench();
    let agent = SshAgent::start(bench.dir.path());
    let root = agent.key(bench.dir.path(), "hardroot", &["ecdsa", "-b", "256"]);
    let holder = Holder {
        bench: &bench,
        program: binary("countersign").unwrap(),
        env: agent.env(),
    };
    founded_changed_and_revoked(&holder, &[&root]);

    // What is there and cannot sign statements, and what is not there.
    let ed25519 = agent.key(bench.dir.path(), "other", &["ed25519"]);
    holder.refused("wrong-key-type", &format!("keys show {ed25519}"));
    let p384 = agent.key(bench.dir.path(), "larger", &["ecdsa", "-b", "384"]);
    holder.refused("wrong-key-type", &format!("keys show {p384}"));
    let none = "ssh-agent:SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
    let said = holder.refused("key-not-found", &format!("keys show {none}"));
    assert!(said.contains(&root["ssh-agent:".len()..]), "{said}");
    system("ssh-add", &["-q", "-D"], &agent.env());
    let said = holder.refused("key-not-found", &format!("keys show {root}"));
    assert!(said.contains("none at all"), "{said}");
    drop(agent);
    holder.refused("no-agent", &format!("keys show {root}"));
    verifies_offline(&mut bench);
}

#[test]
fn an_agent_that_answers_garbage_signs_nothing() {
    let bench = bench();
    let socket = bench.path("garbage");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n");
        }
    });
    let holder = Holder {
        bench: &bench,
        program: binary("countersign").unwrap(),
        env: vec![("SSH_AUTH_SOCK", socket)],
    };
    let key = "ssh-agent:SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
    holder.refused("agent-bad-answer", &format!("keys show {key}"));
    holder.refused("bad-fingerprint", "keys show ssh-agent:SHA256:x");
    // A file may be called so, where it is given as one.
    bench.key("./ssh-agent:x");
    holder.ok("keys show ./ssh-agent:x");
}

#[test]
fn without_pkcs11_the_client_says_how_to_build_it_and_never_repeats_a_pin() {
    let bench = bench();
    let holder = Holder {
        bench: &bench,
        program: binary("countersign").unwrap(),
        env: Vec::new(),
    };
    let said = holder.said("keys show pkcs11:token=acme");
    assert_eq!(said.code, 2, "{}", said.err);
    // The client beside this test may have been built with it.
    let built = said.err.contains("[no-pkcs11-module]");
    assert!(
        built || said.err.contains("--features pkcs11"),
        "{}",
        said.err
    );
    for args in [
        "keys show pkcs11:token=acme?pin-value=135792",
        "keys show pkcs11:token=acme;pin-value=135792",
        "sign x --key pkcs11:pin-valu=135792",
    ] {
        let said = holder.said(args);
        assert_eq!(said.code, 2, "{args}");
        assert!(!said.err.contains("135792"), "{}", said.err);
    }
}

/// A SoftHSM with tokens of its own.
struct SoftHsm {
    module: PathBuf,
    env: Vec<(&'static str, PathBuf)>,
}

impl SoftHsm {
    fn module() -> Option<PathBuf> {
        let places = [
            "/usr/lib/softhsm",
            "/usr/lib/x86_64-linux-gnu/softhsm",
            "/usr/lib/aarch64-linux-gnu/softhsm",
            "/usr/lib64/softhsm",
            "/usr/local/lib/softhsm",
            "/opt/homebrew/lib/softhsm",
        ];
        let mut all = places.iter().map(|d| Path::new(d).join("libsofthsm2.so"));
        all.find(|p| p.is_file())
    }

    fn start(dir: &Path, module: PathBuf) -> Self {
        let (tokens, config) = (dir.join("tokens"), dir.join("softhsm2.conf"));
        std::fs::create_dir(&tokens).unwrap();
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        std::fs::write(&config, text).unwrap();
        let env = vec![("SOFTHSM2_CONF", config)];
        Self { module, env }
    }

    fn util(&self, args: &[&str]) {
        system("softhsm2-util", args, &self.env);
    }

    fn token(&self, label: &str, pin: &str) {
        self.util(&[
            "--init-token",
            "--free",
            "--label",
            label,
            "--so-pin",
            "97531",
            "--pin",
            pin,
        ]);
    }

    /// Moves a key file into the token.
    fn import(&self, bench: &Bench, name: &str, (label, id): (&str, &str)) {
        let file = bench.path(name);
        let path = file.to_str().unwrap();
        self.util(&[
            "--import", path, "--token", "acme", "--label", label, "--id", id, "--pin", "135792",
        ]);
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn keys_of_a_token_are_a_projects_roots() {
    let Ok(program) = binary("countersign-pkcs11") else {
        return skipped(
            "no client with PKCS#11: `cargo build -p countersign --features pkcs11 && cp target/debug/countersign target/debug/countersign-pkcs11`",
        );
    };
    let (true, Some(module)) = (installed("softhsm2-util"), SoftHsm::module()) else {
        return skipped("SoftHSM is not installed (Debian: softhsm2)");
    };
    let mut bench = bench();
    let hsm = SoftHsm::start(bench.dir.path(), module);
    hsm.token("acme", "135792");
    let ids = ["hsm1", "hsm2", "twin"].map(|name| bench.key(name));
    hsm.import(&bench, "hsm1", ("root one", "A1"));
    hsm.import(&bench, "hsm2", ("root two", "A2"));
    std::fs::write(bench.path("pin"), "135792\n").unwrap();
    std::fs::write(bench.path("wrong"), "246801\n").unwrap();
    let by_uri = format!(
        "pkcs11:token=acme;object=root%20one?module-path={}&pin-source=file:{}",
        hsm.module.display(),
        bench.path("pin").display()
    );
    let module = |env: Vec<(&'static str, PathBuf)>| {
        let own = [("COUNTERSIGN_PKCS11_MODULE", hsm.module.clone())];
        [own.to_vec(), hsm.env.clone(), env].concat()
    };
    let holder = Holder {
        bench: &bench,
        program: program.clone(),
        env: module(vec![("COUNTERSIGN_PIN", "135792".into())]),
    };
    let by_id = "pkcs11:token=acme;id=%A2;type=private";
    assert_eq!(holder.id(&by_uri), ids[0]);
    assert_eq!(holder.id(by_id), ids[1]);
    // Both of one token, in one command.
    founded_changed_and_revoked(&holder, &[&by_uri, by_id]);

    let refused = |kind: &str, uri: &str| holder.refused(kind, &format!("keys show {uri}"));
    let said = refused("key-not-found", "pkcs11:token=acme");
    assert!(
        said.contains("2 private keys") && said.contains("object=root%20two;id=%A2"),
        "{said}"
    );
    let said = refused("key-not-found", "pkcs11:token=acme;id=%A3");
    assert!(said.contains("0 private keys"), "{said}");
    let said = refused("token-not-found", "pkcs11:token=other;id=%A1");
    assert!(said.contains("pkcs11:token=acme;serial="), "{said}");
    refused(
        "wrong-pin",
        &format!("{by_id}?pin-source=file:{}", bench.path("wrong").display()),
    );
    refused(
        "no-pin",
        &format!("{by_id}?pin-source=file:{}", bench.path("none").display()),
    );
    refused(
        "pkcs11-module",
        &format!("{by_id}?module-path={}", bench.path("pin").display()),
    );
    // A second token with what the URI wants leaves it open which is meant: none is tried.
    hsm.token("acme2", "135792");
    let said = refused("token-not-found", "pkcs11:id=%A2");
    assert!(said.contains("2 tokens"), "{said}");
    // Two keys with one id, then: not even the label tells the public halves apart.
    hsm.util(&[
        "--import",
        bench.path("twin").to_str().unwrap(),
        "--token",
        "acme",
        "--label",
        "twin",
        "--id",
        "A1",
        "--pin",
        "135792",
        "--force",
    ]);
    refused("token-public-key", "pkcs11:token=acme;object=twin");

    let from = |env| Holder {
        bench: &bench,
        program: program.clone(),
        env,
    };
    let file = from(module(Vec::new()));
    assert_eq!(file.id(&format!("{by_id} --passphrase-file pin")), ids[1]);
    let elsewhere = from(hsm.env.clone());
    elsewhere.refused("no-pkcs11-module", &format!("keys show {by_id}"));
    let mut relative = hsm.env.clone();
    relative.push(("COUNTERSIGN_PKCS11_MODULE", "libsofthsm2.so".into()));
    from(relative).refused("no-pkcs11-module", &format!("keys show {by_id}"));
    verifies_offline(&mut bench);
}
