//! A socket that gives up on a peer that takes nothing, and that ends politely.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long to read on after our last byte, see [`Patient::poll_shutdown`].
const LINGER: Duration = Duration::from_secs(1);

/// How much to read on, in bytes: more than any refused request's rest that is worth saving.
const LINGER_BYTES: usize = 1 << 20;

/// A connection with a bound on how long a write may make no progress at all.
///
/// Progress is what the kernel reports: a socket becomes writable again when a third of its buffer is free, so a
/// reader of one byte per second makes none for minutes and is cut off like one that stopped.
pub(super) struct Patient {
    stream: TcpStream,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    /// The timer runs: a write is stuck, or the end is being waited for.
    waiting: bool,
    /// Our side is closed; how much may still be read away.
    closed: Option<usize>,
}

impl Patient {
    pub(super) fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, timer: Box::pin(sleep_until(Instant::now())), waiting: false, closed: None }
    }

    /// Ready once `wait` has passed since the first call after progress.
    fn poll_timer(&mut self, cx: &mut Context<'_>, wait: Duration) -> Poll<()> {
        if !self.waiting {
            self.waiting = true;
            self.timer.as_mut().reset(Instant::now() + wait);
        }
        self.timer.as_mut().poll(cx)
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = false;
            return outcome;
        }
        ready!(self.poll_timer(cx, self.patience));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is buffered in a socket's handle; this says nothing about progress and must not count as any.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes our side, then reads on until the peer closes its own. A socket closed with unread bytes in it is
    /// reset, and a reset takes back the answer the peer has not read yet (RFC 9112, 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.closed = Some(LINGER_BYTES);
            self.waiting = false;
        }
        let mut scrap = [0; 4096];
        while let Some(left) = self.closed.filter(|&left| left > 0) {
            let mut buffer = ReadBuf::new(&mut scrap);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.closed = Some(left.saturating_sub(buffer.filled().len()));
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return self.poll_timer(cx, LINGER).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}
