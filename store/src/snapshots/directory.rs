//! Directory objects: what a directory holds, as bytes with one spelling.
//!
//! Times and owners are left out: the same files make the same object whenever and by whomever they were made.
//! The form is specified in `docs/on-disk.md`.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::canonical::{DecodeError, Decoder, Encoder};
use buildswarm_core::{BlobId, Digest};

/// The longest name of an entry, in bytes: what Linux allows (`NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;

/// The longest target of a symbolic link, in bytes: what Linux allows (`PATH_MAX` without its zero byte).
pub const TARGET_BYTES_MAX: usize = 4095;

/// The longest directory object, in bytes: some 600,000 entries with names of 20 bytes.
pub const DIRECTORY_BYTES_MAX: u64 = 64 << 20;

/// What every directory object begins with, so that no file that was not meant to be one is taken for one.
const MARKER: &str = "buildswarm directory";

/// The format written and read here.
const FORMAT: u64 = 1;

/// Fields of a directory object.
mod tag {
    pub(super) const MARKER: u8 = 1;
    pub(super) const FORMAT: u8 = 2;
    pub(super) const ENTRIES: u8 = 3;
}

/// Fields of an entry.
mod entry {
    pub(super) const NAME: u8 = 1;
    pub(super) const KIND: u8 = 2;
    pub(super) const MODE: u8 = 3;
    pub(super) const SIZE: u8 = 4;
    pub(super) const CONTENT: u8 = 5;
    pub(super) const TARGET: u8 = 6;
}

/// Why something is no directory object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The bytes are not in the canonical form.
    #[error(transparent)]
    Form(#[from] DecodeError),
    /// The bytes are something else.
    #[error("it does not begin as a directory object does")]
    Marker,
    /// Written by a later version of this program.
    #[error("it has format {0}, this program knows {FORMAT}: use a newer buildswarm")]
    Format(u64),
    /// A name no directory can hold: empty, `.`, `..`, too long, or with a `/` or a zero byte.
    #[error("{:?} cannot be the name of a file", String::from_utf8_lossy(.0))]
    Name(Box<[u8]>),
    /// The target of a symbolic link that is empty, too long, or has a zero byte.
    #[error("{:?} cannot be the target of a symbolic link", String::from_utf8_lossy(.0))]
    Target(Box<[u8]>),
    /// Permissions with bits beyond the twelve there are.
    #[error("{0:o} is not a file mode")]
    Mode(u64),
    /// A kind of entry not known here.
    #[error("{0:?} is no kind of entry")]
    Kind(String),
    /// Two entries of one name, or entries that are not in the order of their names.
    #[error("the entry {:?} is not where it belongs, or stands twice", String::from_utf8_lossy(.0))]
    Order(Box<[u8]>),
}

/// The name of an entry: any bytes but `/` and zero, and not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The name with these bytes.
    ///
    /// ```
    /// use buildswarm_store::Name;
    /// assert!(Name::new(b"caf\xe9").is_ok());
    /// assert!(Name::new(b"..").is_err());
    /// ```
    ///
    /// # Errors
    /// [`DirectoryError::Name`] if no file can have it.
    pub fn new(bytes: &[u8]) -> Result<Self, DirectoryError> {
        let plain =
            !matches!(bytes, b"" | b"." | b"..") && !bytes.iter().any(|byte| matches!(byte, b'/' | 0));
        if plain && bytes.len() <= NAME_BYTES_MAX {
            Ok(Self(bytes.into()))
        } else {
            Err(DirectoryError::Name(bytes[..bytes.len().min(NAME_BYTES_MAX)].into()))
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the file system takes it.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_os_str(), f)
    }
}

/// Where a symbolic link leads: any bytes but zero, at least one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(Box<[u8]>);

impl Target {
    /// The target with these bytes.
    ///
    /// # Errors
    /// [`DirectoryError::Target`] if no link can have it.
    pub fn new(bytes: &[u8]) -> Result<Self, DirectoryError> {
        if (1..=TARGET_BYTES_MAX).contains(&bytes.len()) && !bytes.contains(&0) {
            Ok(Self(bytes.into()))
        } else {
            Err(DirectoryError::Target(bytes[..bytes.len().min(TARGET_BYTES_MAX)].into()))
        }
    }

    /// As the file system takes it.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_os_str(), f)
    }
}

/// Permissions: the twelve bits that `chmod` sets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(u16);

impl Mode {
    const MASK: u32 = 0o7777;

    /// The permissions in the mode of a file, as `stat` gives it.
    #[must_use]
    pub const fn of(st_mode: u32) -> Self {
        Self((st_mode & Self::MASK) as u16)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Its permissions.
        mode: Mode,
        /// Its content.
        content: BlobRef,
    },
    /// A directory below this one.
    Directory {
        /// Its permissions.
        mode: Mode,
        /// Its object.
        object: BlobId,
    },
    /// A symbolic link. Its permissions mean nothing, so it has none.
    Symlink {
        /// Where it leads.
        target: Target,
    },
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub node: Node,
}

/// What a directory holds, sorted by the bytes of the names, each name once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory(Vec<Entry>);

impl Directory {
    /// The directory with these entries, in whatever order they come.
    ///
    /// # Errors
    /// [`DirectoryError::Order`] if two have one name.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, DirectoryError> {
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Self::sorted(entries)
    }

    fn sorted(entries: Vec<Entry>) -> Result<Self, DirectoryError> {
        match entries.array_windows().find(|[a, b]| a.name >= b.name) {
            Some([_, wrong]) => Err(DirectoryError::Order(wrong.name.0.clone())),
            None => Ok(Self(entries)),
        }
    }

    /// Its entries, in the order of their names.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The entry with this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Entry> {
        let at = self.0.binary_search_by(|entry| entry.name.as_bytes().cmp(name)).ok()?;
        self.0.get(at)
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.0
    }

    /// Its bytes, of which the address of the object is taken.
    ///
    /// ```
    /// use buildswarm_store::Directory;
    /// let empty = Directory::default();
    /// assert_eq!(Directory::decode(&empty.encode()), Ok(empty));
    /// ```
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.text(tag::MARKER, MARKER);
        encoder.number(tag::FORMAT, FORMAT);
        encoder.records(tag::ENTRIES, &self.0, encode_entry);
        encoder.finish()
    }

    /// The directory whose bytes these are. Accepts what [`encode`](Self::encode) writes and nothing else.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DirectoryError> {
        let mut decoder = Decoder::new(bytes);
        if decoder.bytes(tag::MARKER).ok() != Some(MARKER.as_bytes()) {
            return Err(DirectoryError::Marker);
        }
        let format = decoder.number(tag::FORMAT)?;
        if format != FORMAT {
            return Err(DirectoryError::Format(format));
        }
        let entries = decoder.list(tag::ENTRIES)?;
        decoder.finish()?;
        Self::sorted(entries.into_iter().map(decode_entry).collect::<Result<_, _>>()?)
    }
}

const FILE: &str = "file";
const DIRECTORY: &str = "directory";
const SYMLINK: &str = "symlink";

fn encode_entry(record: &mut Encoder, Entry { name, node }: &Entry) {
    record.bytes(entry::NAME, name.as_bytes());
    match node {
        Node::File { mode, content } => {
            record.text(entry::KIND, FILE);
            record.number(entry::MODE, mode.bits().into());
            record.number(entry::SIZE, content.size);
            record.digest(entry::CONTENT, content.id.digest());
        }
        Node::Directory { mode, object } => {
            record.text(entry::KIND, DIRECTORY);
            record.number(entry::MODE, mode.bits().into());
            record.digest(entry::CONTENT, object.digest());
        }
        Node::Symlink { target } => {
            record.text(entry::KIND, SYMLINK);
            record.bytes(entry::TARGET, &target.0);
        }
    }
}

fn decode_entry(record: &[u8]) -> Result<Entry, DirectoryError> {
    let mut decoder = Decoder::new(record);
    let name = Name::new(decoder.bytes(entry::NAME)?)?;
    let node = match decoder.text(entry::KIND)? {
        FILE => {
            let mode = decode_mode(&mut decoder)?;
            let size = decoder.number(entry::SIZE)?;
            Node::File { mode, content: BlobRef { id: decode_address(&mut decoder)?, size } }
        }
        DIRECTORY => {
            Node::Directory { mode: decode_mode(&mut decoder)?, object: decode_address(&mut decoder)? }
        }
        SYMLINK => Node::Symlink { target: Target::new(decoder.bytes(entry::TARGET)?)? },
        kind => return Err(DirectoryError::Kind(kind.chars().take(NAME_BYTES_MAX).collect())),
    };
    decoder.finish()?;
    Ok(Entry { name, node })
}

fn decode_mode(decoder: &mut Decoder<'_>) -> Result<Mode, DirectoryError> {
    let bits = decoder.number(entry::MODE)?;
    match u32::try_from(bits) {
        Ok(small) if small <= Mode::MASK => Ok(Mode::of(small)),
        _ => Err(DirectoryError::Mode(bits)),
    }
}

fn decode_address(decoder: &mut Decoder<'_>) -> Result<BlobId, DecodeError> {
    decoder.digest(entry::CONTENT).map(|digest: Digest| BlobId::from_digest(digest))
}

#[cfg(test)]
mod tests;
