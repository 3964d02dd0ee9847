//! The file of `serve --oidc-config` (docs/oidc.md). Strict: what is not known is an error.

use super::fetch::is_url;
use super::profile::PROFILES;
use super::template::Template;
use crate::error::Error;
use jsonwebtoken::Algorithm;
use keys::certificate::{
    Anchor, Authority, CLAIMS_ARC, CertificateChain, Identity, Life, read_certificates,
};
use keys::file::{AnySecret, Passphrase, read_secret};
use keys::{SecretKey, Signer as _};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest configuration, and largest file of certificates, in bytes.
const MAX_FILE: u64 = 256 * 1024;
/// Numbers under [`CLAIMS_ARC`] that are no claim's: the issuer's two, and one that is a name.
const NO_CLAIMS: [&str; 3] = ["1", "7", "8"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    ca: RawCa,
    #[serde(default, rename = "issuer")]
    issuers: Vec<RawIssuer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawCa {
    key: PathBuf,
    passphrase_file: Option<PathBuf>,
    chain: Vec<PathBuf>,
    valid: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawIssuer {
    profile: Option<String>,
    url: Option<String>,
    server: Option<String>,
    audience: String,
    ca_file: Option<PathBuf>,
    algorithms: Option<Vec<String>>,
    max_clock_skew: Option<String>,
    max_token_life: Option<String>,
    refresh: Option<String>,
    keep: Option<String>,
    san: Option<String>,
    within: Option<String>,
    claims: Option<BTreeMap<String, String>>,
    #[serde(default)]
    require: BTreeMap<String, OneOrMore>,
}

/// One issuer of tokens, and what its tokens mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Its URL, which is the `iss` of its tokens.
    pub url: String,
    /// What the `aud` of its tokens must hold.
    pub audience: String,
    /// Certificate authorities for its URL in place of the platform's, PEM.
    pub ca_file: Option<PathBuf>,
    /// RS256, ES256.
    pub algorithms: Vec<Algorithm>,
    /// Seconds that clocks may differ.
    pub skew: u64,
    /// Longest life of a token, in seconds.
    pub life: u64,
    /// How often its keys are fetched.
    pub refresh: Duration,
    /// How long its keys are good where they cannot be fetched again.
    pub keep: Duration,
    /// The name in a certificate.
    pub san: Template,
    /// What every name begins with: a scheme, a host, and a slash.
    pub within: String,
    /// OID → text.
    pub claims: BTreeMap<String, Template>,
    /// Claims that must be one of these.
    pub require: BTreeMap<String, Vec<String>>,
}

/// The whole file.
#[derive(Debug)]
pub struct Settings {
    /// Who issues.
    pub authority: Authority,
    /// Its own certificate's last second, Unix time.
    pub until: u64,
    /// Seconds that a certificate is valid.
    pub valid: u64,
    /// Whose tokens are taken.
    pub issuers: Vec<IssuerSettings>,
}

fn seconds(text: Option<&str>, or: u64, (least, most): (u64, u64)) -> Result<u64, String> {
    let Some(text) = text else { return Ok(or) };
    let bad = || format!("{text:?}: want a time from {least}s to {most}s, such as 10m");
    let span = humantime::parse_duration(text).map_err(|_| bad())?;
    let whole = (span.subsec_nanos() == 0 && (least..=most).contains(&span.as_secs()))
        .then_some(span.as_secs());
    whole.ok_or_else(bad)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut file = file.take(MAX_FILE + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("{}: over {MAX_FILE} bytes", path.display()));
    }
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    read_certificates(&read(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

/// Issues one certificate, which nobody gets, to find out whether it can be done. Returns the
/// authority's last second.
fn tried(authority: &Authority, own: &[u8]) -> Result<u64, String> {
    let key = SecretKey::generate().map_err(|e| e.to_string())?;
    let anchor = Anchor::parse(own).map_err(|e| e.to_string())?;
    let (from, until) = anchor.validity();
    let identity = Identity {
        san: "https://localhost/".into(),
        issuer: "https://localhost".into(),
        claims: BTreeMap::new(),
    };
    let life = Life { from, until: from };
    let issued = authority.issue(key.public_key(), &identity, life);
    let issued = issued.map_err(|e| e.to_string())?;
    let end: Vec<&[u8]> = issued.ders().take(1).collect();
    let end = CertificateChain::parse(&end).map_err(|e| e.to_string())?;
    end.verify(&anchor, from).map_err(|e| e.to_string())?;
    Ok(until)
}

impl Settings {
    /// Reads the file at `path`, and the key and certificates that it names; paths in it are
    /// relative to its directory.
    ///
    /// # Errors
    /// [`Error::Oidc`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |why: String| Error::Oidc(format!("{}: {why}", path.display()));
        let bytes = read(path).map_err(Error::Oidc)?;
        let text = String::from_utf8(bytes).map_err(|_| failed("is not UTF-8".into()))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, dir).map_err(failed)
    }

    fn parse(text: &str, dir: &Path) -> Result<Self, String> {
        let raw: Raw = toml::from_str(text).map_err(|e| e.to_string())?;
        let passphrase = match raw.ca.passphrase_file {
            Some(file) => Passphrase::File(dir.join(file)),
            None => Passphrase::None,
        };
        let path = dir.join(&raw.ca.key);
        let key = read_secret(&path, &passphrase).map_err(|e| e.to_string())?;
        let AnySecret::P256(key) = key else {
            return Err(format!("{}: is no P-256 key", path.display()));
        };
        let mut chain = Vec::new();
        for file in &raw.ca.chain {
            chain.extend(certificates(&dir.join(file))?);
        }
        let own = chain.first().cloned();
        let own = own.ok_or("[ca] chain: names no certificate")?;
        let authority = Authority::new(Box::new(key), chain);
        let authority = authority.map_err(|e| format!("[ca]: {e}"))?;
        let until = tried(&authority, &own).map_err(|e| format!("[ca]: {e}"))?;
        let valid = seconds(raw.ca.valid.as_deref(), 600, (60, 86_400));
        let valid = valid.map_err(|e| format!("[ca] valid: {e}"))?;
        let issuers = raw.issuers.into_iter().map(|issuer| {
            let named = issuer.url.clone().or_else(|| issuer.profile.clone());
            let named = named.unwrap_or_default();
            issuer_settings(issuer, dir).map_err(|e| format!("[[issuer]] {named}: {e}"))
        });
        let issuers: Vec<IssuerSettings> = issuers.collect::<Result<_, _>>()?;
        if issuers.is_empty() {
            return Err("names no [[issuer]], so nobody would get a certificate".into());
        }
        let urls: BTreeSet<&str> = issuers.iter().map(|i| i.url.as_str()).collect();
        if urls.len() != issuers.len() {
            return Err("two [[issuer]] have the same url".into());
        }
        Ok(Self {
            authority,
            until,
            valid,
            issuers,
        })
    }
}

fn issuer_settings(raw: RawIssuer, dir: &Path) -> Result<IssuerSettings, String> {
    let profile = match raw.profile.as_deref() {
        None => None,
        Some(name) => Some(PROFILES.iter().find(|p| p.name == name).ok_or_else(|| {
            let known: Vec<&str> = PROFILES.iter().map(|p| p.name).collect();
            format!("profile {name:?} is unknown, want {}", known.join(" or "))
        })?),
    };
    let url = raw.url.or_else(|| profile.map(|p| p.url.to_owned()));
    let url = url.ok_or("url is missing")?;
    is_url(&url)?;
    let plain = |t: &str| (1..=256).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic());
    if !plain(&url) || !plain(&raw.audience) {
        return Err("url and audience must be 1 to 256 printable ASCII characters".into());
    }
    let server = raw.server.or_else(|| profile.map(|p| p.server.to_owned()));
    let server = server.map(|s| s.trim_end_matches('/').to_owned());
    if let Some(server) = &server {
        is_url(server)?;
    }
    let filled = |text: &str| text.replace("{server}", server.as_deref().unwrap_or("{server}"));
    let san = raw.san.or_else(|| profile.map(|p| p.san.to_owned()));
    let san = Template::parse(&filled(&san.ok_or("san is missing")?))?;
    if !san.is_uri() || san.names().next().is_none() {
        return Err("san must be a URI with claims in it, such as https://ci.example/{sub}".into());
    }
    let own = || beginning(san.beginning());
    let within = raw.within.or_else(own);
    let within = within.or_else(|| Some(format!("{}/", profile.and(server.as_deref())?)));
    let within = within.filter(|w| beginning(w).is_some());
    let within = within.ok_or(
        "san lets a claim decide about the host: say within = \"https://HOST/\", which every name must begin with",
    )?;
    let mut claims = BTreeMap::new();
    let given = raw.claims.unwrap_or_else(|| {
        let all = profile.into_iter().flat_map(|p| p.claims);
        all.map(|(number, text)| (format!("{CLAIMS_ARC}.{number}"), (*text).to_owned()))
            .collect()
    });
    for (oid, text) in given {
        let number = oid
            .strip_prefix(CLAIMS_ARC)
            .and_then(|n| n.strip_prefix('.'));
        let known = number.is_some_and(|n| {
            let plain = n.parse::<u8>().is_ok_and(|v| v > 0 && v.to_string() == n);
            plain && !NO_CLAIMS.contains(&n)
        });
        if !known {
            return Err(format!(
                "claims: {oid:?} must be {CLAIMS_ARC}.N, N from 2 to 255 and neither 7 nor 8"
            ));
        }
        claims.insert(oid, Template::parse(&filled(&text))?);
    }
    let time = |what: &str, text: &Option<String>, or, bounds| {
        seconds(text.as_deref(), or, bounds).map_err(|e| format!("{what}: {e}"))
    };
    let refresh = time("refresh", &raw.refresh, 600, (1, 86_400))?;
    let keep = time("keep", &raw.keep, 21_600, (1, 604_800))?;
    if keep < refresh {
        return Err("keep must not be shorter than refresh".into());
    }
    Ok(IssuerSettings {
        audience: raw.audience,
        ca_file: raw.ca_file.map(|file| dir.join(file)),
        algorithms: algorithms(raw.algorithms)?,
        skew: time("max-clock-skew", &raw.max_clock_skew, 60, (0, 600))?,
        life: time("max-token-life", &raw.max_token_life, 7200, (60, 86_400))?,
        refresh: Duration::from_secs(refresh),
        keep: Duration::from_secs(keep),
        san,
        within,
        claims,
        require: required(raw.require)?,
        url,
    })
}

/// Scheme, host and slash, where a text has all three.
fn beginning(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (host, _) = rest.split_once('/')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]+".contains(&b);
    let whole = !scheme.is_empty() && !host.is_empty();
    let plain = whole && scheme.bytes().chain(host.bytes()).all(plain);
    plain.then(|| format!("{scheme}://{host}/"))
}

fn algorithms(named: Option<Vec<String>>) -> Result<Vec<Algorithm>, String> {
    let Some(named) = named else {
        return Ok(vec![Algorithm::RS256, Algorithm::ES256]);
    };
    let known = named.iter().map(|name| match name.as_str() {
        "RS256" => Ok(Algorithm::RS256),
        "ES256" => Ok(Algorithm::ES256),
        other => Err(format!("algorithms: {other:?}, want RS256 or ES256")),
    });
    let known: Vec<Algorithm> = known.collect::<Result<_, _>>()?;
    if known.is_empty() {
        return Err("algorithms: none is named".into());
    }
    Ok(known)
}

fn required(raw: BTreeMap<String, OneOrMore>) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut required = BTreeMap::new();
    for (name, values) in raw {
        let values = match values {
            OneOrMore::One(one) => vec![one],
            OneOrMore::More(more) => more,
        };
        if values.is_empty() || values.iter().any(String::is_empty) {
            return Err(format!("require: {name} must have a value"));
        }
        required.insert(name, values);
    }
    Ok(required)
}

#[cfg(test)]
mod tests;
