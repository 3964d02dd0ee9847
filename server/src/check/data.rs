//! The check of a data directory: the walk over what is public, and what its marker, its keys,
//! its databases and every other file in it say.

use super::files::{Known, Place};
use super::report::{Heard, Report, Unchecked};
use super::rest::{Hot, IndexRead};
use super::{Expected, Options, Signers, files, keys, remember, rest, tree, walked};
use crate::datadir::{Layout, Marker, Reading};
use crate::error::Error;
use crate::logkeys::LogKeys;
use crate::source::LogSource;
use crate::store::FileBlobs;
use ledger::fold::Fold;
use std::path::Path;
use tlog::checkpoint::Checkpoint;

/// Checks the data directory `dir` into `report`.
///
/// # Errors
/// [`Unchecked`] where no verdict is possible.
pub(super) fn check(dir: &Path, options: &Options, report: &mut Report) -> Result<(), Unchecked> {
    let layout = Layout::new(dir);
    let bytes = match layout.marker_bytes() {
        Ok(bytes) => bytes,
        Err(e @ Error::HalfWritten { .. }) => {
            report.heard.find("log-json", "log.json", e);
            return Ok(());
        }
        Err(e) => return Err(e.into()),
    };
    let Some(marker) = files::marker(&bytes, "log.json", &mut report.heard)? else {
        // Without its name nothing that the log signed can be checked.
        return Ok(());
    };
    report.origin.clone_from(&marker.origin);
    // First, since whoever may not read private/ is told so, and not that it is damaged.
    let reading = Reading::begin(&layout)?;
    let own = files::keys(&layout, &marker, &mut report.heard);
    let vkeys = match (&options.vkeys, marker.vkeys.as_ref().or(own.as_ref())) {
        (given, _) if !given.is_empty() => given,
        (_, Some(own)) => own,
        (_, None) => return Ok(()),
    };
    let (name, keys) = match keys(vkeys) {
        Err(e) if options.vkeys.is_empty() => {
            report.heard.find("log-json", "log.json", e.why);
            return Ok(());
        }
        read => read?,
    };
    let keys = match options.vkeys.is_empty() {
        true => Signers::a_pair(keys),
        false => Signers::all(keys),
    };
    if name != marker.origin {
        let what = format!("it is of {:?}, the vkeys are {name:?}'s", marker.origin);
        report.heard.find("log-json", "log.json", what);
    }
    let blobs = FileBlobs::new(&layout.public());
    report.live = matches!(reading, Reading::Live);
    let scratch = rest::Scratch::new(options.scratch.as_deref())?;
    let heard = &mut report.heard;
    let hot = if report.live {
        Some(rest::snapshot(&layout, heard)?)
    } else {
        rest::hot(&layout, &scratch, options, heard)?
    };
    let checkpoint = hot.as_ref().and_then(|h| {
        let path = if report.live {
            "checkpoint"
        } else {
            "private/hot"
        };
        tree::checkpoint(heard, path, h.note.as_bytes(), &marker.origin, &keys)
    });
    let none = Hot::without_head(&layout)?;
    let hot = hot.unwrap_or(none);
    hot.agrees(checkpoint.as_ref(), heard);
    let mark = match &options.high_water {
        Some(path) => high_water(path, &marker.origin, &keys, heard)?,
        None => None,
    };
    let source = LogSource {
        blobs: &blobs,
        size: hot.size,
        tail: &hot.tail,
    };
    let mut expected = Expected {
        origin: &marker.origin,
        vkeys,
        size: hot.size,
        checkpoint: checkpoint.as_ref(),
        fold: hot.fold,
        mark: mark.as_ref(),
        held: (hot.size - hot.tail.len() as u64, &hot.tail),
        indexed: None,
    };
    let walked = std::thread::scope(|scope| {
        let index = hot
            .fold
            .is_some()
            .then(|| IndexRead::begin(scope, &layout, &scratch, options));
        let mut index = index.transpose()?.flatten();
        expected.indexed = index.as_mut().and_then(IndexRead::size);
        let (walked, want) = walked(&source, &expected, options, report)?;
        if let Some(index) = index {
            index.compare(want, hot.size, &mut report.heard)?;
        }
        Ok::<_, Unchecked>(walked)
    })?;
    let place = if report.live {
        Place::Live
    } else {
        Place::Rest
    };
    files::tiles(
        &layout.public(),
        "public/",
        hot.size,
        place,
        &mut report.heard,
    )?;
    let whole = walked.whole && walked.folded;
    // Trust documents list the log's own keys, whatever was given.
    let all = match (&marker.vkeys, &own) {
        (Some(_), _) => marker.all_vkeys(),
        (None, Some(own)) => own.clone(),
        (None, None) => vkeys.clone(),
    };
    others(
        &layout,
        &marker,
        &all,
        whole.then_some(&walked.fold),
        report,
    )?;
    if report.live {
        let what = "a server runs: its hot state and its index were not read";
        report.heard.note("live", "private", what);
    }
    remember(options, &expected, report)
}

/// The mark in a file; one that is missing, or not this log's, is a finding.
fn high_water(
    path: &Path,
    origin: &str,
    keys: &Signers,
    heard: &mut Heard,
) -> Result<Option<Checkpoint>, Unchecked> {
    let shown = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => Ok(tree::checkpoint(heard, &shown, &bytes, origin, keys)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            heard.find("high-water", shown, "there is none");
            Ok(None)
        }
        Err(e) => Err(Error::io(path, &e).into()),
    }
}

/// Everything in a data directory that is neither tiles nor a database.
fn others(
    layout: &Layout,
    marker: &Marker,
    vkeys: &[String],
    fold: Option<&Fold>,
    report: &mut Report,
) -> Result<(), Unchecked> {
    let known = Known {
        origin: &marker.origin,
        vkeys,
        fold,
        live: report.live,
    };
    let (heard, public, private) = (&mut report.heard, layout.public(), layout.private());
    files::trust(&public.join("trust"), "public/trust/", &known, heard)?;
    let waiting = private.join("pending-trust");
    files::pending_trust(&waiting, "private/pending-trust/", &known, heard)?;
    files::pending(&private.join("pending"), "private/pending/", heard)?;
    let keys = LogKeys::files(marker);
    let ours = [
        "public/tile",
        "public/trust",
        "private/hot",
        "private/index",
        "private/lock",
        // Read, and refused where it is damaged, by each start that issues certificates.
        "private/oidc-used",
        "private/operator.sock",
        "private/pending",
        "private/pending-trust",
    ];
    for (dir, shown) in [(public, "public/"), (private, "private/")] {
        for (found, _) in files::listed(&dir, shown)? {
            let name = found.shown.strip_prefix("private/").unwrap_or_default();
            if !ours.contains(&found.shown.as_str()) && !keys.iter().any(|key| key == name) {
                heard.note("unknown-file", found.shown, "it was not looked at");
            }
        }
    }
    Ok(())
}
