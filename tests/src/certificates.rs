//! Certificates of any shape, for tests: what no authority would make, properly signed.
//!
//! The DER is written by hand. Nothing of what reads certificates in `keys` is used, so that the
//! two cannot be wrong in the same way, and what is malformed can be said as easily as what is not.
//! Keys are the same in every run.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod der;
mod key;

pub use key::Key;

use der::{bits, name, object, objects, oid, sequence, tag, tlv, utc};

/// An extension, piece by piece.
#[derive(Debug, Clone)]
pub struct Extension {
    /// Dotted decimal.
    pub id: &'static str,
    /// DER of `critical`; empty where it is left out.
    pub critical: Vec<u8>,
    /// What the OCTET STRING holds.
    pub value: Vec<u8>,
}

impl Extension {
    /// One as DER has it.
    #[must_use]
    pub fn new(id: &'static str, critical: bool, value: Vec<u8>) -> Self {
        let critical = match critical {
            true => tlv(tag::BOOLEAN, &[0xff]),
            false => Vec::new(),
        };
        Self {
            id,
            critical,
            value,
        }
    }

    fn der(&self) -> Vec<u8> {
        let value = tlv(tag::OCTETS, &self.value);
        sequence(&[&object(self.id), &self.critical, &value])
    }
}

/// A certificate, piece by piece, each in DER. Public fields are what a test changes.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Certificate {
    /// Empty for version 1.
    pub version: Vec<u8>,
    pub serial: Vec<u8>,
    /// The algorithm inside what is signed, and beside the signature.
    pub algorithms: [Vec<u8>; 2],
    pub issuer: Vec<u8>,
    pub not_before: Vec<u8>,
    pub not_after: Vec<u8>,
    pub subject: Vec<u8>,
    pub spki: Vec<u8>,
    /// Unique identifiers; empty.
    pub unique: Vec<u8>,
    pub extensions: Vec<Extension>,
}

impl Certificate {
    /// The extension of this number, where it is there.
    pub fn extension(&mut self, id: &str) -> &mut Extension {
        self.extensions.iter_mut().find(|e| e.id == id).unwrap()
    }

    /// Puts an extension in the place of the one of the same number, or last.
    pub fn set(&mut self, id: &'static str, critical: bool, value: Vec<u8>) {
        let new = Extension::new(id, critical, value);
        match self.extensions.iter_mut().find(|e| e.id == id) {
            Some(old) => *old = new,
            None => self.extensions.push(new),
        }
    }

    /// Adds an extension, whatever is there.
    pub fn add(&mut self, id: &'static str, critical: bool, value: Vec<u8>) {
        self.extensions.push(Extension::new(id, critical, value));
    }

    /// Takes an extension out.
    pub fn remove(&mut self, id: &str) {
        self.extensions.retain(|e| e.id != id);
    }

    /// What is signed.
    #[must_use]
    pub fn tbs(&self) -> Vec<u8> {
        let extensions: Vec<u8> = self.extensions.iter().flat_map(Extension::der).collect();
        let extensions = match extensions.is_empty() {
            true => Vec::new(),
            false => tlv(0xa3, &tlv(tag::SEQUENCE, &extensions)),
        };
        sequence(&[
            &self.version,
            &self.serial,
            &self.algorithms[0],
            &self.issuer,
            &sequence(&[&self.not_before, &self.not_after]),
            &self.subject,
            &self.spki,
            &self.unique,
            &extensions,
        ])
    }

    /// Signs it, by the algorithm that it says inside.
    #[must_use]
    pub fn sign(&self, key: &Key) -> Vec<u8> {
        self.with(&self.tbs(), key)
    }

    /// Signs these bytes in its place.
    #[must_use]
    pub fn with(&self, tbs: &[u8], key: &Key) -> Vec<u8> {
        let signature = key.sign(&self.algorithms[0], tbs);
        sequence(&[tbs, &self.algorithms[1], &bits(&signature)])
    }
}

/// One second in which everything of a [`World`] is valid, in the middle of it.
pub const NOW: u64 = 1_790_000_000;
/// The end certificate's first and last second.
pub const END: (u64, u64) = (NOW - 300, NOW + 300);
/// The intermediate's.
pub const MIDDLE: (u64, u64) = (NOW - 86_400, NOW + 86_400 * 365);
/// The root's.
pub const ROOT: (u64, u64) = (NOW - 2 * 86_400, NOW + 86_400 * 3_650);

/// The value of an authority key identifier with this key's.
#[must_use]
pub fn key_identifier(key: &Key) -> Vec<u8> {
    sequence(&[&tlv(0x80, &key.identifier())])
}

/// The names of a subject alternative name or a name constraint: a URI.
#[must_use]
pub fn uri(text: &str) -> Vec<u8> {
    tlv(0x86, text.as_bytes())
}

/// The same: an e-mail address.
#[must_use]
pub fn email(text: &str) -> Vec<u8> {
    tlv(0x81, text.as_bytes())
}

/// The same: a DNS name.
#[must_use]
pub fn dns(text: &str) -> Vec<u8> {
    tlv(0x82, text.as_bytes())
}

/// A root, an intermediate and an end certificate of the profile, which a test then changes. They
/// are signed when they are asked for.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct World {
    pub root_key: Key,
    pub middle_key: Key,
    pub end_key: Key,
    pub root: Certificate,
    pub middle: Certificate,
    pub end: Certificate,
}

/// The name that the end certificate is for.
pub const SAN: &str = "https://forge.example/acme/tool/.ci/release.yml@refs/tags/v1";
/// Who attests it.
pub const OIDC: &str = "https://token.forge.example";

fn certificate(subject: (Vec<u8>, &Key), issuer: (Vec<u8>, &Key), life: (u64, u64)) -> Certificate {
    let ((subject, key), (issuer, above)) = (subject, issuer);
    let own = tlv(tag::OCTETS, &key.identifier());
    Certificate {
        version: tlv(0xa0, &tlv(tag::INTEGER, &[2])),
        serial: tlv(tag::INTEGER, &[&[0x41], &key.identifier()[1..]].concat()),
        algorithms: [above.algorithm(), above.algorithm()],
        issuer,
        not_before: utc(life.0),
        not_after: utc(life.1),
        subject,
        spki: key.spki(),
        unique: Vec::new(),
        extensions: vec![
            Extension::new(oid::SUBJECT_KEY_IDENTIFIER, false, own),
            Extension::new(oid::AUTHORITY_KEY_IDENTIFIER, false, key_identifier(above)),
        ],
    }
}

/// Makes an authority of a certificate, with this many below it; `None`: any number.
pub fn authority(certificate: &mut Certificate, path_length: Option<u8>) {
    let length = path_length.map(|n| tlv(tag::INTEGER, &[n]));
    let constraints = sequence(&[&tlv(tag::BOOLEAN, &[0xff]), &length.unwrap_or_default()]);
    certificate.set(oid::BASIC_CONSTRAINTS, true, constraints);
    // keyCertSign and cRLSign.
    certificate.set(oid::KEY_USAGE, true, tlv(tag::BITS, &[1, 0x06]));
    certificate.set(oid::EXT_KEY_USAGE, false, objects(&[oid::CODE_SIGNING]));
}

impl World {
    /// The world of a number: its keys are the same in every run, and no other world's.
    #[must_use]
    pub fn new(number: u8) -> Self {
        let key = |n: u8| Key::p256(number * 8 + n);
        Self::of(key(1), key(2), key(3))
    }

    /// A world of these keys: root, intermediate, end.
    #[must_use]
    pub fn of(root_key: Key, middle_key: Key, end_key: Key) -> Self {
        let (root_name, middle_name) = (name("acme root"), name("acme issuer 1"));
        let above = |n: &Vec<u8>| n.clone();
        let mut root = certificate(
            (above(&root_name), &root_key),
            (above(&root_name), &root_key),
            ROOT,
        );
        authority(&mut root, Some(1));
        let mut middle = certificate(
            (above(&middle_name), &middle_key),
            (root_name, &root_key),
            MIDDLE,
        );
        authority(&mut middle, Some(0));
        let mut end = certificate((sequence(&[]), &end_key), (middle_name, &middle_key), END);
        // digitalSignature.
        end.set(oid::KEY_USAGE, true, tlv(tag::BITS, &[7, 0x80]));
        end.set(oid::EXT_KEY_USAGE, false, objects(&[oid::CODE_SIGNING]));
        end.set(oid::SUBJECT_ALT_NAME, true, sequence(&[&uri(SAN)]));
        end.set(oid::ISSUER_RAW, false, OIDC.as_bytes().to_vec());
        end.set(oid::ISSUER, false, tlv(tag::UTF8, OIDC.as_bytes()));
        Self {
            root_key,
            middle_key,
            end_key,
            root,
            middle,
            end,
        }
    }

    /// The anchor, signed by its own key.
    #[must_use]
    pub fn anchor(&self) -> Vec<u8> {
        self.root.sign(&self.root_key)
    }

    /// The chain below it: end certificate, intermediate.
    #[must_use]
    pub fn chain(&self) -> Vec<Vec<u8>> {
        vec![
            self.end.sign(&self.middle_key),
            self.middle.sign(&self.root_key),
        ]
    }
}
