//! Compression of frames on several threads, in order.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::table::SeekTable;
use super::{FRAME_BYTES, FRAMES_MAX};

/// Frames a worker has beyond the one it works on: it never waits for the writer, and a hundred writers stay
/// within a few hundred megabytes.
const AHEAD: usize = 2;

/// Writes a stream as frames to `W`, compressed on several threads.
///
/// What it writes depends on the stream and the level alone, never on the number of threads, on how the stream was
/// cut into calls of [`write`](Write::write), or on [`flush`](Write::flush), which only flushes what is complete.
/// After an error nothing of what was written is of any use; neither is a file that [`finish`](Self::finish) did not
/// end.
pub struct FrameWriter<W: Write> {
    out: W,
    level: i32,
    threads: usize,
    /// The frame that is being filled.
    current: Frame,
    /// Buffers to be used again.
    spare: Vec<Frame>,
    /// Empty until the first frame is full.
    workers: Vec<Worker>,
    /// For the frames that are compressed on the caller's thread.
    own: Option<Compressor<'static>>,
    /// Frames handed to workers, and taken back from them. Frame `n` is worker `n % workers`'s, which is what
    /// keeps them in order.
    sent: usize,
    received: usize,
    table: SeekTable,
}

/// One frame and its compressed form: buffers that go round between the writer and its workers.
#[derive(Debug, Default)]
struct Frame {
    unpacked: Vec<u8>,
    packed: Vec<u8>,
}

impl Frame {
    fn compress(&mut self, compressor: &mut Compressor<'static>) -> io::Result<()> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(self.unpacked.len()));
        compressor.compress_to_buffer(&self.unpacked, &mut self.packed).map(drop)
    }
}

/// A compressor as every frame has it: with the checksum that `zstd` itself writes.
fn compressor(level: i32) -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(level)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor)
}

/// A thread that compresses what it is sent; it ends when the sender is dropped.
#[derive(Debug)]
struct Worker {
    jobs: SyncSender<Frame>,
    done: Receiver<io::Result<Frame>>,
}

impl Worker {
    fn start(level: i32) -> io::Result<Self> {
        let mut compressor = compressor(level)?;
        let (jobs, todo) = sync_channel::<Frame>(AHEAD);
        let (results, done) = sync_channel(AHEAD);
        thread::Builder::new().name("compress".to_owned()).spawn(move || {
            while let Ok(mut frame) = todo.recv() {
                let result = frame.compress(&mut compressor).map(|()| frame);
                if results.send(result).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { jobs, done })
    }
}

fn worker_gone() -> io::Error {
    io::Error::other("a thread that compresses has ended before its time")
}

impl<W: Write> FrameWriter<W> {
    /// Writes to `out`, compressing at zstd's `level` on up to `threads` threads beside the caller's; with 0 or 1, on
    /// the caller's own.
    ///
    /// Memory: `2 * threads + 1` times about 2 MiB, and what zstd needs for each thread at that level. Threads
    /// are started when the first frame is full, so small streams cost none.
    pub const fn new(out: W, level: i32, threads: usize) -> Self {
        Self {
            out,
            level,
            threads,
            current: Frame { unpacked: Vec::new(), packed: Vec::new() },
            spare: Vec::new(),
            workers: Vec::new(),
            own: None,
            sent: 0,
            received: 0,
            table: SeekTable::new(),
        }
    }

    /// Unpacked bytes taken so far: the position at which the next byte will be found.
    pub const fn position(&self) -> u64 {
        (self.sent as u64) * FRAME_BYTES as u64 + self.current.unpacked.len() as u64
    }

    /// Compresses what is left and writes the seek table. Gives `out` back, which it does not sync.
    ///
    /// # Errors
    /// Those of `out`, and of starting threads.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.current.unpacked.is_empty() {
            // Not worth starting threads for.
            let small = self.workers.is_empty();
            if small { self.cut_here() } else { self.cut() }?;
        }
        while self.received < self.sent {
            self.take_back()?;
        }
        self.out.write_all(&self.table.encode())?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Ends the current frame and hands it to its worker.
    fn cut(&mut self) -> io::Result<()> {
        if self.threads < 2 {
            return self.cut_here();
        }
        while self.workers.len() < self.threads {
            self.workers.push(Worker::start(self.level)?);
        }
        if self.sent - self.received == self.workers.len() * AHEAD {
            self.take_back()?;
        }
        let frame = self.next()?;
        let worker = &self.workers[self.sent % self.workers.len()];
        worker.jobs.send(frame).map_err(|_| worker_gone())?;
        self.sent += 1;
        Ok(())
    }

    /// Ends the current frame on the caller's own thread.
    fn cut_here(&mut self) -> io::Result<()> {
        let mut frame = self.next()?;
        let own = match &mut self.own {
            Some(own) => own,
            none => none.insert(compressor(self.level)?),
        };
        frame.compress(own)?;
        self.sent += 1;
        self.append(frame)
    }

    /// The current frame, whose place an empty one takes.
    fn next(&mut self) -> io::Result<Frame> {
        if self.sent >= FRAMES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "more than 1 TiB for one file of frames",
            ));
        }
        let empty = self.spare.pop().unwrap_or_default();
        Ok(std::mem::replace(&mut self.current, empty))
    }

    /// Waits for the oldest frame that is with a worker.
    fn take_back(&mut self) -> io::Result<()> {
        let worker = &self.workers[self.received % self.workers.len()];
        let frame = worker.done.recv().map_err(|_| worker_gone())??;
        self.append(frame)
    }

    fn append(&mut self, mut frame: Frame) -> io::Result<()> {
        self.out.write_all(&frame.packed)?;
        self.table.push(frame.packed.len(), frame.unpacked.len());
        self.received += 1;
        frame.unpacked.clear();
        self.spare.push(frame);
        Ok(())
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full frame is cut when more comes, so that none is ever empty and the last may be full.
        if self.current.unpacked.len() == FRAME_BYTES {
            self.cut()?;
        }
        let room = FRAME_BYTES - self.current.unpacked.len();
        let taken = &bytes[..room.min(bytes.len())];
        self.current.unpacked.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
