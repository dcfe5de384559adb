//! The corpus of hostile packages: what is Gentoo's of it. Each case names the error it must meet; reading writes nothing anywhere, so
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
fn image(entries: &[RawEntry]) -> Vec<u8> {
    let mut all = ordinary_image();
    all.extend_from_slice(entries);
    Package::with_image(&all).bytes()
}

/// What any archive is refused for is in the tests of the store's `archive`; here, that it reaches whoever reads a
/// package, with the name of the member.
#[test]
fn what_no_archive_may_hold_is_refused_in_an_image_too() {
    let cases: Vec<(&str, Vec<RawEntry>, &str)> = vec![
        ("1 upwards", vec![file("image/../../etc/x", "")], "it leads upwards"),
        ("2 absolute", vec![file("/etc/passwd", "")], "it is absolute"),
        ("3 through a link", vec![link(b'2', "image/e", "/etc"), file("image/e/x", "")], "not a directory"),
        ("6 hard link outside", vec![link(b'1', "image/h", "/etc/shadow")], "it is absolute"),
        ("8 duplicate", vec![file("image/usr/bin/hello", "evil")], "occurs twice"),
        ("11 device", vec![entry(b'3', "image/null")], "a character device"),
        ("19 size", vec![file("image/x", "").patched(124, b"77777777777\0")], "inside an entry"),
        ("32 attribute", vec![pax(&record("SCHILY.xattr.user.x", "")), file("image/x", "")], "SCHILY.xattr"),
        (
            "hard link that makes its file set-user-id",
            vec![file("image/x", ""), RawEntry { mode: 0o4755, ..link(b'1', "image/y", "image/x") }],
            "with another mode or owner",
        ),
    ];
    for (name, entries, expected) in &cases {
        refused(name, &image(entries), "image.tar.zst is refused: ");
        refused(name, &image(entries), expected);
    }
}

#[test]
fn names_in_an_image() {
    let cases: Vec<(&str, Vec<RawEntry>, &str)> = vec![
        ("13 line feed", vec![file("image/a\nobj /etc/x", "")], "a line feed"),
        ("13 line feed in a target", vec![link(b'2', "image/l", "a\nb")], "its target is no line of UTF-8"),
        ("14 not UTF-8", vec![file(b"image/\xff", "")], "it is not UTF-8"),
        (
            "14 target that is not UTF-8",
            vec![link(b'2', "image/l", b"\xff")],
            "its target is no line of UTF-8",
        ),
        ("dot", vec![file("./image/x", "")], "empty component"),
        ("outside image/", vec![file("metadata/PF", "")], "outside image/"),
        ("beside image/", vec![file("imagery", "")], "outside image/"),
        ("hard link from outside", vec![file("x", ""), link(b'1', "image/h", "x")], "outside image/"),
        ("user", vec![file("image/x", "").patched(265, b"\xff\0")], "no proper name"),
    ];
    for (name, entries, expected) in &cases {
        refused(name, &image(entries), expected);
    }
    let replaced = Package::with_image(&[link(b'2', "image", "/etc")]).bytes();
    refused("image is a link", &replaced, "the image itself is not a directory");
}

#[test]
fn what_is_ordinary_stays_accepted() {
    let ordinary = [
        ("5 absolute link target", link(b'2', "image/etc-passwd", "/etc/passwd")),
        ("9 names that differ by case", file("image/usr/bin/HELLO", "")),
        ("10 set-user-id", RawEntry { mode: 0o4755, ..file("image/su", "") }),
        ("16 component of 255 bytes", directory("image/x")),
    ];
    for (name, entry) in ordinary {
        assert!(read(&image(&[entry]), &Limits::STANDARD).is_ok(), "{name}");
    }
}

#[test]
fn ends_and_limits() {
    let container = Package::ordinary();
    refused("22 checksum", &[b"x", &container.bytes()[1..]].concat(), "wrong checksum");
    refused("24 container", &open_tar(&container.entries()), "lacks its two end blocks");
    refused("25 container", &[container.bytes(), container.bytes()].concat(), "after the end");
    refused("25 zeros without end", &[container.bytes(), vec![0; 1 << 20]].concat(), "after the end");
    let open = Package::with_image_member("image.tar.zst", zstd(&open_tar(&ordinary_image())));
    refused("24 image", &open.bytes(), "image.tar.zst is refused: the archive lacks its two end blocks");
    let long: Vec<RawEntry> = (0..2000).map(|n| file(format!("image/{n}"), "")).collect();
    let few = Limits { image_entries: 1000, ..Limits::STANDARD };
    let error = read(&image(&long), &few).unwrap_err();
    assert!(text(&error).contains("entries above the limit of 1000"), "18: {}", text(&error));
    let short = Limits { image_names: 1000, ..Limits::STANDARD };
    assert!(text(&read(&image(&long), &short).unwrap_err()).contains("bytes of names"));
    let tiny = Limits { image: 1000, ..Limits::STANDARD };
    assert!(text(&read(&image(&[]), &tiny).unwrap_err()).contains("expands beyond 1000 bytes"));
}

#[test]
fn structure_of_a_container() {
    let changed = |change: &dyn Fn(&mut Vec<RawEntry>)| {
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
    let bomb = zstd(&tar(&[directory("image"), file("image/zeros", vec![0; 64 << 20])]));
    refused("40 bomb", &zst(bomb), "image.tar.zst expands beyond 16777216 bytes");
    let mut window = good.clone();
    window.splice(4..6, [0x00, 0xa8]);
    refused("42 window", &zst(window), "asks for a window of 2147483648 bytes, above 134217728");
    refused("43 truncated", &zst(good[..good.len() - 5].to_vec()), "image.tar.zst is truncated");
    refused("44 two frames", &zst([good.clone(), good.clone()].concat()), "bytes after its end");
    let trailing = [gzip(&tar(&ordinary_image())), vec![1]].concat();
    refused("46 gzip", &member("image.tar.gz", trailing), "image.tar.gz has bytes after its end");
    refused("50 gzip as zst", &zst(gzip(&tar(&ordinary_image()))), "is not zstd data");
    refused("50 zst as gzip", &member("image.tar.gz", good.clone()), "is not gzip data");
    let xz = "image.tar.xz is compressed with xz, which is not supported: set BINPKG_COMPRESS=\"zstd\"";
    refused("xz", &member("image.tar.xz", good.clone()), xz);
    refused("bzip2", &member("image.tar.bz2", good), "with bz2, which is not supported");
}

/// `zstd --ultra -22`, which people do configure, takes a window of 128 MiB.
#[test]
fn the_largest_window_of_the_zstd_program_is_read() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, &tar(&ordinary_image())).unwrap();
    let package = Package::with_image_member("image.tar.zst", encoder.finish().unwrap());
    read(&package.bytes(), &Limits::STANDARD).unwrap();
}

#[test]
fn metadata_archives() {
    let with = |entries: &[RawEntry]| Package::with_metadata(zstd(&tar(entries))).bytes();
    refused("directory", &with(&[directory("metadata/")]), "not a regular file");
    refused("link", &with(&[link(b'2', "metadata/PF", "/etc/passwd")]), "not a regular file");
    refused("elsewhere", &with(&[file("image/x", "")]), "metadata is named metadata/KEY");
    refused("deeper", &with(&[file("metadata/a/b", "")]), "metadata is named metadata/KEY");
    refused("upwards", &with(&[file("metadata/../x", "")]), "it leads upwards");
    refused("duplicate", &with(&[file("metadata/PF", "a"), file("metadata/PF", "b")]), "occurs twice");
    let many: Vec<RawEntry> = (0..1001).map(|n| file(format!("metadata/K{n}"), "")).collect();
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
