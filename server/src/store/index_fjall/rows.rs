//! Every row of the index, for a check that must also see rows that no look-up asks for.

use super::{FjallIndex, SIZE, failed};
use crate::store::StoreError;
use fjall::Keyspace;

/// Which look-up a row serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Pae,
    Purl,
    Restated,
    Digest,
    Project,
    Statement,
    Standing,
}

impl FjallIndex {
    /// Gives each row to `each`: its table, key and value, in the order of keys.
    pub(crate) fn each_row(
        &self,
        mut each: impl FnMut(Table, &[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut all = |table, keyspace: &Keyspace| {
            for row in keyspace.iter() {
                let (key, value) = row.into_inner().map_err(failed)?;
                if *key == *SIZE.as_bytes() {
                    continue;
                }
                each(table, &key, &value)?;
            }
            Ok(())
        };
        all(Table::Pae, &self.pae)?;
        all(Table::Purl, &self.purl)?;
        all(Table::Restated, &self.restated)?;
        all(Table::Digest, &self.digest)?;
        all(Table::Project, &self.project)?;
        all(Table::Statement, &self.statement)?;
        all(Table::Standing, &self.standing)
    }
}
