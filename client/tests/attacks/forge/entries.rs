//! Of the artifact and its release: borrowed bundles, signatures, payloads, names.

use super::{Folder, note_of, seen_release};
use crate::forger::{Liar, Plan, known_p256, released_as};
use keys::{SecretKey, Signer as _};
use ledger::envelope::Envelope;
use ledger::{Hash, b64, json, sha256};
use serde_json::{Value, json};

type Named = (&'static str, Folder);
/// Makes a signature of r and s.
type Encode<'a> = &'a dyn Fn(&[u8], &[u8]) -> Vec<u8>;

pub fn folders() -> Vec<Named> {
    let mut all = borrowed();
    all.extend(signatures());
    all.extend(envelopes());
    all.extend(names());
    all.extend(text());
    all
}

fn borrowed() -> Vec<Named> {
    let liar = Liar::known();
    let plan = liar.plan();
    let mut other_file = Folder::genuine();
    other_file.artifact = b"changed".to_vec();
    let mut other_version = Folder::genuine();
    other_version.version = Some("1.1");

    // Two artifacts of one release, as long as each other.
    let both = released_as(&plan.id, &[("x.sh", b"genuine"), ("y.sh", b"another")]);
    let both = Plan {
        release: Envelope::sign(both, &[&liar.release]).unwrap(),
        ..liar.plan()
    };
    let mut other_artifact = Folder::of(&liar, &both);
    other_artifact.artifact = b"another".to_vec();

    // A thief's own project in the same log, with a genuine bundle of its own.
    let thief = Liar {
        root: known_p256("countersign test thief's root"),
        release: known_p256("countersign test thief"),
        ..Liar::known()
    };
    let mut other_project = Folder::of(&thief, &thief.plan());
    other_project.policy = Folder::genuine().policy;

    let mut older = Folder::genuine().remembering(|m| seen_release(m, &plan, 9));
    older.no_rollback = true;
    let mut below = Folder::genuine().under(|p| p.projects[0].min_index = Some(9));
    below.no_rollback = true;

    let other_log = Folder::genuine().bundled(|b| {
        let checkpoint = tlog::note::Note::parse(b.first.as_bytes()).unwrap().text;
        let checkpoint = tlog::checkpoint::Checkpoint::parse(&checkpoint).unwrap();
        b.first = note_of(
            &liar,
            "other.example",
            3,
            checkpoint.root,
            crate::forger::T + 1,
        );
    });
    vec![
        ("bundle-of-another-file", other_file),
        ("bundle-of-another-version", other_version),
        ("bundle-of-another-artifact", other_artifact),
        ("bundle-of-another-project", other_project),
        ("bundle-of-another-log", other_log),
        ("older-version-than-remembered", older),
        ("older-version-than-the-policy-has", below),
    ]
}

/// The genuine release with another signature by the genuine key.
fn with_signature(change: impl FnOnce(&SecretKey, &[u8], Vec<u8>) -> Vec<u8>) -> Folder {
    let liar = Liar::known();
    let mut plan = liar.plan();
    let pae = plan.release.pae();
    let sig = plan.release.signatures[0].sig.clone();
    plan.release.signatures[0].sig = change(&liar.release, &pae, sig);
    Folder::of(&liar, &plan)
}

/// DER of (r, s) where each is put as it stands.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |n: &[u8]| {
        let pad = n.first().is_none_or(|b| b & 0x80 != 0);
        let body = [if pad { &[0][..] } else { &[] }, n].concat();
        [&[2, body.len() as u8][..], &body].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [&[0x30, both.len() as u8][..], &both].concat()
}

/// The integer at the front of `der`, without zeros before it, and what is behind it.
fn integer(der: &[u8]) -> (&[u8], &[u8]) {
    let (number, rest) = der[2..].split_at(usize::from(der[1]));
    (number.strip_prefix(&[0]).unwrap_or(number), rest)
}

/// The same in 32 bytes.
fn wide(number: &[u8]) -> Vec<u8> {
    [vec![0; 32 - number.len()], number.to_vec()].concat()
}

/// a − b, both of 32 bytes at most.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let (a, b) = (wide(a), wide(b));
    let (mut out, mut borrow) = (vec![0; 32], 0);
    for i in (0..32).rev() {
        let digit = i16::from(a[i]) - i16::from(b[i]) - borrow;
        borrow = i16::from(digit < 0);
        out[i] = digit.rem_euclid(256) as u8;
    }
    out
}

fn signatures() -> Vec<Named> {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order = hex::decode(ORDER).unwrap();
    let parts = |f: Encode<'_>| {
        with_signature(|_, _, sig| {
            let (r, rest) = integer(&sig[2..]);
            f(r, integer(rest).0)
        })
    };
    vec![
        ("ecdsa-r-zero", parts(&|_, s| der(&[], s))),
        ("ecdsa-s-zero", parts(&|r, _| der(r, &[]))),
        ("ecdsa-r-of-the-order", parts(&|_, s| der(&order, s))),
        ("ecdsa-s-of-the-order", parts(&|r, _| der(r, &order))),
        (
            "ecdsa-r-and-s-without-der",
            parts(&|r, s| [wide(r), wide(s)].concat()),
        ),
        (
            "ecdsa-der-with-a-long-length",
            with_signature(|_, _, sig| [&[0x30, 0x81], &sig[1..]].concat()),
        ),
        (
            "ecdsa-der-with-bytes-behind",
            with_signature(|_, _, sig| [&sig[..], &[0]].concat()),
        ),
        (
            "ecdsa-high-s-twin",
            parts(&|r, s| der(r, &minus(&order, s))),
        ),
    ]
}

fn envelopes() -> Vec<Named> {
    let liar = Liar::known();
    let stranger = known_p256("countersign test thief");
    let id = liar.plan().id;
    let released = |by: &SecretKey| Plan {
        release: liar.released(&id, by),
        ..liar.plan()
    };
    let mut borrowed = liar.plan();
    borrowed.release.signatures[0].sig = stranger.sign(&borrowed.release.pae()).unwrap();
    let elsewhere = Plan {
        release: liar.released(&[7; 32], &liar.release),
        ..liar.plan()
    };

    // Two keys must release; one of them signs, twice.
    let second = known_p256("countersign test second release key");
    let project = ledger::statement::Project {
        release_threshold: 2,
        authorities: Vec::new(),
        release_keys: {
            let mut keys = vec![
                liar.release.public_key().clone(),
                second.public_key().clone(),
            ];
            keys.sort();
            keys
        },
        ..liar.project()
    };
    let signers: [&dyn keys::Signer; 3] = [&liar.root, &liar.release, &second];
    let project = Envelope::sign(project.to_payload().unwrap(), &signers).unwrap();
    let plan = liar.plan_for(project, &liar.release);
    let mut envelope = plan.release.to_json();
    let list = envelope["signatures"].as_array_mut().unwrap();
    list.push(list[0].clone());
    let twice = logged(&liar, &plan, &envelope, &plan.release.pae_hash());

    // The key has signed these bytes as something else.
    let plan = liar.plan();
    let pae = ledger::envelope::pae("text/plain", &plan.release.payload);
    let mut envelope = plan.release.to_json();
    envelope["payloadType"] = "text/plain".into();
    envelope["signatures"][0]["sig"] = b64(&liar.release.sign(&pae).unwrap()).into();
    let confused = logged(&liar, &plan, &envelope, &sha256(&pae));
    vec![
        (
            "release-by-a-stranger",
            Folder::of(&liar, &released(&stranger)),
        ),
        (
            "release-by-a-root-key",
            Folder::of(&liar, &released(&liar.root)),
        ),
        ("key-id-of-another", Folder::of(&liar, &borrowed)),
        ("release-of-another-project", Folder::of(&liar, &elsewhere)),
        ("one-key-signs-twice", twice),
        ("payload-type-of-something-else", confused),
    ]
}

/// The plan's log with another envelope in the place of its release's.
fn logged(liar: &Liar, plan: &Plan, envelope: &Value, pae_hash: &Hash) -> Folder {
    let leaf = json!({ "apiVersion": "countersign/v1", "kind": "statement",
        "envelope": envelope, "time": plan.release_time });
    let (mut leaves, _) = liar.leaves(plan);
    leaves[1] = json::to_canonical(&leaf).unwrap();
    let bundle = liar.bundle_of(plan, &leaves, pae_hash);
    Folder {
        bundle: bundle.to_bytes().unwrap(),
        ..Folder::of(liar, plan)
    }
}

fn names() -> Vec<Named> {
    let liar = Liar::known();
    let plan = liar.plan();
    let listed = |name: &str| {
        let payload = released_as(&plan.id, &[(name, b"genuine")]);
        let release = Envelope::sign(payload, &[&liar.release]).unwrap();
        Plan {
            release,
            ..liar.plan()
        }
    };
    let asked = |name: &str, as_name: &'static str| Folder {
        name: as_name,
        ..Folder::of(&liar, &listed(name))
    };
    vec![
        // The first letter is U+0445, which looks like an x.
        ("artifact-name-look-alike", asked("\u{445}.sh", "x.sh")),
        // One accented letter, and a letter with an accent behind it.
        (
            "artifact-name-of-another-normal-form",
            asked("caf\u{e9}.sh", "cafe\u{301}.sh"),
        ),
        ("artifact-name-in-another-case", asked("X.sh", "x.sh")),
    ]
}

fn text() -> Vec<Named> {
    let raw = |change: &dyn Fn(String) -> String| {
        let folder = Folder::genuine();
        let text = String::from_utf8(folder.bundle.clone()).unwrap();
        Folder {
            bundle: change(text).into_bytes(),
            ..folder
        }
    };
    let twice = raw(&|t| {
        t.replacen(
            "\"apiVersion\":",
            "\"apiVersion\":\"other/v1\",\"apiVersion\":",
            1,
        )
    });
    let unknown = Folder::genuine().edited(|v| v["verified"] = true.into());
    let newer = Folder::genuine().edited(|v| v["apiVersion"] = "countersign/v2".into());

    // The release's key has signed a payload with another behind it, and one that names two
    // projects.
    let liar = Liar::known();
    let plan = liar.plan();
    let surplus = [&plan.release.payload[..], b"{}"].concat();
    let surplus = Envelope::sign(surplus, &[&liar.release]).unwrap();
    let surplus = logged(&liar, &plan, &surplus.to_json(), &surplus.pae_hash());
    let payload = String::from_utf8(plan.release.payload.clone()).unwrap();
    let other = format!("\"packageId\":\"{}\",\"packageId\":", "7".repeat(64));
    let payload = payload.replacen("\"packageId\":", &other, 1).into_bytes();
    let ambiguous = Envelope::sign(payload, &[&liar.release]).unwrap();
    let ambiguous = logged(&liar, &plan, &ambiguous.to_json(), &ambiguous.pae_hash());
    vec![
        ("bundle-with-a-name-twice", twice),
        ("bundle-with-bytes-behind", raw(&|t| t + "{}")),
        ("bundle-with-an-unknown-field", unknown),
        ("bundle-of-a-newer-version", newer),
        ("payload-with-a-name-twice", ambiguous),
        ("payload-with-bytes-behind", surplus),
    ]
}
