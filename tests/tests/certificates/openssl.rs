//! The second opinion: `openssl verify`.

use std::path::Path;
use std::process::Command;

/// The program, and what it can be asked.
pub struct OpenSsl {
    /// As it says it: `3.0.19`.
    pub version: String,
    /// Whether it knows the purpose `codesign`.
    pub codesign: bool,
}

impl OpenSsl {
    /// The program that is installed; where there is none, that is said, and in CI it is an error.
    pub fn find() -> Option<Self> {
        let program = std::env::var_os("COUNTERSIGN_OPENSSL").unwrap_or_else(|| "openssl".into());
        let said = Command::new(program).arg("version").output().ok();
        let said = said.map(|s| String::from_utf8_lossy(&s.stdout).into_owned());
        let version = said.as_deref().and_then(|s| {
            let version = s.strip_prefix("OpenSSL ")?.split_whitespace().next()?;
            (version.split('.').next()?.parse::<u32>().ok()? >= 3).then(|| version.to_owned())
        });
        let Some(version) = version else {
            assert!(std::env::var_os("CI").is_none(), "no OpenSSL 3: {said:?}");
            eprintln!("skipped: no OpenSSL 3 for a second opinion: {said:?}");
            return None;
        };
        let help = Self::command().args(["verify", "-help"]).output().unwrap();
        let help = [help.stdout, help.stderr].concat();
        let codesign = String::from_utf8_lossy(&help)
            .lines()
            .any(|l| l.trim_start().starts_with("codesign"));
        Some(Self { version, codesign })
    }

    fn command() -> Command {
        let program = std::env::var_os("COUNTERSIGN_OPENSSL").unwrap_or_else(|| "openssl".into());
        Command::new(program)
    }

    /// Whether it is of the version whose differences the cases name.
    pub fn is_named(&self) -> bool {
        self.version.starts_with("3.0.")
    }

    /// Judges end certificates, each below the same `above`, and gives what it says against each.
    pub fn verify(
        &self,
        ends: &[&[u8]],
        above: &[Vec<u8>],
        anchor: &[u8],
        time: u64,
        purpose: &str,
    ) -> Vec<Result<(), String>> {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let write = |path: &Path, ders: &[&[u8]]| {
            let pem = |der: &&[u8]| keys::certificate::write_certificate(der).unwrap();
            std::fs::write(path, ders.iter().map(pem).collect::<String>()).unwrap();
        };
        write(&file("anchor"), &[anchor]);
        let mut command = Self::command();
        command.args(["verify", "-x509_strict", "-partial_chain"]);
        command.args(["-no-CApath", "-no-CAstore", "-CAfile"]);
        command.arg(file("anchor"));
        command.args(["-purpose", purpose, "-attime", &time.to_string()]);
        if !above.is_empty() {
            let above: Vec<&[u8]> = above.iter().map(Vec::as_slice).collect();
            write(&file("above"), &above);
            command.arg("-untrusted").arg(file("above"));
        }
        for (number, end) in ends.iter().enumerate() {
            let path = file(&format!("end-{number}"));
            write(&path, &[end]);
            command.arg(path);
        }
        let said = command.output().unwrap();
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        let err = String::from_utf8_lossy(&said.stderr).into_owned();
        let judged = |number: usize| {
            let path = file(&format!("end-{number}"));
            let path = path.to_str().unwrap();
            if out.lines().any(|l| l == format!("{path}: OK")) {
                return Ok(());
            }
            // Of several there is no telling which line is whose, and of no account.
            let why = err.lines().find(|l| l.contains("error"));
            Err(why.unwrap_or("no reason given").to_owned())
        };
        let judged: Vec<_> = (0..ends.len()).map(judged).collect();
        // The program's own word, so that no change of what it prints passes for a verdict.
        assert_eq!(
            said.status.success(),
            judged.iter().all(Result::is_ok),
            "{out}{err}"
        );
        judged
    }
}
