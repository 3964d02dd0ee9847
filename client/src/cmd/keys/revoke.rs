//! `keys revoke`: shows first what it takes back. The revocation comes before all else that is
//! signed here, so that nothing else can keep it from the log.

use super::authorities::{Voucher, is_voucher, one};
use super::change::others_revoked;
use super::inventory::{Inventory, KeyRow, Purpose};
use super::show::Opened;
use super::window::{Touched, Voided, voided, wider};
use crate::cmd::common::{now, parse_time};
use crate::cmd::complete::Complete;
use crate::cmd::say::{Said, SayArgs, confirm, keys, said_line, say};
use crate::cmd::sign::write_prepared;
use crate::cmd::signing::borrowed;
use crate::fail::{Fail, visible};
use ::keys::Signer;
use clap::Args;
use ledger::envelope::Envelope;
use ledger::state::Revoked;
use ledger::statement::{Revocation, Target};
use std::path::PathBuf;

/// Arguments of `keys revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The key: its id, or its first 8 digits; or `identity:` or `authority:` and those, as `keys list`
    /// shows them
    id: String,
    /// The project, as the policy names it
    #[arg(long, value_name = "NAME")]
    project: String,
    /// Why; it is public
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Nothing that the key signed counts from here on: a log index, or a time such as 2026-01-31T08:30:00Z
    #[arg(long, value_name = "INDEX|TIME")]
    compromised_since: Option<String>,
    /// State this withdrawal by the key again, signed by the other keys of --key: its log index, as
    /// is shown before you are asked, or `all`; may be given several times [default: none, since a
    /// thief withdraws too]
    #[arg(long, value_name = "INDEX", requires = "compromised_since")]
    keep_withdrawal: Vec<String>,
    #[command(flatten)]
    say: SayArgs,
}

/// A point in the past as a log index: of a time the first of the project's entries from then on,
/// since no other matters.
pub(crate) fn since(complete: &Complete, text: &str) -> Result<u64, Fail> {
    let size = complete.checkpoint.size;
    if let Ok(index) = text.parse::<u64>() {
        if index < size {
            return Ok(index);
        }
        return Err(Fail::usage(
            "window-beyond-tree",
            format!("the log has {size} entries, {index} is none of them"),
        )
        .hint("give the index of an entry, or a time"));
    }
    let when = moment(text, now())?;
    let first = complete.statements().find(|(_, s)| s.time >= when);
    // Nothing of the project stands there: the window begins at the end of the log.
    Ok(first.map_or_else(|| size.saturating_sub(1), |(index, _)| index))
}

/// A time that is not after `now`: of a slip in the year a window would be empty.
fn moment(text: &str, now: u64) -> Result<u64, Fail> {
    let hint = "a time is written 2026-01-31T08:30:00Z, in UTC";
    let bad = || {
        Fail::usage(
            "bad-time",
            format!("{text:?} is neither a log index nor a time"),
        )
        .hint(hint)
    };
    let when = parse_time(text).ok_or_else(bad)?;
    if when <= now {
        return Ok(when);
    }
    Err(Fail::usage(
        "time-in-future",
        format!("{text} is still to come: such a window would take nothing back"),
    )
    .hint(hint))
}

fn impact(
    opened: &Opened,
    row: &Revoking,
    since: Option<u64>,
    voided: &Voided,
    kept: &[&Touched],
) -> String {
    let project = &opened.project.name;
    let rest = match since {
        Some(since) => voided.text(since, kept, project),
        None => {
            "what it signed until now counts on; nothing that it signs from now on does\n".into()
        }
    };
    format!("revoking {} of {project}\n{rest}", row.words())
}

/// What is revoked.
enum Revoking {
    Key(Box<KeyRow>),
    Voucher(Box<Voucher>),
}

impl Revoking {
    fn find(opened: &Opened, text: &str) -> Result<Self, Fail> {
        if is_voucher(text) {
            return Ok(Self::Voucher(Box::new(one(opened, text)?)));
        }
        Ok(Self::Key(Box::new(opened.key(text)?.clone())))
    }

    fn target(&self) -> Target {
        match self {
            Self::Key(row) => Target::key(&row.id()),
            Self::Voucher(row) => row.target,
        }
    }

    fn revoked(&self) -> Option<&Revoked> {
        match self {
            Self::Key(row) => row.revoked.as_ref(),
            Self::Voucher(row) => row.revoked.as_ref(),
        }
    }

    /// As it is shown: a key by its id alone.
    fn id(&self) -> String {
        match self {
            Self::Key(row) => row.id().to_string(),
            Self::Voucher(row) => row.target.to_string(),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Key(row) => format!("{} key {}", row.purpose.word(), row.id()),
            Self::Voucher(row) => format!("{} ({})", row.target, visible(&row.called)),
        }
    }

    /// Says how it is replaced, where the newest version lists it.
    fn still_listed(&self, opened: &Opened) {
        let name = &opened.project.name;
        match self {
            Self::Key(row) if row.dropped.is_none() => eprintln!(
                "the newest version of {name} still lists the key: {}",
                replace(opened, row)
            ),
            Self::Voucher(row) if row.dropped.is_none() && row.listed.is_some() => eprintln!(
                "the newest version of {name} still lists it, and nothing more is released under it: list others with `countersign project update {name} --authorities FILE --key ROOTKEY…`"
            ),
            _ => {}
        }
    }
}

pub(super) fn revoke(args: &RevokeArgs) -> Result<(), Fail> {
    let mut opened = Opened::open(&args.project, &args.say.log, None)?;
    let row = Revoking::find(&opened, &args.id)?;
    let window = args.compromised_since.as_deref();
    let window = window
        .map(|text| since(&opened.complete, text))
        .transpose()?;
    wider(&row.words(), row.revoked(), window)?;
    if let Revoking::Key(key) = &row {
        enough_roots(&opened.inventory, key, &opened)?;
    }
    let voided = window.map_or_else(Voided::default, |since| {
        voided(&opened, &row.target(), since)
    });
    let kept = voided.kept(&args.keep_withdrawal)?;
    let revocation = Revocation {
        project: opened.project.id,
        target: row.target(),
        reason: args.reason.clone(),
        compromised_since: window,
    };
    let payload = revocation
        .to_payload()
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    confirm(
        &args.say,
        &impact(&opened, &row, window, &voided, &kept),
        "revoke it?",
    )?;
    let signers = keys(&args.say)?;
    let project = opened.project.clone();
    let said = say(&args.say, &mut opened.desk, &project, payload, &signers)?;
    said_line(&args.say, &said, &format!("revoked: {}", row.id()));
    if matches!(said, Said::Logged { .. }) {
        row.still_listed(&opened);
    }
    // The key that goes says nothing more: what it signed in the window would be void at once.
    let others: Vec<Box<dyn Signer>> = signers
        .into_iter()
        .filter(|key| Target::key(&key.public_key().id()) != row.target())
        .collect();
    let mut worst = None;
    for withdrawal in kept {
        if let Err(fail) = keep(args, &mut opened, withdrawal, &others) {
            let fail = not_kept(fail, withdrawal, &project.name, &said);
            if args.say.json {
                sayln!("{}", fail.json());
            } else {
                eprint!("{}", fail.human());
            }
            fail.keep_graver(&mut worst);
        }
    }
    worst.map_or(Ok(()), |fail| Err(fail.shown()))
}

/// States a withdrawal again, by the keys that stay; or prepares that, in a file beside the
/// revocation's.
fn keep(
    args: &RevokeArgs,
    opened: &mut Opened,
    withdrawal: &Touched,
    signers: &[Box<dyn Signer>],
) -> Result<(), Fail> {
    let usage = |kind: &str, why: String| Fail::usage(kind, why);
    let payload = withdrawal
        .again()
        .map_err(|e| usage(e.kind(), e.to_string()))?;
    if let Some(path) = &args.say.prepare {
        let mut path = path.clone().into_os_string();
        path.push(format!(".keep-{}", withdrawal.index));
        let path = PathBuf::from(path);
        let envelope = Envelope::sign(payload, &borrowed(signers))
            .map_err(|e| usage(e.kind(), e.to_string()))?;
        write_prepared(&path, &envelope)?;
        eprintln!(
            "prepared {}: the withdrawal at entry {} again; not to be signed by the key that is revoked",
            path.display(),
            withdrawal.index
        );
        return Ok(());
    }
    if signers.is_empty() {
        return Err(usage(
            "no-key-left",
            "no key is given but the one that is revoked".to_owned(),
        ));
    }
    let project = opened.project.clone();
    let said = say(&args.say, &mut opened.desk, &project, payload, signers)?;
    said_line(
        &args.say,
        &said,
        &format!("withdrawn again: {}", withdrawal.what),
    );
    Ok(())
}

fn not_kept(fail: Fail, withdrawal: &Touched, project: &str, said: &Said) -> Fail {
    let done = match said {
        Said::Logged { .. } => "the key is revoked",
        Said::Prepared => "the revocation is prepared",
    };
    Fail {
        message: format!(
            "{done}, but the withdrawal at entry {} ({}) is not stated again: {}",
            withdrawal.index, withdrawal.what, fail.message
        ),
        ..fail
    }
    .hint(format!(
        "withdraw it again, in other words than before: `countersign withdraw --project {project} --version V --reason TEXT --key KEY…`, or with --prefix"
    ))
}

/// How a key that is revoked and still listed is replaced.
fn replace(opened: &Opened, row: &KeyRow) -> String {
    let project = &opened.project.name;
    match others_revoked(&opened.inventory, row, project) {
        Some(hint) => hint,
        None => format!(
            "replace it with `countersign keys rotate --project {project} --old {} --new NEWKEY --key ROOTKEY…`",
            row.id()
        ),
    }
}

/// The log would refuse it; here it is said before anything is signed.
fn enough_roots(inventory: &Inventory, row: &KeyRow, opened: &Opened) -> Result<(), Fail> {
    let Some(project) = opened.complete.fold.project(&opened.project.id) else {
        return Ok(());
    };
    let want = project.current().project.root_threshold;
    let left = inventory
        .keys
        .iter()
        .filter(|r| r.purpose == Purpose::Root && r.in_force() && r.id() != row.id());
    let left = left.count() as u64;
    if left >= want {
        return Ok(());
    }
    Err(Fail::usage(
        "too-few-roots",
        format!("{left} root keys would be left, and the threshold is {want}"),
    )
    .hint("replace it first: `countersign keys rotate --old ID --new NEWKEY`, then revoke it"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::moment;

    #[test]
    fn a_window_begins_at_a_time_in_utc_that_has_been() {
        assert_eq!(moment("1970-01-01T00:01:00Z", 60).unwrap(), 60);
        let kind = |text| moment(text, 60).unwrap_err().kind;
        assert_eq!(kind("1970-01-01T00:01:01Z"), "time-in-future");
        // Without its zone a time may be anybody's: hours of a thief's releases would stand.
        assert_eq!(kind("1970-01-01T00:00:30"), "bad-time");
        assert_eq!(kind("1970-01-01 00:00:30"), "bad-time");
        assert_eq!(kind("yesterday"), "bad-time");
    }
}
