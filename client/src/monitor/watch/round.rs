//! All fetches of one address in one poll, and which bytes came to whom.

use super::got::{Bytes, Came, Fetch, Got, Marks, Way};
use crate::fail::Fail;
use ledger::Hash;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::time::Instant;

/// All fetches of one address.
pub(super) struct Round {
    pub(super) got: Vec<Got>,
    /// When the last byte had come.
    pub(super) ended: Instant,
    /// Bytes that were read of each at most.
    pub(super) limit: u64,
}

/// Bytes that came, and to whom.
pub(super) struct Group<'a> {
    /// Of the bytes, or of the part that was read.
    pub(super) sha256: Hash,
    pub(super) over: bool,
    pub(super) bytes: &'a Bytes,
    pub(super) got: Vec<&'a Got>,
}

impl Group<'_> {
    /// To whom, for people.
    pub(super) fn labels(&self) -> String {
        let labels: Vec<&str> = self.got.iter().map(|g| g.label.as_str()).collect();
        labels.join("; ")
    }
}

impl Round {
    /// Fetches as each client; and once as one that has the bytes of `marks` already.
    pub(super) fn fetch(fetch: &Fetch<'_>, ways: &[Way], marks: Option<&Marks>) -> Self {
        let mut got: Vec<Got> = Vec::with_capacity(ways.len() + 1);
        let conditional = ways.first().zip(marks);
        let asked = ways.iter().map(|way| (way, None));
        for (way, marks) in asked.chain(conditional.map(|(w, m)| (w, Some(m)))) {
            let mut one = fetch.run(way, marks);
            // The same bytes are held once.
            if let Came::Bytes(b) = &mut one.came
                && got.iter().any(|g| same(g, b))
            {
                b.file = None;
            }
            got.push(one);
        }
        Self {
            got,
            ended: Instant::now(),
            limit: fetch.limit,
        }
    }

    /// The different bytes that came whole, or were cut off by us.
    pub(super) fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<(bool, Hash), Group<'_>> = BTreeMap::new();
        for got in &self.got {
            let Some(bytes) = got.bytes() else { continue };
            let group = groups.entry((bytes.over, bytes.sha256));
            let group = group.or_insert_with(|| Group {
                sha256: bytes.sha256,
                over: bytes.over,
                bytes,
                got: Vec::new(),
            });
            group.got.push(got);
        }
        groups.into_values().collect()
    }

    /// What broke off after some bytes.
    pub(super) fn broken(&self) -> impl Iterator<Item = (&Got, &Bytes, &Fail)> {
        self.got.iter().filter_map(|got| match &got.came {
            Came::Bytes(b) => b.broken.as_ref().map(|fail| (got, b, fail)),
            _ => None,
        })
    }

    /// Answers that were none.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&Got, &Fail)> {
        self.got.iter().filter_map(|got| match &got.came {
            Came::Nothing(fail) => Some((got, fail)),
            Came::Bytes(b) => b.broken.as_ref().map(|fail| (got, fail)),
            Came::NotModified => None,
        })
    }

    /// What the first client was served, which a conditional request is compared with.
    pub(super) fn first(&self) -> Option<&Bytes> {
        self.got.first()?.bytes().filter(|b| !b.over)
    }

    /// Whether the server said that nothing is new.
    pub(super) fn not_modified(&self) -> bool {
        self.got.iter().any(|g| matches!(g.came, Came::NotModified))
    }
}

fn same(got: &Got, bytes: &Bytes) -> bool {
    let Came::Bytes(b) = &got.came else {
        return false;
    };
    b.file.is_some() && b.sha256 == bytes.sha256 && b.size == bytes.size
}

/// Whether `part` is how `all` begins; `None` where that cannot be read.
pub(super) fn begins(all: &Bytes, part: &Bytes) -> Option<bool> {
    if part.size > all.size {
        return Some(false);
    }
    let open = |b: &Bytes| b.file.as_ref().and_then(|f| File::open(f.path()).ok());
    // What came twice is held once: the same bytes need no comparing.
    if part.sha256 == all.sha256 {
        return Some(true);
    }
    let (mut all, mut part) = (open(all)?, open(part)?);
    let (mut a, mut b) = ([0; 8192], [0; 8192]);
    loop {
        let n = part.read(&mut b).ok()?;
        if n == 0 {
            return Some(true);
        }
        let (a, b) = (a.get_mut(..n)?, b.get(..n)?);
        all.read_exact(a).ok()?;
        if a != b {
            return Some(false);
        }
    }
}
