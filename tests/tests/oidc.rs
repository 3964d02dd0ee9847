//! The OIDC issuer of a real log server, with a real provider on loopback: who gets a
//! certificate, and everything that does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use countersign_tests::oidc::{
    AUDIENCE, DISCOVERY, KEYS, Provider, TestAuthority, TokenKey, authority, body, config, github,
    gitlab, issuer, now,
};
use countersign_tests::serving::answer;
use countersign_tests::wire::{Answer, Connection, Place, get, post};
use countersign_tests::{Process, Said, binary, run};
use keys::certificate::CertificateChain;
use keys::{SecretKey, Signer as _};
use ledger::leaf::Leaf;
use ledger::{b64, from_b64};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

struct Bench {
    dir: tempfile::TempDir,
    vkeys: Vec<String>,
    provider: Provider,
    authority: TestAuthority,
}

/// A log, not served yet, its authority, and a provider that it takes GitHub-shaped tokens of.
fn bench(more: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let provider = Provider::start();
    let authority = authority(dir.path());
    let _ = config(dir.path(), &issuer(provider.url(), "github-actions", more));
    let mut bench = Bench {
        dir,
        vkeys: Vec::new(),
        provider,
        authority,
    };
    let init = format!("init --origin {AUDIENCE} --data log");
    let said = bench.run("countersign-server", &init);
    assert_eq!(said.code, 0, "{}", said.err);
    let vkeys = String::from_utf8(said.out).unwrap();
    bench.vkeys = vkeys.lines().map(str::to_owned).collect();
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
        for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(name);
            command.env_remove(name.to_ascii_lowercase());
        }
        for name in [
            "COUNTERSIGN_ID_TOKEN",
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        ] {
            command.env_remove(name);
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

    fn serve(&self, more: &str) -> Log {
        let args = format!(
            "serve --data log --listen 127.0.0.1:0 --admit open --oidc-config oidc.toml {more}"
        );
        let log = Log(Process::start(self.command("countersign-server", &args)).unwrap());
        // Its witness is asked first.
        let end = Instant::now() + Duration::from_secs(60);
        while log.get("/readyz").status != 200 {
            assert!(Instant::now() < end, "it is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        log
    }

    fn claims(&self) -> Value {
        github(self.provider.url(), now())
    }
}

struct Log(Process);

impl Log {
    fn send(&self, bytes: impl Fn(&str) -> Vec<u8>) -> Answer {
        let place = Place::parse(&self.0.url).unwrap();
        let mut connection = Connection::new(&place, Duration::from_secs(60));
        connection.send(&bytes(&place.host)).unwrap()
    }

    fn get(&self, path: &str) -> Answer {
        self.send(|host| get(host, path))
    }

    fn post(&self, body: &str) -> Answer {
        let path = "/api/v1/certificates";
        self.send(|host| post(host, path, "application/json", body.as_bytes()))
    }

    fn ask(&self, token: &str) -> Answer {
        self.post(&body(token, &SecretKey::generate().unwrap()))
    }

    /// The kind of problem that a token gets, or `good`.
    fn word(&self, token: &str) -> String {
        let answer = self.ask(token);
        if answer.status == 200 {
            "good".to_owned()
        } else {
            answer.kind()
        }
    }
}

fn chain(answer: &Answer) -> CertificateChain {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{text}");
    let list = answer.json()["chain"].as_array().unwrap().clone();
    let ders: Vec<Vec<u8>> = list
        .iter()
        .map(|v| from_b64(v.as_str().unwrap()).unwrap())
        .collect();
    CertificateChain::parse(&ders).unwrap()
}

#[test]
fn a_certificate_is_in_the_log_before_it_is_handed_out() {
    let bench = bench("");
    let log = bench.serve("");
    for token_key in [&bench.provider.rsa, &bench.provider.ec] {
        let key = SecretKey::generate().unwrap();
        let sent = body(&token_key.token(&bench.claims()), &key);
        let answer = log.post(&sent);
        let chain = chain(&answer);
        assert_eq!(chain.end().key, *key.public_key());
        let time = now();
        chain
            .verify(&bench.authority.root, time - 1)
            .or_else(|_| chain.verify(&bench.authority.root, time))
            .unwrap();
        assert_eq!(chain.end().issuer(), Some(bench.provider.url()));
        // Under the checkpoint that everybody sees.
        let index = answer.json()["index"].as_u64().unwrap();
        let checkpoint = String::from_utf8(log.get("/checkpoint").body).unwrap();
        let size: u64 = checkpoint.lines().nth(1).unwrap().parse().unwrap();
        assert!(index < size);
        let leaf = log.get(&format!("/api/v1/entries/{index}")).json()["leaf"].clone();
        let leaf = Leaf::parse(&from_b64(leaf.as_str().unwrap()).unwrap()).unwrap();
        let Leaf::Certificate(leaf) = leaf else {
            panic!("{leaf:?}");
        };
        assert_eq!(leaf.chain, chain);
        chain.verify(&bench.authority.root, leaf.time).unwrap();
        // The answer was lost: the same again. With another key: no.
        let again = log.post(&sent);
        assert_eq!(again.json(), answer.json());
        let thief = token_key.token(&bench.claims());
        assert_eq!(log.word(&thief), "good");
        assert_eq!(log.word(&thief), "token-replayed");
    }
    let metrics = String::from_utf8(log.get("/metrics").body).unwrap();
    for row in [
        "countersign_certificates_total 4",
        "countersign_certificate_tokens 4",
        "countersign_refused_total{kind=\"token-replayed\"} 2",
    ] {
        assert!(metrics.contains(row), "{row}\n{metrics}");
    }
    let keys = format!(
        "countersign_issuer_keys{{issuer=\"{}\"}} 2",
        bench.provider.url()
    );
    assert!(metrics.contains(&keys), "{metrics}");
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let bench = bench("require = { repository = \"acme/tool\" }");
    let log = bench.serve("");
    let (rsa, url) = (&bench.provider.rsa, bench.provider.url());
    let with = |name: &str, value: Value| {
        let mut claims = bench.claims();
        claims[name] = value;
        rsa.token(&claims)
    };
    assert_eq!(log.word(&rsa.token(&bench.claims())), "good");
    let time = now();
    let header = |alg: &str| json!({ "alg": alg, "kid": "rsa-1" }).to_string();
    let claims = bench.claims().to_string();
    for (token, kind) in [
        (rsa.token_of(&header("none"), &claims), "token-algorithm"),
        (rsa.token_of(&header("HS256"), &claims), "token-algorithm"),
        (with("aud", "sigstore".into()), "wrong-audience"),
        (with("iss", "https://a.example".into()), "wrong-issuer"),
        (with("iss", format!("{url}/").into()), "wrong-issuer"),
        (with("exp", (time - 61).into()), "token-expired"),
        (with("nbf", (time + 120).into()), "token-not-yet-valid"),
        (with("exp", (time + 9000).into()), "token-life"),
        (
            TokenKey::ec("made-up").token(&bench.claims()),
            "unknown-key-id",
        ),
        (
            TokenKey::rsa("rsa-1").token(&bench.claims()),
            "bad-token-signature",
        ),
        (
            with("repository", "evil/tool".into()),
            "identity-not-allowed",
        ),
        (
            with("job_workflow_ref", "\u{430}cme/tool/x@y".into()),
            "bad-claim",
        ),
        (with("x", "x".repeat(12_500).into()), "bad-token"),
        ("a.b.c".into(), "bad-token"),
        (gitlab_token(rsa, url), "identity-not-allowed"),
    ] {
        let answer = log.ask(&token);
        assert_eq!(answer.kind(), kind);
        assert!(answer.status >= 400 && answer.json()["detail"].is_string());
    }
    let key = SecretKey::generate().unwrap();
    let request = keys::certificate::make_request(&key).unwrap();
    let mut foreign = request.clone();
    *foreign.last_mut().unwrap() ^= 1;
    let mut requests = vec![
        (foreign, "bad-request-signature"),
        (vec![1, 2, 3], "bad-certificate-request"),
    ];
    requests.extend(p384_request(&bench).map(|request| (request, "wrong-curve")));
    for (request, kind) in requests {
        let token = rsa.token(&bench.claims());
        let body = json!({ "request": b64(&request), "token": token }).to_string();
        assert_eq!(log.post(&body).kind(), kind);
    }
    for body in ["", "{}", "[1]", "{\"token\":\"a.b.c\"}"] {
        assert_eq!(log.post(body).kind(), "bad-certificate-body", "{body}");
    }
    let long = " ".repeat(25 * 1024);
    assert_eq!(log.post(&long).kind(), "body-too-large");
    let path = "/api/v1/certificates";
    let plain = log.send(|host| post(host, path, "text/plain", b"{}"));
    assert_eq!(plain.kind(), "unsupported-media-type");
    assert_eq!(log.get(path).kind(), "method-not-allowed");
    // It goes on as before.
    assert_eq!(log.word(&rsa.token(&bench.claims())), "good");
}

fn gitlab_token(key: &TokenKey, url: &str) -> String {
    key.token(&gitlab(url, "gitlab.com", now()))
}

/// A request for a P-384 key, signed by it, of the `openssl` command's making; `None` where there
/// is none.
fn p384_request(bench: &Bench) -> Option<Vec<u8>> {
    let line = "req -new -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes -keyout p384.key \
        -subj /CN=x -outform DER -out p384.req";
    let mut command = Command::new("openssl");
    command
        .args(line.split_whitespace())
        .current_dir(bench.dir.path());
    let Ok(said) = run(command) else {
        eprintln!("skipped: the openssl command is not installed");
        return None;
    };
    assert_eq!(said.code, 0, "{}", said.err);
    Some(fs::read(bench.path("p384.req")).unwrap())
}

#[test]
fn keys_that_change_are_followed_and_a_provider_that_is_gone_is_said() {
    let bench = bench("refresh = \"1s\"\nkeep = \"2s\"");
    let log = bench.serve("");
    let provider = &bench.provider;
    assert_eq!(log.word(&provider.rsa.token(&bench.claims())), "good");
    // Another key in the place of both, which the next fetch finds.
    let next = TokenKey::ec("ec-2");
    provider.publish(&[&next]);
    let until = |token: &dyn Fn() -> String, kind: &str| {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let found = log.word(&token());
            if found == kind {
                return;
            }
            assert!(Instant::now() < deadline, "{found}, want {kind}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until(&|| next.token(&bench.claims()), "good");
    until(&|| provider.rsa.token(&bench.claims()), "unknown-key-id");
    // Huge, of another shape, redirecting, gone: for a while as before, then nobody gets one.
    let huge = vec![b' '; 300 * 1024];
    for (path, document) in [
        (KEYS, huge),
        (KEYS, b"{\"keys\":[]}".to_vec()),
        (DISCOVERY, b"<html>".to_vec()),
    ] {
        let (before, good) = (
            json!({ "keys": [next.jwk()] }),
            json!({ "issuer": provider.url(), "jwks_uri": format!("{}{KEYS}", provider.url()) }),
        );
        provider.serving.put(path, document);
        until(&|| next.token(&bench.claims()), "issuer-unreachable");
        let refused = log.ask(&next.token(&bench.claims()));
        assert_eq!(refused.status, 503);
        provider.serving.put(KEYS, before.to_string());
        provider.serving.put(DISCOVERY, good.to_string());
        until(&|| next.token(&bench.claims()), "good");
    }
    let elsewhere = format!("{}/elsewhere", provider.url());
    provider
        .serving
        .put("/elsewhere", json!({ "keys": [next.jwk()] }).to_string());
    provider.serving.turn(move |request, out| {
        if request.path != KEYS {
            return Ok(false);
        }
        let location = format!("Location: {elsewhere}");
        answer(out, "302 Found", &[&location], b"")?;
        Ok(true)
    });
    until(&|| next.token(&bench.claims()), "issuer-unreachable");
}

#[test]
fn a_restart_does_not_forget_which_tokens_were_used() {
    let bench = bench("");
    let log = bench.serve("");
    let token = bench.provider.rsa.token(&bench.claims());
    assert_eq!(log.word(&token), "good");
    log.0.stop().unwrap();
    let log = bench.serve("");
    assert_eq!(log.word(&token), "token-replayed");
    assert_eq!(log.word(&bench.provider.rsa.token(&bench.claims())), "good");
}

#[test]
fn a_log_without_an_issuer_says_so_and_one_that_cannot_run_does_not_start() {
    let bench = bench("");
    let args = "serve --data log --listen 127.0.0.1:0 --admit open";
    let log = Log(Process::start(bench.command("countersign-server", args)).unwrap());
    let answer = log.ask(&bench.provider.rsa.token(&bench.claims()));
    assert_eq!((answer.status, answer.kind().as_str()), (404, "no-issuer"));
    log.0.stop().unwrap();
    fs::write(bench.path("oidc.toml"), "[ca]\nkey = \"ca.key\"\n").unwrap();
    let said = bench.run(
        "countersign-server",
        &format!("{args} --oidc-config oidc.toml"),
    );
    assert_eq!(said.code, 1);
    assert!(said.err.contains("OIDC: oidc.toml"), "{}", said.err);
}

#[test]
fn one_identity_has_so_many_and_another_its_own() {
    let bench = bench("");
    let log = bench.serve("--limit-loopback --project-rate 2/h");
    let (rsa, mut other) = (&bench.provider.rsa, bench.claims());
    for _ in 0..2 {
        assert_eq!(log.word(&rsa.token(&bench.claims())), "good");
    }
    let token = rsa.token(&bench.claims());
    let limited = log.ask(&token);
    assert_eq!(
        (limited.status, limited.kind().as_str()),
        (429, "identity-rate")
    );
    other["job_workflow_ref"] = "acme/other/.github/workflows/a.yml@refs/heads/main".into();
    assert_eq!(log.word(&rsa.token(&other)), "good");
}

/// A witness that knows the log; its policy for the log's operator and for clients is
/// `witnesses.txt`. By certificate nobody releases without one: it says when a release was public.
fn witness(bench: &Bench) -> Process {
    let init = "init --data witness --name witness.example";
    let said = bench.run("countersign-witness", init);
    assert_eq!(said.code, 0, "{}", said.err);
    let vkey = String::from_utf8(said.out).unwrap();
    let add = format!("add-log --data witness {}", bench.vkeys.join(" "));
    assert_eq!(bench.run("countersign-witness", &add).code, 0);
    let serve = "serve --data witness --listen 127.0.0.1:0";
    let process = Process::start(bench.command("countersign-witness", serve)).unwrap();
    let text = format!(
        "witness w {} {}\ngroup all all w\nquorum all\n",
        vkey.trim(),
        process.url
    );
    fs::write(bench.path("witnesses.txt"), text).unwrap();
    process
}

/// A project that may be released for by that workflow alone.
fn found(bench: &Bench, log: &Log) {
    let root = keys::certificate::write_certificate(bench.authority.root.der()).unwrap();
    fs::write(bench.path("root.pem"), root).unwrap();
    let authorities = format!(
        "[[authority]]\ncertificate = \"root.pem\"\n[[authority.identity]]\nissuer = \"{}\"\nsan = \"https://github.com/acme/tool/.github/workflows/release.yml@refs/tags/v1.0.0\"\n[authority.identity.claims]\n\"1.3.6.1.4.1.57264.1.12\" = \"https://github.com/acme/tool\"\n",
        bench.provider.url()
    );
    fs::write(bench.path("authorities.toml"), authorities).unwrap();
    bench.ok("keys generate --unencrypted --out root");
    let mut init = format!(
        "project init acme/tool --root-key root --authorities authorities.toml --purl-prefix pkg:generic/acme/tool \
         --contact mailto:security@acme.example --log {} --policy-out policy.toml --witnesses witnesses.txt",
        log.0.url
    );
    for vkey in &bench.vkeys {
        init.push_str(&format!(" --vkey {vkey}"));
    }
    bench.ok(&init);
}

#[test]
fn a_pipeline_with_nothing_but_a_token_publishes() {
    let bench = bench("");
    let _witness = witness(&bench);
    let log = bench.serve("--witnesses witnesses.txt");
    found(&bench, &log);
    fs::write(bench.path("tool"), "the tool").unwrap();
    let token = bench.provider.rsa.token(&bench.claims());
    fs::write(bench.path("token"), &token).unwrap();
    bench.ok("publish tool --oidc --token-file token --project acme/tool --version 1.0.0 --policy policy.toml");
    // Nothing of it is asked of anybody.
    drop(log);
    bench.ok("verify tool --project acme/tool --policy policy.toml");
    // Another repository's token, and the same one once more.
    let log = bench.serve("--witnesses witnesses.txt");
    fs::write(bench.path("tool"), "another tool").unwrap();
    let mut claims = bench.claims();
    for name in ["job_workflow_ref", "workflow_ref"] {
        claims[name] = "evil/tool/.github/workflows/release.yml@refs/tags/v1.0.0".into();
    }
    (claims["repository"], claims["repository_owner"]) = ("evil/tool".into(), "evil".into());
    fs::write(bench.path("evil"), bench.provider.rsa.token(&claims)).unwrap();
    for (file, reason) in [("evil", "evil/tool"), ("token", "token-replayed")] {
        let publish = format!(
            "publish tool --oidc --token-file {file} --project acme/tool --version 1.0.1 --policy policy.toml --log {}",
            log.0.url
        );
        let said = bench.run("countersign", &publish);
        assert_eq!(said.code, 1, "{}", said.err);
        assert!(said.err.contains(reason), "{}", said.err);
    }
}
