//! The image: what a package installs, entry by entry, judged by our own rules.
//!
//! Refused: names that are absolute, contain `..`, NUL, a line feed or bytes that are not UTF-8, or exceed
//! what Linux takes; names that occur twice; anything below a name that is not a directory (so no writing
//! through a symbolic link); hard links to anything but an earlier file, or with another mode or owner than it
//! (who extracts them last decides); devices, fifos, sparse files. These are also, or should be, refused by
//! Portage's own `tar_safe_extract`. Set-user-id bits and absolute targets of symbolic links are ordinary in
//! packages and stay.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};

use buildswarm_store::archive::{
    COMPONENT_BYTES, Decompressor, Kind, PATH_BYTES, RawEntry, TarError, TarReader, shown,
};

use super::container::member_error;
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
    tar: TarReader<Decompressor<R>>,
    member: String,
    limits: Limits,
    seen: BTreeMap<String, Seen>,
    names: u64,
}

/// What is kept of an entry that came before.
#[derive(PartialEq, Eq)]
struct Seen {
    kind: Kind,
    mode: u32,
    owner: Owner,
}

fn refused(name: &[u8], reason: &'static str) -> TarError {
    TarError::Name { name: shown(name), reason }
}

/// The path below `image/`.
fn below_image(path: &[u8]) -> Result<String, TarError> {
    if path.len() >= PATH_BYTES {
        return Err(refused(path, "it is longer than a path may be"));
    }
    let text = std::str::from_utf8(path).map_err(|_| refused(path, "it is not UTF-8"))?;
    if text.starts_with('/') {
        return Err(refused(path, "it is absolute"));
    }
    if text.contains(['\n', '\0']) {
        return Err(refused(path, "it contains a line feed or NUL"));
    }
    let text = text.strip_suffix('/').unwrap_or(text);
    for component in text.split('/') {
        match component {
            ".." => return Err(refused(path, "it leads upwards")),
            "" | "." => return Err(refused(path, "it has an empty component")),
            _ if component.len() > COMPONENT_BYTES => {
                return Err(refused(path, "one of its components is longer than 255 bytes"));
            }
            _ => {}
        }
    }
    match text.split_once('/') {
        Some(("image", rest)) => Ok(rest.to_owned()),
        None if text == "image" => Ok(String::new()),
        _ => Err(refused(path, "it is outside image/")),
    }
}

fn symlink_target(entry: &RawEntry) -> Result<String, TarError> {
    let target =
        std::str::from_utf8(&entry.link).map_err(|_| refused(&entry.path, "its target is not UTF-8"))?;
    if target.is_empty() || target.len() >= PATH_BYTES || target.contains(['\n', '\0']) {
        return Err(refused(&entry.path, "its target is empty, too long, or contains a line feed or NUL"));
    }
    Ok(target.to_owned())
}

fn owner(entry: &RawEntry) -> Result<Owner, TarError> {
    let name = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control));
        text.map(str::to_owned).ok_or_else(|| refused(&entry.path, "its user or group has no proper name"))
    };
    Ok(Owner { uid: entry.uid, gid: entry.gid, user: name(&entry.user)?, group: name(&entry.group)? })
}

impl<R: Read> ImageReader<R> {
    pub(crate) fn new(stream: Decompressor<R>, member: String, limits: &Limits) -> Self {
        Self { tar: TarReader::new(stream), member, limits: *limits, seen: BTreeMap::new(), names: 0 }
    }

    /// The next entry, or `None` after a proper end of the archive and of the compressed stream.
    ///
    /// # Errors
    /// [`GpkgError::Member`] or [`GpkgError::Compression`] for everything this module refuses.
    pub fn next_entry(&mut self) -> Result<Option<ImageEntry>, GpkgError> {
        self.advance().map_err(|error| member_error(&self.member, error))
    }

    fn advance(&mut self) -> Result<Option<ImageEntry>, TarError> {
        let Some(raw) = self.tar.next_entry()? else { return Ok(None) };
        let path = below_image(&raw.path)?;
        if raw.path.ends_with(b"/") && raw.kind != Kind::Directory {
            return Err(refused(&raw.path, "it ends in a slash but is no directory"));
        }
        if path.is_empty() && raw.kind != Kind::Directory {
            return Err(refused(&raw.path, "the image itself is not a directory"));
        }
        let owner = owner(&raw)?;
        let link = match raw.kind {
            Kind::Symlink => symlink_target(&raw)?,
            Kind::Hardlink => self.hardlink_target(&raw, &owner)?,
            Kind::File | Kind::Directory => String::new(),
        };
        let RawEntry { kind, mode, size, mtime, .. } = raw;
        self.place(&path, Seen { kind, mode, owner: owner.clone() })?;
        Ok(Some(ImageEntry { path, kind, mode, owner, size, mtime, link }))
    }

    fn hardlink_target(&self, entry: &RawEntry, owner: &Owner) -> Result<String, TarError> {
        let target = below_image(&entry.link)?;
        match self.seen.get(&target) {
            Some(Seen { kind: Kind::File, mode, owner: its }) if (*mode, its) == (entry.mode, owner) => {
                Ok(target)
            }
            Some(Seen { kind: Kind::File, .. }) => {
                Err(refused(&entry.path, "it is a hard link with another mode or owner than its file"))
            }
            _ => Err(refused(&entry.path, "it is a hard link to something that is not an earlier file")),
        }
    }

    /// Takes note of `path`, which must be new and below directories only.
    fn place(&mut self, path: &str, entry: Seen) -> Result<(), TarError> {
        for (at, _) in path.match_indices('/') {
            if self.seen.get(&path[..at]).is_some_and(|above| above.kind != Kind::Directory) {
                return Err(refused(path.as_bytes(), "it is below something that is not a directory"));
            }
        }
        if entry.kind != Kind::Directory {
            let below = format!("{path}/");
            if self.seen.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below)) {
                return Err(refused(
                    path.as_bytes(),
                    "it is not a directory, yet there is something below it",
                ));
            }
        }
        self.names += (path.len() + entry.owner.user.len() + entry.owner.group.len()) as u64;
        if self.names > self.limits.image_names {
            return Err(TarError::Limit { what: "bytes of names", limit: self.limits.image_names });
        }
        if self.seen.len() as u64 >= self.limits.image_entries {
            return Err(TarError::Limit { what: "entries", limit: self.limits.image_entries });
        }
        if self.seen.insert(path.to_owned(), entry).is_some() {
            return Err(TarError::Duplicate { name: shown(path.as_bytes()) });
        }
        Ok(())
    }

    /// An error of reading the current entry's content, named after the member it is in.
    pub(crate) fn content_error(&self, error: io::Error) -> GpkgError {
        member_error(&self.member, TarError::from_io(error))
    }
}

impl<R: Read> Read for ImageReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tar.read(buffer)
    }
}
