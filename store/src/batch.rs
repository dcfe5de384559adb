//! Many blobs and artifacts in one go.

mod commit;
mod filling;

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::{BlobId, ReuseKey};

use crate::artifacts::Committed;
use crate::disk;
use crate::error::{Error, Result};
use crate::gc::Tally;
use crate::index::{Fault, Transaction};
use crate::packs::Compression;
use crate::room::Meter;
use crate::store::{Shared, Store};
use filling::Filling;

pub(crate) use commit::require_stored;

/// Bytes of one blob that are held in memory; those of a larger one wait in a file until its address is known.
const HELD_BYTES_MAX: u64 = 1 << 20;

/// Blobs and artifacts that become visible together, or not at all.
///
/// Its blobs are written into packs, so that thousands of them cost a few disk barriers. Threads may share one by
/// reference: they hash at the same time, and compression takes all cores. Nothing of it can be seen, and nothing
/// is promised, before [`commit`](Self::commit) returns; dropped before that, it leaves nothing.
///
/// ```
/// use buildswarm_store::{Compression, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path())?;
/// let batch = store.batch(Compression::Zstd)?;
/// let logs = [batch.put_bytes(b"one log")?, batch.put_bytes(b"another")?];
/// assert!(!store.contains(logs[0].id)?);
/// batch.commit()?;
/// assert_eq!(store.read_blob(logs[1].id, 1024)?, b"another");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing of it is stored before it is committed"]
pub struct Batch {
    shared: Arc<Shared>,
    filling: Mutex<Filling>,
    artifacts: Mutex<Vec<(Artifact, Vec<ReuseKey>)>>,
}

impl Store {
    /// Begins a batch: see [`Batch`].
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if the store is open for reading only.
    pub fn batch(&self, compression: Compression) -> Result<Batch> {
        self.shared.require_writable()?;
        let shared = Arc::clone(&self.shared);
        let filling = Mutex::new(Filling::new(&shared, compression));
        Ok(Batch { shared, filling, artifacts: Mutex::default() })
    }
}

impl Batch {
    /// Adds `bytes` under the address computed from them. Bytes that are stored already are not stored again.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if the disk is full. The batch cannot be committed then.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<BlobRef> {
        let blob = BlobRef { id: BlobId::of(bytes), size: bytes.len() as u64 };
        self.add(blob, bytes)?;
        Ok(blob)
    }

    /// Adds all bytes of `reader`; see [`put_bytes`](Self::put_bytes).
    ///
    /// A large blob is written to a file of its own first, since its address comes before its bytes in a pack: for one
    /// that is compressed already, [`Store::put`] is cheaper.
    ///
    /// # Errors
    /// [`Error::Source`] if the reader fails; nothing was added then. Otherwise as [`put_bytes`](Self::put_bytes).
    pub fn put(&self, mut reader: impl Read) -> Result<BlobRef> {
        let mut head = Vec::new();
        reader
            .by_ref()
            .take(HELD_BYTES_MAX + 1)
            .read_to_end(&mut head)
            .map_err(|source| Error::Source { source })?;
        if head.len() as u64 <= HELD_BYTES_MAX {
            return self.put_bytes(&head);
        }
        // Its bytes come to stay only as a part of a pack, where they are counted.
        let mut meter = Meter::new(&self.shared.room, None);
        let received = disk::receive(&self.shared.layout.tmp(), &head, reader, &mut meter)?;
        if !self.add_from(received.blob, received.file.reader()?)? {
            return Err(Error::BlobDamaged { id: received.blob.id });
        }
        Ok(received.blob)
    }

    /// Adds an artifact, to be committed under its key and its reuse keys as by [`Store::commit_artifact`]. Its blobs are
    /// in the store or in the batch by the time of [`commit`](Self::commit).
    pub fn commit_artifact(&self, artifact: Artifact, reuse: &[ReuseKey]) {
        let mut artifacts = self.artifacts.lock().unwrap_or_else(PoisonError::into_inner);
        artifacts.push((artifact, reuse.to_vec()));
    }

    /// Makes everything durable and visible at once. What became of the artifacts, in the order they were added.
    ///
    /// # Errors
    /// [`Error::BlobMissing`] or [`Error::WrongSize`] if a blob of an artifact is not there as declared, or if one that
    /// was stored when it was added has been lost since; [`Error::NoSpace`]. Nothing of the batch is visible then.
    pub fn commit(self) -> Result<Vec<Committed>> {
        self.commit_with(|_, _| Ok(())).map(|(committed, ())| committed)
    }

    /// As [`commit`](Self::commit), with more changes in the same transaction, which are told how many blobs are new.
    pub(crate) fn commit_with<T>(
        self,
        change: impl FnOnce(&Transaction<'_>, Tally) -> Result<T, Fault>,
    ) -> Result<(Vec<Committed>, T)> {
        let filled =
            self.filling.into_inner().unwrap_or_else(PoisonError::into_inner).finish(&self.shared)?;
        let artifacts = self.artifacts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let done = self.shared.commit_batch(filled, &artifacts, change)?;
        self.shared.committed(artifacts.len() as u64);
        Ok(done)
    }

    /// Adds a blob whose address this crate has computed from these bytes.
    pub(crate) fn add(&self, blob: BlobRef, bytes: &[u8]) -> Result<()> {
        self.filling().add(&self.shared, blob, bytes)
    }

    /// Adds a blob whose address this crate has computed from the same source before: it is hashed again on its way,
    /// and `false` says that it was not the same any more. Other threads wait meanwhile.
    pub(crate) fn add_from(&self, blob: BlobRef, content: impl Read) -> Result<bool> {
        self.filling().add_from(&self.shared, blob, content)
    }

    /// Those of the blobs that are in the store or in this batch, sorted: there is no need to add them, and the batch
    /// is only committed if they are still there.
    pub(crate) fn known(&self, ids: Vec<BlobId>) -> Result<Vec<BlobId>> {
        self.filling().known(&self.shared, ids)
    }

    fn filling(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
