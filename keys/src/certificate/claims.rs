//! What an end certificate says of its holder besides the name: Sigstore's claims.

use super::CertificateError;
use super::profile::{Extensions, is_plain, is_text};
use der::Decode as _;
use der::asn1::Utf8StringRef;
use std::collections::BTreeMap;

/// The arc of the claims of Sigstore's Fulcio: `1.3.6.1.4.1.57264.1`.
pub const CLAIMS_ARC: &str = "1.3.6.1.4.1.57264.1";
/// The issuer claim, a DER UTF8String.
pub(super) const ISSUER: &str = "1.3.6.1.4.1.57264.1.8";
/// The issuer claim in its first form: the text's bytes as they are.
pub(super) const ISSUER_RAW: &str = "1.3.6.1.4.1.57264.1.1";
/// The last of the claims whose bytes are as they are; from the next on but one they are DER.
const LAST_RAW: u32 = 6;

pub(super) fn claims(
    extensions: &mut Extensions<'_>,
) -> Result<BTreeMap<String, String>, CertificateError> {
    let bad = |id: &str, why: &str| CertificateError::Claim(format!("{id} {why}"));
    let mut claims = BTreeMap::new();
    for (oid, extension) in &extensions.all {
        let id = oid.to_string();
        let Some(number) = claim_number(&id) else {
            continue;
        };
        let bytes = extension.extn_value.as_bytes();
        let text = if is_raw(number) {
            std::str::from_utf8(bytes).ok()
        } else {
            Utf8StringRef::from_der(bytes).ok().map(|t| t.as_str())
        };
        let text = text.filter(|text| is_text(text));
        let text = text.ok_or_else(|| bad(&id, "is no text of 1 to 512 bytes"))?;
        extensions.known.insert(*oid);
        claims.insert(id, text.to_owned());
    }
    match (claims.get(ISSUER), claims.get(ISSUER_RAW)) {
        (None, None) => Err(bad(ISSUER, "(issuer) is missing")),
        (Some(a), Some(b)) if a != b => {
            Err(bad(ISSUER, "and its first form say different issuers"))
        }
        (a, b) => match a.or(b) {
            Some(issuer) if is_plain(issuer) => Ok(claims),
            _ => Err(bad(
                ISSUER,
                "(issuer) is not printable ASCII without spaces",
            )),
        },
    }
}

/// The last number of a claim's OID. 7 is another certificate's name, and no claim.
pub(super) fn claim_number(id: &str) -> Option<u32> {
    let rest = id.strip_prefix(CLAIMS_ARC)?.strip_prefix('.')?;
    rest.parse()
        .ok()
        .filter(|n| (1..=255).contains(n) && *n != 7)
}

/// Whether a claim's bytes are the text as it is, not DER.
pub(super) fn is_raw(number: u32) -> bool {
    number <= LAST_RAW
}
