//! ELF files made by hand: both sizes, both byte orders, and hostile ones.

use proptest::prelude::*;

use super::super::elf::{self, Elf};
use super::*;

/// How an ELF file writes its numbers.
#[derive(Clone, Copy, Debug)]
struct Layout {
    is_64: bool,
    is_big: bool,
}

const LAYOUTS: [Layout; 4] = [
    Layout { is_64: false, is_big: false },
    Layout { is_64: false, is_big: true },
    Layout { is_64: true, is_big: false },
    Layout { is_64: true, is_big: true },
];

/// Bytes as they grow.
struct Bytes {
    layout: Layout,
    bytes: Vec<u8>,
}

impl Bytes {
    fn number(&mut self, width: usize, value: u64) {
        let bytes = value.to_le_bytes();
        let mut bytes = bytes[..width].to_vec();
        if self.layout.is_big {
            bytes.reverse();
        }
        self.bytes.extend(bytes);
    }

    fn numbers(&mut self, numbers: &[(usize, u64)]) {
        numbers.iter().for_each(|(width, value)| self.number(*width, *value));
    }

    /// As wide as an address.
    fn word(&mut self, value: u64) {
        self.number(if self.layout.is_64 { 8 } else { 4 }, value);
    }
}

/// Sections of the library: name in `.shstrtab`, type, flags, link, size of an entry, content.
type Made = (&'static str, u32, u64, u32, u64, Vec<u8>);

/// A library with the function `f@@V1`, the data `d` and `e` at the same address, and `printf@GLIBC` undefined.
fn library(is_64: bool, is_big: bool) -> Vec<u8> {
    library_with(Layout { is_64, is_big }, |_| {})
}

/// The same after a change to its sections.
fn library_with(layout: Layout, change: impl FnOnce(&mut Vec<Made>)) -> Vec<u8> {
    let Layout { is_64, .. } = layout;
    let new = || Bytes { layout, bytes: Vec::new() };
    let strings = b"\0f\0d\0e\0printf\0V1\0GLIBC\0libmade.so.1\0libc.so\0".to_vec();
    let at = |name: &str| {
        let name = format!("\0{name}\0");
        (strings.windows(name.len()).position(|window| window == name.as_bytes()).unwrap() + 1) as u64
    };
    let mut symbols = new();
    for (name, info, section, value, size) in [
        ("", 0, 0, 0, 0),
        ("f", 0x12, 5, 0x1000, 99),
        ("d", 0x11, 6, 0x2008, 8),
        ("e", 0x21, 6, 0x2008, 8),
        ("printf", 0x12, 0, 0, 0),
    ] {
        let name = if name.is_empty() { 0 } else { at(name) };
        if is_64 {
            symbols.numbers(&[(4, name), (1, info), (1, 0), (2, section), (8, value), (8, size)]);
        } else {
            symbols.numbers(&[(4, name), (4, value), (4, size), (1, info), (1, 0), (2, section)]);
        }
    }
    let mut dynamic = new();
    for (tag, value) in [(1, at("libc.so")), (14, at("libmade.so.1")), (5, 0x4242), (0, 0)] {
        dynamic.word(tag);
        dynamic.word(value);
    }
    let mut versions = new();
    versions.numbers(&[(2, 0), (2, 2), (2, 1), (2, 1), (2, 3)]);
    let mut defined = new();
    defined.numbers(&[(2, 1), (2, 0), (2, 2), (2, 1), (4, 0), (4, 20), (4, 0), (4, at("V1")), (4, 0)]);
    let mut needed = new();
    needed.numbers(&[(2, 1), (2, 1), (4, at("libc.so")), (4, 16), (4, 0)]);
    needed.numbers(&[(4, 0), (2, 0), (2, 3), (4, at("GLIBC")), (4, 0)]);
    let (symbol, entry) = if is_64 { (24, 16) } else { (16, 8) };
    let sections: [Made; 9] = [
        ("", 0, 0, 0, 0, Vec::new()),
        (".dynstr", 3, 2, 0, 0, strings.clone()),
        (".dynsym", 11, 2, 1, symbol, symbols.bytes),
        (".dynamic", 6, 3, 1, entry, dynamic.bytes),
        (".shstrtab", 3, 0, 0, 0, b"\0.dynstr\0.dynsym\0.dynamic\0.shstrtab\0.text\0.data\0.gnu.version\0.gnu.version_d\0.gnu.version_r\0.warning\0".to_vec()),
        (".text", 1, 6, 0, 0, b"code".to_vec()),
        (".data", 1, 3, 0, 0, vec![0; 64]),
        (".gnu.version", 0x6fff_ffff, 2, 2, 2, versions.bytes),
        (".gnu.version_d", 0x6fff_fffd, 2, 1, 0, defined.bytes),
    ];
    let mut sections = sections.to_vec();
    sections.push((".gnu.version_r", 0x6fff_fffe, 2, 1, 0, needed.bytes));
    sections.push((".warning", 1, 0, 0, 0, b"mind".to_vec()));
    change(&mut sections);
    assemble(layout, &sections)
}

fn assemble(layout: Layout, sections: &[Made]) -> Vec<u8> {
    let header = if layout.is_64 { 64 } else { 52 };
    let total: usize = sections.iter().map(|section| section.5.len()).sum();
    let mut out = Bytes { layout, bytes: b"\x7fELF".to_vec() };
    out.bytes.extend([1 + u8::from(layout.is_64), 1 + u8::from(layout.is_big), 1]);
    out.bytes.resize(16, 0);
    out.numbers(&[(2, 3), (2, if layout.is_big { 21 } else { 3 }), (4, 1)]);
    out.word(0);
    out.word(0);
    out.word((header + total) as u64);
    let entry = if layout.is_64 { (56, 64) } else { (32, 40) };
    out.numbers(&[
        (4, 0),
        (2, header as u64),
        (2, entry.0),
        (2, 0),
        (2, entry.1),
        (2, sections.len() as u64),
        (2, 4),
    ]);
    assert_eq!(out.bytes.len(), header);
    let mut offsets = Vec::new();
    for section in sections {
        offsets.push(out.bytes.len() as u64);
        out.bytes.extend_from_slice(&section.5);
    }
    let names = sections[4].5.clone();
    for ((name, kind, flags, link, entry, content), offset) in sections.iter().zip(offsets) {
        let name = format!("\0{name}\0");
        let name =
            names.windows(name.len()).position(|window| window == name.as_bytes()).map_or(0, |at| at + 1);
        out.numbers(&[(4, name as u64), (4, (*kind).into())]);
        out.word(*flags);
        out.word(0);
        out.word(offset);
        out.word(content.len() as u64);
        out.numbers(&[(4, (*link).into()), (4, 1)]);
        out.word(16);
        out.word(*entry);
    }
    out.bytes
}

fn abi(bytes: &[u8]) -> Abi {
    match elf::read(bytes) {
        Some(Elf::SharedObject(abi)) => *abi,
        other => panic!("not a library: {other:?}"),
    }
}

#[test]
fn both_sizes_and_both_byte_orders_are_read() {
    for Layout { is_64, is_big } in LAYOUTS {
        let abi = abi(&library(is_64, is_big));
        assert_eq!((abi.bits, abi.big_endian), (if is_64 { 64 } else { 32 }, is_big));
        assert_eq!(abi.soname(), Some("libmade.so.1"));
        assert_eq!(abi.needed().collect::<Vec<_>>(), ["libc.so"]);
        assert_eq!(abi.dynamic.len(), 2, "where the string table is does not count");
        let names: Vec<String> = abi.symbols.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["f@@V1", "d", "e"]);
        assert_eq!(abi.undefined[0].to_string(), "printf@GLIBC");
        let [f, d, e] = abi.symbols.as_slice() else { panic!("{names:?}") };
        assert_eq!((f.size, f.place, d.size, d.place), (None, Place::Code, Some(8), Place::Writable));
        assert_eq!((d.alignment, e.alias_of.as_deref()), (Some(8), Some("d")));
        assert_eq!(abi.sections.len(), 1, "{:?}", abi.sections);
    }
}

/// The digest is pinned: another one means another form, with another number.
#[test]
fn the_digest_is_the_one_that_is_specified() {
    let files = [
        ("usr/include/foo.h", b"int foo(int);\n".to_vec()),
        ("usr/lib64/libmade.so.1", library(true, false)),
        (
            "usr/lib64/libfoo.a",
            b"!<arch>\na.o/            0           0     0     644     3         `\nabc\n".to_vec(),
        ),
    ];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
    assert_eq!(
        of_files(&files).digest().to_string(),
        "507590ffb37b7e8cca3385a15f78769a0f1d45958fe8089cfc135de7c0962fc2"
    );
}

#[test]
fn versions_that_nobody_defines_and_tables_that_do_not_fit_are_not_in_order() {
    let good = library(true, false);
    assert!(elf::read(&good).is_some());
    let find = |name: &[u8]| good.windows(name.len()).position(|window| window == name).unwrap();
    let versions = [0u8, 0, 2, 0, 1, 0, 1, 0, 3, 0];
    let mut bytes = good.clone();
    bytes[find(&versions) + 2] = 7;
    assert!(elf::read(&bytes).is_none(), "a version that is not defined");
    let mut bytes = good.clone();
    let name = find(b"printf");
    bytes[name] = 0xff;
    assert!(elf::read(&bytes).is_none(), "a name that is not text");
    type Edit = fn(&mut Vec<Made>);
    let changes: [(&str, Edit); 6] = [
        ("a version for each symbol but one", |sections| sections[7].5.truncate(8)),
        ("no symbols", |sections| sections[2].1 = 8),
        ("symbols twice", |sections| sections.push(sections[2].clone())),
        ("two tables of versions", |sections| sections.push(sections[8].clone())),
        ("a table of symbols that ends inside one", |sections| sections[2].5.truncate(100)),
        ("names elsewhere than in a table of strings", |sections| sections[2].3 = 5),
    ];
    for (what, change) in changes {
        let bytes = library_with(LAYOUTS[2], change);
        assert!(elf::read(&bytes).is_none(), "{what}");
    }
    let unversioned = library_with(LAYOUTS[2], |sections| sections.truncate(7));
    assert_eq!(abi(&unversioned).symbols[0].to_string(), "f");
}

/// A million symbols with one name of many bytes would take all memory.
#[test]
fn names_are_bounded_by_the_file() {
    let mut names = Names::of_file(10);
    assert_eq!(names.take(&[b'x'; 40]).map(|name| name.len()), Some(40));
    assert_eq!(names.take(b"x"), None);
    assert_eq!(Names::of_file(usize::MAX).left, Names::MOST);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_bytes_make_it_panic(class in 1u8..3, order in 1u8..3, rest in proptest::collection::vec(any::<u8>(), 0..400)) {
        let bytes = [b"\x7fELF", &[class, order, 1][..], &rest].concat();
        elf::read(&bytes);
        archive::members(&[&archive::MAGIC[..], &rest].concat());
    }

    #[test]
    fn no_damage_makes_it_panic(
        layout in 0usize..4,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        words in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u32>()), 0..3),
    ) {
        let Layout { is_64, is_big } = LAYOUTS[layout];
        let mut bytes = library(is_64, is_big);
        for (at, value) in damage {
            *at.get_mut(&mut bytes) = value;
        }
        for (at, value) in words {
            let at = at.index(bytes.len() / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        if let Some(Elf::SharedObject(abi)) = elf::read(&bytes) {
            abi.digest();
        }
    }
}
