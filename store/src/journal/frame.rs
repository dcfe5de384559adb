//! Records in a file: which bytes are one, and whether they are whole.
//!
//! A frame is a mark of 4 bytes, the payload's length (`u32`), the record's number (`u64`, all little-endian), the payload,
//! and BLAKE3 of length, number and payload. The mark is for whoever has to find the next record behind damaged ones.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use buildswarm_core::Digest;

use crate::error::{Error, READ, Result};

const MARK: [u8; 4] = *b"note";

/// Bytes before the payload.
const HEAD_BYTES: usize = MARK.len() + 4 + 8;

/// Longest payload that is believed, in bytes: a generation of a million entries takes an eighth of it.
const PAYLOAD_BYTES_MAX: u32 = 1 << 30;

/// The bytes of one record in a file.
pub(super) fn frame(number: u64, payload: &[u8], into: &mut Vec<u8>) -> io::Result<()> {
    let length = u32::try_from(payload.len()).ok().filter(|length| *length <= PAYLOAD_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("a record of the journal is too long"))?;
    into.extend_from_slice(&MARK);
    let start = into.len();
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&number.to_le_bytes());
    into.extend_from_slice(payload);
    let digest = Digest::of(&into[start..]);
    into.extend_from_slice(digest.as_bytes());
    Ok(())
}

/// The beginning of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: u64,
    length: u32,
}

impl Head {
    fn read(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MARK)?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        let number = u64::from_le_bytes(*rest.first_chunk()?);
        (length <= PAYLOAD_BYTES_MAX).then_some(Self { number, length })
    }

    /// Bytes of the whole frame.
    const fn frame_bytes(self) -> u64 {
        (HEAD_BYTES + Digest::LEN) as u64 + self.length as u64
    }
}

/// Reads a file frame by frame.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Where the next frame begins.
    at: u64,
    length: u64,
}

/// What stands at a place of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record, as it was written.
    Whole { number: u64, payload: Vec<u8> },
    /// Bytes that are no whole record, up to the next one or to the end.
    Damaged { from: u64, to: u64 },
}

impl<'a> Frames<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(READ, path))?;
        let length = file.metadata().map_err(Error::io(READ, path))?.len();
        Ok(Self { path, file: BufReader::new(file), at: 0, length })
    }

    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of the file.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) const fn go_to(&mut self, at: u64) {
        self.at = at;
    }

    /// Goes past the next frame without looking at its payload; `None` at the end, or at what cannot be a frame.
    pub(super) fn skip(&mut self) -> Result<Option<Head>> {
        let head = self.head()?;
        if let Some(head) = head {
            self.at += head.frame_bytes();
        }
        Ok(head)
    }

    /// The head of the next frame, which fits into the file.
    pub(super) fn head(&mut self) -> Result<Option<Head>> {
        if self.length - self.at < (HEAD_BYTES + Digest::LEN) as u64 {
            return Ok(None);
        }
        let mut bytes = [0; HEAD_BYTES];
        self.read_at(self.at, &mut bytes)?;
        Ok(Head::read(&bytes).filter(|head| head.frame_bytes() <= self.length - self.at))
    }

    /// The next frame, checked; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Found>> {
        if self.at == self.length {
            return Ok(None);
        }
        if let Some(whole) = self.whole()? {
            return Ok(Some(whole));
        }
        let from = self.at;
        loop {
            self.at = self.next_mark(self.at + 1)?;
            if self.at == self.length {
                break;
            }
            let here = self.at;
            if self.whole()?.is_some() {
                self.at = here;
                break;
            }
        }
        Ok(Some(Found::Damaged { from, to: self.at }))
    }

    /// The next frame if it is whole.
    fn whole(&mut self) -> Result<Option<Found>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let mut rest = vec![0; head.length as usize + Digest::LEN];
        self.read_at(self.at + HEAD_BYTES as u64, &mut rest)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head.length.to_le_bytes()).update(&head.number.to_le_bytes());
        let digest = rest.split_off(head.length as usize);
        hasher.update(&rest);
        if hasher.finalize().as_bytes().as_slice() != digest {
            return Ok(None);
        }
        self.at += head.frame_bytes();
        Ok(Some(Found::Whole { number: head.number, payload: rest }))
    }

    /// Where the mark stands next, beginning with byte `from`; the end of the file if nowhere.
    fn next_mark(&mut self, from: u64) -> Result<u64> {
        let mut window = [0; 64 * 1024];
        let mut at = from.min(self.length);
        while self.length - at >= MARK.len() as u64 {
            let count = window.len().min(usize::try_from(self.length - at).unwrap_or(usize::MAX));
            self.read_at(at, &mut window[..count])?;
            if let Some(found) = window[..count].windows(MARK.len()).position(|bytes| bytes == MARK) {
                return Ok(at + found as u64);
            }
            // A mark may lie across two windows.
            at += (count - (MARK.len() - 1)) as u64;
        }
        Ok(self.length)
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> Result<()> {
        let here = self.file.stream_position().map_err(Error::io(READ, self.path))?;
        let step = i64::try_from(i128::from(at) - i128::from(here));
        // Within the buffer it stays, which makes going from head to head cheap.
        let moved = match step {
            Ok(step) => self.file.seek_relative(step),
            Err(_) => self.file.seek(SeekFrom::Start(at)).map(drop),
        };
        moved.and_then(|()| self.file.read_exact(into)).map_err(Error::io(READ, self.path))
    }
}

/// For fuzzing: reads a file of any content to its end, and hands the payload of each whole frame to `each`.
#[cfg(any(test, feature = "faults"))]
pub(crate) fn read_all(path: &Path, mut each: impl FnMut(&[u8])) {
    let mut frames = Frames::open(path).expect("a file");
    let mut at = 0;
    while let Some(found) = frames.next().expect("it can be read") {
        match found {
            Found::Whole { payload, .. } => each(&payload),
            Found::Damaged { from, to } => assert!(from == at && to > from, "{from} {to}"),
        }
        assert!(frames.at() > at && frames.at() <= frames.length());
        at = frames.at();
    }
    assert_eq!(at, frames.length(), "every byte is a frame or damaged");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, payload) in records {
            frame(*number, payload, &mut bytes).unwrap();
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Vec<Found> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut frames = Frames::open(file.path()).unwrap();
        std::iter::from_fn(|| frames.next().unwrap()).collect()
    }

    fn whole(number: u64, payload: &[u8]) -> Found {
        Found::Whole { number, payload: payload.to_vec() }
    }

    #[test]
    fn what_is_written_is_read() {
        let large = vec![7; 100_000];
        let bytes = file(&[(1, b""), (2, b"note"), (3, &large)]);
        assert_eq!(read(&bytes), [whole(1, b""), whole(2, b"note"), whole(3, &large)]);
        assert_eq!(read(&[]), []);
    }

    #[test]
    fn a_torn_tail_is_not_a_record_wherever_it_is_torn() {
        let bytes = file(&[(1, b"one"), (2, b"two")]);
        let first = file(&[(1, b"one")]).len();
        for length in first + 1..bytes.len() {
            let damaged = Found::Damaged { from: first as u64, to: length as u64 };
            assert_eq!(read(&bytes[..length]), [whole(1, b"one"), damaged], "{length}");
        }
    }

    #[test]
    fn damage_costs_the_record_it_is_in_and_no_other() {
        let bytes = file(&[(1, b"one"), (2, b"note, two"), (3, b"three")]);
        let (first, second) = (file(&[(1, b"one")]).len(), file(&[(1, b"one"), (2, b"note, two")]).len());
        for at in first..second {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x40;
            let damaged = Found::Damaged { from: first as u64, to: second as u64 };
            assert_eq!(read(&bytes), [whole(1, b"one"), damaged, whole(3, b"three")], "{at}");
        }
    }
}
