//! What a directory tree holds, by a walk on all cores.
//!
//! Everything is opened relative to the top of the tree, beneath it and without following a link, so nobody who
//! writes to the tree can lead the walk out of it. A directory is named by its path from the top: no descriptors are
//! kept, and the path bounds how deep a tree can be.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use buildswarm_core::{BlobId, Digest};
use rustix::fs::{AtFlags, FileType, Mode as CreateMode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use super::cache::{Cache, Known};
use super::directory::{DIRECTORY_BYTES_MAX, Mode, Name, Target};
use super::{TreeOptions, threads};
use crate::error::{Error, READ, Result};
use crate::filesystem;

/// The longest path from the top of a tree, in bytes: what Linux takes in one call. It bounds the depth to 2,048.
pub const TREE_PATH_BYTES_MAX: usize = 4095;

/// The most entries of a tree: what is kept of each while it is put takes some 150 bytes.
pub const TREE_ENTRIES_MAX: u64 = 4 << 20;

/// Bytes for names read from a directory in one call: some hundred entries a call, as libc does.
const NAMES_BYTES: usize = 32 << 10;

/// What tells whether a file is the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) modified: Time,
    pub(super) changed: Time,
}

/// Seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) i64, pub(super) u32);

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            mode: stat.st_mode,
            modified: Time(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            changed: Time(stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or_default()),
        }
    }
}

/// What an entry was found to be.
#[derive(Debug)]
pub(super) enum Found {
    /// `known` is its content if it is the file that an earlier snapshot read.
    File {
        stamp: Stamp,
        known: Option<BlobId>,
    },
    /// `number` is its place among the directories.
    Directory {
        mode: Mode,
        number: u32,
    },
    Symlink {
        target: Target,
    },
}

impl Found {
    /// Bytes of a directory object that it takes at least.
    fn bytes(&self) -> u64 {
        match self {
            Self::File { .. } | Self::Directory { .. } => Digest::LEN as u64,
            Self::Symlink { target } => target.as_os_str().len() as u64,
        }
    }
}

/// One directory of a scanned tree.
#[derive(Debug)]
pub(super) struct Scanned {
    /// From the top, empty for the top itself.
    pub(super) path: Box<[u8]>,
    /// The same directory in the cache.
    pub(super) cached: Option<u32>,
    pub(super) device: u64,
    /// Whether times of its file system can be compared with this machine's clock.
    pub(super) local: bool,
    /// In the order of their names.
    pub(super) entries: Vec<(Name, Found)>,
}

/// The top of a tree on the disk.
#[derive(Debug)]
pub(super) struct Top {
    fd: OwnedFd,
    path: PathBuf,
}

impl Top {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, CreateMode::empty())
            .map_err(|errno| Error::io(READ, path)(errno.into()))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a directory of the tree.
    pub(super) fn directory(&self, path: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let relative = if path.is_empty() { &b"."[..] } else { path };
        rustix::fs::openat2(&self.fd, relative, flags, CreateMode::empty(), beneath)
            .map_err(|errno| self.failed(path, b"", errno))
    }

    /// Makes a directory that only this user can enter.
    pub(super) fn make_directory(&self, path: &[u8]) -> Result<(), Errno> {
        rustix::fs::mkdirat(&self.fd, path, CreateMode::RWXU)
    }

    /// The whole path of an entry, for people.
    pub(super) fn path_of(&self, directory: &[u8], name: &[u8]) -> PathBuf {
        let mut path = self.path.clone();
        for part in [directory, name] {
            if !part.is_empty() {
                path.push(OsStr::from_bytes(part));
            }
        }
        path
    }

    /// That a directory has too many entries to be an object.
    pub(super) fn too_large(&self, path: &[u8]) -> Error {
        let limit = format!("a directory's object may have {DIRECTORY_BYTES_MAX} bytes");
        Error::TreeTooLarge { path: self.path_of(path, b""), limit }
    }

    /// What an error of the system says about an entry. One that is gone, or is something else than it was, has
    /// changed since it was listed.
    pub(super) fn failed(&self, directory: &[u8], name: &[u8], errno: Errno) -> Error {
        let path = self.path_of(directory, name);
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Error::TreeChanged { path },
            _ => Error::io(READ, &path)(errno.into()),
        }
    }
}

/// Joins a directory's path and a name.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Box<[u8]> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    if !directory.is_empty() {
        path.extend_from_slice(directory);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path.into()
}

/// Lists the tree. The directories come in the order of their paths, so each after the one it lies in; the numbers
/// in [`Found::Directory`] are places in this order.
pub(super) fn scan(top: &Top, options: &TreeOptions, cache: Option<&Cache>) -> Result<Vec<Scanned>> {
    let walk = Walk {
        top,
        options,
        cache,
        state: Mutex::new(State {
            directories: vec![None],
            ahead: vec![Job { number: 0, path: Box::default(), cached: cache.map(|_| 0), above: None }],
            working: 0,
            entries: 0,
            failed: None,
            panicked: false,
        }),
        more: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads() {
            scope.spawn(|| walk.work());
        }
        walk.work();
    });
    let state = walk.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => Ok(in_order(state.directories.into_iter().flatten().collect())),
    }
}

/// Numbers the directories in the order of their paths: the order in which threads met them is of no use to anybody.
fn in_order(directories: Vec<Scanned>) -> Vec<Scanned> {
    let mut numbered: Vec<(usize, Scanned)> = directories.into_iter().enumerate().collect();
    numbered.sort_unstable_by(|(_, a), (_, b)| a.path.cmp(&b.path));
    let mut places = vec![0; numbered.len()];
    for (place, (number, _)) in numbered.iter().enumerate() {
        places[*number] = u32::try_from(place).unwrap_or(u32::MAX);
    }
    let mut directories: Vec<Scanned> = numbered.into_iter().map(|(_, directory)| directory).collect();
    for (_, found) in directories.iter_mut().flat_map(|directory| &mut directory.entries) {
        if let Found::Directory { number, .. } = found {
            *number = places[*number as usize];
        }
    }
    directories
}

/// A directory to be listed.
struct Job {
    number: u32,
    path: Box<[u8]>,
    cached: Option<u32>,
    /// Device of the directory it lies in, and whether that is local.
    above: Option<(u64, bool)>,
}

struct State {
    directories: Vec<Option<Scanned>>,
    ahead: Vec<Job>,
    /// Threads that are listing a directory and may find more.
    working: usize,
    entries: u64,
    failed: Option<Error>,
    /// A thread panicked, and nobody may wait for it.
    panicked: bool,
}

struct Walk<'a> {
    top: &'a Top,
    options: &'a TreeOptions,
    cache: Option<&'a Cache>,
    state: Mutex<State>,
    more: Condvar,
}

impl Walk<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut names = Vec::with_capacity(NAMES_BYTES);
        while let Some(job) = self.take() {
            let number = job.number;
            let outcome = catch_unwind(AssertUnwindSafe(|| self.list(job, &mut names)));
            let mut state = self.state();
            state.working -= 1;
            let outcome = outcome.unwrap_or_else(|panic| {
                state.panicked = true;
                self.more.notify_all();
                resume_unwind(panic)
            });
            match outcome.and_then(|scanned| self.add(&mut state, scanned)) {
                Ok(scanned) => state.directories[number as usize] = Some(scanned),
                Err(error) => {
                    state.failed.get_or_insert(error);
                }
            }
            drop(state);
            self.more.notify_all();
        }
    }

    fn take(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.failed.is_some() || state.panicked {
                return None;
            }
            if let Some(job) = state.ahead.pop() {
                state.working += 1;
                return Some(job);
            }
            if state.working == 0 {
                return None;
            }
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the directories found in one their numbers, and work to whoever waits.
    fn add(&self, state: &mut State, mut scanned: Scanned) -> Result<Scanned> {
        state.entries += scanned.entries.len() as u64;
        if state.entries > TREE_ENTRIES_MAX {
            let limit = format!("it may have {TREE_ENTRIES_MAX} entries");
            return Err(Error::TreeTooLarge { path: self.top.path.clone(), limit });
        }
        let mut known = self.cache.zip(scanned.cached).map(|(cache, number)| cache.directories(number));
        for (name, found) in &mut scanned.entries {
            let Found::Directory { number, .. } = found else { continue };
            let cached = known.as_mut().and_then(|known| known.find(name.as_bytes()));
            *number = u32::try_from(state.directories.len()).unwrap_or(u32::MAX);
            state.directories.push(None);
            let path = join(&scanned.path, name.as_bytes());
            state.ahead.push(Job {
                number: *number,
                path,
                cached,
                above: Some((scanned.device, scanned.local)),
            });
        }
        Ok(scanned)
    }

    fn list(&self, job: Job, names: &mut Vec<u8>) -> Result<Scanned> {
        if job.path.len() > TREE_PATH_BYTES_MAX {
            let limit = format!("a path may have {TREE_PATH_BYTES_MAX} bytes from the top");
            return Err(Error::TreeTooLarge { path: self.top.path_of(&job.path, b""), limit });
        }
        let fd = self.top.directory(&job.path)?;
        let failed = |errno| self.top.failed(&job.path, b"", errno);
        let before = rustix::fs::fstat(&fd).map_err(failed)?;
        let device = before.st_dev;
        let local = match job.above {
            Some((above, local)) if above == device => local,
            _ => filesystem::is_local(&fd).map_err(failed)?,
        };
        let mut entries = self.entries(&fd, &job.path, names)?;
        let after = rustix::fs::fstat(&fd).map_err(failed)?;
        if Stamp::of(&before) != Stamp::of(&after) {
            return Err(Error::TreeChanged { path: self.top.path_of(&job.path, b"") });
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut scanned = Scanned { path: job.path, cached: job.cached, device, local, entries };
        if let (Some(cache), Some(number)) = (self.cache, scanned.cached) {
            recognise(&mut scanned, cache, number);
        }
        Ok(scanned)
    }

    fn entries(&self, fd: &OwnedFd, path: &[u8], names: &mut Vec<u8>) -> Result<Vec<(Name, Found)>> {
        let failed = |errno| self.top.failed(path, b"", errno);
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut listing = RawDir::new(fd, names.spare_capacity_mut());
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if let Some(found) = self.examine(fd, path, name)? {
                let name = Name::new(name).map_err(|_| self.top.failed(path, name, Errno::INVAL))?;
                bytes += name.as_bytes().len() as u64 + found.bytes();
                if bytes > DIRECTORY_BYTES_MAX {
                    return Err(self.top.too_large(path));
                }
                entries.push((name, found));
            }
        }
        Ok(entries)
    }

    /// What an entry is; `None` if it is left out.
    fn examine(&self, fd: &OwnedFd, directory: &[u8], name: &[u8]) -> Result<Option<Found>> {
        let failed = |errno| self.top.failed(directory, name, errno);
        let stat =
            rustix::fs::statat(fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return Ok(Some(Found::File { stamp: Stamp::of(&stat), known: None })),
            FileType::Directory => {
                return Ok(Some(Found::Directory { mode: Mode::of(stat.st_mode), number: 0 }));
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(fd.as_fd(), OsStr::from_bytes(name), Vec::new())
                    .map_err(failed)?;
                let target = Target::new(target.as_bytes()).map_err(|_| failed(Errno::INVAL))?;
                return Ok(Some(Found::Symlink { target }));
            }
            FileType::Fifo => "named pipe",
            FileType::Socket => "socket",
            FileType::CharacterDevice | FileType::BlockDevice => "device",
            FileType::Unknown => "file of an unknown kind",
        };
        if self.options.skip_special {
            return Ok(None);
        }
        Err(Error::SpecialFile { path: self.top.path_of(directory, name), kind })
    }
}

/// Takes over from the cache what is known of files that are the same.
fn recognise(scanned: &mut Scanned, cache: &Cache, number: u32) {
    let mut files = cache.files(number, scanned.device);
    if !scanned.local {
        return;
    }
    for (name, found) in &mut scanned.entries {
        let Found::File { stamp, known } = found else { continue };
        if let Some(Known { stamp: then, content }) = files.find(name.as_bytes())
            && then == *stamp
            && cache.is_there(content)
        {
            *known = Some(content);
        }
    }
}
