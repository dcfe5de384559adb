//! Packs: removing those that nothing is in any more, and writing those anew that hold little.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use buildswarm_core::BlobId;

use super::Tally;
use crate::disk;
use crate::error::{Error, Result};
use crate::index::rows::{PackNumber, Place, Stored};
use crate::layout::shard_of;
use crate::packs::{Compression, PACK_BYTES, Pack, PackReader, PackWriter, Packed, rows};
use crate::room::Meter;
use crate::store::Shared;

impl Shared {
    /// Removes packs without blobs, those of an interrupted collection too, and moves blobs out of packs of which less than
    /// half is in use. What was really removed.
    ///
    /// Writing anew takes room before it gives any, so what is empty goes first; what there is no room for stays as it is.
    pub(super) fn sweep_packs(&self) -> Result<Tally> {
        let mut removed = self.remove_empty_packs()?;
        let wasteful = self.index.read(|reader| Ok(rows::wasteful(reader)?))?;
        let mut rest = wasteful.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let round = rest.iter().take_while(|(_, used)| {
                let fits = bytes < PACK_BYTES;
                bytes += used;
                fits
            });
            let round: Vec<PackNumber> = round.map(|(number, _)| *number).collect();
            rest = &rest[round.len()..];
            match self.repack(&round) {
                Ok(()) => removed.join(self.remove_empty_packs()?),
                Err(Error::NoSpace { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    fn remove_empty_packs(&self) -> Result<Tally> {
        if self.index.read(|reader| Ok(rows::has_empty(reader)?))? {
            self.index.write(|transaction| Ok(rows::condemn_empty(transaction)?))?;
        }
        self.remove_condemned_packs()
    }

    /// As the blobs: file, directory, row. A batch that makes the very same pack meanwhile wins.
    fn remove_condemned_packs(&self) -> Result<Tally> {
        let mut removed = Tally::default();
        let condemned = self.index.read(|reader| Ok(rows::condemned(reader)?))?;
        for (number, pack) in &condemned {
            self.unlink_condemned_pack(*number, *pack)?;
        }
        if condemned.is_empty() {
            return Ok(removed);
        }
        disk::sync_dir(&self.layout.packs())?;
        let gone = self.index.write(|transaction| {
            let gone = condemned.iter().map(|(number, _)| rows::forget(transaction, *number));
            Ok(gone.collect::<rusqlite::Result<Vec<_>>>()?)
        })?;
        for ((number, pack), _) in condemned.iter().zip(gone).filter(|(_, gone)| *gone) {
            self.packs.forget(*number);
            removed.add(pack.size);
        }
        Ok(removed)
    }

    /// Removes the file of a pack that is still condemned.
    fn unlink_condemned_pack(&self, number: PackNumber, pack: Pack) -> Result<bool> {
        let _turn = self.turn(&pack.id);
        if !self.index.read(|reader| Ok(rows::is_condemned(reader, number)?))? {
            return Ok(false);
        }
        disk::remove(&self.layout.pack(&pack.id))
    }

    /// Copies the sound blobs of packs into new ones, verified, and lets their rows follow.
    fn repack(&self, numbers: &[PackNumber]) -> Result<()> {
        let mut moving = BTreeMap::new();
        let (mut packed, mut meters) = (Vec::new(), Vec::new());
        for compression in [Compression::None, Compression::Zstd] {
            let meter = Meter::beyond_quota(&self.room);
            let mut writer = PackWriter::new(&self.layout.tmp(), compression, meter);
            for number in numbers {
                self.copy_pack(*number, &mut writer, compression, &mut moving)?;
            }
            let (written, meter) = writer.finish()?;
            packed.extend(written);
            meters.extend(meter);
        }
        self.settle_moved(packed, &moving)?;
        meters.into_iter().for_each(Meter::keep);
        Ok(())
    }

    /// Copies the sound blobs of a pack, if it is stored like this.
    fn copy_pack(
        &self,
        number: PackNumber,
        writer: &mut PackWriter,
        compression: Compression,
        moving: &mut BTreeMap<BlobId, Stored>,
    ) -> Result<()> {
        let Some(file) = self.open_pack(number)? else {
            self.condemn_pack(number)?;
            return Ok(());
        };
        if file.is_plain() != (compression == Compression::None) {
            return Ok(());
        }
        let mut pack = PackReader::new(file);
        for stored in self.index.read(|reader| Ok(rows::members(reader, number)?))? {
            let Place::Packed { position, .. } = stored.place else { continue };
            let mut content =
                Content { pack: &mut pack, position, left: stored.blob.size, unreadable: false };
            if writer.add_from(stored.blob, &mut content)? {
                moving.insert(stored.blob.id, stored);
            } else if !content.unreadable {
                self.condemn(stored.blob.id)?;
            }
        }
        Ok(())
    }

    /// Makes the new packs visible and the old ones empty, in one transaction.
    fn settle_moved(&self, packed: Vec<Packed>, moving: &BTreeMap<BlobId, Stored>) -> Result<()> {
        if packed.is_empty() {
            return Ok(());
        }
        let shards: BTreeSet<u8> = packed.iter().map(|packed| shard_of(&packed.pack.id)).collect();
        let _turns: Vec<_> = shards.into_iter().map(|shard| self.shard(shard)).collect();
        let packs = self.publish_packs(packed)?;
        self.index.write(|transaction| {
            for (pack, members) in &packs {
                let number = rows::insert(transaction, *pack)?;
                for member in members {
                    if let Some(from) = moving.get(&member.blob.id) {
                        rows::move_member(transaction, from, number, member.position)?;
                    }
                }
            }
            Ok(())
        })
    }
}

/// The bytes of a blob in a pack, as far as they can be had: what ends early has another digest.
struct Content<'a> {
    pack: &'a mut PackReader,
    position: u64,
    left: u64,
    /// Nothing is known of the bytes.
    unreadable: bool,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let window = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let found = match self.pack.at(self.position) {
            Ok(found) => found,
            Err(error) => {
                self.unreadable = error.kind() != io::ErrorKind::InvalidData;
                return Ok(0);
            }
        };
        let count = found.len().min(window);
        buffer[..count].copy_from_slice(&found[..count]);
        self.position += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use buildswarm_core::time::UnixSeconds;

    use super::*;
    use crate::gc::mark::Collector;
    use crate::{GcOptions, Store};

    #[test]
    fn a_batch_wins_between_any_two_steps() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let shared = &store.shared;
        let content = vec![1; 100_000];
        let put = || {
            let batch = store.batch(Compression::None).unwrap();
            let blob = batch.put_bytes(&content).unwrap();
            batch.commit().unwrap();
            blob
        };
        let blob = put();
        let options = GcOptions {
            now: UnixSeconds(4_000_000_000),
            dry_run: false,
            keep_days: 0,
            grace_seconds: 0,
            quota: None,
            evict_artifacts: false,
        };
        Collector::begin(shared, &options).unwrap().mark().unwrap();
        shared.sweep().unwrap();
        shared.index.write(|transaction| Ok(rows::condemn_empty(transaction)?)).unwrap();
        let condemned = shared.index.read(|reader| Ok(rows::condemned(reader)?)).unwrap();
        let [(number, pack)] = condemned[..] else { panic!("{condemned:?}") };
        put();
        assert!(!shared.unlink_condemned_pack(number, pack).unwrap());
        assert!(!shared.index.write(|transaction| Ok(rows::forget(transaction, number)?)).unwrap());
        assert_eq!(store.read_blob(blob.id, 1 << 20).unwrap(), content);
        store.gc(options).unwrap();
        assert!(!store.contains(blob.id).unwrap());
    }
}
