//! The hostile inputs by the numbers of the project's list: 1–34 of tar, 40–50 of compression. Each case names the
//! error it must meet. Reading has no way to write anything; what a case may reach is the staging of its caller, which
//! never gets the proof. Memory is held to the limits by the reader's own count.

use std::collections::BTreeSet;

use super::*;

/// What an error is, in a word or two.
fn kind(error: &ArchiveError) -> String {
    let text = match error {
        ArchiveError::Tar(TarError::Name { reason, .. }) => return format!("Name {reason:?}"),
        ArchiveError::Tar(TarError::Number { field, .. }) => return format!("Number {field}"),
        ArchiveError::Tar(TarError::Limit { what, .. }) => return format!("Limit {what}"),
        ArchiveError::Tar(error) => format!("{error:?}"),
        ArchiveError::Compression(error) => format!("{error:?}"),
        ArchiveError::Failed => "Failed".to_owned(),
    };
    text.split([' ', '(']).next().unwrap_or_default().to_owned()
}

/// Small, so that every one of them is reached by a small input.
const SMALL: Limits = Limits {
    entries: 1000,
    name_bytes: 16 << 10,
    bytes: 32 << 20,
    depth: 256,
    window_log: 23,
    frames: Frames::One,
};

/// The outcome of reading `bytes`, `accepted` or an error's kind, after looking at what the reader took.
fn outcome(bytes: &[u8], options: &ReadOptions) -> String {
    let mut archive = match ArchiveReader::new(bytes, bytes.len() as u64, options) {
        Ok(archive) => archive,
        Err(error) => return kind(&error),
    };
    let mut delivered = 0;
    let result = loop {
        match archive.next_entry() {
            Ok(Some(_)) => match std::io::copy(&mut archive, &mut std::io::sink()) {
                Ok(count) => delivered += count,
                Err(error) => break Err(error.into()),
            },
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let Limits { entries, name_bytes, bytes: most, .. } = options.limits;
    assert!(delivered <= most, "{delivered} bytes of content came out");
    let (seen, name_bytes_seen) = archive.remembered();
    assert!(seen <= entries && name_bytes_seen <= name_bytes + 2 * PATH_BYTES as u64, "{seen} entries kept");
    match result {
        Err(error) => {
            assert!(matches!(archive.finish(), Err(ArchiveError::Failed)), "no proof after {error:?}");
            kind(&error)
        }
        Ok(()) => {
            let _whole = archive.finish().unwrap();
            "accepted".to_owned()
        }
    }
}

/// A GNU header with a long name for the entry after it.
fn long_name(name: &[u8]) -> RawEntry {
    RawEntry { content: [name, b"\0"].concat(), ..entry(b'L', "././@LongLink") }
}

/// Number in the list, what it is, the input, and the outcome.
type Case = (u32, &'static str, Vec<u8>, &'static str);

fn small(compression: Compression) -> ReadOptions {
    ReadOptions { compression, limits: SMALL, ..OPTIONS }
}

fn check(cases: &[Case], options: &ReadOptions) -> BTreeSet<u32> {
    for (number, name, bytes, expected) in cases {
        assert_eq!(outcome(bytes, options), *expected, "{number} {name}");
    }
    cases.iter().map(|(number, ..)| *number).collect()
}

fn after_ordinary(entries: &[RawEntry]) -> Vec<u8> {
    let mut all = ordinary();
    all.extend_from_slice(entries);
    tar(&all)
}

fn names() -> Vec<Case> {
    let case =
        |number, name, entries: &[RawEntry], expected| (number, name, after_ordinary(entries), expected);
    let deep = |components: usize| vec![b"d".as_slice(); components].join(&b'/');
    let component = |length: usize| long_name(&vec![b'x'; length]);
    let many: Vec<RawEntry> = (0..1001).map(|n| file(format!("{n}"), "")).collect();
    let wordy: Vec<RawEntry> = (0..400).map(|n| file(format!("{n:090}"), "")).collect();
    vec![
        case(1, "upwards", &[file("../x", "")], "Name Upwards"),
        case(1, "upwards in the middle", &[file("usr/../../etc/x", "")], "Name Upwards"),
        case(2, "absolute", &[file("/etc/passwd", "")], "Name Absolute"),
        case(3, "through a link", &[link(b'2', "e", "usr"), file("e/x", "")], "Name Below"),
        case(3, "through a file", &[file("usr/bin/hello/x", "")], "Name Below"),
        case(4, "link replaced by a file", &[file("usr/bin/sh", "")], "Duplicate"),
        case(4, "directory replaced by a link", &[link(b'2', "usr", "bin")], "Name Above"),
        case(4, "implied directory made a link", &[file("a/b", ""), link(b'2', "a", "usr")], "Name Above"),
        case(4, "file replaced by a directory", &[directory("usr/bin/hello")], "Duplicate"),
        case(5, "link to /etc/passwd", &[link(b'2', "l", "/etc/passwd")], "Name Outside"),
        case(5, "link upwards", &[link(b'2', "usr/l", "../../etc")], "Name Outside"),
        case(5, "link through a link", &[link(b'2', "usr/l", "bin/../../..")], "Name Outside"),
        case(5, "link to nothing", &[link(b'2', "l", "")], "Name Target"),
        case(6, "hard link outside", &[link(b'1', "h", "/etc/shadow")], "Name Absolute"),
        case(6, "hard link upwards", &[link(b'1', "h", "../etc/shadow")], "Name Upwards"),
        case(7, "hard link to a later file", &[link(b'1', "h", "z"), file("z", "")], "Name NotEarlier"),
        case(7, "hard link to a link", &[link(b'1', "h", "usr/bin/sh")], "Name NotEarlier"),
        case(7, "hard link to a directory", &[link(b'1', "h", "usr")], "Name NotEarlier"),
        case(7, "hard link to itself", &[link(b'1', "h", "h")], "Name NotEarlier"),
        case(8, "duplicate", &[file("usr/bin/hello", "evil")], "Duplicate"),
        case(8, "duplicate directory", &[directory("usr")], "Duplicate"),
        case(9, "names that differ by case", &[file("usr/bin/HELLO", "")], "accepted"),
        case(10, "set-user-id", &[RawEntry { mode: 0o7755, ..file("su", "") }], "accepted"),
        case(11, "character device", &[entry(b'3', "null")], "Kind"),
        case(11, "block device", &[entry(b'4', "sda")], "Kind"),
        case(12, "fifo", &[entry(b'6', "fifo")], "Kind"),
        case(13, "line feed", &[file("a\nb", "")], "accepted"),
        case(14, "not UTF-8", &[file(b"\xff", "")], "accepted"),
        case(15, "NUL in a name", &[file(b"a\0b", "")], "Name Nul"),
        case(15, "NUL in a target", &[link(b'2', "l", b"a\0b")], "Name Nul"),
        case(15, "NUL in a long name", &[long_name(b"a\0b"), file("x", "")], "Extended"),
        case(15, "NUL in a PAX path", &[pax(&record("path", "a\0b")), file("x", "")], "Extended"),
        case(16, "component of 255 bytes", &[component(255), file("x", "")], "accepted"),
        case(16, "component of 256 bytes", &[component(256), file("x", "")], "Name LongComponent"),
        case(16, "path of 4,096 bytes", &[long_name(&deep(2049)[1..]), file("x", "")], "Extended"),
        case(17, "256 deep", &[long_name(&deep(256)), file("x", "")], "accepted"),
        case(17, "257 deep", &[long_name(&deep(257)), file("x", "")], "Limit components of a path"),
        case(17, "100,000 deep", &[long_name(&deep(100_000)), file("x", "")], "Extended"),
        case(18, "too many entries", &many, "Limit entries"),
        case(18, "too many bytes of names", &wordy, "Limit bytes of names"),
    ]
}

fn headers() -> Vec<Case> {
    let case =
        |number, name, entries: &[RawEntry], expected| (number, name, after_ordinary(entries), expected);
    let patched = |at, bytes: &[u8]| file("x", "").patched(at, bytes);
    let with_pax = |records: &[u8]| [pax(records), file("x", "")];
    let xattr = |key: &str| with_pax(&record(key, "x"));
    let mut checksum = tar(&ordinary());
    checksum[5] ^= 1;
    vec![
        case(19, "size of 2^63", &[patched(124, b"\x80\0\0\0\x80\0\0\0\0\0\0\0")], "Number size"),
        case(
            19,
            "size of 2^63 - 1",
            &[patched(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")],
            "Limit bytes of content",
        ),
        case(19, "size beyond the end", &[patched(124, b"00000010000\0")], "Truncated"),
        case(20, "negative size", &[patched(124, &[0xff; 12])], "Number size"),
        case(20, "size in twelve bytes", &[patched(124, &[0x81; 12])], "Number size"),
        case(21, "octal junk", &[patched(124, b"0000000009x\0")], "Number size"),
        case(21, "junk after a number", &[patched(124, b"0 1\0\0\0\0\0\0\0\0\0")], "Number size"),
        case(21, "mode junk", &[patched(100, b"rwxr-xr\0")], "Number mode"),
        (22, "bad checksum", checksum, "Checksum"),
        case(26, "PAX size", &with_pax(&record("size", "5")), "Extended"),
        case(26, "PAX size of 2^64", &with_pax(&record("size", "18446744073709551616")), "Extended"),
        case(27, "PAX path", &with_pax(&record("path", "../../etc/x")), "Name Upwards"),
        case(
            27,
            "PAX link path",
            &[pax(&record("linkpath", "/etc")), link(b'2', "x", "usr")],
            "Name Outside",
        ),
        case(28, "record longer than it is", &with_pax(b"99 path=x\n"), "Extended"),
        case(28, "record shorter than it is", &with_pax(b"5 path=x\n"), "Extended"),
        case(28, "record of length 0", &with_pax(b"0 path=x\n"), "Extended"),
        case(28, "record of length 2^64", &with_pax(b"18446744073709551616 path=x\n"), "Extended"),
        case(28, "record without a key", &with_pax(b"5 pa\n"), "Extended"),
        case(29, "long name of 1 GiB", &[entry(b'L', "x").patched(124, b"10000000000\0")], "Extended"),
        case(29, "long target of 1 GiB", &[entry(b'K', "x").patched(124, b"10000000000\0")], "Extended"),
        case(29, "long name for nothing", &[long_name(b"x")], "Extended"),
        case(29, "two long names", &[long_name(b"x"), long_name(b"y"), file("z", "")], "Extended"),
        case(30, "global PAX header", &[entry(b'g', "g")], "Extended"),
        case(31, "sparse", &[entry(b'S', "s")], "Kind"),
        case(31, "PAX sparse", &with_pax(&record("GNU.sparse.map", "0,1,0,1")), "Extended"),
        case(32, "capability", &xattr("SCHILY.xattr.security.capability"), "Extended"),
        case(32, "user attribute", &xattr("SCHILY.xattr.user.x"), "Extended"),
        case(
            32,
            "records of 1 MiB",
            &with_pax(&record("SCHILY.xattr.user.x", &"x".repeat(1 << 20))),
            "Extended",
        ),
        case(32, "a key twice", &with_pax(&[record("path", "a"), record("path", "b")].concat()), "Extended"),
        case(
            32,
            "headers without end",
            &[pax(&record("mtime", "1")), pax(&record("mtime", "2")), file("x", "")],
            "Extended",
        ),
        case(33, "uid of 2^31", &[patched(108, b"\x80\0\0\0\x80\0\0\0")], "Number uid"),
        case(33, "gid of 2^63", &[patched(116, b"\xc0\0\0\0\0\0\0\0")], "Number gid"),
        case(33, "PAX uid of 2^31", &with_pax(&record("uid", "2147483648")), "Extended"),
        case(34, "mtime of 2^63", &[patched(136, b"\x80\0\0\0\x80\0\0\0\0\0\0\0")], "Number mtime"),
        case(34, "negative mtime", &[patched(136, &[0xff; 12])], "Number mtime"),
    ]
}

fn ends() -> Vec<Case> {
    let whole = tar(&ordinary());
    let open = open_tar(&ordinary());
    vec![
        (23, "truncated header", whole[..700].to_vec(), "Truncated"),
        (23, "truncated body", whole[..3 * 512 + 10].to_vec(), "Truncated"),
        (24, "nothing", vec![], "MissingEnd"),
        (24, "no end blocks", open.clone(), "MissingEnd"),
        (24, "one end block", [open.clone(), vec![0; 512]].concat(), "MissingEnd"),
        (25, "second archive", [whole.clone(), whole.clone()].concat(), "TrailingBytes"),
        (25, "half an end", [open, vec![0; 512], vec![1; 512]].concat(), "TrailingBytes"),
        (25, "one byte", [whole.clone(), vec![1]].concat(), "TrailingBytes"),
        (25, "zeros without end", [whole, vec![0; 1 << 20]].concat(), "TrailingBytes"),
    ]
}

#[test]
fn every_number_of_tar_meets_its_error() {
    let options = small(Compression::None);
    let numbers: BTreeSet<u32> =
        [names(), headers(), ends()].iter().flat_map(|cases| check(cases, &options)).collect();
    assert_eq!(numbers, (1..=34).collect(), "every number of the list has a case");
}

#[test]
fn forms_outside_of_the_list_are_refused_too() {
    let case = |name, entries: &[RawEntry], expected| (0, name, after_ordinary(entries), expected);
    let small_file = file("x", "");
    let with_mode = RawEntry { mode: 0o4644, ..link(b'1', "y", "x") };
    let given_away = link(b'1', "y", "x").patched(265, b"nobody\0");
    let pax_owner = [small_file.clone(), pax(&record("gname", "wheel")), link(b'1', "y", "x")];
    let cases = [
        case("empty component", &[file("a//x", "")], "Name EmptyComponent"),
        case("dot", &[file("a/./x", "")], "Name EmptyComponent"),
        case("no name", &[file("", "")], "Name EmptyComponent"),
        case("file with a slash", &[file("x/", "")], "Name Slash"),
        case("root that is a file", &[file(".", "")], "Name Root"),
        case("unknown type", &[entry(b'Z', "x")], "Kind"),
        case("directory with content", &[RawEntry { content: vec![1], ..directory("d") }], "Number size"),
        case("old magic", &[small_file.clone().patched(257, &[0; 8])], "Magic"),
        case("hard link that sets a bit", &[small_file.clone(), with_mode], "Name OtherAttributes"),
        case("hard link that gives away", &[small_file, given_away], "Name OtherAttributes"),
        case("PAX hard link that gives away", &pax_owner, "Name OtherAttributes"),
    ];
    check(&cases, &small(Compression::None));
}

#[test]
fn a_link_out_of_an_archive_is_kept_where_that_is_wanted() {
    let options = ReadOptions { links: Links::Any, ..OPTIONS };
    let absolute = link(b'2', "passwd", "/etc/passwd");
    assert_eq!(outcome(&after_ordinary(std::slice::from_ref(&absolute)), &options), "accepted");
    // Nothing is written through it all the same.
    assert_eq!(outcome(&after_ordinary(&[absolute, file("passwd/x", "")]), &options), "Name Below");
}

fn compressed() -> Vec<Case> {
    let good = zstd(&tar(&ordinary()));
    let zeros = tar(&[file("zeros", vec![0; 31 << 20])]);
    let bomb = zstd(&zeros);
    assert!(zeros.len() / bomb.len() > 1000);
    let mut window = good.clone();
    window.splice(4..6, [0x00, 0xa8]);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0].repeat(1000);
    // Single segment with a two-byte size, as the encoder writes it for some KiB.
    let mut lying = zstd::bulk::compress(&tar(&ordinary()), 1).unwrap();
    assert_eq!(lying[4] >> 5, 0b011);
    lying[5] ^= 1;
    let mut dictionary = good.clone();
    dictionary[4] |= 1;
    let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    std::io::Write::write_all(&mut encoder, &tar(&ordinary())).unwrap();
    let mut checksum = encoder.finish().unwrap();
    *checksum.last_mut().unwrap() ^= 1;
    vec![
        (40, "bomb", bomb.clone(), "Bomb"),
        (41, "bomb in a bomb", zstd(&bomb), "Checksum"),
        (42, "window of 2^31", window, "Window"),
        (43, "truncated", good[..good.len() - 5].to_vec(), "Truncated"),
        (43, "nothing but the magic", good[..4].to_vec(), "Truncated"),
        (44, "two frames", [good.clone(), good.clone()].concat(), "Trailing"),
        (45, "skippable frames first", [skippable.clone(), good.clone()].concat(), "Magic"),
        (45, "skippable frames last", [good.clone(), skippable].concat(), "Trailing"),
        (46, "one byte after the end", [good.clone(), vec![0]].concat(), "Trailing"),
        (47, "wrong content size", lying, "Damaged"),
        (48, "dictionary", dictionary, "Dictionary"),
        (49, "wrong checksum", checksum, "Damaged"),
        (50, "gzip", gzip(&tar(&ordinary())), "Magic"),
        (50, "xz", b"\xfd7zXZ\0".repeat(20), "Magic"),
        (50, "nothing", Vec::new(), "Magic"),
    ]
}

#[test]
fn every_number_of_compression_meets_its_error() {
    let numbers = check(&compressed(), &small(Compression::Zstd));
    assert_eq!(numbers, (40..=50).collect(), "every number of the list has a case");
}

#[test]
fn bare_zstd_meets_the_same_errors() {
    for (number, name, bytes, expected) in compressed() {
        let read = Decompressor::new(&bytes[..], Compression::Zstd, bytes.len() as u64, &SMALL)
            .and_then(Decompressor::finish);
        // What is inside is no concern of a decompressor: one level is one level.
        if number == 41 {
            assert!(read.unwrap() < 100_000);
            continue;
        }
        let error = read.err().unwrap_or_else(|| panic!("{number} {name} was accepted"));
        assert_eq!(kind(&error.into()), expected, "{number} {name}");
    }
}

#[test]
fn several_frames_are_no_way_around_the_limits() {
    let frame = zstd(&vec![0; 8 << 20]);
    let skippable = |length: u32| {
        [&[0x5f, 0x2a, 0x4d, 0x18][..], &length.to_le_bytes(), &vec![0; length as usize]].concat()
    };
    let good = zstd(&tar(&ordinary()));
    let mut window = good.clone();
    window.splice(4..6, [0x00, 0xa8]);
    let cases: Vec<Case> = vec![
        (40, "a bomb in parts", frame.repeat(3), "Bomb"),
        (42, "a window of 2^31 in the second", [good.clone(), window].concat(), "Window"),
        (43, "a truncated second", [&good[..], &good[..good.len() - 1]].concat(), "Truncated"),
        (43, "a truncated skippable frame", [&good[..], &skippable(9)[..12]].concat(), "Truncated"),
        (
            45,
            "skippable frames above 16 MiB",
            [good.clone(), skippable(9 << 20).repeat(2)].concat(),
            "Skipped",
        ),
        (45, "empty skippable frames", skippable(0).repeat((2 << 20) + 1), "Skipped"),
        (46, "junk after frames", [good.clone(), good.clone(), vec![0; 4]].concat(), "Trailing"),
    ];
    let limits = Limits { frames: Frames::Several, ..SMALL };
    for (number, name, bytes, expected) in cases {
        let read = Decompressor::new(&bytes[..], Compression::Zstd, bytes.len() as u64, &limits)
            .and_then(Decompressor::finish);
        let error = read.err().unwrap_or_else(|| panic!("{number} {name} was accepted"));
        assert_eq!(kind(&error.into()), expected, "{number} {name}");
    }
}

#[test]
fn gzip_meets_its_errors() {
    let good = gzip(&tar(&ordinary()));
    let mut checksum = good.clone();
    let at = checksum.len() - 6;
    checksum[at] ^= 1;
    // Only its highest level reaches the ratio.
    let mut best = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut best, &tar(&[file("zeros", vec![0; 31 << 20])])).unwrap();
    let cases = [
        (40, "bomb", best.finish().unwrap(), "Bomb"),
        (43, "truncated", good[..good.len() - 9].to_vec(), "Truncated"),
        (44, "two members", [good.clone(), good.clone()].concat(), "Trailing"),
        (46, "one byte after the end", [good, vec![1]].concat(), "Trailing"),
        (49, "wrong checksum", checksum, "Damaged"),
        (50, "zstd", zstd(&tar(&ordinary())), "Magic"),
    ];
    check(&cases, &small(Compression::Gzip));
}

#[test]
fn a_window_beyond_the_default_is_a_matter_of_the_limits() {
    let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(25).unwrap();
    std::io::Write::write_all(&mut encoder, &tar(&ordinary())).unwrap();
    let long = encoder.finish().unwrap();
    assert_eq!(outcome(&long, &small(Compression::Zstd)), "Window");
    let wide = ReadOptions { limits: Limits { window_log: 25, ..SMALL }, ..small(Compression::Zstd) };
    assert_eq!(outcome(&long, &wide), "accepted");
}
