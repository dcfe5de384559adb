//! Why an archive is not accepted.

use std::io;

/// What is wrong with a tar stream or one of its entries. Offsets are bytes from the start of that stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// Reading failed.
    #[error("reading failed")]
    Io(#[source] io::Error),
    /// The stream ends inside a header or inside an entry's content.
    #[error("the archive ends at byte {at}, inside an entry")]
    Truncated {
        /// Where it ends.
        at: u64,
    },
    /// The stream ends without the two blocks of zeros that end an archive (POSIX `pax`, ustar format).
    #[error("the archive lacks its two end blocks")]
    MissingEnd,
    /// Something other than zeros follows the end blocks.
    #[error("there are bytes after the end of the archive, near byte {at}")]
    TrailingBytes {
        /// Where they begin, to within a block.
        at: u64,
    },
    /// A header's checksum does not match: not a tar archive, or a damaged one.
    #[error("the header at byte {at} has a wrong checksum")]
    Checksum {
        /// Where the header begins.
        at: u64,
    },
    /// A header without the ustar magic.
    #[error("the header at byte {at} is not a ustar header")]
    Magic {
        /// Where the header begins.
        at: u64,
    },
    /// A numeric field that is not a number, negative, or out of range.
    #[error("the header at byte {at} has no acceptable number in its field {field}")]
    Number {
        /// Where the header begins.
        at: u64,
        /// Name of the field.
        field: &'static str,
    },
    /// A kind of entry that has no place here.
    #[error("{name:?} is {kind}, which is not accepted")]
    Kind {
        /// Name of the entry.
        name: String,
        /// Its kind, with its article.
        kind: String,
    },
    /// A name or link target that is refused.
    #[error("{name:?} is refused: {reason}")]
    Name {
        /// The name, cut to 200 characters.
        name: String,
        /// Why.
        reason: Refusal,
    },
    /// A name that occurs twice.
    #[error("{name:?} occurs twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// An extended header (PAX or GNU) that is refused.
    #[error("the extended header at byte {at} is refused: {reason}")]
    Extended {
        /// Where it begins.
        at: u64,
        /// Why.
        reason: String,
    },
    /// More than a limit allows.
    #[error("{what} above the limit of {limit}")]
    Limit {
        /// What is too much.
        what: &'static str,
        /// The limit, in the unit `what` names.
        limit: u64,
    },
}

/// What is wrong with a name or with where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It begins with a slash.
    #[error("it is absolute")]
    Absolute,
    /// One of its components is `..`.
    #[error("it leads upwards")]
    Upwards,
    /// One of its components is empty or `.`.
    #[error("it has an empty component")]
    EmptyComponent,
    /// It contains a NUL.
    #[error("it contains a NUL")]
    Nul,
    /// Linux takes no path of that length.
    #[error("it is longer than a path may be")]
    Long,
    /// Linux takes no component of that length.
    #[error("one of its components is longer than 255 bytes")]
    LongComponent,
    /// Only directories may end in a slash.
    #[error("it ends in a slash but is no directory")]
    Slash,
    /// The root of the archive is something other than a directory.
    #[error("the root of the archive is not a directory")]
    Root,
    /// An earlier entry above it is not a directory: it would be written through a link, or replace a file.
    #[error("it is below something that is not a directory")]
    Below,
    /// An earlier entry is below it, and it is not a directory.
    #[error("it is not a directory, yet there is something below it")]
    Above,
    /// A hard link to what no earlier entry made a file.
    #[error("it is a hard link to something that is not an earlier file")]
    NotEarlier,
    /// A hard link that would change what its file is: who extracts them last decides.
    #[error("it is a hard link with another mode or owner than its file")]
    OtherAttributes,
    /// A symbolic link whose target no link can have.
    #[error("its target is empty, too long, or contains a NUL")]
    Target,
    /// A symbolic link that leads out of the archive, or might.
    #[error("its target leads out of the archive")]
    Outside,
    /// It does not fit the fields of a ustar header.
    #[error("it does not fit a ustar header")]
    Unfit,
}

/// What is wrong with a compressed stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// The first bytes are not of the format that the name promises.
    #[error("is not {format} data")]
    Magic {
        /// The promised format.
        format: &'static str,
    },
    /// A frame that needs a dictionary.
    #[error("needs a zstd dictionary")]
    Dictionary,
    /// A frame with a window that would take too much memory.
    #[error(
        "asks for a window of {window} bytes, above {limit}: compress it with a smaller one (zstd --long)"
    )]
    Window {
        /// What it asks for.
        window: u64,
        /// What it may ask for, in bytes.
        limit: u64,
    },
    /// More in skippable frames than there is a use for.
    #[error("has more than {limit} bytes in skippable frames")]
    Skipped {
        /// The limit in bytes.
        limit: u64,
    },
    /// It expands beyond reason.
    #[error("expands beyond {limit} bytes")]
    Bomb {
        /// The limit, from size and ratio.
        limit: u64,
    },
    /// It ends before its last block.
    #[error("is truncated")]
    Truncated,
    /// It does not decode.
    #[error("is damaged: {reason}")]
    Damaged {
        /// What the decoder says.
        reason: String,
    },
    /// Bytes after its only frame.
    #[error("has bytes after its end")]
    Trailing,
}

/// Why an archive that may be compressed is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The archive or one of its entries is refused.
    #[error("the archive is refused")]
    Tar(#[source] TarError),
    /// It does not decompress under our rules.
    #[error("the archive {0}")]
    Compression(CompressionError),
    /// It was read on after an error.
    #[error("reading the archive failed before")]
    Failed,
}

impl From<TarError> for ArchiveError {
    /// Takes out what a decompressor below the archive's reader said.
    fn from(error: TarError) -> Self {
        match error {
            TarError::Io(error) => match error.downcast() {
                Ok(compression) => Self::Compression(compression),
                Err(error) => Self::Tar(TarError::Io(error)),
            },
            error => Self::Tar(error),
        }
    }
}

impl From<io::Error> for ArchiveError {
    /// Takes out what a reader of ours put into the error.
    fn from(error: io::Error) -> Self {
        match error.downcast() {
            Ok(own) => own,
            Err(error) => TarError::from_io(error).into(),
        }
    }
}

impl TarError {
    /// An error that one of our own readers below put into an [`io::Error`], or a plain one.
    #[must_use]
    pub fn from_io(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) => Self::Io(error),
        }
    }

    /// The refusal of `name`.
    pub(super) fn name(name: &[u8], reason: Refusal) -> Self {
        Self::Name { name: shown(name), reason }
    }
}

impl CompressionError {
    /// Wrapped, so that it survives the way through [`Read`](io::Read).
    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

/// At most 200 characters of a hostile name, for a message.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(400)]).chars().take(200).collect()
}
