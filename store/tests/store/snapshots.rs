//! Trees in and out.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;
use buildswarm_store::{
    Directory, Entry, Error, Mode, Name, Node, Snapshot, Store, TREE_PATH_BYTES_MAX, TreeOptions,
};
use proptest::prelude::*;
use rustix::fs::{Mode as CreateMode, OFlags};

use crate::support::{bytes, store, tamper};

const STRICT: TreeOptions = TreeOptions { skip_special: false };

/// A file, directory or link, and everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    File(u32, Vec<u8>),
    Directory(u32, Items),
    Link(OsString),
}

type Items = BTreeMap<OsString, Item>;

fn make(path: &Path, item: &Item) {
    match item {
        Item::File(mode, content) => {
            fs::write(path, content).unwrap();
            fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
        }
        Item::Directory(mode, items) => {
            fs::create_dir(path).unwrap();
            make_all(path, items);
            fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
        }
        Item::Link(target) => symlink(target, path).unwrap(),
    }
}

fn make_all(path: &Path, items: &Items) {
    items.iter().for_each(|(name, item)| make(&path.join(name), item));
}

fn found(path: &Path) -> Items {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let item = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_symlink() {
            Item::Link(fs::read_link(path).unwrap().into())
        } else if metadata.is_dir() {
            Item::Directory(mode, found(path))
        } else {
            Item::File(mode, fs::read(path).unwrap())
        }
    };
    entries.map(|entry| (entry.file_name(), item(&entry.path()))).collect()
}

fn any_name() -> impl Strategy<Value = OsString> {
    let byte = prop_oneof![Just(b'a'), Just(b'.'), Just(b'\n'), Just(0xff), Just(b' '), any::<u8>()];
    prop::collection::vec(byte, 1..6)
        .prop_filter("a name", |name| Name::new(name).is_ok())
        .prop_map(|name| OsStr::from_bytes(&name).to_owned())
}

/// Trees that their owner can read, whoever runs the tests.
fn any_tree() -> impl Strategy<Value = Items> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (any::<u64>(), 0_usize..70_000).prop_map(|(seed, size)| bytes(seed, size)),
    ];
    let leaf = prop_oneof![
        4 => (0_u32..=0o7777, content).prop_map(|(mode, content)| Item::File(mode | 0o400, content)),
        1 => prop::collection::vec(1_u8.., 1..9).prop_map(|target| Item::Link(OsStr::from_bytes(&target).to_owned())),
    ];
    let item = leaf.prop_recursive(5, 40, 5, |item| {
        (0_u32..=0o7777, prop::collection::btree_map(any_name(), item, 0..5))
            .prop_map(|(mode, items)| Item::Directory(mode | 0o700, items))
    });
    prop::collection::btree_map(any_name(), item, 0..6)
}

/// A tree in a directory, put.
fn put(store: &Store, path: &Path, items: &Items) -> Snapshot {
    fs::create_dir(path).unwrap();
    make_all(path, items);
    store.put_tree(path, &STRICT).unwrap()
}

fn file(content: &[u8]) -> Item {
    Item::File(0o644, content.to_vec())
}

fn items<const N: usize>(items: [(&str, Item); N]) -> Items {
    items.into_iter().map(|(name, item)| (name.into(), item)).collect()
}

/// Changes one thing, the `at`-th counted through the tree.
fn change(items: &mut Items, at: &mut usize, how: u8) -> bool {
    let names: Vec<OsString> = items.keys().cloned().collect();
    for name in names {
        if *at == 0 {
            change_one(items, name, how);
            return true;
        }
        *at -= 1;
        if let Some(Item::Directory(_, below)) = items.get_mut(&name)
            && change(below, at, how)
        {
            return true;
        }
    }
    false
}

fn change_one(items: &mut Items, mut name: OsString, how: u8) {
    let Some(item) = items.remove(&name) else { return };
    let item = match (how % 4, item) {
        (0, item) => {
            name.push("+");
            item
        }
        (1, Item::File(mode, content)) => Item::File(mode ^ 0o001, content),
        (1, Item::Directory(mode, items)) => Item::Directory(mode ^ 0o002, items),
        (2, Item::File(mode, mut content)) => {
            match content.first_mut() {
                Some(byte) => *byte ^= 1,
                None => content.push(0),
            }
            Item::File(mode, content)
        }
        (2, Item::Directory(mode, mut items)) => {
            items.insert("added".into(), Item::Directory(0o700, Items::new()));
            Item::Directory(mode, items)
        }
        (_, Item::Link(mut target)) => {
            target.push("x");
            Item::Link(target)
        }
        _ => return,
    };
    items.insert(name, item);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_put_comes_back(tree in any_tree()) {
        let (dir, store) = store();
        let snapshot = put(&store, &dir.path().join("tree"), &tree);
        let copy = dir.path().join("copy");
        let made = store.materialise(snapshot.root, &copy).unwrap();
        prop_assert_eq!(found(&copy), tree);
        prop_assert_eq!(
            (made.files, made.directories, made.symlinks, made.bytes),
            (snapshot.files, snapshot.directories, snapshot.symlinks, snapshot.bytes)
        );
        let again = store.put_tree(&copy, &STRICT).unwrap();
        prop_assert_eq!((again.root, again.new_blobs, again.new_bytes), (snapshot.root, 0, 0));
        prop_assert!(store.verify().unwrap().is_clean());
    }

    #[test]
    fn any_one_change_changes_the_root(tree in any_tree(), at: prop::sample::Index, how: u8) {
        let (dir, store) = store();
        let before = put(&store, &dir.path().join("before"), &tree);
        let count = usize::try_from(before.files + before.directories + before.symlinks).unwrap();
        let mut changed = tree.clone();
        if count > 0 {
            change(&mut changed, &mut at.index(count), how);
        }
        let after = put(&store, &dir.path().join("after"), &changed);
        prop_assert_eq!(before.root == after.root, tree == changed);
    }
}

#[test]
fn a_tree_is_where_it_was_put_from_and_nowhere_else() {
    let (dir, store) = store();
    let outside = dir.path().join("outside");
    fs::write(&outside, "secret").unwrap();
    let tree = items([
        ("absolute", Item::Link(outside.clone().into())),
        ("dangling", Item::Link("nowhere".into())),
        ("up", Item::Link("../outside".into())),
    ]);
    let snapshot = put(&store, &dir.path().join("tree"), &tree);
    assert_eq!((snapshot.files, snapshot.symlinks), (0, 3));
    assert!(!store.contains(BlobId::of(b"secret")).unwrap());
    store.materialise(snapshot.root, dir.path().join("copy")).unwrap();
    assert_eq!(found(&dir.path().join("copy")), tree);
}

#[test]
fn one_content_is_stored_once_however_many_names_it_has() {
    let (dir, store) = store();
    let path = dir.path().join("tree");
    let large = bytes(1, 9 << 20);
    let tree = items([("a", file(&large)), ("b", file(&large)), ("c", file(b"x"))]);
    fs::create_dir(&path).unwrap();
    make_all(&path, &tree);
    fs::hard_link(path.join("a"), path.join("d")).unwrap();
    let snapshot = store.put_tree(&path, &STRICT).unwrap();
    // Two contents and the top.
    assert_eq!((snapshot.files, snapshot.new_blobs), (4, 3));
    store.materialise(snapshot.root, dir.path().join("copy")).unwrap();
    assert_eq!(found(&dir.path().join("copy")), found(&path));
}

#[test]
fn special_files_are_refused_by_name_or_left_out() {
    let (dir, store) = store();
    let path = dir.path().join("tree");
    fs::create_dir_all(path.join("below")).unwrap();
    fs::write(path.join("file"), "x").unwrap();
    let without = store.put_tree(&path, &STRICT).unwrap();
    let socket = path.join("below/socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    match store.put_tree(&path, &STRICT) {
        Err(Error::SpecialFile { path, kind }) => assert_eq!((path, kind), (socket, "socket")),
        other => panic!("{other:?}"),
    }
    let left_out = store.put_tree(&path, &TreeOptions { skip_special: true }).unwrap();
    assert_eq!(left_out.root, without.root);
}

/// Directories in one another, each made in the one before: their path may be longer than one call takes.
fn make_deep(top: &Path, names: &[String]) {
    let mut above = rustix::fs::open(top, OFlags::RDONLY | OFlags::DIRECTORY, CreateMode::empty()).unwrap();
    for name in names {
        rustix::fs::mkdirat(&above, name, CreateMode::RWXU).unwrap();
        above = rustix::fs::openat(&above, name, OFlags::RDONLY | OFlags::DIRECTORY, CreateMode::empty())
            .unwrap();
    }
}

#[test]
fn depth_is_bounded_by_the_length_of_a_path() {
    let (dir, store) = store();
    let [deep, long, longer] = ["deep", "long", "longer"].map(|name| dir.path().join(name));
    for path in [&deep, &long, &longer] {
        fs::create_dir(path).unwrap();
    }
    make_deep(&deep, &vec!["d".to_owned(); 400]);
    // Names with a slash each, but the last: the longest path there is, and one that is longer.
    let mut names = vec!["n".repeat(255); 15];
    names.push("n".repeat(TREE_PATH_BYTES_MAX - 15 * 256 - 2));
    names.push("x".to_owned());
    make_deep(&long, &names);
    names[15].push('n');
    make_deep(&longer, &names);
    for (path, directories) in [(&deep, 400), (&long, 17)] {
        let snapshot = store.put_tree(path, &STRICT).unwrap();
        assert_eq!(snapshot.directories, directories);
        assert_eq!(store.walk_tree(snapshot.root).map(Result::unwrap).count() as u64, directories);
        let copy = dir.path().join(format!("copy-{directories}"));
        store.materialise(snapshot.root, &copy).unwrap();
        assert_eq!(store.put_tree(&copy, &STRICT).unwrap().root, snapshot.root);
    }
    assert!(matches!(store.put_tree(&longer, &STRICT), Err(Error::TreeTooLarge { .. })));
}

/// A directory object with these entries, put as any blob.
fn object(store: &Store, entries: &[(&str, Node)]) -> BlobId {
    let entries = entries.iter().map(|(name, node)| {
        let name = Name::new(name.as_bytes()).unwrap();
        Entry { name, node: node.clone() }
    });
    store.put_bytes(&Directory::new(entries.collect()).unwrap().encode()).unwrap().id
}

#[test]
fn a_size_that_is_not_that_of_the_content_is_refused() {
    let (dir, store) = store();
    let content = store.put_bytes(b"content").unwrap();
    let wrong = BlobRef { size: 8, ..content };
    let root = object(&store, &[("f", Node::File { mode: Mode::of(0o644), content: wrong })]);
    let copy = dir.path().join("copy");
    match store.materialise(root, &copy) {
        Err(Error::NotMade { path, source }) => {
            assert_eq!(path, copy.join("f"));
            assert!(matches!(*source, Error::WrongSize { stored: 7, declared: 8, .. }));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tree_takes_a_new_or_an_empty_directory_and_no_other() {
    let (dir, store) = store();
    let root = put(&store, &dir.path().join("tree"), &items([("f", file(b"x"))])).root;
    let [empty, full, plain, link] = ["empty", "full", "plain", "link"].map(|name| dir.path().join(name));
    fs::create_dir(&empty).unwrap();
    fs::set_permissions(&empty, Permissions::from_mode(0o750)).unwrap();
    store.materialise(root, &empty).unwrap();
    assert_eq!(fs::metadata(&empty).unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(found(&empty), items([("f", file(b"x"))]));
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "x").unwrap();
    fs::write(&plain, "x").unwrap();
    symlink("nowhere", &link).unwrap();
    for taken in [&full, &plain, &link] {
        match store.materialise(root, taken) {
            Err(Error::DestinationTaken { path }) => assert_eq!(path, *taken),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found(&full), items([("mine", file(b"x"))]));
}

#[test]
fn what_is_damaged_is_named_and_nothing_is_left_of_the_copy() {
    let (dir, store) = store();
    let (small, large) = (bytes(1, 100_000), bytes(2, 9 << 20));
    let tree =
        items([("below", Item::Directory(0o755, items([("large", file(&large)), ("small", file(&small))])))]);
    let path = dir.path().join("tree");
    let snapshot = put(&store, &path, &tree);
    let packs: Vec<_> =
        fs::read_dir(dir.path().join("store/packs")).unwrap().map(|e| e.unwrap().path()).collect();
    // In the first frame, which has the large file: what is put last in it is at the end.
    packs.iter().for_each(|pack| tamper(pack, |bytes| bytes[5_000] ^= 1));
    let (target, before) = (dir.path().join("parent"), fs::read_dir(dir.path()).unwrap().count());
    fs::create_dir(&target).unwrap();
    match store.materialise(snapshot.root, target.join("copy")) {
        Err(Error::NotMade { path, source }) => {
            assert_eq!(path, target.join("copy/below/large"));
            let large = BlobId::of(&large);
            assert!(
                matches!(*source, Error::BlobDamaged { id } | Error::BlobMissing { id } if id == large),
                "{source:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before + 1);
    // The next put heals it.
    assert_eq!(store.put_tree(&path, &STRICT).unwrap().root, snapshot.root);
    store.materialise(snapshot.root, target.join("copy")).unwrap();
    assert_eq!(found(&target.join("copy")), tree);
}

#[test]
fn a_walk_comes_in_the_order_of_the_tree() {
    let (dir, store) = store();
    let below = Item::Directory(0o755, items([("z", file(b"z")), ("a", Item::Link("t".into()))]));
    let tree = items([("b", below), ("b.c", file(b"1")), ("a", file(b"2"))]);
    let root = put(&store, &dir.path().join("tree"), &tree).root;
    let paths: Vec<_> = store.walk_tree(root).map(|entry| entry.unwrap().0).collect();
    assert_eq!(paths, ["a", "b", "b/a", "b/z", "b.c"].map(Path::new));
    let top = store.read_directory(root).unwrap();
    assert!(matches!(top.get(b"b.c").unwrap().node, Node::File { .. }));
    let content = store.put_bytes(b"z").unwrap().id;
    assert!(matches!(store.walk_tree(content).next(), Some(Err(Error::NotADirectory { .. }))));
    assert!(matches!(store.read_directory(BlobId::of(b"none")), Err(Error::BlobMissing { .. })));
}

#[test]
fn only_a_store_open_for_writing_takes_a_tree() {
    let (dir, store) = store();
    let path = dir.path().join("tree");
    let root = put(&store, &path, &items([("f", file(b"x"))])).root;
    drop(store);
    let reader = Store::open_read_only(dir.path().join("store")).unwrap();
    assert!(matches!(reader.put_tree(&path, &STRICT), Err(Error::ReadOnly { .. })));
    reader.materialise(root, dir.path().join("copy")).unwrap();
}
