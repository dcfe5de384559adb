//! A strict reader of one tar stream, entry by entry.
//!
//! It accepts what Portage's Python `tarfile` and GNU tar write for packages: ustar headers, GNU long names
//! (`L`, `K`), and local PAX headers with paths, ids and times. Sparse files, global headers, extended
//! attributes, a PAX `size` that contradicts its header and every unknown key are refused by name. An archive
//! ends with two blocks of zeros and nothing but zeros may follow. Unlike `tar::Archive`, a missing end, a
//! short body or a trailing second archive is an error.

use std::io::{self, Read};

use super::error::{TarError, shown};
use super::header::{BLOCK, Header};
use super::limits::{END_PADDING, EXTENDED_BYTES, PATH_BYTES};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A further name for a file that came before.
    Hardlink,
}

impl Kind {
    /// Its name, as one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Hardlink => "hardlink",
        }
    }
}

/// What an entry is like, apart from its name and content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, with set-user-id, set-group-id and sticky bit.
    pub mode: u32,
    /// Number of the user it belongs to; below 2³¹.
    pub uid: u32,
    /// Number of the group it belongs to; below 2³¹.
    pub gid: u32,
    /// Name of the user as it stands; empty if the archive does not tell.
    pub user: Vec<u8>,
    /// Name of the group as it stands; empty if the archive does not tell.
    pub group: Vec<u8>,
}

/// One entry of an archive, judged as to form but not as to where its names lead: see
/// [`ArchiveReader`](super::ArchiveReader) for that.
#[derive(Debug, Clone)]
pub struct TarEntry {
    /// Its name as it stands: it may be absolute, lead upwards, and hold any byte but NUL.
    pub path: Vec<u8>,
    /// The target of a link as it stands.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// What it is like.
    pub attributes: Attributes,
    /// Bytes of content; 0 for all but files.
    pub size: u64,
    /// Time of modification, in seconds since 1970.
    pub mtime: u64,
    /// Where the content begins, in bytes from the start of the stream.
    pub offset: u64,
}

/// What the extended headers before an entry say.
#[derive(Default)]
struct Overrides {
    /// Whether there was a PAX header.
    pax: bool,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    user: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
}

/// The reader of a plain tar stream. [`Read`] gives the content of the current entry.
///
/// Nothing it gave may be acted on before [`next_entry`](Self::next_entry) has returned `None`.
///
/// ```
/// use buildswarm_store::archive::{TarError, TarReader};
/// let empty = [0u8; 1024];
/// assert!(TarReader::new(&empty[..]).next_entry()?.is_none());
/// let cut = TarReader::new(&empty[..512]).next_entry();
/// assert!(matches!(cut, Err(TarError::MissingEnd)));
/// # Ok::<_, TarError>(())
/// ```
pub struct TarReader<R> {
    inner: R,
    position: u64,
    /// Content of the current entry not yet read.
    left: u64,
    /// Zeros between the content and the next header.
    padding: u64,
}

impl<R: Read> TarReader<R> {
    /// Reads the archive that begins where `inner` stands and ends where `inner` ends.
    pub const fn new(inner: R) -> Self {
        Self { inner, position: 0, left: 0, padding: 0 }
    }

    /// The next entry, skipping what is left of the current one; `None` after a proper end of the archive.
    ///
    /// # Errors
    /// Whatever is not in the form this module accepts. The reader is of no use then.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, TarError> {
        self.skip_content()?;
        let mut overrides = Overrides::default();
        let mut extended_headers = 0;
        loop {
            let at = self.position;
            let Some(block) = self.block()? else { return Err(TarError::MissingEnd) };
            if block.iter().all(|b| *b == 0) {
                if extended_headers > 0 {
                    return Err(extended(at, "no entry follows it"));
                }
                self.end()?;
                return Ok(None);
            }
            let header = Header::parse(&block, at)?;
            match header.typeflag {
                b'L' | b'K' => {
                    let mut name = self.extended(&header, at)?;
                    if name.pop() != Some(0) || name.contains(&0) || name.len() >= PATH_BYTES {
                        return Err(extended(at, "its name contains a NUL or is too long"));
                    }
                    let slot =
                        if header.typeflag == b'L' { &mut overrides.path } else { &mut overrides.link };
                    if slot.replace(name).is_some() {
                        return Err(extended(at, "it comes twice"));
                    }
                }
                b'x' if std::mem::replace(&mut overrides.pax, true) => {
                    return Err(extended(at, "it comes twice"));
                }
                b'x' => {
                    let records = self.extended(&header, at)?;
                    pax(&records, at, &mut overrides)?;
                }
                b'g' => return Err(extended(at, "it is global")),
                _ => return self.entry(header, overrides, at).map(Some),
            }
            extended_headers += 1;
        }
    }

    fn entry(&mut self, header: Header, over: Overrides, at: u64) -> Result<TarEntry, TarError> {
        let path = over.path.unwrap_or(header.path);
        let kind = match header.typeflag {
            b'0' | 0 => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'5' => Kind::Directory,
            other => return Err(TarError::Kind { name: shown(&path), kind: kind_name(other) }),
        };
        if over.size.is_some_and(|size| size != header.size) {
            return Err(extended(at, "its size contradicts the header"));
        }
        if kind != Kind::File && header.size != 0 {
            return Err(TarError::Number { at, field: "size" });
        }
        self.left = header.size;
        self.padding = header.size.next_multiple_of(BLOCK as u64) - header.size;
        Ok(TarEntry {
            path,
            link: over.link.unwrap_or(header.link),
            kind,
            attributes: Attributes {
                mode: header.mode,
                uid: over.uid.unwrap_or(header.uid),
                gid: over.gid.unwrap_or(header.gid),
                user: over.user.unwrap_or(header.user),
                group: over.group.unwrap_or(header.group),
            },
            size: header.size,
            mtime: header.mtime,
            offset: self.position,
        })
    }

    /// The bounded content of an extended header.
    fn extended(&mut self, header: &Header, at: u64) -> Result<Vec<u8>, TarError> {
        if header.size > EXTENDED_BYTES {
            return Err(extended(at, "it is larger than 16 KiB"));
        }
        self.left = header.size;
        self.padding = header.size.next_multiple_of(BLOCK as u64) - header.size;
        let mut content = Vec::new();
        self.read_to_end(&mut content).map_err(TarError::from_io)?;
        self.skip_content()?;
        Ok(content)
    }

    fn skip_content(&mut self) -> Result<(), TarError> {
        let mut rest = [0; 16 << 10];
        while self.read(&mut rest).map_err(TarError::from_io)? > 0 {}
        let padding = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or(BLOCK);
        self.exact(&mut rest[..padding])
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.raw(&mut buffer[filled..]).map_err(TarError::from_io)? {
                0 => return Err(TarError::Truncated { at: self.position }),
                read => filled += read,
            }
        }
        Ok(())
    }

    fn raw(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(read) => {
                    self.position += read as u64;
                    return Ok(read);
                }
            }
        }
    }

    /// The next block, or `None` if the stream ends exactly here.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        match self.raw(&mut block).map_err(TarError::from_io)? {
            0 => Ok(None),
            read => self.exact(&mut block[read..]).map(|()| Some(block)),
        }
    }

    /// The second block of zeros, and nothing but zeros to the end of the stream.
    fn end(&mut self) -> Result<(), TarError> {
        let Some(second) = self.block()? else { return Err(TarError::MissingEnd) };
        let at = self.position;
        if second.iter().any(|b| *b != 0) {
            return Err(TarError::TrailingBytes { at: at - BLOCK as u64 });
        }
        let mut rest = [0; 4096];
        loop {
            let before = self.position;
            let read = self.raw(&mut rest).map_err(TarError::from_io)?;
            if read == 0 {
                return Ok(());
            }
            if rest[..read].iter().any(|b| *b != 0) || self.position - at > END_PADDING {
                return Err(TarError::TrailingBytes { at: before });
            }
        }
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.raw(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::Error::other(TarError::Truncated { at: self.position }));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

fn extended(at: u64, reason: &str) -> TarError {
    TarError::Extended { at, reason: reason.to_owned() }
}

fn kind_name(typeflag: u8) -> String {
    match typeflag {
        b'3' => "a character device".to_owned(),
        b'4' => "a block device".to_owned(),
        b'6' => "a fifo".to_owned(),
        b'S' => "a sparse file".to_owned(),
        other => format!("of the unknown type {:?}", char::from(other)),
    }
}

/// `length key=value\n` records (POSIX.1-2001 pax); times are of no interest.
fn pax(mut records: &[u8], at: u64, over: &mut Overrides) -> Result<(), TarError> {
    while !records.is_empty() {
        let (key, value, rest) = pax_record(records).ok_or_else(|| extended(at, "a record is malformed"))?;
        records = rest;
        let twice = match key {
            "path" => over.path.replace(value.to_vec()).is_some(),
            "linkpath" => over.link.replace(value.to_vec()).is_some(),
            "size" => over.size.replace(decimal(value, at)?).is_some(),
            "uid" => over.uid.replace(id(value, at)?).is_some(),
            "gid" => over.gid.replace(id(value, at)?).is_some(),
            "uname" => over.user.replace(value.to_vec()).is_some(),
            "gname" => over.group.replace(value.to_vec()).is_some(),
            "mtime" | "atime" | "ctime" => false,
            other => {
                let key: String = other.chars().take(80).collect();
                return Err(TarError::Extended { at, reason: format!("the key {key:?} is not accepted") });
            }
        };
        if twice {
            return Err(extended(at, "a key comes twice"));
        }
    }
    for name in [&over.path, &over.link].into_iter().flatten() {
        if name.contains(&0) || name.len() >= PATH_BYTES {
            return Err(extended(at, "its name contains a NUL or is too long"));
        }
    }
    Ok(())
}

fn pax_record(records: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let blank = records.iter().take(8).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    let body = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((std::str::from_utf8(&body[..equals]).ok()?, &body[equals + 1..], rest))
}

fn decimal(value: &[u8], at: u64) -> Result<u64, TarError> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| extended(at, "a number is malformed"))
}

fn id(value: &[u8], at: u64) -> Result<u32, TarError> {
    let id = i32::try_from(decimal(value, at)?).map_err(|_| extended(at, "an id is out of range"))?;
    u32::try_from(id).map_err(|_| extended(at, "an id is out of range"))
}
