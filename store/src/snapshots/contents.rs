//! Reading and hashing the files of a tree, on all cores, handed out in their order.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode as CreateMode, OFlags};

use super::scan::{Found, Scanned, Stamp, Top};
use super::threads;
use crate::disk;
use crate::error::{Error, Result};

/// A file is one of these: its directory's place and its own place in there.
pub(super) type Place = (usize, usize);

/// Files are read in lots of up to so many bytes, so that threads meet once a lot and not once a file.
const LOT_BYTES: u64 = 1 << 20;

/// The most files of a lot.
const LOT_FILES: usize = 256;

/// A file above this size is not held in memory, but read twice: to be hashed, and to be stored.
const HELD_BYTES_MAX: u64 = 8 << 20;
const _: () = assert!(LOT_BYTES <= HELD_BYTES_MAX);

/// Lots that may be read and not yet handed out, for each thread. With the largest file that is held it bounds the
/// memory to 16 MiB a thread.
const AHEAD: usize = 2;

/// Bytes read at a time from a file that is not held.
const BUFFER_BYTES: usize = 256 << 10;

/// Some files that were read.
#[derive(Debug)]
pub(super) struct Lot {
    /// Which they are.
    pub(super) places: Vec<Place>,
    /// The content of each.
    pub(super) blobs: Vec<BlobRef>,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// All contents, one after the other.
    Bytes(Vec<u8>),
    /// One file that is too large to be held.
    File(File, Stamp),
}

/// The content of a file, to be stored.
pub(super) enum Content<'a> {
    Bytes(&'a [u8]),
    /// To be read from its beginning.
    File(&'a File),
}

impl Lot {
    /// The contents, in the order of `blobs`.
    pub(super) fn contents(&self) -> impl Iterator<Item = Content<'_>> {
        let mut at = 0;
        self.blobs.iter().map(move |blob| match &self.held {
            Held::Bytes(bytes) => {
                let from = at;
                at += usize::try_from(blob.size).unwrap_or(usize::MAX);
                Content::Bytes(bytes.get(from..at).unwrap_or_default())
            }
            Held::File(file, _) => Content::File(file),
        })
    }

    /// How many bytes they are.
    pub(super) fn bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// Whether a file that was read once more is still what it was.
    pub(super) fn is_unchanged(&self) -> io::Result<bool> {
        match &self.held {
            Held::Bytes(_) => Ok(true),
            Held::File(file, stamp) => Ok(Stamp::of(&rustix::fs::fstat(file)?) == *stamp),
        }
    }
}

/// Reads the files whose content is not known and hands them to `take`, in the order of the tree.
pub(super) fn read_all(top: &Top, tree: &[Scanned], mut take: impl FnMut(&Lot) -> Result<()>) -> Result<()> {
    let wanted = wanted(tree);
    let lots = lots(tree, &wanted);
    let line =
        Line { top, tree, wanted: &wanted, lots: &lots, state: Mutex::default(), moved: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 0..threads().min(lots.len()) {
            scope.spawn(|| line.work());
        }
        let all = || (0..lots.len()).try_for_each(|number| take(&line.next(number)?));
        let outcome = catch_unwind(AssertUnwindSafe(all));
        if !matches!(outcome, Ok(Ok(()))) {
            line.stop();
        }
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn wanted(tree: &[Scanned]) -> Vec<(Place, Stamp)> {
    let mut wanted = Vec::new();
    for (place, directory) in tree.iter().enumerate() {
        for (entry, (_, found)) in directory.entries.iter().enumerate() {
            if let Found::File { stamp, known: None } = found {
                wanted.push(((place, entry), *stamp));
            }
        }
    }
    wanted
}

/// Divides the files into runs.
fn lots(tree: &[Scanned], wanted: &[(Place, Stamp)]) -> Vec<Range<usize>> {
    debug_assert!(wanted.iter().all(|((directory, _), _)| *directory < tree.len()));
    let mut lots: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (number, (_, stamp)) in wanted.iter().enumerate() {
        match lots.last_mut() {
            Some(lot) if lot.len() < LOT_FILES && bytes + stamp.size <= LOT_BYTES => {
                lot.end = number + 1;
                bytes += stamp.size;
            }
            _ => {
                lots.push(number..number + 1);
                bytes = stamp.size;
            }
        }
    }
    lots
}

/// Where threads that read and the one that takes meet.
struct Line<'a> {
    top: &'a Top,
    tree: &'a [Scanned],
    wanted: &'a [(Place, Stamp)],
    lots: &'a [Range<usize>],
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// Lots given to threads.
    begun: usize,
    /// Lots handed out.
    taken: usize,
    done: BTreeMap<usize, Result<Lot>>,
    /// One of the threads failed or panicked, and nobody may wait for it.
    stopped: bool,
}

impl Line<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut opened = Opened::default();
        while let Some(number) = self.begin() {
            let lot = catch_unwind(AssertUnwindSafe(|| self.read(number, &mut opened)));
            let lot = lot.unwrap_or_else(|panic| {
                self.stop();
                resume_unwind(panic)
            });
            self.state().done.insert(number, lot);
            self.moved.notify_all();
        }
    }

    fn stop(&self) {
        self.state().stopped = true;
        self.moved.notify_all();
    }

    /// The next lot to be read. They are given out in order, so the one that is waited for is always on its way.
    fn begin(&self) -> Option<usize> {
        let mut state = self.state();
        loop {
            if state.stopped || state.begun == self.lots.len() {
                return None;
            }
            if state.begun - state.taken < AHEAD * threads() {
                state.begun += 1;
                return Some(state.begun - 1);
            }
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn next(&self, number: usize) -> Result<Lot> {
        let mut state = self.state();
        loop {
            if let Some(lot) = state.done.remove(&number) {
                state.taken += 1;
                drop(state);
                self.moved.notify_all();
                return lot;
            }
            assert!(!state.stopped, "a thread that reads the tree has panicked");
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read(&self, number: usize, opened: &mut Opened) -> Result<Lot> {
        let files = &self.wanted[self.lots[number].clone()];
        let total: u64 = files.iter().map(|(_, stamp)| stamp.size).sum();
        let places = files.iter().map(|(place, _)| *place).collect();
        if let [(place, stamp)] = files
            && stamp.size > HELD_BYTES_MAX
        {
            let (blob, file) = self.hash(*place, stamp, opened)?;
            return Ok(Lot { places, blobs: vec![blob], held: Held::File(file, *stamp) });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(total).unwrap_or_default());
        let mut blobs = Vec::with_capacity(files.len());
        for (place, stamp) in files {
            let file = self.open(*place, stamp, opened)?;
            let from = bytes.len();
            let end = from + usize::try_from(stamp.size).unwrap_or_default();
            while bytes.len() < end {
                bytes.reserve(end - bytes.len());
                match rustix::io::read(&file, spare_capacity(&mut bytes)) {
                    Ok(0) => break,
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(errno) => return Err(self.failed(*place, errno)),
                }
            }
            // More than there was: it has grown, and its times tell.
            bytes.truncate(end);
            self.require_unchanged(*place, stamp, &file)?;
            if bytes.len() < end {
                return Err(self.changed(*place));
            }
            blobs.push(BlobRef { id: BlobId::of(&bytes[from..]), size: stamp.size });
        }
        Ok(Lot { places, blobs, held: Held::Bytes(bytes) })
    }

    /// Hashes a file that is not held.
    fn hash(&self, place: Place, stamp: &Stamp, opened: &mut Opened) -> Result<(BlobRef, File)> {
        let mut file = File::from(self.open(place, stamp, opened)?);
        let failed = |error: io::Error| {
            let (directory, name) = self.named(place);
            Error::io(crate::error::READ, &self.top.path_of(directory, name))(error)
        };
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut size = 0;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    size += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        self.require_unchanged(place, stamp, &file)?;
        if size != stamp.size {
            return Err(self.changed(place));
        }
        file.rewind().map_err(failed)?;
        Ok((BlobRef { id: disk::id_of(&hasher), size }, file))
    }

    /// Opens a file that is still what it was when the tree was listed.
    fn open(&self, place: Place, stamp: &Stamp, opened: &mut Opened) -> Result<OwnedFd> {
        let (directory, name) = self.named(place);
        let fd = opened.directory(self.top, place.0, directory)?;
        // Not to wait for a writer, should the file have become a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(fd, OsStr::from_bytes(name), flags, CreateMode::empty())
            .map_err(|errno| self.failed(place, errno))?;
        self.require_unchanged(place, stamp, &file)?;
        Ok(file)
    }

    fn require_unchanged(&self, place: Place, stamp: &Stamp, file: impl std::os::fd::AsFd) -> Result<()> {
        let now = rustix::fs::fstat(file).map_err(|errno| self.failed(place, errno))?;
        if Stamp::of(&now) == *stamp { Ok(()) } else { Err(self.changed(place)) }
    }

    fn named(&self, (directory, entry): Place) -> (&[u8], &[u8]) {
        let directory = &self.tree[directory];
        (&directory.path, directory.entries[entry].0.as_bytes())
    }

    fn changed(&self, place: Place) -> Error {
        let (directory, name) = self.named(place);
        Error::TreeChanged { path: self.top.path_of(directory, name) }
    }

    fn failed(&self, place: Place, errno: rustix::io::Errno) -> Error {
        let (directory, name) = self.named(place);
        self.top.failed(directory, name, errno)
    }
}

/// The directory a thread opened last: files come one directory after the other.
#[derive(Default)]
struct Opened(Option<(usize, OwnedFd)>);

impl Opened {
    fn directory(&mut self, top: &Top, place: usize, path: &[u8]) -> Result<&OwnedFd> {
        let fd = match self.0.take() {
            Some((opened, fd)) if opened == place => fd,
            _ => top.directory(path)?,
        };
        Ok(&self.0.insert((place, fd)).1)
    }
}
