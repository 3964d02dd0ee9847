//! The values of an index's rows: hashes as 32 bytes and words as they are, since there is a
//! row or more for each release and the index is most of what a log needs beside its entries.
//! The log index is in the row's key.

use super::{DigestHit, ProjectHit, StoreError};
use ledger::{Hash, from_hex32, hex32};

/// Which optional fields follow, as bits.
const STATEMENT: u8 = 1;
const PURL: u8 = 2;

fn damaged() -> StoreError {
    StoreError::Damaged("index: a row has another form".into())
}

fn hash(hex: &str) -> Result<Hash, StoreError> {
    from_hex32(hex).ok_or_else(damaged)
}

fn text(bytes: &[u8]) -> Result<String, StoreError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| damaged())
}

/// Project id, length of the purl in two bytes big-endian, purl, name.
pub(crate) fn digest_value(hit: &DigestHit) -> Result<Vec<u8>, StoreError> {
    let purl = hit.purl.as_bytes();
    let length = u16::try_from(purl.len()).map_err(|_| damaged())?;
    let project = hash(&hit.project)?;
    Ok([
        &project[..],
        &length.to_be_bytes(),
        purl,
        hit.name.as_bytes(),
    ]
    .concat())
}

/// Reads [`digest_value`].
pub(crate) fn digest_hit(index: u64, value: &[u8]) -> Result<DigestHit, StoreError> {
    let parts = || {
        let (project, rest) = value.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (purl, name) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some((project, purl, name))
    };
    let (project, purl, name) = parts().ok_or_else(damaged)?;
    Ok(DigestHit {
        index,
        project: hex32(project),
        purl: text(purl)?,
        name: text(name)?,
    })
}

/// Which optional fields follow, length of the word in one byte, the word, the statement's
/// hash, the purl.
pub(crate) fn project_value(hit: &ProjectHit) -> Result<Vec<u8>, StoreError> {
    let mut fields = 0;
    let mut statement = Vec::new();
    if let Some(hex) = &hit.statement {
        fields |= STATEMENT;
        statement = hash(hex)?.to_vec();
    }
    let purl = hit.purl.as_deref().unwrap_or_default();
    if hit.purl.is_some() {
        fields |= PURL;
    }
    let length = u8::try_from(hit.what.len()).map_err(|_| damaged())?;
    Ok([
        &[fields, length],
        hit.what.as_bytes(),
        &statement,
        purl.as_bytes(),
    ]
    .concat())
}

/// Reads [`project_value`].
pub(crate) fn project_hit(index: u64, value: &[u8]) -> Result<ProjectHit, StoreError> {
    let (&[fields, length], rest) = value.split_first_chunk::<2>().ok_or_else(damaged)?;
    let (what, rest) = rest
        .split_at_checked(usize::from(length))
        .ok_or_else(damaged)?;
    let (statement, rest) = match fields & STATEMENT {
        0 => (None, rest),
        _ => {
            let (hash, rest) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
            (Some(hex32(hash)), rest)
        }
    };
    let purl = match fields & PURL {
        0 if rest.is_empty() => None,
        0 => return Err(damaged()),
        _ => Some(text(rest)?),
    };
    if fields & !(STATEMENT | PURL) != 0 {
        return Err(damaged());
    }
    let what = text(what)?;
    Ok(ProjectHit {
        index,
        what,
        purl,
        statement,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_come_back_as_they_were(
            (index, id, purl, name) in (any::<u64>(), any::<[u8; 32]>(), ".{0,40}", ".{0,40}"),
            (what, has_purl, has_statement) in ("[a-z]{0,12}", any::<bool>(), any::<bool>()),
        ) {
            let project = hex32(&id);
            let hit = DigestHit { index, project: project.clone(), purl: purl.clone(), name };
            prop_assert_eq!(digest_hit(index, &digest_value(&hit).unwrap()), Ok(hit));
            let (purl, statement) = (has_purl.then_some(purl), has_statement.then_some(project));
            let hit = ProjectHit { index, what, purl, statement };
            prop_assert_eq!(project_hit(index, &project_value(&hit).unwrap()), Ok(hit));
        }

        #[test]
        fn whatever_is_read_has_one_form(value in prop::collection::vec(any::<u8>(), 0..90)) {
            if let Ok(hit) = digest_hit(7, &value) {
                prop_assert_eq!(digest_value(&hit).unwrap(), value.clone());
            }
            let mut value = value;
            if let Some(fields) = value.first_mut() {
                *fields %= 5;
            }
            if let Ok(hit) = project_hit(7, &value) {
                prop_assert_eq!(project_value(&hit).unwrap(), value);
            }
        }
    }
}
