//! `countersign withdraw`: takes a release back, or ends the life of all under a purl prefix.

use super::say::{SayArgs, confirm, keys, said_line, say};
use crate::cmd::complete::{Release, Standing};
use crate::cmd::keys::Opened;
use crate::fail::{Fail, visible};
use clap::{ArgGroup, Args};
use ledger::statement::{Subject, Withdrawal, Withdrawn};
use ledger::{hex32, names};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Arguments of `withdraw`.
#[derive(Debug, Args)]
// `--version` is the version that is withdrawn, not ours.
#[command(disable_version_flag = true)]
#[command(group(ArgGroup::new("what").required(true).args(["version", "prefix"])))]
pub struct WithdrawArgs {
    /// The project, as the policy names it
    #[arg(long, value_name = "NAME")]
    project: String,
    /// The version to take back; by release keys or by root keys
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// Which purl, where several are of this version; without its version
    #[arg(long, value_name = "PURL", requires = "version")]
    purl: Option<String>,
    /// Only this artifact of it; may be given several times [default: all]
    #[arg(long, value_name = "NAME", requires = "version")]
    artifact: Vec<String>,
    /// End the life of every release under this purl prefix, past and later; by root keys
    #[arg(long, value_name = "P")]
    prefix: Option<String>,
    /// Why; it is public
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// What to use in its place, for people
    #[arg(long, value_name = "TEXT")]
    successor: Option<String>,
    #[command(flatten)]
    say: SayArgs,
}

/// Runs `withdraw`.
///
/// # Errors
/// Exit codes 1 to 3.
pub fn run(args: &WithdrawArgs) -> Result<(), Fail> {
    let mut opened = Opened::open(&args.project, &args.say.log, None)?;
    let project = opened.project.clone();
    let releases = opened.complete.releases(&project.id);
    let mut impact = String::new();
    let (what, subjects, shown) = match (&args.version, &args.prefix) {
        (_, Some(prefix)) => {
            let under = releases
                .iter()
                .filter(|r| names::prefix_covers(prefix, &r.purl));
            let _ = writeln!(
                impact,
                "everything under {prefix} is withdrawn, these releases and every later one:"
            );
            for r in under {
                let _ = writeln!(impact, "  entry {}  {}", r.index, visible(&r.purl));
            }
            (
                Withdrawn::Prefix(prefix.clone()),
                Vec::new(),
                prefix.clone(),
            )
        }
        (version, None) => {
            let version = version.as_deref().unwrap_or_default();
            let release = one(&releases, version, args.purl.as_deref())?;
            let subjects = artifacts(release, &args.artifact)?;
            let _ = writeln!(
                impact,
                "withdrawing {} (entry {}):",
                visible(&release.purl),
                release.index
            );
            for s in &subjects {
                let _ = writeln!(impact, "  {}  {}", hex32(&s.sha256), visible(&s.name));
            }
            shared(&releases, release, &subjects, &mut impact);
            (
                Withdrawn::Release(release.statement),
                subjects,
                release.purl.clone(),
            )
        }
    };
    let withdrawal = Withdrawal {
        project: project.id,
        what,
        reason: args.reason.clone(),
        successor: args.successor.clone(),
    };
    let payload = withdrawal
        .to_payload(&subjects)
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    confirm(&args.say, &impact, "withdraw?")?;
    let signers = keys(&args.say)?;
    let said = say(&args.say, &mut opened.desk, &project, payload, &signers)?;
    said_line(&args.say, &said, &format!("withdrawn: {shown}"));
    Ok(())
}

/// What else is refused with these artifacts: every release that lists one of their digests.
fn shared(releases: &[Release], of: &Release, subjects: &[Subject], impact: &mut String) {
    let same = |a: &Subject| subjects.iter().any(|s| s.sha256 == a.sha256);
    let mut others = 0;
    for r in releases {
        if r.standing != Standing::Stands || r.statement == of.statement {
            continue;
        }
        let names: Vec<String> = r
            .artifacts
            .iter()
            .filter(|a| same(a))
            .map(|a| visible(&a.name))
            .collect();
        if names.is_empty() {
            continue;
        }
        if others == 0 {
            let _ = writeln!(
                impact,
                "these releases share an artifact with it, and are refused with it:"
            );
        }
        others += 1;
        let _ = writeln!(
            impact,
            "  entry {}  {}  ({})",
            r.index,
            visible(&r.purl),
            names.join(", ")
        );
    }
    if others == 0 {
        let _ = writeln!(
            impact,
            "no other release that stands has one of these digests; a later one that has is refused too"
        );
    } else {
        let _ = writeln!(
            impact,
            "to spare them, name with --artifact only those that they do not share"
        );
    }
}

/// A purl without its version.
fn unversioned(purl: &str) -> String {
    let (path, qualifiers) = purl.split_once('?').unwrap_or((purl, ""));
    let bare = path.rsplit_once('@').map_or(path, |(bare, _)| bare);
    match qualifiers {
        "" => bare.to_owned(),
        q => format!("{bare}?{q}"),
    }
}

/// The release of a version that counts, else the last of those that are void, since a thief's is
/// withdrawn too: of several purls none is guessed.
fn one<'a>(
    releases: &'a [Release],
    version: &str,
    purl: Option<&str>,
) -> Result<&'a Release, Fail> {
    let of = |r: &&Release| {
        let own = names::purl_version(&r.purl);
        let named = purl.is_none_or(|p| p == r.purl || p == unversioned(&r.purl));
        own.is_some_and(|v| v == version) && named
    };
    let mut found: BTreeMap<&str, &Release> = BTreeMap::new();
    for r in releases.iter().filter(of) {
        // A release that is stated again takes the place of the void one.
        found.insert(&r.purl, r);
    }
    let void = |r: &&Release| matches!(r.standing, Standing::Void(_));
    let found: Vec<&Release> = found.into_values().collect();
    let good: Vec<&Release> = found.iter().copied().filter(|r| !void(r)).collect();
    let of = if good.is_empty() { found } else { good };
    match of.as_slice() {
        [one] => Ok(one),
        [] => Err(Fail::usage(
            "unknown-release",
            format!("no release {version:?} is known"),
        )
        .hint("see `countersign releases NAME`")),
        several => {
            let purls: Vec<String> = several.iter().map(|r| visible(&r.purl)).collect();
            Err(Fail::usage(
                "ambiguous-release",
                format!("several releases are of version {version:?}"),
            )
            .detail("purls", purls.join("\n"))
            .hint("name one with --purl, or withdraw all under a --prefix"))
        }
    }
}

fn artifacts(release: &Release, wanted: &[String]) -> Result<Vec<Subject>, Fail> {
    for name in wanted {
        if !release.artifacts.iter().any(|a| a.name == *name) {
            return Err(Fail::usage(
                "unknown-artifact",
                format!("the release has no artifact {name:?}"),
            )
            .hint("see `countersign releases NAME`"));
        }
    }
    let all = release
        .artifacts
        .iter()
        .filter(|a| wanted.is_empty() || wanted.contains(&a.name));
    Ok(all.cloned().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn release(purl: &str, index: u64, standing: Standing, files: &[&str]) -> Release {
        let subject = |text: &&str| Subject {
            name: format!("{text}-{index}"),
            sha256: ledger::sha256(text.as_bytes()),
            size: Some(1),
            digests: BTreeMap::new(),
            download_location: None,
        };
        Release {
            index,
            time: 0,
            purl: purl.to_owned(),
            statement: ledger::sha256(&index.to_be_bytes()),
            artifacts: files.iter().map(subject).collect(),
            keys: Vec::new(),
            standing,
        }
    }

    #[test]
    fn the_release_that_is_withdrawn_is_never_guessed() {
        let void = Standing::Void(ledger::statement::Target::Key([1; 32]));
        let all = [
            release("pkg:generic/a@1?os=x", 1, Standing::Stands, &[]),
            release("pkg:generic/a@1?os=y", 2, Standing::Stands, &[]),
            release("pkg:generic/a@2", 3, void.clone(), &[]),
            release("pkg:generic/a@2", 4, Standing::Stands, &[]),
            release("pkg:generic/a@3", 5, void.clone(), &[]),
            release("pkg:generic/b@3", 6, Standing::Stands, &[]),
            release("pkg:generic/a@6", 7, void, &[]),
        ];
        let index = |version, purl| {
            one(&all, version, purl)
                .map(|r| r.index)
                .map_err(|f| f.kind)
        };
        assert_eq!(index("1", None), Err("ambiguous-release".into()));
        assert_eq!(index("1", Some("pkg:generic/a?os=y")), Ok(2));
        assert_eq!(index("1", Some("pkg:generic/a@1?os=x")), Ok(1));
        assert_eq!(
            index("1", Some("pkg:generic/a")),
            Err("unknown-release".into())
        );
        // Stated again; one that stands beside one that is void; a thief's alone.
        assert_eq!(index("2", None), Ok(4));
        assert_eq!(index("3", None), Ok(6));
        assert_eq!(index("3", Some("pkg:generic/a")), Ok(5));
        assert_eq!(index("6", None), Ok(7));
        assert_eq!(index("9", None), Err("unknown-release".into()));
    }

    #[test]
    fn what_shares_an_artifact_is_shown() {
        let all = [
            release("pkg:generic/a@1", 1, Standing::Stands, &["tool", "licence"]),
            release(
                "pkg:generic/a@2",
                2,
                Standing::Stands,
                &["tool2", "licence"],
            ),
            release(
                "pkg:generic/a@3",
                3,
                Standing::Withdrawn([0; 32]),
                &["licence"],
            ),
            release("pkg:generic/a@4", 4, Standing::Stands, &["other"]),
        ];
        let text = |files: &[Subject]| {
            let mut text = String::new();
            shared(&all, &all[0], files, &mut text);
            text
        };
        let whole = text(&all[0].artifacts);
        assert!(
            whole.contains("a@2  (licence-2)") && whole.contains("--artifact"),
            "{whole}"
        );
        assert!(
            !whole.contains("a@1") && !whole.contains("a@3") && !whole.contains("a@4"),
            "{whole}"
        );
        assert!(text(&all[0].artifacts[..1]).starts_with("no other release"));
    }
}
