//! What shows that a log did not do as it signed is kept, below `evidence/` beside the state.

use crate::cmd::common::write_private;
use crate::fail::Fail;
use ledger::{hex32, sha256};
use serde_json::Value;
use std::path::Path;

/// Files of evidence at most: what a log did first counts, and it shall fill no disk.
const MOST: usize = 100;

/// Keeps a document, and names it in the failure.
pub(super) fn keep(state: &Path, word: &str, document: &Value, fail: Fail) -> Fail {
    match write(state, word, document) {
        Some(file) => fail.detail("evidence", file),
        None => fail.detail("evidence", "it cannot be kept: see the state directory"),
    }
}

fn write(state: &Path, word: &str, document: &Value) -> Option<String> {
    let bytes = ledger::json::to_canonical(document).ok()?;
    let directory = state.join("evidence");
    std::fs::create_dir_all(&directory).ok()?;
    let name: String = hex32(&sha256(&bytes)).chars().take(16).collect();
    let path = directory.join(format!("{word}-{name}.json"));
    if !path.exists() {
        if std::fs::read_dir(&directory).ok()?.count() >= MOST {
            return None;
        }
        write_private(&path, &bytes).ok()?;
    }
    Some(path.display().to_string())
}
