//! The table answers as the index would, or not at all.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey, Digest};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use rusqlite::params;
use tempfile::TempDir;

use super::block::{BLOCK_BYTES, Entry};
use super::file::{Answer, Table, Writing};
use super::hooks::Check;
use super::hooks::scripted::{leave_out, take_answered, write_from};
use super::*;
use crate::faults::scripted::{Then, script};
use crate::index::values::{Bytes32, Unsigned};
use crate::{GcOptions, INLINE_BYTES_MAX};

/// Keys that are asked for and in no store: with them a question is worth the table.
const ABSENT: u64 = 100;

fn key(number: u64) -> BuildKey {
    BuildKey::from_digest(Digest::of(&number.to_le_bytes()))
}

fn asked(keys: u64) -> Vec<BuildKey> {
    (0..keys).chain(u64::MAX - ABSENT..u64::MAX).map(key).collect()
}

/// Even contents are small, odd ones large.
fn content(number: u64) -> Vec<u8> {
    let size = if number.is_multiple_of(2) { 100 } else { INLINE_BYTES_MAX + 1 };
    number.to_le_bytes().into_iter().cycle().take(size).collect()
}

fn blob(number: u64) -> BlobRef {
    BlobRef { id: BlobId::of(&content(number)), size: content(number).len() as u64 }
}

fn artifact(number: u64, contents: [u64; 3]) -> Artifact {
    let [file, log, preimage] = contents.map(blob);
    Artifact {
        key: key(number),
        package: "dev-libs/foo-1".parse().unwrap(),
        slot: "0".parse().unwrap(),
        repository: "gentoo".to_owned(),
        file,
        log,
        preimage,
        payload: Digest::of(b"payload"),
        interface: Digest::of(b"interface"),
        installed_size: 1,
        build_millis: 1,
        built_at: UnixSeconds(contents.iter().sum()),
        builder: "drone".to_owned(),
        metadata: BTreeMap::new(),
    }
}

fn commit(store: &Store, number: u64, contents: [u64; 3]) {
    for content in contents.map(content) {
        store.put_bytes(&content).unwrap();
    }
    let _ = store.commit_artifact(&artifact(number, contents), &[]).unwrap();
}

/// A store in which the first three keys have artifacts, one of them small throughout, and a table of them.
fn store() -> (TempDir, Store) {
    write_from(1);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    commit(&store, 0, [0, 2, 4]);
    commit(&store, 1, [1, 0, 2]);
    commit(&store, 2, [3, 1, 4]);
    assert!(store.shared.try_to_renew_table().unwrap());
    take_answered();
    (dir, store)
}

/// What the table says, or the index in its place, which must be what the index says. With how many keys the table
/// answered for.
fn present(store: &Store, keys: u64) -> (Vec<BuildKey>, usize) {
    let asked = asked(keys);
    take_answered();
    let found = store.present(&asked).unwrap();
    assert_eq!(found, store.shared.present_by_index(&asked).unwrap());
    (found.into_iter().collect(), take_answered())
}

fn sorted(keys: impl IntoIterator<Item = u64>) -> Vec<BuildKey> {
    BTreeSet::from_iter(keys.into_iter().map(key)).into_iter().collect()
}

fn all_answered(keys: u64) -> usize {
    asked(keys).len()
}

fn table_of(store: &Path) -> std::path::PathBuf {
    store.join("lookup.table")
}

/// Adds artifacts with small blobs only, without a commit for each.
fn insert(store: &Store, numbers: std::ops::Range<u64>) {
    let [small, file] = [0, 1].map(|number| store.put_bytes(&content(number)).unwrap());
    store
        .shared
        .index
        .write(|transaction| {
            let mut insert = transaction.prepare(
                "INSERT INTO artifacts (key, cp, package, slot, repository, file, log, preimage, payload, interface,
                     installed_size, build_millis, built_at, builder, metadata, number)
                 VALUES (?1, 'a/b', 'a/b-1', '0', '', ?2, ?3, ?3, ?1, ?1, 0, 0, 0, '', '{}',
                     (SELECT ifnull(max(number), 0) + 1 FROM artifacts))",
            )?;
            for number in numbers {
                let file = if number.is_multiple_of(10) { file } else { small };
                insert.execute(params![
                    Bytes32::from(key(number)),
                    Bytes32::from(file.id),
                    Bytes32::from(small.id)
                ])?;
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_the_table_has_is_not_asked_of_the_index() {
    let (_dir, store) = store();
    assert_eq!(present(&store, 9), (sorted(0..3), all_answered(9)));
}

#[test]
fn few_keys_are_asked_of_the_index() {
    let (_dir, store) = store();
    assert_eq!(store.present(&[key(0), key(7)]).unwrap(), BTreeSet::from([key(0)]));
    assert_eq!(take_answered(), 0);
}

#[test]
fn what_was_committed_since_is_found() {
    let (_dir, store) = store();
    commit(&store, 5, [0, 2, 4]);
    assert_eq!(present(&store, 9), (sorted([0, 1, 2, 5]), all_answered(9) - 1));
}

#[test]
fn a_stale_table_is_not_used() {
    let (_dir, store) = store();
    assert!(store.remove_artifact(key(0)).unwrap());
    assert_eq!(present(&store, 9), (sorted([1, 2]), 0));
    assert!(store.shared.try_to_renew_table().unwrap());
    assert_eq!(present(&store, 9), (sorted([1, 2]), all_answered(9)));
    // The number of the last artifact is given away again once that one is removed.
    assert!(store.remove_artifact(key(2)).unwrap());
    commit(&store, 8, [0, 2, 4]);
    assert_eq!(present(&store, 9), (sorted([1, 8]), 0));
}

#[test]
fn files_are_looked_for() {
    let (_dir, store) = store();
    let file = store.shared.layout.blob(&blob(3).id);
    let aside = store.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    assert_eq!(present(&store, 9), (sorted([0, 1]), all_answered(9) - 1));
    fs::write(&file, b"short").unwrap();
    assert_eq!(present(&store, 9), (sorted([0, 1]), all_answered(9) - 1));
    fs::remove_file(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    assert_eq!(present(&store, 9), (sorted(0..3), all_answered(9)));
}

#[test]
fn what_did_not_resolve_and_does_again_is_found() {
    let (_dir, store) = store();
    let file = store.shared.layout.blob(&blob(3).id);
    fs::remove_file(&file).unwrap();
    fs::write(&file, vec![0; INLINE_BYTES_MAX + 1]).unwrap();
    store.verify().unwrap();
    assert_eq!(present(&store, 9), (sorted([0, 1]), 0));
    assert!(store.shared.try_to_renew_table().unwrap());
    assert_eq!(present(&store, 9), (sorted([0, 1]), all_answered(9) - 1));
    // Healing is no loss: the table stays.
    store.put_bytes(&content(3)).unwrap();
    assert_eq!(present(&store, 9), (sorted(0..3), all_answered(9) - 1));
}

#[test]
fn packs_are_looked_for() {
    let (_dir, store) = store();
    let pack = BlobRef { id: BlobId::of(b"a pack"), size: 6 };
    let path = store.shared.layout.pack(&pack.id);
    fs::create_dir_all(store.shared.layout.packs()).unwrap();
    fs::write(&path, b"a pack").unwrap();
    store
        .shared
        .index
        .write(|transaction| {
            transaction.execute(
                "INSERT INTO packs (number, id, size, unpacked, state) VALUES (1, ?1, ?2, 0, 'sound')",
                params![Bytes32::from(pack.id), Unsigned(pack.size)],
            )?;
            transaction.execute("UPDATE blobs SET pack = 1, position = 0 WHERE inline IS NULL", [])?;
            // Whatever makes a blob a member of a pack.
            Ok(transaction.execute("DELETE FROM look_up_table", [])?)
        })
        .unwrap();
    assert!(store.shared.try_to_renew_table().unwrap());
    let asked = asked(9);
    assert_eq!(Vec::from_iter(store.present(&asked).unwrap()), sorted(0..3));
    assert_eq!(take_answered(), all_answered(9));
    fs::write(&path, b"short").unwrap();
    store.present(&asked).unwrap();
    assert_eq!(take_answered(), all_answered(9) - 2, "the index is to tell");
}

#[test]
fn a_table_of_many_blocks_answers_as_the_index_does() {
    write_from(1);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let shared = &store.shared;
    insert(&store, 0..8_000);
    assert!(shared.try_to_renew_table().unwrap());
    let mut asked = asked(12_000);
    asked.extend_from_within(..1_000);
    let expected = shared.present_by_index(&asked).unwrap();
    assert_eq!(expected.len(), 8_000);
    assert_eq!(store.present(&asked).unwrap(), expected);
    assert_eq!(take_answered(), all_answered(12_000));
    // Merged with what it lacks, a table is what it would be if it were written from nothing.
    insert(&store, 8_000..8_124);
    assert!(!shared.try_to_renew_table().unwrap(), "not yet a part worth it");
    insert(&store, 8_124..8_125);
    assert!(shared.try_to_renew_table().unwrap());
    let merged = fs::read(table_of(dir.path())).unwrap();
    assert!(merged.len() > 4 * BLOCK_BYTES);
    shared.index.write(|transaction| Ok(transaction.execute("DELETE FROM look_up_table", [])?)).unwrap();
    assert!(shared.try_to_renew_table().unwrap());
    assert_eq!(fs::read(table_of(dir.path())).unwrap(), merged);
    assert_eq!(store.present(&asked).unwrap().len(), 8_125);
    assert_eq!(take_answered(), all_answered(12_000));
}

#[test]
fn a_damaged_block_is_asked_of_the_index_and_written_anew() {
    write_from(1);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    insert(&store, 0..4_000);
    assert!(store.shared.try_to_renew_table().unwrap());
    flip(&table_of(dir.path()), BLOCK_BYTES as u64 + 99, 1);
    let (found, answered) = present(&store, 4_000);
    assert_eq!(found.len(), 4_000);
    assert!(answered > 1_000 && answered < 3_500, "{answered}");
    assert!(store.shared.try_to_renew_table().unwrap());
    assert_eq!(present(&store, 4_000).1, all_answered(4_000));
}

#[test]
fn a_table_is_written_when_the_store_is_closed() {
    write_from(3);
    let dir = tempfile::tempdir().unwrap();
    let reopened = |commits: std::ops::Range<u64>| {
        let store = Store::open(dir.path()).unwrap();
        commits.for_each(|number| commit(&store, number, [0, 2, 4]));
        drop(store);
        let reader = Store::open_read_only(dir.path()).unwrap();
        let answered = present(&reader, 9);
        drop(reader);
        answered
    };
    assert_eq!(reopened(0..2), (sorted(0..2), 0), "not worth it yet");
    assert!(!table_of(dir.path()).exists());
    assert_eq!(reopened(2..4), (sorted(0..4), all_answered(9)));
    assert_eq!(reopened(4..6), (sorted(0..6), all_answered(9) - 2), "it lacks too little");
    fs::remove_file(table_of(dir.path())).unwrap();
    assert_eq!(present(&Store::open_read_only(dir.path()).unwrap(), 9), (sorted(0..6), 0));
    assert!(!table_of(dir.path()).exists(), "a reader writes nothing");
    assert_eq!(reopened(0..0), (sorted(0..6), all_answered(9)), "a lost one is written again");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(table_of(dir.path())).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o444);
}

#[test]
fn a_thread_of_its_own_writes_it_after_many_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    insert(&store, 0..ROWS_MIN);
    store.shared.committed(ROWS_MIN - 1);
    assert!(locked(&store.shared.table.thread).is_none());
    store.shared.committed(1);
    locked(&store.shared.table.thread).take().unwrap().join().unwrap();
    assert_eq!(present(&store, ROWS_MIN), (sorted(0..ROWS_MIN), all_answered(ROWS_MIN)));
}

#[test]
fn collection_leaves_a_table() {
    let (_dir, store) = store();
    assert!(store.remove_artifact(key(2)).unwrap());
    let options = GcOptions {
        now: UnixSeconds(4_000_000_000),
        dry_run: false,
        keep_days: 0,
        grace_seconds: 0,
        quota: None,
        evict_artifacts: false,
    };
    assert_eq!(store.gc(options).unwrap().blobs.count, 1);
    assert_eq!(present(&store, 9), (sorted(0..2), all_answered(9)));
}

#[test]
fn closing_a_store_does_not_wait_for_a_large_table_from_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let keys = READ_WHEN_CLOSED_MAX + 1;
    let store = Store::open(dir.path()).unwrap();
    insert(&store, 0..keys);
    drop(store);
    assert!(!table_of(dir.path()).exists());
    let store = Store::open(dir.path()).unwrap();
    store.shared.renew_table();
    assert_eq!(present(&store, 9), (sorted(0..9), all_answered(9)));
    insert(&store, keys..keys + ROWS_MIN);
    drop(store);
    let store = Store::open_read_only(dir.path()).unwrap();
    let found = store.present(&(0..keys + ROWS_MIN).map(key).collect::<Vec<_>>()).unwrap();
    assert_eq!((found.len() as u64, take_answered() as u64), (keys + ROWS_MIN, keys + ROWS_MIN), "merged");
}

#[test]
fn a_failure_at_any_step_of_writing_it_is_no_matter() {
    for at in 0.. {
        let (dir, store) = store();
        assert!(store.remove_artifact(key(0)).unwrap());
        commit(&store, 4, [0, 2, 4]);
        script(Some((at, Then::Fail)));
        let outcome = store.shared.try_to_renew_table();
        script(None);
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0, "step {at}");
        assert_eq!(present(&store, 9).0, sorted([1, 2, 4]), "step {at}");
        if outcome.is_ok() {
            assert!(at > 4, "{at}");
            return;
        }
        store.shared.renew_table();
        assert_eq!(present(&store, 9), (sorted([1, 2, 4]), all_answered(9)), "step {at}");
    }
}

fn flip(path: &Path, at: u64, bits: u8) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(path, permissions).unwrap();
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ bits], at).unwrap();
}

/// A table with an entry of each kind, and what is in it.
fn small_table(dir: &Path) -> (Identity, Vec<Entry>) {
    let needs = [vec![], vec![Need::Index], vec![Need::File(blob(1)), Need::Pack(blob(3))]];
    let mut entries: Vec<_> =
        (0..9).zip(needs.into_iter().cycle()).map(|(n, needs)| Entry { key: key(n), needs }).collect();
    entries.sort_unstable_by_key(|entry| entry.key);
    let mut writing = Writing::create(dir).unwrap();
    entries.iter().for_each(|entry| writing.add(entry).unwrap());
    (writing.finish(&table_of(dir)).unwrap(), entries)
}

/// Whether the table says nothing but what was put into it; `None` if it says nothing at all.
fn says_the_truth(dir: &Path, identity: Identity, entries: &[Entry]) -> Option<bool> {
    let table = Table::open(&table_of(dir), identity)?;
    let mut asked = asked(9);
    asked.sort_unstable();
    // Of keys before its first the directory alone tells.
    asked.retain(|key| *key >= entries[0].key);
    let mut is_true = true;
    let mut is_silent = true;
    table
        .find(&asked, |key, answer| {
            let entry = entries.iter().find(|entry| entry.key == key);
            let right = match answer {
                Answer::Unreadable => return Ok(()),
                Answer::Absent => entry.is_none(),
                Answer::Needs(needs) => {
                    entry.is_some_and(|entry| needs.iter().eq(entry.needs.iter().map(|need| Some(*need))))
                }
            };
            is_true &= right;
            is_silent = false;
            Ok(())
        })
        .unwrap();
    (!is_silent).then_some(is_true)
}

/// Flips every bit of a small table, one at a time, but for most of the zeros. How many made it say something wrong,
/// and how many left it saying anything.
fn flip_every_bit() -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let (identity, entries) = small_table(dir.path());
    assert_eq!(says_the_truth(dir.path(), identity, &entries), Some(true));
    let length = fs::metadata(table_of(dir.path())).unwrap().len();
    let used = 700;
    let (mut wrong, mut said) = (0, 0);
    for at in (0..used).chain((used..BLOCK_BYTES as u64).step_by(331)).chain(BLOCK_BYTES as u64..length) {
        for bit in 0..8 {
            flip(&table_of(dir.path()), at, 1 << bit);
            let truth = says_the_truth(dir.path(), identity, &entries);
            flip(&table_of(dir.path()), at, 1 << bit);
            wrong += usize::from(truth == Some(false));
            said += usize::from(truth.is_some());
        }
    }
    (wrong, said)
}

#[test]
fn a_table_with_any_bit_flipped_says_nothing() {
    assert_eq!(flip_every_bit(), (0, 0));
}

#[test]
fn without_checksums_flipped_bits_would_be_believed() {
    for check in [Check::Block, Check::Directory] {
        leave_out(Some(check));
        let (wrong, said) = flip_every_bit();
        leave_out(None);
        // Of the directory the digests of blocks are checked all the same, but not the first keys.
        assert!(said >= Digest::LEN * 8 && wrong > 8, "{check:?} {said} {wrong}");
    }
}

#[test]
fn a_torn_table_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (identity, entries) = small_table(dir.path());
    let whole = fs::read(table_of(dir.path())).unwrap();
    let write = |bytes: &[u8]| {
        fs::remove_file(table_of(dir.path())).unwrap();
        fs::write(table_of(dir.path()), bytes).unwrap();
    };
    // Cut off, or with zeros or another table's bytes where they did not get to the disk.
    let other = {
        let dir = tempfile::tempdir().unwrap();
        let mut writing = Writing::create(dir.path()).unwrap();
        for entry in entries.iter().step_by(2) {
            writing.add(entry).unwrap();
        }
        writing.finish(&table_of(dir.path())).unwrap();
        fs::read(table_of(dir.path())).unwrap()
    };
    assert_eq!(other.len(), whole.len());
    let zeros = vec![0; whole.len()];
    for at in (0..700).step_by(7).chain((0..whole.len()).step_by(512)).chain(whole.len() - 64..whole.len()) {
        write(&whole[..at]);
        assert_eq!(says_the_truth(dir.path(), identity, &entries), None, "cut off at {at}");
        for rest in [&zeros, &other] {
            for bytes in [[&whole[..at], &rest[at..]].concat(), [&rest[..at], &whole[at..]].concat()] {
                write(&bytes);
                let expected = (bytes == whole).then_some(true);
                assert_eq!(says_the_truth(dir.path(), identity, &entries), expected, "torn at {at}");
            }
        }
    }
    write(&[&whole[..], b"x"].concat());
    assert_eq!(says_the_truth(dir.path(), identity, &entries), None, "too long");
    write(&whole);
    assert_eq!(says_the_truth(dir.path(), identity, &entries), Some(true));
}

#[test]
fn only_the_table_that_the_index_knows_is_used() {
    let (dir, store) = store();
    let own = fs::read(table_of(dir.path())).unwrap();
    let (other_dir, other) = self::store();
    commit(&other, 7, [0, 2, 4]);
    assert!(other.shared.try_to_renew_table().unwrap());
    let index = |name: &str| dir.path().join(name);
    drop(store);
    fs::copy(index("index.db"), index("index.db.kept")).unwrap();
    let replace = |bytes: &[u8]| {
        fs::remove_file(table_of(dir.path())).unwrap();
        fs::write(table_of(dir.path()), bytes).unwrap();
    };
    let asked_of_a_reader = || present(&Store::open_read_only(dir.path()).unwrap(), 9);
    replace(&fs::read(table_of(other_dir.path())).unwrap());
    assert_eq!(asked_of_a_reader(), (sorted(0..3), 0), "another store's");
    replace(&own);
    assert_eq!(asked_of_a_reader(), (sorted(0..3), all_answered(9)));
    let store = Store::open(dir.path()).unwrap();
    commit(&store, 6, [0, 2, 4]);
    drop(store);
    let newer = fs::read(table_of(dir.path())).unwrap();
    assert_ne!(newer, own);
    assert_eq!(asked_of_a_reader(), (sorted([0, 1, 2, 6]), all_answered(9)));
    replace(&own);
    assert_eq!(asked_of_a_reader(), (sorted([0, 1, 2, 6]), 0), "its own of before");
    // An index that was put back from a copy, and has gone another way since.
    replace(&newer);
    fs::rename(index("index.db.kept"), index("index.db")).unwrap();
    let _ = fs::remove_file(index("index.db-wal"));
    let _ = fs::remove_file(index("index.db-shm"));
    assert_eq!(asked_of_a_reader(), (sorted(0..3), 0));
    write_from(u64::MAX);
    let store = Store::open(dir.path()).unwrap();
    commit(&store, 5, [0, 2, 4]);
    // The journal has what the copy had not.
    assert_eq!(present(&store, 9), (sorted([0, 1, 2, 5, 6]), 0));
}

#[derive(Debug, Clone)]
enum Op {
    Commit(u64, [u64; 3]),
    Remove(u64),
    /// The file of a content goes away, or rots.
    Delete(u64),
    Damage(u64),
    Put(u64),
    Verify,
    Gc,
    Renew,
    Reopen,
}

const KEYS: u64 = 8;
const CONTENTS: u64 = 6;

fn op() -> impl Strategy<Value = Op> {
    let content = || 0..CONTENTS;
    prop_oneof![
        8 => (0..KEYS, [content(), content(), content()]).prop_map(|(key, contents)| Op::Commit(key, contents)),
        2 => (0..KEYS).prop_map(Op::Remove),
        1 => content().prop_map(Op::Delete),
        1 => content().prop_map(Op::Damage),
        2 => content().prop_map(Op::Put),
        1 => Just(Op::Verify),
        1 => Just(Op::Gc),
        4 => Just(Op::Renew),
        1 => Just(Op::Reopen),
    ]
}

fn apply(store: Store, op: &Op) -> Store {
    match *op {
        Op::Commit(number, contents) => commit(&store, number, contents),
        Op::Remove(number) => drop(store.remove_artifact(key(number)).unwrap()),
        Op::Delete(number) => drop(fs::remove_file(store.shared.layout.blob(&blob(number).id))),
        Op::Damage(number) => {
            let file = store.shared.layout.blob(&blob(number).id);
            if fs::remove_file(&file).is_ok() {
                fs::write(&file, vec![0xff; INLINE_BYTES_MAX + 1]).unwrap();
            }
        }
        Op::Put(number) => drop(store.put_bytes(&content(number)).unwrap()),
        Op::Verify => drop(store.verify().unwrap()),
        Op::Gc => {
            let now = UnixSeconds(4_000_000_000);
            store
                .gc(GcOptions {
                    now,
                    dry_run: false,
                    keep_days: 0,
                    grace_seconds: 0,
                    quota: None,
                    evict_artifacts: false,
                })
                .unwrap();
        }
        Op::Renew => store.shared.renew_table(),
        Op::Reopen => {
            let path = store.path().to_owned();
            drop(store);
            return Store::open(path).unwrap();
        }
    }
    store
}

/// Whether after each of any operations the answer is that of the index; with how many keys the table answered for.
fn agrees(cases: u32) -> (Result<(), TestError<Vec<Op>>>, usize) {
    write_from(1);
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() };
    let answered = Cell::new(0);
    let outcome = TestRunner::new(config).run(&prop::collection::vec(op(), 1..40), |ops| {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        for op in &ops {
            store = apply(store, op);
            take_answered();
            let found = store.present(&asked(KEYS)).unwrap();
            answered.set(answered.get() + take_answered());
            prop_assert_eq!(found, store.shared.present_by_index(&asked(KEYS)).unwrap(), "{:?}", op);
        }
        Ok(())
    });
    (outcome, answered.get())
}

#[test]
fn after_any_operations_the_answer_is_that_of_the_index() {
    let (outcome, answered) = agrees(24);
    outcome.unwrap();
    assert!(answered > 100 * all_answered(KEYS), "{answered}");
}

#[test]
fn without_a_look_at_the_losses_it_would_not_be() {
    leave_out(Some(Check::Losses));
    let (outcome, _) = agrees(200);
    leave_out(None);
    outcome.unwrap_err();
}
