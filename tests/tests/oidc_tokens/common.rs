//! An issuer that is played, and the service that takes its tokens.

use countersign_server::oidc::config::{IssuerSettings, Settings};
use countersign_server::oidc::error::OidcError;
use countersign_server::oidc::fetch::Fetch;
use countersign_server::oidc::issuer::Issuer;
use countersign_server::oidc::jwks::KeySet;
use countersign_server::oidc::token::Token;
use countersign_server::oidc::used::Used;
use countersign_server::oidc::{Oidc, Outcome};
use countersign_tests::oidc::{TokenKey, authority, body, config, github, issuer};
use keys::SecretKey;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;

pub const URL: &str = "https://token.actions.githubusercontent.com";
pub const NOW: u64 = 1_790_000_000;

pub static RSA: LazyLock<TokenKey> = LazyLock::new(|| TokenKey::rsa("rsa-1"));
pub static EC: LazyLock<TokenKey> = LazyLock::new(|| TokenKey::ec("ec-1"));

pub fn settings(more: &str) -> (tempfile::TempDir, Settings) {
    let dir = tempfile::tempdir().unwrap();
    let _ = authority(dir.path());
    let path = config(dir.path(), &issuer(URL, "github-actions", more));
    let settings = Settings::read(&path).unwrap();
    (dir, settings)
}

pub fn github_settings(more: &str) -> IssuerSettings {
    settings(more).1.issuers.remove(0)
}

pub fn keys() -> KeySet {
    let set = json!({ "keys": [RSA.jwk(), EC.jwk()] });
    KeySet::parse(set.to_string().as_bytes()).unwrap()
}

/// What becomes of a token: a word.
pub fn judged(token: &str, settings: &IssuerSettings) -> &'static str {
    let judge = || {
        let token = Token::parse(token)?;
        if token.issuer() != settings.url {
            return Err(OidcError::Issuer(token.issuer().to_owned()));
        }
        let keys = keys();
        let key = keys.get(token.kid()).map_err(|why| OidcError::Key {
            kid: token.kid().to_owned(),
            why,
        })?;
        token.times(settings, NOW)?;
        token.verify(settings, key)
    };
    judge().map_or_else(|e| e.kind(), |()| "good")
}

pub fn with(name: &str, value: Value) -> Value {
    let mut claims = github(URL, NOW);
    claims[name] = value;
    claims
}

pub fn without(name: &str) -> Value {
    let mut claims = github(URL, NOW);
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// Documents by URL, and what was asked for.
type Documents = (BTreeMap<String, String>, Vec<String>);

/// An issuer's documents.
#[derive(Clone, Default)]
pub struct Played(Arc<Mutex<Documents>>);

impl Played {
    pub fn of(keys: &[&TokenKey]) -> Self {
        let played = Self::default();
        let place = format!("{URL}/.well-known/jwks");
        let document = json!({ "issuer": URL, "jwks_uri": place });
        played.put("/.well-known/openid-configuration", document.to_string());
        played.keys(keys);
        played
    }
    pub fn put(&self, path: &str, text: impl Into<String>) {
        let mut state = self.0.lock().unwrap();
        state.0.insert(format!("{URL}{path}"), text.into());
    }
    pub fn keys(&self, keys: &[&TokenKey]) {
        let keys: Vec<Value> = keys.iter().map(|k| k.jwk()).collect();
        self.put("/.well-known/jwks", json!({ "keys": keys }).to_string());
    }
    pub fn bring_back(&self, keys: &[&TokenKey]) {
        let again = Self::of(keys);
        self.0.lock().unwrap().0 = again.0.lock().unwrap().0.clone();
    }
    pub fn take_away(&self) {
        self.0.lock().unwrap().0.clear();
    }
    pub fn asked(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().1).len()
    }
    pub fn issuer(&self, more: &str) -> Issuer {
        Issuer::new(github_settings(more), Box::new(self.clone()))
    }
}

impl Fetch for Played {
    fn get(&self, url: &str, most: u64) -> Result<Vec<u8>, String> {
        let mut state = self.0.lock().unwrap();
        state.1.push(url.to_owned());
        let found = state.0.get(url).ok_or("nothing there")?;
        assert!(found.len() as u64 <= most);
        Ok(found.clone().into_bytes())
    }
}

pub fn kind<T>(result: Result<T, OidcError>) -> &'static str {
    result.map_or_else(|e| e.kind(), |_| "good")
}

pub struct World {
    _dir: tempfile::TempDir,
    pub oidc: Oidc,
}

pub fn world(more: &str) -> World {
    let (dir, settings) = settings(more);
    let used = Used::in_memory(1000);
    let oidc = Oidc::with(settings, used, |_| Ok(Box::new(Played::of(&[&RSA, &EC])))).unwrap();
    World { _dir: dir, oidc }
}

impl World {
    pub fn ask(&self, body: &str) -> Result<Outcome, OidcError> {
        let wanted = self.oidc.judge(body.as_bytes(), NOW, Instant::now())?;
        self.oidc.issue(&wanted, now())
    }
    pub fn claims(&self, claims: &Value) -> &'static str {
        let key = SecretKey::generate().unwrap();
        kind(self.ask(&body(&RSA.token(claims), &key)))
    }
}

pub fn now() -> u64 {
    countersign_tests::oidc::now()
}
