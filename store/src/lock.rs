//! One process at a time writes to a store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::faults::{Step, take};
use crate::layout::Layout;

/// Longest process id read back from a lock file, in bytes: it is for a message, whatever stands there.
const HOLDER_BYTES_MAX: u64 = 32;

/// The right to write, given up when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct ExclusiveLock {
    file: File,
    unclean: bool,
}

impl ExclusiveLock {
    pub(crate) fn acquire(layout: &Layout) -> Result<Self> {
        let path = layout.lock();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse { path: layout.root().to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
        }
        let unclean = holder(&mut file).is_some();
        write_holder(&mut file, &path)?;
        Ok(Self { file, unclean })
    }

    /// Whether the last holder ended without closing the store.
    pub(crate) const fn was_unclean(&self) -> bool {
        self.unclean
    }
}

impl Drop for ExclusiveLock {
    fn drop(&mut self) {
        // An empty file says that the store was closed. If this fails, the next opener checks the index once
        // more than it had to.
        let _ = self.file.set_len(0);
        // Closing alone would not do: a child that another thread is just starting holds the file, and with it
        // the lock, until it runs its own program.
        let _ = self.file.unlock();
    }
}

/// Whether files of blobs may be removed: by several collections at once, or by none while a backup runs. Between
/// processes, since a backup may be made by one that only reads.
#[derive(Debug)]
pub(crate) struct Removals {
    _file: Option<File>,
}

impl Removals {
    /// Lets nobody remove anything, once those who are at it have finished.
    pub(crate) fn stop(layout: &Layout) -> Result<Self> {
        let path = layout.removals();
        let opened = match OpenOptions::new().write(true).create(true).truncate(false).open(&path) {
            Err(_) => File::open(&path),
            opened => opened,
        };
        let file = match opened {
            Ok(file) => file,
            // In a store that only reading is allowed in, and that nothing was ever removed from.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self { _file: None }),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        file.lock().map_err(Error::io("lock", &path))?;
        Ok(Self { _file: Some(file) })
    }

    /// The right to remove, unless a backup is being made.
    pub(crate) fn begin(layout: &Layout) -> Result<Self> {
        let path = layout.removals();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Self { _file: Some(file) }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::GcRefused { reason: "a backup of the store is being made".to_owned() })
            }
            Err(TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
        }
    }
}

fn write_holder(file: &mut File, path: &Path) -> Result<()> {
    take(Step::WriteLock, || {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    })
    .map_err(Error::io("write", path))
}

/// Who holds the lock by its own account; `None` if it left nothing that is readable.
fn holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(HOLDER_BYTES_MAX).read_to_string(&mut text).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
