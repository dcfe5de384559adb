use buildswarm_core::canonical::Encoder;
use proptest::prelude::*;

use super::*;

fn name(bytes: &[u8]) -> Name {
    Name::new(bytes).unwrap()
}

fn file(bytes: &[u8]) -> Entry {
    let content = BlobRef { id: BlobId::of(b"x"), size: 1 };
    Entry { name: name(bytes), node: Node::File { mode: Mode::of(0o100_644), content } }
}

fn link(bytes: &[u8], target: &[u8]) -> Entry {
    Entry { name: name(bytes), node: Node::Symlink { target: Target::new(target).unwrap() } }
}

fn below(bytes: &[u8]) -> Entry {
    let object = BlobId::of(&Directory::default().encode());
    Entry { name: name(bytes), node: Node::Directory { mode: Mode::of(0o40_755), object } }
}

/// A directory object around any entries, however wrong.
fn object(marker: &str, format: u64, entries: &[&dyn Fn(&mut Encoder)]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.text(tag::MARKER, marker);
    encoder.number(tag::FORMAT, format);
    encoder.records(tag::ENTRIES, entries, |record, write| write(record));
    encoder.finish()
}

#[test]
fn the_form_is_pinned() {
    let empty = Directory::default().encode();
    assert_eq!(
        empty,
        [
            &[1, 20, 0, 0, 0][..],
            b"buildswarm directory",
            &[2, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[3, 4, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat()
    );
    let all = Directory::new(vec![link(b"l", b"../t"), file(b"a"), below(b"d")]).unwrap();
    assert_eq!(
        BlobId::of(&all.encode()).to_string(),
        "23fd6217da2146cb7026ab8e19d9e4beffa448edf0ee1584e729710442e42a05"
    );
    assert_eq!(Directory::decode(&all.encode()), Ok(all));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let long = [b'x'; NAME_BYTES_MAX + 1];
    for wrong in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &long] {
        assert!(matches!(Name::new(wrong), Err(DirectoryError::Name(_))), "{wrong:?}");
        let bytes = object(
            MARKER,
            FORMAT,
            &[&|record| {
                record.bytes(entry::NAME, wrong);
                record.text(entry::KIND, SYMLINK);
                record.bytes(entry::TARGET, b"t");
            }],
        );
        assert!(matches!(Directory::decode(&bytes), Err(DirectoryError::Name(_))), "{wrong:?}");
    }
    for right in [&b"..."[..], b".a", b"\xff\n", b"a b", &long[1..]] {
        assert_eq!(Name::new(right).unwrap().as_bytes(), right);
    }
    for wrong in [&b""[..], b"a\0", &[b'x'; TARGET_BYTES_MAX + 1]] {
        assert!(matches!(Target::new(wrong), Err(DirectoryError::Target(_))), "{wrong:?}");
    }
}

#[test]
fn an_entry_stands_once_and_where_it_belongs() {
    assert!(matches!(Directory::new(vec![file(b"a"), link(b"a", b"t")]), Err(DirectoryError::Order(_))));
    let entry = |name: &'static [u8]| move |record: &mut Encoder| encode_entry(record, &file(name));
    let (a, b) = (entry(b"a"), entry(b"b"));
    assert!(Directory::decode(&object(MARKER, FORMAT, &[&a, &b])).is_ok());
    for wrong in [[&b as &dyn Fn(&mut Encoder), &a], [&a, &a]] {
        assert!(matches!(Directory::decode(&object(MARKER, FORMAT, &wrong)), Err(DirectoryError::Order(_))));
    }
}

#[test]
fn what_is_something_else_is_refused() {
    let decode = |bytes: &[u8]| Directory::decode(bytes).unwrap_err();
    assert_eq!(decode(b""), DirectoryError::Marker);
    assert_eq!(decode(b"\x7fELF"), DirectoryError::Marker);
    assert_eq!(decode(&object("other", FORMAT, &[])), DirectoryError::Marker);
    assert_eq!(decode(&object(MARKER, 2, &[])), DirectoryError::Format(2));
    let mut trailing = Directory::default().encode();
    trailing.push(0);
    assert!(matches!(decode(&trailing), DirectoryError::Form(_)));
    let kind = |kind: &str| {
        object(
            MARKER,
            FORMAT,
            &[&|record| {
                record.bytes(entry::NAME, b"a");
                record.text(entry::KIND, kind);
            }],
        )
    };
    assert_eq!(decode(&kind("fifo")), DirectoryError::Kind("fifo".to_owned()));
    assert!(matches!(decode(&kind(SYMLINK)), DirectoryError::Form(DecodeError::Missing { .. })));
    let mode = object(
        MARKER,
        FORMAT,
        &[&|record| {
            record.bytes(entry::NAME, b"a");
            record.text(entry::KIND, DIRECTORY);
            record.number(entry::MODE, 0o10000);
            record.digest(entry::CONTENT, &Digest::of(b""));
        }],
    );
    assert_eq!(decode(&mode), DirectoryError::Mode(0o10000));
    // A field that another kind has.
    let surplus = object(
        MARKER,
        FORMAT,
        &[&|record| {
            record.bytes(entry::NAME, b"a");
            record.text(entry::KIND, SYMLINK);
            record.number(entry::MODE, 0o777);
            record.bytes(entry::TARGET, b"t");
        }],
    );
    assert!(matches!(decode(&surplus), DirectoryError::Form(_)));
}

#[test]
fn an_entry_is_found_by_its_name() {
    let directory = Directory::new(vec![file(b"b"), file(b"a"), file(b"\xff")]).unwrap();
    assert_eq!(directory.get(b"b"), Some(&file(b"b")));
    assert_eq!(directory.get(b"c"), None);
}

prop_compose! {
    fn any_node()(kind in 0..3, mode in 0_u32..=0o7777, size: u64, seed: u8, target in prop::collection::vec(1_u8.., 1..9))
        -> Node {
        let (mode, id) = (Mode::of(mode), BlobId::of(&[seed]));
        match kind {
            0 => Node::File { mode, content: BlobRef { id, size } },
            1 => Node::Directory { mode, object: id },
            _ => Node::Symlink { target: Target::new(&target).unwrap() },
        }
    }
}

fn any_directory() -> impl Strategy<Value = Directory> {
    let name =
        prop::collection::vec(any::<u8>(), 1..5).prop_filter_map("a name", |name| Name::new(&name).ok());
    prop::collection::btree_map(name, any_node(), 0..6).prop_map(|map| {
        Directory::new(map.into_iter().map(|(name, node)| Entry { name, node }).collect()).unwrap()
    })
}

proptest! {
    #[test]
    fn a_directory_comes_back(directory in any_directory()) {
        prop_assert_eq!(Directory::decode(&directory.encode()), Ok(directory));
    }

    #[test]
    fn different_directories_differ_in_bytes(a in any_directory(), b in any_directory()) {
        prop_assert_eq!(a == b, a.encode() == b.encode());
    }

    #[test]
    fn a_changed_byte_is_refused_or_another_directory(
        directory in any_directory(), at: prop::sample::Index, bit in 0_u8..8,
    ) {
        let mut bytes = directory.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(other) = Directory::decode(&bytes) {
            prop_assert_ne!(&other, &directory);
            prop_assert_eq!(other.encode(), bytes);
        }
    }
}
