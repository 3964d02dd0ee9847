//! `countersign evidence verify`: whether a file proves, offline and to anybody, that a log signed
//! two histories (docs/formats.md, "Fork evidence").

use super::common::{PolicyArgs, load_policy};
use crate::fail::{Fail, visible};
use crate::policy::Policy;
use crate::when::time;
use clap::{Args, Subcommand};
use ledger::b64;
use ledger::evidence::{Evidence, Fork, MAX_EVIDENCE_BYTES, Side};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The subcommands of `evidence`.
#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// Say whether a file proves that a log signed two histories; offline
    ///
    /// It holds two signed checkpoints of one log, and a proof that the newer tree does not go on
    /// from the older one. The keys are in the file: compare them with those that you know the
    /// log by, or give --policy, and they are compared with its own.
    ///
    /// Exit code 0: it proves a fork. 1: it proves nothing, or not of the policy's log. 2: wrong
    /// usage, or the file cannot be read.
    Verify(VerifyArgs),
}

/// Arguments of `evidence verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The evidence
    file: PathBuf,
    /// The policy whose log it should be about
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `evidence`.
///
/// # Errors
/// [`Fail`].
pub fn run(command: &EvidenceCommand) -> Result<(), Fail> {
    match command {
        EvidenceCommand::Verify(args) => verify(args),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fail> {
    let bad = |e: std::io::Error| {
        Fail::usage("unreadable", format!("{}: {e}", path.display()))
            .hint("name a file that can be read")
    };
    let file = std::fs::File::open(path).map_err(bad)?;
    let mut bytes = Vec::new();
    let most = MAX_EVIDENCE_BYTES as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(bad)?;
    Ok(bytes)
}

fn verify(args: &VerifyArgs) -> Result<(), Fail> {
    let policy = args.policy.clone().map(|file| {
        load_policy(&PolicyArgs {
            policy: Some(file),
            state: None,
        })
    });
    let policy = policy.transpose()?;
    let fork = Evidence::parse(&read(&args.file)?).and_then(|evidence| evidence.verify());
    let fork = fork.map_err(|e| {
        Fail::untrusted(e.kind(), e.to_string())
            .detail("file", args.file.display().to_string())
            .hint("this file proves nothing against anybody; whoever made it may make it again from the notes and the log's tiles")
    })?;
    if let Some(policy) = &policy {
        compare(&fork, policy)?;
    }
    if args.json {
        sayln!("{}", json_of(&fork, policy.is_some()));
        return Ok(());
    }
    for line in fork.explain(time) {
        sayln!("{}", visible(&line));
    }
    sayln!(
        "{}",
        match &policy {
            Some(policy) => {
                let listed = |key: &&_| policy.log.vkeys.contains(key);
                let known = fork.keys.iter().filter(listed).count();
                match known == fork.keys.len() {
                    true => "these are keys of your policy's log",
                    false => {
                        "one key at least is of your policy's log, others the policy does not list"
                    }
                }
            }
            None => "compare the keys above with those that you know this log by, or give --policy",
        }
    );
    Ok(())
}

/// The evidence is of the policy's log: one key that the policy lists signed both, whoever else did,
/// as the keys that come with an overlap.
fn compare(fork: &Fork, policy: &Policy) -> Result<(), Fail> {
    let other = |what: String| {
        Fail::untrusted("evidence-other-log", what)
            .detail("expected", policy.log.origin.as_str())
            .detail("got", fork.origin.as_str())
            .hint("it is evidence about another log, or somebody made keys of that name: compare the vkeys")
    };
    if fork.origin != policy.log.origin {
        return Err(other("the evidence is of another log".to_owned()));
    }
    match fork.keys.iter().any(|key| policy.log.vkeys.contains(key)) {
        true => Ok(()),
        false => Err(other(
            "the evidence is signed by no key that the policy lists".to_owned(),
        )),
    }
}

fn json_of(fork: &Fork, compared: bool) -> Value {
    let side = |side: &Side| {
        let cosigned = side.cosigned.iter();
        let cosigned: Vec<Value> = cosigned
            .map(|(witness, time)| json!({ "witness": witness, "time": time }))
            .collect();
        json!({ "size": side.size, "root": b64(&side.root), "cosigned": cosigned })
    };
    let keys: Vec<String> = fork.keys.iter().map(ToString::to_string).collect();
    json!({
        "fork": true, "log": fork.origin, "older": side(&fork.older), "newer": side(&fork.newer),
        "rootInNewer": b64(&fork.root), "vkeys": keys, "ofPolicy": compared,
    })
}
