//! Certificates for keys that live for minutes, to whoever shows a token of an OIDC issuer that
//! the operator has named (docs/oidc.md). Tokens are judged here, and certificates made; that each
//! is a leaf of the log before anybody gets it is the business of the route.
//!
//! Tokens are signed by others: their signatures are checked by `jsonwebtoken`, and everything
//! else about them is refused unless it is known to be right.

pub mod claims;
pub mod config;
pub mod error;
pub mod fetch;
pub mod issuer;
pub mod jwks;
pub mod template;
pub mod token;
pub mod used;

mod profile;

use crate::error::Error;
use config::{IssuerSettings, Settings};
use error::OidcError;
use fetch::{Fetch, Http};
use issuer::Issuer;
use keys::PublicKey;
use keys::certificate::{Authority, CertificateChain, Identity, Life, request_key};
use ledger::{Hash, from_b64};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;
use token::Token;
use used::{Turn, Used};

/// Largest body of a request: a token, a request for a certificate, and room.
pub const MAX_BODY: usize = 24 * 1024;

/// Issues certificates.
pub struct Oidc {
    authority: Authority,
    /// Its certificate's last second.
    until: u64,
    valid: u64,
    issuers: Vec<Arc<Issuer>>,
    used: Used,
    /// Certificates that were handed to the log.
    pub issued: AtomicU64,
}

/// What is asked for, with nothing left to find out but whether the token was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// For which key.
    pub key: PublicKey,
    /// For whom.
    pub identity: Identity,
    /// By what the token is known again.
    pub token: Hash,
    /// Until when it must be, Unix seconds.
    pub until: u64,
}

/// What a request comes to.
#[derive(Debug)]
pub enum Outcome {
    /// A certificate that must become a leaf, then [`Oidc::logged`], else [`Oidc::give_back`].
    New(Box<CertificateChain>, Hash),
    /// The same was asked for before: its certificate is the leaf at this index.
    Again(u64),
}

/// Reads a request: `{"request": …, "token": …}`.
fn read(body: &[u8]) -> Result<(String, Vec<u8>), OidcError> {
    let bad = |why: &str| OidcError::Body(why.to_owned());
    if body.len() > MAX_BODY {
        return Err(bad("the body is too large"));
    }
    let value = ledger::json::parse(body).map_err(|e| OidcError::Body(e.to_string()))?;
    let Value::Object(mut fields) = value else {
        return Err(bad("want a JSON object with token and request"));
    };
    let (token, request) = (fields.remove("token"), fields.remove("request"));
    let (Some(Value::String(token)), Some(Value::String(request))) = (token, request) else {
        return Err(bad("want a JSON object with the texts token and request"));
    };
    if let Some(name) = fields.keys().next() {
        let name: String = name.chars().take(40).collect();
        return Err(OidcError::Body(format!("the field {name:?} is not known")));
    }
    let request = from_b64(&request);
    let request = request.ok_or_else(|| bad("request: want a PKCS#10 request's DER in base64"))?;
    Ok((token, request))
}

impl Oidc {
    /// As configured, asking the issuers over the network.
    ///
    /// # Errors
    /// [`Error::Oidc`].
    pub fn open(settings: Settings, used: Used) -> Result<Self, Error> {
        Self::with(settings, used, |issuer| Ok(Box::new(Http::new(issuer)?)))
    }

    /// The same, asking the issuers by other means.
    ///
    /// # Errors
    /// What `fetch` answers.
    pub fn with(
        settings: Settings,
        used: Used,
        fetch: impl Fn(&IssuerSettings) -> Result<Box<dyn Fetch>, Error>,
    ) -> Result<Self, Error> {
        let issuers = settings.issuers.into_iter().map(|settings| {
            let fetch = fetch(&settings)?;
            Ok(Arc::new(Issuer::new(settings, fetch)))
        });
        Ok(Self {
            authority: settings.authority,
            until: settings.until,
            valid: settings.valid,
            issuers: issuers.collect::<Result<_, Error>>()?,
            used,
            issued: AtomicU64::new(0),
        })
    }

    /// The issuers.
    #[must_use]
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// When the authority's certificate ends, Unix seconds.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.until
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.used.len()
    }

    /// Judges a request: the token, whom it is for, and that the sender holds the key.
    ///
    /// # Errors
    /// [`OidcError`].
    pub fn judge(&self, body: &[u8], now: u64, at: Instant) -> Result<Wanted, OidcError> {
        let (token, request) = read(body)?;
        let token = Token::parse(&token)?;
        let issuer = self
            .issuers
            .iter()
            .find(|i| i.settings.url == token.issuer())
            .ok_or_else(|| OidcError::Issuer(token.issuer().to_owned()))?;
        let settings = &issuer.settings;
        // Before its issuer is asked for anything: whoever sends old tokens moves nobody.
        let exp = token.times(settings, now)?;
        token.verify(settings, &issuer.key(token.kid(), at)?)?;
        let identity = claims::identity(settings, token.claims())?;
        let key = request_key(&request).map_err(OidcError::Request)?;
        Ok(Wanted {
            key,
            identity,
            token: token.fingerprint()?,
            until: exp.saturating_add(settings.skew),
        })
    }

    /// Makes the certificate that was asked for, if its token was not used before.
    ///
    /// # Errors
    /// [`OidcError`].
    pub fn issue(&self, wanted: &Wanted, now: u64) -> Result<Outcome, OidcError> {
        if now > self.until {
            let why = "its own certificate has ended".to_owned();
            return Err(OidcError::Authority(why));
        }
        let key = wanted.key.id().0;
        if let Turn::Again(index) = self.used.take(wanted.token, key, wanted.until, now)? {
            return Ok(Outcome::Again(index));
        }
        let life = Life {
            from: now,
            until: now.saturating_add(self.valid).min(self.until),
        };
        match self.authority.issue(&wanted.key, &wanted.identity, life) {
            Ok(chain) => Ok(Outcome::New(Box::new(chain), wanted.token)),
            Err(e) => {
                self.give_back(&wanted.token);
                Err(OidcError::Authority(e.to_string()))
            }
        }
    }

    /// The certificate for this token is the leaf at `index`.
    pub fn logged(&self, token: &Hash, index: u64) {
        self.issued.fetch_add(1, Ordering::Relaxed);
        self.used.logged(token, index);
    }

    /// The certificate for this token is no leaf, and nobody has got it.
    pub fn give_back(&self, token: &Hash) {
        self.used.give_back(token);
    }
}

/// Fetches the issuers' keys, each in a thread of its own, until it is dropped.
pub struct Refreshing(Arc<(Mutex<bool>, Condvar)>);

impl Refreshing {
    /// Starts.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn start(oidc: &Oidc) -> Result<Self, Error> {
        let refreshing = Self(Arc::default());
        for issuer in &oidc.issuers {
            let (issuer, stop) = (Arc::clone(issuer), Arc::clone(&refreshing.0));
            let thread = std::thread::Builder::new().name("issuer".into());
            let run = move || {
                let (stopped, changed) = &*stop;
                let mut pause = issuer.refresh(Instant::now());
                let mut over = stopped.lock().unwrap_or_else(PoisonError::into_inner);
                while !*over {
                    let waited = changed.wait_timeout(over, pause);
                    let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    over = guard;
                    if timeout.timed_out() && !*over {
                        drop(over);
                        pause = issuer.refresh(Instant::now());
                        over = stopped.lock().unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            thread.spawn(run).map_err(|e| Error::Io {
                path: "thread".into(),
                why: e.to_string(),
            })?;
        }
        Ok(refreshing)
    }
}

impl Drop for Refreshing {
    /// An issuer in the middle of an answer is not waited for.
    fn drop(&mut self) {
        let (stopped, changed) = &*self.0;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }
}
