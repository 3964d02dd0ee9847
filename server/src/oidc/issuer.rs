//! An issuer's keys, found by OpenID Connect Discovery and kept: fetched again in the background,
//! and once where a token names a key that is not known. Where they cannot be fetched, those that
//! are known are used for a while, and then none is: a key that its issuer took back must not be
//! believed for ever.

use super::config::IssuerSettings;
use super::error::OidcError;
use super::fetch::{Fetch, is_url};
use super::jwks::{Key, KeySet, MAX_KEYS_BYTES};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Largest discovery document in bytes.
pub const MAX_DISCOVERY_BYTES: u64 = 64 * 1024;
/// Between two fetches that tokens cause, at least: whoever makes up key identifiers costs the
/// issuer no more than this.
pub const PAUSE: Duration = Duration::from_secs(10);
/// After a fetch that failed.
const RETRY: Duration = Duration::from_secs(30);

#[derive(Default)]
struct State {
    keys: Option<(Arc<KeySet>, Instant)>,
    /// When it was last tried, with what went wrong.
    tried: Option<(Instant, Option<String>)>,
}

/// An issuer of tokens.
pub struct Issuer {
    /// What its tokens mean.
    pub settings: IssuerSettings,
    fetch: Box<dyn Fetch>,
    state: Mutex<State>,
    /// Held while its keys are fetched.
    fetching: Mutex<()>,
    /// Fetches that worked, and that did not.
    counts: [AtomicU64; 2],
}

impl Issuer {
    /// An issuer whose keys are not known yet.
    #[must_use]
    pub fn new(settings: IssuerSettings, fetch: Box<dyn Fetch>) -> Self {
        Self {
            settings,
            fetch,
            state: Mutex::default(),
            fetching: Mutex::default(),
            counts: Default::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreachable(&self, why: impl Into<String>, again: Duration) -> OidcError {
        OidcError::Unreachable {
            url: self.settings.url.clone(),
            why: why.into(),
            again,
        }
    }

    /// The keys that are good at `now`.
    fn good(&self, now: Instant) -> Option<Arc<KeySet>> {
        let state = self.state();
        let (keys, since) = state.keys.as_ref()?;
        let fresh = now.saturating_duration_since(*since) <= self.settings.keep;
        fresh.then(|| Arc::clone(keys))
    }

    /// The key `kid`, where it is known and good at `now`: this asks nobody.
    #[must_use]
    pub fn known(&self, kid: &str, now: Instant) -> Option<Key> {
        self.good(now)?.get(kid).ok().cloned()
    }

    /// The key `kid`; its issuer is asked where that may help.
    ///
    /// # Errors
    /// [`OidcError::Key`], [`OidcError::Unreachable`].
    pub fn key(&self, kid: &str, now: Instant) -> Result<Key, OidcError> {
        if let Some(key) = self.known(kid, now) {
            return Ok(key);
        }
        let refreshed = self.refresh_soon(now);
        // Fetched just now, it may be newer than `now`.
        let Some(keys) = self.good(now) else {
            refreshed?;
            return Err(self.unreachable("they are too old", PAUSE));
        };
        match keys.get(kid) {
            Ok(key) => Ok(key.clone()),
            Err(why) => {
                // Whether its issuer has it now is not known.
                refreshed?;
                Err(OidcError::Key {
                    kid: kid.to_owned(),
                    why,
                })
            }
        }
    }

    /// Fetches the keys, unless that was done a moment ago. Nobody waits for somebody else's
    /// fetch: a slow issuer would hold up those who check submissions.
    fn refresh_soon(&self, now: Instant) -> Result<(), OidcError> {
        let _turn = match self.fetching.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let again = Duration::from_secs(1);
                return Err(self.unreachable("they are being fetched", again));
            }
        };
        if let Some((tried, outcome)) = &self.state().tried {
            let since = now.saturating_duration_since(*tried);
            if since < PAUSE {
                return match outcome {
                    None => Ok(()),
                    Some(why) => Err(self.unreachable(why, PAUSE - since)),
                };
            }
        }
        self.fetch_at(now)
            .map_err(|why| self.unreachable(why, PAUSE))
    }

    /// Fetches the keys now, and says when to do it again.
    pub fn refresh(&self, now: Instant) -> Duration {
        let _turn = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        match self.fetch_at(now) {
            Ok(()) => self.settings.refresh,
            Err(_) => RETRY.min(self.settings.refresh),
        }
    }

    fn fetch_at(&self, now: Instant) -> Result<(), String> {
        let found = self.discover();
        let [worked, failed] = &self.counts;
        let count = if found.is_ok() { worked } else { failed };
        count.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        let before = state.tried.take().and_then(|(_, why)| why);
        let outcome = found.as_ref().err().cloned();
        if let Some(why) = outcome.as_ref().filter(|why| before.as_ref() != Some(*why)) {
            let url = &self.settings.url;
            eprintln!("countersign-server: the keys of the issuer {url} are not fetched: {why}");
        }
        state.tried = Some((now, outcome));
        state.keys = Some((Arc::new(found?), now));
        Ok(())
    }

    fn discover(&self) -> Result<KeySet, String> {
        let url = &self.settings.url;
        let place = format!(
            "{}/.well-known/openid-configuration",
            url.trim_end_matches('/')
        );
        let document = self.fetch.get(&place, MAX_DISCOVERY_BYTES)?;
        let document = ledger::json::parse(&document).map_err(|e| format!("{place}: {e}"))?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        if text("issuer") != Some(url) {
            return Err(format!("{place}: it is about another issuer"));
        }
        let keys = text("jwks_uri").ok_or_else(|| format!("{place}: it has no jwks_uri"))?;
        is_url(keys)?;
        if url.starts_with("https:") && !keys.starts_with("https:") {
            return Err(format!("{place}: its jwks_uri is not https"));
        }
        let set = self.fetch.get(keys, MAX_KEYS_BYTES)?;
        KeySet::parse(&set).map_err(|e| format!("{keys}: {e}"))
    }

    /// How often its keys were fetched, and could not be.
    #[must_use]
    pub fn fetched(&self) -> (u64, u64) {
        let [worked, failed] = &self.counts;
        (
            worked.load(Ordering::Relaxed),
            failed.load(Ordering::Relaxed),
        )
    }

    /// How many keys are known and good, and for how long they have been known.
    #[must_use]
    pub fn standing(&self, now: Instant) -> (usize, Option<Duration>) {
        let good = self.good(now).map_or(0, |keys| keys.len());
        let state = self.state();
        let age = state.keys.as_ref().map(|(_, since)| *since);
        (good, age.map(|since| now.saturating_duration_since(since)))
    }
}
