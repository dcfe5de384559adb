//! Reading a whole pack once.

use std::io;
use std::os::unix::fs::FileExt;

use super::reader::{PackFile, PackReader};
use crate::disk::{self, Copy};
use crate::index::rows::{Place, Stored};

/// What reading a pack again showed.
#[derive(Debug)]
pub(crate) struct Walked {
    /// Whether its bytes are those of its address.
    pub(crate) intact: bool,
    /// Its blobs, in the order they were asked about.
    pub(crate) members: Vec<(Stored, Copy)>,
}

/// A blob that is being read.
struct Current {
    stored: Stored,
    hasher: blake3::Hasher,
    /// Where the next of its bytes is.
    at: u64,
    end: u64,
    damaged: bool,
}

impl Current {
    fn new(stored: Stored) -> Self {
        let at = match stored.place {
            Place::Packed { position, .. } => position,
            Place::Inline(_) | Place::File => 0,
        };
        let end = at.saturating_add(stored.blob.size);
        Self { stored, hasher: blake3::Hasher::new(), at, end, damaged: false }
    }

    /// Takes what it has in a piece of the stream; `None` stands for one that cannot be unpacked. Whether it is complete.
    fn take(&mut self, begin: u64, length: u64, piece: Option<&[u8]>) -> bool {
        // No two blobs share bytes: one that begins before what is left is not where its row says.
        if self.at < begin {
            self.damaged = true;
            self.at = self.end;
        }
        let end = self.end.min(begin + length);
        if self.at < end {
            let part = (self.at - begin) as usize..(end - begin) as usize;
            match piece.and_then(|piece| piece.get(part)) {
                Some(bytes) => drop(self.hasher.update(bytes)),
                None => self.damaged = true,
            }
            self.at = end;
        }
        self.at == self.end
    }

    fn outcome(self) -> (Stored, Copy) {
        let sound = !self.damaged && self.at == self.end && disk::id_of(&self.hasher) == self.stored.blob.id;
        (self.stored, if sound { Copy::Sound } else { Copy::Damaged })
    }
}

impl PackReader {
    /// Reads a pack from its beginning to its end: whether it is what its name says, and whether these blobs, in the order
    /// of their positions, are what theirs say.
    ///
    /// # Errors
    /// Those of reading the file. Damage is none.
    pub(crate) fn walk(&mut self, members: Vec<Stored>) -> io::Result<Walked> {
        let mut hasher = blake3::Hasher::new();
        let mut begin = 0;
        let mut found = Vec::with_capacity(members.len());
        let mut members = members.into_iter().map(Current::new).peekable();
        for number in 0..self.file().frames() {
            let whole = match self.load(number) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => false,
                Err(error) => return Err(error),
            };
            hasher.update(self.stored_bytes());
            let length = self.file().unpacked(number) as u64;
            let piece = whole.then(|| self.stream());
            let reached = |current: &mut Current| current.at < begin + length;
            while let Some(current) = members.peek_mut()
                && reached(current)
                && current.take(begin, length, piece)
            {
                found.extend(members.next().map(Current::outcome));
            }
            begin += length;
        }
        found.extend(members.map(Current::outcome));
        hasher.update(&self.file().tail()?);
        Ok(Walked { intact: disk::id_of(&hasher) == self.pack().id, members: found })
    }
}

impl PackFile {
    /// What follows the last frame.
    fn tail(&self) -> io::Result<Vec<u8>> {
        let mut tail = vec![0; self.tail_bytes() as usize];
        self.file.read_exact_at(&mut tail, self.pack().size - self.tail_bytes())?;
        Ok(tail)
    }
}
