//! Why something with signatures failed.

use std::io;
use std::path::PathBuf;

/// Why a signature could not be made or checked. What GnuPG itself says is always carried along.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenPgpError {
    /// A program is not installed.
    #[error("the program {program} is not installed: {remedy}")]
    Missing {
        /// Its name.
        program: &'static str,
        /// How to get it.
        remedy: &'static str,
    },
    /// A program could not be run.
    #[error("running {program} failed")]
    Run {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program ran and reported failure.
    #[error("{program} failed while {action}: {stderr}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// What it was to do.
        action: &'static str,
        /// What it printed, cut to 4,000 bytes.
        stderr: String,
    },
    /// The agent did not come up in time.
    #[error("gpg-agent ended or did not answer: {stderr}")]
    Agent {
        /// What it printed, cut to 4,000 bytes.
        stderr: String,
    },
    /// A file or directory could not be used.
    #[error("{}: {action} failed", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The data to be signed or verified could not be read.
    #[error("reading the data failed")]
    Data(#[source] io::Error),
    /// The home directory has no key for signing, or more than one.
    #[error("{} holds {count} secret keys instead of one: use a directory of its own for the signing key", path.display())]
    Keys {
        /// The home directory.
        path: PathBuf,
        /// How many it holds.
        count: usize,
    },
    /// A text that is not an armored public key, fingerprint or user id.
    #[error("not {expected}")]
    Malformed {
        /// What was expected, with its article.
        expected: &'static str,
    },
    /// A signature does not hold, or is by an unknown key.
    #[error("the signature is not valid: {reason}")]
    Invalid {
        /// What gpgv says, cut to 4,000 bytes.
        reason: String,
    },
}

/// What a program printed, cut to a length that fits a message.
pub(super) fn cut(stderr: &[u8]) -> String {
    String::from_utf8_lossy(&stderr[..stderr.len().min(4000)]).trim().to_owned()
}
