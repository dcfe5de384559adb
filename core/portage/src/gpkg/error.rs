//! Why a file is not a package we accept.

use std::io;
use std::path::PathBuf;

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

/// Why a file is not accepted as a gpkg, or could not be written as one. Every refusal of a file names the
/// member it concerns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpkgError {
    /// The container itself is malformed.
    #[error("the container is refused")]
    Container(#[source] TarError),
    /// The inner archive of a member is malformed.
    #[error("{member} is refused")]
    Member {
        /// Name of the member.
        member: String,
        /// What is wrong.
        source: TarError,
    },
    /// A member does not decompress under our rules.
    #[error("{member} {source}")]
    Compression {
        /// Name of the member.
        member: String,
        /// What is wrong.
        source: CompressionError,
    },
    /// An xpak package (the old format) or something else that is no tar archive.
    #[error("not a gpkg file: {reason}")]
    NotGpkg {
        /// What it is instead.
        reason: &'static str,
    },
    /// A member is missing, in excess, or out of its place (GLEP 78: identifier, metadata, image, Manifest).
    #[error("{member}: {reason}")]
    Structure {
        /// Name of the member.
        member: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A line of the Manifest is malformed.
    #[error("Manifest, line {line}: {reason}")]
    Manifest {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A member differs from what the Manifest says of it.
    #[error("{member} has another {what} than the Manifest says")]
    Mismatch {
        /// Name of the member.
        member: String,
        /// `size`, `SHA512` or `BLAKE2B`.
        what: &'static str,
    },
    /// A metadata value that must be there, or be text, is not.
    #[error("metadata {key}: {reason}")]
    Metadata {
        /// The key.
        key: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {action} failed", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// One of two packages that are compared cannot be read.
    #[error("the {which} of the two packages")]
    Compared {
        /// `first` or `second`.
        which: &'static str,
        /// What is wrong with it.
        source: Box<Self>,
    },
    /// The output could not be written.
    #[error("writing the package failed")]
    Write(#[source] io::Error),
    /// A signature could not be made or does not hold.
    #[error("the signature of {member} failed")]
    Signature {
        /// Name of the member.
        member: String,
        /// Why.
        source: crate::openpgp::OpenPgpError,
    },
}

/// At most 200 characters of a hostile name, for a message.
pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(400)]).chars().take(200).collect()
}
