//! The authorities of a project: whose certificates may stand in for release keys, and for whom
//! (docs/formats.md, "project" and "Certificates").

use super::{StatementError, only, shape, short_text, text};
use crate::encoding::{b64, from_b64};
use crate::{Hash, json, sha256};
use keys::certificate::{Anchor, EndCertificate, is_plain};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Most authorities of a project.
const MAX_AUTHORITIES: usize = 8;
/// Most identities of an authority.
const MAX_IDENTITIES: usize = 64;
/// Most claims of an identity.
const MAX_CLAIMS: usize = 32;

/// An authority, and the identities for which its certificates count in the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate: the trust anchor.
    pub anchor: Anchor,
    /// Whose certificates count; sorted by their canonical JSON.
    pub identities: Vec<Identity>,
}

/// Who a certificate must be for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The OIDC issuer that attests it, as the certificate's issuer claim has it.
    pub issuer: String,
    /// The subject alternative name; or, where it ends in `/*`, the beginning of it.
    pub san: String,
    /// Further claims that the certificate must have: OID → value.
    pub claims: BTreeMap<String, String>,
}

/// An OID in dotted decimal, as certificates are read.
fn is_oid(text: &str) -> bool {
    let arcs: Vec<&str> = text.split('.').collect();
    let number = |arc: &&str| {
        (1..=10).contains(&arc.len())
            && arc.bytes().all(|b| b.is_ascii_digit())
            && (arc.len() == 1 || !arc.starts_with('0'))
    };
    (3..=16).contains(&arcs.len()) && arcs.iter().all(number)
}

impl Identity {
    /// As a statement has it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "claims": self.claims, "issuer": self.issuer, "san": self.san })
    }

    /// What a revocation names: SHA-256 of its canonical JSON.
    ///
    /// # Errors
    /// [`StatementError::Json`] never in practice.
    pub fn hash(&self) -> Result<Hash, StatementError> {
        Ok(sha256(&json::to_canonical(&self.to_json())?))
    }

    /// Checks that it is one that a log accepts: printable ASCII without spaces, `*` only as the
    /// last segment of a URI with a host, claims by dotted OIDs.
    ///
    /// # Errors
    /// [`StatementError::Shape`].
    pub fn check(&self) -> Result<(), StatementError> {
        for (name, value) in [("issuer", &self.issuer), ("san", &self.san)] {
            if !is_plain(value) {
                return Err(shape(format!(
                    "{name} of an identity must be 1 to 512 printable ASCII characters without spaces"
                )));
            }
        }
        let exact = self.san.strip_suffix("/*").unwrap_or(&self.san);
        if exact.contains('*') {
            return Err(shape("* in a san stands only at the end, as /*"));
        }
        if exact.len() != self.san.len() {
            let host = exact.split_once("://").map(|(_, rest)| rest);
            let host = host.and_then(|rest| rest.split('/').next());
            if host.is_none_or(str::is_empty) {
                return Err(shape("a san that ends in /* must be a URI with a host"));
            }
        }
        if self.claims.len() > MAX_CLAIMS || !self.claims.keys().all(|oid| is_oid(oid)) {
            return Err(shape(format!(
                "claims of an identity are at most {MAX_CLAIMS}, by OIDs in dotted decimal"
            )));
        }
        Ok(())
    }

    /// Whether a certificate is for this identity: issuer and every claim bytewise equal; the name
    /// equal, or under the pattern with no segment that is empty, `.` or `..`.
    #[must_use]
    pub fn matches(&self, end: &EndCertificate) -> bool {
        let mut claims = self.claims.iter();
        end.issuer() == Some(&self.issuer)
            && self.names(&end.san)
            && claims.all(|(oid, value)| end.claims.get(oid) == Some(value))
    }

    fn names(&self, san: &str) -> bool {
        let Some(under) = self.san.strip_suffix('*').filter(|s| s.ends_with('/')) else {
            return self.san == san;
        };
        let Some(rest) = san.strip_prefix(under) else {
            return false;
        };
        !rest
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
    }

    fn parse(value: &Value) -> Result<Self, StatementError> {
        let fields = object(value, "an identity")?;
        only(fields, &["claims", "issuer", "san"], "an identity")?;
        let claims = fields
            .get("claims")
            .ok_or_else(|| shape("claims is missing"))?;
        let claims = object(claims, "claims")?;
        let mut read = BTreeMap::new();
        for oid in claims.keys() {
            read.insert(oid.clone(), short_text(claims, oid)?);
        }
        let identity = Self {
            issuer: text(fields, "issuer")?.to_owned(),
            san: text(fields, "san")?.to_owned(),
            claims: read,
        };
        identity.check()?;
        Ok(identity)
    }
}

impl Authority {
    /// What a revocation names: SHA-256 of the anchor's SubjectPublicKeyInfo.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.anchor.key_hash()
    }

    fn to_json(&self) -> Result<Value, StatementError> {
        let identities = sorted(self.identities.iter().map(Identity::to_json))?;
        Ok(json!({ "certificate": b64(self.anchor.der()), "identities": identities }))
    }

    fn parse(value: &Value) -> Result<Self, StatementError> {
        let bad = |why: String| StatementError::Key(format!("authorities: {why}"));
        let fields = object(value, "an authority")?;
        only(fields, &["certificate", "identities"], "an authority")?;
        let der = from_b64(text(fields, "certificate")?);
        let der = der.ok_or_else(|| bad("certificate is not base64".into()))?;
        let anchor = Anchor::parse(&der).map_err(|e| bad(e.to_string()))?;
        let list = list(fields, "identities", MAX_IDENTITIES)?;
        let identities = list.iter().map(Identity::parse);
        Ok(Self {
            anchor,
            identities: identities.collect::<Result<_, _>>()?,
        })
    }
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, StatementError> {
    value
        .as_object()
        .ok_or_else(|| shape(format!("{what} must be an object")))
}

/// A list of 1 to `max` objects, sorted by their canonical JSON without repeats.
fn list<'a>(
    fields: &'a Map<String, Value>,
    name: &'static str,
    max: usize,
) -> Result<&'a [Value], StatementError> {
    let list = fields.get(name).and_then(Value::as_array);
    let list = list.ok_or_else(|| shape(format!("{name} must be a list")))?;
    if list.is_empty() || list.len() > max {
        return Err(shape(format!("{name} must list 1 to {max}")));
    }
    let texts: Vec<Vec<u8>> = list
        .iter()
        .map(json::to_canonical)
        .collect::<Result<_, _>>()?;
    if texts.windows(2).any(|p| matches!(p, [a, b] if a >= b)) {
        return Err(StatementError::NotASet(name));
    }
    Ok(list)
}

fn sorted(values: impl Iterator<Item = Value>) -> Result<Vec<Value>, StatementError> {
    let mut set = BTreeMap::new();
    for value in values {
        set.insert(json::to_canonical(&value)?, value);
    }
    Ok(set.into_values().collect())
}

/// Reads the member `authorities` of a project's predicate.
pub(super) fn parse(fields: &Map<String, Value>) -> Result<Vec<Authority>, StatementError> {
    let list = list(fields, "authorities", MAX_AUTHORITIES)?;
    let all: Vec<Authority> = list
        .iter()
        .map(Authority::parse)
        .collect::<Result<_, _>>()?;
    let keys: BTreeSet<Hash> = all.iter().map(Authority::hash).collect();
    if keys.len() < all.len() {
        return Err(shape(
            "two authorities have one key: a revocation of one would be of both",
        ));
    }
    Ok(all)
}

/// Writes it.
pub(super) fn write(authorities: &[Authority]) -> Result<Vec<Value>, StatementError> {
    let all: Vec<Value> = authorities
        .iter()
        .map(Authority::to_json)
        .collect::<Result<_, _>>()?;
    sorted(all.into_iter())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn identity(san: &str) -> Identity {
        Identity {
            issuer: "https://token.example".to_owned(),
            san: san.to_owned(),
            claims: BTreeMap::new(),
        }
    }

    #[test]
    fn a_pattern_is_the_beginning_of_a_name_and_whole_segments_follow() {
        let under = identity("https://forge.example/acme/tool/*");
        for yes in ["x", ".ci/release.yml@refs/tags/v1", "a/b/c", "..."] {
            assert!(under.names(&format!("https://forge.example/acme/tool/{yes}")));
        }
        for no in ["", "/x", "x/", "..", "../other/x", "a/../b", "./x", "a//b"] {
            assert!(
                !under.names(&format!("https://forge.example/acme/tool/{no}")),
                "{no}"
            );
        }
        for no in [
            "https://forge.example/acme/tool",
            "https://forge.example/acme/tools/x",
            "https://forge.example/acme/Tool/x",
            "http://forge.example/acme/tool/x",
        ] {
            assert!(!under.names(no), "{no}");
        }
        let exact = identity("https://forge.example/acme/tool/x");
        assert!(exact.names("https://forge.example/acme/tool/x"));
        assert!(!exact.names("https://forge.example/acme/tool/x/y"));
    }

    #[test]
    fn a_star_stands_nowhere_else() {
        for good in [
            "https://forge.example/*",
            "https://a.example/b/*",
            "ci@a.example",
        ] {
            identity(good).check().unwrap();
        }
        for bad in [
            "*",
            "/*",
            "https:///*",
            "https://*",
            "https://a.example/*/x",
            "https://a.example/x*",
            "https://a.example/**",
            "*@a.example",
            "a b",
            "",
            "https://\u{430}.example/x",
        ] {
            assert!(identity(bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn claims_are_by_oids() {
        for (oid, good) in [
            ("1.3.6.1.4.1.57264.1.12", true),
            ("1.3.06", false),
            ("1..3", false),
            ("1.3", false),
            ("job", false),
        ] {
            let mut one = identity("ci@a.example");
            one.claims.insert(oid.to_owned(), "x".to_owned());
            assert_eq!(one.check().is_ok(), good, "{oid}");
        }
    }
}
