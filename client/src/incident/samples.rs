//! Bytes that a storage watch kept, and the accounts of how they came: whose quarantine it is says
//! so, and nobody else. What stands in them was written by whoever served them.

use super::document::{Account, Question, Sample};
use super::folder::{Files, Folder, unreadable};
use crate::cmd::common::parse_time;
use crate::fail::Fail;
use crate::place::{copy, open_regular};
use ledger::{hex32, sha256};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Bytes of a sample, at most.
const MAX_SAMPLE: u64 = 1 << 30;
/// Bytes of an account, at most; as much as is written.
const MAX_ACCOUNT: u64 = 256 * 1024;
/// Digests, at most.
const MOST: usize = 10_000;

/// What a storage watch writes; of its fields those that are shown are used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "that all fields are there is what is checked")]
struct Written {
    subject: String,
    why: String,
    user_agent: String,
    proxy: Option<String>,
    request: Vec<(String, String)>,
    answers: Vec<Hop>,
    began: String,
    ended: String,
    size: u64,
    whole: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that all fields are there is what is checked")]
struct Hop {
    url: String,
    status: u16,
    headers: Vec<(String, String)>,
}

/// A file's name in a quarantine: a digest, and `None` for the bytes or the account's number.
fn parse_name(name: &str) -> Option<(&str, Option<u32>)> {
    let (digest, rest) = name.split_at_checked(64)?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if !digest.bytes().all(hex) {
        return None;
    }
    if rest == ".bin" {
        return Some((digest, None));
    }
    let number = rest.strip_prefix('-')?.strip_suffix(".json")?;
    let read = number.parse::<u32>().ok()?;
    (read.to_string() == number).then_some((digest, Some(read)))
}

fn account(name: &str, bytes: &[u8]) -> Result<Account, String> {
    let written: Written = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    Ok(Account {
        file: format!("samples/{name}"),
        sha256: hex32(&sha256(bytes)),
        subject: written.subject,
        why: written.why,
        user_agent: written.user_agent,
        began: written.began,
        ended: written.ended,
        whole: written.whole,
    })
}

/// Whether the question is about such bytes. Without a time that can be read they are not left out.
fn concerns(question: &Question, digest: &str, accounts: &[Account]) -> bool {
    match question {
        Question::Key(_) | Question::Version(_) => true,
        Question::Digest(asked) => asked == digest,
        Question::Window { since, until } => {
            let within = |a: &Account| {
                let (began, ended) = (parse_time(&a.began), parse_time(&a.ended));
                began.is_none_or(|t| t <= *until) && ended.is_none_or(|t| t >= *since)
            };
            accounts.is_empty() || accounts.iter().any(within)
        }
    }
}

/// What is known of the bytes of one digest: its accounts by number, and whether they are there.
#[derive(Default)]
struct Found {
    accounts: BTreeMap<u32, String>,
    bytes: bool,
}

/// The files of a quarantine, by digest. A name that none of them has is an error: nothing is
/// passed over in silence.
fn listed(names: impl IntoIterator<Item = String>) -> Result<BTreeMap<String, Found>, String> {
    let mut all: BTreeMap<String, Found> = BTreeMap::new();
    for name in names {
        // A watch that runs is writing these.
        if name.starts_with(".incoming-") {
            continue;
        }
        let (digest, number) = parse_name(&name)
            .ok_or_else(|| format!("{name:?} is neither bytes nor an account of a quarantine"))?;
        let found = all.entry(digest.to_owned()).or_default();
        match number {
            None => found.bytes = true,
            Some(n) => drop(found.accounts.insert(n, name)),
        }
        if all.len() > MOST {
            return Err(format!("it holds more than {MOST} samples"));
        }
    }
    Ok(all)
}

/// Copies what the question is about from a quarantine into a report.
///
/// # Errors
/// Exit code 2 where it is no quarantine, or cannot be read; 1 where bytes are not what their name
/// says.
pub(crate) fn collect(from: &Path, question: &Question, to: &Folder) -> Result<(), Fail> {
    let bad = |why: String| {
        Fail::usage("bad-quarantine", format!("{}: {why}", from.display()))
            .hint("give the directory `quarantine` in the monitor's state, with only what the watch wrote")
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(|e| bad(e.to_string()))? {
        let entry = entry.map_err(|e| bad(e.to_string()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    let source = Files::new(from);
    for (digest, found) in listed(names).map_err(bad)? {
        let mut accounts = Vec::new();
        let mut texts = Vec::new();
        for name in found.accounts.values() {
            let bytes = source
                .read(name, MAX_ACCOUNT)
                .map_err(|fail| bad(fail.message))?;
            accounts.push(account(name, &bytes).map_err(|why| bad(format!("{name}: {why}")))?);
            texts.push((name, bytes));
        }
        if !concerns(question, &digest, &accounts) {
            continue;
        }
        for (name, bytes) in texts {
            let mut file = to.create(&format!("samples/{name}"), 0o600)?;
            std::io::Write::write_all(&mut file, &bytes)
                .and_then(|()| file.sync_all())
                .map_err(|e| bad(e.to_string()))?;
        }
        if found.bytes {
            let name = format!("{digest}.bin");
            let mut reader =
                open_regular(&source.path(&name)).map_err(|e| bad(format!("{name}: {e}")))?;
            let mut file = to.create(&format!("samples/{name}"), 0o600)?;
            let copied = copy(&mut reader, &mut file, MAX_SAMPLE)?;
            if copied.over {
                return Err(bad(format!("{name} is larger than {MAX_SAMPLE} bytes")));
            }
            if hex32(&copied.sha256) != digest {
                return Err(sample_changed(&name, &hex32(&copied.sha256)));
            }
            file.sync_all().map_err(|e| bad(e.to_string()))?;
        }
    }
    Ok(())
}

fn sample_changed(name: &str, got: &str) -> Fail {
    Fail::untrusted(
        "sample-changed",
        format!("{name} does not hold the bytes that it is named for"),
    )
    .detail(
        "expected",
        name.trim_start_matches("samples/").trim_end_matches(".bin"),
    )
    .detail("got", got)
    .hint("the bytes were changed since they were kept: they show nothing")
}

/// The samples in a report, each read again.
///
/// # Errors
/// Exit code 1 where a file is not what it must be; 3 where it may not be read.
pub(crate) fn read(files: &Files, names: &BTreeSet<String>) -> Result<Vec<Sample>, Fail> {
    let own = names.iter().filter_map(|n| n.strip_prefix("samples/"));
    let own: Vec<String> = own.map(str::to_owned).collect();
    if let Some(name) = own.iter().find(|n| parse_name(n).is_none()) {
        return Err(super::folder::surplus(&format!("samples/{name}")));
    }
    let listed = listed(own).map_err(|why| super::folder::changed("samples", why))?;
    let mut samples = Vec::new();
    for (digest, found) in listed {
        let mut accounts = Vec::new();
        for name in found.accounts.values() {
            let path = format!("samples/{name}");
            let bytes = files.read(&path, MAX_ACCOUNT)?;
            let read = account(name, &bytes);
            accounts.push(read.map_err(|why| super::folder::changed(&path, why))?);
        }
        let (mut file, mut size) = (None, None);
        if found.bytes {
            let path = format!("samples/{digest}.bin");
            let mut reader = open_regular(&files.path(&path)).map_err(|e| match e.kind() {
                std::io::ErrorKind::PermissionDenied => unreadable(&path, &e),
                _ => super::folder::changed(&path, e),
            })?;
            let copied = copy(&mut reader, &mut std::io::sink(), MAX_SAMPLE)?;
            if copied.over || hex32(&copied.sha256) != digest {
                return Err(sample_changed(&path, &hex32(&copied.sha256)));
            }
            (file, size) = (Some(path), Some(copied.size));
        }
        samples.push(Sample {
            sha256: digest,
            file,
            size,
            released: Vec::new(),
            accounts,
        });
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(began: &str) -> String {
        format!(
            "{{\"subject\":\"https://s.example/<script>\",\"why\":\"bytes-not-logged\",\"userAgent\":\"curl\",\"proxy\":null,\"request\":[],\"answers\":[{{\"url\":\"u\",\"status\":200,\"headers\":[]}}],\"began\":{began:?},\"ended\":{began:?},\"size\":3,\"whole\":true}}"
        )
    }

    /// A quarantine with bytes `bad` and one account of them.
    fn quarantine() -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let digest = hex32(&sha256(b"bad"));
        fs::write(dir.path().join(format!("{digest}.bin")), "bad").unwrap();
        let text = written("2026-01-31T08:30:00Z");
        fs::write(dir.path().join(format!("{digest}-1.json")), text).unwrap();
        fs::write(dir.path().join(".incoming-x"), "half").unwrap();
        (dir, digest)
    }

    fn collected(from: &Path, question: &Question) -> Result<Vec<Sample>, Fail> {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::begin(&place.path().join("r")).unwrap();
        collect(from, question, &folder)?;
        let files = folder.files();
        let names = files.list().names;
        #[cfg(unix)]
        for name in &names {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(files.path(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        read(&files, &names)
    }

    #[test]
    fn bytes_are_copied_with_their_accounts_where_the_question_is_about_them() {
        let (dir, digest) = quarantine();
        let key = Question::Key("k".into());
        let all = collected(dir.path(), &key).unwrap();
        let [sample] = &all[..] else {
            panic!("{all:?}")
        };
        assert_eq!((&sample.sha256, sample.size), (&digest, Some(3)));
        assert_eq!(sample.accounts.len(), 1);
        let count = |q: Question| collected(dir.path(), &q).unwrap().len();
        assert_eq!(count(Question::Digest(digest)), 1);
        assert_eq!(count(Question::Digest("0".repeat(64))), 0);
        let window = |since, until| Question::Window { since, until };
        let then = parse_time("2026-01-31T08:30:00Z").unwrap();
        assert_eq!(count(window(then - 9, then)), 1);
        assert_eq!(count(window(then + 1, then + 9)), 0);
        assert_eq!(count(window(0, then - 1)), 0);
    }

    #[test]
    fn what_is_not_as_a_watch_wrote_it_is_refused() {
        let question = Question::Key("k".into());
        let kind = |dir: &Path| collected(dir, &question).err().unwrap().kind;
        let (dir, digest) = quarantine();
        fs::write(dir.path().join(format!("{digest}.bin")), "other").unwrap();
        assert_eq!(kind(dir.path()), "sample-changed");
        let (dir, digest) = quarantine();
        fs::write(dir.path().join("notes.txt"), "x").unwrap();
        assert_eq!(kind(dir.path()), "bad-quarantine");
        fs::remove_file(dir.path().join("notes.txt")).unwrap();
        let path = dir.path().join(format!("{digest}-1.json"));
        let more = written("").replace("\"why\"", "\"more\":1,\"why\"");
        fs::write(&path, more).unwrap();
        assert_eq!(kind(dir.path()), "bad-quarantine");
        fs::write(&path, "x".repeat(MAX_ACCOUNT as usize + 1)).unwrap();
        assert_eq!(kind(dir.path()), "bad-quarantine");
        #[cfg(unix)]
        {
            let (dir, digest) = quarantine();
            let elsewhere = tempfile::tempdir().unwrap();
            let (bin, own) = (
                dir.path().join(format!("{digest}.bin")),
                elsewhere.path().join("x"),
            );
            fs::rename(&bin, &own).unwrap();
            std::os::unix::fs::symlink(&own, &bin).unwrap();
            assert_eq!(kind(dir.path()), "bad-quarantine");
        }
        assert_eq!(parse_name(&format!("{digest}-01.json")), None);
        assert_eq!(parse_name(&format!("{}.bin", "G".repeat(64))), None);
        assert_eq!(parse_name("é".repeat(40).as_str()), None);
    }
}
