//! Rotating the log's keys by overlap (docs/operations.md, "Rotating the log's keys"): a new
//! pair signs beside the old one until the operator retires that. `log.json` alone says which
//! pairs sign, and is replaced whole: new key files are durable before it names them, and old
//! ones go after it has ceased to.

use crate::closed;
use crate::datadir::{DataDir, Layout, MOST_PAIRS, Marker};
use crate::error::Error;
use crate::log::unix_now;
use crate::logkeys::{PAIR, remove_before};
use crate::recover::{signed, standing};
use crate::store::{Disk, SledHot, write_durably};
use ledger::json::canonical_of;
use ledger::{hex32, sha256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

const DAY: u64 = 86_400;

/// What `log.json` says of the log's keys once they were rotated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rotation {
    /// The number of the current pair; the first one had 1.
    pub pair: u64,
    /// Since when it signs, Unix seconds.
    pub since: u64,
    /// From when on the pair before may be retired, Unix seconds; it signs until it is.
    /// Absent once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// The vkeys of the pairs that do not sign any more, the oldest first.
    pub retired: Vec<String>,
    /// SHA-256 of the canonical JSON of all else here, so that a byte that changed is seen.
    sum: String,
}

impl Rotation {
    /// The same, with its sum.
    fn summed(self) -> Result<Self, Error> {
        let sum = self.sum()?;
        Ok(Self { sum, ..self })
    }

    fn sum(&self) -> Result<String, Error> {
        let sum = String::new();
        let bytes = canonical_of(&Self {
            sum,
            ..self.clone()
        });
        let bytes = bytes.map_err(|e| Error::Keys(e.to_string()))?;
        Ok(hex32(&sha256(&bytes)))
    }

    /// Whether it is as it was written, by a rotation.
    pub(crate) fn is_sound(&self) -> bool {
        (2..=MOST_PAIRS).contains(&self.pair) && self.sum().is_ok_and(|sum| sum == self.sum)
    }
}

/// Whether `listed` are all keys of one or more of the pairs in `vkeys`, each once.
#[must_use]
pub(crate) fn whole_pairs(listed: &[String], vkeys: &[String]) -> bool {
    let wanted: BTreeSet<&String> = listed.iter().collect();
    let whole = vkeys.chunks(PAIR);
    let whole = whole.filter(|pair| pair.iter().all(|key| wanted.contains(key)));
    let covered: BTreeSet<&String> = whole.flatten().collect();
    !listed.is_empty() && wanted.len() == listed.len() && covered == wanted
}

fn refused(what: impl Into<String>) -> Error {
    Error::Keys(what.into())
}

/// Makes a pair of keys that signs beside the one that stands, which may be retired after
/// `days`; no server may run. What an earlier try left is taken up.
///
/// # Errors
/// [`Error`]; [`Error::Keys`] where a pair is still to be retired.
pub fn rotate(data: &Path, days: u64) -> Result<Keys, Error> {
    let dir = DataDir::open(data)?;
    let mut marker = dir.layout.read_marker()?;
    let before = marker.rotation.take();
    if before.as_ref().is_some_and(|r| r.until.is_some()) {
        return Err(refused(
            "two pairs sign already: run `countersign-server keys retire` before the next rotation",
        ));
    }
    if closed::read(&dir.layout)?.is_some() {
        return Err(refused(
            "the log is frozen: no project could point its clients to new keys",
        ));
    }
    let (number, retired) = before.map_or((1, Vec::new()), |r| (r.pair, r.retired));
    let pair = number + 1;
    if pair > MOST_PAIRS {
        return Err(refused(format!("a log has {MOST_PAIRS} pairs at most")));
    }
    let private = dir.layout.private();
    let keys = dir.layout.keys()?.and_a_new_pair(&private, pair)?;
    crate::store::sync_dir(&private)?;
    let since = unix_now();
    marker.vkeys = Some(keys.vkeys());
    let rotation = Rotation {
        pair,
        since,
        until: Some(since.saturating_add(days.saturating_mul(DAY))),
        retired,
        sum: String::new(),
    };
    marker.rotation = Some(rotation.summed()?);
    write_durably(&Disk, &dir.layout.marker(), &marker.to_bytes()?)?;
    Ok(Keys(marker))
}

/// Ends the overlap: the old pair signs no more, and its files are removed; no server may run.
/// Where it was interrupted after it had taken effect, the files that are left are removed.
///
/// # Errors
/// [`Error`]; [`Error::Keys`] where no pair is to be retired, where its time has not come and
/// `early` is not said, and where the new pair has not signed the last checkpoint yet.
pub fn retire(data: &Path, early: bool) -> Result<Keys, Error> {
    let dir = DataDir::open(data)?;
    let mut marker = dir.layout.read_marker()?;
    let private = dir.layout.private();
    let none = "no pair is to be retired: `countersign-server keys rotate` makes a new one";
    let mut rotation = marker.rotation.clone().ok_or_else(|| refused(none))?;
    let Some(until) = rotation.until.take() else {
        if remove_before(&private, rotation.pair)? {
            return Ok(Keys(marker));
        }
        return Err(refused(none));
    };
    let now = unix_now();
    if now < until && !early {
        return Err(refused(format!(
            "the old pair is to sign until {until} (Unix seconds), {}: clients that have not followed by then refuse the log; say --now to retire it all the same",
            when(until, now)
        )));
    }
    let keys = dir.layout.keys()?.current_only()?;
    let hot = SledHot::open(&private.join("hot"))?;
    signed(&standing(&hot, &dir.layout)?, &keys).map_err(|e| {
        refused(format!(
            "the new pair has not signed the last checkpoint ({e}): start the server once, which does that, and stop it"
        ))
    })?;
    drop(hot);
    let vkeys = marker.vkeys.take().unwrap_or_default();
    let (current, old) = vkeys.split_at(vkeys.len().min(PAIR));
    rotation.retired.extend_from_slice(old);
    let pair = rotation.pair;
    marker.vkeys = Some(current.to_vec());
    marker.rotation = Some(rotation.summed()?);
    write_durably(&Disk, &dir.layout.marker(), &marker.to_bytes()?)?;
    remove_before(&private, pair)?;
    Ok(Keys(marker))
}

/// The keys of the log in `data`, as `log.json` lists them.
///
/// # Errors
/// [`Error`] where there is no log, or its marker and its key files do not agree.
pub fn list(data: &Path) -> Result<Keys, Error> {
    let layout = Layout::new(data);
    layout.keys()?;
    Ok(Keys(layout.read_marker()?))
}

fn when(until: u64, now: u64) -> String {
    match until.checked_sub(now) {
        Some(left) if left > 0 => format!("in {} days", left.div_ceil(DAY)),
        _ => "which has come".to_owned(),
    }
}

/// Which keys a log has, to be shown.
#[derive(Debug, Clone)]
pub struct Keys(Marker);

impl Keys {
    fn split(&self) -> (&[String], &[String]) {
        let vkeys = self.0.vkeys.as_deref().unwrap_or_default();
        vkeys.split_at(vkeys.len().min(PAIR))
    }

    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let (current, old) = self.split();
        let mut out = String::new();
        let rows = |out: &mut String, vkeys: &[String]| {
            for vkey in vkeys {
                let _ = writeln!(out, "  {vkey}");
            }
        };
        let Some(rotation) = &self.0.rotation else {
            out.push_str("current:\n");
            rows(&mut out, current);
            return out;
        };
        let _ = writeln!(out, "current, since {} (Unix seconds):", rotation.since);
        rows(&mut out, current);
        if let Some(until) = rotation.until {
            let when = when(until, unix_now());
            let _ = writeln!(
                out,
                "retiring, signs too until `keys retire`, due {until} (Unix seconds), {when}:"
            );
            rows(&mut out, old);
        }
        if !rotation.retired.is_empty() {
            out.push_str("retired, sign no more:\n");
            rows(&mut out, &rotation.retired);
        }
        out
    }

    /// For a script.
    #[must_use]
    pub fn json(&self) -> Value {
        let (current, old) = self.split();
        let rotation = self.0.rotation.as_ref();
        let mut out = json!({ "current": { "vkeys": current }, "origin": self.0.origin,
            "retired": rotation.map_or(&[][..], |r| &r.retired) });
        let mut set = |pointer: &str, name: &str, value: Value| {
            if let Some(object) = out.pointer_mut(pointer).and_then(Value::as_object_mut) {
                object.insert(name.to_owned(), value);
            }
        };
        if let Some(rotation) = rotation {
            set("/current", "since", rotation.since.into());
            if let Some(until) = rotation.until {
                let due = unix_now() >= until;
                let old = json!({ "due": due, "until": until, "vkeys": old });
                set("", "retiring", old);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::whole_pairs;

    #[test]
    fn only_whole_pairs_may_be_listed() {
        let list = |keys: &str| {
            keys.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let ours = list("new-p new-e old-p old-e");
        for good in ["new-p new-e", "old-e old-p", "old-p new-p new-e old-e"] {
            assert!(whole_pairs(&list(good), &ours), "{good}");
        }
        for bad in [
            "",
            "new-p",
            "new-p old-e",
            "new-p new-e old-p",
            "new-p new-e x",
            "new-p new-e new-e",
        ] {
            assert!(!whole_pairs(&list(bad), &ours), "{bad}");
        }
    }
}
