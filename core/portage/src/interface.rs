//! The interface of a package: what of its files can change how another package builds.
//!
//! Two artifacts with the same interface digest may stand in for one another where something is built with them,
//! so the rule everywhere is: what might reach a build counts. Documentation and the like is left out
//! ([`LEFT_OUT_BELOW`]); of a shared object counts what a linker reads of it ([`Abi`]), of a program that it is
//! there, of a static archive its members; everything else counts by content. A file that is not understood
//! counts by its whole content too, so nothing here fails a build. `docs/interface.md` specifies it well enough
//! to compute the digest with another program.

mod abi;
mod archive;
mod collect;
mod difference;
mod elf;
mod paths;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::sync::Arc;

use buildswarm_core::Digest;
use buildswarm_core::canonical::Encoder;

use crate::gpkg::{Gpkg, GpkgError, Limits};

pub use abi::{Abi, DynamicEntry, Place, Section, Symbol, Value, VersionDefinition};
pub use archive::ArchiveMember;
pub(crate) use collect::Collector;
pub use difference::{Change, Part, What};
pub use paths::{DOCUMENTATION_INDEXES, LEFT_OUT_BELOW};

const CONTEXT: &str = "buildswarm 2026-11-24 interface";
const FORM: u64 = 1;

/// What of a package's files can change how another package builds, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Interface {
    entries: BTreeMap<String, Entry>,
}

/// What one path contributes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// A file that counts by its content.
    File {
        /// Who may do what with it.
        access: Access,
        /// Plain BLAKE3 of its content.
        content: Digest,
    },
    /// A program: that it is there counts. As a tool of a build it is identified otherwise.
    Program {
        /// Who may do what with it.
        access: Access,
    },
    /// A shared object, by what a linker reads of it.
    SharedObject {
        /// Who may do what with it.
        access: Access,
        /// Digest of `abi`.
        digest: Digest,
        /// What the digest is of; nothing where a package has more of it than is kept.
        #[serde(serialize_with = "shared")]
        abi: Option<Arc<Abi>>,
    },
    /// A static archive, by its members.
    Archive {
        /// Who may do what with it.
        access: Access,
        /// Digest of `members`.
        digest: Digest,
        /// The members in their order; nothing where a package has more of it than is kept.
        #[serde(serialize_with = "shared")]
        members: Option<Arc<Vec<ArchiveMember>>>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads, as it stands.
        target: String,
    },
    /// A directory with nothing in it.
    Directory,
}

fn shared<T: serde::Serialize, S: serde::Serializer>(
    value: &Option<Arc<T>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&value.as_deref(), serializer)
}

/// What a build may do with a file, of its permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Access {
    /// Whether anybody may execute it.
    pub executable: bool,
    /// Whether everybody may read it: a build need not run as its owner.
    pub readable: bool,
}

impl Access {
    pub(crate) const fn of(mode: u32) -> Self {
        Self { executable: mode & 0o111 != 0, readable: mode & 0o004 != 0 }
    }
}

impl Entry {
    /// What it is, in a word or two.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Program { .. } => "program",
            Self::SharedObject { .. } => "shared object",
            Self::Archive { .. } => "static archive",
            Self::Symlink { .. } => "symbolic link",
            Self::Directory => "empty directory",
        }
    }

    const fn access(&self) -> Option<Access> {
        match self {
            Self::File { access, .. }
            | Self::Program { access }
            | Self::SharedObject { access, .. }
            | Self::Archive { access, .. } => Some(*access),
            Self::Symlink { .. } | Self::Directory => None,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut record = Encoder::new();
        record.text(1, self.kind());
        if let Some(Access { executable, readable }) = self.access() {
            record.number(2, executable.into());
            record.number(3, readable.into());
        }
        match self {
            Self::File { content: digest, .. }
            | Self::SharedObject { digest, .. }
            | Self::Archive { digest, .. } => record.digest(4, digest),
            Self::Symlink { target } => record.digest(4, &Digest::of(target.as_bytes())),
            Self::Program { .. } | Self::Directory => {}
        }
        record.finish()
    }
}

impl Interface {
    /// The interface of `package`; `source` is the same package again.
    ///
    /// # Errors
    /// What [`ImageReader::next_entry`](crate::gpkg::ImageReader::next_entry) refuses. No content is an error.
    pub fn of(package: &Gpkg, source: impl Read + Seek, limits: &Limits) -> Result<Self, GpkgError> {
        Ok(package.payload_and_interface(source, limits)?.1)
    }

    /// What counts, by path without a leading slash.
    #[must_use]
    pub const fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The digest by which a dependency enters a reuse key.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let entries: BTreeMap<String, Vec<u8>> =
            self.entries.iter().map(|(path, entry)| (path.clone(), entry.encode())).collect();
        let mut record = Encoder::new();
        record.number(1, FORM);
        record.map(2, &entries);
        Digest::derive(CONTEXT, &record.finish())
    }

    /// What differs between two interfaces, by path; nothing exactly if their digests agree.
    #[must_use]
    pub fn differences(before: &Self, after: &Self) -> Vec<Change> {
        difference::differences(before, after)
    }
}

/// Takes names out of a file, and no more of them than the file has room for in earnest: a hostile file can have a
/// million symbols share one name of a hundred megabytes.
struct Names {
    left: usize,
}

impl Names {
    /// All names of one file together, in bytes.
    const MOST: usize = 256 << 20;

    fn of_file(len: usize) -> Self {
        // Versions are stored once for all symbols that have them.
        Self { left: len.saturating_mul(4).min(Self::MOST) }
    }

    fn take(&mut self, name: &[u8]) -> Option<String> {
        self.left = self.left.checked_sub(name.len())?;
        String::from_utf8(name.to_vec()).ok()
    }
}
