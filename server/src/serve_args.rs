//! The options of `serve` that say who may send how much, and when the log must not sign.

use clap::{Args, ValueEnum};
use countersign_server::limits::{self, ProxyHeader, Rate};
use countersign_server::{Error, guard, publish};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Copy, ValueEnum)]
enum Header {
    /// X-Forwarded-For
    XForwardedFor,
    /// Forwarded (RFC 7239)
    Forwarded,
}

/// Who may send how much.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Releases of one project: N/s, N/min or N/h, with :BURST; 0 is no limit.
    #[arg(long, default_value = "600/min", value_name = "RATE")]
    project_rate: Rate,
    /// Submissions from one IPv4 address or IPv6 /64; 0 is no limit.
    #[arg(long, default_value = "50/s:200", value_name = "RATE")]
    address_rate: Rate,
    /// Connections at once from one IPv4 address or IPv6 /64; 0 is no limit.
    #[arg(long, default_value_t = 256, value_name = "N")]
    address_connections: u32,
    /// Let these limits hold for loopback addresses too.
    #[arg(long)]
    limit_loopback: bool,
    /// A proxy that says who its clients are; may be given more than once.
    #[arg(long, value_name = "ADDR")]
    trusted_proxy: Vec<IpAddr>,
    /// The header in which it says so.
    #[arg(long, value_enum, default_value = "x-forwarded-for")]
    proxy_header: Header,
    /// Longest wait for a request's head, in seconds.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    head_seconds: u32,
    /// Longest that a request may take, in seconds.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    request_seconds: u32,
    /// Longest that a client may read nothing of an answer, in seconds.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3600))]
    stall_seconds: u32,
    /// Seconds after which a connection takes no further request.
    #[arg(long, default_value_t = 300, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    connection_seconds: u32,
}

/// When the log must not sign.
#[derive(Args)]
#[command(next_help_heading = "When not to sign")]
pub struct GuardArgs {
    /// MiB of disk that must stay free, else no entry is taken; 0 does not look.
    #[arg(long, default_value_t = 64, value_name = "MIB")]
    reserve_mib: u32,
    /// Seconds that the clock may be behind the last leaf.
    #[arg(long, default_value_t = 300, value_name = "S")]
    max_clock_lag: u64,
    /// Days after the last leaf that the clock is believed; 0 is no limit.
    #[arg(long, default_value_t = 366, value_name = "DAYS")]
    max_quiet_days: u64,
}

impl From<LimitArgs> for limits::Settings {
    fn from(args: LimitArgs) -> Self {
        let seconds = |s: u32| Duration::from_secs(u64::from(s));
        let proxies = args.trusted_proxy.iter().map(IpAddr::to_canonical);
        Self {
            project_rate: args.project_rate,
            address_rate: args.address_rate,
            address_connections: args.address_connections,
            limit_loopback: args.limit_loopback,
            fair_queue: true,
            trusted_proxies: proxies.collect(),
            proxy_header: match args.proxy_header {
                Header::XForwardedFor => ProxyHeader::XForwardedFor,
                Header::Forwarded => ProxyHeader::Forwarded,
            },
            head: seconds(args.head_seconds),
            request: seconds(args.request_seconds),
            stall: seconds(args.stall_seconds),
            life: seconds(args.connection_seconds),
        }
    }
}

impl From<GuardArgs> for guard::Settings {
    fn from(args: GuardArgs) -> Self {
        Self {
            reserve: u64::from(args.reserve_mib) << 20,
            max_clock_lag: args.max_clock_lag,
            max_quiet_days: args.max_quiet_days,
        }
    }
}

/// Who witnesses the log.
#[derive(Args)]
#[command(next_help_heading = "Witnesses")]
pub struct WitnessArgs {
    /// Have each checkpoint cosigned by the witnesses of this policy (c2sp.org/tlog-policy, with
    /// URLs) before it is shown.
    ///
    /// A checkpoint is shown once the quorum has cosigned it, or after --cosign-wait without.
    /// After a start nothing is signed until a quorum has said what it saw last; a witness that
    /// saw more makes the log read-only.
    #[arg(long, value_name = "FILE")]
    witnesses: Option<PathBuf>,
    /// Certificate authorities (PEM) for the witnesses' URLs, in place of the platform's.
    #[arg(long, value_name = "FILE", requires = "witnesses")]
    witness_ca_file: Option<PathBuf>,
    /// Seconds that a checkpoint waits for its quorum at most; a publisher may ask for less with
    /// ?wait=SECONDS.
    #[arg(long, default_value_t = 5, value_name = "S", requires = "witnesses", value_parser = clap::value_parser!(u32).range(1..=60))]
    cosign_wait: u32,
    /// Seconds after which an idle log's checkpoint is cosigned again.
    #[arg(long, default_value_t = 600, value_name = "S", requires = "witnesses", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    recosign: u32,
}

impl WitnessArgs {
    /// Reads the policy, if one is named.
    ///
    /// # Errors
    /// [`Error::Witnesses`].
    pub fn read(self) -> Result<Option<publish::Settings>, Error> {
        let Some(path) = self.witnesses else {
            return Ok(None);
        };
        let seconds = |s: u32| Duration::from_secs(u64::from(s));
        let settings = publish::Settings {
            policy: publish::read_policy(&path)?,
            ca_file: self.witness_ca_file,
            wait: seconds(self.cosign_wait),
            again: seconds(self.recosign),
        };
        Ok(Some(settings))
    }
}
