//! The content of an answer, and the account that is closed when the last of it is gone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::Log;
use super::access::{Access, chain};
use super::verified::Identity;

/// Bytes read from a file at a time: a hand-over to a blocking thread costs some 10 µs, this many bytes 20 µs.
/// A connection holds at most one such chunk here and one in the writer.
const CHUNK: u64 = 256 << 10;

/// What is sent.
pub(super) enum Content {
    Bytes(Bytes),
    File(FileContent),
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.left,
        }
    }

    /// The same, reduced to `length` bytes from `first` on; both must lie inside.
    pub(super) fn part(self, first: u64, length: u64) -> Self {
        match self {
            Self::Bytes(bytes) => {
                let cut = |n| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
                Self::Bytes(bytes.slice(cut(first)..cut(first.saturating_add(length))))
            }
            Self::File(file) => Self::File(FileContent { next: file.next + first, left: length, ..file }),
        }
    }
}

/// Part of an open file that must stay as it is until the last byte is read.
pub(super) struct FileContent {
    file: Arc<File>,
    identity: Identity,
    next: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileContent {
    /// All of `file`, whose state is `identity`.
    pub(super) fn whole(file: Arc<File>, identity: Identity) -> Self {
        Self { file, identity, next: 0, left: identity.size(), reading: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let (file, identity, offset) = (&self.file, self.identity, self.next);
        let length = self.left.min(CHUNK);
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(file);
            tokio::task::spawn_blocking(move || read_unchanged(&file, &identity, offset, length))
        });
        let read = ready!(Pin::new(reading).poll(cx)).unwrap_or_else(|gone| Err(io::Error::other(gone)));
        self.reading = None;
        if let Ok(bytes) = &read {
            self.next += bytes.len() as u64;
            self.left -= bytes.len() as u64;
        }
        Poll::Ready(Some(read))
    }
}

/// Reads first and looks at the file afterwards: bytes of a file that changed meanwhile never leave.
fn read_unchanged(file: &File, identity: &Identity, offset: u64, length: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let read = file.read_exact_at(&mut buffer, offset);
    if !identity.same_bytes(&Identity::of(file)?) {
        return Err(io::Error::other("the file changed while it was being sent"));
    }
    read.map(|()| buffer.into())
}

/// Content on its way to one client.
pub(super) struct Sending {
    content: Content,
    /// What is left to hand over; 0 from the start for an answer to HEAD.
    left: u64,
    started: Instant,
    access: Access,
    log: Log,
}

impl Sending {
    /// `access` lacks only what is known at the end.
    pub(super) fn new(content: Content, left: u64, started: Instant, access: Access, log: Log) -> Self {
        Self { content, left, started, access, log }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let read = match &mut self.content {
            Content::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Content::File(file) => ready!(file.poll(cx)),
        };
        Poll::Ready(read.map(|read| match read {
            Ok(bytes) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                self.access.bytes += bytes.len() as u64;
                Ok(Frame::data(bytes))
            }
            Err(error) => {
                self.access.problem = Some(chain(&error));
                Err(error)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.access.complete = self.left == 0;
        self.access.millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        (self.log)(&self.access);
    }
}
