//! What strangers, old copies and damage may do to a log: never make it sign another history,
//! never end it, never fill it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{ORIGIN, Running, artifact, copy, init, publisher};
use countersign_server::{Config, Error, Handle, Server};
use keys::{SecretKey, Signer as _};
use ledger::envelope::Envelope;
use ledger::trust::TrustDocument;
use ledger::{hex32, sha256};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

fn leaf(i: u64) -> Vec<u8> {
    format!("{{\"apiVersion\":\"countersign/v1\",\"kind\":\"test\",\"n\":{i}}}").into_bytes()
}

fn start(dir: &Path) -> Handle {
    Server::start(&Config::new(dir).open()).unwrap()
}

fn head(server: &Handle, path: &str) -> String {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: log\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

#[test]
fn a_hot_state_that_went_back_signs_nothing() {
    // Shown by the index, or by the blobs alone.
    for keep_index in [true, false] {
        let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        init(dir.path());
        let server = start(dir.path());
        server.fill((0..200).map(leaf).collect()).unwrap();
        server.shutdown();
        let (hot, index) = (
            dir.path().join("private/hot"),
            dir.path().join("private/index"),
        );
        copy(&hot, old.path());
        let server = start(dir.path());
        server.fill((200..300).map(leaf).collect()).unwrap();
        server.shutdown();
        fs::remove_dir_all(&hot).unwrap();
        copy(old.path(), &hot);
        if !keep_index {
            fs::remove_dir_all(&index).unwrap();
        }
        for _ in 0..2 {
            let server = start(dir.path());
            let why = server.log().read_only().expect("it must not sign");
            assert!(why.contains("went back"), "{why}");
            assert!(matches!(server.fill(vec![leaf(0)]), Err(Error::Fill(_))));
            server.shutdown();
        }
    }
}

#[test]
fn a_small_log_that_lost_its_hot_state_does_not_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let server = start(dir.path());
    server.fill((0..10).map(leaf).collect()).unwrap();
    server.shutdown();
    for lost in ["private/hot", "private/index"] {
        fs::remove_dir_all(dir.path().join(lost)).unwrap();
    }
    let started = Server::start(&Config::new(dir.path()));
    assert!(matches!(started, Err(Error::HalfWritten { .. })));
}

#[test]
fn a_damaged_log_serves_no_wrong_edge_and_nothing_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let server = start(dir.path());
    server.fill((0..300).map(leaf).collect()).unwrap();
    server.fill((300..600).map(leaf).collect()).unwrap();
    server.wait_for_recheck();
    assert!(head(&server, "/tile/0/000").contains("immutable"));
    server.shutdown();
    let flip = |path: &str| {
        let path = dir.path().join("public").join(path);
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(&path, &bytes).unwrap();
    };
    let not_kept = |server: &Handle| {
        let full = head(server, "/tile/entries/000");
        assert!(full.starts_with("HTTP/1.1 200") && !full.contains("immutable"));
    };
    // Where the edge does not depend on it, it is found while the log is served.
    flip("tile/entries/000");
    let server = start(dir.path());
    not_kept(&server);
    server.wait_for_recheck();
    assert!(server.log().read_only().is_some());
    not_kept(&server);
    server.shutdown();
    flip("tile/0/000");
    let server = start(dir.path());
    assert!(server.log().read_only().is_some());
    not_kept(&server);
    // The right edge is not known: not that of where the reading stopped.
    for edge in ["/tile/entries/002.p/88", "/tile/0/002.p/88"] {
        let answer = head(&server, edge);
        assert!(answer.starts_with("HTTP/1.1 500"), "{edge}: {answer}");
    }
}

#[test]
fn a_project_that_fits_in_no_leaf_does_not_wait_for_the_operator() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let server = Running::start(dir.path(), &[]);
    let (root, release) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let mut project = publisher("big", "pkg:generic/big").project;
    project.roots = vec![root.public_key().clone()];
    project.release_keys = vec![release.public_key().clone()];
    project.purl_prefixes = (0..64)
        .map(|i| format!("pkg:generic/{i:02}{}", "x".repeat(900)))
        .collect();
    let envelope = Envelope::sign(project.to_payload().unwrap(), &[&root, &release]).unwrap();
    let answer = server.submit(&envelope);
    assert_eq!(answer.status, 413);
    assert_eq!(answer.kind(), "leaf-too-large");
    assert_eq!(server.get("/api/v1/projects/big").status, 404);
}

#[test]
fn strangers_documents_find_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let vkeys = init(dir.path());
    let server = Running::start(dir.path(), &["--admit", "open"]);
    let acme = publisher("acme/tool", "pkg:generic/acme");
    assert_eq!(server.submit(&acme.first).status, 200);
    let put = |i: u32| {
        let witnesses = format!("# {i}\nquorum none\n");
        let document = TrustDocument::new(ORIGIN, vkeys.clone(), acme.id, "acme/tool", &witnesses);
        let bytes = document.to_canonical().unwrap();
        let path = format!("/api/v1/trust/{}", hex32(&sha256(&bytes)));
        server.send("PUT", &path, "application/json", &bytes).status
    };
    let kept = (0..64).filter(|i| put(*i) == 204).count();
    assert_eq!(kept, 8);
    assert_eq!((put(0), put(64)), (204, 409), "what is kept stays kept");
}

#[test]
fn wrong_methods_say_which_are_right_and_look_ups_are_not_stale() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let server = Running::start(dir.path(), &[]);
    let answer = server.send("DELETE", "/api/v1/entries", "text/plain", b"");
    assert_eq!(
        (answer.status, answer.kind().as_str()),
        (405, "method-not-allowed")
    );
    assert!(
        answer.head.to_lowercase().contains("allow: post"),
        "{}",
        answer.head
    );
    for path in [
        "/readyz",
        "/metrics",
        &format!("/api/v1/digests/{}", "0".repeat(64)),
    ] {
        let answer = server.get(path);
        assert!(
            answer.head.contains("cache-control: no-cache"),
            "{path}: {}",
            answer.head
        );
    }
    let tile = server.send("HEAD", "/checkpoint", "text/plain", b"");
    assert_eq!((tile.status, tile.body.len()), (200, 0));
}

/// A process that does not outlive its test, however that ends.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connections that say nothing take no descriptor that the log needs: a batch whose files
/// cannot be opened would end the process.
#[test]
fn idle_connections_do_not_end_the_log() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    // The limit of descriptors, hard: the server cannot raise it.
    let mut child = Killed(
        std::process::Command::new("sh")
            .args(["-c", "ulimit -n 160; exec \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_countersign-server"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admit",
                "open",
                "--data",
            ])
            .arg(dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let addr = line.trim().rsplit('/').next().unwrap().to_owned();
    let mut publisher_stream = TcpStream::connect(&addr).unwrap();
    let patience = Some(std::time::Duration::from_secs(20));
    publisher_stream.set_read_timeout(patience).unwrap();
    let mut submit = |envelope: &Envelope| -> Option<u16> {
        let body = envelope.to_json().to_string();
        let length = body.len();
        write!(
            publisher_stream,
            "POST /api/v1/entries HTTP/1.1\r\nHost: log\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut reader = BufReader::new(&publisher_stream);
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3)?.parse().ok();
            }
            if let Some(n) = line.strip_prefix("content-length: ") {
                length = n.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        status
    };
    let acme = publisher("acme/tool", "pkg:generic/acme");
    assert_eq!(submit(&acme.first), Some(200));
    let address = addr.parse().unwrap();
    // More than it has descriptors for. Once its backlog is full, nobody else connects at all.
    let moment = std::time::Duration::from_millis(200);
    let idle: Vec<TcpStream> = (0..300)
        .map_while(|_| TcpStream::connect_timeout(&address, moment).ok())
        .collect();
    assert!(idle.len() >= 160, "only {} connected", idle.len());
    std::thread::sleep(std::time::Duration::from_millis(300));
    // Enough for a full bundle and its tile.
    for i in 0..130 {
        let release = acme.envelope(
            &format!("pkg:generic/acme/tool@{i}"),
            &[artifact("tool", &[i])],
        );
        assert_eq!(submit(&release), Some(200), "release {i}");
    }
}
