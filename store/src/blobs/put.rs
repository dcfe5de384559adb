//! The order in which bytes become a blob. Nothing else in this crate makes one visible.

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;

use crate::clock::now;
use crate::disk::{self, Copy, Received};
use crate::error::Result;
use crate::index::rows::{self, Stored};
use crate::store::Shared;

impl Shared {
    /// Makes received bytes visible: durable file, durable name, durable row, in this order.
    pub(super) fn publish(&self, received: Received) -> Result<BlobRef> {
        let blob = received.blob;
        let path = self.layout.blob(&blob.id);
        let _turn = self.turn(&blob.id);
        let known = self.index.read(|reader| Ok(rows::find(reader, blob.id)?))?;
        // A copy that cannot be read is as good as none: the right bytes are at hand.
        let copy = disk::inspect(&path, blob).unwrap_or(Copy::Damaged);
        match copy {
            Copy::Sound => {
                if let Some(stored) = known
                    && stored.sound
                    && stored.inline.is_none()
                {
                    self.renew(&stored)?;
                    return Ok(blob);
                }
                // Left by a process that ended before it wrote the row, or waiting to be removed.
                disk::sync_file(&path)?;
            }
            Copy::Damaged => {
                self.set_aside(blob.id)?;
                received.publish(&path)?;
            }
            Copy::Missing => received.publish(&path)?,
        }
        disk::sync_dir(&self.layout.shard(crate::layout::shard_of(&blob.id)))?;
        self.index.write(|transaction| Ok(rows::insert(transaction, blob, None, now())?))?;
        Ok(blob)
    }

    /// Stores a small blob in the index.
    pub(super) fn put_inline(&self, bytes: &[u8]) -> Result<BlobRef> {
        let blob = BlobRef { id: BlobId::of(bytes), size: bytes.len() as u64 };
        let (now, id) = (now(), blob.id);
        self.index.write(|transaction| {
            if let Some(stored) = rows::find(transaction, id)?
                && stored.sound
                && let Some(row) = stored.inline
                && rows::inline_bytes(transaction, row)? == bytes
            {
                if stored.is_stale(now) {
                    rows::touch(transaction, id, now)?;
                }
                return Ok(());
            }
            Ok(rows::insert(transaction, blob, Some(bytes), now)?)
        })?;
        Ok(blob)
    }

    fn renew(&self, stored: &Stored) -> Result<()> {
        let now = now();
        if stored.is_stale(now) {
            self.index.write(|transaction| Ok(rows::touch(transaction, stored.blob.id, now)?))?;
        }
        Ok(())
    }
}
