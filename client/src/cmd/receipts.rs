//! Writing receipts for `verify`, `get` and `run`, where the policy or a flag asks for them
//! (docs/formats.md, "Receipts").

use super::common::now;
use crate::fail::Fail;
use crate::policy::{Policy, ProjectPolicy};
use crate::receipt::{Command, Head, KIND, Receipt, address, keep};
use crate::verify::Verdict;
use clap::Args;
use ledger::{Hash, hex32};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where receipts go, in the place of what the policy says.
#[derive(Debug, Clone, Args)]
pub struct ReceiptArgs {
    /// Append a receipt of what is trusted to this file, JSON lines, before it is used: so that
    /// `countersign affected` can say later whom a revocation concerns [default: the policy's
    /// receipts.file, else none]
    #[arg(long, env = "COUNTERSIGN_RECEIPTS", value_name = "FILE")]
    pub receipts: Option<PathBuf>,
    /// What this machine or job is called in receipts [default: the policy's receipts.host]
    #[arg(long, env = "COUNTERSIGN_HOST", value_name = "LABEL")]
    pub host: Option<String>,
}

/// What is trusted.
pub(crate) struct Trusted<'a> {
    pub(crate) command: Command,
    pub(crate) policy: &'a Policy,
    pub(crate) project: &'a ProjectPolicy,
    pub(crate) verdict: &'a Verdict,
    pub(crate) sha256: Hash,
    pub(crate) size: u64,
    /// Where it came from.
    pub(crate) url: Option<&'a str>,
    /// The names of the variables that are handed to it, if it is run.
    pub(crate) environment: Option<Vec<String>>,
}

impl ReceiptArgs {
    /// Writes the receipt, if one is wanted; it is on the disk when this returns.
    ///
    /// # Errors
    /// Exit code 2: what should have a receipt, and cannot, is not to be used.
    pub(crate) fn keep(&self, trusted: &Trusted<'_>) -> Result<(), Fail> {
        let policy = trusted.policy;
        let Some(file) = self.receipts.as_ref().or(policy.receipts.file.as_ref()) else {
            return Ok(());
        };
        let (verdict, project) = (trusted.verdict, trusted.project);
        let seen = &verdict.proven.checkpoint;
        let host = self.host.as_deref().or(policy.receipts.host.as_deref());
        let remotes = match trusted.command {
            Command::Run => remotes(Path::new(".")),
            Command::Verify | Command::Get => None,
        };
        let receipt = Receipt {
            api_version: ledger::API_VERSION.into(),
            artifact: verdict.proven.artifact.as_str().into(),
            command: trusted.command,
            environment: trusted.environment.clone(),
            head: Head {
                root: seen.root.as_str().into(),
                size: seen.size,
                view_time: Some(seen.view_time).filter(|t| *t > 0),
            },
            host: host.map(Into::into),
            index: verdict.index,
            keys: verdict.keys.iter().map(ToString::to_string).collect(),
            kind: KIND.into(),
            log: policy.log.origin.as_str().into(),
            policy: hex32(&policy.digest).into(),
            project: project.name.as_str().into(),
            project_id: hex32(&project.id).into(),
            purl: verdict.purl.as_str().into(),
            remotes,
            sha256: hex32(&trusted.sha256).into(),
            size: trusted.size,
            statement: hex32(&verdict.pae_hash).into(),
            time: now(),
            url: trusted.url.map(|u| address(u).into()),
            version: verdict.version.as_str().into(),
        };
        let kept = keep(file, &receipt)?;
        if kept.mended {
            eprintln!(
                "warning: {} ended in half a line, which stays: a receipt may be missing there",
                crate::fail::visible(&file.display().to_string())
            );
        }
        Ok(())
    }
}

/// The git remotes of `directory`, as git itself gives them, without credentials. `None` where git
/// is not there to ask.
fn remotes(directory: &Path) -> Option<Vec<String>> {
    let output = std::process::Command::new("git")
        .arg("-C")
        .arg(directory)
        .args([
            "config",
            "--null",
            "--get-regexp",
            r"^remote\..*\.(push)?url$",
        ])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    // 1 is git's way to say that nothing matches; but also that it reads nothing of a repository that is
    // another user's.
    if output.status.code() == Some(1) {
        let here = directory.canonicalize().ok()?;
        let repository = here.ancestors().any(|d| d.join(".git").exists());
        return (!repository || asks(directory)).then(Vec::new);
    }
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // Each is the name, a newline, the value.
    let urls = text.split('\0').filter_map(|entry| entry.split_once('\n'));
    let urls: BTreeSet<String> = urls.map(|(_, url)| address(url)).collect();
    Some(urls.into_iter().collect())
}

/// Whether git takes the directory for a repository that it may read.
fn asks(directory: &Path) -> bool {
    let status = std::process::Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(["rev-parse", "--git-dir"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    status.is_ok_and(|s| s.success())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::remotes;

    #[test]
    fn remotes_are_git_s_without_what_gives_access() {
        let directory = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let status = std::process::Command::new("git")
                .arg("-C")
                .arg(directory.path())
                .args(args)
                .status();
            status.is_ok_and(|s| s.success())
        };
        if !git(&["init", "--quiet"]) {
            eprintln!("skipped: git is not installed");
            return;
        }
        assert_eq!(remotes(directory.path()), Some(vec![]));
        assert!(git(&[
            "remote",
            "add",
            "b",
            "https://u:hunter2@b.example/r"
        ]));
        assert!(git(&["remote", "add", "a", "git@a.example:r"]));
        assert!(git(&[
            "remote",
            "set-url",
            "--push",
            "a",
            "ssh://p@a.example/r"
        ]));
        assert_eq!(
            remotes(directory.path()).unwrap(),
            [
                "git@a.example:r",
                "https://…@b.example/r",
                "ssh://…@a.example/r"
            ]
        );
        // One that git does not read says nothing, which is not that it has none.
        std::fs::remove_file(directory.path().join(".git/config")).unwrap();
        std::fs::remove_file(directory.path().join(".git/HEAD")).unwrap();
        assert_eq!(remotes(directory.path()), None);
    }
}
