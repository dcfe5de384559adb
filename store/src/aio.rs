//! The store for programs that run on tokio: every call on a thread that may block.
//!
//! Behind the feature `tokio`. Nothing here writes a file itself: tokio's `File` loses the error of a full disk unless it is
//! flushed, so bytes go through a bounded channel to the same code that everybody else uses.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::{BlobId, BuildKey, ReuseKey};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::sync::mpsc;
use tokio::task;

use crate::error::{Error, Result};
use crate::{Committed, Store};

/// Bytes in one piece on their way through a channel.
const PIECE_BYTES: usize = 256 * 1024;

/// Pieces on their way at most: with the two at its ends, a transfer holds about a megabyte.
const PIECES_MAX: usize = 2;

/// A [`Store`] for tasks. Cloning it is cheap; all clones are the same store.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use buildswarm_store::{Store, aio::AsyncStore};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store");
/// let store = AsyncStore::new(Store::open(&path)?);
/// let blob = store.put(&b"the log of a build"[..]).await?;
/// assert_eq!(store.read_blob(blob.id, 1024).await?, b"the log of a build");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct AsyncStore {
    store: Arc<Store>,
}

impl AsyncStore {
    /// Wraps a store that is open.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store: Arc::new(store) }
    }

    /// The store itself, for what has no wrapper; its calls block.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Runs `work` on a thread that may block.
    ///
    /// # Errors
    /// What `work` returns; [`Error::Source`] if the runtime is shutting down.
    ///
    /// # Panics
    /// If `work` does.
    pub async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(&self.store);
        match task::spawn_blocking(move || work(&store)).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(Error::Source { source: io::Error::other(error) }),
            },
        }
    }

    /// Stores all bytes of `reader`; see [`Store::put`]. They are never held as a whole.
    ///
    /// If this is dropped before it is done, nothing is stored.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put(&self, mut reader: impl AsyncRead + Unpin) -> Result<BlobRef> {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let put =
            self.with(move |store| store.put(Pieces { receiver, piece: Vec::new(), at: 0, ended: false }));
        let feed = async {
            loop {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                let read = (&mut reader).take(PIECE_BYTES as u64).read_to_end(&mut piece).await;
                let is_last = !matches!(read, Ok(count) if count > 0);
                let piece = read.map(|_| piece);
                // Nobody listens if the store has failed, and then it says so itself.
                if sender.send(piece).await.is_err() || is_last {
                    return;
                }
            }
        };
        let (outcome, ()) = tokio::join!(put, feed);
        outcome
    }

    /// Opens a blob to read it; see [`Store::open_blob`].
    ///
    /// # Errors
    /// As [`Store::open_blob`].
    pub async fn open_blob(&self, id: BlobId) -> Result<Option<AsyncBlobReader>> {
        let Some(mut blob) = self.with(move |store| store.open_blob(id)).await? else { return Ok(None) };
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let found = blob.blob();
        task::spawn_blocking(move || {
            loop {
                let mut piece = vec![0; PIECE_BYTES];
                let read = blob.read(&mut piece);
                let is_last = !matches!(read, Ok(count) if count > 0);
                let piece = read.map(|count| {
                    piece.truncate(count);
                    piece
                });
                // A reader that was dropped wants no more.
                if sender.blocking_send(piece).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Some(AsyncBlobReader { blob: found, receiver, piece: Vec::new(), at: 0, ended: false }))
    }

    /// The bytes of a blob; see [`Store::read_blob`].
    ///
    /// # Errors
    /// As [`Store::read_blob`].
    pub async fn read_blob(&self, id: BlobId, max_bytes: u64) -> Result<Vec<u8>> {
        self.with(move |store| store.read_blob(id, max_bytes)).await
    }

    /// Whether a blob is there; see [`Store::contains`].
    ///
    /// # Errors
    /// As [`Store::contains`].
    pub async fn contains(&self, id: BlobId) -> Result<bool> {
        self.with(move |store| store.contains(id)).await
    }

    /// The artifact a key resolves to; see [`Store::artifact`].
    ///
    /// # Errors
    /// As [`Store::artifact`].
    pub async fn artifact(&self, key: BuildKey) -> Result<Option<Artifact>> {
        self.with(move |store| store.artifact(key)).await
    }

    /// Makes a key resolve to an artifact; see [`Store::commit_artifact`].
    ///
    /// # Errors
    /// As [`Store::commit_artifact`].
    pub async fn commit_artifact(&self, artifact: Artifact, reuse: Vec<ReuseKey>) -> Result<Committed> {
        self.with(move |store| store.commit_artifact(&artifact, &reuse)).await
    }
}

/// The end of the channel that the store reads from.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Ok(piece)) => {
                    // An empty piece is the end. A channel that closes without one was dropped in the middle.
                    self.ended = piece.is_empty();
                    (self.piece, self.at) = (piece, 0);
                }
                Some(Err(error)) => return Err(error),
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the put was given up")),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Reads a blob from its beginning and verifies it on the way, as [`BlobReader`](crate::BlobReader) does: what is made of
/// the bytes must be thrown away unless the end is reached without an error.
#[derive(Debug)]
pub struct AsyncBlobReader {
    blob: BlobRef,
    receiver: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl AsyncBlobReader {
    /// What is being read: its address and its full length.
    #[must_use]
    pub const fn blob(&self) -> BlobRef {
        self.blob
    }
}

impl AsyncRead for AsyncBlobReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.at == self.piece.len() && !self.ended {
            match self.receiver.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(piece))) => {
                    self.ended = piece.is_empty();
                    (self.piece, self.at) = (piece, 0);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => {
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the thread that reads is gone");
                    return Poll::Ready(Err(error));
                }
            }
        }
        let count = buffer.remaining().min(self.piece.len() - self.at);
        let at = self.at;
        buffer.put_slice(&self.piece[at..at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
