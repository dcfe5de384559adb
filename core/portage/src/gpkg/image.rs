//! The image: what a package installs, entry by entry, judged by our own rules.
//!
//! Beyond what [`ArchiveReader`] refuses of any archive (names that lead elsewhere, duplicates, anything below a
//! name that is not a directory, hard links to anything but an earlier file of the same mode and owner, devices,
//! fifos, sparse files), names and targets are UTF-8 without a line feed, and all lies below `image/`. These are
//! also, or should be, refused by Portage's own `tar_safe_extract`. Set-user-id bits and absolute targets of
//! symbolic links are ordinary in packages and stay.

use std::fmt;
use std::io::{self, Read};

use buildswarm_store::archive::{
    ArchiveError, ArchivePath, ArchiveReader, Attributes, Entry, Kind, Node, shown,
};

use super::container::{Member, compression, member_error};
use super::error::GpkgError;
use super::limits::Limits;

/// To whom an entry belongs. Portage installs it for the user and the group of these names and takes a number
/// only where a machine does not know the name (Python, `TarFile.chown`), so all four matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Name of the user; empty if the package does not tell.
    pub user: String,
    /// Name of the group; empty if the package does not tell.
    pub group: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, gid, user, group } = self;
        write!(f, "{user}({uid}):{group}({gid})")
    }
}

/// One entry of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageEntry {
    /// Where it is installed, without a leading slash: `usr/bin/hello`; empty for the root itself.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with set-user-id, set-group-id and sticky bit.
    pub mode: u32,
    /// To whom it belongs.
    pub owner: Owner,
    /// Bytes of content; 0 for all but files.
    pub size: u64,
    /// Time of modification, in seconds since 1970.
    pub mtime: u64,
    /// Target of a symbolic link as it stands, or for a hard link the `path` of the earlier file; else empty.
    pub link: String,
}

/// Gives the entries of an image in the order they are stored; [`Read`] gives the content of the current one.
///
/// Nothing it gave may be acted on before [`next_entry`](Self::next_entry) has returned `None`: unpack into a
/// place of its own and throw that away after an error.
pub struct ImageReader<R: Read> {
    archive: ArchiveReader<R>,
    member: String,
}

impl<R: Read> ImageReader<R> {
    /// Reads `member`, whose bytes `source` gives.
    pub(crate) fn new(source: R, member: &Member, limits: &Limits) -> Result<Self, GpkgError> {
        let options = limits.image(compression(member)?);
        let archive = ArchiveReader::new(source, member.size(), &options);
        let archive = archive.map_err(|error| member_error(member.name(), error))?;
        Ok(Self { archive, member: member.name().to_owned() })
    }

    /// The next entry, or `None` after a proper end of the archive and of the compressed stream.
    ///
    /// # Errors
    /// [`GpkgError::Member`] or [`GpkgError::Compression`] for what no archive may hold, and [`GpkgError::Entry`] for
    /// what no image may.
    pub fn next_entry(&mut self) -> Result<Option<ImageEntry>, GpkgError> {
        let entry = self.archive.next_entry().map_err(|error| member_error(&self.member, error))?;
        entry.map(|entry| self.judge(entry)).transpose()
    }

    fn judge(&self, entry: Entry) -> Result<ImageEntry, GpkgError> {
        let name = entry.path.as_bytes();
        let path = below_image(&entry.path).map_err(|reason| self.refused(name, reason))?;
        let owner = owner(&entry.attributes).map_err(|reason| self.refused(name, reason))?;
        let (kind, size, link) = match &entry.node {
            Node::File { size } => (Kind::File, *size, String::new()),
            Node::Directory => (Kind::Directory, 0, String::new()),
            Node::Symlink { target } => {
                let target =
                    text(target).map_err(|_| self.refused(name, "its target is no line of UTF-8"))?;
                (Kind::Symlink, 0, target)
            }
            Node::Hardlink { file } => {
                let file = below_image(file).map_err(|reason| self.refused(name, reason))?;
                (Kind::Hardlink, 0, file)
            }
        };
        if path.is_empty() && kind != Kind::Directory {
            return Err(self.refused(name, "the image itself is not a directory"));
        }
        Ok(ImageEntry { path, kind, mode: entry.attributes.mode, owner, size, mtime: entry.mtime, link })
    }

    fn refused(&self, name: &[u8], reason: &'static str) -> GpkgError {
        GpkgError::Entry { member: self.member.clone(), name: shown(name), reason }
    }

    /// An error of reading the current entry's content, named after the member it is in.
    pub(crate) fn content_error(&self, error: io::Error) -> GpkgError {
        member_error(&self.member, ArchiveError::from(error))
    }
}

impl<R: Read> Read for ImageReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.archive.read(buffer)
    }
}

fn text(bytes: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    if text.contains('\n') { Err("it contains a line feed") } else { Ok(text.to_owned()) }
}

/// The path below `image/`; empty for `image` itself.
fn below_image(path: &ArchivePath) -> Result<String, &'static str> {
    let text = text(path.as_bytes())?;
    match text.strip_prefix("image") {
        Some("") => Ok(String::new()),
        Some(rest) => rest.strip_prefix('/').map(str::to_owned).ok_or("it is outside image/"),
        None => Err("it is outside image/"),
    }
}

fn owner(attributes: &Attributes) -> Result<Owner, &'static str> {
    let name = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control));
        text.map(str::to_owned).ok_or("its user or group has no proper name")
    };
    let Attributes { uid, gid, user, group, .. } = attributes;
    Ok(Owner { uid: *uid, gid: *gid, user: name(user)?, group: name(group)? })
}
