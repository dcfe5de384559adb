//! The binhost directory, read for one request. Blocking: call it from a blocking thread.
//!
//! Every name is opened below the descriptor of its parent and no symbolic link is followed, with one
//! exception: `current`, whose text must be `generations/<number>`. The `pool` link inside a generation is for
//! static web servers; the door opens the shared pool itself.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use buildswarm_core::Digest;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;

use super::header::{HEADER_MAX, HeaderError, IndexHeader};
use super::route::{ChannelName, IndexFile};

/// How often a generation may vanish under a reader before it gives up. Each time means that the channel was
/// switched and its old generation removed between two system calls.
const SWITCHES_OUTRUN: usize = 4;

/// Most channels listed. A listing opens an index per channel; nobody publishes a tenth of this.
const CHANNELS_LISTED_MAX: usize = 1000;

/// Bytes of an index read at first, enough for the header of a small one.
const HEADER_FIRST_READ: usize = 16 << 10;

/// Why something could not be opened. "It is not there" and "I cannot tell" are different answers.
#[derive(Debug, thiserror::Error)]
pub(super) enum TreeError {
    #[error("{0} does not exist")]
    Absent(String),
    #[error("{what} cannot be read")]
    Unreadable { what: String, source: io::Error },
    #[error("{what} is not {expected}")]
    Unexpected { what: String, expected: &'static str },
    #[error("{what} is not an index")]
    Header { what: String, source: HeaderError },
}

/// A file of a channel's current generation, and what the generation's index says of itself.
#[derive(Debug)]
pub(super) struct IndexEntry {
    pub(super) file: File,
    pub(super) generation: u64,
    pub(super) header: IndexHeader,
}

/// A channel that has a current generation.
#[derive(Debug)]
pub(super) struct ChannelState {
    pub(super) name: ChannelName,
    pub(super) generation: u64,
    pub(super) header: IndexHeader,
}

/// What a listing found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Sorted by name.
    pub(super) channels: Vec<ChannelState>,
    /// Channels whose current generation cannot be served.
    pub(super) broken: Vec<TreeError>,
}

#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// A file of whatever generation is current: resolved once, then opened inside it.
    pub(super) fn index(&self, channel: &ChannelName, file: IndexFile) -> Result<IndexEntry, TreeError> {
        let mut vanished = None;
        for _ in 0..SWITCHES_OUTRUN {
            let (home, generation) = self.current(channel)?;
            if vanished == Some(generation) {
                break;
            }
            match in_generation(&home, channel, generation, file) {
                // Either it has no such file, or it was removed after it had stopped being the current one.
                Err(TreeError::Absent(_)) => vanished = Some(generation),
                answer => return answer,
            }
        }
        Err(TreeError::Absent(format!("{channel}/{}", file.file_name())))
    }

    /// A package, not yet verified. The channel must have a current generation, or the path names nothing.
    pub(super) fn package(&self, channel: &ChannelName, digest: &Digest) -> Result<File, TreeError> {
        self.current(channel)?;
        let name = digest.to_string();
        let pool = directory(&self.open_root()?, "pool")?;
        file_in(&directory(&pool, &name[..2])?, &format!("{name}.gpkg.tar"))
    }

    /// Every channel with a current generation; those without one are not published yet.
    pub(super) fn list(&self) -> Result<Listing, TreeError> {
        let channels = directory(&self.open_root()?, "channels")?;
        let unreadable = |source: Errno| unreadable("channels", source);
        let mut names = Vec::new();
        for entry in Dir::read_from(&channels).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            names.extend(entry.file_name().to_str().ok().and_then(ChannelName::parse));
        }
        names.sort();
        names.truncate(CHANNELS_LISTED_MAX);
        let mut listing = Listing::default();
        for name in names {
            match self.index(&name, IndexFile::Packages) {
                Ok(IndexEntry { generation, header, .. }) => {
                    listing.channels.push(ChannelState { name, generation, header });
                }
                Err(TreeError::Absent(_)) => {}
                Err(error) => listing.broken.push(error),
            }
        }
        Ok(listing)
    }

    fn open_root(&self) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::open(&self.root, flags, Mode::empty())
            .map_err(|errno| unreadable(&self.root.display().to_string(), errno))
    }

    /// The channel's directory and the number `current` points to.
    fn current(&self, channel: &ChannelName) -> Result<(OwnedFd, u64), TreeError> {
        let home = directory(&directory(&self.open_root()?, "channels")?, channel.as_str())?;
        let what = format!("{channel}/current");
        let unexpected = TreeError::Unexpected { what, expected: "a link to generations/<number>" };
        match readlinkat(&home, "current", Vec::new()) {
            Ok(target) => target.to_str().ok().and_then(link_number).map(|n| (home, n)).ok_or(unexpected),
            // EINVAL: not a link (readlink(2)).
            Err(Errno::INVAL) => Err(unexpected),
            Err(errno) => Err(failed(&format!("{channel}/current"), errno)),
        }
    }
}

/// The number in `generations/<number>`, written the one way it is written.
fn link_number(target: &str) -> Option<u64> {
    let digits = target.strip_prefix("generations/")?;
    digits.parse().ok().filter(|number: &u64| number.to_string() == digits)
}

fn in_generation(
    home: &OwnedFd,
    channel: &ChannelName,
    generation: u64,
    file: IndexFile,
) -> Result<IndexEntry, TreeError> {
    let directory = directory(&directory(home, "generations")?, &generation.to_string())?;
    let index = file_in(&directory, IndexFile::Packages.file_name())?;
    let header = read_header(&index, channel)?;
    let file = match file {
        IndexFile::Packages => index,
        other => file_in(&directory, other.file_name())?,
    };
    Ok(IndexEntry { file, generation, header })
}

fn read_header(index: &File, channel: &ChannelName) -> Result<IndexHeader, TreeError> {
    let what = || format!("{channel}/Packages");
    let (mut start, mut filled) = (vec![0; HEADER_FIRST_READ], 0);
    loop {
        let read = match index.read_at(&mut start[filled..], filled as u64) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(TreeError::Unreadable { what: what(), source }),
        };
        // An empty line may straddle two reads.
        let fresh = filled.saturating_sub(1);
        filled += read;
        if read == 0 || IndexHeader::is_whole(&start[fresh..filled]) || filled >= HEADER_MAX {
            return IndexHeader::parse(&start[..filled])
                .map_err(|source| TreeError::Header { what: what(), source });
        }
        if filled == start.len() {
            start.resize((2 * filled).min(HEADER_MAX), 0);
        }
    }
}

fn directory(parent: &impl AsFd, name: &str) -> Result<OwnedFd, TreeError> {
    // Reading needs more than a path descriptor; only `channels` is ever listed, but one way of opening is
    // simpler than two.
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOTDIR | Errno::LOOP => {
            TreeError::Unexpected { what: name.to_owned(), expected: "a directory" }
        }
        errno => failed(name, errno),
    })
}

fn file_in(parent: &impl AsFd, name: &str) -> Result<File, TreeError> {
    let unexpected = || TreeError::Unexpected { what: name.to_owned(), expected: "a regular file" };
    // A look first: opening a device or a pipe can have effects.
    let seen = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| failed(name, errno))?;
    if FileType::from_raw_mode(seen.st_mode) != FileType::RegularFile {
        return Err(unexpected());
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(parent, name, flags, Mode::empty()).map_err(|errno| failed(name, errno))?);
    let opened = file.metadata().map_err(|source| TreeError::Unreadable { what: name.to_owned(), source })?;
    if opened.is_file() { Ok(file) } else { Err(unexpected()) }
}

fn failed(what: &str, errno: Errno) -> TreeError {
    if errno == Errno::NOENT { TreeError::Absent(what.to_owned()) } else { unreadable(what, errno) }
}

fn unreadable(what: &str, errno: Errno) -> TreeError {
    TreeError::Unreadable { what: what.to_owned(), source: errno.into() }
}
