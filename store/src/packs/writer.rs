//! Writing packs.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use buildswarm_core::artifact::BlobRef;

use super::{Compression, FRAME_BYTES, PACK_BYTES, Pack, tar};
use crate::disk::{self, Durable, Temp};
use crate::error::{Error, Result};
use crate::frames::pipeline::{Coding, Frame, Pipeline, cores};
use crate::frames::{FRAMES_MAX, SeekTable};
use crate::room::Meter;

/// Higher levels take several times as long for a tenth of the size. Checksums would take a fiftieth of the time, and every
/// blob is hashed on its way out.
const CODING: Coding = Coding { level: 3, checksum: false };

/// Zeros to fill up with: the longest run is an end of a stream and a padding.
const ZEROS: [u8; 2048] = [0; 2048];
const _: () = assert!(ZEROS.len() as u64 >= tar::END_BYTES + tar::BLOCK_BYTES);

/// A blob in a pack, and where its bytes begin in what the pack unpacks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) blob: BlobRef,
    pub(crate) position: u64,
}

/// A pack that is durable in `tmp/` and waits for its name and its rows.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) pack: Pack,
    pub(crate) members: Vec<Member>,
    pub(crate) file: Durable,
}

/// A pack that is being written.
#[derive(Debug)]
struct Open {
    file: Temp,
    hasher: blake3::Hasher,
    size: u64,
    frames: SeekTable,
    unpacked: u64,
    members: Vec<Member>,
}

/// A pack that is written.
#[derive(Debug)]
struct Written {
    pack: Pack,
    members: Vec<Member>,
    file: Syncing,
}

/// How a pack becomes durable.
#[derive(Debug)]
enum Syncing {
    /// On a thread of its own, while the next one is written.
    Apart(JoinHandle<Result<Durable>>),
    /// When it is waited for: nothing is left to be done meanwhile.
    Later(Temp),
}

/// Writes blobs into as many packs as they fill. Dropping it removes them.
///
/// The thread that calls copies, hashes and writes; other threads compress, and sync what is full.
#[derive(Debug)]
pub(crate) struct PackWriter {
    tmp: PathBuf,
    compression: Compression,
    pipeline: Pipeline,
    /// The frame being filled.
    frame: Option<Frame>,
    /// The last one is being filled; frames of those before it are on their way.
    open: VecDeque<Open>,
    /// Whether the last of `open` may be filled further.
    filling: bool,
    /// Whether no more blobs will come.
    ending: bool,
    written: Vec<Packed>,
    syncing: VecDeque<Written>,
    /// Counts what is written; taken by whoever finishes.
    meter: Option<Meter<'static>>,
}

/// Packs that are synced at the same time: a disk that is slower than compression holds up the writer.
const SYNCING_MAX: usize = 2;

impl PackWriter {
    /// A writer of packs in `tmp`, counting what it writes.
    pub(crate) fn new(tmp: &Path, compression: Compression, meter: Meter<'static>) -> Self {
        Self {
            tmp: tmp.to_owned(),
            compression,
            pipeline: Pipeline::new(CODING, cores()),
            frame: None,
            open: VecDeque::new(),
            filling: false,
            ending: false,
            written: Vec::new(),
            syncing: VecDeque::new(),
            meter: Some(meter),
        }
    }

    /// Adds a blob. Its address was computed from these very bytes by this crate.
    pub(crate) fn add(&mut self, blob: BlobRef, bytes: &[u8]) -> Result<()> {
        let position = self.begin_member(blob)?;
        self.stream(bytes)?;
        self.end_member(Some(Member { blob, position }))
    }

    /// Adds a blob from its reader, hashing what is written: `false` if it turned out not to be the blob. The packs are
    /// whole then too, and have a member that no row will name.
    pub(crate) fn add_from(&mut self, blob: BlobRef, mut content: impl Read) -> Result<bool> {
        let position = self.begin_member(blob)?;
        let mut hasher = blake3::Hasher::new();
        let mut left = blob.size;
        while left > 0 {
            let frame = self.room()?;
            let before = frame.stream.len();
            let room = (FRAME_BYTES - before as u64).min(left) as usize;
            frame.stream.resize(before + room, 0);
            let count = disk::read_some(&mut content, &mut frame.stream[before..])
                .map_err(|source| Error::Source { source })?;
            if count > 0 {
                frame.stream.truncate(before + count);
            }
            // A content that is too short is filled up with zeros, which have another digest.
            hasher.update(&frame.stream[before..]);
            let taken = (frame.stream.len() - before) as u64;
            self.count(taken)?;
            left -= taken;
        }
        let more = disk::read_some(&mut content, &mut [0]).map_err(|source| Error::Source { source })?;
        let same = more == 0 && disk::id_of(&hasher) == blob.id;
        self.end_member(same.then_some(Member { blob, position }))?;
        Ok(same)
    }

    /// Ends the last pack and waits until all are durable. Their bytes stay counted as long as the meter is there.
    pub(crate) fn finish(mut self) -> Result<(Vec<Packed>, Option<Meter<'static>>)> {
        self.ending = true;
        if self.filling {
            self.end_pack()?;
        }
        while self.pipeline.is_busy() {
            self.write_next(true)?;
        }
        while !self.syncing.is_empty() {
            self.await_sync()?;
        }
        Ok((std::mem::take(&mut self.written), self.meter.take()))
    }

    fn begin_member(&mut self, blob: BlobRef) -> Result<u64> {
        if !self.filling {
            self.open.push_back(Open {
                file: Temp::create(&self.tmp)?,
                hasher: blake3::Hasher::new(),
                size: 0,
                frames: SeekTable::new(),
                unpacked: 0,
                members: Vec::new(),
            });
            self.filling = true;
        }
        self.stream(&tar::header(blob))?;
        Ok(self.filled()?.unpacked)
    }

    fn end_member(&mut self, member: Option<Member>) -> Result<()> {
        let open = self.filled()?;
        open.members.extend(member);
        let padding = tar::padding(open.unpacked);
        let full = open.unpacked + padding + tar::END_BYTES >= PACK_BYTES;
        self.stream(&ZEROS[..padding as usize])?;
        if full { self.end_pack() } else { Ok(()) }
    }

    fn end_pack(&mut self) -> Result<()> {
        self.stream(&ZEROS[..tar::END_BYTES as usize])?;
        self.filling = false;
        match self.frame.take() {
            Some(mut frame) => {
                frame.last = true;
                self.send(frame)
            }
            None => Ok(()),
        }
    }

    /// The pack being filled.
    fn filled(&mut self) -> Result<&mut Open> {
        self.open.back_mut().filter(|_| self.filling).ok_or_else(|| stopped(&self.tmp))
    }

    /// Appends to the stream.
    fn stream(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let frame = self.room()?;
            let room = FRAME_BYTES as usize - frame.stream.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            frame.stream.extend_from_slice(now);
            self.count(now.len() as u64)?;
            bytes = later;
        }
        Ok(())
    }

    /// The frame being filled, with room in it.
    fn room(&mut self) -> Result<&mut Frame> {
        if self.frame.as_ref().is_some_and(|frame| frame.stream.len() as u64 == FRAME_BYTES)
            && let Some(full) = self.frame.take()
        {
            self.send(full)?;
        }
        if self.frame.is_none() {
            self.frame = Some(self.empty()?);
        }
        self.frame.as_mut().ok_or_else(|| stopped(&self.tmp))
    }

    fn empty(&mut self) -> Result<Frame> {
        loop {
            match self.pipeline.empty() {
                Some(frame) => return Ok(frame),
                None => self.write_next(true)?,
            };
        }
    }

    fn count(&mut self, bytes: u64) -> Result<()> {
        self.filled()?.unpacked += bytes;
        Ok(())
    }

    /// Has a frame compressed, and writes what is compressed by now.
    fn send(&mut self, frame: Frame) -> Result<()> {
        match self.compression {
            Compression::None => self.write(frame),
            Compression::Zstd => {
                self.pipeline.send(frame).map_err(Error::io("compress into", &self.tmp))?;
                while self.write_next(false)? {}
                Ok(())
            }
        }
    }

    /// Writes the next frame; `false` if it is not compressed yet.
    fn write_next(&mut self, wait: bool) -> Result<bool> {
        match self.pipeline.receive(wait).map_err(Error::io("compress into", &self.tmp))? {
            Some(frame) => self.write(frame).map(|()| true),
            None => Ok(false),
        }
    }

    fn write(&mut self, frame: Frame) -> Result<()> {
        let open = self.open.front_mut().ok_or_else(|| stopped(&self.tmp))?;
        let bytes = match self.compression {
            Compression::None => frame.stream.len(),
            Compression::Zstd => frame.packed.len(),
        };
        if let Some(meter) = &mut self.meter {
            meter.take(bytes as u64)?;
        }
        match self.compression {
            Compression::None => open.append(&frame.stream)?,
            Compression::Zstd => {
                open.append(&frame.packed)?;
                open.frames.push(frame.packed.len(), frame.stream.len());
            }
        }
        let last = frame.last;
        self.pipeline.recycle(frame);
        match self.open.pop_front_if(|_| last) {
            Some(open) => self.close(open),
            None => Ok(()),
        }
    }

    /// Begins to sync a pack that is written.
    fn close(&mut self, mut open: Open) -> Result<()> {
        if self.compression == Compression::Zstd {
            if open.frames.frames() > FRAMES_MAX {
                return Err(Error::io("write", &self.tmp)(io::Error::other(
                    "a blob is too large for a pack",
                )));
            }
            let table = open.frames.encode();
            open.append(&table)?;
        }
        if self.syncing.len() == SYNCING_MAX {
            self.await_sync()?;
        }
        let pack = Pack { id: disk::id_of(&open.hasher), size: open.size, unpacked: open.unpacked };
        let file = match self.ending && self.open.is_empty() {
            true => Syncing::Later(open.file),
            false => Syncing::Apart(open.file.sync_apart()?),
        };
        self.syncing.push_back(Written { pack, members: open.members, file });
        Ok(())
    }

    fn await_sync(&mut self) -> Result<()> {
        let Some(Written { pack, members, file }) = self.syncing.pop_front() else { return Ok(()) };
        let file = match file {
            Syncing::Apart(thread) => {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
            }
            Syncing::Later(file) => file.sync()?,
        };
        self.written.push(Packed { pack, members, file });
        Ok(())
    }
}

impl Open {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.file.append(bytes)
    }
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        // What is synced for nothing is removed before the next one can be in its way.
        for written in self.syncing.drain(..) {
            if let Syncing::Apart(thread) = written.file {
                drop(thread.join());
            }
        }
    }
}

/// A writer goes on being used after it failed.
fn stopped(tmp: &Path) -> Error {
    Error::io("write to a pack in", tmp)(io::Error::other("an earlier write failed"))
}
