//! File operations, each with its error named. Every change to a store's files goes through here.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::{BlobId, Digest};
use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, READ, Result};
use crate::faults::{self, Step, reach, take};
use crate::room::Meter;

/// Bytes moved at a time: large enough for BLAKE3's widest vectors and few system calls, small enough that a
/// hundred transfers stay within a few tens of megabytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Blobs never change, and a hard link made from one must not be written through.
const BLOB_MODE: u32 = 0o444;

/// A new file in `tmp/`, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Temp {
    file: NamedTempFile,
}

/// A file in `tmp/` whose bytes are durable, to be given its name. Removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Durable {
    path: TempPath,
}

impl Temp {
    pub(crate) fn create(tmp: &Path) -> Result<Self> {
        let file = take(Step::CreateTemp, || {
            tempfile::Builder::new()
                .prefix("put-")
                .permissions(Permissions::from_mode(BLOB_MODE))
                .tempfile_in(tmp)
        });
        Ok(Self { file: file.map_err(Error::io("create a file in", tmp))? })
    }

    /// Appends bytes; that there is room for them the caller has made sure.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        faults::write(Step::WriteTemp, self.file.as_file_mut(), bytes)
            .map_err(Error::io("write", self.file.path()))
    }

    /// To read what was written, from its beginning.
    pub(crate) fn reader(&self) -> Result<File> {
        open(self.file.path()).map_err(Error::io(READ, self.file.path()))
    }

    /// After a failed fsync the kernel may have dropped the dirty pages, so a second one that succeeds proves
    /// nothing: the file goes.
    pub(crate) fn sync(self) -> Result<Durable> {
        reach(Step::SyncTemp).map_err(Error::io("sync", self.file.path()))?;
        self.sync_now()
    }

    fn sync_now(self) -> Result<Durable> {
        let (file, path) = self.file.into_parts();
        faults::finish_sync(Step::SyncTemp, || file.sync_all()).map_err(Error::io("sync", &path))?;
        Ok(Durable { path })
    }

    /// Syncs on a thread of its own.
    pub(crate) fn sync_apart(self) -> Result<JoinHandle<Result<Durable>>> {
        reach(Step::SyncTemp).map_err(Error::io("sync", self.file.path()))?;
        let path = self.file.path().to_owned();
        thread::Builder::new()
            .name("store-sync".to_owned())
            .spawn(move || self.sync_now())
            .map_err(Error::io("sync", &path))
    }
}

impl Durable {
    /// Gives the file its name, which must be free. The caller syncs the directory.
    pub(crate) fn publish(self, to: &Path) -> Result<()> {
        let named = take(Step::Publish, || Ok(self.path.persist_noclobber(to)));
        match named.map_err(Error::io("create", to))? {
            Ok(()) => Ok(()),
            Err(refused) if refused.error.kind() == io::ErrorKind::NotFound => {
                // The directory is gone: made when the store was opened, lost since.
                create_dir(parent(to))?;
                refused.path.persist_noclobber(to).map_err(|e| Error::io("create", to)(e.error))
            }
            Err(refused) => Err(Error::io("create", to)(refused.error)),
        }
    }
}

/// Bytes received into a temporary file, with the address we computed for them. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) blob: BlobRef,
    pub(crate) file: Temp,
}

/// Writes `head` and then all of `rest` to a new file in `tmp`.
pub(crate) fn receive(
    tmp: &Path,
    head: &[u8],
    mut rest: impl Read,
    meter: &mut Meter<'_>,
) -> Result<Received> {
    let mut file = Temp::create(tmp)?;
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut chunk = head;
    loop {
        hasher.update(chunk);
        size += chunk.len() as u64;
        meter.take(chunk.len() as u64)?;
        file.append(chunk)?;
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
        self.file.sync()?.publish(to)
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
        require_room(parent(self.0.path()), bytes.len() as u64)?;
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
pub(crate) const HEADROOM_BYTES_MIN: u64 = 16 << 20;

/// Enough to condemn ten million blobs in one go.
const HEADROOM_BYTES_MAX: u64 = 1 << 30;
const _: () = assert!(HEADROOM_BYTES_MIN < HEADROOM_BYTES_MAX);

/// Refuses to write `size` bytes into `dir` if that would use up what is kept free. How many bytes may be written.
pub(crate) fn require_room(dir: &Path, size: u64) -> Result<u64> {
    let found = rustix::fs::statvfs(dir).map_err(|errno| Error::io("examine", dir)(errno.into()))?;
    let total = found.f_blocks.saturating_mul(found.f_frsize);
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let headroom = (total / 100 * HEADROOM_PERCENT).clamp(HEADROOM_BYTES_MIN, HEADROOM_BYTES_MAX);
    let room = free.saturating_sub(headroom);
    if room < size {
        let kept = format!(
            "{free} bytes are free, of which {headroom} are kept for the index, and {size} are asked for or promised"
        );
        return Err(Error::NoSpace {
            path: dir.to_owned(),
            source: io::Error::new(io::ErrorKind::StorageFull, kept),
        });
    }
    Ok(room)
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
    inspect_paced(path, blob, |_| {})
}

/// Reads the whole file, telling `pace` how many bytes were read before it reads more.
pub(crate) fn inspect_paced(path: &Path, blob: BlobRef, mut pace: impl FnMut(u64)) -> Result<Copy> {
    let mut file = match open(path) {
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
        let count =
            take(Step::ReadFile, || read_some(&mut file, &mut buffer)).map_err(Error::io(READ, path))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        pace(count as u64);
    }
    Ok(if id_of(&hasher) == blob.id { Copy::Sound } else { Copy::Damaged })
}

/// As [`inspect`], for whoever has the right bytes at hand: a copy that cannot be read is as good as a damaged one.
pub(crate) fn inspect_to_replace(path: &Path, blob: BlobRef) -> Result<Copy> {
    match inspect(path, blob) {
        Ok(copy) => Ok(copy),
        // A process that has too many files open cannot open one that is not there either.
        Err(_) if !exists(path)? => Ok(Copy::Missing),
        Err(_) => Ok(Copy::Damaged),
    }
}

/// Opens a file to be read.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    take(Step::OpenFile, || File::open(path))
}

/// Whether a file of that length is there. Cheaper than [`inspect`], and proves less.
pub(crate) fn has_size(path: &Path, size: u64) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.is_file() && found.len() == size),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(READ, path)(error)),
    }
}

/// Whether that file is the one that is open, and not another that took its place.
pub(crate) fn is_file(path: &Path, open: &File) -> Result<bool> {
    let named = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io(READ, path)(error)),
    };
    let open = open.metadata().map_err(Error::io(READ, path))?;
    Ok((named.dev(), named.ino(), named.len()) == (open.dev(), open.ino(), open.len()))
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

pub(crate) fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
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
    faults::sync(Step::SyncDirectory, || File::open(path)?.sync_all()).map_err(Error::io("sync", path))
}

/// Makes the bytes of a file that somebody else wrote durable.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    faults::sync(Step::SyncFile, || File::open(path)?.sync_all()).map_err(Error::io("sync", path))
}

/// Creates a directory durably; one that is there already is fine.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    match take(Step::CreateDirectory, || fs::create_dir(path)) {
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
    take(Step::CreateDirectory, || DirBuilder::new().recursive(true).create(path))
        .map_err(Error::io("create", path))?;
    for made in missing {
        let above = parent(made);
        sync_dir(if above.as_os_str().is_empty() { Path::new(".") } else { above })?;
    }
    Ok(())
}

/// Gives a file another name, in a directory of the same file system.
pub(crate) fn move_aside(from: &Path, to: &Path) -> Result<()> {
    take(Step::MoveAside, || fs::rename(from, to)).map_err(Error::io("quarantine", from))?;
    sync_dir(parent(to))?;
    sync_dir(parent(from))
}

/// Gives a durable file its name, in place of whatever has it.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<()> {
    take(Step::Publish, || fs::rename(from, to)).map_err(Error::io("create", to))?;
    sync_dir(parent(to))
}

/// Caches of trees kept, each of some hundred bytes a file: of the trees used last.
const CACHES_MAX: usize = 64;

/// Writes a cache, in place of an earlier one. Not durably: it has a checksum, and can be lost.
pub(crate) fn write_cache(tmp: &Path, to: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = tempfile::Builder::new().prefix("cache-").tempfile_in(tmp)?;
        file.write_all(bytes)?;
        file.persist(to).map(drop).map_err(|refused| refused.error)
    };
    take(Step::WriteCache, write).map_err(Error::io("write", to))?;
    let mut caches = list(parent(to))?;
    caches.sort_unstable_by_key(|cache| std::cmp::Reverse(cache.modified));
    caches.iter().skip(CACHES_MAX).try_for_each(|cache| remove(&cache.path).map(drop))
}

/// Gives a tree outside of the store the name by which it is to be found.
pub(crate) fn show_tree(made: &Path, to: &Path) -> Result<()> {
    take(Step::ShowTree, || fs::rename(made, to)).map_err(Error::io("create", to))
}

/// The bytes of a small file; `None` if there is none.
pub(crate) fn read_small(path: &Path) -> Result<Option<Vec<u8>>> {
    /// Longer than anything that is read by this, in bytes.
    const SMALL_BYTES_MAX: u64 = 4096;
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(SMALL_BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(READ, path)(error)),
    }
}

/// Writes a small file, durably and all at once.
pub(crate) fn write_small(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create_temp(parent(path), ".new-")?;
    faults::write(Step::WriteTemp, file.as_file_mut(), bytes).map_err(Error::io("write", file.path()))?;
    publish_over(file, path)
}

/// Whether there is nothing in a directory.
pub(crate) fn is_empty_dir(path: &Path) -> Result<bool> {
    Ok(fs::read_dir(path).map_err(Error::io(READ, path))?.next().is_none())
}

/// The length of a file in bytes.
pub(crate) fn size(path: &Path) -> Result<u64> {
    fs::metadata(path).map(|found| found.len()).map_err(Error::io(READ, path))
}

/// What came of a second name for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linked {
    Yes,
    NoSource,
    /// Not on these file systems, or not for us: it has to be copied.
    Impossible,
}

/// Gives a file a second name, which the caller makes durable.
pub(crate) fn link(from: &Path, to: &Path) -> Result<Linked> {
    match take(Step::Link, || fs::hard_link(from, to)) {
        Ok(()) => Ok(Linked::Yes),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(Linked::NoSource),
            io::ErrorKind::CrossesDevices
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported => Ok(Linked::Impossible),
            _ => Err(Error::io("create", to)(error)),
        },
    }
}

/// A copy of a file without its name, with the address we computed for its bytes. Not yet durable.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) blob: BlobRef,
    file: NamedTempFile,
}

/// Copies a file to a new one in `tmp`; `None` if there is none.
pub(crate) fn copy(from: &Path, tmp: &Path) -> Result<Option<Copied>> {
    let mut source = match File::open(from) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(READ, from)(error)),
    };
    let mut file = create_temp(tmp, "copy-")?;
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = read_some(&mut source, &mut buffer).map_err(Error::io(READ, from))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
        faults::write(Step::WriteTemp, file.as_file_mut(), &buffer[..count])
            .map_err(Error::io("write", file.path()))?;
    }
    file.as_file()
        .set_permissions(Permissions::from_mode(BLOB_MODE))
        .map_err(Error::io("write", file.path()))?;
    Ok(Some(Copied { blob: BlobRef { id: id_of(&hasher), size }, file }))
}

impl Copied {
    /// Gives it its name, once its bytes are durable.
    pub(crate) fn publish(self, to: &Path) -> Result<()> {
        take(Step::Publish, || self.file.persist_noclobber(to).map(drop).map_err(|refused| refused.error))
            .map_err(Error::io("create", to))
    }
}

/// Makes everything durable that was written to the file system of a directory.
pub(crate) fn sync_filesystem(dir: &Path) -> Result<()> {
    faults::sync(Step::SyncTemp, || Ok(rustix::fs::syncfs(File::open(dir)?)?)).map_err(Error::io("sync", dir))
}

/// A new file in `tmp`, removed when it is dropped. What is written to it is not yet durable.
pub(crate) fn create_temp(tmp: &Path, prefix: &str) -> Result<NamedTempFile> {
    take(Step::CreateTemp, || {
        // As open to others as the index is, if the caller's umask is.
        let mode = Permissions::from_mode(0o666);
        tempfile::Builder::new().prefix(prefix).permissions(mode).tempfile_in(tmp)
    })
    .map_err(Error::io("create a file in", tmp))
}

/// Makes a new file durable and gives it its name, in place of whatever has it.
pub(crate) fn publish_over(file: NamedTempFile, to: &Path) -> Result<()> {
    faults::sync(Step::SyncTemp, || file.as_file().sync_all()).map_err(Error::io("sync", file.path()))?;
    take(Step::Publish, || file.persist(to).map_err(|refused| refused.error))
        .map_err(Error::io("create", to))?;
    sync_dir(parent(to))
}

/// Opens a file that grows.
pub(crate) fn open_to_append(path: &Path) -> Result<File> {
    File::options().write(true).open(path).map_err(Error::io("open", path))
}

/// Writes at the end of what counts in a file.
pub(crate) fn append(file: &File, path: &Path, at: u64, bytes: &[u8]) -> Result<()> {
    take(Step::Append, || file.write_all_at(bytes, at)).map_err(Error::io("write", path))
}

/// Makes what was appended to a file durable.
pub(crate) fn sync_data(file: &File, path: &Path) -> Result<()> {
    faults::sync(Step::SyncAppended, || file.sync_data()).map_err(Error::io("sync", path))
}

/// Cuts off what does not count in a file.
pub(crate) fn cut(file: &File, path: &Path, length: u64) -> Result<()> {
    take(Step::Cut, || file.set_len(length)).map_err(Error::io("cut", path))
}

/// Removes a file; `false` if there was none.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    match take(Step::Unlink, || fs::remove_file(path)) {
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
