//! The check of a tlog-tiles directory: an export, or a mirror with its checkpoint.

use super::files::{self, Known, Place};
use super::report::{Heard, Report, Unchecked};
use super::tree::{self, TileDir};
use super::{Expected, Options, Signers, keys, remember, walked};
use crate::error::Error;
use ledger::fold::Fold;
use std::path::Path;

/// Checks it, under the vkeys that were given.
pub(super) fn check(dir: &Path, options: &Options, report: &mut Report) -> Result<(), Unchecked> {
    let (origin, keys) = keys(&options.vkeys)?;
    report.origin.clone_from(&origin);
    let path = dir.join("checkpoint");
    let note = match std::fs::read(&path) {
        Ok(note) => note,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && dir.is_dir() => {
            report
                .heard
                .find("checkpoint-missing", "checkpoint", "it is not there");
            return Ok(());
        }
        Err(e) => return Err(Error::io(&path, &e).into()),
    };
    let heard = &mut report.heard;
    let checkpoint = tree::checkpoint(heard, "checkpoint", &note, &origin, &Signers::all(keys));
    let Some(checkpoint) = checkpoint else {
        return Ok(());
    };
    let expected = Expected {
        origin: &origin,
        vkeys: &options.vkeys,
        size: checkpoint.size,
        checkpoint: Some(&checkpoint),
        fold: None,
        mark: None,
        held: (checkpoint.size, &[]),
        indexed: None,
    };
    let (walked, _) = walked(&TileDir::new(dir), &expected, options, report)?;
    files::tiles(dir, "", checkpoint.size, Place::Mirror, &mut report.heard)?;
    let whole = walked.whole && walked.folded;
    let state = dir.join("state");
    if state.is_dir() {
        let fold = whole.then_some(&walked.fold);
        exported(&state, &origin, &options.vkeys, fold, &mut report.heard)?;
    }
    remember(options, &expected, report)
}

/// What an export holds beside tiles. Its `log.json` must list the vkeys that were given.
fn exported(
    state: &Path,
    origin: &str,
    given: &[String],
    fold: Option<&Fold>,
    heard: &mut Heard,
) -> Result<(), Unchecked> {
    let path = "state/log.json";
    let marker = match std::fs::read(state.join("log.json")) {
        Ok(bytes) => files::marker(&bytes, path, heard)?,
        Err(e) => {
            heard.find("log-json", path, e);
            None
        }
    };
    let listed = marker.as_ref().and_then(|m| m.vkeys.clone());
    let listed = listed.unwrap_or_else(|| given.to_vec());
    // Documents of pairs that were retired stay.
    let mut all = listed.clone();
    let rotation = marker.as_ref().and_then(|m| m.rotation.as_ref());
    all.extend(rotation.iter().flat_map(|r| r.retired.clone()));
    if marker.is_some_and(|m| m.origin != origin) || given.iter().any(|v| !listed.contains(v)) {
        heard.find(
            "log-json",
            path,
            "it is another log's, or lacks a vkey that was given",
        );
    } else if listed.iter().any(|v| !given.contains(v)) {
        heard.note(
            "vkeys",
            path,
            "it lists vkeys that were not given, so that nothing was checked under them",
        );
    }
    let known = Known {
        origin,
        vkeys: &all,
        fold,
        live: false,
    };
    for (found, _) in files::listed(state, "state/")? {
        let (dir, shown) = (&found.path, format!("{}/", found.shown));
        match found.shown.as_str() {
            "state/log.json" => {}
            "state/trust" => files::trust(dir, &shown, &known, heard)?,
            "state/pending" => files::pending(dir, &shown, heard)?,
            "state/pending-trust" => files::pending_trust(dir, &shown, &known, heard)?,
            _ => heard.note("unknown-file", found.shown, "it was not looked at"),
        }
    }
    Ok(())
}
