//! Reading an archive that a stranger may have made: form, compression, names and links, all judged.

use std::io::{self, Read};

use super::compress::{Compression, Decompressor};
use super::error::{ArchiveError, Refusal, TarError};
use super::limits::Limits;
use super::names::Names;
use super::path::{ArchivePath, Target};
use super::tar::{Attributes, Kind, TarEntry, TarReader};

/// Which targets symbolic links may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Any: for archives that are installed into a root, where `/bin/sh` is an ordinary target. Nothing of the
    /// archive is written through a link in any case.
    Any,
    /// Only those that stay inside ([`Target::Inside`]): for trees that are read in place.
    Inside,
}

/// How an archive is to be read.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// How it is compressed.
    pub compression: Compression,
    /// Which targets symbolic links may have.
    pub links: Links,
    /// Whether names may begin with `./`, as those of `tar -c .` do; it is taken off, and `.` is the root.
    pub leading_dot: bool,
    /// How much work it may cause.
    pub limits: Limits,
}

/// What an entry is, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Bytes of content.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its target as it stands: not empty, without NUL, shorter than a path may be.
        target: Vec<u8>,
    },
    /// A further name of an earlier file, with the same attributes.
    Hardlink {
        /// The first name of the file, or another one that came before.
        file: ArchivePath,
    },
}

/// One entry of an archive, all of it judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies. No two entries lie at the same place, and all that lie above it are directories.
    pub path: ArchivePath,
    /// What it is.
    pub node: Node,
    /// Permission bits and owner. Set-user-id bits and names of users are as the archive says.
    pub attributes: Attributes,
    /// Time of modification, in seconds since 1970.
    pub mtime: u64,
}

/// The proof that an archive was read to its end and is sound. Nothing but [`ArchiveReader::finish`] makes one: take
/// it as an argument where something made of an archive begins to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what was read counts only now"]
pub struct Whole {
    entries: u64,
    bytes: u64,
}

impl Whole {
    /// Number of entries.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes of content of all files.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Gives the entries of an archive in the order they are stored; [`Read`] gives the content of the current one.
///
/// Nothing is ever extracted. What it gave must not be acted on before [`finish`](Self::finish): put it in a place of
/// its own and throw that away after an error. After an error, all that follows is [`ArchiveError::Failed`].
///
/// Memory: what [`Limits`] says of names, a zstd window, and some 300 KiB.
///
/// ```
/// use std::io::Read;
/// use buildswarm_store::archive::{ArchiveReader, Compression, Limits, Links, Node, ReadOptions};
///
/// # fn stage(_: &[u8]) {}
/// # fn publish(_: buildswarm_store::archive::Whole) {}
/// # let bytes = [0u8; 1024];
/// let options = ReadOptions {
///     compression: Compression::None,
///     links: Links::Inside,
///     leading_dot: true,
///     limits: Limits::STANDARD,
/// };
/// let mut archive = ArchiveReader::new(&bytes[..], bytes.len() as u64, &options)?;
/// while let Some(entry) = archive.next_entry()? {
///     if let Node::File { .. } = entry.node {
///         let mut content = Vec::new();
///         archive.read_to_end(&mut content)?;
///         stage(&content);
///     }
/// }
/// publish(archive.finish()?);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct ArchiveReader<R: Read> {
    tar: TarReader<Decompressor<R>>,
    names: Names,
    options: ReadOptions,
    bytes: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Going,
    Ended,
    Failed,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the archive in `source`, which has `packed` bytes; if that is not known, what it may have at most.
    ///
    /// # Errors
    /// [`ArchiveError::Compression`] if it is not compressed as `options` say.
    pub fn new(source: R, packed: u64, options: &ReadOptions) -> Result<Self, ArchiveError> {
        let stream = Decompressor::new(source, options.compression, packed, &options.limits)?;
        let names = Names::new(&options.limits);
        Ok(Self { tar: TarReader::new(stream), names, options: *options, bytes: 0, state: State::Going })
    }

    /// The next entry, skipping what is left of the current one; `None` after a proper end of the archive and of
    /// the compressed stream.
    ///
    /// # Errors
    /// For everything that is refused.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        match self.state {
            State::Failed => return Err(ArchiveError::Failed),
            State::Ended => return Ok(None),
            State::Going => {}
        }
        // If this is left by an error.
        self.state = State::Failed;
        let entry = match self.tar.next_entry()? {
            Some(raw) => Some(self.judge(raw)?),
            None => None,
        };
        self.state = if entry.is_some() { State::Going } else { State::Ended };
        Ok(entry)
    }

    /// Reads what is left, to the end.
    ///
    /// # Errors
    /// As [`next_entry`](Self::next_entry).
    pub fn finish(mut self) -> Result<Whole, ArchiveError> {
        while self.next_entry()?.is_some() {}
        Ok(Whole { entries: self.names.len(), bytes: self.bytes })
    }

    /// What it remembers: entries, and bytes of their names.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (u64, u64) {
        (self.names.len(), self.names.bytes())
    }

    fn judge(&mut self, raw: TarEntry) -> Result<Entry, TarError> {
        let TarEntry { path: name, link, kind, attributes, size, mtime, .. } = raw;
        let path = self.path(&name, &name)?;
        if name.ends_with(b"/") && kind != Kind::Directory {
            return Err(TarError::name(&name, Refusal::Slash));
        }
        let node = match kind {
            Kind::File => Node::File { size },
            Kind::Directory => Node::Directory,
            Kind::Symlink => {
                let target = path.target(&link).map_err(|reason| TarError::name(&name, reason))?;
                if target == Target::Outside && self.options.links == Links::Inside {
                    return Err(TarError::name(&name, Refusal::Outside));
                }
                Node::Symlink { target: link }
            }
            Kind::Hardlink => {
                let file = self.path(&link, &name)?;
                self.names.check_hardlink(&path, &file, &attributes)?;
                Node::Hardlink { file }
            }
        };
        self.names.place(&path, kind, &attributes)?;
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.options.limits.bytes {
            return Err(TarError::Limit { what: "bytes of content", limit: self.options.limits.bytes });
        }
        Ok(Entry { path, node, attributes, mtime })
    }

    /// The path that `name` stands for, in the entry called `entry`.
    fn path(&self, name: &[u8], entry: &[u8]) -> Result<ArchivePath, TarError> {
        let rest = match name {
            b"." | b"./" if self.options.leading_dot => return Ok(ArchivePath::root()),
            [b'.', b'/', rest @ ..] if self.options.leading_dot => rest,
            _ => name,
        };
        ArchivePath::parse(rest).map_err(|reason| TarError::name(entry, reason))
    }
}

impl<R: Read> Read for ArchiveReader<R> {
    /// Errors hold an [`ArchiveError`]; `ArchiveError::from` takes it out.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.state == State::Failed {
            return Err(io::Error::other(ArchiveError::Failed));
        }
        self.tar.read(buffer).map_err(|error| {
            self.state = State::Failed;
            io::Error::other(ArchiveError::from(error))
        })
    }
}
