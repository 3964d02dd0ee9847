//! The publishing guard, by the built programs: what carries key material is not published.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use base64::Engine as _;
use countersign_tests::archives::{gzip, image, tar, zip};
use countersign_tests::bench::{Bench, bench, get};
use serde_json::Value;

/// A storage key as the one that leaked in 2021: an HMAC id and its secret. Made anew, so that no key
/// lies in this file; the secret is what must be seen nowhere.
fn storage_key() -> (String, String) {
    let random = keys::SecretKey::generate().unwrap();
    let der = random.to_pkcs8_der().unwrap();
    let secret = base64::engine::general_purpose::STANDARD.encode(&der[36..66]);
    let id = format!("GOOG{}{}", "1E", "ABCDEFGHIJK".repeat(5));
    let text = format!("[Credentials]\ngs_access_key_id = {id}\nother = {secret}\n");
    (text, secret)
}

fn private_key() -> (String, String) {
    let key = keys::SecretKey::generate().unwrap();
    let der = key.to_pkcs8_der().unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(&*der);
    let (one, two) = text.split_at(64);
    let dashes = "-----";
    let pem = format!(
        "{dashes}BEGIN PRIVATE KEY{dashes}\n{one}\n{two}\n{dashes}END PRIVATE KEY{dashes}\n"
    );
    (pem, one.to_owned())
}

/// Each finding of a refusal: its id, and what is said of it.
fn findings(answer: &Value) -> Vec<(String, String)> {
    let details = answer["details"].as_object().unwrap().iter();
    let found = details.filter_map(|(name, value)| {
        let id = name.strip_prefix("finding ")?;
        Some((id.to_owned(), value.as_str().unwrap().to_owned()))
    });
    found.collect()
}

fn size(bench: &Bench) -> String {
    let host = bench.url.strip_prefix("http://").unwrap();
    let note = String::from_utf8(get(host, "/checkpoint").1).unwrap();
    note.lines().nth(1).unwrap().to_owned()
}

fn publish(bench: &Bench, name: &str, more: &str) -> (i32, Value, String) {
    let said = bench.client(&format!(
        "publish {name} --project acme/tool --version 1 --key release1 --json {more}"
    ));
    let out = String::from_utf8(said.out).unwrap();
    let first = out.lines().next().unwrap_or("null");
    let all = format!("{out}{}", said.err);
    (said.code, serde_json::from_str(first).unwrap(), all)
}

#[test]
fn key_material_is_found_in_a_script_a_tar_gz_a_zip_and_a_deleted_layer() {
    let bench = bench();
    let (key, secret) = storage_key();
    let (pem, body) = private_key();
    let script = format!("#!/bin/sh\n# {key}\necho hello\n");
    let packed = gzip(&tar(&[
        ("bin/tool", b"x"),
        ("etc/boto.cfg", key.as_bytes()),
    ]));
    let zipped = zip(&[("lib/x", b"x"), ("lib/id.pem", pem.as_bytes())]);
    let (saved, layers) = image(&[
        vec![("etc/os-release", b"x")],
        vec![("root/.boto", key.as_bytes())],
        // The last layer deletes it: whoever runs the image does not see it, whoever pulls it has it.
        vec![("root/.wh..boto", b"")],
    ]);
    let before = size(&bench);
    let cases: [(&str, &[u8], &str, &str, &str); 4] = [
        (
            "tool.sh",
            script.as_bytes(),
            "gcs-hmac-key",
            "tool.sh",
            &secret,
        ),
        (
            "tool.tar.gz",
            &packed,
            "gcs-hmac-key",
            "tool.tar › etc/boto.cfg",
            &secret,
        ),
        ("tool.zip", &zipped, "pem-private-key", "lib/id.pem", &body),
        ("image.tar", &saved, "gcs-hmac-key", "root/.boto", &secret),
    ];
    for (name, bytes, rule, place, secret) in cases {
        std::fs::write(bench.path(name), bytes).unwrap();
        for more in ["", "--prepare prepared"] {
            let (code, answer, all) = publish(&bench, name, more);
            assert_eq!(
                (code, &answer["kind"]),
                (2, &"key-material".into()),
                "{name}: {all}"
            );
            let found = &findings(&answer)[0].1;
            assert!(found.contains(place) && found.contains(rule), "{found}");
            assert!(!all.contains(secret), "{name}: the secret is shown");
            if name == "image.tar" {
                assert!(
                    found.contains(&format!("layer sha256:{}", layers[1])),
                    "{found}"
                );
            }
        }
        assert!(!bench.path(&format!("{name}.bundle")).exists());
        assert!(!bench.path("prepared").exists());
        // In words as well.
        bench.refused(
            2,
            "key-material",
            &format!("publish {name} --project acme/tool --version 1 --key release1"),
        );
    }
    assert_eq!(size(&bench), before, "something was logged");
    // What has none is published.
    std::fs::write(bench.path("tool.sh"), "#!/bin/sh\n").unwrap();
    let (code, _, all) = publish(&bench, "tool.sh", "");
    assert_eq!(code, 0, "{all}");
    assert_ne!(size(&bench), before);
}

#[test]
fn an_exception_is_for_one_finding_and_stands_in_the_statement() {
    let bench = bench();
    let (pem, body) = private_key();
    let (other, _) = storage_key();
    let packed = tar(&[
        ("test/key.pem", pem.as_bytes()),
        ("test/boto", other.as_bytes()),
    ]);
    std::fs::write(bench.path("tool.tar"), packed).unwrap();
    let (_, answer, _) = publish(&bench, "tool.tar", "");
    let shown = answer["message"].as_str().unwrap();
    assert!(shown.starts_with("2 pieces"), "{shown}");
    let ids: Vec<String> = findings(&answer).into_iter().map(|(id, _)| id).collect();
    let [one, two] = &ids[..] else {
        panic!("{answer}");
    };
    // One is not the other, none is without a reason, and what was not found is not let stand.
    let (code, answer, _) = publish(
        &bench,
        "tool.tar",
        &format!("--allow-finding {one}=for~tests"),
    );
    assert_eq!((code, &answer["kind"]), (2, &"key-material".into()));
    assert_eq!(
        publish(&bench, "tool.tar", &format!("--allow-finding {one}=")).0,
        2
    );
    let unknown = "--allow-finding 0123456789abcdef=x";
    let (code, answer, _) = publish(&bench, "tool.tar", unknown);
    assert_eq!((code, &answer["kind"]), (2, &"unknown-finding".into()));
    let both = format!("--allow-finding {one}=a~key~for~tests --allow-finding {two}=revoked");
    let (code, _, all) = publish(&bench, "tool.tar", &both);
    assert_eq!(code, 0, "{all}");
    bench.ok("verify tool.tar");
    // Whoever reads the log reads why.
    let bundle: Value =
        serde_json::from_slice(&std::fs::read(bench.path("tool.tar.bundle")).unwrap()).unwrap();
    let base64 = base64::engine::general_purpose::STANDARD;
    let leaf = base64
        .decode(bundle["entry"]["leaf"].as_str().unwrap())
        .unwrap();
    let leaf: Value = serde_json::from_slice(&leaf).unwrap();
    let payload = base64
        .decode(leaf["envelope"]["payload"].as_str().unwrap())
        .unwrap();
    assert!(!String::from_utf8_lossy(&payload).contains(&body));
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    let exceptions = statement["predicate"]["guardExceptions"]
        .as_array()
        .unwrap();
    let of = |name: &str| {
        let mut all: Vec<&str> = exceptions
            .iter()
            .map(|e| e[name].as_str().unwrap())
            .collect();
        all.sort_unstable();
        all.join(" ")
    };
    assert_eq!(of("rule"), "gcs-hmac-key pem-private-key");
    assert_eq!(of("reason"), "a key for tests revoked");
    assert_eq!(of("place"), "test/boto test/key.pem");
}

#[test]
fn what_cannot_be_looked_into_is_not_published_unless_it_is_said_why() {
    let bench = bench();
    let mut encrypted = zip(&[("a", b"bytes")]);
    let list = encrypted
        .windows(4)
        .position(|w| w == b"PK\x01\x02")
        .unwrap();
    encrypted[6] |= 1;
    encrypted[list + 8] |= 1;
    std::fs::write(bench.path("tool.zip"), encrypted).unwrap();
    let (code, answer, _) = publish(&bench, "tool.zip", "");
    assert_eq!((code, &answer["kind"]), (2, &"not-looked-into".into()));
    let (id, found) = &findings(&answer)[0];
    assert!(found.contains("encrypted-archive"), "{found}");
    let (code, _, all) = publish(
        &bench,
        "tool.zip",
        &format!("--allow-finding {id}=meant~so"),
    );
    assert_eq!(code, 0, "{all}");
}
