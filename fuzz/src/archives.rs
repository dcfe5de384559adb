//! Archives that strangers may have written, and trees that are packed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use buildswarm_store::archive::{
    ArchiveReader, Compression, Decompressor, FRAME_BYTES, FrameReader, Frames, Limits, Links, Node,
    PackOptions, ReadOptions, pack_tree,
};

/// Small enough that no input takes long, large enough that every check is reached.
const LIMITS: Limits = Limits {
    entries: 1000,
    name_bytes: 64 << 10,
    bytes: 8 << 20,
    depth: 64,
    window_log: 20,
    frames: Frames::One,
};

/// How an input is read, by its first byte.
fn options(flags: u8) -> ReadOptions {
    let compression = match flags & 3 {
        0 | 3 => Compression::None,
        1 => Compression::Gzip,
        _ => Compression::Zstd,
    };
    let frames = if flags & 4 == 0 { Frames::One } else { Frames::Several };
    let links = if flags & 8 == 0 { Links::Inside } else { Links::Any };
    ReadOptions { compression, links, leading_dot: flags & 16 != 0, limits: Limits { frames, ..LIMITS } }
}

/// What an archive holds, by path: the same node under two paths is two entries.
type Content = BTreeMap<Vec<u8>, (Node, u32, Vec<u8>)>;

/// The content of an archive that is read to its end.
fn content(bytes: &[u8], options: &ReadOptions) -> Option<Content> {
    let mut archive = ArchiveReader::new(bytes, bytes.len() as u64, options).ok()?;
    let mut content = Content::new();
    while let Some(entry) = archive.next_entry().ok()? {
        let mut bytes = Vec::new();
        archive.read_to_end(&mut bytes).ok()?;
        let size = if let Node::File { size } = entry.node { size } else { 0 };
        assert_eq!(bytes.len() as u64, size, "content of the length that was said");
        let path = entry.path.as_bytes().to_vec();
        let before = content.insert(path, (entry.node, entry.attributes.mode, bytes));
        assert!(before.is_none(), "two entries at one place");
    }
    let whole = archive.finish().expect("the end was reached");
    assert_eq!(whole.entries(), content.len() as u64);
    assert!(whole.bytes() <= options.limits.bytes);
    Some(content)
}

/// An archive that is accepted stays inside, puts nothing below what is no directory, and is read alike each time.
///
/// The first byte says how it is read.
pub fn archive_read(bytes: &[u8]) {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let options = options(*flags);
    let Some(found) = content(bytes, &options) else { return };
    for (path, (node, ..)) in &found {
        assert!(!path.starts_with(b"/") && !path.contains(&0));
        assert!(path.split(|byte| *byte == b'/').all(|part| part != b".." && part != b"."));
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let above = found.get(&path[..at]).map(|(node, ..)| node);
            assert!(above.is_none_or(|node| *node == Node::Directory), "below what is no directory");
        }
        if let Node::Hardlink { file } = node {
            let file = found.get(file.as_bytes()).map(|(node, ..)| node);
            assert!(matches!(file, Some(Node::File { .. })), "a further name of a file");
        }
    }
    assert_eq!(content(bytes, &options), Some(found));
}

/// A stream that is accepted unpacks alike however it is read, and within its limit.
///
/// The first byte says how it is compressed.
pub fn decompress(bytes: &[u8]) {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let ReadOptions { compression, limits, .. } = options(*flags);
    let unpack = |step: usize| {
        let mut reader = Decompressor::new(bytes, compression, bytes.len() as u64, &limits).ok()?;
        let mut out = Vec::new();
        let mut buffer = vec![0; step];
        loop {
            match reader.read(&mut buffer).ok()? {
                0 => break,
                count => out.extend_from_slice(&buffer[..count]),
            }
            assert!(out.len() as u64 <= limits.bytes, "more than the limit");
        }
        assert_eq!(reader.finish().ok(), Some(out.len() as u64));
        Some(out)
    };
    assert_eq!(unpack(64 << 10), unpack(61));
}

/// Frames that are unpacked in one go: more would only take longer.
const FRAMES_READ: usize = 8;

/// A file whose seek table is accepted is as long as it says, and its frames are those of the stream.
pub fn frames_read(bytes: &[u8]) {
    let Ok(mut reader) = FrameReader::new(Cursor::new(bytes)) else { return };
    let (table, size) = (reader.table().clone(), reader.size());
    assert_eq!(size.div_ceil(FRAME_BYTES as u64), table.frames() as u64);
    let mut next = 0;
    for frame in 0..table.frames() {
        let range = table.packed_range(frame).expect("it is listed");
        assert!(range.start == next && range.end > range.start);
        next = range.end;
    }
    let mut stream = Vec::new();
    for frame in 0..table.frames().min(FRAMES_READ) {
        let Ok(unpacked) = reader.frame(frame) else { return };
        stream.extend_from_slice(unpacked);
    }
    for at in [0, stream.len() / 2, stream.len().saturating_sub(3)] {
        reader.seek(SeekFrom::Start(at as u64)).expect("any position is fine");
        let mut part = vec![0; (stream.len() - at).min(7)];
        reader.read_exact(&mut part).expect("its frame was read before");
        assert_eq!(part, stream[at..at + part.len()]);
    }
    if table.frames() > FRAMES_READ {
        return;
    }
    let limits = Limits { bytes: u64::MAX, frames: Frames::Several, ..LIMITS };
    let mut plain = Vec::new();
    let unpacked = Decompressor::new(bytes, Compression::Zstd, u64::MAX, &limits)
        .and_then(|mut reader| reader.read_to_end(&mut plain));
    if unpacked.is_ok() {
        assert_eq!(plain, stream);
    }
}

/// The most entries of a tree in [`pack_round_trip`].
const ENTRIES_MAX: usize = 48;

/// Makes what `bytes` describe below `root`, and says what that is.
fn grow(root: &Path, mut bytes: &[u8]) -> Content {
    let mut take = |most: usize| {
        let (taken, rest) = bytes.split_at(most.min(bytes.len()));
        bytes = rest;
        taken
    };
    let mut directories = vec![Vec::new()];
    let mut made = Content::new();
    for _ in 0..ENTRIES_MAX {
        let [kind, place, length, mode] = take(4) else { break };
        let name: Vec<u8> = take(usize::from(*length) % 120 + 1)
            .iter()
            .map(|byte| if matches!(byte, 0 | b'/') { b'_' } else { *byte })
            .collect();
        let parent: &Vec<u8> = &directories[usize::from(*place) % directories.len()];
        let path = if parent.is_empty() { name } else { [parent.as_slice(), b"/", &name].concat() };
        let at = root.join(OsStr::from_bytes(&path));
        // Readable by us in any case.
        let mode = u32::from(*mode) << 4 | 0o700;
        let new = !made.contains_key(&path) && fs::symlink_metadata(&at).is_err();
        let (node, content) = match kind % 3 {
            _ if !new => continue,
            0 => {
                if fs::create_dir(&at).is_err() {
                    continue;
                }
                directories.push(path.clone());
                (Node::Directory, Vec::new())
            }
            1 => {
                let content = take(usize::from(*kind)).repeat(usize::from(*place) * 5 + 1);
                if fs::write(&at, &content).is_err() {
                    continue;
                }
                (Node::File { size: content.len() as u64 }, content)
            }
            _ => {
                let target = take(usize::from(*kind)).to_vec();
                if symlink(OsStr::from_bytes(&target), &at).is_err() {
                    continue;
                }
                made.insert(path, (Node::Symlink { target }, 0o777, Vec::new()));
                continue;
            }
        };
        fs::set_permissions(&at, Permissions::from_mode(mode)).expect("it is ours");
        made.insert(path, (node, mode & 0o7777, content));
    }
    made
}

/// A tree is packed to the same bytes by any number of threads, and read back as it was made.
///
/// # Panics
/// If it is not, or if there is no place for a temporary directory.
pub fn pack_round_trip(bytes: &[u8]) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let made = grow(root.path(), bytes);
    let options = PackOptions {
        level: 1,
        threads: 1,
        mtime: 1,
        uid: 0,
        gid: 0,
        limits: Limits { bytes: 64 << 20, ..LIMITS },
    };
    let mut archive = Vec::new();
    let report = pack_tree(root.path(), &mut archive, &options).expect("it is within all limits");
    let mut again = Vec::new();
    let same = pack_tree(root.path(), &mut again, &PackOptions { threads: 2, ..options }).expect("still");
    assert_eq!((&report, &archive), (&same, &again));
    let limits = Limits { frames: Frames::Several, window_log: 23, ..options.limits };
    let reading =
        ReadOptions { compression: Compression::Zstd, links: Links::Any, leading_dot: false, limits };
    assert_eq!(content(&archive, &reading).expect("what was packed is read"), made);
}
