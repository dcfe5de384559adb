//! Each kind of difference between two packages, none, and contents made to mislead.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

fn compared(before: &Package, after: &Package) -> Vec<PayloadDifference> {
    let (before, after) = (before.bytes(), after.bytes());
    let found = compare(Cursor::new(&before), Cursor::new(&after), &Limits::STANDARD).unwrap();
    let digest = |bytes: &[u8]| read(bytes, &Limits::STANDARD).unwrap().1.digest;
    assert_eq!(found.is_empty(), digest(&before) == digest(&after), "{found:?}");
    found
}

fn said(before: &Package, after: &Package) -> Vec<String> {
    compared(before, after).iter().map(ToString::to_string).collect()
}

/// What is said of an ordinary package and one with this change to its image.
fn after_change(change: impl FnOnce(&mut Vec<RawEntry>)) -> Vec<String> {
    let mut image = ordinary_image();
    change(&mut image);
    said(&Package::ordinary(), &Package::with_image(&image))
}

/// What is said of two contents of a file.
fn of_contents(before: impl AsRef<[u8]>, after: impl AsRef<[u8]>) -> String {
    let with = |content: &[u8]| Package::with_image(&[directory("image/"), file("image/f", content)]);
    let found = said(&with(before.as_ref()), &with(after.as_ref()));
    let [one] = found.as_slice() else { panic!("{found:?}") };
    one.strip_prefix("f: ").unwrap().to_owned()
}

#[test]
fn equal_payloads_have_no_difference_whatever_else_differs() {
    assert_eq!(said(&Package::ordinary(), &Package::ordinary()), [""; 0]);
    let mut other = ordinary_image();
    other.iter_mut().for_each(|entry| entry.patch.push((136, b"00000007777\0".to_vec())));
    other[3] = file("image/usr/bin/hi", "#!/bin/sh\necho hello\n");
    other[4] = link(b'1', "image/usr/bin/hello", "image/usr/bin/hi");
    let mut other = Package::with_image_member("image.tar.gz", gzip(&tar(&other)));
    other.members[1].1 =
        metadata(&METADATA.map(|(key, value)| if key == "BUILD_TIME" { (key, "1\n") } else { (key, value) }));
    assert_eq!(said(&Package::ordinary(), &other), [""; 0]);
}

#[test]
fn every_kind_of_difference_is_named() {
    let hello = "usr/bin/hello";
    assert_eq!(after_change(|e| e.push(directory("image/var"))), ["var: directory added"]);
    assert_eq!(after_change(|e| drop(e.remove(5))), ["usr/bin/sh: symlink removed"]);
    assert_eq!(after_change(|e| e[5] = file("image/usr/bin/sh", "")), ["usr/bin/sh: symlink → file"]);
    let both = |change: fn(&mut RawEntry)| after_change(|e| e[3..5].iter_mut().for_each(change));
    assert_eq!(both(|e| e.mode = 0o4755), [format!("{hello}: mode 0644 → 4755")]);
    assert_eq!(
        both(|e| e.patch.push((116, b"0000144\0".to_vec()))),
        [format!("{hello}: owner (0):(0) → (0):(100)")]
    );
    assert_eq!(
        both(|e| e.patch.push((265, b"nobody\0".to_vec()))),
        [format!("{hello}: owner (0):(0) → nobody(0):(0)")]
    );
    assert_eq!(
        after_change(|e| e[5].link = b"/bin/bash".to_vec()),
        ["usr/bin/sh: target /bin/sh → /bin/bash"]
    );
    assert_eq!(after_change(|e| e[3].content[12] = b'E'), [format!("{hello}: differs from line 2 on")]);
    assert_eq!(after_change(|e| drop(e.remove(4))), ["usr/bin/hi: hardlink removed"]);
}

#[test]
fn a_file_is_found_by_whichever_of_its_names_the_archive_stores() {
    let swapped = after_change(|e| {
        e[3] = file("image/usr/bin/hi", "#!/bin/sh\necho Hello\n");
        e[4] = link(b'1', "image/usr/bin/hello", "image/usr/bin/hi");
    });
    assert_eq!(swapped, ["usr/bin/hello: differs from line 2 on"]);
}

#[test]
fn metadata_is_shown_around_its_first_difference() {
    let with = |pairs: &[(&str, &str)]| Package::with_metadata(metadata(pairs));
    let (long, other) = ("x".repeat(300) + "A", "x".repeat(300) + "B");
    let found = said(
        &with(&[("A", &long), ("SLOT", "0/1\n"), ("USE", "nls")]),
        &with(&[("A", &other), ("KEYWORDS", "amd64"), ("SLOT", "0/2\n")]),
    );
    let lead = "x".repeat(30);
    assert_eq!(
        found,
        [
            format!("metadata A {:?} → {:?}", format!("…{lead}A"), format!("…{lead}B")),
            "metadata KEYWORDS added (\"amd64\")".to_owned(),
            "metadata SLOT \"0/1\\n\" → \"0/2\\n\"".to_owned(),
            "metadata USE removed (\"nls\")".to_owned(),
        ]
    );
    assert_eq!(said(&with(&[("BUILD_ID", "1")]), &with(&[("BUILD_ID", "2")])), [""; 0]);
}

/// The least that is an ELF file (ELF-64, gABI): these sections, a table of their names, and the headers.
fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut names = vec![0];
    let mut out = vec![0; 64];
    let mut headers = vec![0; 64];
    let names_at = |names: &mut Vec<u8>, name: &str| {
        let at = u32::try_from(names.len()).unwrap();
        names.extend_from_slice(name.as_bytes());
        names.push(0);
        at
    };
    let mut header = |name: u32, kind: u32, offset: usize, size: usize| {
        let mut header = [0u8; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        headers.extend_from_slice(&header);
    };
    for (name, data) in sections {
        header(names_at(&mut names, name), 1, out.len(), data.len());
        out.extend_from_slice(data);
    }
    let name = names_at(&mut names, ".shstrtab");
    header(name, 3, out.len(), names.len());
    out.extend_from_slice(&names);
    let at = out.len() as u64;
    let count = u16::try_from(sections.len() + 2).unwrap();
    out[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
    out[20] = 1;
    out[40..48].copy_from_slice(&at.to_le_bytes());
    out[52..54].copy_from_slice(&64u16.to_le_bytes());
    out[58..60].copy_from_slice(&64u16.to_le_bytes());
    out[60..62].copy_from_slice(&count.to_le_bytes());
    out[62..64].copy_from_slice(&(count - 1).to_le_bytes());
    out.extend_from_slice(&headers);
    out
}

#[test]
fn sections_of_an_elf_file_are_named() {
    let before = elf(&[(".note.gnu.build-id", b"1"), (".text", b"code"), (".rodata", b"text")]);
    let with = |id: &[u8], text: &[u8], data: &[u8]| {
        elf(&[(".note.gnu.build-id", id), (".text", text), (".rodata", data)])
    };
    assert_eq!(of_contents(&before, with(b"2", b"code", b"text")), ".note.gnu.build-id only");
    assert_eq!(of_contents(&before, with(b"1", b"longer", b"TEXT")), ".text, .rodata differ");
    let more =
        elf(&[(".note.gnu.build-id", b"1"), (".text", b"code"), (".rodata", b"text"), (".text", b"x")]);
    assert_eq!(of_contents(&before, more), ".shstrtab, .text differ");
    // Sections that lie over each other would take forever, in numbers.
    let mut heaped = before.clone();
    let headers = heaped.len() - 4 * 64;
    for at in [headers, headers + 64, headers + 128] {
        heaped[at + 24..at + 32].fill(0);
        heaped[at + 32..at + 40].copy_from_slice(&(before.len() as u64).to_le_bytes());
    }
    assert!(of_contents(&before, heaped).starts_with("differs from byte"));
    let mut entry = before.clone();
    entry[24] = 1;
    assert_eq!(of_contents(&before, entry), "headers only");
    assert_eq!(of_contents(&before, "a script"), "differs from byte 0 on");
}

/// A static library of members with this name and content, all with one time.
fn library(time: u32, members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, data) in members {
        let line = format!("{name:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 644, data.len());
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(data);
        if data.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

#[test]
fn members_of_a_library_are_named() {
    let members: [(&str, &[u8]); 4] =
        [("/", b"index"), ("//", b"a_name_of_some_length.o/\n"), ("a.o/", b"aaa"), ("/0", b"long")];
    let changed = |at: usize, data: &'static [u8]| {
        let mut members = members;
        members[at].1 = data;
        library(0, &members)
    };
    let before = library(0, &members);
    assert_eq!(of_contents(&before, changed(2, b"AAA")), "a.o only");
    assert_eq!(of_contents(&before, changed(3, b"longer")), "a_name_of_some_length.o only");
    assert_eq!(of_contents(&before, changed(0, b"INDEX")), "symbol index only");
    assert_eq!(of_contents(&before, library(7, &members)), "headers only");
    let torn = of_contents(&before, &before[..before.len() - 1]);
    assert!(torn.starts_with("differs from line"), "{torn}");
}

#[test]
fn what_only_differs_in_a_header_is_told_from_content() {
    let packed = gzip(b"first\nsecond\n");
    let mut later = packed.clone();
    later[4] = 1;
    assert_eq!(of_contents(&packed, &later), "gzip: time only");
    assert_eq!(of_contents(&packed, gzip(b"first\nSecond\n")), "unpacked, differs from line 2 on");
    let mut best = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut best, b"first\nsecond\n").unwrap();
    let best = best.finish().unwrap();
    assert!(of_contents(&packed, best).contains("compression"));
    let mut named = packed.clone();
    named[3] = 8;
    named.splice(10..10, *b"a.txt\0");
    assert_eq!(of_contents(&packed, named), "gzip: flags, name differ");

    let python = b"\xa7\r\r\n\0\0\0\0TIMESIZEcode\0".to_vec();
    let changed = |at: usize| {
        let mut bytes = python.clone();
        bytes[at] ^= 1;
        of_contents(&python, bytes)
    };
    assert_eq!(changed(9), "Python: time of the source only");
    assert_eq!(changed(17), "Python: code only");
    assert_eq!(changed(2), "differs from byte 2 on");
}

#[test]
fn what_goes_to_a_terminal_has_no_control_characters() {
    let found = after_change(|e| e.push(file("image/\u{1b}[2J", "")));
    assert_eq!(found, ["\\u{1b}[2J: file added"]);
}

#[test]
fn a_package_that_cannot_be_read_is_named() {
    let sound = Package::ordinary().bytes();
    let refused = |before: &[u8], after: &[u8]| {
        compare(Cursor::new(before), Cursor::new(after), &Limits::STANDARD).unwrap_err().to_string()
    };
    assert_eq!(refused(&sound[..600], &sound), "the first of the two packages");
    assert_eq!(refused(&sound, &sound[..600]), "the second of the two packages");
}

#[test]
fn programs_get_every_field() {
    let mut image = ordinary_image();
    image[3].content[0] = b'%';
    let found = compared(&Package::ordinary(), &Package::with_image(&image));
    assert_eq!(
        serde_json::to_value(found).unwrap(),
        serde_json::json!([{
            "what": "content", "path": "usr/bin/hello", "before": 21, "after": 21,
            "at": {"format": "text", "unpacked": false, "parts": ["line 1"]},
        }])
    );
}

fn beginnings() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![
        elf(&[(".text", b"code"), (".data", b"data")]),
        library(0, &[("//", b"long_name_of_it.o/\n"), ("/0", b"content")]),
        gzip(b"text"),
        b"\xa7\r\r\n\0\0\0\0TIMESIZEcode\0".to_vec(),
        b"text\n".to_vec(),
        Vec::new(),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is done to a file of a known format, the comparison ends and names that file.
    #[test]
    fn a_damaged_file_is_compared(
        good in beginnings(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bad = good.clone();
        bad.extend_from_slice(&tail);
        for (at, byte) in changes {
            if !bad.is_empty() {
                let at = at.index(bad.len());
                bad[at] = byte;
            }
        }
        let with = |content: &[u8]| Package::with_image(&[directory("image/"), file("image/f", content)]);
        let found = compared(&with(&bad), &with(&good));
        prop_assert_eq!(found.len(), usize::from(bad != good));
        if let [found] = found.as_slice() {
            prop_assert!(
                matches!(found, PayloadDifference::Content { at: Some(at), .. } if !at.parts.is_empty()),
                "{:?}", found
            );
        }
    }
}
