//! Submissions that differ from an accepted one in a single point, through the built server:
//! each is named, and the log stays as long as it was.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{DSSE, Running, artifact, init, publisher};
use keys::SecretKey;
use ledger::envelope::Envelope;
use ledger::statement::Project;
use serde_json::{Value, json};

/// The order of P-256.
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// The two integers of a DER signature, without leading zeros.
fn integers(der: &[u8]) -> [Vec<u8>; 2] {
    let length = usize::from(der[3]);
    let (r, s) = (&der[4..4 + length], &der[6 + length..]);
    [r, s].map(|n| n.iter().copied().skip_while(|b| *b == 0).collect())
}

/// A DER signature of `r` and `s`, each with `pad` zeros too many.
fn encode(numbers: [Vec<u8>; 2], pad: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for mut n in numbers {
        let zeros = pad + usize::from(n[0] >= 0x80);
        n.splice(0..0, std::iter::repeat_n(0, zeros));
        body.extend([2, u8::try_from(n.len()).unwrap()]);
        body.extend(n);
    }
    [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
}

/// The twin (r, n − s).
fn high_s(der: &[u8]) -> Vec<u8> {
    let [r, s] = integers(der);
    let mut n = hex::decode(ORDER).unwrap();
    let mut borrow = 0_i16;
    for i in 0..32 {
        let low = if i < s.len() { s[s.len() - 1 - i] } else { 0 };
        let digit = i16::from(n[31 - i]) - i16::from(low) - borrow;
        borrow = i16::from(digit < 0);
        n[31 - i] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    let s = n.into_iter().skip_while(|b| *b == 0).collect();
    encode([r, s], 0)
}

#[test]
fn signatures_of_other_forms_digests_and_names_are_refused_and_nothing_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let server = Running::start(dir.path(), &["--admit", "open"]);
    let acme = publisher("acme/tool", "pkg:generic/acme");
    assert_eq!(server.submit(&acme.first).status, 200);
    let before = server.get("/checkpoint").body;
    let refused = |body: &Value, kind: &str| {
        let answer = server.send("POST", "/api/v1/entries", DSSE, body.to_string().as_bytes());
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        assert!((400..500).contains(&answer.status), "{kind}: {shown}");
        assert_eq!(answer.kind(), kind, "{shown}");
        assert_eq!(server.get("/checkpoint").body, before, "{kind}");
    };
    let purl = "pkg:generic/acme/tool@1.0.0";
    let good = acme.envelope(purl, &[artifact("tool", b"x")]);

    // High s, surplus zeros, a length in long form, a byte too many.
    let der = good.signatures[0].sig.clone();
    assert_eq!(
        encode(integers(&der), 0),
        der,
        "what we take apart we can put together"
    );
    let long = [&[0x30, 0x81], &der[1..]].concat();
    let trailing = [&der[..], &[0]].concat();
    for sig in [
        high_s(&der),
        encode(integers(&der), 1),
        long,
        trailing,
        Vec::new(),
    ] {
        let mut envelope = good.clone();
        envelope.signatures[0].sig = sig;
        refused(&envelope.to_json(), "bad-signature");
    }

    // Two signatures of one key, the same or not; none; too many; a key id of another length.
    let one = good.to_json()["signatures"][0].clone();
    let with = |signatures: Value| {
        let mut body = good.to_json();
        body["signatures"] = signatures;
        body
    };
    let again = acme.envelope(purl, &[artifact("tool", b"x")]).to_json()["signatures"][0].clone();
    refused(&with(json!([one, one])), "repeated-signature");
    refused(&with(json!([one, again])), "repeated-signature");
    refused(&with(json!([])), "signature-count");
    refused(&with(json!(vec![one.clone(); 33])), "signature-count");
    refused(
        &with(json!([{ "keyid": "00", "sig": one["sig"] }])),
        "bad-keyid",
    );

    // The statement itself, signed by the right key.
    let signed = |text: String| {
        Envelope::sign(text.into_bytes(), &[&acme.release])
            .unwrap()
            .to_json()
    };
    let text = String::from_utf8(good.payload.clone()).unwrap();
    let digest = ledger::hex32(&artifact("tool", b"x").sha256);
    for bad in [
        &digest[..62],
        &format!("{digest}00"),
        &digest.to_uppercase(),
    ] {
        refused(&signed(text.replace(&digest, bad)), "bad-digest");
    }
    let long = "x".repeat(256);
    for bad in ["a/b", "..", ".", "", "a\\\\b", "a\\u0001b", "a\\nb", &long] {
        let renamed = text.replacen("\"name\":\"tool\"", &format!("\"name\":\"{bad}\""), 1);
        assert_ne!(renamed, text);
        refused(&signed(renamed), "bad-artifact-name");
    }

    // A project for another log.
    let (root, release) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let mut other: Project = publisher("other", "pkg:generic/other").project;
    other.log = "elsewhere.example".into();
    other.roots = vec![keys::Signer::public_key(&root).clone()];
    other.release_keys = vec![keys::Signer::public_key(&release).clone()];
    let payload = other.to_payload().unwrap();
    let envelope = Envelope::sign(payload, &[&root, &release]).unwrap();
    refused(&envelope.to_json(), "other-origin");

    // The statement that all of these were made from is accepted.
    assert_eq!(server.submit(&good).status, 200);
}
