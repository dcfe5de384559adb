//! The order in which a batch becomes visible: its packs get their names, then everything its rows.

use std::collections::BTreeSet;

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::{BlobId, ReuseKey};

use super::filling::Filled;
use crate::artifacts::Committed;
use crate::clock::now;
use crate::disk::{self, Copy, Durable};
use crate::error::{Error, Result};
use crate::gc::Tally;
use crate::index::rows::{self, PackNumber, Place, Stored};
use crate::index::{Fault, Transaction};
use crate::layout::shard_of;
use crate::packs::{self, Member, Pack, Packed, Seen};
use crate::room::Meter;
use crate::store::Shared;

impl Shared {
    pub(super) fn commit_batch<T>(
        &self,
        filled: Filled,
        artifacts: &[(Artifact, Vec<ReuseKey>)],
        change: impl FnOnce(&Transaction<'_>, Tally) -> Result<T, Fault>,
    ) -> Result<(Vec<Committed>, T)> {
        let new = filled.new_blobs();
        let Filled { packs, inline, stored, meter, held } = filled;
        // All turns at once, in one order, so that two batches never wait for each other.
        let shards: BTreeSet<u8> = packs.iter().map(|packed| shard_of(&packed.pack.id)).collect();
        let _turns: Vec<_> = shards.into_iter().map(|shard| self.shard(shard)).collect();
        let packs = self.publish_packs(packs)?;
        let mut meter = meter.unwrap_or_else(|| Meter::new(&self.room, None));
        meter.take(inline.iter().map(|(blob, _)| blob.size).sum())?;
        let now = now();
        let outcome = self.index.write(|transaction| {
            require_stored(transaction, &stored, now)?;
            for (blob, bytes) in &inline {
                self.insert_inline(transaction, *blob, bytes, now)?;
            }
            let mut seen = Seen::default();
            let own = self.insert_packed(transaction, &packs, now, &mut seen)?;
            let committed = artifacts
                .iter()
                .map(|(artifact, reuse)| self.commit_within(transaction, artifact, reuse, &own, &mut seen))
                .collect::<Result<_, _>>()?;
            Ok((committed, change(transaction, new)?))
        })?;
        meter.keep();
        drop(held);
        Ok(outcome)
    }

    /// Gives packs their names, durably. The caller holds their turns.
    pub(crate) fn publish_packs(&self, packs: Vec<Packed>) -> Result<Vec<(Pack, Vec<Member>)>> {
        let mut published = Vec::with_capacity(packs.len());
        for Packed { pack, members, file } in packs {
            self.publish_pack(pack, file)?;
            published.push((pack, members));
        }
        if !published.is_empty() {
            disk::sync_dir(&self.layout.packs())?;
        }
        Ok(published)
    }

    fn publish_pack(&self, pack: Pack, file: Durable) -> Result<()> {
        let path = self.layout.pack(&pack.id);
        // The same blobs in the same order make the same pack: left by a batch that was not committed, or waiting to
        // be removed.
        match disk::inspect_to_replace(&path, pack.file())? {
            Copy::Sound => return disk::sync_file(&path),
            Copy::Damaged => self.set_aside(&path, pack.id)?,
            Copy::Missing => {}
        }
        file.publish(&path)
    }

    /// Records packs and the blobs in them, unless those are known to be elsewhere by now. All of the blobs, sorted.
    fn insert_packed(
        &self,
        transaction: &Transaction<'_>,
        packs: &[(Pack, Vec<Member>)],
        now: u64,
        seen: &mut Seen,
    ) -> Result<Vec<BlobRef>, Fault> {
        let mut found = Vec::new();
        for (pack, members) in packs {
            let number = packs::rows::insert(transaction, *pack)?;
            seen.note(number, true);
            found.extend(members.iter().map(|member| in_pack(number, member, now)));
        }
        // In the order of the tree they go into.
        found.sort_unstable_by_key(|stored| stored.blob.id);
        for stored in &found {
            self.insert_unless_there(transaction, stored, seen)?;
        }
        Ok(found.into_iter().map(|stored| stored.blob).collect())
    }

    /// Records a blob, unless it is there elsewhere.
    fn insert_unless_there(
        &self,
        transaction: &Transaction<'_>,
        stored: &Stored,
        seen: &mut Seen,
    ) -> Result<(), Fault> {
        if rows::insert_new(transaction, stored)? {
            return Ok(());
        }
        match rows::find(transaction, stored.blob.id)? {
            Some(before) if self.is_there_within(transaction, &before, seen)? => {
                rows::renew(transaction, &before, stored.stored_at)?
            }
            _ => rows::replace(transaction, stored)?,
        }
        Ok(())
    }
}

fn in_pack(pack: PackNumber, member: &Member, now: u64) -> Stored {
    let place = Place::Packed { pack, position: member.position };
    Stored { blob: member.blob, sound: true, place, stored_at: now }
}

/// Refuses to commit if blobs it relies on have been lost or collected since they were looked up, and renews the time they
/// were put. `ids` are sorted: rows that lie together are changed together.
pub(crate) fn require_stored(transaction: &Transaction<'_>, ids: &[BlobId], now: u64) -> Result<(), Fault> {
    for id in ids {
        match rows::find(transaction, *id)? {
            Some(stored) if stored.sound => rows::renew(transaction, &stored, now)?,
            _ => return Err(Error::BlobMissing { id: *id }.into()),
        }
    }
    Ok(())
}
