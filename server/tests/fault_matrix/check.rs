//! The full check after a restart.

use crate::start;
use crate::story::{Expected, Story};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tlog::proof::verify_consistency;
use tlog::tile::{EntryTile, width_at};

/// Restarts on `dir` and checks all of it: the log must be `want`, and follow from the
/// checkpoint at `before`. Then goes on by one leaf.
pub fn check(dir: &Path, story: &Story, before: &Expected, want: &Expected, case: &str) {
    let server = start(dir);
    let log = server.log();
    assert_eq!(log.read_only(), None, "{case}");
    let (view, size) = (log.view(), want.size);
    assert_eq!((view.size, view.root), (size, want.root), "{case}");
    let lines: Vec<&str> = view.note.lines().collect();
    assert_eq!(lines[1], size.to_string(), "{case}");
    assert_eq!(lines[2], ledger::b64(&want.root), "{case}");
    let reader = log.reader(&view);
    let proof = reader.consistency(before.size, size).unwrap();
    verify_consistency(before.size, &before.root, size, &want.root, &proof).unwrap();
    // Every full blob as a file and nothing beside them; then the entries that are in none.
    let mut found = BTreeSet::new();
    names(&dir.join("public/tile"), "tile", &mut found);
    found.retain(|path| !path.ends_with(".tmp"));
    assert!(found.iter().eq(want.blobs.keys()), "{case}: {found:?}");
    for (path, bytes) in &want.blobs {
        let stands = fs::read(dir.join("public").join(path)).unwrap();
        assert!(stands == *bytes, "{case}: {path}");
    }
    let (index, width) = (size / 256, width_at(size, 0, size / 256));
    if width > 0 {
        let entries = reader.entries(&EntryTile { index, width }).unwrap();
        let leaves = story.range(index * 256, size);
        assert!(entries.iter().map(|e| &e[..]).eq(leaves.iter()), "{case}");
    }
    // The index is exactly as far, and the ledger proves what the last release says.
    assert_eq!(log.index.size().unwrap(), size, "{case}");
    for (pae, index) in &story.releases {
        let stands = (*index < size).then_some(*index);
        assert_eq!(log.index.by_pae(pae).unwrap(), stands, "{case}");
    }
    let last = story.releases.iter().rfind(|(_, i)| *i < size).unwrap().1;
    let bundle = countersign_server::bundles::make(log, last).unwrap();
    let bundle = ledger::bundle::Bundle::parse(&bundle.unwrap()).unwrap();
    assert_eq!(bundle.entry.index, last, "{case}");
    let next = b"{\"apiVersion\":\"countersign/v1\",\"kind\":\"next\"}".to_vec();
    assert_eq!(server.fill(vec![next]).unwrap(), size + 1, "{case}");
}

pub fn names(dir: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    let Ok(items) = fs::read_dir(dir) else { return };
    for item in items {
        let item = item.unwrap();
        let name = format!("{prefix}/{}", item.file_name().to_string_lossy());
        if item.file_type().unwrap().is_dir() {
            names(&item.path(), &name, found);
        } else {
            found.insert(name);
        }
    }
}
