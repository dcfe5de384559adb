use super::*;
use crate::gpkg::fixture::{directory, entry, link};

fn header() -> (&'static str, &'static [u8]) {
    ("usr/include/foo.h", b"int foo(int);\n")
}

#[test]
fn headers_and_other_files_count_by_content() {
    let before = of_files(&[header(), ("usr/bin/foo-config", b"#!/bin/sh\n")]);
    let after = of_files(&[("usr/include/foo.h", b"long foo(int);\n"), ("usr/lib64/pkgconfig/foo.pc", b"x")]);
    assert_eq!(
        differences(&before, &after),
        [
            "usr/bin/foo-config removed",
            "usr/include/foo.h: content changed",
            "usr/lib64/pkgconfig/foo.pc added"
        ]
    );
}

#[test]
fn documentation_translations_and_debug_files_do_not_count() {
    let before = of_files(&[header()]);
    let after = of_files(&[
        header(),
        ("usr/share/doc/foo-1.0/README.bz2", b"x"),
        ("usr/share/man/man3/foo.3.bz2", b"x"),
        ("usr/share/locale/de/LC_MESSAGES/foo.mo", b"x"),
        ("usr/lib/debug/usr/lib64/libfoo.so.1.debug", b"x"),
    ]);
    assert_eq!(differences(&before, &after), [""; 0]);
    assert_ne!(before.digest(), Interface::default().digest());
}

#[test]
fn bytecode_counts_unless_its_source_is_there_to_be_compared_with() {
    const SOURCE: (&str, &[u8]) = ("usr/lib/python3.13/site-packages/foo.py", b"x = 1\n");
    const CACHED: &str = "usr/lib/python3.13/site-packages/__pycache__/foo.cpython-313.pyc";
    let bytecode =
        |flags: u8, time: u8| [&[0xf3, 0x0d, b'\r', b'\n', flags, 0, 0, 0, time][..], b"code"].concat();
    let with = |code: &[u8]| of_files(&[SOURCE, (CACHED, code)]);
    let plain = of_files(&[SOURCE]);
    assert_eq!(differences(&plain, &with(&bytecode(0, 7))), [""; 0]);
    assert_eq!(differences(&plain, &with(&bytecode(3, 7))), [""; 0]);
    let counts = [format!("{CACHED} added")];
    assert_eq!(differences(&plain, &with(&bytecode(1, 7))), counts, "used without being compared");
    assert_eq!(differences(&plain, &with(b"no bytecode at all")), counts);
    assert_ne!(
        of_files(&[(CACHED, &bytecode(0, 7))]).digest(),
        of_files(&[(CACHED, &bytecode(0, 8))]).digest()
    );
}

#[test]
fn links_count_by_target_and_hard_links_as_files() {
    let linked = |target: &str| of_entries(&[link(b'2', "image/usr/lib64/libfoo.so", target)]);
    assert_eq!(
        differences(&linked("libfoo.so.1"), &linked("libfoo.so.2")),
        ["usr/lib64/libfoo.so: target libfoo.so.1 → libfoo.so.2"]
    );
    let copies = of_files(&[("usr/bin/a", b"x"), ("usr/bin/b", b"x")]);
    let links = |first: &str, second: &str| {
        of_entries(&[
            file(format!("image/usr/bin/{first}"), "x"),
            link(b'1', &format!("image/usr/bin/{second}"), format!("image/usr/bin/{first}")),
        ])
    };
    assert_eq!(differences(&copies, &links("a", "b")), [""; 0]);
    assert_eq!(differences(&copies, &links("b", "a")), [""; 0]);
    // One name is left out, the other counts, whichever is stored.
    let documented = |first: &str, second: &str| {
        of_entries(&[
            file(format!("image/{first}"), "x"),
            link(b'1', &format!("image/{second}"), format!("image/{first}")),
        ])
    };
    let (example, header) = ("usr/share/doc/foo/foo.h", "usr/include/foo.h");
    assert_eq!(differences(&documented(example, header), &documented(header, example)), [""; 0]);
    assert_eq!(documented(example, header), of_file(header, b"x"));
}

#[test]
fn the_order_of_entries_times_and_owners_do_not_count() {
    let entries = [file("image/usr/include/a.h", "a"), file("image/usr/include/b.h", "b")];
    let before = of_entries(&entries);
    let [a, b] = entries;
    let after = [b.patched(136, b"00000007777\0").patched(108, b"0000123\0"), a];
    assert_eq!(differences(&before, &of_entries(&after)), [""; 0]);
}

#[test]
fn permissions_count_as_far_as_they_reach_a_build() {
    let with = |mode: u32| {
        let mut script = file("image/usr/bin/foo-config", "#!/bin/sh\n");
        script.mode = mode;
        of_entries(&[script])
    };
    assert_eq!(differences(&with(0o755), &with(0o4755)), [""; 0]);
    assert_eq!(
        differences(&with(0o755), &with(0o644)),
        ["usr/bin/foo-config: permissions readable, executable → readable"]
    );
    assert_eq!(
        differences(&with(0o644), &with(0o600)),
        ["usr/bin/foo-config: permissions readable → private"]
    );
}

#[test]
fn directories_count_where_they_are_empty() {
    let (usr, include) = (directory("image/usr"), directory("image/usr/include"));
    let before = of_entries(&[usr.clone(), include.clone()]);
    assert_eq!(differences(&Interface::default(), &before), ["usr/include added"]);
    let after = of_entries(&[usr, include, file("image/usr/include/a.h", "a")]);
    assert_eq!(after, of_file("usr/include/a.h", b"a"));
    let documentation = of_entries(&[entry(b'5', "image/usr/share/doc/foo-1.0")]);
    assert!(documentation.entries().is_empty());
}

const ARCHIVE: &str = "usr/lib64/libfoo.a";

/// An archive of objects of these names and sources.
fn archive(workshop: &Workshop, flags: &str, members: &[(&str, &str)]) -> Vec<u8> {
    let _ = fs::remove_file(workshop.path("lib.a"));
    let mut arguments = vec![flags, "lib.a"];
    for (name, source) in members {
        fs::write(workshop.path("member.c"), source).unwrap();
        workshop.run("cc", &["-c", "-o", name, "member.c"]);
        arguments.push(name);
    }
    workshop.run("ar", &arguments);
    workshop.read("lib.a")
}

const A: (&str, &str) = ("a.o", "int a(void) { return 1; }");
const LONG: (&str, &str) = ("a_name_longer_than_sixteen.o", "int b(void) { return 2; }");

#[test]
fn archives_count_by_their_members() {
    let workshop = Workshop::new();
    let plain = archive(&workshop, "rcsD", &[A, LONG]);
    let before = of_file(ARCHIVE, &plain);
    let Entry::Archive { members: Some(members), .. } = &before.entries()[ARCHIVE] else {
        panic!("{before:?}");
    };
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["/", "//", A.0, LONG.0]);

    let timed = archive(&workshop, "rcsU", &[A, LONG]);
    assert_ne!(timed, plain, "with times, owners and modes");
    assert_eq!(differences(&before, &of_file(ARCHIVE, &timed)), [""; 0]);

    let other = |flags: &str, members: &[(&str, &str)]| {
        differences(&before, &of_file(ARCHIVE, &archive(&workshop, flags, members)))
    };
    assert_eq!(
        other("rcsD", &[(A.0, "int a(void) { return 9; }"), LONG]),
        ["usr/lib64/libfoo.a(a.o): changed"]
    );
    assert_eq!(other("rcsD", &[A]), ["usr/lib64/libfoo.a(a_name_longer_than_sixteen.o): removed"]);
    assert_eq!(other("rcSD", &[A, LONG]), ["usr/lib64/libfoo.a(/): removed"], "without a symbol index");
    // The order of members decides what is linked first.
    const B: (&str, &str) = ("b.o", "int a(void) { return 2; }");
    let in_order = |members: &[(&str, &str)]| of_file(ARCHIVE, &archive(&workshop, "rcSD", members));
    let swapped = differences(&in_order(&[A, B]), &in_order(&[B, A]));
    assert!(swapped.len() == 1 && swapped[0].contains("libfoo.a: order of members "), "{swapped:?}");
    let thin = other("rcsDT", &[A, LONG]);
    assert_eq!(thin, ["usr/lib64/libfoo.a: kind static archive → file"]);
}

#[test]
fn what_is_no_orderly_archive_counts_by_content() {
    let workshop = Workshop::new();
    let plain = archive(&workshop, "rcsD", &[A, LONG]);
    let is_whole = |bytes: &[u8]| matches!(of_file(ARCHIVE, bytes).entries()[ARCHIVE], Entry::File { .. });
    assert!(!is_whole(&plain) && !is_whole(b"!<arch>\n"));
    for len in [4, 9, 60, plain.len() - 1] {
        assert!(is_whole(&plain[..len]), "cut to {len} bytes");
    }
    assert!(is_whole(b"GROUP ( libfoo.so.1 libfoo_nonshared.a )\n"), "a linker script");
}

#[test]
fn names_in_the_form_of_bsd_are_read() {
    let mut bytes = b"!<arch>\n".to_vec();
    bytes.extend_from_slice(b"#1/8            0           0     0     644     11        `\nlong.o\0\0abc\n");
    let interface = of_file(ARCHIVE, &bytes);
    let Entry::Archive { members: Some(members), .. } = &interface.entries()[ARCHIVE] else {
        panic!("{interface:?}");
    };
    assert_eq!(
        members.as_slice(),
        [ArchiveMember { name: "long.o".to_owned(), content: Digest::of(b"abc") }]
    );
}
