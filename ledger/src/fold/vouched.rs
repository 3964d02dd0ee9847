//! What a signature needs so as to count, beside its arithmetic: a listed key, or a certificate of
//! an authority for an identity that the project lists (docs/formats.md, "Certificates").

use super::Refusal;
use crate::envelope::Envelope;
use crate::released::signers;
use crate::statement::{Identity, Project, Target};
use keys::certificate::{CertificateChain, CertificateError, EndCertificate};

/// All that a revocation may name so that one signature does not count: of a key the key; of a
/// certificate each identity that it is for, and each authority on its path.
pub type Targets = Box<[Target]>;

/// The targets of each signature on an envelope that was accepted under `p`, its leaf's time being
/// `time`. A signature counts if none of its targets is revoked there.
///
/// # Errors
/// As [`vouched`], where the envelope has a certificate.
pub fn targets(p: &Project, envelope: &Envelope, time: u64) -> Result<Box<[Targets]>, Refusal> {
    match &envelope.chain {
        Some(chain) => Ok([vouched(p, chain, time)?.targets].into()),
        None => Ok(signers(envelope)
            .map(|key| [Target::key(&key)].into())
            .collect()),
    }
}

/// What stands behind a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// All that must not be revoked.
    pub targets: Targets,
    /// The last second, in Unix time, at which every certificate on the paths is valid, each anchor's
    /// included.
    pub until: u64,
}

/// Whether an authority of `p` vouches for the end certificate at `time`, for an identity that
/// it is listed with: the path is valid, and every certificate on it at that time. The targets
/// that must not be revoked: those of every authority and identity that it is so for.
///
/// # Errors
/// [`Refusal::UnwantedCertificate`], [`Refusal::Certificate`], [`Refusal::OtherIdentity`].
pub fn vouched(p: &Project, chain: &CertificateChain, time: u64) -> Result<Vouched, Refusal> {
    if p.authorities.is_empty() {
        return Err(Refusal::UnwantedCertificate);
    }
    let (mut targets, mut listed, mut refused) = (Vec::new(), false, None);
    let mut until = u64::MAX;
    for authority in &p.authorities {
        match chain.verify(&authority.anchor, time) {
            Ok(()) => listed = true,
            Err(e) => {
                // Of several the one that says most: the authority is the right one.
                let better = !matches!(e, CertificateError::OtherIssuer { .. });
                if better || refused.is_none() {
                    refused = Some(e);
                }
                continue;
            }
        }
        let mut identities = Vec::new();
        for one in authority
            .identities
            .iter()
            .filter(|i| i.matches(chain.end()))
        {
            let hash = one.hash().map_err(|e| Refusal::Internal(e.to_string()))?;
            identities.push(Target::Identity(hash));
        }
        if !identities.is_empty() {
            until = until.min(chain.valid_until(&authority.anchor));
            let authorities = chain.authorities(&authority.anchor);
            targets.extend(authorities.map(Target::Authority));
            targets.append(&mut identities);
        }
    }
    if targets.is_empty() {
        return Err(match refused {
            Some(why) if !listed => Refusal::Certificate(why),
            _ => other_identity(p, chain.end()),
        });
    }
    targets.sort_unstable();
    targets.dedup();
    let targets = targets.into();
    Ok(Vouched { targets, until })
}

fn other_identity(p: &Project, end: &EndCertificate) -> Refusal {
    let listed: Vec<&str> = p.identities().map(|i: &Identity| i.san.as_str()).collect();
    Refusal::OtherIdentity {
        san: end.san.clone(),
        issuer: end.issuer().unwrap_or("nobody").to_owned(),
        listed: listed.join(", "),
    }
}
