//! How a witness is to run.

use crate::limits::{self, Rate};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds, by whatever clock.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The machine's clock; before 1970 it says 0.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |d| d.as_secs())
    })
}

/// How a witness is to run.
#[derive(Clone)]
pub struct Config {
    /// The data directory, made by [`super::init`].
    pub data: PathBuf,
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Whether plain HTTP may listen beyond loopback.
    pub public_http: bool,
    /// Checkpoints waiting to be cosigned at most; more are answered 503.
    pub queue: usize,
    /// Checkpoints of one log.
    pub log_rate: Rate,
    /// Who may send how much.
    pub limits: limits::Settings,
    /// What time it is.
    pub clock: Clock,
    /// Seconds that the machine counted since it was started.
    pub uptime: Clock,
}

impl Config {
    /// A witness on `data` at any loopback port.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_http: false,
            queue: 4096,
            log_rate: Rate::new(50, 1, 500),
            limits: limits::Settings::default(),
            clock: system_clock(),
            uptime: Arc::new(crate::clock::uptime),
        }
    }
}
