//! The corpus of hostile packages. Each case names the error it must meet; reading writes nothing anywhere, so
//! there is nothing to clean up, and memory is bounded by what [`Limits`] allows.

use std::error::Error as _;

use super::*;

/// The whole chain of an error's texts.
fn text(error: &GpkgError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn refused(name: &str, bytes: &[u8], expected: &str) {
    let started = std::time::Instant::now();
    let error = read(bytes, &Limits::STANDARD).err();
    let error = error.unwrap_or_else(|| panic!("{name} was accepted"));
    let text = text(&error);
    assert!(text.contains(expected), "{name}: {text:?} does not say {expected:?}");
    assert!(started.elapsed().as_secs() < 20, "{name} took {:?}", started.elapsed());
}

/// An image that begins as usual and goes on with `entries`.
fn image(entries: &[Entry]) -> Vec<u8> {
    let mut all = ordinary_image();
    all.extend_from_slice(entries);
    Package::with_image(&all).bytes()
}

fn pax(records: &[u8]) -> Entry {
    Entry { content: records.to_vec(), ..entry(b'x', "image/pax") }
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while format!("{length}{rest}").len() != length {
        length = format!("{length}{rest}").len();
    }
    format!("{length}{rest}").into_bytes()
}

#[test]
fn names_in_an_image() {
    let long_name = |name: &[u8]| Entry { content: [name, b"\0"].concat(), ..entry(b'L', "././@LongLink") };
    let deep = format!("image{}", "/d".repeat(3000));
    let cases: Vec<(&str, Vec<Entry>, &str)> = vec![
        ("1 upwards", vec![file("image/../../etc/x", "")], "it leads upwards"),
        ("1 outside", vec![file("../x", "")], "it leads upwards"),
        ("2 absolute", vec![file("/etc/passwd", "")], "it is absolute"),
        (
            "3 through a link",
            vec![link(b'2', "image/e", "/etc"), file("image/e/x", "")],
            "below something that is not a directory",
        ),
        ("4 link replaced by file", vec![link(b'2', "image/e", "/etc"), file("image/e", "")], "occurs twice"),
        (
            "4 directory made a link",
            vec![directory("image/a/b"), link(b'2', "image/a", "/etc")],
            "yet there is something below it",
        ),
        ("6 hard link outside", vec![link(b'1', "image/h", "/etc/shadow")], "it is absolute"),
        ("6 hard link upwards", vec![link(b'1', "image/h", "image/../../etc/shadow")], "it leads upwards"),
        (
            "7 hard link to a later file",
            vec![link(b'1', "image/h", "image/z"), file("image/z", "")],
            "not an earlier file",
        ),
        ("7 hard link to a link", vec![link(b'1', "image/h", "image/usr/bin/sh")], "not an earlier file"),
        ("8 duplicate", vec![file("image/usr/bin/hello", "evil")], "occurs twice"),
        ("11 character device", vec![entry(b'3', "image/null")], "a character device"),
        ("11 block device", vec![entry(b'4', "image/sda")], "a block device"),
        ("12 fifo", vec![entry(b'6', "image/fifo")], "a fifo"),
        ("13 line feed", vec![file("image/a\nobj /etc/x", "")], "a line feed"),
        ("14 not UTF-8", vec![file(b"image/\xff", "")], "it is not UTF-8"),
        ("15 NUL in a name", vec![file(b"image/a\0b", "")], "contains a NUL"),
        ("15 NUL in a target", vec![link(b'2', "image/l", b"a\0b")], "contains a NUL"),
        ("15 NUL in a long name", vec![long_name(b"image/a\0b"), file("x", "")], "contains a NUL"),
        (
            "16 long component",
            vec![long_name(&[b"image/".as_slice(), &[b'x'; 256]].concat()), file("x", "")],
            "longer than 255",
        ),
        ("17 deep", vec![long_name(deep.as_bytes()), file("x", "")], "too long"),
        (
            "29 long name of 1 GiB",
            vec![entry(b'L', "x").patched(124, b"10000000000\0")],
            "larger than 16 KiB",
        ),
        ("empty component", vec![file("image//x", "")], "empty component"),
        ("dot", vec![file("image/./x", "")], "empty component"),
        ("outside image/", vec![file("metadata/PF", "")], "outside image/"),
        ("file with a slash", vec![file("image/x/", "")], "ends in a slash"),
        ("empty target", vec![link(b'2', "image/l", "")], "its target is empty"),
    ];
    for (name, entries, expected) in &cases {
        refused(name, &image(entries), expected);
    }
    refused(
        "image is a link",
        &Package::with_image(&[link(b'2', "image", "/etc")]).bytes(),
        "the image itself is not a directory",
    );
}

#[test]
fn what_is_ordinary_stays_accepted() {
    let ordinary = [
        ("5 absolute link target", link(b'2', "image/etc-passwd", "/etc/passwd")),
        ("9 names that differ by case", file("image/usr/bin/HELLO", "")),
        ("10 set-user-id", Entry { mode: 0o4755, ..file("image/su", "") }),
        ("16 component of 255 bytes", directory("image/x")),
    ];
    for (name, entry) in ordinary {
        assert!(read(&image(&[entry]), &Limits::STANDARD).is_ok(), "{name}");
    }
}

#[test]
fn headers_of_an_image() {
    let cases: Vec<(&str, Vec<Entry>, &str)> = vec![
        (
            "19 size of 2^63",
            vec![file("image/x", "").patched(124, b"\x80\0\0\0\x80\0\0\0\0\0\0\0")],
            "number in its field size",
        ),
        (
            "19 size beyond the end",
            vec![file("image/x", "").patched(124, b"77777777777\0")],
            "inside an entry",
        ),
        ("20 negative size", vec![file("image/x", "").patched(124, &[0xff; 12])], "number in its field size"),
        (
            "21 octal junk",
            vec![file("image/x", "").patched(124, b"0000000009x\0")],
            "number in its field size",
        ),
        ("21 mode junk", vec![file("image/x", "").patched(100, b"rwxr-xr\0")], "number in its field mode"),
        ("26 PAX size", vec![pax(&record("size", "5")), file("image/x", "")], "contradicts"),
        ("27 PAX path", vec![pax(&record("path", "../../etc/x")), file("image/x", "")], "it leads upwards"),
        ("28 PAX length", vec![pax(b"99 path=x\n"), file("image/x", "")], "a record is malformed"),
        ("28 PAX length 0", vec![pax(b"0 path=x\n"), file("image/x", "")], "a record is malformed"),
        (
            "35 hard link that makes its file set-user-id",
            vec![file("image/x", ""), Entry { mode: 0o4755, ..link(b'1', "image/y", "image/x") }],
            "with another mode or owner",
        ),
        (
            "35 hard link that gives its file away",
            vec![file("image/x", ""), link(b'1', "image/y", "image/x").patched(265, b"nobody\0")],
            "with another mode or owner",
        ),
        (
            "35 PAX hard link that gives its file away",
            vec![file("image/x", ""), pax(&record("gname", "wheel")), link(b'1', "image/y", "image/x")],
            "with another mode or owner",
        ),
        ("36 user", vec![file("image/x", "").patched(265, b"\xff\0")], "no proper name"),
        ("30 global PAX", vec![entry(b'g', "image/g")], "it is global"),
        ("31 sparse", vec![entry(b'S', "image/s")], "a sparse file"),
        (
            "31 PAX sparse",
            vec![pax(&record("GNU.sparse.map", "0,1,0,1")), file("image/x", "")],
            "GNU.sparse.map",
        ),
        (
            "32 capability",
            vec![pax(&record("SCHILY.xattr.security.capability", "x")), file("image/x", "")],
            "SCHILY.xattr",
        ),
        (
            "32 twice",
            vec![pax(&[record("path", "image/a"), record("path", "image/b")].concat()), file("image/x", "")],
            "comes twice",
        ),
        (
            "33 uid of 2^31",
            vec![file("image/x", "").patched(108, b"\x80\0\0\0\x80\0\0\0")],
            "number in its field uid",
        ),
        ("33 PAX uid", vec![pax(&record("uid", "2147483648")), file("image/x", "")], "an id is out of range"),
        (
            "34 mtime of 2^63",
            vec![file("image/x", "").patched(136, b"\x80\0\0\0\x7f\0\0\0\0\0\0\0")],
            "number in its field mtime",
        ),
        (
            "34 negative mtime",
            vec![file("image/x", "").patched(136, &[0xff; 12])],
            "number in its field mtime",
        ),
        ("unknown type", vec![entry(b'Z', "image/x")], "unknown type"),
        (
            "directory with content",
            vec![Entry { content: vec![1], ..directory("image/d") }],
            "number in its field size",
        ),
        ("old magic", vec![file("image/x", "").patched(257, &[0; 8])], "not a ustar header"),
    ];
    for (name, entries, expected) in &cases {
        refused(name, &image(entries), expected);
    }
    let mut wrong = tar(&ordinary_image());
    wrong[5] ^= 1;
    refused("22 checksum", &Package::with_image_member("image.tar", wrong).bytes(), "wrong checksum");
}

#[test]
fn ends_of_archives() {
    let whole = tar(&ordinary_image());
    let member = |bytes: Vec<u8>| Package::with_image_member("image.tar.zst", zstd(&bytes)).bytes();
    let open = open_tar(&ordinary_image());
    refused("23 truncated header", &member(whole[..700].to_vec()), "inside an entry");
    refused("23 truncated body", &member(whole[..4 * 512 + 10].to_vec()), "inside an entry");
    refused("24 no end blocks", &member(open.clone()), "lacks its two end blocks");
    refused("24 one end block", &member([open.clone(), vec![0; 512]].concat()), "lacks its two end blocks");
    refused("25 second archive", &member([whole.clone(), whole.clone()].concat()), "after the end");
    refused("25 half an end", &member([open, vec![0; 512], vec![1; 512]].concat()), "after the end");
    let container = Package::ordinary();
    refused("25 container", &[container.bytes(), container.bytes()].concat(), "after the end");
    refused("24 container", &open_tar(&container.entries()), "lacks its two end blocks");
    refused("endless zeros", &[container.bytes(), vec![0; 1 << 20]].concat(), "after the end");
    let long: Vec<Entry> = (0..2000).map(|n| file(format!("image/{n}"), "")).collect();
    let few = Limits { image_entries: 1000, ..Limits::STANDARD };
    let error = read(&image(&long), &few).unwrap_err();
    assert!(text(&error).contains("entries above the limit of 1000"), "18: {}", text(&error));
    let short = Limits { image_names: 1000, ..Limits::STANDARD };
    assert!(text(&read(&image(&long), &short).unwrap_err()).contains("bytes of names"));
}

#[test]
fn structure_of_a_container() {
    let changed = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = Package::ordinary().entries();
        change(&mut entries);
        tar(&entries)
    };
    let listed = |name: &str, bytes: &[u8]| {
        let mut package = Package::ordinary();
        package.members.push((name.to_owned(), bytes.to_vec()));
        package.bytes()
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("35 no Manifest", changed(&|e| drop(e.pop())), "Manifest: it is missing"),
        ("35 extra member", listed("evil", b""), "evil: it has no place"),
        (
            "35 unlisted",
            changed(&|e| e.insert(2, file("hello-1.0-3/metadata.tar.zst.sig", ""))),
            "signatures are missing",
        ),
        ("35 duplicate Manifest", changed(&|e| e.push(e[3].clone())), "it occurs twice"),
        ("35 wrong hash", changed(&|e| e[2].content[20] ^= 1), "image.tar.zst has another SHA512"),
        ("35 wrong size", changed(&|e| e[2].content.push(0)), "image.tar.zst has another size"),
        ("36 reordered", changed(&|e| e.swap(1, 2)), "it is out of order"),
        ("36 identifier last", changed(&|e| e.rotate_left(1)), "it is out of order"),
        ("no identifier", changed(&|e| drop(e.remove(0))), "gpkg-1: it is missing"),
        ("no image", changed(&|e| drop(e.remove(2))), "image.tar: it is missing"),
        (
            "38 two metadata",
            changed(&|e| e.insert(2, file("hello-1.0-3/metadata.tar.gz", ""))),
            "it occurs twice",
        ),
        (
            "another directory",
            changed(&|e| e[2].name = b"other/image.tar.zst".to_vec()),
            "in another directory",
        ),
        ("no directory", changed(&|e| e[0].name = b"gpkg-1".to_vec()), "not inside the package's directory"),
        ("deeper", changed(&|e| e[0].name = b"a/b/gpkg-1".to_vec()), "not inside the package's directory"),
        ("upwards", changed(&|e| e[0].name = b"../gpkg-1".to_vec()), "not inside the package's directory"),
        (
            "a link",
            changed(&|e| e[0] = link(b'2', "hello-1.0-3/gpkg-1", "/etc/passwd")),
            "not a regular file",
        ),
        ("identifier with content", changed(&|e| e[0].content = vec![0]), "larger than allowed"),
        ("39 bzip2 xpak", b"BZh91AY&SY....XPAKSTOP".to_vec(), "it is an xpak package"),
        ("39 zstd xpak", zstd(b"x"), "it is an xpak package"),
        ("empty", Vec::new(), "the file is empty"),
        ("text", b"hello".repeat(300), "wrong checksum"),
    ];
    for (name, bytes, expected) in &cases {
        refused(name, bytes, expected);
    }
}

#[test]
fn manifests() {
    let with = |text: &str| {
        let mut entries = Package::ordinary().entries();
        entries[3].content = text.as_bytes().to_vec();
        tar(&entries)
    };
    let good = Package::ordinary().manifest();
    let first = good.lines().next().unwrap();
    let cases = [
        ("not DATA", good.replacen("DATA", "DIST", 1), "does not begin with DATA"),
        ("duplicate", format!("{good}{first}\n"), "a second time"),
        ("negative size", good.replacen("gpkg-1 0", "gpkg-1 -1", 1), "size is not a number"),
        ("one digest only", good.replacen("BLAKE2B", "MD5", 1), "a digest other than"),
        ("malformed digest", good.replacen("BLAKE2B ", "BLAKE2B z", 1), "a digest is malformed"),
        ("no digest", "DATA gpkg-1 0\n".to_owned(), "lacks SHA512 or BLAKE2B"),
        (
            "unlisted member",
            good.lines().skip(1).map(|line| format!("{line}\n")).collect(),
            "does not list it",
        ),
        ("missing member", good.clone() + &first.replace("gpkg-1", "other"), "lists it but it is missing"),
        ("cut signature", format!("-----BEGIN PGP SIGNED MESSAGE-----\n{good}"), "signatures are missing"),
    ];
    for (name, text, expected) in &cases {
        refused(name, &with(text), expected);
    }
}

#[test]
fn compression() {
    let member = |name: &str, bytes: Vec<u8>| Package::with_image_member(name, bytes).bytes();
    let zst = |bytes: Vec<u8>| member("image.tar.zst", bytes);
    let good = zstd(&tar(&ordinary_image()));
    let zeros = vec![0; 64 << 20];
    let large = tar(&[directory("image"), file("image/zeros", &zeros)]);
    let bomb = zstd(&large);
    assert!(zeros.len() / bomb.len() > 1000);
    refused("40 bomb", &zst(bomb), "expands beyond 16777216 bytes");
    refused("41 nested", &zst(zstd(&good)), "inside an entry");
    let mut window = good.clone();
    window.splice(4..6, [0x00, 0xa8]);
    refused("42 window", &zst(window), "asks for a window of 2147483648 bytes");
    refused("43 truncated", &zst(good[..good.len() - 5].to_vec()), "image.tar.zst is truncated");
    refused("44 two frames", &zst([good.clone(), good.clone()].concat()), "bytes after its end");
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0].repeat(1000);
    refused("45 skippable frames", &zst([skippable.clone(), good.clone()].concat()), "is not zstd data");
    refused("45 after the frame", &zst([good.clone(), skippable].concat()), "bytes after its end");
    refused("46 trailing", &zst([good.clone(), vec![0]].concat()), "bytes after its end");
    refused(
        "46 gzip",
        &member("image.tar.gz", [gzip(&tar(&ordinary_image())), vec![1]].concat()),
        "after its end",
    );
    let mut dictionary = good.clone();
    dictionary[4] |= 1;
    refused("48 dictionary", &zst(dictionary), "needs a zstd dictionary");
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    refused("49 damaged", &zst(damaged), "image.tar.zst");
    refused("50 gzip as zst", &zst(gzip(&tar(&ordinary_image()))), "is not zstd data");
    refused("50 zst as gzip", &member("image.tar.gz", good.clone()), "is not gzip data");
    refused(
        "xz",
        &member("image.tar.xz", good.clone()),
        "with xz, which is not supported: set BINPKG_COMPRESS=\"zstd\"",
    );
    refused("bzip2", &member("image.tar.bz2", good), "with bz2, which is not supported");
    refused("nothing", &zst(Vec::new()), "is not zstd data");
}

#[test]
fn content_size_lies() {
    let mut encoder = zstd::bulk::Compressor::new(1).unwrap();
    let mut lying = encoder.compress(&tar(&ordinary_image())).unwrap();
    // Single segment with a two-byte size, as the encoder writes it for 4 KiB.
    assert_eq!(lying[4] >> 5, 0b011);
    lying[5] ^= 1;
    let bytes = Package::with_image_member("image.tar.zst", lying).bytes();
    refused("47 wrong content size", &bytes, "image.tar.zst is damaged");
}

#[test]
fn metadata_archives() {
    let with = |entries: &[Entry]| Package::with_metadata(zstd(&tar(entries))).bytes();
    refused("directory", &with(&[directory("metadata/")]), "not a regular file");
    refused("link", &with(&[link(b'2', "metadata/PF", "/etc/passwd")]), "not a regular file");
    refused("elsewhere", &with(&[file("image/x", "")]), "metadata is named metadata/KEY");
    refused("deeper", &with(&[file("metadata/a/b", "")]), "metadata is named metadata/KEY");
    refused("upwards", &with(&[file("metadata/../x", "")]), "it leads upwards");
    refused("duplicate", &with(&[file("metadata/PF", "a"), file("metadata/PF", "b")]), "occurs twice");
    let many: Vec<Entry> = (0..1001).map(|n| file(format!("metadata/K{n}"), "")).collect();
    refused("too many", &with(&many), "entries above the limit of 1000");
    let noise: Vec<u8> = (0u32..50_000).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
    let small = Limits { metadata: 100_000, ..Limits::STANDARD };
    let error =
        read(&with(&[file("metadata/X", &noise[..90_000]), file("metadata/Y", &noise[..20_000])]), &small);
    assert!(matches!(error.unwrap_err(), GpkgError::Structure { .. } | GpkgError::Member { .. }));
    refused(
        "REQUIRES of two lines",
        &Package::with_metadata(metadata(&[("REQUIRES", "a: b\nc")])).bytes(),
        "more than one line",
    );
}
