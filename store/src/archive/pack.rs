//! A tree as one archive: the same tree gives the same bytes.

mod walk;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use buildswarm_core::artifact::BlobRef;
use rustix::fs::Stat;

use self::walk::{Found, Walk, What};
use super::error::Refusal;
use super::header::{BLOCK, Fields, LARGEST_ID, LARGEST_TIME};
use super::limits::Limits;
use super::path::ArchivePath;
use super::writer;
use crate::disk::id_of;
use crate::frames::FrameWriter;

/// Bytes read at a time: enough for BLAKE3's widest vectors, and few system calls.
const BUFFER_BYTES: usize = 256 << 10;

/// What of an archive is not the tree's to say.
#[derive(Debug, Clone, Copy)]
pub struct PackOptions {
    /// zstd's level of compression.
    pub level: i32,
    /// Threads that compress, beside the caller's, which walks, reads and hashes.
    pub threads: usize,
    /// Time of modification of every entry, in seconds since 1970, up to the year 9999.
    pub mtime: u64,
    /// Number of the user every entry belongs to, below 2³¹.
    pub uid: u32,
    /// Number of the group every entry belongs to, below 2³¹.
    pub gid: u32,
    /// How large a tree may be.
    pub limits: Limits,
}

/// What [`pack_tree`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackReport {
    /// Address and length of the archive.
    pub archive: BlobRef,
    /// Bytes of the tar stream in it.
    pub unpacked: u64,
    /// Number of directories, the tree's own not counted.
    pub directories: u64,
    /// Number of symbolic links.
    pub symlinks: u64,
    /// Bytes of content of all files.
    pub bytes: u64,
    /// Every file with the address and length of its content, in the order of the archive.
    pub files: Vec<(ArchivePath, BlobRef)>,
}

/// Why a tree was not packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// Something of the tree could not be read.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Something no archive of ours holds.
    #[error("{} is {kind}: only files, directories and symbolic links are packed", path.display())]
    Kind {
        /// Where it is.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// A file was written to, or replaced, while it was read.
    #[error("{} changed while it was packed: pack a tree that stands still", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A name that no reader of ours would take.
    #[error("{} cannot be packed: {reason}", path.display())]
    Name {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with its name.
        reason: Refusal,
    },
    /// More than a limit allows.
    #[error("{what} above the limit of {limit}")]
    Limit {
        /// What is too much.
        what: &'static str,
        /// The limit, in the unit `what` names.
        limit: u64,
    },
    /// An option that no header holds, or no reader takes.
    #[error("{option} is above {largest}")]
    Option {
        /// Which one.
        option: &'static str,
        /// The largest value there is.
        largest: u64,
    },
    /// The archive could not be written.
    #[error("writing the archive failed")]
    Write(#[source] io::Error),
}

impl PackError {
    fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }
}

/// Writes what is in the directory `tree` to `out`, as a tar archive in zstd frames.
///
/// The archive depends on the level and on the names, kinds, permission bits, contents and link targets in the tree;
/// times and owners are those given. It does not depend on the number of threads, on the order in which the file
/// system lists things, or on which names share an inode: each name is a file of its own. Extended attributes are
/// not packed. Entries are sorted by the bytes of their paths, so a directory stands before what is in it.
///
/// `zstd -dc ARCHIVE | tar x` unpacks it, and so does [`ArchiveReader`](super::ArchiveReader) with
/// [`Frames::Several`](super::Frames); [`FrameReader`](super::FrameReader) finds any part of it.
///
/// No symbolic link is followed, the tree's own root excepted, and memory is bounded: what [`FrameWriter`] takes, the
/// names of the directories from the root to where the walk is, and the report.
///
/// # Errors
/// [`PackError`]; what was written to `out` is of no use then.
///
/// ```
/// use buildswarm_store::archive::{Limits, PackOptions, pack_tree};
///
/// # let dir = tempfile::tempdir()?;
/// # std::fs::write(dir.path().join("hello"), "hello\n")?;
/// let options =
///     PackOptions { level: 3, threads: 2, mtime: 0, uid: 0, gid: 0, limits: Limits::STANDARD };
/// let mut archive = Vec::new();
/// let report = pack_tree(dir.path(), &mut archive, &options)?;
/// assert_eq!(report.archive.size, archive.len() as u64);
/// assert_eq!((report.files.len(), report.bytes), (1, 6));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn pack_tree(tree: &Path, out: impl Write, options: &PackOptions) -> Result<PackReport, PackError> {
    let checks = [
        ("uid", options.uid.into(), LARGEST_ID),
        ("gid", options.gid.into(), LARGEST_ID),
        ("mtime", options.mtime, LARGEST_TIME),
    ];
    if let Some((option, _, largest)) = checks.into_iter().find(|(_, value, largest)| value > largest) {
        return Err(PackError::Option { option, largest });
    }
    let mut walk = Walk::new(tree, &options.limits)?;
    let mut packer = Packer::new(out, options);
    while let Some(found) = walk.next()? {
        packer.add(found)?;
    }
    packer.finish()
}

/// Frames entries and hashes what goes by.
struct Packer<W: Write> {
    frames: FrameWriter<HashingWriter<W>>,
    options: PackOptions,
    header: Vec<u8>,
    buffer: Vec<u8>,
    report: PackReport,
}

impl<W: Write> Packer<W> {
    fn new(out: W, options: &PackOptions) -> Self {
        let out = HashingWriter { inner: out, hasher: blake3::Hasher::new(), size: 0 };
        let nothing = BlobRef { id: id_of(&out.hasher), size: 0 };
        Self {
            frames: FrameWriter::new(out, options.level, options.threads),
            options: *options,
            header: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            report: PackReport {
                archive: nothing,
                unpacked: 0,
                directories: 0,
                symlinks: 0,
                bytes: 0,
                files: Vec::new(),
            },
        }
    }

    fn add(&mut self, found: Found) -> Result<(), PackError> {
        let Found { path, at, stat, what } = found;
        let mode = stat.st_mode & 0o7777;
        match what {
            What::Directory => {
                self.report.directories += 1;
                // As tar writes them.
                let path = [path.as_bytes(), b"/"].concat();
                self.entry(&path, b"", b'5', mode, 0)
            }
            What::Symlink(target) => {
                self.report.symlinks += 1;
                // What the file system says of a link's mode means nothing.
                self.entry(path.as_bytes(), &target, b'2', 0o777, 0)
            }
            What::File(file) => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.report.bytes = self.report.bytes.saturating_add(size);
                if self.report.bytes > self.options.limits.bytes {
                    let limit = self.options.limits.bytes;
                    return Err(PackError::Limit { what: "bytes of content", limit });
                }
                self.entry(path.as_bytes(), b"", b'0', mode, size)?;
                let blob = self.content(file, &stat, size, &at)?;
                self.report.files.push((path, blob));
                Ok(())
            }
        }
    }

    fn entry(
        &mut self,
        path: &[u8],
        link: &[u8],
        typeflag: u8,
        mode: u32,
        size: u64,
    ) -> Result<(), PackError> {
        let PackOptions { mtime, uid, gid, .. } = self.options;
        self.header.clear();
        writer::append(&mut self.header, &Fields { path, link, typeflag, mode, uid, gid, size, mtime });
        self.frames.write_all(&self.header).map_err(PackError::Write)
    }

    /// The content of a file that had `size` bytes when it was opened, and must still be as it was at its end.
    fn content(&mut self, mut file: File, stat: &Stat, size: u64, at: &Path) -> Result<BlobRef, PackError> {
        let changed = || PackError::Changed { path: at.to_owned() };
        let mut hasher = blake3::Hasher::new();
        let mut left = size;
        loop {
            let count = match file.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(PackError::io("read", at, error)),
            };
            if count == 0 {
                break;
            }
            left = left.checked_sub(count as u64).ok_or_else(changed)?;
            hasher.update(&self.buffer[..count]);
            self.frames.write_all(&self.buffer[..count]).map_err(PackError::Write)?;
        }
        let now = rustix::fs::fstat(&file).map_err(|errno| PackError::io("examine", at, errno))?;
        let times = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
        if left > 0 || times(stat) != times(&now) {
            return Err(changed());
        }
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.zeros(usize::try_from(padding).unwrap_or(0))?;
        Ok(BlobRef { id: id_of(&hasher), size })
    }

    fn zeros(&mut self, count: usize) -> Result<(), PackError> {
        self.frames.write_all(&[0; 2 * BLOCK][..count]).map_err(PackError::Write)
    }

    fn finish(mut self) -> Result<PackReport, PackError> {
        self.zeros(2 * BLOCK)?;
        self.report.unpacked = self.frames.position();
        let out = self.frames.finish().map_err(PackError::Write)?;
        self.report.archive = BlobRef { id: id_of(&out.hasher), size: out.size };
        Ok(self.report)
    }
}

/// Hashes what is written.
struct HashingWriter<W> {
    inner: W,
    hasher: blake3::Hasher,
    size: u64,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
