//! Why a file is not a package we accept.

use std::io;
use std::path::PathBuf;

use buildswarm_store::archive::{CompressionError, TarError};

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
    /// An entry of a member that is fine in an archive, but has no place here.
    #[error("{member} is refused: {name:?}: {reason}")]
    Entry {
        /// Name of the member.
        member: String,
        /// Name of the entry, cut to 200 characters.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A member in a compressed format that is not read here.
    #[error("{member} is compressed with {format}, which is not supported: set BINPKG_COMPRESS=\"zstd\"")]
    Unsupported {
        /// Name of the member.
        member: String,
        /// The format, by its file name suffix.
        format: String,
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
