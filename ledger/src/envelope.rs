//! DSSE envelopes (github.com/secure-systems-lab/dsse, protocol v1.0.2), as strict as a
//! log needs them (docs/formats.md, "One envelope, one identity").
//!
//! The payload is carried byte for byte as it was signed. The identity of an envelope is
//! the SHA-256 of its PAE and nothing else: signatures can be replaced by their twins, the
//! payload cannot.
//! PAE = `DSSEv1 <len(type)> <type> <len(payload)> <payload>`, lengths in decimal bytes.

use crate::encoding::{b64, base64_bytes, from_b64, from_hex32, hex_hash, hex32};
use crate::json::{self, JsonError};
use crate::{Hash, sha256};
use base64::Engine as _;
use keys::certificate::{CertificateChain, CertificateError};
use keys::{KeyId, SignError, Signer};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// The one payload type that we log.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// More signatures than this in one envelope are refused before any is checked.
pub const MAX_SIGNATURES: usize = 32;

/// One signature: the key that made it and its DER bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Sig {
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    #[serde(serialize_with = "key_id")]
    pub keyid: KeyId,
    /// ASN.1 DER ECDSA-Sig-Value with s ≤ n/2.
    #[serde(serialize_with = "base64_bytes::serialize")]
    pub sig: Vec<u8>,
}

fn key_id<S: Serializer>(id: &KeyId, s: S) -> Result<S::Ok, S::Error> {
    hex_hash::serialize(&id.0, s)
}

/// A DSSE envelope around an in-toto statement. It serialises in the form that a leaf holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The statement's bytes, exactly as signed.
    #[serde(serialize_with = "base64_bytes::serialize")]
    pub payload: Vec<u8>,
    /// Always [`PAYLOAD_TYPE`].
    pub payload_type: String,
    /// Sorted by key id, at most one per key.
    pub signatures: Vec<Sig>,
    /// The certificate of the one key that signed, where it has one. It is no part of the
    /// envelope, nor of its identity: in a leaf and in a submission it stands beside it. Who asks
    /// whether the signature counts needs both.
    #[serde(skip)]
    pub chain: Option<CertificateChain>,
}

/// Why an envelope is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not strict JSON, or not canonical where that is required.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field is missing, unknown or of the wrong type.
    #[error("envelope: {0}")]
    Shape(String),
    /// Not the payload type that we log.
    #[error("envelope: payloadType is {0:?}, want {PAYLOAD_TYPE:?}")]
    PayloadType(String),
    /// Not base64 in its one canonical form.
    #[error("envelope: {0} is not base64")]
    Base64(&'static str),
    /// A key id that is not 64 lower-case hexadecimal digits.
    #[error(
        "envelope: keyid must be 64 lower-case hexadecimal digits (SHA-256 of the SubjectPublicKeyInfo)"
    )]
    KeyId,
    /// No signature, or too many.
    #[error("envelope: {0} signatures, want 1 to {MAX_SIGNATURES}")]
    Count(usize),
    /// Two signatures of one key.
    #[error("envelope: two signatures by key {0}")]
    Repeated(KeyId),
    /// Signatures in a leaf that are not sorted by key id.
    #[error("envelope: signatures are not sorted by keyid")]
    Unsorted,
    /// The signer failed.
    #[error("signing failed: {0}")]
    Sign(#[from] SignError),
    /// A certificate beside it is none of our profile.
    #[error("chain: {0}")]
    Certificate(#[from] CertificateError),
    /// With a certificate there is one signature, and it is by the certificate's key.
    #[error("chain: the envelope must have one signature, by the certificate's key")]
    OtherSigner,
}

impl EnvelopeError {
    /// A stable word for the reason.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "not-strict-json",
            Self::Shape(_) => "envelope-shape",
            Self::PayloadType(_) => "payload-type",
            Self::Base64(_) => "bad-base64",
            Self::KeyId => "bad-keyid",
            Self::Count(_) => "signature-count",
            Self::Repeated(_) => "repeated-signature",
            Self::Unsorted => "signatures-unsorted",
            Self::Sign(e) => e.kind(),
            Self::Certificate(e) => e.kind(),
            Self::OtherSigner => "chain-of-another-key",
        }
    }
}

/// DSSE's pre-authentication encoding: the bytes that are signed.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    out.extend_from_slice(payload);
    out
}

/// The PAE hash of a payload of our one type: an envelope's identity.
#[must_use]
pub fn pae_hash(payload: &[u8]) -> Hash {
    sha256(&pae(PAYLOAD_TYPE, payload))
}

fn lenient_b64(text: &str) -> Option<Vec<u8>> {
    if text.contains(['-', '_']) {
        base64::engine::general_purpose::URL_SAFE.decode(text).ok()
    } else {
        from_b64(text)
    }
}

impl Envelope {
    /// Reads a submitted envelope: either base64 alphabet, signatures in any order. What
    /// comes out is in the one form that a leaf has.
    ///
    /// # Errors
    /// [`EnvelopeError`] for anything else that a leaf could not hold.
    pub fn parse_submission(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let value = json::parse_own(bytes)?;
        let beside = value.as_object().filter(|f| f.contains_key("envelope"));
        let (inner, chain) = match beside {
            None => (&value, None),
            Some(fields) => {
                only(fields, &["chain", "envelope"])?;
                let missing = || EnvelopeError::Shape("envelope and chain go together".to_owned());
                let chain = fields.get("chain").ok_or_else(missing)?;
                (
                    fields.get("envelope").ok_or_else(missing)?,
                    Some(read_chain(chain)?),
                )
            }
        };
        let mut envelope = Self::read(inner, lenient_b64)?;
        envelope.signatures.sort();
        envelope.check()?;
        match chain {
            Some(chain) => envelope.with_chain(chain),
            None => Ok(envelope),
        }
    }

    /// The same envelope with the certificate of the key that signed it.
    ///
    /// # Errors
    /// [`EnvelopeError::OtherSigner`].
    pub fn with_chain(mut self, chain: CertificateChain) -> Result<Self, EnvelopeError> {
        match self.signatures.as_slice() {
            [one] if one.keyid == chain.end().key.id() => {
                self.chain = Some(chain);
                Ok(self)
            }
            _ => Err(EnvelopeError::OtherSigner),
        }
    }

    /// Reads the `envelope` of a leaf: canonical encodings only.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn from_leaf(value: &Value) -> Result<Self, EnvelopeError> {
        let envelope = Self::read(value, from_b64)?;
        envelope.check()?;
        Ok(envelope)
    }

    fn read(value: &Value, decode: fn(&str) -> Option<Vec<u8>>) -> Result<Self, EnvelopeError> {
        let shape = |what: &str| EnvelopeError::Shape(what.to_owned());
        let fields = value.as_object().ok_or_else(|| shape("not an object"))?;
        only(fields, &["payload", "payloadType", "signatures"])?;
        let text = |name: &'static str| {
            fields
                .get(name)
                .and_then(Value::as_str)
                .ok_or_else(|| shape(&format!("{name} must be a string")))
        };
        let payload_type = text("payloadType")?;
        if payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeError::PayloadType(
                payload_type.chars().take(80).collect(),
            ));
        }
        let payload = decode(text("payload")?).ok_or(EnvelopeError::Base64("payload"))?;
        let list = fields
            .get("signatures")
            .and_then(Value::as_array)
            .ok_or_else(|| shape("signatures must be a list"))?;
        if list.is_empty() || list.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::Count(list.len()));
        }
        let mut signatures = Vec::with_capacity(list.len());
        for item in list {
            let fields = item
                .as_object()
                .ok_or_else(|| shape("a signature must be an object"))?;
            only(fields, &["keyid", "sig"])?;
            let keyid = fields
                .get("keyid")
                .and_then(Value::as_str)
                .and_then(from_hex32);
            let sig = fields
                .get("sig")
                .and_then(Value::as_str)
                .ok_or_else(|| shape("sig must be a string"))?;
            signatures.push(Sig {
                keyid: KeyId(keyid.ok_or(EnvelopeError::KeyId)?),
                sig: decode(sig).ok_or(EnvelopeError::Base64("sig"))?,
            });
        }
        Ok(Self {
            payload,
            payload_type: payload_type.to_owned(),
            signatures,
            chain: None,
        })
    }

    fn check(&self) -> Result<(), EnvelopeError> {
        for pair in self.signatures.windows(2) {
            if let [a, b] = pair {
                if a.keyid == b.keyid {
                    return Err(EnvelopeError::Repeated(a.keyid));
                }
                if a.keyid > b.keyid {
                    return Err(EnvelopeError::Unsorted);
                }
            }
        }
        Ok(())
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// The envelope's identity.
    #[must_use]
    pub fn pae_hash(&self) -> Hash {
        sha256(&self.pae())
    }

    /// An envelope around `payload`, signed by each of `signers`.
    ///
    /// # Errors
    /// [`EnvelopeError::Sign`], or [`EnvelopeError::Repeated`] for a key given twice.
    pub fn sign(payload: Vec<u8>, signers: &[&dyn Signer]) -> Result<Self, EnvelopeError> {
        let mut envelope = Self {
            payload,
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: Vec::new(),
            chain: None,
        };
        for signer in signers {
            envelope.add_signature(*signer)?;
        }
        Ok(envelope)
    }

    /// Adds one more signature, keeping them sorted.
    ///
    /// # Errors
    /// [`EnvelopeError::Sign`], or [`EnvelopeError::Repeated`] where the key has signed already.
    pub fn add_signature(&mut self, signer: &dyn Signer) -> Result<(), EnvelopeError> {
        let keyid = signer.public_key().id();
        if self.signatures.iter().any(|s| s.keyid == keyid) {
            return Err(EnvelopeError::Repeated(keyid));
        }
        let sig = signer.sign(&self.pae())?;
        self.signatures.push(Sig { keyid, sig });
        self.signatures.sort();
        Ok(())
    }

    /// The envelope as JSON, in the form that a leaf holds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let signatures: Vec<Value> = self
            .signatures
            .iter()
            .map(|s| json!({ "keyid": hex32(&s.keyid.0), "sig": b64(&s.sig) }))
            .collect();
        json!({ "payload": b64(&self.payload), "payloadType": self.payload_type, "signatures": signatures })
    }

    /// What is submitted: the envelope, or the object that holds it and its chain.
    #[must_use]
    pub fn to_submission(&self) -> Value {
        match &self.chain {
            None => self.to_json(),
            Some(chain) => json!({ "chain": write_chain(chain), "envelope": self.to_json() }),
        }
    }

    /// Reads a prepared envelope (see `countersign sign`): as a submission, but with no
    /// signature yet allowed.
    ///
    /// # Errors
    /// As [`Envelope::parse_submission`].
    pub fn parse_prepared(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut value = json::parse_own(bytes)?;
        let empty = value
            .get("signatures")
            .and_then(Value::as_array)
            .is_some_and(Vec::is_empty);
        if !empty {
            return Self::parse_submission(bytes);
        }
        // A stand-in signature lets the one reader check all the rest.
        if let Some(list) = value.get_mut("signatures") {
            *list = json!([{ "keyid": "0".repeat(64), "sig": "" }]);
        }
        let mut envelope = Self::read(&value, lenient_b64)?;
        envelope.signatures.clear();
        Ok(envelope)
    }
}

/// Reads the `chain` of a leaf or of a submission: DER in base64, end certificate first.
pub(crate) fn read_chain(value: &Value) -> Result<CertificateChain, EnvelopeError> {
    let list = value
        .as_array()
        .ok_or_else(|| EnvelopeError::Shape("chain must be a list".to_owned()))?;
    let ders: Option<Vec<Vec<u8>>> = list.iter().map(|v| from_b64(v.as_str()?)).collect();
    let ders = ders.ok_or(EnvelopeError::Base64("chain"))?;
    Ok(CertificateChain::parse(&ders)?)
}

/// A chain as a leaf, a submission and the issuer's answer hold it: DER in base64, end certificate
/// first.
#[must_use]
pub fn write_chain(chain: &CertificateChain) -> Vec<String> {
    chain.ders().map(b64).collect()
}

fn only(fields: &serde_json::Map<String, Value>, known: &[&str]) -> Result<(), EnvelopeError> {
    match fields.keys().find(|k| !known.contains(&k.as_str())) {
        Some(k) => Err(EnvelopeError::Shape(format!(
            "unknown field {:?}",
            k.chars().take(40).collect::<String>()
        ))),
        None => Ok(()),
    }
}
