//! Keys that sign, as the command line names them: a file, a key of an ssh-agent, or one in
//! hardware. Every command that signs takes them here.

use super::common::PassphraseArgs;
use crate::fail::Fail;
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::ErrorKind;
use keys::{KeySource, Signer};
use std::ffi::OsStr;

/// The forms of a key, as `--help` shows them.
pub(crate) const KEY: &str = "FILE|pkcs11:URI|ssh-agent:FINGERPRINT";

/// Reads a [`KeySource`]. What is wrong is said without the value: a PIN could be in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyParser;

impl TypedValueParser for KeyParser {
    type Value = KeySource;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<KeySource, clap::Error> {
        // An empty value is refused as one of a file is.
        let value = PathBufValueParser::new().parse_ref(cmd, arg, value)?;
        KeySource::parse(value.as_os_str()).map_err(|e| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("{e} [{}]\n", e.kind()))
                .with_cmd(cmd)
        })
    }
}

/// Makes the key that is named ready to sign.
///
/// # Errors
/// Exit code 2.
pub(crate) fn open(source: &KeySource, args: &PassphraseArgs) -> Result<Box<dyn Signer>, Fail> {
    source.open(&args.unlock()).map_err(|e| {
        let fail = Fail::usage(e.kind(), e.to_string());
        let name = match source {
            KeySource::File(_) => "key file",
            _ => "key",
        };
        let fail = fail.detail(name, source.to_string());
        match (source, e.kind()) {
            (KeySource::Agent(_), "key-not-found") => {
                fail.hint("`ssh-add FILE` adds a key; `ssh-add -l` shows their fingerprints")
            }
            (KeySource::Agent(_), _) => fail.hint(
                "the agent must have an ecdsa-sha2-nistp256 key: `ssh-keygen -t ecdsa -b 256`, and `ssh-add`",
            ),
            (KeySource::Token(_), _) => fail.hint("docs/hardware-keys.md says how tokens and their keys are named"),
            (KeySource::File(_), _) => fail,
        }
    })
}

/// The keys that are named.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_all(
    sources: &[KeySource],
    args: &PassphraseArgs,
) -> Result<Vec<Box<dyn Signer>>, Fail> {
    sources.iter().map(|s| open(s, args)).collect()
}

/// The same as what statements are signed with.
pub(crate) fn borrowed(signers: &[Box<dyn Signer>]) -> Vec<&dyn Signer> {
    signers.iter().map(AsRef::as_ref).collect()
}
