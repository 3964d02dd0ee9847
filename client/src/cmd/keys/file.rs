//! Key files: `keys generate`, and `keys show` of a file.

use crate::cmd::common::PassphraseArgs;
use crate::cmd::signing::open;
use crate::fail::Fail;
use ::keys::file::{AnySecret, Passphrase, write_secret};
use ::keys::{KeySource, SecretKey, Signer as _};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `keys generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Where to write it; never overwritten
    #[arg(long, value_name = "KEY")]
    out: PathBuf,
    /// Write it without a passphrase: whoever reads the file can sign
    #[arg(long, conflicts_with = "passphrase_file")]
    unencrypted: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn generate(args: &GenerateArgs) -> Result<(), Fail> {
    let key = SecretKey::generate().map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    let public = key.public_key().clone();
    let source = if args.unencrypted {
        Passphrase::None
    } else {
        args.passphrase.source()
    };
    write_secret(&args.out, &AnySecret::P256(key), &source)
        .map_err(|e| Fail::usage(e.kind(), e.to_string()))?;
    print(&public, args.json);
    Ok(())
}

/// Shows the public half of a key, wherever it is.
pub(super) fn show(
    source: &KeySource,
    passphrase: &PassphraseArgs,
    as_json: bool,
) -> Result<(), Fail> {
    print(open(source, passphrase)?.public_key(), as_json);
    Ok(())
}

fn print(key: &::keys::PublicKey, as_json: bool) {
    let (id, spki) = (key.id().to_string(), ledger::b64(key.spki_der()));
    if as_json {
        sayln!(
            "{}",
            json!({ "id": id, "algorithm": "ECDSA-P256-SHA256", "spki": spki })
        );
    } else {
        sayln!("id:   {id}\nspki: {spki}");
    }
}
