//! `countersign withdraw`: takes a release back, or ends the life of all under a purl prefix.

use super::say::{SayArgs, confirm, keys, said_line, say};
use crate::cmd::complete::{Release, Standing};
use crate::cmd::keys::Opened;
use crate::fail::{Fail, visible};
use clap::{ArgGroup, Args};
use ledger::statement::{Subject, Withdrawal, Withdrawn};
use ledger::{hex32, names};
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
            let release = one(&releases, version)?;
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
            let _ = writeln!(
                impact,
                "every release of the project with one of these digests is refused with it"
            );
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

/// The release of a version that counts: of several of one version, which purl qualifiers tell
/// apart, none is guessed.
fn one<'a>(releases: &'a [Release], version: &str) -> Result<&'a Release, Fail> {
    let of = releases.iter().filter(|r| {
        let own = names::purl_version(&r.purl);
        own.is_some_and(|v| v == version) && !matches!(r.standing, Standing::Void(_))
    });
    let of: Vec<&Release> = of.collect();
    match of.as_slice() {
        [one] => Ok(one),
        [] => Err(
            Fail::usage("unknown-release", format!("no release {version:?} stands"))
                .hint("see `countersign releases NAME`"),
        ),
        _ => Err(Fail::usage(
            "ambiguous-release",
            format!("several releases are of version {version:?}"),
        )
        .hint("withdraw them by --prefix, or the artifacts that no other shares by --artifact")),
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
