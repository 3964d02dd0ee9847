//! Who may send how much: a rate an address, a quota a project, a share of the queue. Each
//! table is bounded. What is asked first is cheapest: the address before anything is read,
//! the project before its signatures are checked.
//!
//! A quota is *spent* only once the signatures have been found good, and only *looked at*
//! before: else a stranger could spend another project's quota with forged envelopes.

use ledger::Hash;
use std::collections::HashMap;
use std::hash::Hash as Key;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Addresses, and projects, that are remembered at most: under 8 MB for both tables.
const REMEMBERED: usize = 65_536;
/// Threads that check signatures and read files. More would only wait for each other.
pub const WORKERS: usize = 64;
/// Entry bundles that are on their way to clients at once at most, in KiB.
const ANSWERS_KIB: usize = 96 * 1024;
/// Entry bundles, of up to 16 MiB, that are read from the disk at once at most; more wait.
const READING: usize = 4;

/// So many in so much time on average, and so many at once: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds until one more is free; 0 where there is no limit.
    interval: u64,
    burst: u64,
}

impl Rate {
    /// No limit.
    pub const OFF: Self = Self {
        interval: 0,
        burst: 0,
    };

    /// `count` in `seconds`, and `burst` at once. A `count` of 0 is no limit.
    #[must_use]
    pub fn new(count: u32, seconds: u32, burst: u32) -> Self {
        let all = u64::from(seconds) * 1_000_000_000;
        all.checked_div(u64::from(count))
            .map_or(Self::OFF, |interval| Self {
                interval: interval.max(1),
                burst: u64::from(burst.max(1)),
            })
    }
}

impl std::str::FromStr for Rate {
    type Err = String;

    /// `N/s`, `N/min` or `N/h`, with `:BURST` (else a burst of `N`); `0` is no limit.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?}: want N/s, N/min or N/h, then :BURST if need be, or 0");
        let number = |t: &str| t.parse::<u32>().map_err(|_| bad());
        if text == "0" {
            return Ok(Self::OFF);
        }
        let (rate, burst) = text
            .split_once(':')
            .map_or((text, None), |(r, b)| (r, Some(b)));
        let (count, unit) = rate.split_once('/').ok_or_else(bad)?;
        let seconds = match unit {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            _ => return Err(bad()),
        };
        let count = number(count)?;
        let burst = burst.map_or(Ok(count), number)?;
        Ok(Self::new(count, seconds, burst))
    }
}

/// Which header a trusted proxy writes the client's address to. Only one is ever read: a
/// proxy that appends to one passes the other on as a stranger sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The operator's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Releases of one project.
    pub project_rate: Rate,
    /// Requests other than reads from one IPv4 address or IPv6 /64.
    pub address_rate: Rate,
    /// Connections at once from one IPv4 address or IPv6 /64; 0 is no limit.
    pub address_connections: u32,
    /// Whether the three above hold for loopback too.
    pub limit_loopback: bool,
    /// Whether no project may have more waiting than there are free places in the queue.
    pub fair_queue: bool,
    /// Proxies whose word about the client's address is taken.
    pub trusted_proxies: Vec<IpAddr>,
    /// Where they say it.
    pub proxy_header: ProxyHeader,
    /// Longest wait for a request's head.
    pub head: Duration,
    /// Longest that a request may take, from its head to the answer's beginning.
    pub request: Duration,
    /// Longest that a client may read nothing of an answer.
    pub stall: Duration,
    /// After this a connection takes no further request.
    pub life: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            project_rate: Rate::new(600, 60, 600),
            address_rate: Rate::new(50, 1, 200),
            address_connections: 256,
            limit_loopback: false,
            fair_queue: true,
            trusted_proxies: Vec::new(),
            proxy_header: ProxyHeader::XForwardedFor,
            head: Duration::from_secs(30),
            request: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            life: Duration::from_secs(300),
        }
    }
}

/// Whom an address stands for: one host has a /64 of IPv6 at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// An IPv4 address.
    V4(u32),
    /// An IPv6 /64.
    V6(u64),
}

impl From<IpAddr> for Network {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6(u64::try_from(ip.to_bits() >> 64).unwrap_or_default()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A token bucket for each key. Two generations of keys bound the memory: when the younger
/// is full it becomes the older, and what was in that, unused for longest, is forgotten.
pub struct Buckets<K> {
    rate: Rate,
    most: usize,
    start: Instant,
    // Per key the time, in nanoseconds since the start, at which its bucket is full again.
    tables: Mutex<[HashMap<K, u64>; 2]>,
}

impl<K: Key + Eq + Copy> Buckets<K> {
    /// Buckets of `rate` for at most `most` keys.
    #[must_use]
    pub fn new(rate: Rate, most: usize) -> Self {
        Self {
            rate,
            most: most.max(2),
            start: Instant::now(),
            tables: Mutex::default(),
        }
    }

    /// Whether `key` may have one more; else how long until then.
    ///
    /// # Errors
    /// The time to wait.
    pub fn look(&self, key: K) -> Result<(), Duration> {
        self.at(key, self.now(), false)
    }

    /// Spends one.
    ///
    /// # Errors
    /// The time to wait.
    pub fn spend(&self, key: K) -> Result<(), Duration> {
        self.at(key, self.now(), true)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn at(&self, key: K, now: u64, spend: bool) -> Result<(), Duration> {
        let Rate { interval, burst } = self.rate;
        if interval == 0 {
            return Ok(());
        }
        let mut tables = lock(&self.tables);
        let [young, old] = &mut *tables;
        let full = young.get(&key).or_else(|| old.get(&key)).copied();
        let full = full.unwrap_or(now).max(now);
        let most_owed = (burst - 1).saturating_mul(interval);
        if let Some(wait) = (full - now).checked_sub(most_owed).filter(|wait| *wait > 0) {
            return Err(Duration::from_nanos(wait));
        }
        if spend {
            if young.len() >= self.most / 2 && !young.contains_key(&key) {
                *old = std::mem::take(young);
            }
            old.remove(&key);
            young.insert(key, full.saturating_add(interval));
        }
        Ok(())
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.tables).iter().map(HashMap::len).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How many things each key holds now, of a bounded number.
struct Counts<K> {
    total: usize,
    by: HashMap<K, usize>,
}

/// Why there is no place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// None is free.
    All,
    /// This project has as many as there are free ones.
    Share,
}

/// The places for statements between admission and answer. A project may have as many as
/// are free: alone it gets half, and two that flood leave a third to the others.
pub struct Places {
    most: usize,
    fair: bool,
    held: Mutex<Counts<Hash>>,
}

/// A place, given back when the last copy is dropped.
pub struct Place {
    places: Arc<Places>,
    project: Hash,
}

impl Places {
    /// `most` places.
    #[must_use]
    pub fn new(most: usize, fair: bool) -> Arc<Self> {
        let held = Mutex::new(Counts {
            total: 0,
            by: HashMap::new(),
        });
        Arc::new(Self { most, fair, held })
    }

    fn room(&self, held: &Counts<Hash>, project: &Hash) -> Result<(), Full> {
        let free = self.most.saturating_sub(held.total);
        let own = held.by.get(project).copied().unwrap_or_default();
        match free {
            0 => Err(Full::All),
            _ if self.fair && own >= free => Err(Full::Share),
            _ => Ok(()),
        }
    }

    /// Whether there is a place for `project`.
    ///
    /// # Errors
    /// [`Full`].
    pub fn look(&self, project: &Hash) -> Result<(), Full> {
        self.room(&lock(&self.held), project)
    }

    /// Takes one.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take(self: &Arc<Self>, project: Hash) -> Result<Arc<Place>, Full> {
        let mut held = lock(&self.held);
        self.room(&held, &project)?;
        held.total += 1;
        *held.by.entry(project).or_default() += 1;
        let places = Arc::clone(self);
        Ok(Arc::new(Place { places, project }))
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        lock(&self.held).total
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = lock(&self.places.held);
        held.total = held.total.saturating_sub(1);
        if let Some(own) = held.by.get_mut(&self.project) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                held.by.remove(&self.project);
            }
        }
    }
}

/// The limits of a running server.
pub struct Limits {
    /// The operator's settings.
    pub settings: Settings,
    /// Requests by address.
    pub addresses: Buckets<Network>,
    /// Releases by project.
    pub projects: Buckets<Hash>,
    /// Places in the queue.
    pub places: Arc<Places>,
    /// KiB of entry bundles that are being sent.
    pub answers: Arc<Semaphore>,
    /// Entry bundles that are being read.
    pub reading: Semaphore,
    /// Submissions that are being checked. They take half of the workers at most, so that
    /// reads, and the answers to what has been logged, do not wait behind a flood of them.
    pub admitting: Semaphore,
}

impl Limits {
    /// Limits as `settings` say, with `queue` places.
    #[must_use]
    pub fn new(settings: &Settings, queue: usize) -> Self {
        Self {
            addresses: Buckets::new(settings.address_rate, REMEMBERED),
            projects: Buckets::new(settings.project_rate, REMEMBERED),
            places: Places::new(queue, settings.fair_queue),
            answers: Arc::new(Semaphore::new(ANSWERS_KIB)),
            reading: Semaphore::new(READING),
            admitting: Semaphore::new(WORKERS / 2),
            settings: settings.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
