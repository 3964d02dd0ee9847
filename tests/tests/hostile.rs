//! Servers that do what no honest server does, on loopback sockets, against the built
//! `countersign`: it must stop early, say why, leave every destination as it was, and run
//! nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign_tests::bench::get;
use countersign_tests::hostile::{
    Answer, ENDLESS, Hostile, announced, certificate, endless, redirect, whole,
};
use countersign_tests::{Process, Said, binary, run};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The artifact is larger than all buffers, so that "constant memory" means something.
const SIZE: usize = 48 * 1024 * 1024;
/// Most resident memory of a client, in KiB, with room for an unoptimised build.
const MEMORY: u64 = 40 * 1024;
/// A refusal that takes longer than this has waited for something.
const QUICK: Duration = Duration::from_secs(20);

/// What a project and its log published, made once; the log is stopped.
struct Genuine {
    policy: String,
    /// `big` 1.0: a script, and bytes behind its `exit` that make it large.
    big: Vec<u8>,
    big_bundle: Vec<u8>,
    /// `x.sh` 1.0, of the same release.
    small: Vec<u8>,
    small_bundle: Vec<u8>,
    /// `x.sh` 2.0.
    next_bundle: Vec<u8>,
    /// The log's address, and its one tile as it was at the end.
    log: String,
    tile: Vec<u8>,
}

fn program(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(binary(name).unwrap());
    command
        .current_dir(dir)
        .env("COUNTERSIGN_STATE", dir.join("state.json"))
        .env_remove("COUNTERSIGN_POLICY");
    for proxy in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"] {
        command
            .env_remove(proxy)
            .env_remove(proxy.to_ascii_lowercase());
    }
    command
}

fn say(name: &str, dir: &Path, args: &[&str]) -> String {
    let mut command = program(name, dir);
    command.args(args);
    let said = run(command).unwrap();
    assert_eq!(said.code, 0, "{args:?}\n{}", said.err);
    String::from_utf8(said.out).unwrap()
}

/// A log, a project and its policy in `dir`.
fn log_and_project(dir: &Path) -> Process {
    let log = dir.join("log").display().to_string();
    let vkeys = say(
        "countersign-server",
        dir,
        &["init", "--data", &log, "--origin", "log.example"],
    );
    let mut command = program("countersign-server", dir);
    command.args(["serve", "--data", &log, "--listen", "127.0.0.1:0"]);
    command.args(["--admit", "open"]);
    let server = Process::start(command).unwrap();
    for key in ["root.key", "release.key"] {
        say(
            "countersign",
            dir,
            &["keys", "generate", "--unencrypted", "--out", key],
        );
    }
    let line = "project init acme/x --root-key root.key --release-key release.key \
        --purl-prefix pkg:generic/acme/x --policy-out policy.toml --log";
    let mut args: Vec<&str> = line
        .split_whitespace()
        .chain([server.url.as_str()])
        .collect();
    for v in vkeys.lines() {
        args.extend(["--vkey", v]);
    }
    say("countersign", dir, &args);
    server
}

fn publish(dir: &Path, files: &[&str], version: &str) -> Said {
    let mut command = program("countersign", dir);
    let line = "--project acme/x --key release.key --policy policy.toml --version";
    command.arg("publish").args(files);
    command.args(line.split_whitespace()).arg(version);
    run(command).unwrap()
}

fn genuine() -> &'static Genuine {
    static GENUINE: OnceLock<Genuine> = OnceLock::new();
    GENUINE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let server = log_and_project(dir.path());
        let small = b"touch \"$1\"\nexit 0\n".to_vec();
        let mut big = small.clone();
        big.resize(SIZE, b'#');
        std::fs::write(at("x.sh"), &small).unwrap();
        std::fs::write(at("big"), &big).unwrap();
        let said = publish(dir.path(), &["x.sh", "big"], "1.0");
        assert_eq!(said.code, 0, "{}", said.err);
        let big_bundle = std::fs::read(at("big.bundle")).unwrap();
        let small_bundle = std::fs::read(at("x.sh.bundle")).unwrap();
        std::fs::write(at("x.sh"), "exit 1\n").unwrap();
        let said = publish(dir.path(), &["x.sh"], "2.0");
        assert_eq!(said.code, 0, "{}", said.err);
        let next_bundle = std::fs::read(at("x.sh.bundle")).unwrap();
        let policy = std::fs::read_to_string(at("policy.toml")).unwrap();
        let (log, tile) = (server.url.clone(), fetch(&server.url, "/tile/0/000.p/7"));
        server.stop().unwrap();
        Genuine {
            policy,
            big,
            big_bundle,
            small,
            small_bundle,
            next_bundle,
            log,
            tile,
        }
    })
}

/// The body of an answer, by hand.
fn fetch(url: &str, path: &str) -> Vec<u8> {
    get(url.strip_prefix("http://").unwrap(), path).1
}

/// A downloader's directory: a policy, and `down/` with a file of an earlier day in it.
struct Bench {
    dir: tempfile::TempDir,
    inode: u64,
}

const BEFORE: &[u8] = b"what was here before\n";

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).unwrap().ino()
}

fn list(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("policy.toml"), &genuine().policy).unwrap();
        for name in ["down", "tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let old = dir.path().join("down/file");
        std::fs::write(&old, BEFORE).unwrap();
        let inode = inode(&old);
        Self { dir, inode }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the client to its end, watching its resident memory; gives that peak in KiB.
    fn client(&self, args: &[&str]) -> (Said, u64) {
        let mut command = program("countersign", self.dir.path());
        // Whatever it puts aside must be gone as well.
        command.args(args).env("TMPDIR", self.path("tmp"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let child = command.spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let done = Arc::new(AtomicBool::new(false));
        let watched = done.clone();
        let watch = std::thread::spawn(move || {
            let mut peak = 0;
            while !watched.load(Relaxed) {
                let text = std::fs::read_to_string(&status).unwrap_or_default();
                let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
                let now = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
                peak = peak.max(now.unwrap_or(0));
                std::thread::sleep(Duration::from_millis(3));
            }
            peak
        });
        let output = child.wait_with_output().unwrap();
        done.store(true, Relaxed);
        let took = start.elapsed();
        let peak = watch.join().unwrap();
        let said = Said {
            code: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(took < QUICK, "{args:?} took {took:?}: {}", said.err);
        assert!(peak < MEMORY, "{args:?} held {peak} KiB");
        assert!(!said.err.contains("panicked"), "{}", said.err);
        (said, peak)
    }

    fn get(&self, url: &str, more: &[&str]) -> Said {
        let args = ["get", url, "-o", "down/file", "--policy", "policy.toml"];
        let args = [&args[..], &["--version", "1.0"], more].concat();
        self.client(&args).0
    }

    /// `get`, `get -o -` and `run --with sh` of `url` must all be refused, by this code and
    /// one of these words, and leave nothing.
    fn refused(&self, url: &str, code: i32, kinds: &[&str], more: &[&str]) -> String {
        let said = self.get(url, more);
        self.check(&said, code, kinds);
        let args = ["get", url, "-o", "-", "--policy", "policy.toml"];
        let out = self
            .client(&[&args[..], &["--version", "1.0"], more].concat())
            .0;
        self.check(&out, code, kinds);
        assert!(out.out.is_empty(), "not one byte on standard output");
        let args = ["run", url, "--policy", "policy.toml", "--version", "1.0"];
        let tail = ["--with", "sh", "--", "ran"];
        let ran = self.client(&[&args[..], more, &tail[..]].concat()).0;
        self.check(&ran, 120 + code, kinds);
        said.err
    }

    fn check(&self, said: &Said, code: i32, kinds: &[&str]) {
        assert!(
            kinds.iter().any(|k| said.err.contains(&format!("[{k}]"))),
            "want {kinds:?}: {}",
            said.err
        );
        assert_eq!(said.code, code, "{}", said.err);
        assert!(said.err.contains("hint:"), "{}", said.err);
        self.untouched();
    }

    fn untouched(&self) {
        assert_eq!(list(&self.path("down")), ["file"], "nothing was left");
        assert_eq!(std::fs::read(self.path("down/file")).unwrap(), BEFORE);
        assert_eq!(inode(&self.path("down/file")), self.inode);
        assert_eq!(list(&self.path("tmp")), [""; 0], "nothing was put aside");
        assert!(!self.path("ran").exists(), "nothing ran");
        // A genuine head may be, and no release.
        let state = std::fs::read(self.path("state.json")).unwrap_or_else(|_| b"{}".to_vec());
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        let releases = state["releases"].as_object().map_or(0, |r| r.len());
        assert_eq!(releases, 0, "no release was learnt: {state}");
    }
}

/// Serves the genuine bundle of `big`, and for the rest what `artifact` says.
fn serving(
    artifact: impl Fn(&mut dyn Write) -> std::io::Result<()> + Send + Sync + 'static,
) -> Hostile {
    Hostile::new(move |path, out| {
        if path.ends_with(".bundle") {
            whole(out, &genuine().big_bundle)
        } else {
            artifact(out)
        }
    })
}

/// Serves `x.sh` genuinely, and `bundle` in its bundle's place.
fn with_bundle(bundle: Vec<u8>) -> Hostile {
    Hostile::new(move |path, out| {
        if path.ends_with(".bundle") {
            whole(out, &bundle)
        } else {
            whole(out, &genuine().small)
        }
    })
}

#[test]
fn what_is_served_honestly_is_taken_in_constant_memory() {
    // Else the refusals below would prove nothing.
    let bench = Bench::new();
    let server = serving(|out| whole(out, &genuine().big));
    let said = bench.get(&format!("{}/big", server.url), &[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(std::fs::read(bench.path("down/file")).unwrap() == genuine().big);
    assert_eq!(list(&bench.path("down")), ["file"]);
    let url = format!("{}/big", server.url);
    let said = bench.client(&[
        "run",
        &url,
        "--policy",
        "policy.toml",
        "--with",
        "sh",
        "--",
        "ran",
    ]);
    assert_eq!(said.0.code, 0, "{}", said.0.err);
    assert!(bench.path("ran").exists());
}

#[test]
fn an_endless_artifact_is_left_at_its_stated_size() {
    for head in ENDLESS {
        let bench = Bench::new();
        let server = serving(move |out| endless(out, head));
        bench.refused(&format!("{}/big", server.url), 1, &["size-mismatch"], &[]);
        // Three fetches; what lay in the sockets' buffers comes on top.
        let most = 3 * (SIZE as u64 + 16 * 1024 * 1024);
        let sent = server.sent.load(Relaxed);
        assert!(sent < most, "took {sent} bytes of {head:?}");
    }
}

#[test]
fn an_endless_bundle_is_left_at_the_largest_that_a_bundle_can_be() {
    for head in ENDLESS {
        let bench = Bench::new();
        let server = Hostile::new(move |_, out| endless(out, head));
        let url = format!("{}/big", server.url);
        bench.refused(&url, 3, &["answer-too-large"], &[]);
        let sent = server.sent.load(Relaxed);
        assert!(sent < 3 * 20 * 1024 * 1024, "took {sent} bytes of {head:?}");
        assert_eq!(
            server.requests.load(Relaxed),
            3,
            "no artifact was asked for"
        );
    }
}

#[test]
fn endless_headers_are_left() {
    let bench = Bench::new();
    let server = Hostile::new(|_, out| {
        out.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            out.write_all(b"X-More: and more and more and more\r\n")?;
        }
    });
    bench.refused(&format!("{}/big", server.url), 3, &["unreachable"], &[]);
}

#[test]
fn a_server_that_stops_half_way_is_no_short_success() {
    let bench = Bench::new();
    let half = &genuine().big[..SIZE / 2];
    let server = serving(move |out| announced(out, SIZE as u64, half));
    let err = bench.refused(&format!("{}/big", server.url), 3, &["download-broken"], &[]);
    assert!(err.contains("nothing was kept"), "{err}");
    // In the middle of a chunk.
    let server = serving(move |out| {
        write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        write!(out, "{:x}\r\n", SIZE)?;
        out.write_all(half)
    });
    bench.refused(&format!("{}/big", server.url), 3, &["download-broken"], &[]);
    // Without a length, the end of the connection is the end of the bytes: too few of them.
    let server = serving(move |out| {
        out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        out.write_all(half)
    });
    bench.refused(
        &format!("{}/big", server.url),
        1,
        &["digest-mismatch", "size-mismatch"],
        &[],
    );
    // The bundle, half of it.
    let bundle = &genuine().small_bundle;
    let server = Hostile::new(|_, out| announced(out, bundle.len() as u64, &bundle[..500]));
    bench.refused(
        &format!("{}/x.sh", server.url),
        3,
        &["download-broken"],
        &[],
    );
}

#[test]
fn no_answer_and_half_a_head_are_not_an_empty_file() {
    for answer in ["", "HTTP/1.1 200 OK\r\nConte", "220 mail.example ESMTP\r\n"] {
        let bench = Bench::new();
        let server = Hostile::new(move |_, out| out.write_all(answer.as_bytes()));
        bench.refused(&format!("{}/big", server.url), 3, &["unreachable"], &[]);
        let server = serving(move |out| out.write_all(answer.as_bytes()));
        bench.refused(&format!("{}/big", server.url), 3, &["unreachable"], &[]);
    }
    // An empty body, well formed.
    let bench = Bench::new();
    let server = serving(|out| whole(out, b""));
    let kinds = ["digest-mismatch", "size-mismatch"];
    bench.refused(&format!("{}/big", server.url), 1, &kinds, &[]);
    let server = with_bundle(Vec::new());
    bench.refused(
        &format!("{}/x.sh", server.url),
        1,
        &["bundle-malformed"],
        &[],
    );
    // Nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/big", free.local_addr().unwrap());
    drop(free);
    bench.refused(&url, 3, &["unreachable"], &[]);
}

#[test]
fn a_wrong_content_length_gives_nothing_but_the_released_bytes() {
    let bench = Bench::new();
    let all = &genuine().big;
    let server = serving(|out| announced(out, SIZE as u64 + 1, all));
    bench.refused(&format!("{}/big", server.url), 3, &["download-broken"], &[]);
    let server = serving(|out| announced(out, SIZE as u64 - 1, all));
    let kinds = ["digest-mismatch", "size-mismatch"];
    bench.refused(&format!("{}/big", server.url), 1, &kinds, &[]);
    for length in ["-1", "many", "5, 6", "99999999999999999999999999"] {
        let server = serving(move |out| {
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
            out.write_all(&all[..1000])
        });
        let said = bench.get(&format!("{}/big", server.url), &[]);
        assert!([1, 3].contains(&said.code), "{length}: {}", said.err);
        bench.untouched();
    }
}

#[test]
fn error_pages_and_web_pages_are_not_bundles() {
    let bench = Bench::new();
    for (status, kind) in [("404 Not Found", "not-found"), ("500 Oops", "http-status")] {
        let page = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nsorry");
        let same = page.clone();
        let server = Hostile::new(move |_, out| out.write_all(page.as_bytes()));
        bench.refused(&format!("{}/big", server.url), 3, &[kind], &[]);
        let server = serving(move |out| out.write_all(same.as_bytes()));
        bench.refused(&format!("{}/big", server.url), 3, &[kind], &[]);
    }
    // An error whose explanation never ends, and one with terminal commands in it.
    let server = Hostile::new(|_, out| endless(out, "HTTP/1.1 500 Oops\r\n\r\n"));
    bench.refused(&format!("{}/big", server.url), 3, &["http-status"], &[]);
    let problem = b"{\"detail\":\"\\u001b[2Jverified: all is well\"}";
    let server = Hostile::new(|_, out| {
        write!(
            out,
            "HTTP/1.1 503 No\r\nContent-Length: {}\r\n\r\n",
            problem.len()
        )?;
        out.write_all(problem)
    });
    let err = bench.refused(&format!("{}/big", server.url), 3, &["http-status"], &[]);
    assert!(!err.contains('\u{1b}'), "{err:?}");
    // Success, and a part only, that nobody asked for.
    let server = serving(|out| {
        out.write_all(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\nto")
    });
    bench.refused(&format!("{}/big", server.url), 3, &["http-status"], &[]);
    let html = b"<!DOCTYPE html><title>Sign in to the conference network</title>".to_vec();
    let server = with_bundle(html.clone());
    // What is no bundle at all is evidence like any other.
    let url = format!("{}/x.sh", server.url);
    let said = bench.get(&url, &["--save-refused", "kept"]);
    bench.check(&said, 1, &["bundle-malformed"]);
    let kept = list(&bench.path("kept"));
    assert_eq!(kept.len(), 2, "{kept:?}");
    let bundle = kept.iter().find(|n| n.ends_with(".bundle")).unwrap();
    assert_eq!(
        std::fs::read(bench.path("kept").join(bundle)).unwrap(),
        html
    );
    bench.refused(
        &format!("{}/x.sh", server.url),
        1,
        &["bundle-malformed"],
        &[],
    );
    let server = serving(move |out| whole(out, &html));
    let kinds = ["digest-mismatch", "size-mismatch"];
    bench.refused(&format!("{}/big", server.url), 1, &kinds, &[]);
}

#[test]
fn altered_and_borrowed_bundles_are_refused() {
    let bench = Bench::new();
    let g = genuine();
    let text = String::from_utf8(g.small_bundle.clone()).unwrap();
    let version = text.replacen("countersign/v1", "countersign/v2", 1);
    assert_ne!(version, text);
    for (bundle, kind) in [
        (format!("{text}\n"), "bundle-malformed"),
        (format!("{text}{text}"), "bundle-malformed"),
        (format!(" {text}"), "bundle-malformed"),
        (text.replacen('{', "{\"a\":1,", 1), "bundle-malformed"),
        (version, "bundle-version"),
        (text[..text.len() - 1].to_owned(), "bundle-malformed"),
    ] {
        let server = with_bundle(bundle.into_bytes());
        bench.refused(&format!("{}/x.sh", server.url), 1, &[kind], &[]);
    }
    // Deep nesting is no way to exhaust the stack.
    let server = with_bundle("[".repeat(1_000_000).into_bytes());
    bench.refused(
        &format!("{}/x.sh", server.url),
        1,
        &["bundle-malformed"],
        &[],
    );
    // Genuine, of the same project, and of another file or version.
    let server = with_bundle(g.next_bundle.clone());
    bench.refused(&format!("{}/x.sh", server.url), 1, &["other-version"], &[]);
    let url = format!("{}/x.sh", server.url);
    let next = ["get", &url, "-o", "down/file", "--policy", "policy.toml"];
    let said = bench.client(&[&next[..], &["--version", "2.0"]].concat()).0;
    bench.check(&said, 1, &["digest-mismatch", "size-mismatch"]);
    let server = with_bundle(g.big_bundle.clone());
    bench.refused(
        &format!("{}/other.sh", server.url),
        1,
        &["other-artifact"],
        &[],
    );
    // The other artifact of the very release, under this one's name. The view of the bundles
    // before was newer, and what is remembered of it nobody is there to connect with this one's.
    let bench = Bench::new();
    let server = Hostile::new(|path, out| {
        if path.ends_with(".bundle") {
            whole(out, &genuine().small_bundle)
        } else {
            whole(out, &genuine().big[..genuine().small.len() + 1])
        }
    });
    bench.refused(&format!("{}/x.sh", server.url), 1, &["size-mismatch"], &[]);
}

#[test]
fn redirects_lead_nowhere_that_bytes_are_believed() {
    let bench = Bench::new();
    // In a circle, and on and on.
    let server = Hostile::new(|path, out| redirect(out, path));
    bench.refused(&format!("{}/big", server.url), 3, &["unreachable"], &[]);
    assert!(server.requests.load(Relaxed) <= 3 * 6);
    let server = Hostile::new(|path, out| redirect(out, &format!("{path}/x")));
    bench.refused(&format!("{}/big", server.url), 3, &["unreachable"], &[]);
    // With a body that does not end.
    for status in ["302 Found", "308 Permanent Redirect"] {
        let head = format!("HTTP/1.1 {status}\r\nLocation: /else\r\n\r\n");
        let server = serving(move |out| endless(out, &head));
        bench.refused(&format!("{}/big", server.url), 3, &["unreachable"], &[]);
    }
    // To things that are not on the web.
    let secret = bench.path("policy.toml").display().to_string();
    for to in [
        format!("file://{secret}"),
        "ftp://127.0.0.1/x".into(),
        "data:,x".into(),
        "http://".into(),
        "::".into(),
        "javascript:alert(1)".into(),
        String::new(),
    ] {
        let shown = to.clone();
        let same = to.clone();
        let server = Hostile::new(move |_, out| redirect(out, &to));
        let said = bench.get(&format!("{}/big", server.url), &[]);
        assert_eq!(said.code, 3, "{shown}: {}", said.err);
        bench.untouched();
        let server = serving(move |out| redirect(out, &same));
        let said = bench.get(&format!("{}/big", server.url), &[]);
        assert_eq!(said.code, 3, "{shown}: {}", said.err);
        bench.untouched();
    }
    // Without an address at all.
    let server =
        Hostile::new(|_, out| out.write_all(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"));
    let said = bench.get(&format!("{}/big", server.url), &[]);
    assert_eq!(said.code, 3, "{}", said.err);
    bench.untouched();
    // To another host: allowed, and its bytes are verified all the same.
    let evil = Hostile::new(|_, out| whole(out, b"touch ran\n"));
    let to = format!("{}/else", evil.url);
    let server = serving(move |out| redirect(out, &to));
    let kinds = ["digest-mismatch", "size-mismatch"];
    bench.refused(&format!("{}/big", server.url), 1, &kinds, &[]);
    let honest = Hostile::new(|_, out| whole(out, &genuine().big));
    let to = format!("{}/blob/123", honest.url);
    let server = serving(move |out| redirect(out, &to));
    let said = bench.get(&format!("{}/big", server.url), &[]);
    assert_eq!(said.code, 0, "{}", said.err);
}

#[test]
fn https_is_never_left_for_http_and_strange_certificates_are_refused() {
    let bench = Bench::new();
    let Some(tls) = certificate(bench.dir.path()) else {
        return;
    };
    let ca = ["--ca-file", "tls.pem"];
    let plain = Hostile::new(|path, out| {
        if path.ends_with(".bundle") {
            whole(out, &genuine().small_bundle)
        } else {
            whole(out, &genuine().small)
        }
    });
    // Even to genuine bytes.
    let to = plain.url.clone();
    let leave: Arc<Answer> = Arc::new(move |path, out| redirect(out, &format!("{to}{path}")));
    let server = Hostile::with(Some(tls.clone()), leave);
    let url = format!("{}/x.sh", server.url);
    bench.refused(&url, 3, &["insecure-redirect"], &ca);
    // The bundle over https, and then away.
    let to = plain.url.clone();
    let late: Arc<Answer> = Arc::new(move |path, out| {
        if path.ends_with(".bundle") {
            whole(out, &genuine().small_bundle)
        } else {
            redirect(out, &format!("{to}{path}"))
        }
    });
    let server = Hostile::with(Some(tls.clone()), late);
    let url = format!("{}/x.sh", server.url);
    bench.refused(&url, 3, &["insecure-redirect"], &ca);
    assert_eq!(plain.requests.load(Relaxed), 0, "http was never spoken");
    // By way of another https address.
    let first: Arc<Answer> = {
        let to = server.url.clone();
        Arc::new(move |path, out| redirect(out, &format!("{to}{path}")))
    };
    let server_before = Hostile::with(Some(tls.clone()), first);
    let url = format!("{}/x.sh", server_before.url);
    bench.refused(&url, 3, &["insecure-redirect"], &ca);
    // A certificate that nobody vouches for.
    let honest: Arc<Answer> = Arc::new(|path, out| {
        if path.ends_with(".bundle") {
            whole(out, &genuine().small_bundle)
        } else {
            whole(out, &genuine().small)
        }
    });
    let server = Hostile::with(Some(tls), honest);
    let url = format!("{}/x.sh", server.url);
    bench.refused(&url, 3, &["unreachable"], &[]);
    // One that the user vouches for, and a log or store that asks for a better address.
    let said = bench.get(&url, &ca);
    assert_eq!(said.code, 0, "{}", said.err);
    let to = server.url.clone();
    let upgrade = Hostile::new(move |path, out| redirect(out, &format!("{to}{path}")));
    let said = bench.get(&format!("{}/x.sh", upgrade.url), &ca);
    assert_eq!(said.code, 0, "http to https is allowed: {}", said.err);
}

#[test]
fn a_destination_that_cannot_be_written_is_said_and_nothing_is_lost() {
    let bench = Bench::new();
    let server = with_bundle(genuine().small_bundle.clone());
    let url = format!("{}/x.sh", server.url);
    let into = |to: &str| {
        let args = ["get", &url, "-o", to, "--policy", "policy.toml"];
        bench.client(&[&args[..], &["--version", "1.0"]].concat()).0
    };
    for to in ["nowhere/file", "down/file/below", "/proc/countersign"] {
        bench.check(&into(to), 2, &["unwritable"]);
    }
    // A directory without write permission; the superuser is not bound by it.
    use std::os::unix::fs::PermissionsExt as _;
    let closed = bench.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(closed.join("probe"), "").is_err() {
        bench.check(&into("closed/file"), 2, &["unwritable"]);
        assert_eq!(list(&closed), [""; 0]);
    }
    // Standard output that takes nothing.
    let mut command = program("countersign", bench.dir.path());
    command.args(["get", &url, "-o", "-", "--policy", "policy.toml"]);
    command.args(["--version", "1.0"]);
    command.stdout(
        std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap(),
    );
    let out = command.output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{err}");
    assert!(err.contains("[unwritable]"), "{err}");
    // A directory as destination takes the file under its name.
    let said = into("down");
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(list(&bench.path("down")), ["file", "x.sh"]);
    // But not where that name is a directory again.
    std::fs::create_dir_all(bench.path("deep/x.sh")).unwrap();
    let said = into("deep");
    assert_eq!(said.code, 2, "{}", said.err);
    assert_eq!(list(&bench.path("deep/x.sh")), [""; 0]);
}

#[test]
fn names_in_addresses_do_not_lead_out_of_the_directory() {
    let bench = Bench::new();
    let server = with_bundle(genuine().small_bundle.clone());
    let long = "x".repeat(300);
    for name in ["..", "a%2Fb", "..%2Fx.sh", "%00", "a%0Ab", "a%5Cb", &long] {
        let url = format!("{}/{name}", server.url);
        let said = bench.client(&["get", &url, "--policy", "policy.toml", "--version", "1.0"]);
        bench.check(&said.0, 2, &["bad-artifact-name"]);
    }
    assert_eq!(server.requests.load(Relaxed), 0);
}

#[test]
fn publish_keeps_what_it_cannot_write_for_another_try() {
    let dir = tempfile::tempdir().unwrap();
    let _server = log_and_project(dir.path());
    std::fs::write(dir.path().join("x.sh"), "a\n").unwrap();
    // The place of the bundle is taken by a directory: the log has the release all the same.
    std::fs::create_dir_all(dir.path().join("x.sh.bundle/full")).unwrap();
    let said = publish(dir.path(), &["x.sh"], "1.0");
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(
        said.err.contains("[unwritable]") && said.err.contains("hint:"),
        "{}",
        said.err
    );
    std::fs::remove_dir_all(dir.path().join("x.sh.bundle")).unwrap();
    let said = publish(dir.path(), &["x.sh"], "1.0");
    assert_eq!(said.code, 0, "{}", said.err);
    say(
        "countersign",
        dir.path(),
        &["verify", "x.sh", "--policy", "policy.toml"],
    );
    // A key that others can read signs nothing.
    use std::os::unix::fs::PermissionsExt as _;
    let key = dir.path().join("release.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = publish(dir.path(), &["x.sh"], "2.0");
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(
        said.err.contains("[key-file-readable-by-others]"),
        "{}",
        said.err
    );
}

#[test]
fn publish_writes_nothing_that_a_hostile_log_answers() {
    let dir = tempfile::tempdir().unwrap();
    let server = log_and_project(dir.path());
    server.stop().unwrap();
    std::fs::write(dir.path().join("x.sh"), "a\n").unwrap();
    let names = list(dir.path());
    let other = genuine().small_bundle.clone();
    let answers: Vec<(Vec<u8>, i32)> = vec![
        (other, 1),
        (b"{}".to_vec(), 1),
        (b"<html>".to_vec(), 1),
        (Vec::new(), 1),
    ];
    for (body, code) in answers {
        let shown = String::from_utf8_lossy(&body)
            .chars()
            .take(40)
            .collect::<String>();
        let log = Hostile::new(move |_, out| whole(out, &body));
        let said = hostile_publish(dir.path(), &log.url);
        assert_eq!(said.code, code, "{shown}: {}", said.err);
        assert_eq!(list(dir.path()), names, "{shown}");
    }
    for head in ENDLESS {
        let log = Hostile::new(move |_, out| endless(out, head));
        let said = hostile_publish(dir.path(), &log.url);
        assert_eq!(said.code, 3, "{}", said.err);
        assert_eq!(list(dir.path()), names);
    }
    let log = Hostile::new(|_, out| announced(out, 5000, b"{\"apiVersion\""));
    assert_eq!(hostile_publish(dir.path(), &log.url).code, 3);
    assert_eq!(list(dir.path()), names);
}

fn hostile_publish(dir: &Path, log: &str) -> Said {
    let mut command = program("countersign", dir);
    let line = "publish x.sh --project acme/x --key release.key --policy policy.toml --version 1.0";
    command.args(line.split_whitespace()).args(["--log", log]);
    run(command).unwrap()
}

/// Headers that come a byte a second end with the client's own patience (`RESPONSE` in
/// client/src/fetch.rs, 120 s), not with the server's.
#[test]
#[ignore = "waits for the client's timeout of two minutes"]
fn dripping_headers_are_left_in_time() {
    let took = dripped("HTTP/1.1 200 OK\r\n", b"X", "unreachable");
    assert!(took < Duration::from_secs(150));
}

/// A document whose bytes come one a second ends with the time that a whole one has (`SMALL_BODY`,
/// 120 s), though no single read waits for long.
#[test]
#[ignore = "waits for the client's timeout of two minutes"]
fn a_dripping_document_is_left_in_time() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    let took = dripped(head, b" ", "download-broken");
    assert!(took > Duration::from_secs(100) && took < Duration::from_secs(150));
}

/// An artifact, which may take hours, ends with the first minute in which next to nothing comes
/// (`PACE`), though no single read waits for long.
#[test]
#[ignore = "waits for the client's patience of a minute"]
fn a_dripping_artifact_is_left_in_time() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    let took = dripped(head, b"#", "download-broken");
    assert!(took > Duration::from_secs(50) && took < Duration::from_secs(90));
}

/// Gets from a server that goes on with `drop` each second, which fails so; how long it took.
/// The bundle comes whole where the artifact is what drips.
fn dripped(head: &'static str, drop: &'static [u8], kind: &str) -> Duration {
    let bench = Bench::new();
    let server = Hostile::new(move |path, out| {
        if drop == b"#" && path.ends_with(".bundle") {
            return whole(out, &genuine().big_bundle);
        }
        out.write_all(head.as_bytes())?;
        loop {
            out.write_all(drop)?;
            out.flush()?;
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let mut command = program("countersign", bench.dir.path());
    command.args(["get", &format!("{}/big", server.url), "-o", "down/file"]);
    command.args(["--policy", "policy.toml", "--version", "1.0"]);
    let start = Instant::now();
    let said = run(command).unwrap();
    bench.check(&said, 3, &[kind]);
    start.elapsed()
}

#[test]
fn a_log_that_does_not_connect_to_what_is_remembered_is_refused() {
    let g = genuine();
    assert_eq!(g.tile.len(), 7 * 32, "the log of two releases has 7 leaves");
    let mut other = g.tile.clone();
    other[0] ^= 1;
    let error = b"HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec();
    let page = |body: &[u8]| {
        let mut page = Vec::new();
        whole(&mut page, body).unwrap();
        page
    };
    for (tile, code, kind) in [
        (page(&other), 1, "[not-consistent]"),
        (page(&other[..32]), 3, "[tile-length]"),
        (error, 3, "[http-status]"),
        (page(&g.tile), 0, ""),
    ] {
        let server = Hostile::new(move |path, out| match path {
            "/1/x.sh" => whole(out, &genuine().small),
            "/1/x.sh.bundle" => whole(out, &genuine().small_bundle),
            "/2/x.sh" => whole(out, b"exit 1\n"),
            "/2/x.sh.bundle" => whole(out, &genuine().next_bundle),
            _ => out.write_all(&tile),
        });
        let bench = Bench::new();
        let policy = g.policy.replace(&g.log, &server.url);
        assert_ne!(policy, g.policy);
        std::fs::write(bench.path("policy.toml"), policy).unwrap();
        let get = |version: &str, url: &str| {
            let url = format!("{}{url}", server.url);
            let args = ["get", &url, "-o", "down/file", "--policy", "policy.toml"];
            bench
                .client(&[&args[..], &["--version", version]].concat())
                .0
        };
        let said = get("1.0", "/1/x.sh");
        assert_eq!(said.code, 0, "{}", said.err);
        let said = get("2.0", "/2/x.sh");
        assert_eq!(said.code, code, "{}", said.err);
        assert!(said.err.contains(kind), "{}", said.err);
        let placed = std::fs::read(bench.path("down/file")).unwrap();
        assert_eq!(placed == g.small, code != 0, "{code}");
        // An older release is still that of the remembered tree, and its view too.
        let said = get("1.0", "/1/x.sh");
        assert_eq!(said.code, 0, "{}", said.err);
    }
}

/// A server that holds an old release back until this machine has seen a newer one.
#[test]
fn what_another_process_saw_during_the_download_binds_this_one_too() {
    let g = genuine();
    type Armed = OnceLock<(PathBuf, String)>;
    let armed: Arc<Armed> = Arc::default();
    let by_then = armed.clone();
    let server = Hostile::new(move |path, out| {
        if path == "/1/x.sh"
            && let Some((dir, url)) = by_then.get()
        {
            let mut command = program("countersign", dir);
            let args = "-o newer --policy policy.toml --version 2.0";
            command.args(["get", &format!("{url}/2/x.sh")]);
            let said = run(command_with(command, args)).unwrap();
            assert_eq!(said.code, 0, "{}", said.err);
        }
        match path {
            "/1/x.sh" => whole(out, &genuine().small),
            "/1/x.sh.bundle" => whole(out, &genuine().small_bundle),
            "/2/x.sh" => whole(out, b"exit 1\n"),
            "/2/x.sh.bundle" => whole(out, &genuine().next_bundle),
            _ => whole(out, &genuine().tile),
        }
    });
    let bench = Bench::new();
    let policy = g.policy.replace(&g.log, &server.url);
    std::fs::write(bench.path("policy.toml"), policy).unwrap();
    let get = |more: &str| {
        let mut command = program("countersign", bench.dir.path());
        command.args(["get", &format!("{}/1/x.sh", server.url)]);
        run(command_with(
            command,
            &format!("--policy policy.toml {more}"),
        ))
        .unwrap()
    };
    let said = get("-o first --version 1.0");
    assert_eq!(said.code, 0, "{}", said.err);
    let said = get("-o again");
    assert_eq!(said.code, 0, "alone it is as new as any: {}", said.err);
    let place = (bench.dir.path().to_owned(), server.url.clone());
    armed.set(place).unwrap();
    let said = get("-o late");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("[rollback]"), "{}", said.err);
    assert!(bench.path("newer").exists() && !bench.path("late").exists());
}

fn command_with(mut command: Command, args: &str) -> Command {
    command.args(args.split_whitespace());
    command
}
