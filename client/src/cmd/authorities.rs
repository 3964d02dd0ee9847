//! The file that says whose certificates may release for a project (docs/certificates.md).

use crate::fail::Fail;
use crate::when::time;
use keys::certificate::{Anchor, CertificateChain, read_certificates};
use ledger::hex32;
use ledger::statement::{Authority, Identity, Project};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Largest such file in bytes, and largest certificate file.
const MAX_BYTES: u64 = 256 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    authority: Vec<AuthorityText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityText {
    /// PEM or DER, beside this file.
    certificate: String,
    identity: Vec<IdentityText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityText {
    issuer: String,
    san: String,
    #[serde(default)]
    claims: BTreeMap<String, String>,
}

/// Reads a file of authorities; certificates are looked for beside it.
///
/// # Errors
/// Exit code 2.
pub(crate) fn read_authorities(path: &Path) -> Result<Vec<Authority>, Fail> {
    let bad = |kind: &str, why: String| {
        Fail::usage(kind, why)
            .detail("file", path.display().to_string())
            .hint("docs/certificates.md shows such a file; `countersign ca init` prints the part for an authority")
    };
    let text = String::from_utf8(read(path)?);
    let text = text.map_err(|_| bad("bad-authorities", "it is not UTF-8".into()))?;
    let file: File =
        toml::from_str(&text).map_err(|e| bad("bad-authorities", e.message().to_owned()))?;
    let mut authorities = Vec::new();
    for one in file.authority {
        let certificate = path
            .parent()
            .unwrap_or(Path::new(""))
            .join(&one.certificate);
        let anchor = read_anchor(&certificate)?;
        let identities = one.identity.into_iter().map(|i| {
            let identity = Identity {
                issuer: i.issuer,
                san: i.san,
                claims: i.claims,
            };
            identity.check().map_err(|e| bad(e.kind(), e.to_string()))?;
            Ok(identity)
        });
        authorities.push(Authority {
            anchor,
            identities: identities.collect::<Result<_, Fail>>()?,
        });
    }
    Ok(authorities)
}

/// Whose certificates a project lists, for whoever signs that: a line an identity, with the authority's key
/// and its very certificate, since another one of that key may live longer or allow more.
pub(crate) fn listed(p: &Project) -> Vec<String> {
    let each = p.authorities.iter().flat_map(|a| {
        let (key, certificate) = (hex32(&a.hash()), hex32(&a.anchor.hash()));
        let until = time(a.anchor.validity().1);
        a.identities.iter().map(move |i| {
            let claims = i.claims.iter();
            let claims: String = claims.map(|(oid, text)| format!(", {oid} {text}")).collect();
            format!(
                "authority {key} (certificate {certificate}, until {until}) for {} attested by {}{claims}",
                i.san, i.issuer
            )
        })
    });
    each.collect()
}

/// Reads an authority's certificate, PEM or DER.
///
/// # Errors
/// Exit code 2.
pub(crate) fn read_anchor(path: &Path) -> Result<Anchor, Fail> {
    let bad = |kind: &str, why: String| {
        Fail::usage(kind, why).detail("certificate", path.display().to_string())
    };
    let ders = read_certificates(&read(path)?).map_err(|e| bad(e.kind(), e.to_string()))?;
    match ders.as_slice() {
        [one] => Anchor::parse(one).map_err(|e| bad(e.kind(), e.to_string())),
        many => Err(bad(
            "certificate-count",
            format!("{} certificates, want one: the authority's own", many.len()),
        )),
    }
}

/// Reads a chain, PEM, the end certificate first.
///
/// # Errors
/// Exit code 2.
pub(crate) fn read_chain(path: &Path) -> Result<CertificateChain, Fail> {
    let chain = read_certificates(&read(path)?).and_then(|ders| CertificateChain::parse(&ders));
    chain.map_err(|e| {
        Fail::usage(e.kind(), e.to_string()).detail("certificate", path.display().to_string())
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Fail> {
    let bad = |why: String| Fail::usage("unreadable", format!("{}: {why}", path.display()));
    let size = std::fs::metadata(path)
        .map_err(|e| bad(e.to_string()))?
        .len();
    if size > MAX_BYTES {
        return Err(bad(format!("{size} bytes, want at most {MAX_BYTES}")));
    }
    std::fs::read(path).map_err(|e| bad(e.to_string()))
}
