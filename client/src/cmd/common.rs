//! What several commands need: the policy, the state file, keys, the clock.

use super::history::Against;
use crate::fail::Fail;
use crate::memory::{Memory, MemoryError, SeenCheckpoint, SeenHead};
use crate::policy::{Policy, ProjectPolicy};
use crate::verify::Refused;
pub(crate) use crate::when::parse_time;
pub use crate::when::time;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use keys::Unlock;
use keys::file::Passphrase;
use ledger::bundle::Bundle;
use ledger::leaf::Leaf;
use ledger::statement::Body;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the policy and the memory are.
#[derive(Debug, Clone, Args)]
pub struct PolicyArgs {
    /// The policy file: whom to trust [default: the user's configuration directory]
    #[arg(long, env = "COUNTERSIGN_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// What is remembered between runs [default: the platform's state directory]
    #[arg(long, env = "COUNTERSIGN_STATE", value_name = "FILE")]
    pub state: Option<PathBuf>,
}

/// Where a key file's passphrase, or a token's PIN, comes from; the terminal is asked where nothing is given.
#[derive(Debug, Clone, Args)]
pub struct PassphraseArgs {
    /// Read the passphrase, or a token's PIN, from the first line of this file (else
    /// COUNTERSIGN_PIN for a PIN, else COUNTERSIGN_PASSPHRASE, else the terminal)
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The source that was chosen.
    #[must_use]
    pub fn source(&self) -> Passphrase {
        match &self.passphrase_file {
            Some(path) => Passphrase::File(path.clone()),
            None if std::env::var_os("COUNTERSIGN_PASSPHRASE").is_some() => {
                Passphrase::Env("COUNTERSIGN_PASSPHRASE".into())
            }
            None => Passphrase::Prompt,
        }
    }

    /// The same for keys of every kind. A token's PIN has a variable of its own, since a
    /// passphrase that is tried as a PIN brings the token nearer to being locked.
    pub(crate) fn unlock(&self) -> Unlock {
        let pin = std::env::var_os("COUNTERSIGN_PIN").is_some();
        Unlock {
            passphrase: self.source(),
            // What is meant for a file is never tried on a token, which counts wrong PINs.
            pin: match &self.passphrase_file {
                _ if pin => Passphrase::Env("COUNTERSIGN_PIN".into()),
                Some(path) => Passphrase::File(path.clone()),
                None => Passphrase::Prompt,
            },
        }
    }
}

fn directory(state: bool) -> Result<PathBuf, Fail> {
    use etcetera::BaseStrategy as _;
    let base = etcetera::choose_base_strategy().map_err(|e| {
        Fail::usage(
            "no-home-directory",
            format!("the user's directories cannot be found: {e}"),
        )
    })?;
    let dir = if state {
        base.state_dir().unwrap_or_else(|| base.data_dir())
    } else {
        base.config_dir()
    };
    Ok(dir.join("countersign"))
}

/// Where the policy is.
///
/// # Errors
/// Exit code 2.
pub fn policy_path(args: &PolicyArgs) -> Result<PathBuf, Fail> {
    match &args.policy {
        Some(path) => Ok(path.clone()),
        None => Ok(directory(false)?.join("policy.toml")),
    }
}

/// Reads and checks the policy; never from the working directory unless it is named.
///
/// # Errors
/// Exit code 2.
pub fn load_policy(args: &PolicyArgs) -> Result<Policy, Fail> {
    let path = policy_path(args)?;
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Fail::usage("no-policy", format!("policy {}: {e}", path.display()))
            .hint("give --policy FILE, or make one with `countersign trust init STRING --out FILE`")
    })?;
    Policy::parse_toml(&text).map_err(|e| {
        Fail::usage(e.kind(), e.to_string())
            .detail("file", path.display().to_string())
            .hint("a policy that is not understood trusts nobody; mend the file, or make it anew from the trust string")
    })
}

/// The project of the policy that is called `name`.
///
/// # Errors
/// Exit code 2.
pub(crate) fn named<'a>(policy: &'a Policy, name: &str) -> Result<&'a ProjectPolicy, Fail> {
    let found = policy.select(Some(name), "");
    found.map_err(|e| Fail::usage(e.kind(), e.to_string()))
}

/// A bar of bytes that are gone through.
pub(crate) fn bytes_bar(what: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = format!("{what} {{bar:30}} {{bytes}}/{{total_bytes}} {{bytes_per_sec}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// Where the memory is kept.
///
/// # Errors
/// Exit code 2.
pub fn state_path(args: &PolicyArgs) -> Result<PathBuf, Fail> {
    match &args.state {
        Some(path) => Ok(path.clone()),
        None => Ok(directory(true)?.join("state.json")),
    }
}

/// Reads the memory.
///
/// # Errors
/// Exit code 2: a memory that cannot be read is never taken for an empty one.
pub fn load_memory(path: &Path) -> Result<Memory, Fail> {
    Memory::load(path).map_err(|e| {
        Fail::usage("state-unreadable", e.to_string()).hint(
            "mend or move the file away; without it, rollbacks to older releases cannot be seen",
        )
    })
}

/// Takes up what was proven, and saves it. Where a state file is there and cannot be written, what
/// it has binds all the same; that nothing is added to it is a warning. `false` where another
/// process has remembered since what it was not judged by: `memory` has that now, judge again.
///
/// # Errors
/// Exit code 2.
pub fn remember(
    path: &Path,
    memory: &mut Memory,
    policy: &Policy,
    proven: &crate::verify::Proven,
) -> Result<bool, Fail> {
    let origin = &policy.log.origin;
    let about = |m: &Memory| m.about(origin, proven);
    take_up(path, memory, about, |m| m.learn(origin, proven))
}

/// Takes up a head that was proven, and saves it, as [`remember`] does. What another process has
/// remembered of the log since is first asked, by `connects`, whether it is of one history with it.
///
/// # Errors
/// Exit code 2; and as `connects`.
pub fn learn_head(
    path: &Path,
    memory: &mut Memory,
    policy: &Policy,
    project: &ledger::Hash,
    (checkpoint, head): (&SeenCheckpoint, &SeenHead),
    connects: impl Fn(&SeenCheckpoint) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let origin = &policy.log.origin;
    let about = |m: &Memory| m.logs.get(origin).map(|s| (s.size, s.root.clone()));
    let learn = |m: &mut Memory| m.learn_head(origin, project, checkpoint, head);
    while !take_up(path, memory, about, learn)? {
        if let Some(seen) = memory.logs.get(origin) {
            connects(seen)?;
        }
    }
    Ok(())
}

fn take_up<T: PartialEq>(
    path: &Path,
    memory: &mut Memory,
    about: impl Fn(&Memory) -> T,
    learn: impl Fn(&mut Memory),
) -> Result<bool, Fail> {
    match memory.take_up(path, &about, &learn) {
        Ok(learnt) => Ok(learnt),
        Err(e) => {
            read_only(path, e)?;
            // Whoever can write it may have. What is learnt counts for the rest of this run.
            let news = memory.join(&load_memory(path)?, &about);
            if !news {
                learn(memory);
            }
            Ok(!news)
        }
    }
}

/// Whether the state cannot be written for no other reason than that: said once.
///
/// # Errors
/// Exit code 2 where it is not there, or cannot be read.
fn read_only(path: &Path, e: MemoryError) -> Result<(), Fail> {
    let fail = Fail::usage("state-unwritable", e.to_string());
    // What cannot be read, or was damaged meanwhile, binds nobody: that is no read-only state.
    if !matches!(e, MemoryError::Unwritable { .. }) || !path.exists() {
        return Err(fail.hint("give --state FILE in a directory that can be written"));
    }
    let fail = fail.hint("the state is read, and nothing is added to it; give --state FILE in a directory that can be written to remember more");
    warn_once("not remembered", &fail);
    Ok(())
}

/// Says that something is not kept for later, once a run: it has one cause, and the verdict stands.
pub(crate) fn warn_once(what: &str, fail: &Fail) {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| eprint!("warning: {what}: {}", fail.human()));
}

/// The clock, in Unix seconds.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Where the project wants mismatches reported. Even of a bundle that is refused this much is
/// certain: the statement is the one whose hash the policy pins.
fn contact(bundle: &Bundle, project: &ProjectPolicy) -> Option<String> {
    bundle.projects.iter().find_map(|included| {
        let Ok(Leaf::Statement(leaf)) = Leaf::parse(&included.leaf) else {
            return None;
        };
        match leaf.statement.body {
            Body::Project(p) if leaf.envelope.pae_hash() == project.id => Some(p.contact),
            _ => None,
        }
    })
}

/// What a refusal says by itself: its kind, and what was expected and got.
#[must_use]
pub(crate) fn refused_words(refused: &Refused) -> Fail {
    let make = if refused.unchecked() {
        Fail::unchecked
    } else {
        Fail::untrusted
    };
    let fail = make(refused.kind().to_owned(), refused.to_string());
    match refused.differ() {
        Some(d) => fail
            .detail("expected", d.expected.clone())
            .detail("got", d.got.clone()),
        None => fail,
    }
}

/// A verdict of the verifier as a failure. Where it is that the log forked, evidence of that is kept.
#[must_use]
pub(crate) fn refused_to_fail(
    refused: &Refused,
    ours: Against<'_>,
    project: &ProjectPolicy,
    bundle: &Bundle,
) -> Fail {
    let fail = refused_to_fail_of(refused, ours, project);
    match contact(bundle, project) {
        Some(contact) => fail.detail("contact", contact),
        None => fail,
    }
}

/// The same, where there is no bundle.
#[must_use]
pub(crate) fn refused_to_fail_of(
    refused: &Refused,
    ours: Against<'_>,
    project: &ProjectPolicy,
) -> Fail {
    let fail = refused_words(refused)
        .detail("project", project.name.clone())
        .detail("log", ours.policy.log.origin.clone());
    let hint = match refused {
        Refused::Digest(_) | Refused::Size(_) => {
            "these are not the bytes that the project released: do not run them, keep them as evidence, and tell the project's contact"
        }
        Refused::Quorum(_) => {
            "wait for the witnesses and fetch the bundle again; the policy decides how many it takes"
        }
        Refused::LogKey(_) => {
            "if the log rotates its keys: `countersign trust update POLICY` follows where the old keys still sign (else make the policy anew from the project's new trust string), and `countersign refresh FILE` renews a bundle from before; if it does not, do not use this file"
        }
        Refused::Name(_) => {
            "name the artifact as released with --name, or use the bundle that belongs to this file"
        }
        Refused::Version(_) => "fetch the bundle of the version that you want",
        Refused::Rollback(_) => {
            "an older release is what an attacker would serve; name it with --version if you mean it"
        }
        Refused::Fork { .. } => {
            "keep both checkpoints and publish them: they prove that the log lied"
        }
        Refused::NeedsRefresh { .. } => {
            "`countersign refresh FILE`, or verify with --online: the bundle is older than what is remembered"
        }
        Refused::Void(_) => {
            "the key that signed it was compromised: do not use it; ask the project for a release that it stated again"
        }
        Refused::Withdrawn(_) => {
            "the project took it back: use a newer release, see `countersign releases NAME`"
        }
        _ => "do not use this file; fetch artifact and bundle again from the project's own site",
    };
    let fail = fail.hint(hint);
    match refused {
        Refused::Fork { notes, .. } => ours.of_one_size((&notes.0, &notes.1), fail),
        _ => fail,
    }
}

/// Writes a file by temporary file and rename, durable before it returns.
///
/// # Errors
/// Exit code 2, also where a device, a pipe or a socket is there; nothing is left behind.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Fail> {
    write_mode(path, bytes, 0o644)
}

/// The same, for its owner's eyes only.
///
/// # Errors
/// As [`write_atomic`].
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Fail> {
    write_mode(path, bytes, 0o600)
}

#[cfg_attr(not(unix), allow(unused_variables))]
fn write_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Fail> {
    use std::io::Write as _;
    let bad = |e: std::io::Error| {
        Fail::usage("unwritable", format!("{}: {e}", path.display()))
            .hint("choose a place that can be written")
    };
    let directory = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    crate::place::refuse_special(path)?;
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(bad)?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(bad)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(mode))
            .map_err(bad)?;
    }
    file.persist(path).map_err(|e| bad(e.error))?;
    // The name is durable with the directory; not every system can sync one.
    if cfg!(unix)
        && let Ok(directory) = std::fs::File::open(directory)
    {
        let _ = directory.sync_all();
    }
    Ok(())
}

/// The log's URL: the one given, else the policy's.
///
/// # Errors
/// Exit code 2.
pub fn log_url(given: Option<&str>, policy: Option<&Policy>) -> Result<String, Fail> {
    let url = given.or_else(|| policy.and_then(|p| p.log.url.as_deref()));
    url.map(|u| u.trim_end_matches('/').to_owned())
        .ok_or_else(|| {
            Fail::usage("no-log-url", "the policy names no log URL").hint("give --log URL")
        })
}

/// Hashes a file in constant memory: its SHA-256 and size.
///
/// # Errors
/// Exit code 2.
pub fn hash_file(path: &Path, mut progress: impl FnMut(u64)) -> Result<(ledger::Hash, u64), Fail> {
    use std::io::Read as _;
    let bad = |e: std::io::Error| Fail::usage("unreadable", format!("{}: {e}", path.display()));
    let mut file = std::fs::File::open(path).map_err(bad)?;
    let mut hasher = keys::Sha256Stream::new();
    let mut buffer = vec![0u8; 32 * 1024];
    let mut size = 0u64;
    loop {
        let n = file.read(&mut buffer).map_err(bad)?;
        if n == 0 {
            return Ok((hasher.finish(), size));
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
        size += n as u64;
        progress(n as u64);
    }
}

/// Shows what will change, and asks unless `yes`.
///
/// # Errors
/// Exit code 2 where it is not confirmed.
pub(crate) fn ask(yes: bool, impact: &str, question: &str) -> Result<(), Fail> {
    use std::io::{BufRead as _, IsTerminal as _, Write as _};
    eprint!("{impact}");
    if yes {
        return Ok(());
    }
    let not = |why: &str| {
        Fail::usage("not-confirmed", why.to_owned())
            .hint("nothing was done; answer yes at a terminal, or give --yes in a script")
    };
    if !std::io::stdin().is_terminal() {
        return Err(not("there is no terminal to ask at"));
    }
    eprint!("{question} [yes/no] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "yes") => Ok(()),
        _ => Err(not("not confirmed")),
    }
}
