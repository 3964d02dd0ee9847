//! Tokens, read strictly and verified. Signatures are checked by `jsonwebtoken`, which also looks
//! at algorithm, issuer and audience; times are judged here, by a clock that is an argument.

use super::config::IssuerSettings;
use super::error::OidcError;
use super::jwks::Key;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// Largest token in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Longest identifier of a key, and longest `jti`.
pub(super) const MAX_ID: usize = 256;
/// Headers by which a token brings its own key, or asks for what nobody here does.
const REFUSED: [&str; 8] = ["crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"];

/// A token that was read; nothing in it is proven yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Token<'a> {
    text: &'a str,
    algorithm: Algorithm,
    kid: String,
    issuer: String,
    claims: Map<String, Value>,
}

fn bad(why: impl Into<String>) -> OidcError {
    OidcError::Token(why.into())
}

fn object(part: &str, what: &str) -> Result<Map<String, Value>, OidcError> {
    let bytes = URL_SAFE_NO_PAD.decode(part);
    let bytes = bytes.map_err(|_| bad(format!("its {what} is not base64url without padding")))?;
    match ledger::json::parse(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(bad(format!("its {what} is no JSON object"))),
        Err(e) => Err(bad(format!("its {what}: {e}"))),
    }
}

/// A text of 1 to [`MAX_ID`] bytes of printable ASCII.
fn short<'a>(value: Option<&'a Value>, what: &str) -> Result<&'a str, OidcError> {
    let text = value.and_then(Value::as_str);
    let text = text.ok_or_else(|| bad(format!("{what} is missing, or no text")))?;
    let plain = (1..=MAX_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    plain.then_some(text).ok_or_else(|| {
        bad(format!(
            "{what} must be 1 to {MAX_ID} printable ASCII characters"
        ))
    })
}

impl<'a> Token<'a> {
    /// Reads a token. That it is by its issuer is not known before [`Token::verify`].
    ///
    /// # Errors
    /// [`OidcError::Token`], [`OidcError::Algorithm`].
    pub fn parse(text: &'a str) -> Result<Self, OidcError> {
        if text.len() > MAX_TOKEN {
            let length = text.len();
            return Err(bad(format!("{length} bytes, at most {MAX_TOKEN} are read")));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            let count = parts.len();
            return Err(bad(format!("{count} parts, a signed token has 3")));
        };
        let header = object(header, "header")?;
        let algorithm = match header.get("alg").and_then(Value::as_str) {
            Some("RS256") => Algorithm::RS256,
            Some("ES256") => Algorithm::ES256,
            Some(other) => {
                let other: String = other.chars().take(20).collect();
                let why = format!("{other:?}, want RS256 or ES256");
                return Err(OidcError::Algorithm(why));
            }
            None => return Err(OidcError::Algorithm("none is named".into())),
        };
        if let Some(name) = REFUSED.iter().find(|name| header.contains_key(**name)) {
            return Err(bad(format!("its header has {name:?}")));
        }
        match header.get("typ") {
            None => {}
            Some(Value::String(typ)) if typ.eq_ignore_ascii_case("JWT") => {}
            Some(_) => return Err(bad("its header's typ is not JWT")),
        }
        let kid = short(header.get("kid"), "its header's kid")?.to_owned();
        let claims = object(claims, "claims")?;
        let issuer = short(claims.get("iss"), "claim iss")?.to_owned();
        match URL_SAFE_NO_PAD.decode(signature) {
            Ok(bytes) if !bytes.is_empty() => {}
            Ok(_) => return Err(bad("it has no signature")),
            Err(_) => return Err(bad("its signature is not base64url without padding")),
        }
        Ok(Self {
            text,
            algorithm,
            kid,
            issuer,
            claims,
        })
    }

    /// Who says that they issued it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// By which of their keys.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What it says.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Whether it is by that key of that issuer, and for this log.
    ///
    /// # Errors
    /// [`OidcError::Algorithm`], [`OidcError::Signature`], [`OidcError::Issuer`],
    /// [`OidcError::Audience`], [`OidcError::Token`].
    pub fn verify(&self, settings: &IssuerSettings, key: &Key) -> Result<(), OidcError> {
        let named = format!("{:?}", self.algorithm);
        if !settings.algorithms.contains(&self.algorithm) {
            let why = format!("{named} is not among those of this issuer");
            return Err(OidcError::Algorithm(why));
        }
        if key.algorithm != self.algorithm {
            let why = format!(
                "{named}, but the key {:?} is for {:?}",
                self.kid, key.algorithm
            );
            return Err(OidcError::Algorithm(why));
        }
        let mut validation = Validation::new(self.algorithm);
        // Judged by `times`.
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[&settings.url]);
        validation.set_audience(&[&settings.audience]);
        let decoded = jsonwebtoken::decode::<IgnoredAny>(self.text, &key.decoding, &validation);
        let audience = || OidcError::Audience {
            want: settings.audience.clone(),
        };
        let issuer = || OidcError::Issuer(self.issuer.clone());
        decoded.map(|_| ()).map_err(|e| match e.kind() {
            ErrorKind::InvalidSignature => OidcError::Signature,
            ErrorKind::InvalidAudience => audience(),
            ErrorKind::InvalidIssuer => issuer(),
            ErrorKind::MissingRequiredClaim(name) if name == "aud" => audience(),
            _ => bad(e.to_string()),
        })
    }

    /// When it ends, where it is valid at `now`; both in Unix seconds.
    ///
    /// # Errors
    /// [`OidcError::Expired`], [`OidcError::NotYet`], [`OidcError::Life`], [`OidcError::Token`].
    pub fn times(&self, settings: &IssuerSettings, now: u64) -> Result<u64, OidcError> {
        let time = |name: &str| match self.claims.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(time) => Ok(Some(time)),
                None => Err(bad(format!("claim {name} is no time in whole seconds"))),
            },
        };
        let must = |name: &str| {
            let found = time(name)?;
            found.ok_or_else(|| bad(format!("claim {name} is missing")))
        };
        let (exp, iat, nbf) = (must("exp")?, must("iat")?, time("nbf")?);
        let from = nbf.map_or(iat, |nbf| nbf.max(iat));
        if from > now.saturating_add(settings.skew) {
            return Err(OidcError::NotYet { from, now });
        }
        if exp.saturating_add(settings.skew) <= now {
            return Err(OidcError::Expired { exp, now });
        }
        let life = exp.saturating_sub(nbf.map_or(iat, |nbf| nbf.min(iat)));
        if exp <= from {
            return Err(bad("it ends before it begins"));
        }
        if life > settings.life {
            let most = settings.life;
            return Err(OidcError::Life { life, most });
        }
        Ok(exp)
    }

    /// By what the token is known again: its issuer's `jti` where it has one, so that two
    /// spellings of one token count as one; else all of it.
    ///
    /// # Errors
    /// [`OidcError::Token`].
    pub fn fingerprint(&self) -> Result<ledger::Hash, OidcError> {
        let Some(jti) = self.claims.get("jti") else {
            // Not its signature: ECDSA has two for one text.
            let signed = self.text.rsplit_once('.').map_or(self.text, |(all, _)| all);
            return Ok(ledger::sha256(format!("token\0{signed}").as_bytes()));
        };
        let jti = short(Some(jti), "claim jti")?;
        let text = format!("jti\0{}\0{jti}", self.issuer);
        Ok(ledger::sha256(text.as_bytes()))
    }
}
