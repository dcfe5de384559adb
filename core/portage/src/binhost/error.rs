//! Why an index is refused or a generation could not be published.

use std::io;
use std::path::PathBuf;

use buildswarm_core::package::Cpv;

/// What is wrong with an index, with the line where a text was parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The text is too large.
    #[error("the index has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The text is not UTF-8.
    #[error("the index is not UTF-8")]
    Encoding,
    /// A line is malformed.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A field is missing or has a value it cannot have.
    #[error("{subject}: {field} {reason}")]
    Field {
        /// `header`, or the package as far as it is known.
        subject: String,
        /// Name of the field.
        field: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The header says another number of packages.
    #[error("the header says {said} packages but there are {found}")]
    Count {
        /// What the header says.
        said: u64,
        /// What was found.
        found: u64,
    },
    /// The same package twice.
    #[error("{cpv} is listed twice")]
    Duplicate {
        /// Which.
        cpv: Cpv,
    },
}

/// Why a channel could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BinhostError {
    /// A file could not be read or written.
    #[error("{}: {action} failed", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The index to be published, or one found on disk, is refused.
    #[error("the index is refused")]
    Index(#[from] IndexError),
    /// Not a name for a channel.
    #[error(
        "{name:?} is not a channel name: it takes 1 to 64 of a-z, 0-9, `-`, `_` and `.`, beginning with a letter or digit"
    )]
    ChannelName {
        /// What was given, cut to 100 characters.
        name: String,
    },
    /// An entry of the index and the package given for it do not belong together.
    #[error("{cpv}: {reason}")]
    Package {
        /// Which.
        cpv: Cpv,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file does not have the digest it was announced with.
    #[error("{} does not have the digest {expected}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// The announced digest.
        expected: buildswarm_core::BlobId,
    },
    /// There is no such generation.
    #[error("channel {channel} has no generation {wanted}")]
    NoGeneration {
        /// The channel.
        channel: String,
        /// The generation, or what was looked for.
        wanted: String,
    },
    /// `generation.json` is not what we write.
    #[error("{} is damaged", path.display())]
    Generation {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The generation could not be signed.
    #[error("signing the generation failed")]
    Sign(#[from] crate::openpgp::OpenPgpError),
}
