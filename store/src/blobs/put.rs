//! The order in which bytes become a blob. Nothing else in this crate makes one visible.

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;

use crate::clock::now;
use crate::disk::{self, Copy, Received};
use crate::error::Result;
use crate::gc::GRACE_SECONDS;
use crate::index::rows;
use crate::pins::{Hold, Pin};
use crate::store::Shared;
use crate::uses::{RENEW_SECONDS, is_stale};

const _: () = assert!(RENEW_SECONDS * 10 <= GRACE_SECONDS);

impl Shared {
    /// Makes received bytes visible: durable file, durable name, durable row, in this order. The blob, what holds it,
    /// and whether it takes room that it did not take before.
    pub(super) fn publish(&self, received: Received) -> Result<(BlobRef, Pin, bool)> {
        let blob = received.blob;
        // Before its turn: a collection that is writing it off is waited for.
        let pin = self.hold(&[blob.id], Hold::Transfer);
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
                    self.renew(blob.id, stored.stored_at)?;
                    return Ok((blob, pin, false));
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
        Ok((blob, pin, true))
    }

    /// Stores a small blob in the index; returns as [`publish`](Self::publish).
    pub(super) fn put_inline(&self, bytes: &[u8]) -> Result<(BlobRef, Pin, bool)> {
        let blob = BlobRef { id: BlobId::of(bytes), size: bytes.len() as u64 };
        let (now, id) = (now(), blob.id);
        let pin = self.hold(&[id], Hold::Transfer);
        let is_new = self.index.write(|transaction| {
            if let Some(stored) = rows::find(transaction, id)?
                && stored.sound
                && let Some(row) = stored.inline
                && rows::inline_bytes(transaction, row)? == bytes
            {
                if is_stale(stored.stored_at, now) {
                    rows::touch(transaction, id, now)?;
                }
                return Ok(false);
            }
            rows::insert(transaction, blob, Some(bytes), now)?;
            Ok(true)
        })?;
        Ok((blob, pin, is_new))
    }

    fn renew(&self, id: BlobId, stored_at: u64) -> Result<()> {
        let now = now();
        if is_stale(stored_at, now) {
            self.index.write(|transaction| Ok(rows::touch(transaction, id, now)?))?;
        }
        Ok(())
    }
}
