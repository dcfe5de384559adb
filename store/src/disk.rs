//! File operations, each with its error named. Every change to a store's files goes through here.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::{BlobId, Digest};
use tempfile::NamedTempFile;

use crate::error::{Error, READ, Result};
use crate::faults::{Step, reach};

/// Bytes moved at a time: large enough for BLAKE3's widest vectors and few system calls, small enough that a
/// hundred transfers stay within a few tens of megabytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Blobs never change, and a hard link made from one must not be written through.
const BLOB_MODE: u32 = 0o444;

/// Bytes received into a temporary file, with the address we computed for them. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) blob: BlobRef,
    file: NamedTempFile,
}

/// Writes `head` and then all of `rest` to a new file in `tmp`.
pub(crate) fn receive(tmp: &Path, head: &[u8], mut rest: impl Read) -> Result<Received> {
    reach(Step::CreateTemp).map_err(Error::io("create a file in", tmp))?;
    let mut file = tempfile::Builder::new()
        .prefix("put-")
        .permissions(Permissions::from_mode(BLOB_MODE))
        .tempfile_in(tmp)
        .map_err(Error::io("create a file in", tmp))?;
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut chunk = head;
    loop {
        hasher.update(chunk);
        size += chunk.len() as u64;
        require_headroom(tmp, chunk.len() as u64)?;
        reach(Step::WriteTemp)
            .and_then(|()| file.as_file_mut().write_all(chunk))
            .map_err(Error::io("write", file.path()))?;
        let count = read_some(&mut rest, &mut buffer).map_err(|source| Error::Source { source })?;
        if count == 0 {
            break;
        }
        chunk = &buffer[..count];
    }
    Ok(Received { blob: BlobRef { id: id_of(&hasher), size }, file })
}

impl Received {
    /// Makes the bytes durable and gives them their name, which must be free.
    pub(crate) fn publish(self, to: &Path) -> Result<()> {
        // After a failed fsync the kernel may have dropped the dirty pages, so a second one that succeeds
        // proves nothing: the file goes, with `self`.
        reach(Step::SyncTemp)
            .and_then(|()| self.file.as_file().sync_all())
            .map_err(Error::io("sync", self.file.path()))?;
        reach(Step::Publish).map_err(Error::io("create", to))?;
        match self.file.persist_noclobber(to) {
            Ok(_) => Ok(()),
            Err(refused) if refused.error.kind() == io::ErrorKind::NotFound => {
                // The shard's directory is gone: made when the store was opened, lost since.
                create_dir(parent(to))?;
                refused.file.persist_noclobber(to).map(drop).map_err(|e| Error::io("create", to)(e.error))
            }
            Err(refused) => Err(Error::io("create", to)(refused.error)),
        }
    }
}

/// A file that is written as a whole and may get lost: whoever reads it can tell whether it is what was written. So
/// nothing is synced. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Expendable(NamedTempFile);

impl Expendable {
    pub(crate) fn create(tmp: &Path) -> Result<Self> {
        reach(Step::CreateTemp).map_err(Error::io("create a file in", tmp))?;
        tempfile::Builder::new()
            .prefix("table-")
            .permissions(Permissions::from_mode(BLOB_MODE))
            .tempfile_in(tmp)
            .map(Self)
            .map_err(Error::io("create a file in", tmp))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        require_headroom(parent(self.0.path()), bytes.len() as u64)?;
        reach(Step::WriteTemp)
            .and_then(|()| self.0.as_file_mut().write_all(bytes))
            .map_err(Error::io("write", self.0.path()))
    }

    /// Gives the file its name, in place of whatever has it.
    pub(crate) fn replace(self, to: &Path) -> Result<()> {
        reach(Step::Publish).map_err(Error::io("create", to))?;
        self.0.persist(to).map(drop).map_err(|refused| Error::io("create", to)(refused.error))
    }
}

/// Blobs leave this part of the file system free, in hundredths, within the bounds below: the index needs room
/// to record what is removed, so a disk that is full to the last byte could not be collected.
const HEADROOM_PERCENT: u64 = 5;

/// At least a few times what the index's log holds before it is written back (1,000 pages of 4 KiB), since both
/// the log and its copy take room.
const HEADROOM_BYTES_MIN: u64 = 16 << 20;

/// Enough to condemn ten million blobs in one go.
const HEADROOM_BYTES_MAX: u64 = 1 << 30;
const _: () = assert!(HEADROOM_BYTES_MIN < HEADROOM_BYTES_MAX);

/// Refuses to write `size` bytes into `dir` if that would use up what is kept free.
pub(crate) fn require_headroom(dir: &Path, size: u64) -> Result<()> {
    let found = rustix::fs::statvfs(dir).map_err(|errno| Error::io("examine", dir)(errno.into()))?;
    let total = found.f_blocks.saturating_mul(found.f_frsize);
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let headroom = (total / 100 * HEADROOM_PERCENT).clamp(HEADROOM_BYTES_MIN, HEADROOM_BYTES_MAX);
    if free < headroom.saturating_add(size) {
        let kept = format!("{free} bytes are free, of which {headroom} are kept for the index");
        return Err(Error::NoSpace {
            path: dir.to_owned(),
            source: io::Error::new(io::ErrorKind::StorageFull, kept),
        });
    }
    Ok(())
}

/// How a stored copy compares with its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    Sound,
    Missing,
    Damaged,
}

/// Reads the whole file. An error means that the question could not be answered.
pub(crate) fn inspect(path: &Path, blob: BlobRef) -> Result<Copy> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Copy::Missing),
        Err(error) => return Err(Error::io(READ, path)(error)),
    };
    let length = file.metadata().map_err(Error::io(READ, path))?.len();
    if length != blob.size {
        return Ok(Copy::Damaged);
    }
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = read_some(&mut file, &mut buffer).map_err(Error::io(READ, path))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    Ok(if id_of(&hasher) == blob.id { Copy::Sound } else { Copy::Damaged })
}

/// Whether a file of that length is there. Cheaper than [`inspect`], and proves less.
pub(crate) fn has_size(path: &Path, size: u64) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.is_file() && found.len() == size),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(READ, path)(error)),
    }
}

/// Whether anything has that name.
pub(crate) fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(READ, path)(error)),
    }
}

/// The address of what was hashed.
pub(crate) fn id_of(hasher: &blake3::Hasher) -> BlobId {
    BlobId::from_digest(Digest::from_bytes(*hasher.finalize().as_bytes()))
}

fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Makes names that were created in, or removed from, a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    reach(Step::SyncDirectory).and_then(|()| File::open(path)?.sync_all()).map_err(Error::io("sync", path))
}

/// Makes the bytes of a file that somebody else wrote durable.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("sync", path))
}

/// Creates a directory durably; one that is there already is fine.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Ok(()) => sync_dir(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(Error::io("create", path)(error)),
    }
}

/// Creates a directory whose parent the caller syncs.
pub(crate) fn create_shard(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("create", path)(error)),
        _ => Ok(()),
    }
}

/// Creates a directory and those above it, durably.
pub(crate) fn create_dir_all(path: &Path) -> Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    DirBuilder::new().recursive(true).create(path).map_err(Error::io("create", path))?;
    for made in missing {
        let above = parent(made);
        sync_dir(if above.as_os_str().is_empty() { Path::new(".") } else { above })?;
    }
    Ok(())
}

/// Gives a file another name, in a directory of the same file system.
pub(crate) fn move_aside(from: &Path, to: &Path) -> Result<()> {
    reach(Step::MoveAside).and_then(|()| fs::rename(from, to)).map_err(Error::io("quarantine", from))?;
    sync_dir(parent(to))?;
    sync_dir(parent(from))
}

/// Gives a durable file its name, in place of whatever has it.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<()> {
    reach(Step::Publish).and_then(|()| fs::rename(from, to)).map_err(Error::io("create", to))?;
    sync_dir(parent(to))
}

/// Removes a file; `false` if there was none.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    match reach(Step::Unlink).and_then(|()| fs::remove_file(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// One entry of a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    /// Empty if it is not text, which no name of ours is.
    pub(crate) name: String,
    pub(crate) size: u64,
    /// Seconds since 1970; 0 if the file system cannot say.
    pub(crate) modified: u64,
}

/// The regular files of a directory; none if the directory is missing.
pub(crate) fn list(path: &Path) -> Result<Vec<Entry>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(READ, path)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(READ, path))?;
        let found = match entry.metadata() {
            Ok(found) => found,
            // Gone between the two calls: a put that has finished.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(READ, &entry.path())(error)),
        };
        if found.is_file() {
            let modified = found.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
            files.push(Entry {
                path: entry.path(),
                name: entry.file_name().into_string().unwrap_or_default(),
                size: found.len(),
                modified: modified.map_or(0, |since| since.as_secs()),
            });
        }
    }
    Ok(files)
}
