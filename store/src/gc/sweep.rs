//! Removing what is condemned, and files the index does not know.

use std::collections::BTreeSet;
use std::path::PathBuf;

use buildswarm_core::BlobId;
use rusqlite::params;

use super::Tally;
use crate::disk;
use crate::error::{Error, Result};
use crate::index::Transaction;
use crate::index::rows::{self, Place, Stored};
use crate::index::values::Bytes32;
use crate::layout::{blob_named, shard_of};
use crate::packs;
use crate::store::Shared;

/// Blobs removed in one round: each round costs a sync for every shard it touched and one commit.
const ROUND: i64 = 512;

/// Unknown files that are no reason for doubt: more than can be in flight when a process dies.
const ORPHANS_EXPECTED: u64 = 64;

/// A file that has no row, or a blob's whose row has it elsewhere by now.
#[derive(Debug)]
pub(super) struct Orphan {
    id: BlobId,
    kind: Kind,
    path: PathBuf,
    size: u64,
}

/// What a file is by the directory it is in.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Blob,
    Pack,
}

impl Shared {
    /// Removes condemned blobs, those of an interrupted collection too. What was really removed.
    pub(super) fn sweep(&self) -> Result<Tally> {
        let mut removed = Tally::default();
        loop {
            let round = self.condemned()?;
            if round.is_empty() {
                return Ok(removed);
            }
            let mut shards = BTreeSet::new();
            for stored in round.iter().filter(|stored| stored.place == Place::File) {
                if self.unlink_condemned(stored.blob.id)? {
                    shards.insert(shard_of(&stored.blob.id));
                }
            }
            for shard in shards {
                disk::sync_dir(&self.layout.shard(shard))?;
            }
            let gone = self.index.write(|transaction| {
                let mut gone = Tally::default();
                for stored in &round {
                    if forget(transaction, stored)? {
                        gone.add(stored.blob.size);
                    }
                }
                Ok(gone)
            })?;
            removed.count += gone.count;
            removed.bytes += gone.bytes;
        }
    }

    fn condemned(&self) -> Result<Vec<Stored>> {
        self.index.read(|reader| {
            let mut query = reader.prepare_cached(&format!(
                "SELECT {} FROM blobs AS b WHERE b.state = 'condemned' LIMIT ?1",
                rows::columns("b")
            ))?;
            let found = query.query_map([ROUND], |row| Stored::from_row(row, 0))?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    /// Removes the file of a blob that is still condemned.
    fn unlink_condemned(&self, id: BlobId) -> Result<bool> {
        let _turn = self.turn(&id);
        let row = self.index.read(|reader| Ok(rows::find(reader, id)?))?;
        if row.is_none_or(|stored| stored.sound || stored.place != Place::File) {
            return Ok(false);
        }
        disk::remove(&self.layout.blob(&id))
    }

    /// Files without a row. Refuses if there are so many that the rows must have been lost.
    pub(super) fn orphans(&self) -> Result<Vec<Orphan>> {
        let mut orphans = Vec::new();
        let (mut known, mut unknown) = (0_u64, 0_u64);
        for shard in 0..=u8::MAX {
            for file in disk::list(&self.layout.shard(shard))? {
                // A file that no blob could have the name of is not ours to judge.
                let Some(id) = blob_named(shard, &file.name) else { continue };
                let row = self.index.read(|reader| Ok(rows::find(reader, id)?))?;
                *(if row.is_some() { &mut known } else { &mut unknown }) += 1;
                if row.is_none_or(|stored| stored.place != Place::File) {
                    orphans.push(Orphan { id, kind: Kind::Blob, path: file.path, size: file.size });
                }
            }
        }
        for file in disk::list(&self.layout.packs())? {
            let Ok(id) = file.name.parse() else { continue };
            if self.needs(id, Kind::Pack)? {
                known += 1;
            } else {
                unknown += 1;
                orphans.push(Orphan { id, kind: Kind::Pack, path: file.path, size: file.size });
            }
        }
        if unknown > ORPHANS_EXPECTED && unknown > known {
            let reason = format!(
                "{unknown} files in {} are unknown to the index and {known} are known: has it been replaced?",
                self.layout.blobs().display()
            );
            return Err(Error::GcRefused { reason });
        }
        Ok(orphans)
    }

    pub(super) fn remove_orphans(&self, orphans: &[Orphan], dry_run: bool) -> Result<Tally> {
        let mut removed = Tally::default();
        for orphan in orphans {
            let _turn = self.turn(&orphan.id);
            // A put that was between file and row when the files were listed has written its row by now.
            if !self.needs(orphan.id, orphan.kind)? && (dry_run || disk::remove(&orphan.path)?) {
                removed.add(orphan.size);
            }
        }
        Ok(removed)
    }

    /// Whether the index has a file of that name.
    fn needs(&self, id: BlobId, kind: Kind) -> Result<bool> {
        self.index.read(|reader| {
            Ok(match kind {
                Kind::Blob => rows::find(reader, id)?.is_some_and(|stored| stored.place == Place::File),
                Kind::Pack => packs::rows::is_known(reader, id)?,
            })
        })
    }
}

/// Removes the row of a blob that is still condemned; whether it was.
fn forget(transaction: &Transaction<'_>, stored: &Stored) -> rusqlite::Result<bool> {
    let removed = transaction
        .prepare_cached("DELETE FROM blobs WHERE id = ?1 AND state = 'condemned' AND inline IS ?2")?
        .execute(params![Bytes32::from(stored.blob.id), stored.inline()])?;
    if let Some(row) = stored.inline()
        && removed == 1
    {
        transaction.prepare_cached("DELETE FROM inline_bytes WHERE id = ?1")?.execute([row])?;
    }
    Ok(removed == 1)
}

#[cfg(test)]
mod tests {
    use buildswarm_core::time::UnixSeconds;

    use super::*;
    use crate::{GcOptions, INLINE_BYTES_MAX, Store};

    #[test]
    fn a_put_wins_between_any_two_steps() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let shared = &store.shared;
        let options =
            GcOptions { now: UnixSeconds(4_000_000_000), dry_run: false, keep_days: 0, grace_seconds: 0 };
        for content in [vec![1; INLINE_BYTES_MAX + 1], b"small".to_vec()] {
            let blob = store.put_bytes(&content).unwrap();
            shared.mark(options).unwrap();
            let round = shared.condemned().unwrap();
            assert_eq!(round.len(), 1);
            assert!(!store.contains(blob.id).unwrap(), "what is condemned is not there");
            store.put_bytes(&content).unwrap();
            assert!(!shared.unlink_condemned(blob.id).unwrap());
            let forgotten = shared.index.write(|transaction| Ok(forget(transaction, &round[0])?)).unwrap();
            assert!(!forgotten);
            assert_eq!(store.read_blob(blob.id, 1 << 20).unwrap(), content);
            store.gc(options).unwrap();
            assert!(!store.contains(blob.id).unwrap());
        }
    }
}
