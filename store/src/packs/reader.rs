//! Reading packs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use buildswarm_core::artifact::BlobRef;
use zstd::bulk::Decompressor;

use super::{FRAME_BYTES, Pack};
use crate::disk::{self, Copy};
use crate::error::{Error, READ, Result};
use crate::faults::{Step, take};
use crate::frames::{FrameError, SeekTable, unpack};
use crate::index::rows::PackNumber;
use crate::store::Shared;

/// The first bytes of every zstd frame; no stream begins with them, since a member's name does.
pub(super) const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// A pack that is open.
#[derive(Debug)]
pub(crate) struct PackFile {
    number: PackNumber,
    pack: Pack,
    pub(super) file: File,
    /// `None` if it is stored as it is.
    frames: Option<SeekTable>,
}

impl PackFile {
    /// `None` if there is no such file, or if it is not as the index has it.
    pub(super) fn open(path: &Path, number: PackNumber, pack: Pack) -> Result<Option<Self>> {
        let named = Error::io(READ, path);
        let file = match disk::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(error)),
        };
        let found = Self::examine(&file, pack).map_err(named)?;
        Ok(found.map(|frames| Self { number, pack, file, frames }))
    }

    fn examine(file: &File, pack: Pack) -> io::Result<Option<Option<SeekTable>>> {
        let mut magic = [0; ZSTD.len()];
        if file.metadata()?.len() != pack.size || pack.size < magic.len() as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut magic, 0)?;
        if magic != ZSTD && pack.size == pack.unpacked {
            return Ok(Some(None));
        }
        let mut file = file;
        match SeekTable::read(&mut file) {
            Ok(frames) if frames.size() == pack.unpacked => Ok(Some(Some(frames))),
            Err(FrameError::Io(error)) => Err(error),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    pub(crate) const fn number(&self) -> PackNumber {
        self.number
    }

    pub(crate) const fn pack(&self) -> Pack {
        self.pack
    }

    pub(super) const fn frames(&self) -> u64 {
        self.pack.unpacked.div_ceil(FRAME_BYTES)
    }

    /// Bytes of the file after its frames.
    pub(super) fn tail_bytes(&self) -> u64 {
        self.frames.as_ref().map_or(0, |frames| self.pack.size - frames.packed())
    }

    /// Whether it is stored as it is.
    pub(crate) const fn is_plain(&self) -> bool {
        self.frames.is_none()
    }

    /// Bytes of the stream in a frame; 0 beyond the end.
    pub(super) fn unpacked(&self, number: u64) -> usize {
        self.pack.unpacked.saturating_sub(number.saturating_mul(FRAME_BYTES)).min(FRAME_BYTES) as usize
    }
}

/// Reads from one pack, frame by frame. The last frame is kept, so reading in the order of positions unpacks each once.
pub(crate) struct PackReader {
    file: Arc<PackFile>,
    decompressor: Option<Decompressor<'static>>,
    /// The frame in `stream`.
    held: Option<u64>,
    stream: Vec<u8>,
    packed: Vec<u8>,
}

impl std::fmt::Debug for PackReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackReader").field("file", &self.file).finish_non_exhaustive()
    }
}

impl PackReader {
    pub(crate) const fn new(file: Arc<PackFile>) -> Self {
        Self { file, decompressor: None, held: None, stream: Vec::new(), packed: Vec::new() }
    }

    pub(crate) fn pack(&self) -> Pack {
        self.file.pack()
    }

    /// The bytes of the stream from `position` to the end of its frame; empty at the end of the stream.
    ///
    /// Nothing is verified but that the frame unpacks to its length.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it does not, and those of reading the file.
    pub(crate) fn at(&mut self, position: u64) -> io::Result<&[u8]> {
        self.load(position / FRAME_BYTES)?;
        let from = (position % FRAME_BYTES) as usize;
        Ok(self.stream.get(from..).unwrap_or_default())
    }

    /// Fills `buffer` with the bytes of the stream from `position`.
    ///
    /// # Errors
    /// As [`at`](Self::at); [`io::ErrorKind::InvalidData`] if the stream ends before.
    pub(crate) fn read_at(&mut self, mut position: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let found = self.at(position)?;
            if found.is_empty() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let count = found.len().min(buffer.len());
            let (now, later) = std::mem::take(&mut buffer).split_at_mut(count);
            now.copy_from_slice(&found[..count]);
            buffer = later;
            position += count as u64;
        }
        Ok(())
    }

    /// Reads a blob, handing its bytes on as they come, and compares it with its address.
    ///
    /// # Errors
    /// Those of reading the file and of `each`; damage is none.
    pub(crate) fn copy_of(
        &mut self,
        blob: BlobRef,
        mut position: u64,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Copy> {
        let mut hasher = blake3::Hasher::new();
        let mut left = blob.size;
        while left > 0 {
            let found = match self.at(position) {
                Ok(found) if !found.is_empty() => found,
                Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error),
                _ => return Ok(Copy::Damaged),
            };
            let found = &found[..found.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            hasher.update(found);
            each(found)?;
            position += found.len() as u64;
            left -= found.len() as u64;
        }
        Ok(if disk::id_of(&hasher) == blob.id { Copy::Sound } else { Copy::Damaged })
    }

    /// Makes a frame the one that is held.
    pub(super) fn load(&mut self, number: u64) -> io::Result<()> {
        if self.held != Some(number) {
            self.held = None;
            self.fill(number)?;
            self.held = Some(number);
        }
        Ok(())
    }

    /// The frame that is held, as it is in the stream.
    pub(super) fn stream(&self) -> &[u8] {
        &self.stream
    }

    /// The frame that was loaded last, as it is in the file.
    pub(super) fn stored_bytes(&self) -> &[u8] {
        if self.file.is_plain() { &self.stream } else { &self.packed }
    }

    pub(super) fn file(&self) -> &PackFile {
        &self.file
    }

    fn fill(&mut self, number: u64) -> io::Result<()> {
        let unpacked = self.file.unpacked(number);
        self.stream.resize(unpacked, 0);
        let Some(frames) = &self.file.frames else {
            return take(Step::ReadFile, || {
                self.file.file.read_exact_at(&mut self.stream, number * FRAME_BYTES)
            });
        };
        let Some(place) = usize::try_from(number).ok().and_then(|number| frames.packed_range(number)) else {
            return Ok(());
        };
        self.packed.resize((place.end - place.start) as usize, 0);
        take(Step::ReadFile, || self.file.file.read_exact_at(&mut self.packed, place.start))?;
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            None => self.decompressor.insert(Decompressor::new()?),
        };
        unpack(decompressor, &self.packed, &mut self.stream)
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))
    }
}

impl Shared {
    /// How a blob in a pack compares with its address.
    pub(crate) fn examine_packed(&self, blob: BlobRef, number: PackNumber, position: u64) -> Result<Copy> {
        let Some(file) = self.open_pack(number)? else { return Ok(Copy::Missing) };
        let path = self.layout.pack(&file.pack().id);
        match PackReader::new(file).copy_of(blob, position, |_| Ok(())) {
            Err(error) => Err(Error::io(READ, &path)(error)),
            Ok(copy) => Ok(copy),
        }
    }
}
