//! `countersign log …`: reads the log itself: its checkpoint, an entry, a proof file for other
//! verifiers (c2sp.org/tlog-proof). What the log serves is shown only when it is proven.

use super::common::{PolicyArgs, load_policy, log_url, write_atomic};
use super::history::Tiles;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use clap::{Args, Subcommand};
use ledger::hex32;
use serde_json::json;
use std::path::PathBuf;
use tlog::checkpoint::Checkpoint;
use tlog::note::{MAX_NOTE_BYTES, Note};
use tlog::tile::{EntryTile, MAX_ENTRY_BYTES, TILE_WIDTH, parse_bundle, width_at};
use tlog::tlog_proof::TlogProof;
use tlog::tree::{TreeError, prove_inclusion};
use tlog::vkey::VerifierKey;

/// What to read of a log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Print the log's newest checkpoint, its signatures checked
    Checkpoint(SourceArgs),
    /// Print an entry, its inclusion checked
    Entry(EntryArgs),
    /// Write a C2SP proof file for an entry
    Proof(ProofArgs),
}

/// Which log, and whose signatures it must bear.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// The log's address [default: the policy's]
    #[arg(long, value_name = "URL")]
    pub log: Option<String>,
    /// A key of the log, all of which must have signed; may be repeated [default: the policy's]
    #[arg(long = "vkey", value_name = "VKEY")]
    pub vkeys: Vec<String>,
    /// The policy, where no --vkey is given.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `log entry`.
#[derive(Debug, Args)]
pub struct EntryArgs {
    /// The entry's index, from 0
    #[arg(long)]
    pub index: u64,
    /// The log.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Arguments of `log proof`.
#[derive(Debug, Args)]
pub struct ProofArgs {
    /// The entry's index, from 0
    #[arg(long)]
    pub index: u64,
    /// Where the proof goes
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// The log.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Runs `log`.
///
/// # Errors
/// Exit code 1 where a signature or a proof fails, 3 where the log cannot be read, 2 for wrong
/// usage.
pub fn run(command: &LogCommand) -> Result<(), Fail> {
    match command {
        LogCommand::Checkpoint(source) => {
            let log = Log::open(source)?;
            if source.json {
                sayln!("{}", log.json());
            } else {
                say!("{}", String::from_utf8_lossy(&log.note.to_bytes()));
            }
        }
        LogCommand::Entry(EntryArgs { index, source }) => {
            let log = Log::open(source)?;
            let (leaf, _) = log.entry(*index)?;
            // A leaf that we know is canonical JSON; of others only base64 is safe to print.
            let text = ledger::leaf::Leaf::parse(&leaf)
                .ok()
                .and_then(|_| std::str::from_utf8(&leaf).ok());
            if source.json {
                let mut out = log.json();
                if let Some(fields) = out.as_object_mut() {
                    fields.insert("index".into(), (*index).into());
                    fields.insert("leaf".into(), ledger::b64(&leaf).into());
                }
                sayln!("{out}");
            } else if let Some(text) = text {
                sayln!("{text}");
            } else {
                sayln!("{}", ledger::b64(&leaf));
            }
        }
        LogCommand::Proof(ProofArgs { index, out, source }) => {
            let log = Log::open(source)?;
            let (leaf, proof) = log.entry(*index)?;
            let document = TlogProof {
                extra: None,
                index: *index,
                proof,
                checkpoint: log.note.clone(),
            };
            write_atomic(out, &document.to_bytes())?;
            if source.json {
                let mut shown = log.json();
                if let Some(fields) = shown.as_object_mut() {
                    fields.insert("index".into(), (*index).into());
                    fields.insert("file".into(), out.display().to_string().into());
                    fields.insert(
                        "leafHash".into(),
                        hex32(&tlog::hash::leaf_hash(&leaf)).into(),
                    );
                }
                sayln!("{shown}");
            } else {
                sayln!(
                    "wrote {}: entry {index} of {} at size {}",
                    out.display(),
                    log.checkpoint.origin,
                    log.checkpoint.size
                );
            }
        }
    }
    Ok(())
}

/// A log at a checkpoint that all its keys have signed.
struct Log {
    fetcher: Fetcher,
    url: String,
    note: Note,
    checkpoint: Checkpoint,
}

impl Log {
    fn open(args: &SourceArgs) -> Result<Self, Fail> {
        let (origin, keys, url) = trusted(args)?;
        let fetcher = Fetcher::new(args.ca_file.as_deref())?;
        let bytes = fetcher.get_bytes(&format!("{url}/checkpoint"), MAX_NOTE_BYTES)?;
        let (note, checkpoint) =
            read_checkpoint(&bytes, &origin, &keys).map_err(|f| f.detail("url", url.as_str()))?;
        Ok(Self {
            fetcher,
            url,
            note,
            checkpoint,
        })
    }

    fn json(&self) -> serde_json::Value {
        json!({ "origin": self.checkpoint.origin, "size": self.checkpoint.size, "root": hex32(&self.checkpoint.root),
            "checkpoint": String::from_utf8_lossy(&self.note.to_bytes()) })
    }

    /// An entry and its inclusion proof, checked.
    fn entry(&self, index: u64) -> Result<(Vec<u8>, Vec<tlog::Hash>), Fail> {
        let (size, root) = (self.checkpoint.size, &self.checkpoint.root);
        let tile = index / u64::from(TILE_WIDTH);
        let width = width_at(size, 0, tile);
        if index >= size {
            return Err(Fail::usage("index-out-of-range", format!("the log has no entry {index}"))
                .detail("size", size.to_string())
                .hint("indexes count from 0; an entry that was just submitted is there after the next checkpoint"));
        }
        let leaf = self.leaf(tile, width, index % u64::from(TILE_WIDTH))?;
        let proof = prove_inclusion(index, size, &self.tiles()).map_err(|e| match e {
            TreeError::Read(fail) => fail,
            other => Fail::unchecked(other.kind(), other.to_string()),
        })?;
        tlog::proof::verify_inclusion(&tlog::hash::leaf_hash(&leaf), index, size, &proof, root).map_err(|e| {
            Fail::untrusted("not-included", format!("the entry that the log serves is not the one that its checkpoint commits to: {e}"))
                .detail("index", index.to_string())
                .detail("log", self.checkpoint.origin.as_str())
                .hint("a cache may be broken; if it stays so, keep entry and checkpoint as evidence")
        })?;
        Ok((leaf, proof))
    }

    fn leaf(&self, tile: u64, width: u16, offset: u64) -> Result<Vec<u8>, Fail> {
        let path = |width| EntryTile { index: tile, width }.path();
        let max = usize::from(TILE_WIDTH) * (MAX_ENTRY_BYTES + 2);
        let (bytes, width) = self.tiles().partial_or_full(&path, width, max)?;
        let malformed =
            |why: String| Fail::unchecked("bad-entry-bundle", why).detail("log", self.url.as_str());
        let entries = parse_bundle(&bytes, width).map_err(|e| malformed(e.to_string()))?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        entries
            .into_iter()
            .nth(at)
            .ok_or_else(|| malformed("the bundle is shorter than its path says".into()))
    }

    fn tiles(&self) -> Tiles<'_> {
        Tiles {
            fetcher: &self.fetcher,
            url: &self.url,
        }
    }
}

/// The log's origin, its keys and its address, from the arguments, else from the policy.
fn trusted(args: &SourceArgs) -> Result<(String, Vec<VerifierKey>, String), Fail> {
    let Some(first) = args.vkeys.first() else {
        let policy = load_policy(&args.policy)?;
        let url = log_url(args.log.as_deref(), Some(&policy))?;
        return Ok((policy.log.origin, policy.log.vkeys, url));
    };
    let first =
        VerifierKey::parse(first).map_err(|e| Fail::usage("bad-vkey", format!("--vkey: {e}")))?;
    let origin = first.name().to_owned();
    let keys = crate::policy::log_keys(&origin, &args.vkeys).map_err(|e| {
        Fail::usage("bad-vkey", e.to_string()).hint("every --vkey must be a key of the one log")
    })?;
    Ok((origin, keys, log_url(args.log.as_deref(), None)?))
}

/// Reads a checkpoint of `origin` that every one of `keys` has signed.
fn read_checkpoint(
    bytes: &[u8],
    origin: &str,
    keys: &[VerifierKey],
) -> Result<(Note, Checkpoint), Fail> {
    let hint = "check the address and the keys; if both are right, the log is not to be trusted";
    let note = Note::parse(bytes)
        .map_err(|e| Fail::untrusted("checkpoint-invalid", e.to_string()).hint(hint))?;
    let verified = note
        .verify(keys)
        .map_err(|e| Fail::untrusted("checkpoint-invalid", e.to_string()).hint(hint))?;
    for (at, key) in keys.iter().enumerate() {
        if !verified.iter().any(|v| v.key == at) {
            return Err(Fail::untrusted(
                "log-key-missing",
                "a key of the log has not signed the checkpoint",
            )
            .detail("key", hex::encode(key.key_id()))
            .hint(hint));
        }
    }
    let checkpoint = Checkpoint::parse(&note.text)
        .map_err(|e| Fail::untrusted("checkpoint-invalid", e.to_string()).hint(hint))?;
    if checkpoint.origin != origin {
        return Err(
            Fail::untrusted("other-log", "the checkpoint is of another log")
                .detail("expected", origin)
                .detail("got", checkpoint.origin)
                .hint(hint),
        );
    }
    Ok((note, checkpoint))
}
