//! How entries lie in sled. Each record costs an insertion into the tree, a removal, and
//! records in sled's log for both, so the entries of a batch are joined to packs, and a pack is
//! cut into pieces.
//!
//! A pack is consecutive entries, each after its length in four bytes, big-endian. None crosses
//! a multiple of [`PACK_ENTRIES`], so that full bundles are dropped without reading a pack.

use crate::store::StoreError;
use crate::store::synced::{PIECE, failed};
use std::ops::Range;
use tlog::tile::TILE_WIDTH;

/// An entry by itself, as versions before packs wrote it: this byte, then the index in
/// big-endian; from the second piece on, the piece's number in two bytes.
pub(super) const ENTRY: u8 = b'e';
/// A pack's pieces: this byte, the first entry's index in big-endian, and the piece's number in
/// two bytes.
pub(super) const PACK: u8 = b'p';
/// A pack ends before each multiple of this.
pub(super) const PACK_ENTRIES: u64 = TILE_WIDTH as u64;

/// Length of a key without a piece's number.
const KEY: usize = 9;

/// The key of a kind of record at an index, without a piece's number.
fn key(kind: u8, index: u64) -> [u8; KEY] {
    let mut key = [kind; KEY];
    for (to, from) in key.iter_mut().skip(1).zip(index.to_be_bytes()) {
        *to = from;
    }
    key
}

/// The keys of a kind of record at these indexes, with all their pieces.
pub(super) fn keys(kind: u8, indexes: Range<u64>) -> Range<[u8; KEY]> {
    key(kind, indexes.start)..key(kind, indexes.end)
}

/// The index in a key, and which piece it is.
fn parse_key(key: &[u8]) -> Result<(u64, usize), StoreError> {
    let parsed = || {
        let (index, piece) = key.get(1..)?.split_first_chunk::<8>()?;
        let piece = match piece {
            [] => 0,
            [high, low] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return None,
        };
        Some((u64::from_be_bytes(*index), piece))
    };
    parsed()
        .ok_or_else(|| StoreError::Damaged("hot state: an entry's key has another length".into()))
}

/// Adds entries, in order of their indexes, to what is written.
pub(super) fn insert(
    writes: &mut sled::Batch,
    entries: &[(u64, Vec<u8>)],
) -> Result<(), StoreError> {
    let follows = |a: u64, b: u64| a.checked_add(1) == Some(b) && !b.is_multiple_of(PACK_ENTRIES);
    for pack in entries.chunk_by(|(a, _), (b, _)| follows(*a, *b)) {
        let mut bytes = Vec::with_capacity(pack.iter().map(|(_, e)| e.len() + 4).sum());
        for (_, entry) in pack {
            let length = u32::try_from(entry.len()).map_err(failed)?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(entry);
        }
        let first = pack.first().map_or(0, |(index, _)| *index);
        for (number, piece) in (0u32..).zip(bytes.chunks(PIECE)) {
            let number = u16::try_from(number).map_err(failed)?;
            let mut key = [0; KEY + 2];
            let parts = self::key(PACK, first)
                .into_iter()
                .chain(number.to_be_bytes());
            for (to, from) in key.iter_mut().zip(parts) {
                *to = from;
            }
            writes.insert(&key, piece);
        }
    }
    Ok(())
}

/// Joins the pieces of each record, in order of their keys.
pub(super) fn join(pieces: sled::Iter) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let mut whole: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut next = 0;
    for item in pieces {
        let (key, piece) = item.map_err(failed)?;
        let (index, number) = parse_key(&key)?;
        match whole.last_mut() {
            _ if number == 0 => whole.push((index, piece.to_vec())),
            Some((last, bytes)) if *last == index && number == next => {
                bytes.extend_from_slice(&piece);
            }
            _ => {
                return Err(StoreError::Damaged(format!(
                    "hot state: entry {index} lacks a piece"
                )));
            }
        }
        next = number + 1;
    }
    Ok(whole)
}

/// The entries of the pack that begins at index `first`.
pub(super) fn unpack(first: u64, pack: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let (mut entries, mut rest) = (Vec::new(), pack);
    while !rest.is_empty() {
        let entry = rest.split_first_chunk::<4>().and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let index = first.checked_add(u64::try_from(entries.len()).ok()?)?;
            Some((index, rest.split_at_checked(length)?))
        });
        let Some((index, (entry, after))) = entry else {
            return Err(StoreError::Damaged(format!(
                "hot state: the entries from {first} on are cut short"
            )));
        };
        entries.push((index, entry.to_vec()));
        rest = after;
    }
    Ok(entries)
}
