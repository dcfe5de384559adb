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
    #[error("{name:?} is {kind}, which a package must not contain")]
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
        reason: &'static str,
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

/// What is wrong with a compressed stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// A format that is not read here.
    #[error("is compressed with {format}, which is not supported: set BINPKG_COMPRESS=\"zstd\"")]
    Unsupported {
        /// The format, by its file name suffix.
        format: String,
    },
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
    #[error("asks for a window of {window} bytes, above 128 MiB: compress without --long above 27")]
    Window {
        /// What it asks for.
        window: u64,
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

/// At most 200 characters of a hostile name, for a message.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(400)]).chars().take(200).collect()
}
