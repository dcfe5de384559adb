//! What an earlier snapshot of a tree read, so that a file which is the same need not be read again.
//!
//! A file is the same if its device, inode, size, mode and both times are. That proves nothing about a file that was
//! changed while, or just before, it was read: a second change within one tick of the file system's clock leaves the
//! same times (git calls such an entry racy). So a file is remembered only if both its times are well before the
//! moment the snapshot began; see [`RACY_SECONDS`].
//!
//! A cache is never needed and never believed if anything about it is odd: it carries a checksum, the store's
//! identity, and the count of what the store has lost, so that what it names is known to be still there.

use std::collections::HashSet;

use buildswarm_core::{BlobId, Digest};

use super::directory::Name;
use super::present::Standing;
use super::scan::{Found, Scanned, Stamp, Time};

/// A file whose times are not this many seconds before the beginning of a snapshot is read again by the next: the
/// coarsest time stamps Linux writes are those of FAT, of two seconds, and the clock that stamps files lags the one we
/// read by up to a tick.
pub(super) const RACY_SECONDS: i64 = 3;

/// What every cache begins with: a name and the number of the format.
const MAGIC: &[u8; 16] = b"bswarm-stats-01\n";

/// Length of the checksum at the end, in bytes.
const CHECKSUM: usize = Digest::LEN;

/// A cache that was read and found whole.
#[derive(Debug)]
pub(super) struct Cache {
    bytes: Vec<u8>,
    standing: Standing,
    renewed: u64,
    directories: Vec<Place>,
    /// Named here, and not in the store any more.
    missing: HashSet<BlobId>,
}

/// Where a directory stands in the bytes.
#[derive(Debug, Clone, Copy)]
struct Place {
    object: BlobId,
    device: u64,
    /// Its entries.
    start: usize,
    end: usize,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stamp: Stamp,
    pub(super) content: BlobId,
}

const FILE: u8 = b'f';
const DIRECTORY: u8 = b'd';

impl Cache {
    /// Reads a cache; `None` for anything that is not one of this format, or not whole.
    pub(super) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
        if checksum != Digest::of(body).as_bytes() {
            return None;
        }
        let mut reader = Reader { bytes: body, at: 0 };
        if reader.array::<16>()? != *MAGIC {
            return None;
        }
        let standing = Standing { store: reader.array()?, losses: reader.u64()? };
        let renewed = reader.u64()?;
        let mut directories = Vec::new();
        for _ in 0..reader.u32()? {
            let object = reader.address()?;
            let device = reader.u64()?;
            let length = usize::try_from(reader.u64()?).ok()?;
            let start = reader.at;
            reader.skip(length)?;
            directories.push(Place { object, device, start, end: reader.at });
        }
        (reader.at == body.len() && !directories.is_empty()).then_some(()).map(|()| Self {
            standing,
            renewed,
            directories,
            bytes,
            missing: HashSet::new(),
        })
    }

    /// The store it speaks about, as it stood when everything named here was in it.
    pub(super) const fn standing(&self) -> Standing {
        self.standing
    }

    /// When the blobs it names were last kept from being collected, in seconds since 1970.
    pub(super) const fn renewed(&self) -> u64 {
        self.renewed
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The object of a directory.
    pub(super) fn object(&self, number: u32) -> Option<BlobId> {
        self.directories.get(number as usize).map(|place| place.object).filter(|id| self.is_there(*id))
    }

    /// Does not speak of these any more.
    pub(super) fn forget(&mut self, missing: HashSet<BlobId>) {
        self.missing = missing;
    }

    /// Whether a blob named here is in the store.
    pub(super) fn is_there(&self, id: BlobId) -> bool {
        self.missing.is_empty() || !self.missing.contains(&id)
    }

    /// The directories below a directory, to be asked for in the order of their names.
    pub(super) fn directories(&self, number: u32) -> Ordered<'_, u32> {
        Ordered::new(self.entries(number), |entry| match entry {
            Remembered::Directory(number) => Some(number),
            Remembered::File(_) => None,
        })
    }

    /// The files of a directory, if it lay on this device; to be asked for in the order of their names.
    pub(super) fn files(&self, number: u32, device: u64) -> Ordered<'_, Known> {
        let place = self.directories.get(number as usize).filter(|place| place.device == device);
        Ordered::new(
            if place.is_some() { self.entries(number) } else { Entries::none() },
            |entry| match entry {
                Remembered::File(known) => Some(known),
                Remembered::Directory(_) => None,
            },
        )
    }

    fn entries(&self, number: u32) -> Entries<'_> {
        match self.directories.get(number as usize) {
            Some(place) => Entries {
                reader: Reader { bytes: &self.bytes[..place.end], at: place.start },
                device: place.device,
            },
            None => Entries::none(),
        }
    }

    /// Every address that is named.
    pub(super) fn addresses(&self) -> Vec<BlobId> {
        let mut all: Vec<BlobId> = self.directories.iter().map(|place| place.object).collect();
        for number in 0..u32::try_from(self.directories.len()).unwrap_or(u32::MAX) {
            all.extend(self.entries(number).filter_map(|(_, entry)| match entry {
                Remembered::File(known) => Some(known.content),
                Remembered::Directory(_) => None,
            }));
        }
        all
    }
}

enum Remembered {
    File(Known),
    Directory(u32),
}

/// The entries of a directory in a cache.
struct Entries<'a> {
    reader: Reader<'a>,
    device: u64,
}

impl Entries<'_> {
    const fn none() -> Self {
        Self { reader: Reader { bytes: &[], at: 0 }, device: 0 }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Remembered);

    fn next(&mut self) -> Option<Self::Item> {
        let reader = &mut self.reader;
        let length = reader.array::<1>()?[0];
        let name = reader.take(usize::from(length))?;
        let entry = match reader.array::<1>()?[0] {
            FILE => Remembered::File(Known {
                stamp: Stamp {
                    device: self.device,
                    inode: reader.u64()?,
                    size: reader.u64()?,
                    mode: reader.u32()?,
                    modified: reader.time()?,
                    changed: reader.time()?,
                },
                content: reader.address()?,
            }),
            _ => Remembered::Directory(reader.u32()?),
        };
        Some((name, entry))
    }
}

/// Entries of one kind in the order of their names, next to another list in that order.
pub(super) struct Ordered<'a, T> {
    entries: std::iter::Peekable<Entries<'a>>,
    kind: fn(Remembered) -> Option<T>,
}

impl<'a, T> Ordered<'a, T> {
    fn new(entries: Entries<'a>, kind: fn(Remembered) -> Option<T>) -> Self {
        Self { entries: entries.peekable(), kind }
    }

    /// The entry with this name, which comes after all names asked for before.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<T> {
        while self.entries.next_if(|(before, _)| *before < name).is_some() {}
        self.entries.next_if(|(found, _)| *found == name).and_then(|(_, entry)| (self.kind)(entry))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Option<Time> {
        Some(Time(self.array().map(i64::from_le_bytes)?, self.u32()?))
    }

    fn address(&mut self) -> Option<BlobId> {
        self.array().map(|bytes| BlobId::from_digest(Digest::from_bytes(bytes)))
    }
}

/// Writes what was found in a tree, for the next snapshot of it. All contents are known by now; `objects` are those of
/// the directories, and `began` is when the snapshot began, in seconds since 1970.
pub(super) fn encode(
    standing: Standing,
    renewed: u64,
    began: u64,
    tree: &[Scanned],
    objects: &[BlobId],
) -> Vec<u8> {
    let settled = i64::try_from(began).unwrap_or_default() - RACY_SECONDS;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&standing.store);
    bytes.extend_from_slice(&standing.losses.to_le_bytes());
    bytes.extend_from_slice(&renewed.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(tree.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (directory, object) in tree.iter().zip(objects) {
        bytes.extend_from_slice(object.digest().as_bytes());
        bytes.extend_from_slice(&directory.device.to_le_bytes());
        let length_at = bytes.len();
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        for (name, found) in &directory.entries {
            write_entry(&mut bytes, name, found, directory, settled);
        }
        let length = (bytes.len() - length_at - 8) as u64;
        bytes[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
    }
    let checksum = Digest::of(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

/// `settled` is the second before which a file that is the same is known to be the same.
fn write_entry(bytes: &mut Vec<u8>, name: &Name, found: &Found, directory: &Scanned, settled: i64) {
    let mut head = |kind| {
        bytes.push(u8::try_from(name.as_bytes().len()).unwrap_or_default());
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(kind);
    };
    match found {
        Found::File { stamp, known: Some(content) } => {
            let settled = stamp.modified.0 < settled && stamp.changed.0 < settled;
            // A file that is mounted over another has a device of its own; there are few.
            if !settled || !directory.local || stamp.device != directory.device {
                return;
            }
            head(FILE);
            bytes.extend_from_slice(&stamp.inode.to_le_bytes());
            bytes.extend_from_slice(&stamp.size.to_le_bytes());
            bytes.extend_from_slice(&stamp.mode.to_le_bytes());
            for Time(seconds, nanos) in [stamp.modified, stamp.changed] {
                bytes.extend_from_slice(&seconds.to_le_bytes());
                bytes.extend_from_slice(&nanos.to_le_bytes());
            }
            bytes.extend_from_slice(content.digest().as_bytes());
        }
        Found::Directory { number, .. } => {
            head(DIRECTORY);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        Found::File { known: None, .. } | Found::Symlink { .. } => {}
    }
}

/// For fuzzing: reads a cache of any content, which lacks only its checksum.
#[cfg(any(test, feature = "faults"))]
pub(crate) fn read_all(body: &[u8]) {
    let mut bytes = body.to_vec();
    bytes.extend_from_slice(Digest::of(body).as_bytes());
    let Some(cache) = Cache::parse(bytes) else { return };
    for (number, place) in (0..).zip(&cache.directories) {
        assert!(cache.object(number).is_some());
        cache.directories(number).find(b"m");
        cache.files(number, place.device).find(b"m");
    }
    cache.addresses();
}
