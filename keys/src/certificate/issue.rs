//! Making certificates of the profile: by an authority, for a key whose holder has proved it.

use super::claims::{CLAIMS_ARC, ISSUER, ISSUER_RAW, claim_number, is_raw};
use super::profile::{Is, Parsed, is_plain, is_text};
use super::{Anchor, CertificateChain, CertificateError};
use crate::digest::sha256;
use crate::{PublicKey, Signer, random};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
use der::asn1::{
    BitString, GeneralizedTime, Ia5String, OctetString, SetOfVec, Uint, UtcTime, Utf8StringRef,
};
use der::{Decode as _, Encode, Sequence};
use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::time::Duration;
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, Version as RequestVersion};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

/// Bytes of a serial number: 160 random bits, as RFC 5280 allows at most.
const SERIAL_BYTES: usize = 20;
/// Largest certificate request in bytes.
const MAX_REQUEST_BYTES: usize = 4096;
/// Years from 2050 on are written as GeneralizedTime (RFC 5280, 4.1.2.5).
const YEAR_2050: u64 = 2_524_608_000;

/// Whom an end certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A URI, or an e-mail address.
    pub san: String,
    /// Who attests it: the OIDC issuer's URL.
    pub issuer: String,
    /// Further claims: OID under [`CLAIMS_ARC`] → text; not the issuer's.
    pub claims: BTreeMap<String, String>,
}

/// From when to when, in Unix seconds; both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The first second.
    pub from: u64,
    /// The last.
    pub until: u64,
}

#[derive(Sequence)]
struct Tbs {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
    serial: Uint,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    key: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct Signed<T: Encode + for<'a> der::Decode<'a, Error = der::Error>> {
    what: T,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

fn failed(e: impl std::fmt::Display) -> CertificateError {
    CertificateError::Issue(e.to_string())
}

fn algorithm() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned {
        oid: ECDSA_WITH_SHA_256,
        parameters: None,
    }
}

fn spki(key: &PublicKey) -> Result<SubjectPublicKeyInfoOwned, CertificateError> {
    SubjectPublicKeyInfoOwned::from_der(key.spki_der()).map_err(failed)
}

fn time(seconds: u64) -> Result<Time, CertificateError> {
    let since = Duration::from_secs(seconds);
    if seconds < YEAR_2050 {
        UtcTime::from_unix_duration(since)
            .map(Time::UtcTime)
            .map_err(failed)
    } else {
        let time = GeneralizedTime::from_unix_duration(since);
        time.map(Time::GeneralTime).map_err(failed)
    }
}

/// The first 160 bits of the key's SHA-256 (RFC 7093, section 2, method 1).
fn identifier(key: &PublicKey) -> Result<OctetString, CertificateError> {
    // The bit string's bytes: the point, behind what all P-256 keys begin with.
    let hash = sha256(key.spki_der().get(26..).unwrap_or_default());
    OctetString::new(hash.get(..20).unwrap_or_default()).map_err(failed)
}

fn extension<T: Encode>(
    id: ObjectIdentifier,
    critical: bool,
    value: &T,
) -> Result<Extension, CertificateError> {
    raw(id, critical, &value.to_der().map_err(failed)?)
}

fn raw(id: ObjectIdentifier, critical: bool, bytes: &[u8]) -> Result<Extension, CertificateError> {
    Ok(Extension {
        extn_id: id,
        critical,
        extn_value: OctetString::new(bytes).map_err(failed)?,
    })
}

fn sign<T: Encode + for<'a> der::Decode<'a, Error = der::Error>>(
    what: T,
    signer: &dyn Signer,
) -> Result<Vec<u8>, CertificateError> {
    let message = what.to_der().map_err(failed)?;
    let signature = signer.sign(&message).map_err(failed)?;
    let signed = Signed {
        what,
        algorithm: algorithm(),
        signature: BitString::from_bytes(&signature).map_err(failed)?,
    };
    signed.to_der().map_err(failed)
}

struct Subject<'a> {
    name: Name,
    key: &'a PublicKey,
    life: Life,
}

/// Signs a certificate, and reads it again as everybody will.
fn certify(
    signer: &dyn Signer,
    issuer: (Name, OctetString),
    subject: Subject<'_>,
    rest: Vec<Extension>,
) -> Result<Parsed, CertificateError> {
    let (name, above) = issuer;
    let mut serial = [0u8; SERIAL_BYTES];
    random(&mut serial).map_err(failed)?;
    // Positive, and never with a leading zero, so that it is 20 bytes long.
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    let above = AuthorityKeyIdentifier {
        key_identifier: Some(above),
        ..AuthorityKeyIdentifier::default()
    };
    let mut extensions = vec![
        extension(
            rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER,
            false,
            &SubjectKeyIdentifier(identifier(subject.key)?),
        )?,
        extension(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, false, &above)?,
    ];
    extensions.extend(rest);
    let tbs = Tbs {
        version: Version::V3,
        serial: Uint::new(&serial).map_err(failed)?,
        signature: algorithm(),
        issuer: name,
        validity: Validity::new(time(subject.life.from)?, time(subject.life.until)?),
        subject: subject.name,
        key: spki(subject.key)?,
        extensions,
    };
    Parsed::read(&sign(tbs, signer)?)
}

/// The extensions of an authority with `path_length` authorities below it at most.
fn authority(path_length: u8) -> Result<Vec<Extension>, CertificateError> {
    let constraints = BasicConstraints {
        ca: true,
        path_len_constraint: Some(path_length),
    };
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    let purposes = ExtendedKeyUsage(vec![rfc5280::ID_KP_CODE_SIGNING]);
    Ok(vec![
        extension(rfc5280::ID_CE_BASIC_CONSTRAINTS, true, &constraints)?,
        extension(rfc5280::ID_CE_KEY_USAGE, true, &usage)?,
        extension(rfc5280::ID_CE_EXT_KEY_USAGE, false, &purposes)?,
    ])
}

/// A name with one common name: letters, digits, spaces and `.-_/`, 1 to 64 bytes.
fn common_name(name: &str) -> Result<Name, CertificateError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " .-_/".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) || name.trim() != name {
        return Err(CertificateError::Issue(format!(
            "the name {name:?} must be 1 to 64 letters, digits, spaces or .-_/ of ASCII"
        )));
    }
    Name::from_str(&format!("CN={name}")).map_err(failed)
}

/// A root's certificate, signed by itself, for one level of intermediates.
///
/// # Errors
/// [`CertificateError::Issue`].
pub fn make_root(signer: &dyn Signer, name: &str, life: Life) -> Result<Vec<u8>, CertificateError> {
    let key = signer.public_key();
    let (name, id) = (common_name(name)?, identifier(key)?);
    let subject = Subject {
        name: name.clone(),
        key,
        life,
    };
    Ok(certify(signer, (name, id), subject, authority(1)?)?.der)
}

/// An intermediate's certificate, which issues to end certificates only.
///
/// # Errors
/// [`CertificateError::Issue`]; [`CertificateError::Key`] where the root's certificate is not of
/// the signer's key.
pub fn make_intermediate(
    signer: &dyn Signer,
    root: &Anchor,
    key: &PublicKey,
    name: &str,
    life: Life,
) -> Result<Vec<u8>, CertificateError> {
    let issuer = issuer(signer, root.parsed())?;
    let subject = Subject {
        name: common_name(name)?,
        key,
        life,
    };
    Ok(certify(signer, issuer, subject, authority(0)?)?.der)
}

/// The name and the key's identifier of an authority's own certificate, which must be of the
/// signer's key.
fn issuer(signer: &dyn Signer, own: &Parsed) -> Result<(Name, OctetString), CertificateError> {
    if !matches!(own.is, Is::Authority { .. }) {
        return Err(CertificateError::NotAuthority);
    }
    if own.key != *signer.public_key() {
        return Err(CertificateError::Key(
            "the authority's certificate is not of this key".into(),
        ));
    }
    let name = Name::from_der(&own.subject).map_err(failed)?;
    let id = OctetString::new(own.key_identifier.as_slice()).map_err(failed)?;
    Ok((name, id))
}

/// What issues end certificates: a key, and the certificates above it.
pub struct Authority {
    signer: Box<dyn Signer>,
    issuer: (Name, OctetString),
    /// Its own certificate first, the anchor left out.
    chain: Vec<Parsed>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.signer.public_key().id())
    }
}

impl Authority {
    /// An authority of `signer`'s key with its certificate first in `chain`, followed by those
    /// above it without the anchor's. That each was issued by the next is checked when something is
    /// issued.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn new(signer: Box<dyn Signer>, chain: Vec<Vec<u8>>) -> Result<Self, CertificateError> {
        let read = chain.iter().map(|der| Parsed::read(der));
        let chain: Vec<Parsed> = read.collect::<Result<_, _>>()?;
        let own = chain.first().ok_or(CertificateError::Count(0))?;
        let issuer = issuer(&*signer, own)?;
        Ok(Self {
            signer,
            issuer,
            chain,
        })
    }

    /// Its public key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    /// A certificate for `key`, whose holder has shown that they are `identity`, with the
    /// certificates above it.
    ///
    /// # Errors
    /// [`CertificateError`], where the identity is none of the profile or the signer fails.
    pub fn issue(
        &self,
        key: &PublicKey,
        identity: &Identity,
        life: Life,
    ) -> Result<CertificateChain, CertificateError> {
        let end = self.end_certificate(key, identity, life)?;
        let chain = std::iter::once(end).chain(self.chain.iter().cloned());
        CertificateChain::of(chain.collect())
    }

    fn end_certificate(
        &self,
        key: &PublicKey,
        identity: &Identity,
        life: Life,
    ) -> Result<Parsed, CertificateError> {
        let name = if identity.san.contains("://") || !identity.san.contains('@') {
            Ia5String::new(&identity.san).map(GeneralName::UniformResourceIdentifier)
        } else {
            Ia5String::new(&identity.san).map(GeneralName::Rfc822Name)
        };
        let name = name.map_err(|e| CertificateError::Name(e.to_string()))?;
        let purposes = ExtendedKeyUsage(vec![rfc5280::ID_KP_CODE_SIGNING]);
        let usage = KeyUsage(KeyUsages::DigitalSignature.into());
        let mut extensions = vec![
            extension(rfc5280::ID_CE_KEY_USAGE, true, &usage)?,
            extension(rfc5280::ID_CE_EXT_KEY_USAGE, false, &purposes)?,
            extension(
                rfc5280::ID_CE_SUBJECT_ALT_NAME,
                true,
                &SubjectAltName(vec![name]),
            )?,
        ];
        if !is_plain(&identity.issuer) {
            return Err(CertificateError::Claim("the issuer must be a URL".into()));
        }
        let issuer = [(ISSUER_RAW, &identity.issuer), (ISSUER, &identity.issuer)];
        let claims = identity.claims.iter().map(|(id, text)| (id.as_str(), text));
        for (id, text) in issuer.into_iter().chain(claims) {
            extensions.push(claim(id, text)?);
        }
        let subject = Subject {
            name: Name::default(),
            key,
            life,
        };
        certify(&*self.signer, self.issuer.clone(), subject, extensions)
    }
}

fn claim(id: &str, text: &str) -> Result<Extension, CertificateError> {
    let bad = |why: &str| CertificateError::Claim(format!("{id} {why}"));
    let number = claim_number(id).ok_or_else(|| bad(&format!("is not under {CLAIMS_ARC}")))?;
    if !is_text(text) {
        return Err(bad(
            "is no text of 1 to 512 bytes without control characters",
        ));
    }
    let oid = ObjectIdentifier::new(id).map_err(|e| bad(&e.to_string()))?;
    if is_raw(number) {
        return raw(oid, false, text.as_bytes());
    }
    extension(oid, false, &Utf8StringRef::new(text).map_err(failed)?)
}

/// A request for a certificate: PKCS#10 DER with an empty subject and no attributes, signed by
/// the key that the certificate is to be for.
///
/// # Errors
/// [`CertificateError::Issue`].
pub fn make_request(signer: &dyn Signer) -> Result<Vec<u8>, CertificateError> {
    let info = CertReqInfo {
        version: RequestVersion::V1,
        subject: Name::default(),
        public_key: spki(signer.public_key())?,
        attributes: SetOfVec::new(),
    };
    sign(info, signer)
}

/// The key of a PKCS#10 request, once its signature has shown that the sender holds it. What it
/// asks for is not read: the issuer says what goes into a certificate.
///
/// # Errors
/// [`CertificateError::Request`], [`CertificateError::Key`], [`CertificateError::Possession`].
pub fn request_key(bytes: &[u8]) -> Result<PublicKey, CertificateError> {
    let bad = |why: String| CertificateError::Request(why);
    if bytes.len() > MAX_REQUEST_BYTES {
        let length = bytes.len();
        return Err(bad(format!(
            "{length} bytes, want at most {MAX_REQUEST_BYTES}"
        )));
    }
    let request = CertReq::from_der(bytes).map_err(|e| bad(e.to_string()))?;
    let key = request
        .info
        .public_key
        .to_der()
        .map_err(|e| bad(e.to_string()))?;
    // Before the algorithm, which follows from the key: another curve is named as such.
    let key = PublicKey::from_spki_der(&key).map_err(|e| CertificateError::Key(e.to_string()))?;
    if request.algorithm != algorithm() {
        return Err(bad("it must be signed by ecdsa-with-SHA256".into()));
    }
    let message = request.info.to_der().map_err(|e| bad(e.to_string()))?;
    let signature = request.signature.as_bytes();
    let signature = signature.ok_or_else(|| bad("its signature has unused bits".into()))?;
    let foreign = |e: String| CertificateError::Possession(e);
    let low = crate::low_s::normalize_der(signature).map_err(|e| foreign(e.to_string()))?;
    key.verify(&message, &low)
        .map_err(|e| foreign(e.to_string()))?;
    Ok(key)
}
