//! A walk over a tree in the order of the bytes of its paths, by descriptors.
//!
//! Every directory is opened below the one that holds it and no symbolic link is followed, so a tree that somebody
//! changes meanwhile cannot lead the walk out of itself.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::PackError;
use crate::archive::limits::Limits;
use crate::archive::path::ArchivePath;

/// Something found on the way.
pub(super) struct Found {
    pub(super) path: ArchivePath,
    /// Where it is on this machine, for messages.
    pub(super) at: PathBuf,
    pub(super) stat: Stat,
    pub(super) what: What,
}

pub(super) enum What {
    File(File),
    Directory,
    /// With its target.
    Symlink(Vec<u8>),
}

pub(super) struct Walk {
    root: PathBuf,
    limits: Limits,
    /// From the root down to where the walk is; so many descriptors are open.
    levels: Vec<Level>,
    listed: u64,
    listed_bytes: u64,
}

struct Level {
    directory: OwnedFd,
    /// Path of the directory with a slash at its end; empty for the root.
    prefix: Vec<u8>,
    /// Names that are left to visit, the last in order first. A directory takes two steps: itself, and later, with a
    /// slash at its end, what is in it. In the order of whole paths `a-b` stands between `a` and `a/b`, since a slash
    /// is greater than a hyphen.
    steps: Vec<Vec<u8>>,
}

impl Walk {
    pub(super) fn new(root: &Path, limits: &Limits) -> Result<Self, PackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(root, flags, Mode::empty())
            .map_err(|errno| PackError::io("open", root, errno))?;
        let mut walk =
            Self { root: root.to_owned(), limits: *limits, levels: Vec::new(), listed: 0, listed_bytes: 0 };
        walk.enter(directory, Vec::new())?;
        Ok(walk)
    }

    /// What comes next; `None` when all has been seen.
    pub(super) fn next(&mut self) -> Result<Option<Found>, PackError> {
        while let Some(level) = self.levels.last_mut() {
            let Some(step) = level.steps.pop() else {
                self.levels.pop();
                continue;
            };
            let path = [level.prefix.as_slice(), &step].concat();
            let at = self.root.join(OsStr::from_bytes(&path));
            let Some(name) = step.strip_suffix(b"/") else {
                let path = ArchivePath::parse(&path);
                let path = path.map_err(|reason| PackError::Name { path: at.clone(), reason })?;
                let (stat, what) = visit(&level.directory, &step, &at)?;
                return Ok(Some(Found { path, at, stat, what }));
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(&level.directory, name, flags, Mode::empty())
                .map_err(|errno| PackError::io("open", &at, errno))?;
            self.enter(directory, path)?;
        }
        Ok(None)
    }

    /// Lists a directory and goes into it.
    fn enter(&mut self, directory: OwnedFd, prefix: Vec<u8>) -> Result<(), PackError> {
        let Limits { entries, name_bytes, depth, .. } = self.limits;
        if self.levels.len() > depth {
            return Err(PackError::Limit { what: "components of a path", limit: depth as u64 });
        }
        let at = self.root.join(OsStr::from_bytes(&prefix));
        let failed = |errno| PackError::io("list", &at, errno);
        let mut steps = Vec::new();
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            self.listed += 1;
            if self.listed > entries {
                return Err(PackError::Limit { what: "entries", limit: entries });
            }
            self.listed_bytes += (prefix.len() + name.len()) as u64;
            if self.listed_bytes > name_bytes {
                return Err(PackError::Limit { what: "bytes of names", limit: name_bytes });
            }
            if is_directory(&directory, name, entry.file_type()).map_err(failed)? {
                steps.push([name, b"/"].concat());
            }
            steps.push(name.to_vec());
        }
        steps.sort_unstable_by(|a, b| b.cmp(a));
        self.levels.push(Level { directory, prefix, steps });
        Ok(())
    }
}

/// Not every file system says in its listing what a name is.
fn is_directory(directory: &OwnedFd, name: &[u8], listed: FileType) -> Result<bool, Errno> {
    if listed != FileType::Unknown {
        return Ok(listed == FileType::Directory);
    }
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Looks at what has `name` in `directory`, which is called `at` in messages, and opens it if it is a file.
fn visit(directory: &OwnedFd, name: &[u8], at: &Path) -> Result<(Stat, What), PackError> {
    let failed = |action| move |errno: Errno| PackError::io(action, at, errno);
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("examine"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok((stat, What::Directory)),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new()).map_err(failed("read"))?;
            Ok((stat, What::Symlink(target.into_bytes())))
        }
        FileType::RegularFile => {
            // Without waiting, should a fifo have taken its place.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(failed("open"))?;
            let stat = rustix::fs::fstat(&file).map_err(failed("examine"))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(PackError::Changed { path: at.to_owned() });
            }
            Ok((stat, What::File(File::from(file))))
        }
        other => Err(PackError::Kind { path: at.to_owned(), kind: kind_name(other) }),
    }
}

const fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        _ => "of an unknown kind",
    }
}
