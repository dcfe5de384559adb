//! Bytes under their own address: in, out, and whether they are there.

mod put;
mod reader;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;

use rusqlite::OptionalExtension;

use crate::disk::{self, Copy};
use crate::error::{Error, READ, Result};
use crate::index::rows::{self, Place, Stored};
use crate::store::{Shared, Store};

pub use reader::BlobReader;

/// Blobs of up to this many bytes are kept in the index, larger ones as files.
///
/// A file costs three disk barriers of its own and a row costs a share of one. Up to about this size SQLite
/// also reads faster than the file system does ("35% Faster Than The Filesystem", sqlite.org), and build logs
/// and preimages, two of an artifact's three blobs, mostly stay below it.
pub const INLINE_BYTES_MAX: usize = 16 * 1024;

impl Store {
    /// Stores all bytes of `reader` under the address computed from them.
    ///
    /// Durable when it returns. Bytes that are stored already are checked, and stored anew if the stored copy
    /// has gone bad.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = buildswarm_store::Store::open(dir.path())?;
    /// let blob = store.put(&mut &b"bytes"[..])?;
    /// assert_eq!(blob, store.put_bytes(b"bytes")?);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Source`] if the reader fails, [`Error::NoSpace`] if the disk is full. Nothing is stored then.
    pub fn put(&self, mut reader: impl Read) -> Result<BlobRef> {
        self.shared.require_writable()?;
        let mut head = Vec::new();
        reader
            .by_ref()
            .take(INLINE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut head)
            .map_err(|source| Error::Source { source })?;
        if head.len() <= INLINE_BYTES_MAX {
            return self.shared.put_inline(&head);
        }
        self.shared.publish(disk::receive(&self.shared.layout.tmp(), &head, reader)?)
    }

    /// Stores `bytes`; see [`put`](Self::put).
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<BlobRef> {
        self.put(bytes)
    }

    /// Stores the content of a file, which stays as it is; see [`put`](Self::put).
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened, otherwise as [`put`](Self::put).
    pub fn put_file(&self, path: impl AsRef<Path>) -> Result<BlobRef> {
        let path = path.as_ref();
        self.put(File::open(path).map_err(Error::io(READ, path))?)
    }

    /// Whether the blob is there: known to the index, not known to be bad, and on the disk at its full length.
    ///
    /// # Errors
    /// An error means that the question could not be answered, not that the blob is missing.
    pub fn contains(&self, id: BlobId) -> Result<bool> {
        Ok(self.shared.sound_row(id)?.is_some())
    }

    /// Opens a blob to read it from its beginning; `None` if it is not there.
    ///
    /// The reader verifies: see [`BlobReader`].
    ///
    /// # Errors
    /// An error means that the question could not be answered, not that the blob is missing.
    pub fn open_blob(&self, id: BlobId) -> Result<Option<BlobReader>> {
        reader::open(&self.shared, id)
    }

    /// The bytes of a blob of at most `max_bytes`, verified.
    ///
    /// # Errors
    /// [`Error::BlobMissing`], [`Error::BlobTooLarge`], or [`Error::BlobDamaged`]: it is then out of service until
    /// its bytes are put again.
    pub fn read_blob(&self, id: BlobId, max_bytes: u64) -> Result<Vec<u8>> {
        let mut reader = self.open_blob(id)?.ok_or(Error::BlobMissing { id })?;
        let size = reader.blob().size;
        if size > max_bytes {
            return Err(Error::BlobTooLarge { id, size, max: max_bytes });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        reader.read_to_end(&mut bytes).map_err(|error| self.shared.unread(id, error))?;
        Ok(bytes)
    }

    /// The bytes of a blob from number `range.start` to before `range.end`, as many of them as it has, verified.
    ///
    /// An address is the digest of all bytes, so all are read and hashed, whatever the range.
    ///
    /// # Errors
    /// As [`read_blob`](Self::read_blob); [`Error::BlobTooLarge`] cannot happen.
    pub fn read_range(&self, id: BlobId, range: Range<u64>) -> Result<Vec<u8>> {
        let mut reader = self.open_blob(id)?.ok_or(Error::BlobMissing { id })?;
        let mut bytes = Vec::new();
        let mut copy = || {
            io::copy(&mut reader.by_ref().take(range.start), &mut io::sink())?;
            reader.by_ref().take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes)?;
            io::copy(&mut reader, &mut io::sink())
        };
        copy().map_err(|error| self.shared.unread(id, error))?;
        Ok(bytes)
    }

    /// The file of a large blob, verified just now, to be hard-linked or copied; `None` if the blob is not there
    /// or has no file of its own: small ones ([`INLINE_BYTES_MAX`]) and those of a [`Batch`](crate::Batch).
    ///
    /// The file must never be written to, under any name: it *is* the stored copy. Collection may remove the
    /// name returned here, unless something protects the blob.
    ///
    /// # Errors
    /// An error means that the question could not be answered, not that the blob is missing.
    pub fn verified_path(&self, id: BlobId) -> Result<Option<PathBuf>> {
        let Some(stored) = self.shared.sound_row(id)? else { return Ok(None) };
        if stored.place != Place::File {
            return Ok(None);
        }
        let blob = stored.blob;
        let path = self.shared.layout.blob(&id);
        if disk::inspect(&path, blob)? == Copy::Sound {
            return Ok(Some(path));
        }
        self.shared.condemn(blob.id)?;
        Ok(None)
    }
}

impl Shared {
    /// Why a blob could not be read to its end.
    fn unread(&self, id: BlobId, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::InvalidData => Error::BlobDamaged { id },
            _ => Error::io(READ, &self.layout.blob(&id))(error),
        }
    }

    /// The row of a blob that is there.
    pub(crate) fn sound_row(&self, id: BlobId) -> Result<Option<Stored>> {
        let Some(stored) = self.index.read(|reader| Ok(rows::find(reader, id)?))? else { return Ok(None) };
        Ok(self.is_there(&stored)?.then_some(stored))
    }

    /// Looks again at a blob that somebody found damaged, and takes it out of service if it is: the row first,
    /// then the file goes to the quarantine. Whether it was damaged.
    ///
    /// Looking again matters: a put may have healed it in between, or a collection moved it.
    pub(crate) fn condemn(&self, id: BlobId) -> Result<bool> {
        if !self.index.is_writable() {
            return Ok(true);
        }
        let find = || self.index.read(|reader| Ok(rows::find(reader, id)?));
        // The file of a pack is its own turn, and nobody waits for one while having another.
        if let Some(stored) = find()?
            && let Place::Packed { pack, position } = stored.place
        {
            return self.condemn_packed(&stored, pack, position);
        }
        let _turn = self.turn(&id);
        let Some(stored) = find()? else { return Ok(true) };
        let found = self.examine(&stored)?;
        if found == Copy::Sound {
            return Ok(false);
        }
        if self.index.write(|transaction| Ok(rows::mark_bad(transaction, &stored)?))? == 0 {
            return Ok(find()?.is_none_or(|now| !now.sound));
        }
        let path = self.layout.blob(&id);
        if stored.place == Place::File && found == Copy::Damaged && disk::exists(&path)? {
            self.set_aside(&path, id)?;
        }
        Ok(true)
    }

    /// How the stored copy compares with the address, wherever it is kept.
    pub(crate) fn examine(&self, stored: &Stored) -> Result<Copy> {
        let id = stored.blob.id;
        match stored.place {
            Place::Inline(row) => {
                let bytes = self.index.read(|reader| Ok(rows::inline_bytes(reader, row).optional()?))?;
                Ok(match bytes {
                    Some(bytes) if BlobId::of(&bytes) == id => Copy::Sound,
                    Some(_) => Copy::Damaged,
                    None => Copy::Missing,
                })
            }
            Place::File => disk::inspect(&self.layout.blob(&id), stored.blob),
            Place::Packed { pack, position } => self.examine_packed(stored.blob, pack, position),
        }
    }

    /// Moves a file to the quarantine; the caller holds the turn of what it is named by.
    pub(crate) fn set_aside(&self, path: &Path, id: BlobId) -> Result<()> {
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let to = self.layout.quarantine().join(format!("{id}.{nanos}"));
        disk::move_aside(path, &to)
    }
}
