//! The order in which bytes become a blob. Nothing but this and the commit of a batch makes one visible.

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;

use crate::clock::now;
use crate::disk::{self, Copy, Received};
use crate::error::Result;
use crate::index::Transaction;
use crate::index::rows::{self, Place, Stored};
use crate::layout::shard_of;
use crate::store::Shared;

impl Shared {
    /// Makes received bytes visible: durable file, durable name, durable row, in this order.
    pub(super) fn publish(&self, received: Received) -> Result<BlobRef> {
        let blob = received.blob;
        let path = self.layout.blob(&blob.id);
        let _turn = self.turn(&blob.id);
        let known = self.index.read(|reader| Ok(rows::find(reader, blob.id)?))?;
        if let Some(stored) = known.filter(|stored| stored.sound && stored.place != Place::File)
            && self.examine(&stored).is_ok_and(|copy| copy == Copy::Sound)
        {
            self.renew(&stored)?;
            return Ok(blob);
        }
        // A copy that cannot be read is as good as none: the right bytes are at hand.
        let copy = disk::inspect(&path, blob).unwrap_or(Copy::Damaged);
        match copy {
            Copy::Sound => {
                if let Some(stored) = known.filter(|stored| stored.sound && stored.place == Place::File) {
                    self.renew(&stored)?;
                    return Ok(blob);
                }
                // Left by a process that ended before it wrote the row, or waiting to be removed.
                disk::sync_file(&path)?;
            }
            Copy::Damaged => {
                self.set_aside(&path, blob.id)?;
                received.publish(&path)?;
            }
            Copy::Missing => received.publish(&path)?,
        }
        disk::sync_dir(&self.layout.shard(shard_of(&blob.id)))?;
        self.index.write(|transaction| Ok(rows::insert(transaction, blob, None, now())?))?;
        Ok(blob)
    }

    /// Stores a small blob in the index.
    pub(super) fn put_inline(&self, bytes: &[u8]) -> Result<BlobRef> {
        let blob = BlobRef { id: BlobId::of(bytes), size: bytes.len() as u64 };
        let now = now();
        disk::require_headroom(self.layout.root(), blob.size)?;
        // A read of a pack is not for the time that a transaction holds up others.
        let packed = self.index.read(|reader| Ok(rows::find(reader, blob.id)?))?;
        if let Some(stored) =
            packed.filter(|stored| stored.sound && matches!(stored.place, Place::Packed { .. }))
            && self.examine(&stored).is_ok_and(|copy| copy == Copy::Sound)
        {
            self.renew(&stored)?;
            return Ok(blob);
        }
        self.index.write(|transaction| Ok(self.insert_inline(transaction, blob, bytes, now)?))?;
        Ok(blob)
    }

    /// Records a small blob with its bytes, unless it is in the index already.
    pub(crate) fn insert_inline(
        &self,
        transaction: &Transaction<'_>,
        blob: BlobRef,
        bytes: &[u8],
        now: u64,
    ) -> rusqlite::Result<()> {
        if let Some(stored) = rows::find(transaction, blob.id)?
            && stored.sound
            && let Place::Inline(row) = stored.place
            && rows::inline_bytes(transaction, row)? == bytes
        {
            return rows::renew(transaction, &stored, now);
        }
        rows::insert(transaction, blob, Some(bytes), now)
    }

    fn renew(&self, stored: &Stored) -> Result<()> {
        let now = now();
        if stored.is_stale(now) {
            self.index.write(|transaction| Ok(rows::renew(transaction, stored, now)?))?;
        }
        Ok(())
    }
}
