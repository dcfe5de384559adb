//! Compressing frames on all cores, in the order they came, within a bounded memory.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::FRAME_BYTES;

/// More threads than this are no use: what feeds them, a copy and two hashes, is done by one.
const THREADS_MAX: usize = 16;

/// Frames beyond one a thread that may be on their way, so that no thread waits for its next one.
const SPARE: usize = 4;

/// Bytes that all frames on their way take: the stream, and what it is compressed to.
const MEMORY_BYTES_MAX: u64 = (THREADS_MAX + SPARE) as u64 * 2 * (FRAME_BYTES as u64 + 8192);
const _: () = assert!(MEMORY_BYTES_MAX < 48 << 20);

/// How frames are compressed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coding {
    /// Of zstd.
    pub(crate) level: i32,
    /// Whether each frame has the checksum that `zstd` itself writes. It finds rot where nothing else is compared.
    pub(crate) checksum: bool,
}

/// A frame on its way.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// Its bytes of the stream.
    pub(crate) stream: Vec<u8>,
    /// What they are compressed to.
    pub(crate) packed: Vec<u8>,
    /// Whether it is the last of its stream, for a writer that has several in a row.
    pub(crate) last: bool,
    number: u64,
}

type Done = io::Result<Frame>;

/// Threads that compress. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Pipeline {
    jobs: Option<Sender<Frame>>,
    queue: Arc<Mutex<Receiver<Frame>>>,
    finished: Sender<Done>,
    done: Receiver<Done>,
    threads: Vec<JoinHandle<()>>,
    threads_max: usize,
    coding: Coding,
    /// Done before their turn.
    early: BTreeMap<u64, Frame>,
    /// Not in use.
    idle: Vec<Frame>,
    sent: u64,
    received: u64,
}

impl Pipeline {
    /// Compresses on up to `threads` threads, at least one. They are started as they are needed.
    pub(crate) fn new(coding: Coding, threads: usize) -> Self {
        let (jobs, queue) = channel();
        let (finished, done) = channel();
        Self {
            jobs: Some(jobs),
            queue: Arc::new(Mutex::new(queue)),
            finished,
            done,
            threads: Vec::new(),
            threads_max: threads.clamp(1, THREADS_MAX),
            coding,
            early: BTreeMap::new(),
            idle: Vec::new(),
            sent: 0,
            received: 0,
        }
    }

    /// An empty frame; `None` if as many as may be are on their way: [`receive`](Self::receive) one first.
    pub(crate) fn empty(&mut self) -> Option<Frame> {
        if self.sent - self.received >= (self.threads_max + SPARE) as u64 {
            return None;
        }
        Some(self.idle.pop().unwrap_or_else(|| Frame {
            stream: Vec::with_capacity(FRAME_BYTES),
            packed: Vec::with_capacity(zstd::zstd_safe::compress_bound(FRAME_BYTES)),
            ..Frame::default()
        }))
    }

    /// Whether any frame is on its way.
    pub(crate) const fn is_busy(&self) -> bool {
        self.sent > self.received
    }

    /// Has a frame compressed.
    pub(crate) fn send(&mut self, mut frame: Frame) -> io::Result<()> {
        if self.threads.len() < self.threads_max && self.threads.len() as u64 <= self.sent - self.received {
            self.start_thread()?;
        }
        frame.number = self.sent;
        self.sent += 1;
        let jobs = self.jobs.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        jobs.send(frame).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// The next frame in their order, compressed. Waits for it if `wait`, and only then fails if none is on its way.
    pub(crate) fn receive(&mut self, wait: bool) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.early.remove(&self.received) {
                self.received += 1;
                return Ok(Some(frame));
            }
            let done = match wait {
                true => self.done.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?,
                false => match self.done.try_recv() {
                    Ok(done) => done,
                    Err(_) => return Ok(None),
                },
            };
            let frame = done?;
            self.early.insert(frame.number, frame);
        }
    }

    /// Takes back a frame that has been written.
    pub(crate) fn recycle(&mut self, mut frame: Frame) {
        frame.stream.clear();
        frame.packed.clear();
        frame.last = false;
        self.idle.push(frame);
    }

    fn start_thread(&mut self) -> io::Result<()> {
        let (queue, finished, coding) = (Arc::clone(&self.queue), self.finished.clone(), self.coding);
        let thread = thread::Builder::new().name("store-compress".to_owned()).spawn(move || {
            let mut compressor = None;
            work_all(&queue, &finished, |frame| compress(&mut compressor, frame, coding));
        })?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // One that panicked has said so in the place of its frame.
            let _ = thread.join();
        }
    }
}

fn work_all(queue: &Mutex<Receiver<Frame>>, finished: &Sender<Done>, mut work: impl FnMut(Frame) -> Done) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(frame) = next else { return };
        // Whoever waits for the frame must not wait for ever.
        let done = catch_unwind(AssertUnwindSafe(|| work(frame)));
        let panicked = |_| Err(io::Error::other("a thread that compresses has panicked"));
        if finished.send(done.unwrap_or_else(panicked)).is_err() {
            return;
        }
    }
}

fn compress(compressor: &mut Option<Compressor<'static>>, mut frame: Frame, coding: Coding) -> Done {
    let compressor = match compressor {
        Some(compressor) => compressor,
        None => compressor.insert(new_compressor(coding)?),
    };
    compressor.compress_to_buffer(&frame.stream, &mut frame.packed)?;
    Ok(frame)
}

fn new_compressor(coding: Coding) -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(coding.level)?;
    compressor.set_parameter(CParameter::ChecksumFlag(coding.checksum))?;
    Ok(compressor)
}

/// As many threads as there are cores.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_whose_thread_panics_is_an_error_for_whoever_waits_for_it() {
        let (jobs, queue) = channel();
        let (finished, done) = channel();
        jobs.send(Frame::default()).unwrap();
        jobs.send(Frame::default()).unwrap();
        drop(jobs);
        let mut first = true;
        work_all(&Mutex::new(queue), &finished, |frame| {
            assert!(!std::mem::take(&mut first), "compressing");
            Ok(frame)
        });
        assert!(done.recv().unwrap().is_err());
        assert!(done.recv().unwrap().is_ok());
    }
}
