//! What goes into a batch: which blobs need to be stored at all, and where they go.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;

use super::HELD_BYTES_MAX;
use crate::INLINE_BYTES_MAX;
use crate::error::{Error, Result};
use crate::gc::Tally;
use crate::index::rows;
use crate::packs::{Compression, PackWriter, Packed, Seen};
use crate::pins::{Hold, Pin};
use crate::room::Meter;
use crate::store::Shared;

/// Blobs are held until they have this many bytes, and then looked up together, in the order of the index.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Blobs looked up in one read transaction: a few milliseconds' worth.
const PAGE: usize = 1024;

/// A batch that never had more bytes than this goes into the index: that takes one disk barrier, a pack three.
const TINY_BYTES_MAX: usize = 4 * INLINE_BYTES_MAX;
const _: () = assert!(TINY_BYTES_MAX < WAITING_BYTES_MAX);

/// A batch that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    tmp: PathBuf,
    compression: Compression,
    /// Made when there is something to be written.
    packs: Option<PackWriter>,
    blobs: BTreeMap<BlobId, Origin>,
    /// Blobs that have not been looked up yet, and where their bytes are in `bytes`.
    waiting: Vec<(BlobRef, Range<usize>)>,
    bytes: Vec<u8>,
    /// What keeps the blobs that are stored already from being collected before the batch refers to them.
    held: Vec<Pin>,
    /// A write failed, so what was added before may be incomplete.
    failed: bool,
}

/// Where a blob of a batch comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Added,
    /// It was in the store when it was looked up.
    Stored,
    /// It was not.
    Missing,
}

/// A batch that is durable but for its names and rows.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) packs: Vec<Packed>,
    /// Blobs for the index, with their bytes.
    pub(super) inline: Vec<(BlobRef, Vec<u8>)>,
    /// Blobs that were in the store when they were added, sorted.
    pub(super) stored: Vec<BlobId>,
    /// Counts the bytes of the packs.
    pub(super) meter: Option<Meter<'static>>,
    /// What holds all of these blobs until the batch is committed.
    pub(super) held: Vec<Pin>,
}

impl Filled {
    /// The blobs that are not in the store yet.
    pub(super) fn new_blobs(&self) -> Tally {
        let mut new = Tally::default();
        let packed = self.packs.iter().flat_map(|packed| &packed.members).map(|member| member.blob);
        packed.chain(self.inline.iter().map(|(blob, _)| *blob)).for_each(|blob| new.add(blob.size));
        new
    }
}

impl Filling {
    pub(super) fn new(shared: &Shared, compression: Compression) -> Self {
        Self {
            tmp: shared.layout.tmp(),
            compression,
            packs: None,
            blobs: BTreeMap::new(),
            waiting: Vec::new(),
            bytes: Vec::new(),
            held: Vec::new(),
            failed: false,
        }
    }

    pub(super) fn add(&mut self, shared: &Shared, blob: BlobRef, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > HELD_BYTES_MAX {
            self.look_up(shared, vec![blob.id])?;
        }
        match self.blobs.get(&blob.id) {
            Some(Origin::Added | Origin::Stored) => Ok(()),
            Some(Origin::Missing) => {
                self.blobs.insert(blob.id, Origin::Added);
                self.write(shared, |packs| packs.add(blob, bytes))
            }
            None => {
                self.blobs.insert(blob.id, Origin::Added);
                let start = self.bytes.len();
                self.bytes.extend_from_slice(bytes);
                self.waiting.push((blob, start..self.bytes.len()));
                if self.bytes.len() < WAITING_BYTES_MAX { Ok(()) } else { self.settle(shared) }
            }
        }
    }

    pub(super) fn add_from(&mut self, shared: &Shared, blob: BlobRef, content: impl Read) -> Result<bool> {
        self.look_up(shared, vec![blob.id])?;
        if matches!(self.blobs.get(&blob.id), Some(Origin::Added | Origin::Stored)) {
            return Ok(true);
        }
        let same = self.write(shared, |packs| packs.add_from(blob, content))?;
        if same {
            self.blobs.insert(blob.id, Origin::Added);
        }
        Ok(same)
    }

    pub(super) fn known(&mut self, shared: &Shared, ids: Vec<BlobId>) -> Result<Vec<BlobId>> {
        let mut ids = self.look_up(shared, ids)?;
        ids.retain(|id| matches!(self.blobs.get(id), Some(Origin::Added | Origin::Stored)));
        Ok(ids)
    }

    pub(super) fn finish(mut self, shared: &Shared) -> Result<Filled> {
        let tiny = self.packs.is_none()
            && self.bytes.len() <= TINY_BYTES_MAX
            && self.waiting.iter().all(|(_, at)| at.len() <= INLINE_BYTES_MAX);
        let inline = if tiny { self.take_inline(shared)? } else { Vec::new() };
        self.settle(shared)?;
        if self.failed {
            let earlier = io::Error::other("a write to it failed before");
            return Err(Error::io("commit the batch in", &self.tmp)(earlier));
        }
        let (packs, meter) = self.packs.take().map_or_else(|| Ok((Vec::new(), None)), PackWriter::finish)?;
        let stored = self.blobs.iter().filter(|(_, origin)| **origin == Origin::Stored);
        let stored = stored.map(|(id, _)| *id).collect();
        Ok(Filled { packs, inline, stored, meter, held: self.held })
    }

    /// Writes the waiting blobs that are not stored yet.
    fn settle(&mut self, shared: &Shared) -> Result<()> {
        let waiting = self.take_new(shared)?;
        let bytes = std::mem::take(&mut self.bytes);
        if waiting.is_empty() {
            return Ok(());
        }
        self.write(shared, |packs| {
            waiting.into_iter().try_for_each(|(blob, at)| packs.add(blob, &bytes[at]))
        })?;
        self.bytes = bytes;
        self.bytes.clear();
        Ok(())
    }

    fn take_inline(&mut self, shared: &Shared) -> Result<Vec<(BlobRef, Vec<u8>)>> {
        let waiting = self.take_new(shared)?;
        Ok(waiting.into_iter().map(|(blob, at)| (blob, self.bytes[at].to_vec())).collect())
    }

    /// The waiting blobs that are not stored yet.
    fn take_new(&mut self, shared: &Shared) -> Result<Vec<(BlobRef, Range<usize>)>> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let ids = waiting.iter().map(|(blob, _)| blob.id).collect();
        for id in self.stored(shared, ids)? {
            self.blobs.insert(id, Origin::Stored);
        }
        waiting.retain(|(blob, _)| self.blobs.get(&blob.id) == Some(&Origin::Added));
        Ok(waiting)
    }

    /// Looks up those of the blobs that are new to this batch; all of them, sorted.
    fn look_up(&mut self, shared: &Shared, mut ids: Vec<BlobId>) -> Result<Vec<BlobId>> {
        ids.sort_unstable();
        ids.dedup();
        let new: Vec<BlobId> = ids.iter().filter(|id| !self.blobs.contains_key(id)).copied().collect();
        for id in &new {
            self.blobs.insert(*id, Origin::Missing);
        }
        for id in self.stored(shared, new)? {
            self.blobs.insert(id, Origin::Stored);
        }
        Ok(ids)
    }

    /// Those of the blobs that are there, all of them held from before the look.
    fn stored(&mut self, shared: &Shared, ids: Vec<BlobId>) -> Result<Vec<BlobId>> {
        self.held.push(shared.hold(&ids, Hold::Transfer));
        shared.stored(ids)
    }

    fn write<T>(&mut self, shared: &Shared, write: impl FnOnce(&mut PackWriter) -> Result<T>) -> Result<T> {
        let packs = self.packs.get_or_insert_with(|| {
            PackWriter::new(&self.tmp, self.compression, Meter::new(&shared.room, None))
        });
        let outcome = write(packs);
        self.failed |= outcome.is_err();
        outcome
    }
}

impl Shared {
    /// Those of the blobs that are there, sorted.
    pub(crate) fn stored(&self, mut ids: Vec<BlobId>) -> Result<Vec<BlobId>> {
        ids.sort_unstable();
        let mut found = Vec::new();
        let mut seen = Seen::default();
        for page in ids.chunks(PAGE) {
            let rows = self.index.read(|reader| {
                let rows: rusqlite::Result<Vec<_>> = page.iter().map(|id| rows::find(reader, *id)).collect();
                Ok(rows?)
            })?;
            for stored in rows.into_iter().flatten() {
                if self.is_there_as_seen(&stored, &mut seen)? {
                    found.push(stored.blob.id);
                }
            }
        }
        Ok(found)
    }
}
