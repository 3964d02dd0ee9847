//! How a statement about a project is made, signed and sent: the same for every command that
//! makes one. Its three steps can be taken apart: `--prepare FILE`, `sign`, `submit`.

use super::common::{
    PassphraseArgs, PolicyArgs, ask, learn_head, load_memory, load_policy, log_url, named, now,
    refused_to_fail, state_path,
};
use super::complete::{Complete, Evident, complete, evident};
use super::history;
use super::learn::learn_shown;
use super::sign::{send, write_prepared};
use super::signing::{KEY, KeyParser, open, open_all};
use super::verify::parse_bundle;
use crate::fail::{Fail, visible};
use crate::fetch::Fetcher;
use crate::memory::{Memory, SeenCheckpoint, SeenHead};
use crate::policy::{Policy, ProjectPolicy};
use crate::refused::Refused;
use crate::stated::{Stated, verify_statement};
use crate::verify::{Artifact, Wanted, verify, verify_logged};
use clap::Args;
use keys::{KeySource, Signer};
use ledger::bundle::{Bundle, MAX_BUNDLE_BYTES};
use ledger::envelope::Envelope;
use ledger::statement::{Statement, Subject};
use ledger::{Hash, hex32};
use serde_json::json;
use std::path::PathBuf;

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
    #[arg(long, value_name = KEY, value_parser = KeyParser, required_unless_present = "prepare")]
    pub key: Vec<KeySource>,
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
        let policy = load_policy(&args.policy)?;
        let url = log_url(args.log.as_deref(), Some(&policy))?;
        let fetcher = Fetcher::new(args.ca_file.as_deref())?;
        Self::at(url, policy, &args.policy, fetcher)
    }

    /// The same of a policy that is loaded, with the log at `url`.
    pub(crate) fn at(
        url: String,
        mut policy: Policy,
        args: &PolicyArgs,
        fetcher: Fetcher,
    ) -> Result<Self, Fail> {
        policy.log.url = Some(url);
        let state = state_path(args)?;
        let memory = load_memory(&state)?;
        Ok(Self {
            policy,
            fetcher,
            state,
            memory,
        })
    }

    /// What is remembered.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// A project of the policy.
    pub(crate) fn project(&self, name: &str) -> Result<ProjectPolicy, Fail> {
        named(&self.policy, name).cloned()
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
            .map_err(|r| refused_to_fail(&r, self.ours(), project, bundle))
    }

    /// Against whom evidence is kept, and where.
    pub(crate) fn ours(&self) -> history::Against<'_> {
        history::Against {
            policy: &self.policy,
            state: &self.state,
        }
    }

    /// What a log answered to a statement that was sent to it: the statement is in the log, the
    /// log still shows the history that is remembered, and the statement has its effect in the
    /// project's whole history. What is proven is remembered.
    pub(crate) fn taken(
        &mut self,
        project: &ProjectPolicy,
        (envelope, statement): (&Envelope, &Statement),
        bundle: &Bundle,
    ) -> Result<SeenCheckpoint, Fail> {
        let index = bundle.entry.index;
        let sent = |fail: Fail| {
            fail.detail("entry", index.to_string())
                .detail("sent", "the log says that it took the statement in: look with `countersign keys list` what became of it")
        };
        let shown = self.logged(project, &envelope.pae_hash(), bundle);
        let (checkpoint, head) = shown.map_err(sent)?;
        let seen = self.memory.logs.get(&self.policy.log.origin).cloned();
        let before = seen.as_ref().map(|seen| seen.size);
        let (state, policy) = (self.state.as_path(), &self.policy);
        let ours = history::Against { policy, state };
        let check = |seen: Option<&SeenCheckpoint>| {
            history::check(&self.fetcher, ours, seen, &bundle.first, &checkpoint)
        };
        check(seen.as_ref()).map_err(sent)?;
        let proven = (&checkpoint, &head);
        learn_head(
            state,
            &mut self.memory,
            policy,
            &project.id,
            proven,
            |seen| check(Some(seen)),
        )
        .map_err(sent)?;
        let complete = self.complete(project).map_err(sent)?;
        complete.takes_effect(&project.id, (envelope, statement), index, before)?;
        Ok(checkpoint)
    }

    /// What a log answered to a release that was sent to it verifies for each of its artifacts,
    /// as it will for a downloader, and is of the history that is remembered. What is proven is
    /// remembered, also where the release is refused.
    pub(crate) fn released(
        &mut self,
        project: &ProjectPolicy,
        artifacts: &[Subject],
        version: Option<&str>,
        bundle: &Bundle,
    ) -> Result<(), Fail> {
        // A release that was public for no time at all cannot meet a minimum age yet.
        let mut policy = self.policy.clone();
        policy.min_age = None;
        let pinned = ProjectPolicy {
            min_age: None,
            ..project.clone()
        };
        let wanted = Wanted {
            project: &pinned,
            version,
            no_rollback: false,
        };
        let refused = artifacts.iter().find_map(|subject| {
            let artifact = Artifact {
                name: &subject.name,
                sha256: subject.sha256,
                size: subject.size.unwrap_or(0),
            };
            verify(&artifact, &wanted, bundle, &policy, &self.memory, now()).err()
        });
        let refused = refused.map(|r| refused_to_fail(&r, self.ours(), project, bundle).hint("the log accepted the release, but answered with a bundle that your own policy refuses; nothing was written"));
        let at = (self.state.as_path(), &mut self.memory);
        let learnt = learn_shown(&self.fetcher, &policy, project, at, bundle);
        match refused {
            Some(fail) => Err(fail),
            None => learnt,
        }
    }

    /// Proves the statement of a bundle, of whatever kind.
    pub(crate) fn stated(
        &self,
        project: &ProjectPolicy,
        bundle: &Bundle,
    ) -> Result<Stated, Refused> {
        verify_statement(&project.id, bundle, &self.policy, &self.memory, now())
    }

    /// All that the log has accepted for the project, proven.
    pub(crate) fn complete(&mut self, project: &ProjectPolicy) -> Result<Complete, Fail> {
        let at = (self.state.as_path(), &mut self.memory);
        complete(&self.fetcher, &self.policy, project, at)
    }

    /// The same, with what proves it to others.
    pub(crate) fn evident(&mut self, project: &ProjectPolicy) -> Result<Evident, Fail> {
        let at = (self.state.as_path(), &mut self.memory);
        evident(&self.fetcher, &self.policy, project, at)
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
    ask(args.yes || args.prepare.is_some(), impact, question)
}

/// The keys that `args` name.
pub(crate) fn keys(args: &SayArgs) -> Result<Vec<Box<dyn Signer>>, Fail> {
    open_all(&args.key, &args.passphrase)
}

/// A key that is named beside them.
pub(crate) fn key(args: &SayArgs, source: &KeySource) -> Result<Box<dyn Signer>, Fail> {
    open(source, &args.passphrase)
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
    signers: &[Box<dyn Signer>],
) -> Result<Said, Fail> {
    let mut seen = std::collections::BTreeSet::new();
    let signers: Vec<&dyn Signer> = signers
        .iter()
        .filter(|key| seen.insert(key.public_key().id()))
        .map(AsRef::as_ref)
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
    let said =
        Statement::parse(&envelope.payload).map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let checkpoint = desk.taken(project, (&envelope, &said), &bundle)?;
    Ok(Said::Logged {
        index: bundle.entry.index,
        statement: envelope.pae_hash(),
        size: checkpoint.size,
    })
}
