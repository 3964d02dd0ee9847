//! The options of `serve` that say who may send how much, and when the log must not sign.

use clap::Args;
use countersign_server::limit_args::AddressArgs;
use countersign_server::limits::{self, Rate};
use countersign_server::{Error, guard, publish};
use std::path::PathBuf;
use std::time::Duration;

/// Who may send how much.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Releases of one project: N/s, N/min or N/h, with :BURST; 0 is no limit.
    #[arg(long, default_value = "600/min", value_name = "RATE")]
    project_rate: Rate,
    #[command(flatten)]
    addresses: AddressArgs,
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
        Self {
            project_rate: args.project_rate,
            ..args.addresses.into()
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
    /// Seconds that a checkpoint waits for its quorum at most, before it is shown without.
    #[arg(long, default_value_t = 5, value_name = "S", requires = "witnesses", value_parser = clap::value_parser!(u32).range(1..=10))]
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
