//! The monitor's configuration: one TOML file, read strictly (docs/monitoring.md,
//! "Configuration"). Paths in it are relative to the directory that it lies in.

use crate::fail::Fail;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Larger than any configuration, in bytes.
const MAX: u64 = 4 << 20;

/// All of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Always `countersign/v1`.
    pub api_version: String,
    /// The directory of all that is kept: progress, alerts, quarantine, evidence.
    pub state: PathBuf,
    /// A further CA certificate (PEM) to trust for HTTPS.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Address and port on which metrics are served.
    #[serde(default)]
    pub listen: Option<std::net::SocketAddr>,
    /// A file that metrics are written to, for a node exporter's textfile collector.
    #[serde(default)]
    pub metrics_file: Option<PathBuf>,
    /// Threads that poll.
    #[serde(default = "four")]
    pub workers: usize,
    /// Bytes that the quarantine may hold.
    #[serde(default = "gibibyte")]
    pub quarantine_max_bytes: u64,
    /// How alerts are repeated.
    #[serde(default)]
    pub alerts: Alerts,
    /// Logs that are followed.
    #[serde(default, rename = "log")]
    pub logs: Vec<Log>,
    /// What is served, and should be as it is logged.
    #[serde(default, rename = "watch")]
    pub watches: Vec<Watch>,
    /// Who is told.
    #[serde(default, rename = "sink")]
    pub sinks: Vec<Sink>,
}

/// How alerts are repeated, in seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Alerts {
    /// An alert that nobody acknowledged is sent again after this.
    pub repeat_after: u64,
    /// An alert that nobody acknowledged goes to the sinks of level 2 after this.
    pub escalate_after: u64,
    /// A test alert goes to each sink this often.
    pub canary_every: u64,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            repeat_after: 4 * 3600,
            escalate_after: 3600,
            canary_every: 24 * 3600,
        }
    }
}

/// How a log is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Follow {
    /// Through the projects' heads, which prove that nothing of theirs was left out.
    Heads,
    /// By reading every leaf.
    Leaves,
}

/// A log, and the projects in it, as a policy names them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Log {
    /// The policy: log keys, witnesses, projects, addresses.
    pub policy: PathBuf,
    /// How it is followed.
    #[serde(default = "heads")]
    pub follow: Follow,
    /// Seconds between polls.
    #[serde(default = "minute")]
    pub every: u64,
    /// Whether the policy's witnesses are asked for the newest checkpoint that they cosigned.
    #[serde(default = "yes")]
    pub witnesses: bool,
    /// Seconds after which a cosigned checkpoint whose leaves cannot be read is suspected
    /// tampering.
    #[serde(default = "hour")]
    pub unreadable_after: u64,
    /// Keys whose use anywhere in the log is reported, by key id; needs `follow = "leaves"`.
    #[serde(default)]
    pub keys: Vec<String>,
    /// What is announced.
    #[serde(default)]
    pub expected: Announced,
}

/// Where the owner's own pipeline announces what it publishes. A statement that one of these
/// knows is recorded; any other is an alert.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Announced {
    /// A directory of bundles, envelopes or prepared statements.
    pub bundles: Option<PathBuf>,
    /// A local clone, whose signed tags announce versions.
    pub tags: Option<Tags>,
    /// A program that is asked about each statement: exit code 0 expected, 1 not.
    pub command: Option<Vec<String>>,
    /// Seconds that an announcement may come after the statement.
    pub grace: u64,
}

/// Signed tags of a local clone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tags {
    /// The clone.
    pub repository: PathBuf,
    /// The tag of a version: `v{version}`.
    #[serde(default = "v_version")]
    pub pattern: String,
    /// The file of SSH keys that may sign (ssh-keygen(1), "ALLOWED SIGNERS"), in the place of the
    /// one that git's configuration names.
    #[serde(default)]
    pub allowed_signers: Option<PathBuf>,
}

/// Something that is served.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Watch {
    /// Its address; `{version}` in it stands for each version that stands.
    #[serde(default)]
    pub url: Option<String>,
    /// Or a local directory, whose files are all watched.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// The policy under which it is judged; may be left out where there is one `[[log]]`.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// The project, where the policy has several.
    #[serde(default)]
    pub project: Option<String>,
    /// The artifact's name, where it is not the address's last segment.
    #[serde(default)]
    pub artifact: Option<String>,
    /// What is there.
    #[serde(default = "artifact")]
    pub kind: Served,
    /// Where its bundle is: `{url}.bundle` by default, `none` for none.
    #[serde(default)]
    pub bundle: Option<String>,
    /// Seconds between polls.
    #[serde(default = "five_minutes")]
    pub every: u64,
    /// As which programs it is fetched.
    #[serde(default)]
    pub user_agents: Vec<String>,
    /// Through which proxies it is fetched, beside directly.
    #[serde(default)]
    pub proxies: Vec<String>,
    /// Hosts that it may redirect to, beside its own and those of the first poll.
    #[serde(default)]
    pub redirect_hosts: Vec<String>,
    /// Larger is not read to its end, in bytes.
    #[serde(default = "gibibyte")]
    pub max_bytes: u64,
    /// Seconds that one fetch may take.
    #[serde(default = "five_minutes")]
    pub timeout: u64,
}

/// What is at a watched address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Served {
    /// An artifact of a release.
    Artifact,
    /// A script or page that embeds addresses or digests of artifacts.
    Page,
}

/// Who is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sink {
    /// Its name, for people.
    pub name: String,
    /// 1: at once; 2: what nobody acknowledged.
    #[serde(default = "one")]
    pub level: u8,
    /// The least class that it is told of.
    #[serde(default = "operational")]
    pub from: super::alert::Class,
    /// A file that a line of JSON is added to; `-` for standard output.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// An address that JSON is posted to.
    #[serde(default)]
    pub webhook: Option<String>,
    /// A file with the webhook's secret (`whsec_…`, base64).
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// A program that is run, with the JSON on its standard input.
    #[serde(default)]
    pub command: Option<Vec<String>>,
}

fn four() -> usize {
    4
}
fn one() -> u8 {
    1
}
fn yes() -> bool {
    true
}
fn minute() -> u64 {
    60
}
fn five_minutes() -> u64 {
    300
}
fn hour() -> u64 {
    3600
}
fn gibibyte() -> u64 {
    1 << 30
}
fn heads() -> Follow {
    Follow::Heads
}
fn artifact() -> Served {
    Served::Artifact
}
fn v_version() -> String {
    "v{version}".to_owned()
}
fn operational() -> super::alert::Class {
    super::alert::Class::Operational
}

fn bad(kind: &str, path: &Path, what: impl std::fmt::Display) -> Fail {
    Fail::usage(kind, format!("{}: {what}", path.display()))
        .hint("see `countersign monitor --help` and docs/monitoring.md for what stands in it")
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Exit code 2.
    pub fn load(path: &Path) -> Result<Self, Fail> {
        let length = std::fs::metadata(path).map_err(|e| bad("no-config", path, e))?;
        if length.len() > MAX {
            return Err(bad("config-malformed", path, "it is too large"));
        }
        let text = std::fs::read_to_string(path).map_err(|e| bad("no-config", path, e))?;
        let base = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, base).map_err(|what| bad("config-malformed", path, what))
    }

    /// Parses `text`; paths are relative to `base`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        config.check()?;
        config.rebase(base);
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.api_version != ledger::API_VERSION {
            return Err(format!(
                "api-version is {:?}, want {:?}",
                self.api_version,
                ledger::API_VERSION
            ));
        }
        if !(1..=256).contains(&self.workers) {
            return Err("workers must be from 1 to 256".into());
        }
        let alerts = &self.alerts;
        for (name, seconds) in [
            ("repeat-after", alerts.repeat_after),
            ("escalate-after", alerts.escalate_after),
            ("canary-every", alerts.canary_every),
        ] {
            if seconds == 0 {
                return Err(format!("alerts: {name} must be at least a second"));
            }
        }
        if self.logs.is_empty() && self.watches.is_empty() {
            return Err("nothing to watch: it has neither [[log]] nor [[watch]]".into());
        }
        let mut seen = BTreeSet::new();
        for log in &self.logs {
            let at = log.policy.display();
            if log.every == 0 {
                return Err(format!("log {at}: every must be at least a second"));
            }
            if !seen.insert(&log.policy) {
                return Err(format!("log {at}: it is listed twice"));
            }
            if !log.keys.is_empty() && log.follow != Follow::Leaves {
                return Err(format!(
                    "log {at}: keys can only be watched for with follow = \"leaves\": heads show one project"
                ));
            }
            if log.expected.command.as_ref().is_some_and(Vec::is_empty) {
                return Err(format!("log {at}: expected.command is empty"));
            }
            if log
                .expected
                .tags
                .as_ref()
                .is_some_and(|t| !t.pattern.contains("{version}"))
            {
                return Err(format!(
                    "log {at}: expected.tags.pattern has no {{version}}"
                ));
            }
        }
        let one_policy = matches!(self.logs.as_slice(), [_]);
        for watch in &self.watches {
            let at = match (&watch.url, &watch.directory) {
                (Some(url), None) => url.clone(),
                (None, Some(directory)) => directory.display().to_string(),
                _ => return Err("a [[watch]] has either url or directory".into()),
            };
            if watch.every == 0 {
                return Err(format!("watch {at}: every must be at least a second"));
            }
            watch.check().map_err(|e| format!("watch {at}: {e}"))?;
            if watch.policy.is_none() && !one_policy {
                return Err(format!("watch {at}: name the policy that it is judged by"));
            }
        }
        let mut names = BTreeSet::new();
        for sink in &self.sinks {
            sink.check()
                .map_err(|e| format!("sink {:?}: {e}", sink.name))?;
            if !names.insert(&sink.name) {
                return Err(format!("sink {:?}: the name stands twice", sink.name));
            }
        }
        Ok(())
    }

    fn rebase(&mut self, base: &Path) {
        let at = |path: &mut PathBuf| *path = base.join(&*path);
        at(&mut self.state);
        let single = [&mut self.ca_file, &mut self.metrics_file];
        single.into_iter().flatten().for_each(at);
        for log in &mut self.logs {
            at(&mut log.policy);
            log.expected.bundles.iter_mut().for_each(at);
            if let Some(tags) = &mut log.expected.tags {
                at(&mut tags.repository);
                tags.allowed_signers.iter_mut().for_each(at);
            }
        }
        for watch in &mut self.watches {
            let both = [&mut watch.directory, &mut watch.policy];
            both.into_iter().flatten().for_each(at);
        }
        for sink in &mut self.sinks {
            let file = sink.file.iter_mut().filter(|f| **f != Path::new("-"));
            file.chain(&mut sink.secret_file).for_each(at);
        }
    }
}

impl Watch {
    fn check(&self) -> Result<(), String> {
        if self.timeout == 0 || self.max_bytes == 0 {
            return Err("timeout and max-bytes must be at least 1".into());
        }
        let strange =
            |agent: &String| agent.is_empty() || !agent.chars().all(|c| matches!(c, ' '..='~'));
        if let Some(agent) = self.user_agents.iter().find(|a| strange(a)) {
            return Err(format!("user-agents: {agent:?} cannot stand in a header"));
        }
        let one = |text: &Option<String>| text.as_ref().is_some_and(|t| t.contains("{version}"));
        if (one(&self.bundle) || one(&self.artifact)) && !one(&self.url) {
            return Err("{version} in bundle or artifact needs one in url".into());
        }
        if self.directory.is_some() && (self.bundle.is_some() || self.artifact.is_some()) {
            return Err("artifact and bundle belong to a url: in a directory, files are known by their names".into());
        }
        Ok(())
    }
}

impl Sink {
    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            return Err("it needs a name without control characters".into());
        }
        if !(1..=2).contains(&self.level) {
            return Err("level is 1, or 2 for what nobody acknowledged".into());
        }
        let kinds = [
            self.file.is_some(),
            self.webhook.is_some(),
            self.command.is_some(),
        ];
        if kinds.iter().filter(|k| **k).count() != 1 {
            return Err("it has exactly one of file, webhook and command".into());
        }
        if self.webhook.is_some() != self.secret_file.is_some() {
            return Err(
                "webhook and secret-file belong together: unsigned alerts could be anybody's"
                    .into(),
            );
        }
        if self.command.as_ref().is_some_and(Vec::is_empty) {
            return Err("command is empty".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LEAST: &str =
        "api-version = \"countersign/v1\"\nstate = \"s\"\n[[log]]\npolicy = \"p.toml\"\n";

    fn parse(more: &str) -> Result<Config, String> {
        Config::parse(&format!("{LEAST}{more}"), Path::new("/base"))
    }

    #[test]
    fn the_least_and_its_defaults() {
        let config = parse("").unwrap();
        assert_eq!(config.state, Path::new("/base/s"));
        let log = config.logs.first().unwrap();
        assert_eq!(log.policy, Path::new("/base/p.toml"));
        assert_eq!(
            (log.follow, log.every, log.expected.grace),
            (Follow::Heads, 60, 0)
        );
        assert_eq!(config.quarantine_max_bytes, 1 << 30);
        let config = parse("[[watch]]\nurl = \"u\"\n").unwrap();
        let watch = config.watches.first().unwrap();
        assert_eq!((watch.timeout, watch.max_bytes), (300, 1 << 30));
        assert!(watch.redirect_hosts.is_empty());
    }

    #[test]
    fn all_that_can_be_said() {
        let config = parse(
            "keys = [\"k\"]\nfollow = \"leaves\"\nexpected = { bundles = \"b\", tags = { repository = \"r\" }, command = [\"c\"], grace = 9 }\n\
             [[watch]]\nurl = \"https://x/{version}/f\"\nuser-agents = [\"curl/8\"]\nproxies = [\"http://p\"]\nbundle = \"none\"\n\
             [[watch]]\ndirectory = \"d\"\nkind = \"page\"\nevery = 5\n\
             [[sink]]\nname = \"ops\"\nfile = \"-\"\n\
             [[sink]]\nname = \"boss\"\nlevel = 2\nfrom = \"tampering\"\nwebhook = \"https://h\"\nsecret-file = \"w\"\n\
             [[sink]]\nname = \"hook\"\ncommand = [\"notify\", \"-x\"]\n",
        )
        .unwrap();
        assert_eq!(
            config.sinks.first().unwrap().file.as_deref(),
            Some(Path::new("-"))
        );
        let secret = config.sinks.get(1).unwrap().secret_file.as_deref();
        assert_eq!(secret, Some(Path::new("/base/w")));
    }

    #[test]
    fn what_contradicts_itself_or_is_unknown_is_refused() {
        for more in [
            "nonsense = 1\n",
            "every = 0\n",
            "keys = [\"k\"]\n",
            "expected = { command = [] }\n",
            "expected = { tags = { repository = \"r\", pattern = \"v\" } }\n",
            "[[log]]\npolicy = \"p.toml\"\n",
            "[[watch]]\nevery = 5\n",
            "[[watch]]\nurl = \"u\"\ndirectory = \"d\"\n",
            "[[log]]\npolicy = \"q.toml\"\n[[watch]]\nurl = \"u\"\n",
            "[[sink]]\nname = \"a\"\n",
            "[[sink]]\nname = \"a\"\nfile = \"f\"\ncommand = [\"c\"]\n",
            "[[sink]]\nname = \"a\"\nwebhook = \"https://h\"\n",
            "[[sink]]\nname = \"a\"\nfile = \"f\"\nlevel = 3\n",
            "[[sink]]\nname = \"a\"\nfile = \"f\"\n[[sink]]\nname = \"a\"\nfile = \"g\"\n",
            "[alerts]\nrepeat-after = 0\n",
            "[[watch]]\nurl = \"u\"\ntimeout = 0\n",
            "[[watch]]\nurl = \"u\"\nmax-bytes = 0\n",
            "[[watch]]\nurl = \"u\"\nuser-agents = [\"a\\r\\nb: c\"]\n",
            "[[watch]]\nurl = \"u\"\nartifact = \"tool-{version}\"\n",
            "[[watch]]\ndirectory = \"d\"\nbundle = \"b\"\n",
        ] {
            assert!(parse(more).is_err(), "{more}");
        }
        let none = "api-version = \"countersign/v1\"\nstate = \"s\"\n";
        assert!(Config::parse(none, Path::new("")).is_err());
        let other = LEAST.replace("/v1", "/v2");
        assert!(Config::parse(&other, Path::new("")).is_err());
    }
}
