//! An index that is made again is the one that was lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use buildswarm_core::artifact::Artifact;
use buildswarm_core::time::UnixSeconds;
use buildswarm_store::{Compression, Error, GenerationRow, INLINE_BYTES_MAX, SignedPackage, Store};
use proptest::prelude::*;

use crate::support::{artifact, bytes, file_of, key, large, reuse, ruthless, store, tamper, with_blobs};

/// Something that happens to a store. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Event {
    Put(u64, bool),
    Commit(u64, Vec<u64>),
    /// An artifact, and a small blob more, in one batch.
    Batch(u64, bool),
    /// Another build of a key whose artifact has lost its file.
    CommitAgain(u64),
    RemoveArtifact(u64),
    Sign(u64, bool),
    Publish(Vec<u64>),
    SetCurrent(u64),
    RemoveGeneration(u64),
    Lose(u64),
    Collect,
    Reopen,
}

fn event() -> impl Strategy<Value = Event> {
    let seed = 0..6_u64;
    prop_oneof![
        3 => (seed.clone(), any::<bool>()).prop_map(|(seed, large)| Event::Put(seed, large)),
        6 => (seed.clone(), prop::collection::vec(0..4_u64, 0..3)).prop_map(|(seed, reuse)| Event::Commit(seed, reuse)),
        2 => (seed.clone(), any::<bool>()).prop_map(|(seed, packed)| Event::Batch(seed, packed)),
        2 => seed.clone().prop_map(Event::CommitAgain),
        2 => seed.clone().prop_map(Event::RemoveArtifact),
        2 => (seed.clone(), any::<bool>()).prop_map(|(seed, other)| Event::Sign(seed, other)),
        2 => prop::collection::vec(seed.clone(), 0..3).prop_map(Event::Publish),
        1 => seed.clone().prop_map(Event::SetCurrent),
        1 => seed.clone().prop_map(Event::RemoveGeneration),
        1 => seed.prop_map(Event::Lose),
        1 => Just(Event::Collect),
        1 => Just(Event::Reopen),
    ]
}

/// What happens may be refused: what matters is that index and journal agree about it.
fn happen(path: &Path, store: &mut Option<Store>, event: &Event) {
    let open = store.as_ref().unwrap();
    match event {
        Event::Put(seed, true) => drop(open.put_bytes(&large(*seed)).unwrap()),
        Event::Put(seed, false) => drop(open.put_bytes(&bytes(*seed, 300)).unwrap()),
        Event::Commit(seed, keys) => {
            let built = artifact(open, "dev-libs/foo-1", *seed);
            let keys: Vec<_> = keys.iter().copied().map(reuse).collect();
            let _ = open.commit_artifact(&built, &keys).unwrap();
        }
        Event::Batch(seed, packed) => {
            let compression = if *packed { Compression::Zstd } else { Compression::None };
            let batch = open.batch(compression).unwrap();
            let blobs = [17_000, 300, 200].map(|size| batch.put_bytes(&bytes(seed + 300, size)).unwrap());
            batch.put_bytes(&bytes(*seed, 300)).unwrap();
            batch.commit_artifact(with_blobs("dev-libs/foo-3", *seed, blobs), &[reuse(*seed)]);
            let _ = batch.commit().unwrap();
        }
        Event::CommitAgain(seed) => {
            let built = artifact(open, "dev-libs/foo-2", seed + 100);
            let built = Artifact { key: key(*seed), ..built };
            let _ = open.commit_artifact(&built, &[reuse(seed + 1)]).unwrap();
        }
        Event::RemoveArtifact(seed) => drop(open.remove_artifact(key(*seed)).unwrap()),
        Event::Sign(seed, other) => {
            let file = open.put_bytes(&bytes(seed + 200, 17_000)).unwrap();
            let signer = if *other { "B" } else { "A" };
            let _ = open.put_signed(
                key(*seed),
                signer,
                &SignedPackage { file, index_entry: format!("{{\"{seed}\":1}}") },
            );
        }
        Event::Publish(seeds) => {
            let number = open.generations("stable").unwrap().last().map_or(1, |last| last.number + 1);
            let manifest = open.put_bytes(format!("generation {number}").as_bytes()).unwrap();
            let entries = seeds.iter().copied().map(key).collect();
            let row = GenerationRow { number, created: UnixSeconds(number), entries, manifest };
            let _ = open.record_generation("stable", &row);
        }
        Event::SetCurrent(number) => drop(open.set_current("stable", *number)),
        Event::RemoveGeneration(number) => drop(open.remove_generation("stable", *number)),
        Event::Lose(seed) => {
            let Some(built) = open.artifact(key(*seed)).unwrap() else { return };
            let _ = fs::remove_file(file_of(path, built.file.id));
            open.verify().unwrap();
        }
        Event::Collect => drop(open.gc(ruthless()).unwrap()),
        Event::Reopen => {
            *store = None;
            *store = Some(Store::open(path).unwrap());
        }
    }
}

/// What an index says, row by row: all that is to be the same again.
pub(crate) fn said(path: &Path) -> BTreeSet<String> {
    let index = rusqlite::Connection::open(path.join("index.db")).unwrap();
    let queries = [
        "SELECT 'store', hex(uuid) FROM store",
        "SELECT 'restored', at, noted FROM restores",
        "SELECT 'blob', hex(id), size FROM blobs WHERE state = 'sound'",
        "SELECT 'artifact', rank() OVER (ORDER BY number), hex(key), cp, package, slot, repository, hex(file), hex(log),
             hex(preimage), hex(payload), hex(interface), installed_size, build_millis, built_at, builder, metadata
         FROM artifacts",
        "SELECT 'reuse', hex(key), position, hex(artifact) FROM reuse_keys",
        "SELECT 'signed', hex(key), signer, hex(file), index_entry FROM signed",
        "SELECT 'generation', channel, number, created, hex(manifest) FROM generations",
        "SELECT 'entry', channel, number, position, hex(key) FROM generation_entries",
        "SELECT 'kept', channel, number, hex(blob) FROM generation_blobs",
        "SELECT 'current', channel, number FROM current_generations",
        "SELECT 'root', name, hex(blob), kind, made FROM roots",
    ];
    let mut said = BTreeSet::new();
    for query in queries {
        let mut query = index.prepare(query).unwrap();
        let columns = query.column_count();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<rusqlite::types::Value> = (0..columns).map(|at| row.get(at).unwrap()).collect();
            said.insert(format!("{values:?}"));
        }
    }
    said
}

fn losses(path: &Path) -> u64 {
    let index = rusqlite::Connection::open(path.join("index.db")).unwrap();
    index.query_row("SELECT losses FROM store", [], |row| row.get::<_, i64>(0)).unwrap() as u64
}

fn delete_index(path: &Path) {
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = fs::remove_file(path.join(name));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_the_rebuilt_index_says_the_same(events in prop::collection::vec(event(), 0..40)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut open = Some(Store::open(&path).unwrap());
        for event in &events {
            happen(&path, &mut open, event);
        }
        drop(open);
        let before = said(&path);
        delete_index(&path);
        let report = Store::rebuild(&path).unwrap();
        prop_assert_eq!(&report.journal, &Vec::<String>::new());
        let after = said(&path);
        prop_assert!(after.is_superset(&before), "lost: {:?}", before.difference(&after));
        // What was collected out of a pack, but not the pack, is there again until the next collection.
        let packed = fs::read_dir(path.join("packs")).unwrap().count() > 0;
        prop_assert!(after.difference(&before).all(|row| packed && row.starts_with("[Text(\"blob\")")));
        // And it goes on from there.
        let open = Store::open(&path).unwrap();
        let built = artifact(&open, "dev-libs/foo-1", 50);
        let _ = open.commit_artifact(&built, &[reuse(0)]).unwrap();
        prop_assert!(open.verify().unwrap().damaged.is_empty());
        drop(open);
        let before = said(&path);
        Store::rebuild(&path).unwrap();
        prop_assert_eq!(said(&path), before);
    }
}

#[test]
fn a_damaged_index_is_kept_and_another_takes_its_place() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let built = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&built, &[reuse(1)]).unwrap();
    drop(store);
    let (before, earlier) = (said(&path), losses(&path));
    let mut index = fs::read(path.join("index.db")).unwrap();
    for byte in index.iter_mut().skip(100) {
        *byte = 0xa5;
    }
    fs::write(path.join("index.db"), &index).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(error.to_string().contains("store rebuild"), "{error}");
    let report = Store::rebuild(&path).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((report.artifacts, report.blobs.count), (1, 3));
    assert_eq!(fs::read(report.old_index.unwrap()).unwrap(), index);
    assert_eq!(said(&path), before);
    assert!(losses(&path) > earlier, "who remembers what was there has to look again");
    let store = Store::open(&path).unwrap();
    assert_eq!(store.reused(&[reuse(1)]).unwrap()[&reuse(1)], built);
}

#[test]
fn what_is_damaged_or_gone_is_said_and_comes_back_with_its_bytes() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let built = [1, 2].map(|seed| artifact(&store, "dev-libs/foo-1", seed));
    for built in &built {
        let _ = store.commit_artifact(built, &[]).unwrap();
    }
    drop(store);
    tamper(&file_of(&path, built[0].file.id), |bytes| bytes[5] ^= 1);
    fs::remove_file(file_of(&path, built[1].file.id)).unwrap();
    delete_index(&path);
    let error = Store::open(&path).unwrap_err();
    assert!(
        matches!(error, Error::IndexMissing { .. }) && error.to_string().contains("store rebuild"),
        "{error}"
    );
    let report = Store::rebuild(&path).unwrap();
    assert_eq!(report.damaged, [file_of(&path, built[0].file.id)]);
    let missing: BTreeSet<_> = report.missing.iter().map(|blob| blob.id).collect();
    assert_eq!(missing, BTreeSet::from([built[0].file.id, built[1].file.id]));
    assert!(report.old_index.is_none() && !report.is_whole());
    let store = Store::open(&path).unwrap();
    assert_eq!(store.stats().unwrap().quarantined, 1);
    for (seed, built) in (1..).zip(&built) {
        assert_eq!(store.artifact(built.key).unwrap(), None);
        store.put_bytes(&large(seed)).unwrap();
        assert_eq!(store.artifact(built.key).unwrap().as_ref(), Some(built));
    }
    assert!(store.verify().unwrap().is_clean());
}

#[test]
fn what_is_sound_in_a_damaged_pack_is_found_without_its_headers() {
    for compression in [Compression::Zstd, Compression::None] {
        let (dir, store) = store();
        let path = dir.path().join("store");
        let batch = store.batch(compression).unwrap();
        let blobs: Vec<_> = (0..40).map(|seed| batch.put_bytes(&bytes(seed, 200_000)).unwrap()).collect();
        let _ = batch.commit().unwrap();
        drop(store);
        let pack = fs::read_dir(path.join("packs")).unwrap().next().unwrap().unwrap().path();
        // In the third or fourth MiB, and for the plain one in the header of a blob.
        let header = 15 * (512 + 200_192);
        tamper(&pack, |bytes| bytes[header..header + 512].fill(0xa5));
        delete_index(&path);
        let report = Store::rebuild(&path).unwrap();
        assert_eq!(report.damaged, [pack]);
        let store = Store::open(&path).unwrap();
        let there = blobs.iter().filter(|blob| store.contains(blob.id).unwrap()).count();
        assert!((30..40).contains(&there), "{there}");
        assert!(store.verify().unwrap().damaged.is_empty());
        store.gc(ruthless()).unwrap();
    }
}

#[test]
fn damage_in_the_journal_costs_what_only_it_told() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let mut kept = Vec::new();
    let mut place = 0;
    let segment = fs::read_dir(path.join("journal")).unwrap().next().unwrap().unwrap().path();
    for seed in 1..4 {
        if seed == 2 {
            place = fs::metadata(&segment).unwrap().len() as usize;
        }
        kept.push(store.put_bytes(&bytes(seed, INLINE_BYTES_MAX)).unwrap());
    }
    drop(store);
    tamper(&segment, |bytes| bytes[place + 100] ^= 1);
    delete_index(&path);
    let report = Store::rebuild(&path).unwrap();
    assert_eq!(report.journal.len(), 1, "{report:?}");
    assert!(report.journal[0].ends_with("are damaged"), "{report:?}");
    let store = Store::open(&path).unwrap();
    let there: Vec<bool> = kept.iter().map(|blob| store.contains(blob.id).unwrap()).collect();
    assert_eq!(there, [true, false, true]);
    drop(store);
    // What was read is in a journal without damage by now.
    assert_eq!(Store::rebuild(&path).unwrap().journal, Vec::<String>::new());
}

#[test]
fn blobs_alone_are_enough_for_an_index() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    let blob = store.put_bytes(&large(1)).unwrap();
    drop(store);
    delete_index(&path);
    fs::remove_dir_all(path.join("journal")).unwrap();
    assert!(Store::rebuild(&path).unwrap().is_whole());
    assert_eq!(Store::open(&path).unwrap().read_blob(blob.id, 1 << 20).unwrap(), large(1));
}

#[test]
fn there_is_nothing_to_rebuild_and_nobody_else_at_it() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Store::rebuild(dir.path()), Err(Error::NoStore { .. })));
    assert!(matches!(Store::rebuild(dir.path().join("none")), Err(Error::NoStore { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let (dir, store) = store();
    store.put_bytes(b"x").unwrap();
    assert!(matches!(Store::rebuild(dir.path().join("store")), Err(Error::InUse { .. })));
}
