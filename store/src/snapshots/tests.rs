//! What recognises a file, what a failure leaves, and what a cache may be believed.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use buildswarm_core::BlobId;
use buildswarm_core::time::UnixSeconds;

use super::cache::{self, Cache};
use super::present;
use super::put::put_tree;
use super::scan::{Found, Top, scan};
use super::{Directory, Entry, Mode, Name, Node, Snapshot, TreeOptions, TreeWalk, contents};
use crate::faults::Step;
use crate::faults::scripted::{Then, script, trace};
use crate::{Error, GcOptions, Store};

const STRICT: TreeOptions = TreeOptions { skip_special: false };

/// So long after now that everything written by then is beyond doubt.
const LATER: u64 = 60;

fn store(dir: &Path) -> Store {
    Store::open(dir.join("store")).unwrap()
}

/// A tree with files of every size that is treated differently.
fn tree(dir: &Path) -> std::path::PathBuf {
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("below/empty")).unwrap();
    fs::write(tree.join("file"), "aaaa").unwrap();
    fs::write(tree.join("below/large"), vec![7; 100_000]).unwrap();
    fs::write(tree.join("below/none"), "").unwrap();
    std::os::unix::fs::symlink("../file", tree.join("below/link")).unwrap();
    tree
}

/// A snapshot that begins so many seconds from now.
fn put_in(store: &Store, tree: &Path, seconds: u64) -> Snapshot {
    put_tree(store, tree, &STRICT, crate::clock::now() + seconds).unwrap()
}

fn cache_of(store: &Store) -> std::path::PathBuf {
    let mut files = fs::read_dir(store.shared.layout.caches()).unwrap();
    files.next().unwrap().unwrap().path()
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tree) = (store(dir.path()), tree(dir.path()));
    let first = put_in(&store, &tree, LATER);
    assert_eq!((first.files, first.files_read), (3, 3));
    let second = put_in(&store, &tree, LATER);
    assert_eq!((second.root, second.files_read, second.new_blobs), (first.root, 0, 0));
    fs::write(tree.join("new"), "new").unwrap();
    assert_eq!(put_in(&store, &tree, LATER).files_read, 1);
}

#[test]
fn a_file_that_was_just_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tree) = (store(dir.path()), tree(dir.path()));
    let first = put_in(&store, &tree, 0);
    let second = put_in(&store, &tree, 0);
    assert_eq!((second.root, second.files_read), (first.root, 3));
}

/// Writes a cache that takes the files of a tree for what they were before they were changed within one tick: with the
/// times they have now, and the content they had.
fn forge(store: &Store, tree: &Path, before: BlobId, began: u64) {
    let top = Top::open(tree).unwrap();
    let mut scanned = scan(&top, &STRICT, None).unwrap();
    for (_, found) in scanned.iter_mut().flat_map(|directory| &mut directory.entries) {
        if let Found::File { known, .. } = found {
            *known = Some(before);
        }
    }
    let objects = vec![BlobId::of(b"none"); scanned.len()];
    let standing = store.shared.index.read(|reader| Ok(present::standing(reader)?)).unwrap();
    let bytes = cache::encode(standing, began, began, &scanned, &objects);
    fs::write(cache_of(store), bytes).unwrap();
}

#[test]
fn a_change_within_one_tick_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "aaaa").unwrap();
    let before = put_in(&store, &tree, 0);
    fs::write(tree.join("file"), "bbbb").unwrap();
    let now = crate::clock::now();
    forge(&store, &tree, BlobId::of(b"aaaa"), now);
    let after = put_in(&store, &tree, 0);
    assert_ne!(after.root, before.root);
    // What the rule is for: had the first snapshot begun later, its cache would have been believed.
    forge(&store, &tree, BlobId::of(b"aaaa"), now + LATER);
    assert_eq!(put_in(&store, &tree, 0).root, before.root);
}

#[test]
fn a_change_that_keeps_size_and_time_is_told_by_the_time_of_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tree) = (store(dir.path()), tree(dir.path()));
    let first = put_in(&store, &tree, LATER);
    let path = tree.join("file");
    let before = fs::metadata(&path).unwrap();
    let changed = |found: &fs::Metadata| (found.ctime(), found.ctime_nsec());
    loop {
        let file = File::options().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"bbbb", 0).unwrap();
        file.set_times(FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
        // The clock of a file system may stand still for some milliseconds.
        if changed(&file.metadata().unwrap()) != changed(&before) {
            break;
        }
    }
    let now = fs::metadata(&path).unwrap();
    assert_eq!((now.len(), now.modified().unwrap()), (before.len(), before.modified().unwrap()));
    let second = put_in(&store, &tree, LATER);
    assert_eq!(second.files_read, 1);
    assert_ne!(second.root, first.root);
}

#[test]
fn a_damaged_or_foreign_cache_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tree) = (store(dir.path()), tree(dir.path()));
    let root = put_in(&store, &tree, LATER).root;
    let path = cache_of(&store);
    let sound = fs::read(&path).unwrap();
    assert!(Cache::parse(sound.clone()).is_some());
    for at in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        assert!(Cache::parse(damaged).is_none(), "byte {at}");
        assert!(Cache::parse(sound[..at].to_vec()).is_none(), "{at} bytes");
    }
    for odd in [&b""[..], b"rot", &sound[..sound.len() - 1]] {
        fs::write(&path, odd).unwrap();
        let again = put_in(&store, &tree, LATER);
        assert_eq!((again.root, again.files_read), (root, 3));
        assert_eq!(fs::read(&path).unwrap(), sound, "it is written anew");
    }
    // The cache of another store.
    let other = Store::open(dir.path().join("other")).unwrap();
    fs::create_dir_all(other.shared.layout.caches()).unwrap();
    fs::write(other.shared.layout.caches().join(path.file_name().unwrap()), &sound).unwrap();
    let there = put_in(&other, &tree, LATER);
    assert_eq!((there.root, there.files_read), (root, 3));
    assert!(other.contains(BlobId::of(b"aaaa")).unwrap());
}

#[test]
fn a_cache_that_nothing_vouches_for_is_not_believed_whatever_it_holds() {
    // Every body with a right checksum: what is read of it may be nonsense, but reading it ends.
    let mut state = 1_u32;
    for length in (0..400).chain([5_000]) {
        let mut bytes = b"bswarm-stats-01\n".to_vec();
        bytes.extend((0..length).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state & 0x300 == 0 { (state >> 24) as u8 } else { 0 }
        }));
        let checksum = BlobId::of(&bytes);
        bytes.extend_from_slice(checksum.digest().as_bytes());
        if let Some(cache) = Cache::parse(bytes) {
            let _ = (cache.addresses().len(), cache.files(0, 0).find(b"a"), cache.directories(9).find(b""));
        }
    }
}

#[test]
fn what_the_store_has_lost_is_read_and_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tree) = (store(dir.path()), tree(dir.path()));
    let first = put_in(&store, &tree, LATER);
    let ruthless = GcOptions {
        now: UnixSeconds(4_000_000_000),
        dry_run: false,
        keep_days: 0,
        grace_seconds: 0,
        quota: None,
        evict_artifacts: false,
    };
    store.gc(ruthless).unwrap();
    assert!(!store.contains(first.root).unwrap());
    let second = put_in(&store, &tree, LATER);
    assert_eq!((second.root, second.files_read), (first.root, 3));
    assert_eq!(second.new_blobs, first.new_blobs);
    store.materialise(second.root, dir.path().join("copy")).unwrap();
    assert_eq!(put_in(&store, &tree, LATER).files_read, 0);
}

#[test]
fn a_file_that_changes_after_it_was_listed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path());
    let top = Top::open(&tree).unwrap();
    let scanned = scan(&top, &STRICT, None).unwrap();
    let outcome = |change: &dyn Fn(&Path)| {
        change(&tree.join("below/large"));
        match contents::read_all(&top, &scanned, |_| Ok(())) {
            Err(Error::TreeChanged { path }) => assert_eq!(path, tree.join("below/large")),
            other => panic!("{other:?}"),
        }
    };
    assert!(contents::read_all(&top, &scanned, |_| Ok(())).is_ok());
    outcome(&|path| File::options().append(true).open(path).unwrap().set_len(99_999).unwrap());
    outcome(&|path| fs::remove_file(path).unwrap());
    outcome(&|path| std::os::unix::fs::symlink("../file", path).unwrap());
    fs::remove_file(tree.join("below/large")).unwrap();
    outcome(&|path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    });
}

#[test]
fn nobody_waits_for_whoever_takes_the_contents_if_that_one_panics() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..200 {
        File::create(dir.path().join(number.to_string())).unwrap().set_len(1 << 20).unwrap();
    }
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let top = Top::open(dir.path()).unwrap();
        let scanned = scan(&top, &STRICT, None).unwrap();
        let take = || contents::read_all(&top, &scanned, |_| panic!("taken"));
        ended.send(std::panic::catch_unwind(AssertUnwindSafe(take)).is_err()).unwrap();
    });
    assert_eq!(end.recv_timeout(Duration::from_secs(60)), Ok(true));
}

#[test]
fn a_tree_that_grows_without_end_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut root = store.put_bytes(&Directory::default().encode()).unwrap().id;
    // Each directory holds the one below it twice: 2^40 entries in 41 objects.
    for _ in 0..40 {
        let entries = [b"a", b"b"].map(|name| {
            let node = Node::Directory { mode: Mode::of(0o755), object: root };
            Entry { name: Name::new(name).unwrap(), node }
        });
        root = store.put_bytes(&Directory::new(entries.into()).unwrap().encode()).unwrap().id;
    }
    assert_eq!(store.tree_blobs(root).unwrap().len(), 41);
    let mut walk = TreeWalk::bounded(&store.shared, root, 1_000);
    assert!(walk.by_ref().take(1_001).any(|entry| matches!(entry, Err(Error::TreeTooLarge { .. }))));
    assert!(walk.next().is_none());
}

fn files_in(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn a_put_that_fails_anywhere_leaves_nothing_visible() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (store, tree) = (store(dir.path()), tree(dir.path()));
        let root = put_in(&Store::open(dir.path().join("other")).unwrap(), &tree, LATER).root;
        script(Some((at, Then::Fail)));
        let outcome = store.put_tree(&tree, &STRICT);
        let steps = trace();
        script(None);
        let when = format!("step {at} of {steps:?}");
        assert_eq!(files_in(&dir.path().join("store/tmp")), 0, "{when}");
        let visible = steps.iter().position(|step| *step == Step::Committed).is_some_and(|when| when <= at);
        assert_eq!(store.contains(root).unwrap(), visible || outcome.is_ok(), "{when}");
        assert!(store.verify().unwrap().is_clean(), "{when}");
        assert_eq!(store.put_tree(&tree, &STRICT).unwrap().root, root, "{when}");
        store.materialise(root, dir.path().join("copy")).unwrap();
        if at >= steps.len() {
            assert!(steps.contains(&Step::WriteCache), "{steps:?}");
            return;
        }
        // A cache that cannot be written is no failure.
        assert_eq!(outcome.is_ok(), steps[at] == Step::WriteCache, "{when}");
    }
}

#[test]
fn a_copy_that_fails_in_the_end_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, tree) = (store(dir.path()), tree(dir.path()));
    let root = put_in(&store, &tree, LATER).root;
    let parent = dir.path().join("parent");
    fs::create_dir(&parent).unwrap();
    script(Some((0, Then::Fail)));
    let outcome = store.materialise(root, parent.join("copy"));
    assert_eq!(trace(), [Step::ShowTree]);
    script(None);
    assert!(outcome.is_err());
    assert_eq!(files_in(&parent), 0);
}
