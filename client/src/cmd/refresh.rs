//! A newer view for a bundle: what has been revoked and withdrawn since it was made.
//! `countersign refresh FILE…` writes it into the bundle; `get`, `run` and `verify --online`
//! judge by it.

use super::common::{
    PolicyArgs, learn_head, load_memory, load_policy, now, refused_to_fail, state_path,
    write_atomic,
};
use super::history::{self, Tiles};
use super::verify::read_bundle;
use crate::fail::Fail;
use crate::fetch::Fetcher;
use crate::memory::Memory;
use crate::policy::{LogPolicy, Policy, ProjectPolicy};
use crate::refused::Refused;
use crate::verify::{Artifact, Wanted, verify, verify_head};
use clap::Args;
use ledger::Hash;
use ledger::bundle::{Bundle, Latest, MAX_BUNDLE_BYTES};
use ledger::leaf::Leaf;
use serde_json::json;
use std::path::{Path, PathBuf};
use tlog::checkpoint::Checkpoint;
use tlog::note::Note;
use tlog::tree::{TreeError, prove_consistency};

/// Arguments of `refresh`.
#[derive(Debug, Args)]
pub struct RefreshArgs {
    /// Artifacts with their bundles beside them as FILE.bundle, or bundles themselves
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// The project, where the policy has several
    #[arg(long)]
    project: Option<String>,
    /// A further CA certificate (PEM) to trust for HTTPS
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Print one JSON object a file
    #[arg(long)]
    json: bool,
}

fn checkpoint(text: &str) -> Result<Checkpoint, String> {
    let note = Note::parse(text.as_bytes()).map_err(|e| e.to_string())?;
    Checkpoint::parse(&note.text).map_err(|e| e.to_string())
}

/// What the bundle's release says of `name`: SHA-256 and size. Proves nothing by itself.
pub(crate) fn released(bundle: &Bundle, name: &str) -> Option<(Hash, u64)> {
    let Ok(Leaf::Statement(leaf)) = Leaf::parse(&bundle.entry.leaf) else {
        return None;
    };
    let subject = leaf.statement.subject.iter().find(|s| s.name == name)?;
    Some((subject.sha256, subject.size?))
}

/// The same bundle at the newest view that the log, or else a mirror, gives; `None` where that
/// is no newer than the bundle's own. Nothing of the answer is verified here.
///
/// # Errors
/// Exit code 3 where nobody gives one; 2 where the policy says nowhere whom to ask.
pub(crate) fn newest(
    fetcher: &Fetcher,
    log: &LogPolicy,
    bundle: &Bundle,
) -> Result<Option<Bundle>, Fail> {
    let mut first = None;
    for url in log.url.iter().chain(&log.mirrors) {
        let url = url.trim_end_matches('/');
        match from(fetcher, url, bundle) {
            Ok(newer) => return Ok(newer),
            Err(fail) => {
                first.get_or_insert(fail.detail("url", url));
            }
        }
    }
    Err(first.unwrap_or_else(|| {
        Fail::usage("no-log-url", "the policy names no log URL")
            .hint("add `url` under [log] to the policy")
    }))
}

fn from(fetcher: &Fetcher, url: &str, bundle: &Bundle) -> Result<Option<Bundle>, Fail> {
    let bad = |why: String| {
        Fail::unchecked(
            "bad-answer",
            format!("the log's answer is of no use: {why}"),
        )
        .hint("try again later; something else may be served there")
    };
    let index = bundle.entry.index;
    let address = format!("{url}/api/v1/entries/{index}/bundle");
    let bytes = fetcher.get_bytes(&address, MAX_BUNDLE_BYTES)?;
    let newer = Bundle::parse(&bytes).map_err(|e| bad(e.to_string()))?;
    if newer.latest.is_some() || newer.entry.index != index || newer.entry.leaf != bundle.entry.leaf
    {
        return Err(bad(format!(
            "it is not about entry {index} as the bundle has it"
        )));
    }
    let old = checkpoint(&bundle.first).map_err(bad)?;
    let own = match &bundle.latest {
        Some(latest) => checkpoint(&latest.checkpoint).map_err(bad)?.size,
        None => old.size,
    };
    let new = checkpoint(&newer.first).map_err(bad)?;
    if new.size <= own {
        return Ok(None);
    }
    let consistency =
        prove_consistency(old.size, new.size, &Tiles { fetcher, url }).map_err(|e| match e {
            TreeError::Read(fail) => fail,
            other => bad(other.to_string()),
        })?;
    Ok(Some(Bundle {
        first: bundle.first.clone(),
        latest: Some(Latest {
            checkpoint: newer.first,
            consistency,
        }),
        ..newer
    }))
}

/// Takes up the newest view, if it can be had and is one: then what it says of the project is
/// remembered, and the bundle has it. Where it cannot be had, the bundle stays as it is, and
/// why is said: the policy's `max-age` decides how old a view may be.
///
/// # Errors
/// Exit code 1 where the log shows a history that contradicts what its keys signed before;
/// 2 where the memory cannot be written.
pub(crate) fn take_up(
    fetcher: &Fetcher,
    policy: &Policy,
    project: &ProjectPolicy,
    (state, memory): (&Path, &mut Memory),
    bundle: &mut Bundle,
) -> Result<Taken, Fail> {
    let remembered = memory.logs.get(&policy.log.origin).cloned();
    let newer = match newest(fetcher, &policy.log, bundle) {
        Ok(Some(newer)) => newer,
        Ok(None) => return Ok(Taken::Current),
        Err(why) => return Ok(Taken::Not(why)),
    };
    match verify_head(&project.id, (&newer).into(), policy, memory, now()) {
        Ok((checkpoint, head)) => {
            let first = &newer.first;
            history::check(
                fetcher,
                &policy.log,
                remembered.as_ref(),
                first,
                &checkpoint,
            )?;
            learn_head(state, memory, policy, &project.id, &checkpoint, &head)?;
            *bundle = newer;
            Ok(Taken::Newer)
        }
        // Not signed as the policy wants it: anybody can make such an answer, and it says nothing.
        Err(
            why @ (Refused::Checkpoint(_)
            | Refused::Origin(_)
            | Refused::LogKey(_)
            | Refused::Quorum),
        ) => {
            let mut fail = refused_to_fail(&why, policy, project, &newer);
            fail.code = crate::fail::UNCHECKED;
            Ok(Taken::Not(fail))
        }
        Err(why) => Err(refused_to_fail(&why, policy, project, &newer)),
    }
}

/// What became of a refresh.
pub(crate) enum Taken {
    /// The bundle has a newer view now.
    Newer,
    /// There is no newer one.
    Current,
    /// It could not be had, and why.
    Not(Fail),
}

impl Taken {
    /// Says on standard error where the view is not the newest, and why.
    pub(crate) fn warn(&self) {
        if let Self::Not(why) = self {
            eprint!(
                "warning: what was revoked or withdrawn since the bundle was made could not be asked: {}",
                why.human()
            );
        }
    }
}

/// Runs `refresh`.
///
/// # Errors
/// Exit code 3 where a bundle could not be refreshed, 1 where what is known now forbids to trust
/// the release (the bundle then proves it: it is written first), 2 for wrong usage.
pub fn run(args: &RefreshArgs) -> Result<(), Fail> {
    let policy = load_policy(&args.policy)?;
    let state = state_path(&args.policy)?;
    let mut memory = load_memory(&state)?;
    let fetcher = Fetcher::new(args.ca_file.as_deref())?;
    let mut worst: Option<Fail> = None;
    for file in &args.files {
        if let Err(fail) = one(args, file, &fetcher, &policy, (&state, &mut memory)) {
            let fail = fail.detail("file", file.display().to_string());
            if args.json {
                sayln!("{}", fail.json());
            } else {
                eprint!("{}", fail.human());
            }
            fail.keep_graver(&mut worst);
        }
    }
    worst.map_or(Ok(()), |fail| Err(fail.shown()))
}

fn one(
    args: &RefreshArgs,
    file: &Path,
    fetcher: &Fetcher,
    policy: &Policy,
    (state, memory): (&Path, &mut Memory),
) -> Result<(), Fail> {
    let text = file.to_string_lossy();
    let path = match text.strip_suffix(".bundle") {
        Some(_) => file.to_owned(),
        None => PathBuf::from(format!("{text}.bundle")),
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let project = policy
        .select(args.project.as_deref(), &name)
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let mut bundle = read_bundle(&path)?;
    let taken = take_up(fetcher, policy, project, (state, &mut *memory), &mut bundle)?;
    match taken {
        Taken::Not(why) => return Err(why),
        Taken::Newer => {
            let bytes = bundle
                .to_bytes()
                .map_err(|e| Fail::usage("encoding", e.to_string()))?;
            write_atomic(&path, &bytes)?;
        }
        Taken::Current => {}
    }
    // What the release is of is in the bundle; the files themselves are for `verify`.
    let (sha256, size) = released(&bundle, &name).unwrap_or(([0; 32], 0));
    let wanted = Wanted {
        project,
        version: None,
        no_rollback: false,
    };
    let artifact = Artifact {
        name: &name,
        sha256,
        size,
    };
    let verdict = verify(&artifact, &wanted, &bundle, policy, memory, now())
        .map_err(|r| refused_to_fail(&r, policy, project, &bundle))?;
    let size = verdict.proven.checkpoint.size;
    let newer = matches!(taken, Taken::Newer);
    if args.json {
        sayln!(
            "{}",
            json!({ "bundle": path.display().to_string(), "refreshed": newer, "treeSize": size,
                "viewTime": verdict.view_time })
        );
    } else {
        let what = if newer { "refreshed" } else { "up to date" };
        sayln!("{what}: {} at tree size {size}", path.display());
    }
    Ok(())
}
