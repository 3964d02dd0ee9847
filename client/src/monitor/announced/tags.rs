//! Signed tags of a local clone. A tag announces a version, and says nothing of its bytes.
//!
//! `git` runs with an environment of its own, and with the programs that a repository's
//! configuration could name overridden: who can write there announces, and still runs nothing.

use super::Answer;
use crate::fail::visible;
use crate::monitor::alert::{Class, Finding};
use crate::monitor::config;
use crate::monitor::run::{Ended, Output, run};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// What no repository chooses for us.
const FIXED: [&str; 8] = [
    "gpg.program=gpg",
    "gpg.openpgp.program=gpg",
    "gpg.x509.program=gpgsm",
    "gpg.ssh.program=ssh-keygen",
    "gpg.ssh.defaultKeyCommand=",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
];

/// A clone, and how a version's tag is named in it.
#[derive(Debug, Clone)]
pub(super) struct Tags {
    config: config::Tags,
}

/// A version that may stand in a tag's name, and is no option and no other ref.
fn plain(version: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    !version.is_empty()
        && version.len() <= 128
        && version.chars().all(safe)
        && !version.contains("..")
        && !version.ends_with(['.'])
        && !version.ends_with(".lock")
}

impl Tags {
    pub(super) fn new(config: &config::Tags) -> Self {
        let config = config.clone();
        Self { config }
    }

    /// Whether a signed tag of this version is there.
    pub(super) fn announces(&self, version: &str) -> Answer {
        if !plain(version) {
            let why = "its version cannot stand in a tag's name";
            return Answer::Unexpected(Some(why.to_owned()));
        }
        let name = self.config.pattern.replace("{version}", version);
        match self.verify(&name) {
            Ok(None) => Answer::Expected("tags"),
            Ok(Some(why)) => Answer::Unexpected(Some(format!("tag {name}: {why}"))),
            Err(why) => {
                let place = visible(&self.config.repository.display().to_string());
                let message = format!("signed tags cannot be read: {}", visible(&why));
                let finding = Finding::new(Class::Operational, "tags-unreadable", place, message)
                    .hint("see that `git` is installed, and that the clone is the monitor's own");
                Answer::Unclear(Box::new(finding))
            }
        }
    }

    /// Why a tag announces nothing, if so.
    fn verify(&self, name: &str) -> Result<Option<String>, String> {
        let reference = format!("refs/tags/{name}^{{tag}}");
        let resolve = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
        let object = match self.git(&[&resolve[..], &[&reference]].concat())? {
            (0, said) => String::from_utf8_lossy(&said).trim().to_owned(),
            (1, _) => return Ok(Some("there is no such tag, or it is not signed".into())),
            (code, _) => return Err(format!("git ended with exit code {code}")),
        };
        if object.len() < 40 || !object.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("git names no object".into());
        }
        // A signed tag put under another name announces nothing: the name is in what is signed.
        let (code, text) = self.git(&["cat-file", "tag", &object])?;
        if code != 0 {
            return Err(format!("git ended with exit code {code}"));
        }
        let text = String::from_utf8_lossy(&text);
        let header = text.split("\n\n").next().unwrap_or_default();
        let own = header.lines().find_map(|line| line.strip_prefix("tag "));
        if own != Some(name) {
            return Ok(Some("the signed tag has another name".into()));
        }
        match self.git(&["verify-tag", "--end-of-options", &object])? {
            (0, _) => Ok(None),
            _ => Ok(Some("its signature does not verify".into())),
        }
    }

    fn git(&self, arguments: &[&str]) -> Result<(i32, Vec<u8>), String> {
        let mut command = Command::new("git");
        command.env_clear();
        for name in ["PATH", "HOME", "GNUPGHOME", "XDG_CONFIG_HOME", "SYSTEMROOT"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
            .envs([("GIT_TERMINAL_PROMPT", "0"), ("GIT_NO_LAZY_FETCH", "1")])
            .envs([("GIT_OPTIONAL_LOCKS", "0"), ("LC_ALL", "C")])
            .arg("-C")
            .arg(&self.config.repository)
            .arg("--no-replace-objects");
        for fixed in FIXED {
            command.args(["-c", fixed]);
        }
        if let Some(file) = &self.config.allowed_signers {
            let file = std::path::absolute(file).map_err(|e| e.to_string())?;
            let file = as_text(&file).ok_or("allowed-signers has no plain name")?;
            command.args(["-c", &format!("gpg.ssh.allowedSignersFile={file}")]);
        }
        command.args(arguments);
        match run(command, Vec::new(), Output::Kept, PATIENCE).map_err(|e| e.to_string())? {
            Ended::With(code, said) => Ok((code, said)),
            Ended::Late => Err(format!("git did not end within {} s", PATIENCE.as_secs())),
        }
    }
}

fn as_text(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| !text.contains(['\n', '\0']))
}
