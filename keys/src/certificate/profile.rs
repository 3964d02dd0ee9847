//! What of X.509 we accept: one certificate by itself, whoever issued it.

use super::claims::{ISSUER, ISSUER_RAW, claims};
use super::{CertificateError, MAX_CERTIFICATE_BYTES, MAX_LIFE};
use crate::PublicKey;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
use der::{Decode as _, Encode as _, Tag, Tagged as _};
use std::collections::{BTreeMap, BTreeSet};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;

const LONGEST_TEXT: usize = 512;
const AUTHORITY_KEY: &str = "authorityKeyIdentifier";

/// What an end certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndCertificate {
    /// The key that it is about.
    pub key: PublicKey,
    /// The one name that it is for: a URI or an e-mail address, printable ASCII.
    pub san: String,
    /// Whether the name is an e-mail address.
    pub san_is_email: bool,
    /// OID in dotted decimal → text, of the claims under [`CLAIMS_ARC`](super::CLAIMS_ARC); the issuer among them.
    pub claims: BTreeMap<String, String>,
    /// The serial number's bytes, big-endian, without leading zero.
    pub serial: Vec<u8>,
    /// Unix seconds; valid from here on.
    pub not_before: u64,
    /// Unix seconds; valid up to and with this one.
    pub not_after: u64,
}

impl EndCertificate {
    /// Who attests the name: the OIDC issuer's URL.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        let claim = self.claims.get(ISSUER).or(self.claims.get(ISSUER_RAW));
        claim.map(String::as_str)
    }
}

/// What one certificate is, in the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) der: Vec<u8>,
    /// DER of its subject and of its issuer.
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    /// The same for people; of an end certificate its name.
    pub(super) called: String,
    pub(super) issuer_called: String,
    pub(super) key: PublicKey,
    pub(super) key_identifier: Vec<u8>,
    pub(super) issuers_key_identifier: Option<Vec<u8>>,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    /// DER of an authority's name constraints.
    pub(super) name_constraints: Option<Vec<u8>>,
    pub(super) is: Is,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Is {
    Authority { path_length: Option<u8> },
    End(Box<EndCertificate>),
}

fn wrong(what: &'static str, why: impl Into<String>) -> CertificateError {
    let why = why.into();
    CertificateError::Extension { what, why }
}

/// The extensions of one certificate, each of which is asked for by name; critical ones that
/// nobody asked for are refused.
pub(super) struct Extensions<'a> {
    pub(super) all: BTreeMap<ObjectIdentifier, &'a Extension>,
    pub(super) known: BTreeSet<ObjectIdentifier>,
}

impl<'a> Extensions<'a> {
    fn read(certificate: &'a Certificate) -> Result<Self, CertificateError> {
        let mut all = BTreeMap::new();
        let list = certificate.tbs_certificate().extensions();
        for extension in list.into_iter().flatten() {
            // The reader takes arcs with zeroes in front, so that two numbers would read the same.
            let id = extension.extn_id;
            if ObjectIdentifier::new(&id.to_string()).as_ref() != Ok(&id) {
                let why = format!("extension {id} is not numbered as DER has it");
                return Err(CertificateError::Encoding(why));
            }
            if all.insert(id, extension).is_some() {
                return Err(CertificateError::RepeatedExtension(id.to_string()));
            }
        }
        let known = BTreeSet::new();
        Ok(Self { all, known })
    }

    /// An extension, if it is there, and whether it is critical.
    fn get<T: for<'d> der::Decode<'d, Error = der::Error>>(
        &mut self,
        id: ObjectIdentifier,
        what: &'static str,
    ) -> Result<Option<(T, bool)>, CertificateError> {
        self.known.insert(id);
        let Some(extension) = self.all.get(&id) else {
            return Ok(None);
        };
        let bytes = extension.extn_value.as_bytes();
        let value = T::from_der(bytes).map_err(|e| wrong(what, e.to_string()))?;
        Ok(Some((value, extension.critical)))
    }

    /// One that must be there, and critical.
    fn critical<T: for<'d> der::Decode<'d, Error = der::Error>>(
        &mut self,
        id: ObjectIdentifier,
        what: &'static str,
    ) -> Result<T, CertificateError> {
        match self.get(id, what)? {
            None => Err(wrong(what, "it is missing")),
            Some((_, false)) => Err(wrong(what, "it must be critical")),
            Some((value, true)) => Ok(value),
        }
    }

    /// Nothing critical is left that nobody has asked for.
    fn end(self) -> Result<(), CertificateError> {
        let mut rest = self.all.values().filter(|e| e.critical);
        match rest.find(|e| !self.known.contains(&e.extn_id)) {
            Some(e) => Err(CertificateError::UnknownCritical(e.extn_id.to_string())),
            None => Ok(()),
        }
    }
}

impl Parsed {
    pub(super) fn read(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateError::TooLarge(der.len()));
        }
        let bad = |e: der::Error| CertificateError::Encoding(e.to_string());
        let certificate = Certificate::from_der(der).map_err(bad)?;
        // One certificate has one encoding.
        if certificate.to_der().map_err(bad)? != der {
            let why = "it is not the encoding that DER gives".to_owned();
            return Err(CertificateError::Encoding(why));
        }
        let tbs = certificate.tbs_certificate();
        let old = tbs.issuer_unique_id().is_some() || tbs.subject_unique_id().is_some();
        if tbs.version() != Version::V3 || old {
            return Err(CertificateError::Version);
        }
        for algorithm in [tbs.signature(), certificate.signature_algorithm()] {
            if algorithm.oid != ECDSA_WITH_SHA_256 || algorithm.parameters.is_some() {
                return Err(CertificateError::Algorithm);
            }
        }
        let serial = serial(tbs.serial_number().as_bytes())?;
        let (not_before, not_after) = (
            tbs.validity().not_before.to_unix_duration().as_secs(),
            tbs.validity().not_after.to_unix_duration().as_secs(),
        );
        if not_before > not_after {
            return Err(CertificateError::Validity);
        }
        if tbs.issuer().is_empty() {
            return Err(CertificateError::Subject("of its issuer is empty"));
        }
        if ![tbs.subject(), tbs.issuer()].into_iter().all(is_shown) {
            return Err(CertificateError::Subject(
                "or its issuer's holds what is no text without control characters",
            ));
        }
        let spki = tbs.subject_public_key_info().to_der().map_err(bad)?;
        let key = PublicKey::from_spki_der(&spki);
        let key = key.map_err(|e| CertificateError::Key(e.to_string()))?;

        let mut extensions = Extensions::read(&certificate)?;
        let constraints: Option<(BasicConstraints, bool)> =
            extensions.get(rfc5280::ID_CE_BASIC_CONSTRAINTS, "basicConstraints")?;
        let usage: KeyUsage = extensions.critical(rfc5280::ID_CE_KEY_USAGE, "keyUsage")?;
        let purposes: Option<(ExtendedKeyUsage, bool)> =
            extensions.get(rfc5280::ID_CE_EXT_KEY_USAGE, "extKeyUsage")?;
        let own: Option<(SubjectKeyIdentifier, bool)> = extensions.get(
            rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER,
            "subjectKeyIdentifier",
        )?;
        let own = own.ok_or_else(|| wrong("subjectKeyIdentifier", "it is missing"))?;
        let above: Option<(AuthorityKeyIdentifier, bool)> =
            extensions.get(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, AUTHORITY_KEY)?;
        if own.1 || above.as_ref().is_some_and(|(_, critical)| *critical) {
            return Err(wrong("key identifiers", "they must not be critical"));
        }
        let above = match above {
            None => None,
            Some((above, _)) => {
                let wanted = || wrong(AUTHORITY_KEY, "it must be a keyIdentifier and nothing else");
                // Nobody would compare what else it can say of the authority's certificate.
                let named = above.authority_cert_issuer.is_some()
                    || above.authority_cert_serial_number.is_some();
                let id = above.key_identifier.filter(|_| !named).ok_or_else(wanted)?;
                Some(id.as_bytes().to_vec())
            }
        };
        let subject_called = tbs.subject().to_string();
        let mut parsed = Self {
            der: der.to_vec(),
            subject: tbs.subject().to_der().map_err(bad)?,
            issuer: tbs.issuer().to_der().map_err(bad)?,
            called: subject_called,
            issuer_called: tbs.issuer().to_string(),
            key: key.clone(),
            key_identifier: own.0.0.as_bytes().to_vec(),
            issuers_key_identifier: above,
            not_before,
            not_after,
            name_constraints: None,
            is: Is::Authority { path_length: None },
        };
        let authority = constraints.as_ref().is_some_and(|(c, _)| c.ca);
        if authority {
            if tbs.subject().is_empty() {
                return Err(CertificateError::Subject("of an authority is empty"));
            }
            // They bind what is below: the path's validation looks at them.
            extensions.known.insert(rfc5280::ID_CE_NAME_CONSTRAINTS);
            let limits = extensions.all.get(&rfc5280::ID_CE_NAME_CONSTRAINTS);
            parsed.name_constraints = limits.map(|e| e.extn_value.as_bytes().to_vec());
            let path_length = authority_extensions(constraints, &usage, purposes)?;
            parsed.is = Is::Authority { path_length };
        } else {
            if !tbs.subject().is_empty() {
                return Err(CertificateError::Subject(
                    "of an end certificate is not empty: its name stands in the subject alternative name",
                ));
            }
            if parsed.issuers_key_identifier.is_none() {
                return Err(wrong(AUTHORITY_KEY, "it is missing"));
            }
            if constraints.is_some_and(|(c, _)| c.path_len_constraint.is_some()) {
                let why = "an end certificate has no path length";
                return Err(wrong("basicConstraints", why));
            }
            let life = not_after.saturating_sub(not_before);
            if life > MAX_LIFE {
                return Err(CertificateError::Life(life));
            }
            end_extensions(&usage, purposes)?;
            let (san, san_is_email) = name(&mut extensions)?;
            let claims = claims(&mut extensions)?;
            parsed.called.clone_from(&san);
            parsed.is = Is::End(Box::new(EndCertificate {
                key,
                san,
                san_is_email,
                claims,
                serial,
                not_before,
                not_after,
            }));
        }
        extensions.end()?;
        Ok(parsed)
    }

    /// Whether it is valid at `time`, by its own dates.
    pub(super) fn covers(&self, time: u64) -> Result<(), CertificateError> {
        if (self.not_before..=self.not_after).contains(&time) {
            return Ok(());
        }
        Err(CertificateError::Time {
            subject: self.called.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
            time,
        })
    }
}

fn serial(bytes: &[u8]) -> Result<Vec<u8>, CertificateError> {
    // A leading zero is the sign's.
    let magnitude = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let negative = bytes.first().is_some_and(|b| *b >= 0x80);
    if magnitude.is_empty() || magnitude.len() > 20 || negative {
        return Err(CertificateError::Serial);
    }
    Ok(magnitude.to_vec())
}

fn only_code_signing(purposes: Option<(ExtendedKeyUsage, bool)>) -> Result<(), CertificateError> {
    match purposes {
        Some((ExtendedKeyUsage(list), _)) if list == [rfc5280::ID_KP_CODE_SIGNING] => Ok(()),
        Some(_) => Err(wrong(
            "extKeyUsage",
            "it must be codeSigning and nothing else",
        )),
        None => Err(wrong("extKeyUsage", "it is missing")),
    }
}

fn authority_extensions(
    constraints: Option<(BasicConstraints, bool)>,
    usage: &KeyUsage,
    purposes: Option<(ExtendedKeyUsage, bool)>,
) -> Result<Option<u8>, CertificateError> {
    let path_length = match constraints {
        Some((c, true)) => c.path_len_constraint,
        _ => return Err(wrong("basicConstraints", "it must be critical")),
    };
    let rest = usage.0 - (KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    if !usage.key_cert_sign() || !rest.is_empty() {
        return Err(wrong(
            "keyUsage",
            "an authority's must have keyCertSign, and nothing else but cRLSign",
        ));
    }
    // Where it is there it binds what is below; a root may do without.
    if purposes.is_some() {
        only_code_signing(purposes)?;
    }
    Ok(path_length)
}

fn end_extensions(
    usage: &KeyUsage,
    purposes: Option<(ExtendedKeyUsage, bool)>,
) -> Result<(), CertificateError> {
    if usage.0 != KeyUsages::DigitalSignature {
        return Err(wrong(
            "keyUsage",
            "an end certificate's must be digitalSignature and nothing else",
        ));
    }
    only_code_signing(purposes)
}

/// The one name, and whether it is an e-mail address.
fn name(extensions: &mut Extensions<'_>) -> Result<(String, bool), CertificateError> {
    let bad = |why: &str| CertificateError::Name(why.to_owned());
    let id = rfc5280::ID_CE_SUBJECT_ALT_NAME;
    let names: SubjectAltName = extensions.critical(id, "subjectAltName")?;
    let [one] = names.0.as_slice() else {
        return Err(bad("it must hold exactly one name"));
    };
    let (text, email) = match one {
        GeneralName::UniformResourceIdentifier(uri) => (uri.as_str(), false),
        GeneralName::Rfc822Name(email) => (email.as_str(), true),
        _ => return Err(bad("it must be a URI or an e-mail address")),
    };
    let shaped = if email { '@' } else { ':' };
    if !is_plain(text) || !text.contains(shaped) {
        return Err(bad(
            "it must be a URI or an e-mail address of 1 to 512 printable ASCII characters without spaces",
        ));
    }
    Ok((text.to_owned(), email))
}

/// Whether a subject's parts are texts that a person can be shown.
fn is_shown(name: &Name) -> bool {
    name.iter().all(|part| {
        let value = &part.value;
        let text = match value.tag() {
            Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
                std::str::from_utf8(value.value()).ok()
            }
            _ => None,
        };
        text.is_some_and(is_text)
    })
}

/// Whether a name is 1 to 512 characters of printable ASCII without spaces: what looks like another
/// character is none of these.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    (1..=LONGEST_TEXT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// A claim's text: what a person can be shown.
pub(super) fn is_text(text: &str) -> bool {
    (1..=LONGEST_TEXT).contains(&text.len()) && !text.chars().any(char::is_control)
}
