//! Whether a chain leads to an authority (RFC 5280, section 6, for this profile).

use super::profile::{Is, Parsed};
use super::{CertificateError, EndCertificate, MAX_CHAIN};
use crate::PublicKey;
use crate::digest::sha256;
use der::Decode as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::ext::pkix::name::GeneralName;

/// DER of 1.3.6.1.5.5.7.3.3, codeSigning, without tag and length.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// A trust anchor: an authority's certificate, as a project lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor(Box<Parsed>, [u8; 32]);

impl Anchor {
    /// Reads an authority's certificate of the profile. That it is signed by itself, or by whom,
    /// is not asked: whoever lists it trusts its key.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed = Parsed::read(der)?;
        match parsed.is {
            Is::Authority { .. } => Ok(Self(Box::new(parsed), sha256(der))),
            Is::End(_) => Err(CertificateError::NotAuthority),
        }
    }

    /// The certificate.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// What the certificate says.
    pub(super) fn parsed(&self) -> &Parsed {
        &self.0
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.1
    }

    /// The authority's key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.0.key
    }

    /// SHA-256 of its SubjectPublicKeyInfo: what a revocation of the authority names.
    #[must_use]
    pub fn key_hash(&self) -> [u8; 32] {
        self.0.key.id().0
    }

    /// Its subject, for people.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.called
    }

    /// Unix seconds, from and up to and with.
    #[must_use]
    pub fn validity(&self) -> (u64, u64) {
        (self.0.not_before, self.0.not_after)
    }

    /// How many authorities may stand below it; `None`: any number.
    #[must_use]
    pub fn path_length(&self) -> Option<u8> {
        match self.0.is {
            Is::Authority { path_length } => path_length,
            Is::End(_) => None,
        }
    }
}

/// What was found of one anchor, so that its signatures are checked once, by whomever. It is no
/// part of the value.
#[derive(Clone, Default)]
struct Memo(Arc<Mutex<BTreeMap<[u8; 32], Found>>>);

/// Whether the path to an anchor, which is known by its hash, is valid at some time.
type Found = Result<(), CertificateError>;
/// Anchors at most of which that is remembered.
const MOST_FOUND: usize = 64;

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

/// Certificates as a leaf carries them: the end certificate first, each issued by the next, the
/// anchor left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    end: Arc<EndCertificate>,
    /// The end certificate first.
    all: Arc<[Parsed]>,
    memo: Memo,
}

impl CertificateChain {
    /// Reads 1 to 4 certificates, end certificate first. Each is of the profile, and each but the
    /// last was issued by the next, by their names; no signature is checked.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse<D: AsRef<[u8]>>(ders: &[D]) -> Result<Self, CertificateError> {
        counted(ders.len())?;
        let read = |der: &D| Parsed::read(der.as_ref());
        Self::of(ders.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// The same of certificates that were read.
    pub(super) fn of(all: Vec<Parsed>) -> Result<Self, CertificateError> {
        counted(all.len())?;
        let end = match all.first().map(|first| &first.is) {
            Some(Is::End(end)) => Arc::new(EndCertificate::clone(end)),
            _ => return Err(CertificateError::IsAuthority),
        };
        for (number, pair) in all.windows(2).enumerate() {
            if let [below, above] = pair {
                if !matches!(above.is, Is::Authority { .. }) {
                    return Err(CertificateError::NotAuthority);
                }
                if !issued(below, above) {
                    return Err(CertificateError::Order(number));
                }
            }
        }
        Ok(Self {
            end,
            all: all.into(),
            memo: Memo::default(),
        })
    }

    /// The certificates, end certificate first.
    pub fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.all.iter().map(|c| c.der.as_slice())
    }

    /// What the end certificate says.
    #[must_use]
    pub fn end(&self) -> &EndCertificate {
        &self.end
    }

    /// The end certificate's last second, Unix time.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.end.not_after
    }

    /// The last second at which every certificate of the path is valid, `anchor` included; Unix time.
    #[must_use]
    pub fn valid_until(&self, anchor: &Anchor) -> u64 {
        let path = self.all.iter().chain(std::iter::once(&*anchor.0));
        path.map(|c| c.not_after).min().unwrap_or_default()
    }

    /// SHA-256 of the SubjectPublicKeyInfo of every authority on the path, the anchor's last.
    pub fn authorities<'a>(&'a self, anchor: &'a Anchor) -> impl Iterator<Item = [u8; 32]> + 'a {
        let between = self.all.iter().skip(1).map(|c| c.key.id().0);
        between.chain(std::iter::once(anchor.key_hash()))
    }

    /// Whether the chain is a valid path to `anchor`, every certificate of it, and the anchor's
    /// own, being valid at `time` (Unix seconds).
    ///
    /// # Errors
    /// [`CertificateError::OtherIssuer`] where it leads elsewhere; else what is wrong with it.
    pub fn verify(&self, anchor: &Anchor, time: u64) -> Result<(), CertificateError> {
        let top = self.all.last().ok_or(CertificateError::Count(0))?;
        if !issued(top, &anchor.0) {
            return Err(CertificateError::OtherIssuer {
                want: anchor.0.called.clone(),
                got: top.issuer_called.clone(),
            });
        }
        let authorities = self.all.iter().skip(1).chain(std::iter::once(&*anchor.0));
        for (below, authority) in authorities.enumerate() {
            if let Is::Authority {
                path_length: Some(allowed),
            } = authority.is
                && below > usize::from(allowed)
            {
                return Err(CertificateError::PathLength {
                    subject: authority.called.clone(),
                    allowed,
                    below,
                });
            }
        }
        self.whole(anchor)?;
        let mut path = self.all.iter().chain(std::iter::once(&*anchor.0));
        path.try_for_each(|c| c.covers(time))
    }

    /// Signatures, usages and constraints, at a time when all of it was valid.
    fn whole(&self, anchor: &Anchor) -> Result<(), CertificateError> {
        let mut memo = self.memo.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = memo.get(&anchor.1) {
            return found.clone();
        }
        let found = self.path(anchor);
        if memo.len() < MOST_FOUND {
            memo.insert(anchor.1, found.clone());
        }
        found
    }

    fn path(&self, anchor: &Anchor) -> Result<(), CertificateError> {
        let bad = |e: &dyn fmt::Debug| CertificateError::Path(format!("{e:?}"));
        let path = || self.all.iter().chain(std::iter::once(&*anchor.0));
        // Valid together at some time, or never.
        let from = path().map(|c| c.not_before).max().unwrap_or_default();
        path().try_for_each(|c| c.covers(from))?;
        let authorities = self.all.iter().skip(1).chain(std::iter::once(&*anchor.0));
        authorities
            .filter_map(|c| c.name_constraints.as_deref())
            .try_for_each(|limits| understood(limits, self.end.san_is_email))?;
        let (Some((end, above)), anchor) = (self.all.split_first(), &anchor.0.der) else {
            return Err(CertificateError::Count(0));
        };
        let anchor = CertificateDer::from(anchor.as_slice());
        let anchor = anchor_from_trusted_cert(&anchor).map_err(|e| bad(&e))?;
        let end = CertificateDer::from(end.der.as_slice());
        let end = EndEntityCert::try_from(&end).map_err(|e| bad(&e))?;
        let above: Vec<CertificateDer<'_>> = above
            .iter()
            .map(|c| CertificateDer::from(c.der.as_slice()))
            .collect();
        let anchors = [anchor];
        let verified = end
            .verify_for_usage(
                &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
                &anchors,
                &above,
                UnixTime::since_unix_epoch(Duration::from_secs(from)),
                KeyUsage::required(CODE_SIGNING),
                None,
                None,
            )
            .map_err(|e| bad(&e))?;
        // What stands in the chain is the path, and nothing beside it.
        if verified.intermediate_certificates().count() != above.len() {
            return Err(CertificateError::Path(
                "it is shorter than the chain".into(),
            ));
        }
        Ok(())
    }
}

fn counted(certificates: usize) -> Result<(), CertificateError> {
    match certificates {
        1..=MAX_CHAIN => Ok(()),
        other => Err(CertificateError::Count(other)),
    }
}

/// Of name constraints those are left to the path's validation that it understands. The others are
/// refused where they bind, here and not there: what the library refuses now it may understand one
/// day, and then two versions of this program would judge one certificate differently.
fn understood(limits: &[u8], email: bool) -> Result<(), CertificateError> {
    let bad = |why: &str| CertificateError::Path(format!("name constraints: {why}"));
    let limits = NameConstraints::from_der(limits).map_err(|e| bad(&e.to_string()))?;
    let lists = [limits.permitted_subtrees, limits.excluded_subtrees];
    let mut bases = lists.into_iter().flatten().flatten().map(|s| s.base);
    bases.try_for_each(|base| match base {
        // An end certificate has no such names.
        GeneralName::DnsName(_) | GeneralName::IpAddress(_) => Ok(()),
        GeneralName::UniformResourceIdentifier(_) if email => Ok(()),
        GeneralName::Rfc822Name(_) if !email => Ok(()),
        GeneralName::UniformResourceIdentifier(_) => Err(bad("on URIs they are not understood")),
        GeneralName::Rfc822Name(_) => Err(bad("on e-mail addresses they are not understood")),
        _ => Err(bad("on other names than of hosts they are not understood")),
    })
}

/// Whether the names say that `above` issued `below`.
fn issued(below: &Parsed, above: &Parsed) -> bool {
    below.issuer == above.subject
        && below.issuers_key_identifier.as_ref() == Some(&above.key_identifier)
}
