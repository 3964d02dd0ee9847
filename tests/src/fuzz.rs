//! Fuzz targets: what every parser promises, for any bytes at all.
//!
//! Each target is a plain function of bytes that panics where a promise is broken: that
//! nothing panics, that what is read is written back as it stood (or reads back as the same),
//! and that nothing altered ever verifies as something else. They run in two ways: over
//! `tests/corpus` and its mutations as an ordinary test (`tests/tests/fuzz_corpora.rs`), and
//! under libFuzzer (`fuzz/README.md`).
// A target reports by panicking: that is its interface.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod certificate;

pub use certificate::certificate;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use countersign::memory::Memory;
use countersign::policy::{Policy as ClientPolicy, ProjectPolicy};
use countersign::verify::{Artifact, Wanted, verify};
use countersign_server::oidc::claims;
use countersign_server::oidc::config::IssuerSettings;
use countersign_server::oidc::jwks::{KeySet, MAX_KEYS};
use countersign_server::oidc::template::Template;
use countersign_server::oidc::token::Token;
use keys::{KeySource, PublicKey, SecretKey, low_s};
use ledger::bundle::Bundle;
use ledger::envelope::Envelope;
use ledger::evidence::Evidence;
use ledger::leaf::Leaf;
use ledger::statement::{Body, Statement, release_payload};
use ledger::trust::{TrustDocument, TrustString};
use ledger::{Hash, json, names, sha256};
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::policy::Policy as WitnessPolicy;
use tlog::prefix::{MapProof, PrefixTree};
use tlog::tile::{EntryTile, Tile, encode_bundle, parse_bundle};
use tlog::tlog_proof::TlogProof;
use tlog::vkey::VerifierKey;
use tlog::witness::AddCheckpoint;
use tlog::{cosignature, prefix, proof};

/// A target: any bytes in, a panic where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also its directory under `tests/corpus` and its file
/// under `fuzz/fuzz_targets`.
pub const TARGETS: &[(&str, Target)] = &[
    ("note", note),
    ("add_checkpoint", add_checkpoint),
    ("evidence", evidence),
    ("vkey", vkey),
    ("checkpoint", checkpoint),
    ("witness_policy", witness_policy),
    ("tlog_proof", tlog_proof),
    ("tile_path", tile_path),
    ("entry_bundle", entry_bundle),
    ("cosignature", cosignature_bytes),
    ("inclusion", inclusion),
    ("consistency", consistency),
    ("prefix_tree", prefix_tree),
    ("map_proof", map_proof),
    ("json", strict_json),
    ("envelope", envelope),
    ("statement", statement),
    ("leaf", leaf),
    ("bundle", bundle),
    ("trust_document", trust_document),
    ("trust_string", trust_string),
    ("names", all_names),
    ("public_key", public_key),
    ("signature", signature),
    ("secret_key", secret_key),
    ("agent", agent),
    ("key_source", key_source),
    ("certificate", certificate),
    ("client_policy", client_policy),
    ("token", token),
    ("contents", contents),
    ("guard", guard),
    ("receipt", receipt),
    ("verify", verify_bundle),
];

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The golden log, read once.
fn golden() -> &'static serde_json::Value {
    static GOLDEN: OnceLock<serde_json::Value> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        serde_json::from_str(include_str!("../vectors/countersign/golden-log.json")).unwrap()
    })
}

fn golden_policy() -> &'static ClientPolicy {
    static POLICY: OnceLock<ClientPolicy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let text = golden()["trust"]["canonical"].as_str().unwrap();
        let document = TrustDocument::parse(text.as_bytes()).unwrap();
        ClientPolicy::from_trust(&document, None).unwrap()
    })
}

/// Fork evidence: what is read is written back as it stood.
pub fn evidence(data: &[u8]) {
    let Ok(read) = Evidence::parse(data) else {
        return;
    };
    assert_eq!(read.to_bytes().unwrap(), data);
    let _ = read.verify();
}

/// The body of an add-checkpoint request.
pub fn add_checkpoint(data: &[u8]) {
    let Ok(read) = AddCheckpoint::parse(data) else {
        return;
    };
    assert!(read.proof.len() <= tlog::witness::MAX_PROOF_HASHES);
    // A signature's base64 has more than one spelling, so the bytes may differ.
    assert_eq!(AddCheckpoint::parse(&read.to_bytes()), Ok(read.clone()));
    assert_eq!(Checkpoint::parse(&read.note.text), Ok(read.checkpoint));
}

/// Signed notes: what was read can be written and reads back the same; of the golden log's
/// notes, no other text verifies by its key.
pub fn note(data: &[u8]) {
    static TEXTS: OnceLock<Vec<String>> = OnceLock::new();
    let Ok(note) = Note::parse(data) else { return };
    assert_eq!(note.check(), Ok(()));
    let bytes = note.to_bytes();
    assert_eq!(Note::parse(&bytes).unwrap(), note);
    if let Ok(verified) = note.verify(&golden_policy().log.vkeys) {
        let genuine = TEXTS.get_or_init(|| {
            let heads = golden()["heads"].as_array().unwrap();
            heads
                .iter()
                .map(|h| h["checkpoint"].as_str().unwrap())
                .map(|c| Note::parse(c.as_bytes()).unwrap().text)
                .collect()
        });
        assert!(!verified.is_empty());
        assert!(genuine.contains(&note.text), "a text that was never signed");
    }
}

/// Verifier keys: the text form is read back as the same key, whose id is its own.
pub fn vkey(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(key) = VerifierKey::parse(text) else {
        return;
    };
    let written = key.to_string();
    assert!(written.eq_ignore_ascii_case(text));
    assert_eq!(VerifierKey::parse(&written), Ok(key.clone()));
    assert!(key.verify("text\n", &[]).is_err());
}

/// Checkpoints: one text for each, exactly.
pub fn checkpoint(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.to_text(), text);
    }
}

/// Witness policies: whoever meets the quorum still does with one more, all witnesses together
/// always do, and the two times lie between the earliest and the latest.
pub fn witness_policy(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(policy) = WitnessPolicy::parse(text) else {
        return;
    };
    assert!(policy.met(&|_| true), "all witnesses together");
    assert_eq!(policy.met(&|_| false), policy.quorum_none());
    let at = |name: &str| policy.witnesses().iter().position(|w| w.name == name);
    let time = |name: &str| at(name).map(|i| 1000 + i as u64);
    let last = 1000 + policy.witnesses().len() as u64;
    let (first_met, last_met) = (policy.kth_smallest(&time), policy.kth_largest(&time));
    assert_eq!(first_met.is_none(), policy.quorum_none());
    assert_eq!(last_met.is_none(), policy.quorum_none());
    for met in [first_met, last_met].into_iter().flatten() {
        assert!((1000..last).contains(&met));
    }
    if let (Some(first), Some(latest)) = (first_met, last_met) {
        assert!(policy.met(&|n| time(n).is_some_and(|t| t <= first)));
        assert!(!policy.met(&|n| time(n).is_some_and(|t| t < first)));
        assert!(policy.met(&|n| time(n).is_some_and(|t| t >= latest)));
        assert!(!policy.met(&|n| time(n).is_some_and(|t| t > latest)));
    }
}

/// Proof files read back as what was read.
pub fn tlog_proof(data: &[u8]) {
    if let Ok(file) = TlogProof::parse(data) {
        let bytes = file.to_bytes();
        assert_eq!(bytes.len(), data.len());
        assert_eq!(TlogProof::parse(&bytes).unwrap(), file);
    }
}

/// Tile paths: one path for each tile, and none is both a tile's and a bundle's.
pub fn tile_path(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let tile = Tile::parse_path(text);
    let entries = EntryTile::parse_path(text);
    assert!(tile.is_err() || entries.is_err());
    if let Ok(tile) = tile {
        assert_eq!(tile.path(), text);
        assert!((1..=256).contains(&tile.width));
    }
    if let Ok(tile) = entries {
        assert_eq!(tile.path(), text);
        assert!((1..=256).contains(&tile.width));
    }
}

/// Entry bundles of the width that the first byte says: one encoding, exactly.
pub fn entry_bundle(data: &[u8]) {
    let Some((width, bytes)) = data.split_first() else {
        return;
    };
    for width in [u16::from(*width), u16::from(*width) + 1] {
        if let Ok(entries) = parse_bundle(bytes, width) {
            assert_eq!(entries.len(), usize::from(width));
            assert_eq!(encode_bundle(&entries).unwrap(), bytes);
        }
    }
}

/// Cosignatures: one encoding, exactly.
pub fn cosignature_bytes(data: &[u8]) {
    if let Ok((time, signature)) = cosignature::decode(data) {
        assert!(time <= cosignature::MAX_TIMESTAMP);
        assert_eq!(cosignature::encode(time, &signature), data);
    }
}

/// The RFC 6962 root, straight from its definition.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => tlog::hash::EMPTY_ROOT,
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            tlog::hash::node_hash(&root(left), &root(right))
        }
    }
}

/// RFC 9162, 2.1.3.1.
fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) = if index < k {
        (path(index, left), root(right))
    } else {
        (path(index - k, right), root(left))
    };
    proof.push(sibling);
    proof
}

/// RFC 9162, 2.1.4.1, SUBPROOF.
fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if whole {
            Vec::new()
        } else {
            vec![root(leaves)]
        };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) = if old <= k {
        (subproof(old, left, whole), root(right))
    } else {
        (subproof(old - k, right, false), root(left))
    };
    proof.push(sibling);
    proof
}

fn leaves(count: u8) -> Vec<Hash> {
    (0..count).map(|i| tlog::hash::leaf_hash(&[i])).collect()
}

/// Alters a proof as the bytes say: each four are an operation, a place, a byte and a mask.
fn alter(proof: &mut Vec<Hash>, mut edits: &[u8]) {
    while let Some(([operation, place, byte, mask], rest)) = edits.split_first_chunk::<4>() {
        edits = rest;
        let at = usize::from(*place) % (proof.len() + 1);
        match operation % 4 {
            0 => proof.insert(at, [*mask; 32]),
            1 if at < proof.len() => drop(proof.remove(at)),
            2 if at > 0 && at < proof.len() => proof.swap(at - 1, at),
            _ => {
                if let Some(hash) = proof.get_mut(at) {
                    hash[usize::from(*byte) % 32] ^= mask;
                }
            }
        }
        if proof.len() > 80 {
            return;
        }
    }
}

/// Inclusion: bytes are tree size, index, claimed index, claimed size, then edits of the
/// proof. Only the genuine proof of the genuine place verifies.
pub fn inclusion(data: &[u8]) {
    let Some(([size, index, claimed, claimed_size], edits)) = data.split_first_chunk::<4>() else {
        return;
    };
    let size = size % 70 + 1;
    let index = index % size;
    let leaves = leaves(size);
    let (genuine, root) = (path(index.into(), &leaves), root(&leaves));
    let leaf = leaves[usize::from(index)];
    proof::verify_inclusion(&leaf, index.into(), size.into(), &genuine, &root).unwrap();
    let mut altered = genuine.clone();
    alter(&mut altered, edits);
    let (claimed, claimed_size) = (u64::from(*claimed), u64::from(*claimed_size));
    let as_claimed = proof::verify_inclusion(&leaf, claimed, claimed_size, &altered, &root);
    // Two sizes can share a leaf's path, sides and all; the root alone does not tell them apart.
    if as_claimed.is_ok() {
        assert!(altered == genuine && claimed < claimed_size);
    }
    let here = proof::verify_inclusion(&leaf, index.into(), size.into(), &altered, &root);
    assert_eq!(here.is_ok(), altered == genuine);
    let there = proof::verify_inclusion(&leaf, claimed, size.into(), &altered, &root);
    if there.is_ok() {
        assert_eq!(claimed, u64::from(index), "a leaf at two places");
    }
}

/// Consistency: bytes are both sizes, a mask for the old root, then edits of the proof.
pub fn consistency(data: &[u8]) {
    let Some(([old, new, mask], edits)) = data.split_first_chunk::<3>() else {
        return;
    };
    let new = new % 70 + 1;
    let old = old % new + 1;
    let leaves = leaves(new);
    let (head, _) = leaves.split_at(old.into());
    let genuine = subproof(old.into(), &leaves, true);
    let (old_root, new_root) = (root(head), root(&leaves));
    let check = |old_root: &Hash, proof: &[Hash]| {
        proof::verify_consistency(old.into(), old_root, new.into(), &new_root, proof)
    };
    check(&old_root, &genuine).unwrap();
    let mut altered = genuine.clone();
    alter(&mut altered, edits);
    assert_eq!(check(&old_root, &altered).is_ok(), altered == genuine);
    let mut other = old_root;
    other[0] ^= mask;
    if other != old_root {
        assert!(check(&other, &altered).is_err());
    }
}

/// Keys that share many bits, so that short inputs build deep trees.
fn map_key(byte: u8) -> Hash {
    let mut key = [0; 32];
    // The last few lie at the tree's greatest depth; elsewhere depth only costs time.
    let at = if byte >= 0xf8 { 31 } else { byte >> 5 };
    key[usize::from(at)] = 0x80 >> (byte & 7);
    key
}

/// The ledger map: each two bytes set or remove a key; the tree is as its contents say,
/// whatever the order, and proves them.
pub fn prefix_tree(data: &[u8]) {
    let mut tree = PrefixTree::new();
    let mut model = BTreeMap::new();
    for pair in data.chunks_exact(2).take(32) {
        let (key, value) = (map_key(pair[0]), [pair[1] | 1; 32]);
        if pair[1] % 3 == 0 {
            assert_eq!(tree.remove(&key), model.remove(&key));
        } else {
            assert_eq!(tree.insert(key, value), model.insert(key, value));
        }
    }
    let mut again = PrefixTree::new();
    for (key, value) in model.iter().rev() {
        again.insert(*key, *value);
    }
    assert_eq!((tree.root(), tree.len()), (again.root(), model.len()));
    for byte in data.iter().take(16) {
        let key = map_key(*byte);
        let found = prefix::verify(&tree.root(), &key, &tree.prove(&key));
        assert_eq!(found.unwrap(), model.get(&key).copied());
    }
}

/// Map proofs: bytes are the key proven, the key asked for and edits. No edit proves anything
/// that the tree does not hold.
pub fn map_proof(data: &[u8]) {
    static TREE: OnceLock<PrefixTree> = OnceLock::new();
    let tree = TREE.get_or_init(|| {
        let mut tree = PrefixTree::new();
        for byte in (0..=255).step_by(3) {
            tree.insert(map_key(byte), [byte; 32]);
        }
        tree
    });
    let Some(([proven, asked, change, mask], edits)) = data.split_first_chunk::<4>() else {
        return;
    };
    let MapProof {
        mut found,
        mut siblings,
    } = tree.prove(&map_key(*proven));
    alter(&mut siblings, edits);
    match (change % 4, &mut found) {
        (0, Some((key, _))) => key[usize::from(change / 4) % 32] ^= mask,
        (1, Some((_, value))) => value[usize::from(change / 4) % 32] ^= mask,
        (2, _) => found = None,
        _ => {}
    }
    let key = map_key(*asked);
    if let Ok(value) = prefix::verify(&tree.root(), &key, &MapProof { found, siblings }) {
        assert_eq!(value, tree.get(&key));
    }
}

/// Strict JSON: what is read and has no fraction is written in one way, which reads back.
pub fn strict_json(data: &[u8]) {
    let Ok(value) = json::parse(data) else { return };
    let lax: serde_json::Value = serde_json::from_slice(data).unwrap();
    assert_eq!(lax, value, "a lax reader understands the same");
    if let Ok(bytes) = json::to_canonical(&value) {
        assert_eq!(json::parse(&bytes).unwrap(), value);
        assert_eq!(json::to_canonical(&value).unwrap(), bytes);
        json::require_canonical(&bytes, &value).unwrap();
    }
}

/// Envelopes: a submission's one form reads back, and its identity is its payload's.
pub fn envelope(data: &[u8]) {
    if let Ok(prepared) = Envelope::parse_prepared(data) {
        assert_eq!(
            prepared.signatures.is_empty(),
            Envelope::parse_submission(data).is_err()
        );
    }
    let Ok(envelope) = Envelope::parse_submission(data) else {
        return;
    };
    let value = envelope.to_json();
    assert_eq!(Envelope::from_leaf(&value).unwrap(), envelope);
    let bytes = json::to_canonical(&value).unwrap();
    assert_eq!(Envelope::parse_submission(&bytes).unwrap(), envelope);
    assert_eq!(
        envelope.pae_hash(),
        ledger::envelope::pae_hash(&envelope.payload)
    );
}

/// Statements: what was read can be stated again by us, and says the same.
pub fn statement(data: &[u8]) {
    let Ok(statement) = Statement::parse(data) else {
        return;
    };
    match &statement.body {
        Body::Project(project) => {
            let again = Statement::parse(&project.to_payload().unwrap()).unwrap();
            assert_eq!(again.body, statement.body);
        }
        Body::Release(release) => {
            let payload = release_payload(
                &release.package_id,
                &release.purl,
                &statement.subject,
                release.restates.as_ref(),
            );
            assert_eq!(Statement::parse(&payload.unwrap()).unwrap(), statement);
        }
        Body::Revocation(revocation) => {
            let again = Statement::parse(&revocation.to_payload().unwrap()).unwrap();
            assert_eq!(again.body, statement.body);
        }
        Body::Withdrawal(withdrawal) => {
            let payload = withdrawal.to_payload(&statement.subject).unwrap();
            assert_eq!(Statement::parse(&payload).unwrap().body, statement.body);
        }
        Body::KeyNote(note) => {
            let again = Statement::parse(&note.to_payload().unwrap()).unwrap();
            assert_eq!(again.body, statement.body);
        }
    }
}

/// Leaves: one encoding, exactly.
pub fn leaf(data: &[u8]) {
    match Leaf::parse(data) {
        Ok(Leaf::Unknown { .. }) | Err(_) => {}
        Ok(leaf) => assert_eq!(leaf.to_bytes().unwrap(), data),
    }
}

/// Bundles: one encoding, exactly.
pub fn bundle(data: &[u8]) {
    if let Ok(bundle) = Bundle::parse(data) {
        assert_eq!(bundle.to_bytes().unwrap(), data);
    }
}

/// Trust documents: one encoding, whose hash is the bytes'; each has a string that reads back
/// and pins it, and makes a policy that says the same.
pub fn trust_document(data: &[u8]) {
    let Ok(document) = TrustDocument::parse(data) else {
        return;
    };
    assert_eq!(document.to_canonical().unwrap(), data);
    assert_eq!(document.hash().unwrap(), sha256(data));
    let string = TrustString::of(&document).unwrap();
    let read = TrustString::parse(&string.to_string()).unwrap();
    assert_eq!(read, string);
    assert!(read.matches(&document));
    let policy = ClientPolicy::from_trust(&document, None).unwrap();
    assert_eq!(policy.log.origin, document.log.origin);
    assert_eq!(policy.witnesses_text, document.witnesses);
}

/// Trust strings: one text for each, exactly; and none but its own pins the golden document.
pub fn trust_string(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(string) = TrustString::parse(text) else {
        return;
    };
    assert_eq!(string.to_string(), text);
    let trust = &golden()["trust"];
    let document = TrustDocument::parse(trust["canonical"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(
        string.matches(&document),
        text == trust["string"].as_str().unwrap()
    );
}

/// Names and purls: what is allowed as a file name is one component of a path, and a covering
/// prefix never reaches into another name.
pub fn all_names(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let (a, b) = text.split_once('\n').unwrap_or((text, "pkg:generic/acme"));
    if names::check_artifact_name(a).is_ok() {
        let path = std::path::Path::new(a);
        assert_eq!(path.file_name(), Some(path.as_os_str()));
        assert_eq!(path.components().count(), 1);
    }
    if names::check_project_name(a).is_ok() {
        assert!(!a.contains(':') && a.is_ascii());
    }
    for (purl, prefix) in [(a, b), (b, a)] {
        if names::check_purl(purl, false).is_ok() {
            assert!(names::prefix_covers(purl, purl));
            assert_eq!(names::check_purl(purl, true), Ok(()));
            if let Some(version) = names::purl_version(purl) {
                assert!(!version.is_empty() && purl.contains('@'));
                let decodes = purl
                    .as_bytes()
                    .windows(3)
                    .any(|w| w[0] == b'%' && w[1].is_ascii_hexdigit() && w[2].is_ascii_hexdigit());
                assert!(decodes || purl.contains(&version));
            }
        }
        if names::prefix_covers(prefix, purl) {
            assert!(names::prefixes_overlap(purl, prefix) && purl.starts_with(prefix));
        }
    }
}

/// Public keys: one encoding, exactly.
pub fn public_key(data: &[u8]) {
    if let Ok(key) = PublicKey::from_spki_der(data) {
        assert_eq!(key.spki_der(), data);
        assert_eq!(key.id().0, sha256(data));
        let name = VerifierKey::p256("log.example", data).unwrap();
        assert_eq!(name.public_key(), data);
        assert!(key.verify(b"message", &[]).is_err());
    }
}

/// Signatures: normalising gives the low twin, once and for all; nothing made up verifies.
pub fn signature(data: &[u8]) {
    if let Ok(normal) = low_s::normalize_der(data) {
        assert!(low_s::is_low_s(&normal));
        assert_eq!(low_s::normalize_der(&normal).unwrap(), normal);
        assert_eq!(low_s::is_low_s(data), normal == data);
    } else {
        assert!(!low_s::is_low_s(data));
    }
}

/// PKCS#8 keys: what is read is written, and reads back as the same key.
pub fn secret_key(data: &[u8]) {
    if let Ok(key) = SecretKey::from_pkcs8_der(data) {
        use keys::Signer as _;
        let der = key.to_pkcs8_der().unwrap();
        let again = SecretKey::from_pkcs8_der(&der).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        PublicKey::from_spki_der(key.public_key().spki_der()).unwrap();
    }
}

/// What an ssh-agent answers: a list has nothing but its keys; a signature comes out in our one form.
pub fn agent(data: &[u8]) {
    use keys::agent::{Fingerprint, parse_identities, parse_signature, public_key};
    if let Ok(identities) = parse_identities(data) {
        let bytes: usize = identities.iter().map(|i| 8 + i.blob.len()).sum();
        assert!(5 + bytes <= data.len());
        for identity in &identities {
            let shown = identity.fingerprint();
            assert_eq!(Fingerprint::parse(&shown.to_string()), Ok(shown));
            if let Ok(key) = public_key(&identity.blob) {
                // The fixed words, four lengths with them, and the point.
                assert_eq!(identity.blob.len(), 104);
                assert!(identity.blob.ends_with(&key.spki_der()[26..]));
                assert_eq!(identity.key_type(), "ecdsa-sha2-nistp256");
            }
        }
    }
    if let Ok(der) = parse_signature(data) {
        assert_eq!(low_s::require(&der), Ok(()));
    }
}

/// Where a key is, as a command line says it: what is written reads back as the same, and no
/// message repeats what could be a PIN.
pub fn key_source(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match KeySource::parse(text.as_ref()) {
        Ok(source) => {
            let written = source.to_string();
            assert_eq!(KeySource::parse(written.as_ref()), Ok(source.clone()));
            let prefixed = text.starts_with("pkcs11:") || text.starts_with("ssh-agent:");
            assert_eq!(source.file().is_none(), prefixed);
        }
        Err(e) if text.starts_with("pkcs11:") => assert!(!e.to_string().contains("135792")),
        Err(_) => assert!(text.starts_with("ssh-agent:")),
    }
}

/// Policy files: what is read is written, and reads back as the same.
pub fn client_policy(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(policy) = ClientPolicy::parse_toml(text) else {
        return;
    };
    let written = policy.to_toml().unwrap();
    let again = ClientPolicy::parse_toml(&written).unwrap();
    assert_eq!(again.to_toml().unwrap(), written);
    assert_eq!(again.projects, policy.projects);
    assert_eq!(again.witnesses, policy.witnesses);
    assert_eq!(again.log.vkeys, policy.log.vkeys);
    assert_eq!(
        (again.min_age, again.max_age),
        (policy.min_age, policy.max_age)
    );
    for project in &policy.projects {
        let chosen = policy.select(Some(&project.name), "artifact").unwrap();
        assert_eq!(chosen, project);
    }
}

/// Receipts: what is read is written as one line, and reads back as the same.
pub fn receipt(data: &[u8]) {
    use countersign::receipt::Receipt;
    let Ok(receipt) = Receipt::parse(data) else {
        return;
    };
    let line = receipt.to_line().unwrap();
    let (newline, line) = line.split_last().unwrap();
    assert_eq!(*newline, b'\n');
    assert!(!line.contains(&b'\n'));
    assert_eq!(Receipt::parse(line).unwrap(), receipt);
}

/// The guard's detector: what it finds does not depend on how the bytes come.
pub fn guard(data: &[u8]) {
    use countersign::guard::detector::Detector;
    let found = |piece: usize| {
        let mut detector = Detector::new();
        data.chunks(piece).for_each(|c| detector.bytes(c));
        let found = detector.finish().into_iter();
        found.map(|f| (f.rule.id, f.offset)).collect::<Vec<_>>()
    };
    assert_eq!(found(7), found(usize::MAX));
}

/// Archives: whatever is in a file, its own bytes are shown whole, and the walk ends within its limits.
pub fn contents(data: &[u8]) {
    use countersign::contents::{Limits, Place, Problem, Sink, Visitor, walk};
    struct Whole {
        own: Option<ledger::Hash>,
        spent: bool,
        files: u64,
    }
    struct Hashing(keys::Sha256Stream);
    impl Sink for Hashing {
        fn bytes(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    impl Visitor for Whole {
        type Sink = Hashing;
        fn open(&mut self, _: &Place, _: bool) -> Hashing {
            self.files += 1;
            Hashing(keys::Sha256Stream::new())
        }
        fn close(&mut self, place: &Place, sink: Hashing) {
            if place.inner.is_empty() {
                self.own = Some(sink.0.finish());
            }
        }
        fn problem(&mut self, _: &Place, problem: Problem) {
            self.spent |= matches!(problem, Problem::Large(_) | Problem::Entries(_));
        }
    }
    let limits = Limits {
        depth: 4,
        entries: 200,
        floor: 1 << 20,
        ratio: 10,
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), data).unwrap();
    let mut whole = Whole {
        own: None,
        spent: false,
        files: 0,
    };
    walk(file.path(), &limits, &mut whole);
    assert!(whole.files <= limits.entries);
    assert!(whole.spent || whole.own == Some(sha256(data)));
}

/// OIDC tokens and their issuers' keys: only what the vector's issuer signed verifies, and no
/// identity leaves the place that its settings give it.
pub fn token(data: &[u8]) {
    static VECTOR: OnceLock<(serde_json::Value, KeySet, IssuerSettings)> = OnceLock::new();
    let (vector, keys, settings) = VECTOR.get_or_init(|| {
        let text = include_str!("../vectors/oidc/tokens.json");
        let vector: serde_json::Value = serde_json::from_str(text).unwrap();
        let keys = KeySet::parse(vector["jwks"].to_string().as_bytes()).unwrap();
        let settings = crate::oidc::vector_settings(vector["issuer"].as_str().unwrap());
        (vector, keys, settings)
    });
    if let Ok(set) = KeySet::parse(data) {
        assert!((1..=MAX_KEYS).contains(&set.len()));
    }
    let Some(text) = text(data) else { return };
    if let Ok(template) = Template::parse(text) {
        let _ = template.fill(&serde_json::Map::new());
    }
    let Ok(token) = Token::parse(text) else {
        return;
    };
    let _ = token.fingerprint();
    if let Ok(identity) = claims::identity(settings, token.claims()) {
        assert!(identity.san.starts_with(&settings.within));
        assert!(identity.san.bytes().all(|b| b.is_ascii_graphic()));
        assert!(!identity.san.contains(['?', '#', '%']) && !identity.san.contains("/../"));
    }
    let Ok(key) = keys.get(token.kid()) else {
        return;
    };
    if token.verify(settings, key).is_ok() {
        // What is signed is all but the signature; ECDSA has two of those for one text.
        let (signed, _) = text.rsplit_once('.').unwrap();
        let mut genuine = vector["tokens"].as_array().unwrap().iter();
        let is = |t: &serde_json::Value| t.as_str().unwrap().rsplit_once('.').unwrap().0 == signed;
        assert!(genuine.any(is), "a token that was never signed");
    }
}

/// The verifier: whatever the bundle, only what the golden log's project released verifies,
/// and it verifies as that release, under that project and that name alone.
pub fn verify_bundle(data: &[u8]) {
    let Ok(bundle) = Bundle::parse(data) else {
        return;
    };
    let policy = golden_policy();
    let project = &policy.projects[0];
    let stranger = ProjectPolicy {
        id: [7; 32],
        ..project.clone()
    };
    let check = |name: &str, bytes: &[u8], project: &ProjectPolicy| {
        let artifact = Artifact {
            name,
            sha256: sha256(bytes),
            size: bytes.len() as u64,
        };
        let wanted = Wanted {
            project,
            version: None,
            no_rollback: false,
        };
        let now = 1_790_001_000;
        verify(&artifact, &wanted, &bundle, policy, &Memory::default(), now)
    };
    let mut refusals = 0;
    // Name, bytes, version and index, as the golden log has them.
    for (name, bytes, version, index) in [
        ("uploader-linux", "one", "1.0.0", 3),
        ("uploader-linux", "three", "1.1.0", 7),
    ] {
        match check(name, bytes.as_bytes(), project) {
            Err(_) => refusals += 1,
            Ok(verdict) => {
                assert_eq!((verdict.version.as_str(), verdict.index), (version, index));
                assert_eq!(verdict.proven.project, project.id);
                assert_eq!(verdict.proven.artifact, name);
                assert!(check(name, b"altered", project).is_err());
                assert!(check("uploader", bytes.as_bytes(), project).is_err());
                assert!(check(name, bytes.as_bytes(), &stranger).is_err());
            }
        }
    }
    assert!(refusals >= 1, "one bundle for two releases");
}
