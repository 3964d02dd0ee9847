//! The main flow through the built program: init, serve, publish, read back, stop, restart.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{DSSE, Running, artifact, init, program, publisher};
use ledger::bundle::Bundle;
use ledger::hex32;
use ledger::leaf::Leaf;
use tlog::checkpoint::Checkpoint;
use tlog::hash::leaf_hash;
use tlog::note::Note;
use tlog::proof::{verify_consistency, verify_inclusion};
use tlog::vkey::VerifierKey;

fn checkpoint(note: &[u8], vkeys: &[String]) -> Checkpoint {
    let keys: Vec<VerifierKey> = vkeys
        .iter()
        .map(|v| VerifierKey::parse(v).unwrap())
        .collect();
    let note = Note::parse(note).unwrap();
    assert_eq!(note.verify(&keys).unwrap().len(), 2, "both log keys sign");
    Checkpoint::parse(&note.text).unwrap()
}

fn check_bundle(bytes: &[u8], vkeys: &[String]) -> Bundle {
    let bundle = Bundle::parse(bytes).unwrap();
    let c = checkpoint(bundle.first.as_bytes(), vkeys);
    for part in bundle.projects.iter().chain([&bundle.entry]) {
        verify_inclusion(
            &leaf_hash(&part.leaf),
            part.index,
            c.size,
            &part.proof,
            &c.root,
        )
        .unwrap();
    }
    verify_inclusion(
        &leaf_hash(&bundle.head.leaf),
        c.size - 1,
        c.size,
        &bundle.head.proof,
        &c.root,
    )
    .unwrap();
    let Leaf::Head(head) = Leaf::parse(&bundle.head.leaf).unwrap() else {
        panic!("the last leaf is the head")
    };
    assert_eq!(head.entries, c.size - 1);
    let project = Leaf::parse(&bundle.projects[0].leaf).unwrap();
    let Leaf::Statement(project) = project else {
        panic!("a project statement")
    };
    let id = project.envelope.pae_hash();
    let proven = tlog::prefix::verify(&head.map, &id, &bundle.head.map).unwrap();
    assert_eq!(proven, Some(bundle.head.state.hash().unwrap()));
    for (key, proof) in &bundle.head.withdrawn {
        assert_eq!(
            tlog::prefix::verify(&bundle.head.state.withdrawn, key, proof).unwrap(),
            None
        );
    }
    bundle
}

#[test]
fn publish_read_back_stop_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let vkeys = init(dir.path());
    let server = Running::start(dir.path(), &["--admit", "open"]);
    assert_eq!(checkpoint(&server.get("/checkpoint").body, &vkeys).size, 0);

    let acme = publisher("acme/tool", "pkg:generic/acme");
    let answer = server.submit(&acme.first);
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    assert!(
        answer
            .head
            .contains("application/vnd.countersign.bundle.v1+json")
    );
    check_bundle(&answer.body, &vkeys);
    let old = checkpoint(&server.get("/checkpoint").body, &vkeys);
    assert_eq!(old.size, 3, "statement, admitted, head");

    let subjects = [artifact("tool-linux", b"one"), artifact("tool-mac", b"two")];
    let release = acme.envelope("pkg:generic/acme/tool@1.0.0", &subjects);
    let answer = server.submit(&release);
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let bundle = check_bundle(&answer.body, &vkeys);
    assert_eq!((bundle.entry.index, bundle.head.withdrawn.len()), (3, 3));
    // The same again, also in other clothes, is the entry that stands.
    let again = server.submit(&release);
    assert_eq!((again.status, &again.body), (200, &answer.body));

    let new = checkpoint(&server.get("/checkpoint").body, &vkeys);
    let proof = server.get("/api/v1/proofs/consistency?from=3&to=5").json();
    let proof: Vec<[u8; 32]> = proof["proof"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| ledger::from_hex32(h.as_str().unwrap()).unwrap())
        .collect();
    verify_consistency(old.size, &old.root, new.size, &new.root, &proof).unwrap();
    let tile = server.get("/tile/0/000.p/5");
    assert!(tile.head.contains("immutable") && tile.head.contains("application/octet-stream"));
    assert_eq!(tile.body.len(), 5 * 32);
    let entries = tlog::tile::parse_bundle(&server.get("/tile/entries/000.p/5").body, 5).unwrap();
    assert_eq!(leaf_hash(&entries[3]), tile.body[96..128]);
    assert_eq!(
        server.get("/api/v1/entries/3").json()["leaf"]
            .as_str()
            .unwrap(),
        ledger::b64(&entries[3])
    );
    for missing in [
        "/tile/0/000",
        "/tile/0/000.p/6",
        "/tile/1/000",
        "/tile/0/0",
        "/tile/0/x000/000",
        "/tile/entries/001.p/1",
    ] {
        assert_eq!(server.get(missing).status, 404, "{missing}");
    }

    let digest = hex32(&subjects[0].sha256);
    let found = server.get(&format!("/api/v1/digests/{digest}")).json();
    assert_eq!(found["entries"][0]["purl"], "pkg:generic/acme/tool@1.0.0");
    let by_name = server.get("/api/v1/projects/acme%2Ftool").json();
    assert_eq!(
        (by_name["status"].as_str(), by_name["id"].as_str()),
        (Some("admitted"), Some(acme.hex().as_str()))
    );
    assert_eq!(by_name["releases"][0]["index"], 3);
    let head = server
        .get(&format!("/api/v1/projects/{}/head", acme.hex()))
        .json();
    assert_eq!(head["checkpoint"].as_str().unwrap(), bundle.first);
    assert_eq!(server.get("/readyz").status, 200);
    assert!(
        String::from_utf8(server.get("/metrics").body)
            .unwrap()
            .contains("countersign_log_size 5\n")
    );
    assert_eq!(server.get("/openapi.json").json()["openapi"], "3.1.0");

    // A second server on the directory is refused; the first goes on.
    let second = program(&[
        "serve",
        "--data",
        dir.path().to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("in use"));
    assert!(server.stop(), "a clean end");

    let server = Running::start(dir.path(), &["--admit", "open"]);
    assert_eq!(checkpoint(&server.get("/checkpoint").body, &vkeys), new);
    let again = server.submit(&release);
    assert_eq!((again.status, &again.body), (200, &answer.body));
    // Killed, not stopped: what was answered is still there.
    let next = acme.envelope(
        "pkg:generic/acme/tool@1.0.1",
        &[artifact("tool-linux", b"three")],
    );
    assert_eq!(server.submit(&next).status, 200);
    server.kill();
    let server = Running::start(dir.path(), &["--admit", "open"]);
    assert_eq!(checkpoint(&server.get("/checkpoint").body, &vkeys).size, 7);
    assert_eq!(
        check_bundle(&server.submit(&next).body, &vkeys).entry.index,
        5
    );
}

#[test]
fn bad_submissions_are_named_and_nothing_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let vkeys = init(dir.path());
    let server = Running::start(dir.path(), &["--admit", "open"]);
    let acme = publisher("acme/tool", "pkg:generic/acme");
    assert_eq!(server.submit(&acme.first).status, 200);
    let size = checkpoint(&server.get("/checkpoint").body, &vkeys).size;
    let check = |status: u16, kind: &str, answer: common::Answer| {
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(
            (answer.status, answer.kind().as_str()),
            (status, kind),
            "{shown}"
        );
        assert!(
            !shown.contains("panicked") && !shown.contains(".rs:"),
            "{shown}"
        );
    };
    let good = acme.envelope("pkg:generic/acme/tool@1.0.0", &[artifact("tool", b"x")]);
    let text = good.to_json().to_string();
    let post = |body: &str| server.send("POST", "/api/v1/entries", DSSE, body.as_bytes());
    check(413, "body-too-large", post(&" ".repeat(128 * 1024 + 1)));
    check(400, "not-strict-json", post("hello"));
    check(400, "not-strict-json", post(&format!("{text} {{}}")));
    check(
        400,
        "not-strict-json",
        post(&text.replacen('{', "{\"payloadType\":\"x\",", 1)),
    );
    check(
        400,
        "envelope-shape",
        post(&text.replacen('{', "{\"extra\":1,", 1)),
    );
    check(
        415,
        "unsupported-media-type",
        server.send("POST", "/api/v1/entries", "text/plain", text.as_bytes()),
    );
    check(404, "not-found", server.get("/nothing"));
    check(
        405,
        "method-not-allowed",
        server.send("DELETE", "/api/v1/entries", DSSE, b""),
    );
    check(400, "bad-number", server.get("/api/v1/entries/007"));
    check(404, "not-published", server.get("/api/v1/entries/99"));
    check(
        404,
        "not-published",
        server.get("/api/v1/proofs/inclusion?index=3&size=3"),
    );
    check(400, "bad-digest", server.get("/api/v1/digests/xyz"));

    let other = publisher("other/tool", "pkg:generic/other");
    let mut wrong = good.clone();
    wrong.signatures = other
        .envelope("pkg:generic/acme/tool@1.0.0", &[artifact("tool", b"x")])
        .signatures;
    check(403, "unauthorised-key", server.submit(&wrong));
    let mut forged = good.clone();
    forged.signatures[0].sig = acme
        .envelope("pkg:generic/acme/tool@2", &[artifact("tool", b"x")])
        .signatures[0]
        .sig
        .clone();
    check(403, "bad-signature", server.submit(&forged));
    check(
        404,
        "unknown-project",
        server.submit(&other.envelope("pkg:generic/other/t@1", &[artifact("t", b"x")])),
    );
    check(
        422,
        "purl-outside-prefixes",
        server.submit(&acme.envelope("pkg:generic/acmeX/t@1", &[artifact("t", b"x")])),
    );
    check(
        409,
        "name-taken",
        server.submit(&publisher("acme/tool", "pkg:generic/elsewhere").first),
    );
    check(
        409,
        "prefix-overlap",
        server.submit(&publisher("acme/sub", "pkg:generic/acme/sub").first),
    );
    let many: Vec<_> = (0..400)
        .map(|i| artifact(&format!("artifact-{i:04}-{}", "x".repeat(40)), b"x"))
        .collect();
    check(
        413,
        "leaf-too-large",
        server.submit(&acme.envelope("pkg:generic/acme/tool@3", &many)),
    );
    assert_eq!(
        checkpoint(&server.get("/checkpoint").body, &vkeys).size,
        size,
        "nothing was logged"
    );

    assert_eq!(server.submit(&good).status, 200);
    let burnt = acme.envelope("pkg:generic/acme/tool@1.0.0", &[artifact("tool", b"y")]);
    check(409, "purl-released-before", server.submit(&burnt));
    // By the index, too, and by a server that never saw the release come in.
    let other = acme.envelope("pkg:generic/acme/tool@1.0.1", &[artifact("tool", b"z")]);
    assert_eq!(server.submit(&other).status, 200);
    check(409, "purl-released-before", server.submit(&burnt));
    drop(server);
    let server = Running::start(dir.path(), &["--admit", "open"]);
    check(409, "purl-released-before", server.submit(&burnt));
}

#[test]
fn the_operator_decides_about_projects() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let data = dir.path().to_str().unwrap();
    let stopped = program(&["project", "list", "--data", data]);
    assert!(
        !stopped.status.success()
            && String::from_utf8_lossy(&stopped.stderr).contains("no server runs")
    );
    let server = Running::start(dir.path(), &[]);
    let (acme, evil) = (
        publisher("acme/tool", "pkg:generic/acme"),
        publisher("evil", "pkg:generic/evil"),
    );
    for one in [&acme, &evil, &acme] {
        let answer = server.submit(&one.first);
        assert_eq!(
            (answer.status, answer.json()["status"].as_str()),
            (202, Some("pending"))
        );
    }
    let release = acme.envelope("pkg:generic/acme/tool@1", &[artifact("tool", b"x")]);
    assert_eq!(server.submit(&release).kind(), "project-pending");

    // The trust document waits with its project, and is served once that is admitted.
    let vkeys = countersign_server::vkeys(dir.path()).unwrap();
    let document = ledger::trust::TrustDocument::new(
        common::ORIGIN,
        vkeys,
        acme.id,
        "acme/tool",
        "quorum none\n",
    );
    let (bytes, hash) = (
        document.to_canonical().unwrap(),
        hex32(&document.hash().unwrap()),
    );
    let put = |hash: &str, bytes: &[u8]| {
        server.send(
            "PUT",
            &format!("/api/v1/trust/{hash}"),
            "application/json",
            bytes,
        )
    };
    assert_eq!(put(&"0".repeat(64), &bytes).kind(), "trust-hash-mismatch");
    assert_eq!(put(&hash, &bytes).status, 204);
    let prefix = format!("/api/v1/trust/{}", &hash[..40]);
    assert_eq!(server.get(&prefix).status, 404);
    drop(server);

    // Pending projects outlive the process.
    let server = Running::start(dir.path(), &[]);
    let project = |args: &[&str]| {
        let out = program(&[&["project"], args, &["--data", data]].concat());
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    };
    let listed = project(&["list"]);
    assert!(
        listed.contains("pending") && listed.contains("acme/tool") && listed.contains("evil"),
        "{listed}"
    );
    assert!(project(&["admit", "acme/tool"]).contains("admitted"));
    assert!(project(&["refuse", "evil", "--reason", "not ours"]).contains("refused"));
    assert_eq!(
        server.get("/api/v1/projects/evil").json()["status"],
        "refused"
    );
    assert_eq!(server.submit(&evil.first).kind(), "project-refused");
    assert_eq!(server.get(&prefix).body, bytes);
    assert_eq!(server.submit(&release).status, 200);
    assert!(
        !program(&["project", "admit", "nobody", "--data", data])
            .status
            .success()
    );

    project(&["freeze", "acme/tool"]);
    let next = acme.envelope("pkg:generic/acme/tool@2", &[artifact("tool", b"y")]);
    assert_eq!(server.submit(&next).kind(), "project-frozen");
    project(&["thaw", "acme/tool"]);
    assert_eq!(server.submit(&next).status, 200);
    // In the log: statement, admitted, head; refused, head; release, head; frozen, head; thawed, head; release, head.
    assert_eq!(server.get("/api/v1/entries/12").status, 200);
    assert_eq!(server.get("/api/v1/entries/13").status, 404);
}

#[test]
fn every_described_address_exists() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let server = Running::start(dir.path(), &[]);
    let described = server.get("/openapi.json").json();
    for (path, methods) in described["paths"].as_object().unwrap() {
        let concrete = path
            .replace("{level}", "0")
            .replace("{index}", "000")
            .replace("{sha256}", "00")
            .replace("{project}", "nobody")
            .replace("{hash}", "00");
        for method in methods.as_object().unwrap().keys() {
            let answer = server.send(&method.to_uppercase(), &concrete, "application/json", b"{}");
            if answer.status >= 400 {
                assert!(
                    !["not-found", "method-not-allowed"].contains(&answer.kind().as_str()),
                    "{method} {path}"
                );
            }
        }
    }
    // What the framework itself refuses is a problem too.
    assert_eq!(server.get("/api/v1/projects/%ff").kind(), "bad-request");
    assert_eq!(
        server
            .get("/api/v1/proofs/inclusion?index=1&index=2")
            .kind(),
        "bad-request"
    );
}

#[test]
fn what_was_answered_survives_a_kill_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let vkeys = init(dir.path());
    let acme = publisher("acme/tool", "pkg:generic/acme");
    let mut server = Running::start(dir.path(), &["--admit", "open"]);
    assert_eq!(server.submit(&acme.first).status, 200);
    let releases: Vec<_> = (0..300u32)
        .map(|i| {
            acme.envelope(
                &format!("pkg:generic/acme/tool@{i}"),
                &[artifact("tool", &i.to_be_bytes())],
            )
        })
        .collect();
    let mut answered = Vec::new();
    for round in releases.chunks(100) {
        let seen = checkpoint(&server.get("/checkpoint").body, &vkeys);
        let done = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let clients: Vec<_> = round
                .chunks(25)
                .map(|part| {
                    let (server, done) = (&server, &done);
                    scope.spawn(move || {
                        let mut stands = Vec::new();
                        for release in part {
                            let Some(answer) = server.try_submit(release) else {
                                break;
                            };
                            assert_eq!(answer.status, 200);
                            done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            stands.push((
                                release.clone(),
                                Bundle::parse(&answer.body).unwrap().entry.index,
                            ));
                        }
                        stands
                    })
                })
                .collect();
            // In the middle of it, whatever is being written just then.
            while done.load(std::sync::atomic::Ordering::Relaxed) < 40 {
                std::thread::yield_now();
            }
            server.kill_now();
            answered.extend(clients.into_iter().flat_map(|c| c.join().unwrap()));
        });
        server = Running::start(dir.path(), &["--admit", "open"]);
        assert_eq!(server.get("/readyz").status, 200);
        let now = checkpoint(&server.get("/checkpoint").body, &vkeys);
        let path = format!(
            "/api/v1/proofs/consistency?from={}&to={}",
            seen.size, now.size
        );
        let proof: Vec<[u8; 32]> = server.get(&path).json()["proof"]
            .as_array()
            .unwrap()
            .iter()
            .map(|h| ledger::from_hex32(h.as_str().unwrap()).unwrap())
            .collect();
        verify_consistency(seen.size, &seen.root, now.size, &now.root, &proof).unwrap();
    }
    assert!(answered.len() >= 120);
    for (release, index) in &answered {
        let bundle = check_bundle(&server.submit(release).body, &vkeys);
        assert_eq!(bundle.entry.index, *index);
    }
}
