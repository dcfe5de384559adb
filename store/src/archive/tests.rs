//! Archives made by hand, and trees.

mod fixture;
mod hostile;
mod pack;
mod properties;

use std::io::Read as _;

use fixture::*;

use super::*;

const OPTIONS: ReadOptions = ReadOptions {
    compression: Compression::None,
    links: Links::Inside,
    leading_dot: true,
    limits: Limits::STANDARD,
};

/// What an archive holds once it has been read to its end: entries with their content.
type Content = Vec<(Entry, Vec<u8>)>;

/// Reads an archive as its users do: what was staged counts only with the proof.
fn read(bytes: &[u8], options: &ReadOptions) -> Result<(Whole, Content), ArchiveError> {
    let mut archive = ArchiveReader::new(bytes, bytes.len() as u64, options)?;
    let mut staged = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut content = Vec::new();
        archive.read_to_end(&mut content)?;
        staged.push((entry, content));
    }
    Ok((archive.finish()?, staged))
}

fn path(text: &str) -> ArchivePath {
    ArchivePath::parse(text.as_bytes()).unwrap()
}

/// An archive of ordinary things.
fn ordinary() -> Vec<RawEntry> {
    vec![
        directory("usr/"),
        directory("usr/bin/"),
        file("usr/bin/hello", "#!/bin/sh\necho hello\n"),
        link(b'1', "usr/bin/hi", "usr/bin/hello"),
        link(b'2', "usr/bin/sh", "../../bin/sh"),
    ]
}

#[test]
fn an_ordinary_archive_is_read_however_it_is_compressed() {
    let bytes = tar(&ordinary());
    let (whole, content) = read(&bytes, &OPTIONS).unwrap();
    assert_eq!((whole.entries(), whole.bytes()), (5, 21));
    let nodes: Vec<_> = content.iter().map(|(entry, _)| entry.node.clone()).collect();
    assert_eq!(
        nodes[2..],
        [
            Node::File { size: 21 },
            Node::Hardlink { file: path("usr/bin/hello") },
            Node::Symlink { target: b"../../bin/sh".to_vec() },
        ]
    );
    assert_eq!(content[2].1, b"#!/bin/sh\necho hello\n");
    assert_eq!((content[1].0.path.clone(), content[1].0.attributes.mode), (path("usr/bin"), 0o755));
    for (compression, packed) in [(Compression::Gzip, gzip(&bytes)), (Compression::Zstd, zstd(&bytes))] {
        let options = ReadOptions { compression, ..OPTIONS };
        assert_eq!(read(&packed, &options).unwrap().1, content, "{compression:?}");
    }
}

#[test]
fn several_frames_are_read_where_they_are_allowed() {
    let bytes = tar(&ordinary());
    let (first, second) = bytes.split_at(700);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
    let packed = [&skippable[..], &zstd(first), &zstd(b""), &skippable, &zstd(second), &skippable].concat();
    let limits = Limits { frames: Frames::Several, ..Limits::STANDARD };
    let options = ReadOptions { compression: Compression::Zstd, limits, ..OPTIONS };
    assert_eq!(read(&packed, &options).unwrap(), read(&bytes, &OPTIONS).unwrap());
    // However little of it arrives at a time.
    let drops = packed
        .chunks(1)
        .map(std::io::Cursor::new)
        .fold(Box::new(std::io::empty()) as Box<dyn std::io::Read>, |all, drop| Box::new(all.chain(drop)));
    let archive = ArchiveReader::new(drops, packed.len() as u64, &options).unwrap();
    assert_eq!(archive.finish().unwrap().entries(), 5);
}

#[test]
fn the_root_and_a_leading_dot_are_taken_where_they_are_allowed() {
    let bytes = tar(&[directory("./"), file("./a", "x"), link(b'1', "./b", "./a")]);
    let (whole, content) = read(&bytes, &OPTIONS).unwrap();
    assert_eq!(whole.entries(), 3);
    assert!(content[0].0.path.is_root());
    assert_eq!(content[2].0.node, Node::Hardlink { file: path("a") });
    let strict = ReadOptions { leading_dot: false, ..OPTIONS };
    assert!(read(&bytes, &strict).is_err());
    let twice = tar(&[file("a", ""), file("./a", "")]);
    assert!(read(&twice, &OPTIONS).is_err(), "one place under two names");
}

#[test]
fn a_reader_that_failed_stays_failed() {
    let bytes = tar(&[file("a", ""), file("../b", ""), file("c", "")]);
    let mut archive = ArchiveReader::new(&bytes[..], bytes.len() as u64, &OPTIONS).unwrap();
    archive.next_entry().unwrap();
    archive.next_entry().unwrap_err();
    assert!(matches!(archive.next_entry(), Err(ArchiveError::Failed)));
    assert!(archive.read(&mut [0]).is_err());
    assert!(matches!(archive.finish(), Err(ArchiveError::Failed)));
    // The same for an error in the middle of content.
    let cut = &tar(&[file("a", [7; 600])])[..800];
    let mut archive = ArchiveReader::new(cut, cut.len() as u64, &OPTIONS).unwrap();
    archive.next_entry().unwrap();
    let error = archive.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(matches!(ArchiveError::from(error), ArchiveError::Tar(TarError::Truncated { .. })));
    assert!(matches!(archive.finish(), Err(ArchiveError::Failed)));
}

#[test]
fn a_target_is_inside_only_if_no_other_link_can_change_that() {
    let link = path("a/b/link");
    let inside = |target: &[u8]| match link.target(target) {
        Ok(Target::Inside(path)) => Some(path.to_string()),
        _ => None,
    };
    for (target, leads) in [
        ("c", "a/b/c"),
        ("./c//d/", "a/b/c/d"),
        ("..", "a"),
        ("../..", ""),
        (".", "a/b"),
        ("../../usr/lib", "usr/lib"),
    ] {
        assert_eq!(inside(target.as_bytes()).as_deref(), Some(leads), "{target}");
    }
    for target in ["/etc", "../../..", "../../../etc", "c/..", "c/../../../..", "../x/.."] {
        assert_eq!(inside(target.as_bytes()), None, "{target}");
    }
    for target in [&b""[..], b"a\0b", &[b'x'; PATH_BYTES]] {
        assert_eq!(link.target(target), Err(Refusal::Target));
    }
}

#[test]
fn a_message_holds_no_control_characters() {
    let error = ArchivePath::parse(b"a\x1b[2J\nb").unwrap();
    assert_eq!(error.to_string(), "a\\u{1b}[2J\\nb");
}
