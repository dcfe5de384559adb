//! What can go wrong, as one enum: every variant names the path or the object it is about.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use buildswarm_core::{BlobId, BuildKey};

use crate::runs::RunId;

/// What the operations of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process (or another [`Store`](crate::Store) of this one) has it open for writing.
    #[error("the store {} is in use by {}", path.display(), holder_text(holder.as_deref()))]
    InUse {
        /// The store's directory.
        path: PathBuf,
        /// The process id that the holder left in the lock file.
        holder: Option<String>,
    },
    /// Written by a later version of this program.
    #[error("the store {} has format {found}, this program knows up to {known}: use a newer buildswarm", path.display())]
    NewerFormat {
        /// The store's directory.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Written by an earlier version of this program, and opened for reading only.
    #[error("the store {} has format {found}; it is converted to {known} when it is next opened for writing, for instance by `build-swarm store verify`", path.display())]
    OlderFormat {
        /// The store's directory.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The format read here.
        known: u32,
    },
    /// Nothing there to read.
    #[error("there is no store in {}; the first build makes one", path.display())]
    NoStore {
        /// The directory that was looked into.
        path: PathBuf,
    },
    /// The index file is a database of something else.
    #[error("{} is not the index of a store", path.display())]
    NotAStore {
        /// The index file.
        path: PathBuf,
    },
    /// Blobs without the index that says what they are.
    #[error("{} is missing or empty, though the store holds blobs: restore the index before writing", path.display())]
    IndexMissing {
        /// Where the index should be.
        path: PathBuf,
    },
    /// The index does not pass its own checks.
    #[error("the index {} is damaged: {finding}", path.display())]
    IndexDamaged {
        /// The index file.
        path: PathBuf,
        /// The first finding.
        finding: String,
    },
    /// The index refused a statement.
    #[error("the index {} failed", path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What the database said.
        source: IndexFault,
    },
    /// SQLite lacks the fix of a bug that loses committed data.
    #[error("SQLite {found} can lose committed data, {needed} or later is needed")]
    SqliteTooOld {
        /// The version linked in.
        found: String,
        /// The version needed.
        needed: &'static str,
    },
    /// The index cannot be trusted on this kind of file system.
    #[error("{} lies on {kind}, where the index's locks cannot be trusted: use a local disk", path.display())]
    UnsuitableFilesystem {
        /// The store's directory.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// The directory cannot be written to.
    #[error("cannot write to {}", path.display())]
    NotWritable {
        /// The path that was refused.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A change was asked of a store that was opened for reading.
    #[error("the store {} is open for reading only", path.display())]
    ReadOnly {
        /// The store's directory.
        path: PathBuf,
    },
    /// The disk or the quota is full; nothing was stored.
    #[error("no space left for {}", path.display())]
    NoSpace {
        /// What was being written.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The reader handed to a put failed; nothing was stored.
    #[error("the bytes to be stored could not be read")]
    Source {
        /// What it said.
        source: io::Error,
    },
    /// No such blob.
    #[error("blob {id} is not in the store")]
    BlobMissing {
        /// Its address.
        id: BlobId,
    },
    /// The stored bytes are not those of the address. They were not served.
    #[error("blob {id} is damaged")]
    BlobDamaged {
        /// Its address.
        id: BlobId,
    },
    /// A blob beyond the limit the caller set.
    #[error("blob {id} has {size} bytes, more than the {max} allowed here")]
    BlobTooLarge {
        /// Its address.
        id: BlobId,
        /// Its length in bytes.
        size: u64,
        /// The caller's limit in bytes.
        max: u64,
    },
    /// A blob is stored, but with another length than the caller declared.
    #[error("blob {id} has {stored} bytes, not the {declared} declared")]
    WrongSize {
        /// Its address.
        id: BlobId,
        /// The length of the stored blob in bytes.
        stored: u64,
        /// The length declared in bytes.
        declared: u64,
    },
    /// No sound artifact under this key.
    #[error("no artifact under key {key}")]
    ArtifactMissing {
        /// The key.
        key: BuildKey,
    },
    /// No such run.
    #[error("there is no run {run}")]
    RunMissing {
        /// Its number.
        run: RunId,
    },
    /// No such generation.
    #[error("channel {channel:?} has no generation {number}")]
    GenerationMissing {
        /// The channel.
        channel: String,
        /// The generation's number.
        number: u64,
    },
    /// Generations are immutable, and there is one with this number.
    #[error("channel {channel:?} has a generation {number} already")]
    GenerationExists {
        /// The channel.
        channel: String,
        /// The generation's number.
        number: u64,
    },
    /// The generation is the one being served.
    #[error("generation {number} is the current one of channel {channel:?}")]
    GenerationCurrent {
        /// The channel.
        channel: String,
        /// The generation's number.
        number: u64,
    },
    /// Collection stopped before it removed anything.
    #[error("nothing was collected: {reason}")]
    GcRefused {
        /// The doubt.
        reason: String,
    },
}

/// What the database said. Opaque, so that the database library is no part of this crate's interface.
#[derive(Debug)]
pub struct IndexFault(rusqlite::Error);

impl fmt::Display for IndexFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for IndexFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

fn holder_text(holder: Option<&str>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl Error {
    /// For `map_err` after a file operation.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path: path.to_owned(), source }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if action != READ => {
                Self::NotWritable { path: path.to_owned(), source }
            }
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }

    /// The same once more, for another who suffers from it: one commit may be that of many.
    pub(crate) fn again(&self) -> Self {
        let copy = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
        match self {
            Self::NoSpace { path, source } => Self::NoSpace { path: path.clone(), source: copy(source) },
            Self::NotWritable { path, source } => {
                Self::NotWritable { path: path.clone(), source: copy(source) }
            }
            Self::Io { action, path, source } => {
                Self::Io { action, path: path.clone(), source: copy(source) }
            }
            Self::IndexDamaged { path, finding } => {
                Self::IndexDamaged { path: path.clone(), finding: finding.clone() }
            }
            Self::Index { path, source: IndexFault(rusqlite::Error::SqliteFailure(code, said)) } => {
                let source = IndexFault(rusqlite::Error::SqliteFailure(*code, said.clone()));
                Self::Index { path: path.clone(), source }
            }
            other => {
                let source = io::Error::other(other.to_string());
                Self::Io { action: "commit to", path: PathBuf::from("the index"), source }
            }
        }
    }

    pub(crate) fn index(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                Self::NoSpace { path, source: io::Error::new(io::ErrorKind::StorageFull, source) }
            }
            Some(ErrorCode::DatabaseCorrupt) => Self::IndexDamaged { path, finding: source.to_string() },
            Some(ErrorCode::NotADatabase) => Self::NotAStore { path },
            _ => Self::Index { path, source: IndexFault(source) },
        }
    }
}

/// The action of every [`Error::Io`] that only reads: a refusal then says nothing about writing.
pub(crate) const READ: &str = "read";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_full_quota_are_told_from_other_errors() {
        use rustix::io::Errno;
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let error = Error::io("write", Path::new("/s/tmp/put-1"))(errno.into());
            assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
        }
        let error = Error::io("write", Path::new("/s/tmp/put-1"))(Errno::IO.into());
        assert_eq!(error.to_string(), "cannot write /s/tmp/put-1");
        assert!(matches!(
            Error::io("create", Path::new("/s"))(Errno::ROFS.into()),
            Error::NotWritable { .. }
        ));
        assert!(matches!(Error::io(READ, Path::new("/s"))(Errno::ACCESS.into()), Error::Io { .. }));
    }
}
