//! How a statement about a project is made, signed and sent: the same for every command that
//! makes one. Its three steps can be taken apart: `--prepare FILE`, `sign`, `submit`.

use super::common::{
    PassphraseArgs, PolicyArgs, learn_head, load_memory, load_policy, log_url, now, read_key,
    refused_to_fail, state_path,
};
use super::complete::{Complete, complete};
use super::sign::{send, write_prepared};
use super::verify::parse_bundle;
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::memory::{Memory, SeenCheckpoint, SeenHead};
use crate::policy::{Policy, ProjectPolicy};
use crate::verify::verify_logged;
use clap::Args;
use keys::{SecretKey, Signer};
use ledger::bundle::{Bundle, MAX_BUNDLE_BYTES};
use ledger::envelope::Envelope;
use ledger::{Hash, hex32};
use serde_json::json;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// Which log is asked, and whom to trust about it.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Whom to trust.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// The log's URL [default: the policy's]
    #[arg(long, value_name = "URL")]
    pub log: Option<String>,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// How a statement is signed and sent.
#[derive(Debug, Args)]
pub struct SayArgs {
    /// A key that signs; may be given several times
    #[arg(long, value_name = "KEY", required_unless_present = "prepare")]
    pub key: Vec<PathBuf>,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
    /// Only write the statement to FILE, to be signed by others (`countersign sign`) and submitted
    #[arg(long, value_name = "FILE")]
    pub prepare: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Do not ask before signing
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A policy, what is remembered, and the log.
pub(crate) struct Desk {
    pub(crate) policy: Policy,
    pub(crate) fetcher: Fetcher,
    state: PathBuf,
    memory: Memory,
}

impl Desk {
    /// Opens what `args` name.
    pub(crate) fn open(args: &LogArgs) -> Result<Self, Fail> {
        let mut policy = load_policy(&args.policy)?;
        policy.log.url = Some(log_url(args.log.as_deref(), Some(&policy))?);
        let state = state_path(&args.policy)?;
        let memory = load_memory(&state)?;
        let fetcher = Fetcher::new(args.ca_file.as_deref())?;
        Ok(Self {
            policy,
            fetcher,
            state,
            memory,
        })
    }

    /// A project of the policy.
    pub(crate) fn project(&self, name: &str) -> Result<ProjectPolicy, Fail> {
        let found = self.policy.select(Some(name), "");
        found
            .cloned()
            .map_err(|e| Fail::usage(e.kind(), e.to_string()))
    }

    /// The bundle of an entry, as the log gives it; nothing of it is verified.
    pub(crate) fn bundle(&self, index: u64) -> Result<Vec<u8>, Fail> {
        let url = log_url(None, Some(&self.policy))?;
        let address = format!("{url}/api/v1/entries/{index}/bundle");
        self.fetcher.get_bytes(&address, MAX_BUNDLE_BYTES)
    }

    /// Whether a bundle proves that a statement about the project stands.
    pub(crate) fn logged(
        &self,
        project: &ProjectPolicy,
        statement: &Hash,
        bundle: &Bundle,
    ) -> Result<(SeenCheckpoint, SeenHead), Fail> {
        let (policy, memory) = (&self.policy, &self.memory);
        verify_logged(&project.id, statement, bundle, policy, memory, now())
            .map_err(|r| refused_to_fail(&r, policy, project, bundle))
    }

    /// All that the log has accepted for the project, proven.
    pub(crate) fn complete(&mut self, project: &ProjectPolicy) -> Result<Complete, Fail> {
        let at = (self.state.as_path(), &mut self.memory);
        complete(&self.fetcher, &self.policy, project, at)
    }
}

/// What became of a statement.
pub(crate) enum Said {
    /// Written to a file.
    Prepared,
    /// It stands in the log.
    Logged {
        /// Its log index.
        index: u64,
        /// The statement's PAE hash.
        statement: Hash,
        /// The size of the tree in which it is proven.
        size: u64,
    },
}

/// Shows what a statement will change, and asks; a script says `--yes`.
pub(crate) fn confirm(args: &SayArgs, impact: &str, question: &str) -> Result<(), Fail> {
    eprint!("{impact}");
    if args.yes || args.prepare.is_some() {
        return Ok(());
    }
    let not = |why: &str| {
        Fail::usage("not-confirmed", why.to_owned())
            .hint("nothing was signed; answer yes at a terminal, or give --yes in a script")
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

/// The keys that `args` name.
pub(crate) fn keys(args: &SayArgs) -> Result<Vec<SecretKey>, Fail> {
    let read = |path: &PathBuf| read_key(path, &args.passphrase);
    args.key.iter().map(read).collect()
}

/// A key that a file beside them names.
pub(crate) fn key(args: &SayArgs, path: &Path) -> Result<SecretKey, Fail> {
    read_key(path, &args.passphrase)
}

/// Says what became of a statement: `what`, and where it stands.
pub(crate) fn said_line(args: &SayArgs, said: &Said, what: &str) {
    let Said::Logged {
        index,
        statement,
        size,
    } = said
    else {
        return;
    };
    if args.json {
        sayln!(
            "{}",
            json!({ "said": what, "index": index, "statement": hex32(statement), "treeSize": size })
        );
    } else {
        sayln!(
            "{}\n  entry {index}, statement {}, tree size {size}",
            visible(what),
            hex32(statement)
        );
    }
}

/// Signs `payload` with `signers`, and writes it to the file that `args` name, or sends it. What
/// the log answers must prove that it stands.
pub(crate) fn say(
    args: &SayArgs,
    desk: &mut Desk,
    project: &ProjectPolicy,
    payload: Vec<u8>,
    signers: &[SecretKey],
) -> Result<Said, Fail> {
    let mut seen = std::collections::BTreeSet::new();
    let signers: Vec<&dyn Signer> = signers
        .iter()
        .filter(|key| seen.insert(key.public_key().id()))
        .map(|key| key as &dyn Signer)
        .collect();
    let envelope =
        Envelope::sign(payload, &signers).map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    if let Some(path) = &args.prepare {
        write_prepared(path, &envelope)?;
        eprintln!(
            "prepared {}; add signatures with `countersign sign`, then `countersign submit`",
            path.display()
        );
        return Ok(Said::Prepared);
    }
    let url = log_url(None, Some(&desk.policy))?;
    let answer = send(&desk.fetcher, &url, &envelope)?;
    let bytes = answer.ok_or_else(|| {
        Fail::unchecked(
            "pending",
            "the log has not taken this in yet; try again later",
        )
    })?;
    let bundle = parse_bundle(&bytes)?;
    let statement = envelope.pae_hash();
    let (checkpoint, head) = desk.logged(project, &statement, &bundle).map_err(|fail| {
        fail.hint(
            "the log accepted the statement, but does not prove under your own policy that it stands: look again with `countersign keys list`",
        )
    })?;
    let at = (desk.state.as_path(), &mut desk.memory);
    learn_head(at.0, at.1, &desk.policy, &project.id, &checkpoint, &head)?;
    Ok(Said::Logged {
        index: bundle.entry.index,
        statement,
        size: checkpoint.size,
    })
}
