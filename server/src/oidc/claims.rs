//! What of a token goes into a certificate: text that a person can compare, and nothing that
//! looks like something else.

use super::config::IssuerSettings;
use super::error::OidcError;
use keys::certificate::Identity;
use serde_json::{Map, Value};

/// Longest claim, and longest text in a certificate.
const MAX_CLAIM: usize = 512;

fn bad(name: &str, why: impl Into<String>) -> OidcError {
    OidcError::Claim {
        name: name.to_owned(),
        why: why.into(),
    }
}

/// A claim's text: `None` where it is absent or empty.
///
/// # Errors
/// [`OidcError::Claim`] where it is no text, too long, or has other than printable ASCII.
pub(super) fn text<'a>(
    claims: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, OidcError> {
    let text = match claims.get(name) {
        None => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) => return Err(bad(name, "is no text")),
    };
    if text.len() > MAX_CLAIM {
        let length = text.len();
        return Err(bad(
            name,
            format!("has {length} bytes, at most {MAX_CLAIM} go into a certificate"),
        ));
    }
    let odd = |c: &char| !c.is_ascii_graphic() && *c != ' ';
    match text.chars().find(odd) {
        None => Ok(Some(text)),
        Some(c) if c.is_ascii() => {
            let code = u32::from(c);
            Err(bad(
                name,
                format!("holds the control character {code:#04x}"),
            ))
        }
        Some(c) => Err(bad(
            name,
            format!(
                "holds U+{:04X}, which is not ASCII and could be taken for another character",
                u32::from(c)
            ),
        )),
    }
}

/// Whether a claim may be a piece of a URI: it must not begin a query or a fragment, nor have a
/// second spelling.
///
/// # Errors
/// [`OidcError::Claim`].
pub(super) fn piece(name: &str, value: &str) -> Result<(), OidcError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~/@:+,=!$&'()*;".contains(&b);
    match value.bytes().find(|b| !allowed(*b)) {
        None => Ok(()),
        Some(byte) => Err(bad(
            name,
            format!("holds {:?}, which would change the URI", char::from(byte)),
        )),
    }
}

/// Refuses a URI with segments that mean another path.
///
/// # Errors
/// [`OidcError::Claim`].
pub(super) fn no_dots(name: &str, uri: &str) -> Result<(), OidcError> {
    if uri.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(bad(name, "makes a path with . or .. in it"));
    }
    Ok(())
}

/// Whom a token is for, as its issuer's settings have it.
///
/// # Errors
/// [`OidcError::NotAllowed`], [`OidcError::Claim`].
pub fn identity(
    settings: &IssuerSettings,
    claims: &Map<String, Value>,
) -> Result<Identity, OidcError> {
    for (name, wanted) in &settings.require {
        let found = text(claims, name)?;
        if !found.is_some_and(|found| wanted.iter().any(|w| w == found)) {
            let found = found.map_or_else(|| "is absent".into(), |f| format!("is {f:?}"));
            return Err(OidcError::NotAllowed {
                name: name.clone(),
                why: format!("{found}, want {}", wanted.join(" or ")),
            });
        }
    }
    let first = settings.san.names().next().unwrap_or_default();
    let san = settings.san.fill(claims)?;
    let absent = || {
        let missing = settings
            .san
            .names()
            .find(|name| !matches!(text(claims, name), Ok(Some(_))));
        bad(
            missing.unwrap_or(first),
            "is absent, and names the identity",
        )
    };
    let san = san.ok_or_else(absent)?;
    if !san.starts_with(&settings.within) {
        let within = &settings.within;
        return Err(bad(
            first,
            format!("makes {san:?}, which is not below {within}"),
        ));
    }
    if san.len() > MAX_CLAIM {
        return Err(bad(
            first,
            format!("makes a name of over {MAX_CLAIM} bytes"),
        ));
    }
    let mut extensions = std::collections::BTreeMap::new();
    for (oid, template) in &settings.claims {
        // What the platform does not say is left out: who asks for it does not find it.
        let Some(text) = template.fill(claims)? else {
            continue;
        };
        if text.len() > MAX_CLAIM {
            let name = template.names().next().unwrap_or_default();
            return Err(bad(name, format!("makes a text of over {MAX_CLAIM} bytes")));
        }
        extensions.insert(oid.clone(), text);
    }
    Ok(Identity {
        san,
        issuer: settings.url.clone(),
        claims: extensions,
    })
}
