//! What a walk's calling thread does: the fold, and the tree above level 0, in order.

use super::again;
use super::bundle::{self, Checked, Item, Keys, Signed};
use super::{At, Counts, Finding, MOST_MISSING, Mark, Observer, Source, Stopped, Walked};
use crate::fold::{Fold, Refusal};
use crate::leaf::Leaf;
use crate::released::Earlier;
use tlog::tile::{EntryTile, Tile};
use tlog::tree::{Edge, FullTile};

pub(super) struct State<'a, S, O> {
    pub(super) source: &'a S,
    pub(super) observer: &'a mut O,
    pub(super) keys: &'a Keys,
    pub(super) edge: Edge,
    pub(super) fold: Fold,
    pub(super) whole: bool,
    pub(super) folded: bool,
    pub(super) head_wrong: bool,
    pub(super) marks: Vec<Mark>,
    pub(super) wanted: &'a [u64],
    /// Leaves of the whole log.
    pub(super) size: u64,
    pub(super) unreadable_counts: bool,
    pub(super) counts: Counts,
    pub(super) last: Option<Leaf>,
    /// Bundles in a row that are not there.
    pub(super) missing: u64,
}

impl<S: Source, O: Observer> State<'_, S, O> {
    /// Notes root and state where they are wanted at just this size.
    pub(super) fn mark(&mut self) {
        while let Some((size, rest)) = self.wanted.split_first() {
            if *size != self.edge.size() || !self.whole {
                return;
            }
            self.marks.push(Mark {
                size: *size,
                root: self.edge.root(),
                fold: self.fold.digest(),
            });
            self.wanted = rest;
        }
    }

    pub(super) fn take(&mut self, checked: Checked) -> Result<(), Stopped> {
        let Checked {
            tile,
            bytes,
            items,
            hashes,
            tiles,
            findings,
            failed,
        } = checked;
        if let Some((path, why)) = failed {
            return Err(Stopped::Source { path, why });
        }
        for finding in findings {
            self.observer.finding(finding);
        }
        self.counts.tiles += tiles;
        self.counts.bundles += 1;
        self.missing = if bytes.is_some() { 0 } else { self.missing + 1 };
        self.counts.bytes += bytes.as_ref().map_or(0, |b| b.len() as u64);
        self.counts.leaves += u64::from(tile.width);
        if items.len() != usize::from(tile.width) {
            self.end_fold(&tile, "the bundle cannot be read");
        }
        if hashes.len() != usize::from(tile.width) {
            self.whole = false;
        }
        let mut items = items.into_iter();
        let bytes = bytes.unwrap_or_default();
        let read = again::Read {
            tile: &tile,
            bytes: &bytes,
        };
        let mut rest = hashes.as_slice();
        while self.whole && !rest.is_empty() {
            // Up to the next mark, so that it is met exactly.
            let until = self.wanted.first().map_or(rest.len(), |size| {
                usize::try_from(size - self.edge.size()).unwrap_or(usize::MAX)
            });
            let (now, later) = rest.split_at(until.min(rest.len()));
            for item in items.by_ref().take(now.len()) {
                self.leaf(read, item);
            }
            for full in self.edge.append(now) {
                self.compare(full)?;
            }
            rest = later;
            self.mark();
        }
        for item in items {
            self.leaf(read, item);
        }
        self.fold.forget_released(self.fold.size());
        let at = At {
            size: self.counts.leaves,
            edge: &self.edge,
            bytes: self.counts.bytes,
            whole: self.whole,
            fold: &self.fold,
            folded: self.folded,
            head_wrong: self.head_wrong,
            counts: &self.counts,
            marks: &self.marks,
        };
        self.observer.bundle(&tile, &bytes, &at);
        Ok(())
    }

    /// Whether so much is missing that the rest is not asked for, which is then a finding.
    pub(super) fn gives_up(&mut self) -> bool {
        let ends = self.missing >= MOST_MISSING && !self.whole && self.counts.leaves < self.size;
        if ends {
            let what = format!(
                "{MOST_MISSING} bundles in a row are not there: the rest, to entry {}, was not asked for",
                self.size
            );
            let path = "tile/entries";
            self.observer
                .finding(Finding::new("walk-ended", path, what));
        }
        ends
    }

    fn end_fold(&mut self, tile: &EntryTile, why: &str) {
        if self.folded {
            self.folded = false;
            let what = format!(
                "{why}: who may say what is not checked from entry {} on",
                self.fold.size()
            );
            self.observer
                .finding(Finding::new("fold-ended", tile.path(), what));
        }
    }

    fn leaf(&mut self, read: again::Read<'_>, item: Item) {
        let tile = read.tile;
        let Item { leaf, signed } = item;
        let leaf = match leaf {
            Some(leaf) => leaf,
            None if self.unreadable_counts => Leaf::Unknown {
                kind: "unreadable".to_owned(),
            },
            // Said by the worker already.
            None => return self.end_fold(tile, "a leaf cannot be read"),
        };
        if !self.folded {
            return;
        }
        let index = self.fold.size();
        // A key that no worker knew may have been listed since, in a bundle before this one.
        let signed = match (signed, &leaf) {
            (Signed::UnknownKey, Leaf::Statement(s)) => self.keys.verify(&s.envelope),
            (signed, _) => signed,
        };
        if let Signed::Bad(why) = signed {
            let what = format!("entry {index}: {why}");
            self.observer
                .finding(Finding::new("bad-signature", tile.path(), what));
            return self.end_fold(tile, "an entry's signature is bad");
        }
        let unverified = matches!(signed, Signed::UnknownKey);
        if let Some(time) = leaf.time().filter(|t| *t < self.fold.last_time()) {
            let last = self.fold.last_time();
            let what = format!("entry {index}: time {time} comes after {last}");
            self.observer
                .finding(Finding::new("time-went-back", tile.path(), what));
        }
        let earlier = self.earlier(&leaf, read);
        let outcome = match earlier {
            Ok(earlier) => self.fold.apply_with(&leaf, earlier.as_ref()),
            Err(failed) => Err(failed),
        };
        if let Err(failed @ Refusal::LookUp { .. }) = &outcome {
            // Nothing was decided, so nothing that follows could be.
            let what = format!("entry {index}: {failed}");
            self.observer
                .finding(Finding::new(failed.kind(), tile.path(), what));
            return self.end_fold(tile, "an earlier release cannot be looked up");
        }
        let projects = self.fold.about(&leaf);
        self.observer.leaf(index, &leaf, &projects, outcome.is_ok());
        match outcome {
            Ok(()) => {
                // The rules accept nothing by a key that no project lists: so this never happens.
                if unverified {
                    let what = format!("entry {index}: a key that signed it is not known");
                    let finding = Finding::new("unverified-signature", tile.path(), what);
                    self.observer.finding(finding);
                }
                self.count(&leaf);
            }
            Err(Refusal::UnknownKind(_)) => self.counts.unknown += 1,
            // Those that follow are wrong for the same reason.
            Err(Refusal::WrongHead { .. }) if self.head_wrong => {}
            Err(refusal) => {
                self.head_wrong |= matches!(refusal, Refusal::WrongHead { .. });
                let what = format!("entry {index}: {refusal}");
                self.observer
                    .finding(Finding::new(refusal.kind(), tile.path(), what));
            }
        }
        self.last = Some(leaf);
    }

    /// The leaf without which it cannot be decided whether this one is accepted.
    fn earlier(&self, leaf: &Leaf, now: again::Read<'_>) -> Result<Option<Earlier>, Refusal> {
        let Leaf::Statement(s) = leaf else {
            return Ok(None);
        };
        let Some(index) = self.fold.needs(&s.statement)? else {
            return Ok(None);
        };
        let again = again::Again {
            source: self.source,
            edge: &self.edge,
            size: self.size,
            now,
        };
        let leaf = again.leaf(index).map_err(|why| Refusal::LookUp {
            about: format!("entry {index}"),
            why,
        })?;
        Ok(Earlier::parse(index, &leaf))
    }

    fn count(&mut self, leaf: &Leaf) {
        use crate::statement::Body;
        let counter = match leaf {
            Leaf::Statement(s) => match s.statement.body {
                Body::Project(_) => &mut self.counts.projects,
                Body::Release(_) => &mut self.counts.releases,
                Body::Revocation(_) => &mut self.counts.revocations,
                Body::Withdrawal(_) => &mut self.counts.withdrawals,
                Body::KeyNote(_) => &mut self.counts.key_notes,
            },
            Leaf::Operation(_) => &mut self.counts.operations,
            Leaf::Certificate(_) => &mut self.counts.certificates,
            Leaf::Head(_) => &mut self.counts.heads,
            Leaf::Unknown { .. } => &mut self.counts.unknown,
        };
        *counter += 1;
    }

    /// Compares a tile that follows from the entries with the source's. Level 0 is done.
    fn compare(&mut self, full: FullTile) -> Result<(), Stopped> {
        let tile = full.tile();
        if full.level > 0 {
            self.compare_with(&tile, &full.bytes)?;
        }
        self.observer.tile(&tile, &full.bytes);
        Ok(())
    }

    fn compare_with(&mut self, tile: &Tile, want: &[u8]) -> Result<(), Stopped> {
        let got = self.source.tile(tile);
        match bundle::compare(tile, got, want) {
            Ok(found) => {
                self.counts.tiles += 1;
                found.into_iter().for_each(|f| self.observer.finding(f));
                Ok(())
            }
            Err(why) => Err(Stopped::Source {
                path: tile.path(),
                why,
            }),
        }
    }

    pub(super) fn end(mut self, size: u64) -> Result<Walked, Stopped> {
        if self.whole {
            for tile in (0..8).filter_map(|level| Tile::partial(size, level)) {
                let want = self.edge.partial(tile.level).concat();
                // The worker compared level 0.
                if tile.level > 0 && self.source.has_partial_tiles() {
                    self.compare_with(&tile, &want)?;
                }
                self.observer.tile(&tile, &want);
            }
        }
        let Self {
            edge,
            fold,
            whole,
            folded,
            marks,
            counts,
            last,
            ..
        } = self;
        Ok(Walked {
            edge,
            fold,
            whole,
            folded,
            marks,
            counts,
            last,
        })
    }
}
