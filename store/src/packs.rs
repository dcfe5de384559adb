//! Packs: files that hold many blobs, written by one batch and never changed.
//!
//! A pack unpacks to a tar stream whose members are named by their addresses. It is stored as zstd frames that stand
//! alone, each of one MiB of the stream, with a table of them at its end, so a blob is found by arithmetic and read
//! without what lies before it; or as the plain stream. `docs/on-disk.md` has the format.

mod contents;
mod damage;
mod reader;
pub(crate) mod rows;
pub(crate) mod tar;
mod walk;
mod writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;
use rusqlite::Connection;

use crate::disk;
use crate::error::Result;
use crate::index::Fault;
use crate::index::rows::PackNumber;
use crate::store::Shared;

pub(crate) use contents::{Contents, contents};
pub(crate) use reader::{PackFile, PackReader};
pub(crate) use writer::{Member, PackWriter, Packed};

/// Bytes of the stream in one frame.
pub(crate) const FRAME_BYTES: u64 = crate::frames::FRAME_BYTES as u64;

/// A pack is ended once it unpacks to this many bytes; one blob may be larger. While one is synced the next is written,
/// so that little is left to wait for at the end; and a collection that empties a pack rewrites at most half of this.
pub(crate) const PACK_BYTES: u64 = 64 << 20;
const _: () = assert!(PACK_BYTES.is_multiple_of(FRAME_BYTES));

/// How the blobs of a batch are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are: for bytes that are compressed already.
    None,
    /// By zstd at its level 3, on all cores.
    Zstd,
}

/// A pack as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pack {
    /// The address of the file's bytes.
    pub(crate) id: BlobId,
    /// Their number.
    pub(crate) size: u64,
    /// The length of the stream that it unpacks to.
    pub(crate) unpacked: u64,
}

impl Pack {
    /// Its file, as a blob.
    pub(crate) const fn file(self) -> BlobRef {
        BlobRef { id: self.id, size: self.size }
    }
}

/// Open packs that are kept open: a file descriptor and some kilobytes each.
const OPEN_MAX: usize = 16;

/// What is remembered of packs: they never change, and their numbers are never used twice.
#[derive(Debug, Default)]
pub(crate) struct Packs {
    known: Mutex<BTreeMap<PackNumber, Pack>>,
    open: Mutex<Vec<Arc<PackFile>>>,
}

/// Which packs were looked for within one operation, and whether they are there.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<PackNumber, bool>);

impl Seen {
    pub(crate) fn get(&self, number: PackNumber) -> Option<bool> {
        self.0.get(&number).copied()
    }

    pub(crate) fn note(&mut self, number: PackNumber, there: bool) {
        self.0.insert(number, there);
    }
}

impl Shared {
    /// The pack with this number; `None` if it has been removed.
    pub(crate) fn pack(&self, number: PackNumber) -> Result<Option<Pack>> {
        if let Some(pack) = self.packs.known.lock().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(Some(*pack));
        }
        let found = self.index.read(|reader| Ok(rows::find(reader, number)?))?;
        if let Some(pack) = found {
            self.packs.known.lock().unwrap_or_else(PoisonError::into_inner).insert(number, pack);
        }
        Ok(found)
    }

    /// Whether the file of a pack is there at its full length.
    pub(crate) fn pack_is_there(
        &self,
        connection: &Connection,
        number: PackNumber,
        seen: &mut Seen,
    ) -> Result<bool, Fault> {
        if let Some(there) = seen.get(number) {
            return Ok(there);
        }
        let there = match rows::find(connection, number)? {
            Some(pack) => disk::has_size(&self.layout.pack(&pack.id), pack.size)?,
            None => false,
        };
        seen.note(number, there);
        Ok(there)
    }

    /// Opens a pack; `None` if its file is not there, or not as the index describes it.
    pub(crate) fn open_pack(&self, number: PackNumber) -> Result<Option<Arc<PackFile>>> {
        let Some(pack) = self.pack(number)? else { return Ok(None) };
        let path = self.layout.pack(&pack.id);
        if let Some(file) = self.packs.take_open(number)
            && disk::is_file(&path, &file.file)?
        {
            self.packs.keep_open(&file);
            return Ok(Some(file));
        }
        let Some(file) = PackFile::open(&path, number, pack)? else { return Ok(None) };
        let file = Arc::new(file);
        self.packs.keep_open(&file);
        Ok(Some(file))
    }
}

impl Packs {
    fn take_open(&self, number: PackNumber) -> Option<Arc<PackFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.iter().position(|file| file.number() == number)?;
        Some(open.remove(at))
    }

    /// Last used, last closed.
    fn keep_open(&self, file: &Arc<PackFile>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| other.number() != file.number());
        if open.len() == OPEN_MAX {
            open.remove(0);
        }
        open.push(Arc::clone(file));
    }

    /// Forgets a pack that is removed.
    pub(crate) fn forget(&self, number: PackNumber) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        drop(self.take_open(number));
    }
}
