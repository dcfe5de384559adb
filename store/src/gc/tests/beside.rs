//! Collection beside readers and writers, in the middle of its steps, and in doubt.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey, Digest};
use rusqlite::params;
use tempfile::TempDir;

use super::model;
use crate::faults::scripted::{script, trace};
use crate::gc::mark::Collector;
use crate::gc::{GcOptions, KeptBecause};
use crate::index::values::{Bytes32, Unsigned};
use crate::{Directory, Entry, Error, INLINE_BYTES_MAX, Mode, Name, Node, RootKind, Store};

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn ruthless() -> GcOptions {
    GcOptions {
        now: UnixSeconds(4_000_000_000),
        dry_run: false,
        keep_days: 0,
        grace_seconds: 0,
        quota: Some(0),
        evict_artifacts: false,
    }
}

/// A directory with one file; its top and what is in it.
fn tree(store: &Store, content: &[u8]) -> (BlobId, BlobRef) {
    let content = store.put_bytes(content).unwrap();
    let node = Node::File { mode: Mode::of(0o644), content };
    let entries = vec![Entry { name: Name::new(b"file").unwrap(), node }];
    (store.put_bytes(&Directory::new(entries).unwrap().encode()).unwrap().id, content)
}

#[test]
fn a_directory_that_cannot_be_read_stops_everything_and_is_named() {
    let (_dir, store) = store();
    let (top, content) = tree(&store, b"content");
    let loose = store.put_bytes(b"loose").unwrap();
    store.set_root("etc/portage", RootKind::Tree, top).unwrap();
    let object = store.read_blob(top, 1 << 20).unwrap();
    let damage = "UPDATE inline_bytes SET bytes = x'00' WHERE id = (SELECT inline FROM blobs WHERE id = ?1)";
    store.shared.index.write(|t| Ok(t.execute(damage, [Bytes32::from(top)])?)).unwrap();
    // Once it is found damaged while it is read, and once it is known to be.
    for dry_run in [false, true, false] {
        let error = store.gc(GcOptions { dry_run, ..ruthless() }).unwrap_err();
        assert!(matches!(error, Error::GcRefused { .. }), "{error:?}");
        for named in ["\"etc/portage\"", &top.to_string(), "Put the tree again", "store root rm etc/portage"]
        {
            assert!(error.to_string().contains(named), "{error}");
        }
        assert!(store.contains(content.id).unwrap() && store.contains(loose.id).unwrap());
    }
    store.put_bytes(&object).unwrap();
    assert_eq!(store.gc(ruthless()).unwrap().blobs.count, 1);
    assert!(store.contains(content.id).unwrap() && !store.contains(loose.id).unwrap());
    store.remove_root("etc/portage").unwrap();
    assert_eq!(store.gc(ruthless()).unwrap().blobs.count, 2);
}

#[test]
fn a_tree_that_is_not_whole_is_no_root() {
    let (_dir, store) = store();
    let (top, content) = tree(&store, b"content");
    let lose = "UPDATE blobs SET state = 'bad' WHERE id = ?1";
    store.shared.index.write(|t| Ok(t.execute(lose, [Bytes32::from(content.id)])?)).unwrap();
    let error = store.set_root("tree", RootKind::Tree, top).unwrap_err();
    assert!(matches!(error, Error::BlobMissing { id } if id == content.id), "{error:?}");
    assert!(store.roots().unwrap().is_empty());
}

#[test]
fn a_root_set_while_a_collection_runs_counts() {
    let (_dir, store) = store();
    let (top, content) = tree(&store, b"content");
    let (other, lost) = tree(&store, b"lost");
    let collector = Collector::begin(&store.shared, &ruthless()).unwrap();
    store.set_root("late", RootKind::Tree, top).unwrap();
    collector.mark().unwrap();
    drop(collector);
    assert!(store.contains(top).unwrap() && store.contains(content.id).unwrap());
    assert!(!store.contains(other).unwrap() && !store.contains(lost.id).unwrap());
    store.gc(ruthless()).unwrap();
    assert!(store.contains(content.id).unwrap());
}

#[test]
fn what_is_recorded_between_the_look_and_the_writing_off_counts() {
    let (_dir, store) = store();
    let put = |bytes: &[u8]| store.put_bytes(bytes).unwrap();
    let (leased, rooted, pinned, used, loose) = (put(b"1"), put(b"2"), put(b"3"), put(b"4"), put(b"5"));
    let artifact = model::whole(&[put(b"6"), put(b"7"), put(b"8")]);
    let collector = Collector::begin(&store.shared, &ruthless()).unwrap();
    let mut pins = Vec::new();
    let far = UnixSeconds(4_000_000_000);
    collector
        .each_page(collector.limits, |page| {
            assert!(page.iter().all(|judged| judged.reason.is_none()));
            store.have(far, &[leased.id], 10).unwrap();
            store.set_root("late", RootKind::Blob, rooted.id).unwrap();
            pins.push(store.pin(&[pinned.id]).unwrap());
            let _ = store.commit_artifact(&artifact, &[]).unwrap();
            store.shared.index.write(|t| {
                let parameters = params![Bytes32::from(used.id), Unsigned(far.0)];
                Ok(t.execute("UPDATE blobs SET stored_at = ?2 WHERE id = ?1", parameters)?)
            })?;
            let outcome = collector.write_off(&page, |_| collector.limits)?;
            let gone: Vec<BlobId> = outcome.gone.iter().map(|judged| judged.id).collect();
            assert_eq!(gone, [loose.id]);
            assert_eq!(outcome.kept.len(), page.len() - 1);
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_is_pinned_outlives_a_collection_and_no_longer() {
    let (_dir, store) = store();
    let large = vec![1; INLINE_BYTES_MAX + 1];
    let (blob, pin) = store.put_pinned(&large[..]).unwrap();
    let (path, second) = store.pinned_path(blob.id).unwrap().unwrap();
    drop(pin);
    let report = store.gc(ruthless()).unwrap();
    assert_eq!((report.blobs.count, report.kept_by_reason[&KeptBecause::Pin].count), (0, 1));
    assert!(path.exists());
    drop(second);
    assert_eq!(store.gc(ruthless()).unwrap().blobs.count, 1);
    assert!(matches!(store.pin(&[blob.id]), Err(Error::BlobMissing { .. })));
    assert!(store.pinned_path(blob.id).unwrap().is_none());
}

#[test]
fn reading_writes_nothing_and_is_remembered_all_the_same() {
    let (dir, store) = store();
    let blobs =
        [store.put_bytes(b"small").unwrap(), store.put_bytes(&vec![1; INLINE_BYTES_MAX + 1]).unwrap()];
    store.shared.index.write(|t| Ok(t.execute("UPDATE blobs SET stored_at = 5", [])?)).unwrap();
    script(None);
    for blob in blobs {
        store.open_blob(blob.id).unwrap().unwrap().read_to_end(&mut Vec::new()).unwrap();
    }
    assert_eq!(trace(), []);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let oldest = "SELECT min(stored_at) FROM blobs";
    let oldest = store.shared.index.read(|r| Ok(r.query_row(oldest, [], |row| row.get::<_, u32>(0))?));
    assert!(oldest.unwrap() > 5);
}

/// Readers and writers against a collection that takes all it may, over and over.
#[test]
fn nothing_that_is_reached_is_lost_to_a_collection_beside() {
    let (_dir, store) = store();
    let (top, content) = tree(&store, &vec![7; INLINE_BYTES_MAX + 1]);
    store.set_root("kept", RootKind::Tree, top).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            for _ in 0..20 {
                store.gc(GcOptions { evict_artifacts: true, ..ruthless() }).unwrap();
            }
            ended.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                assert_eq!(store.read_blob(content.id, 1 << 20).unwrap().len() as u64, content.size);
            }
        });
        scope.spawn(|| {
            // The same tree is put, kept under a name, checked and given up, with nothing but pins in between.
            for round in 0_u64.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let file = vec![u8::try_from(round % 3).unwrap(); INLINE_BYTES_MAX + 2];
                let (content, pin) = store.put_pinned(&file[..]).unwrap();
                let node = Node::File { mode: Mode::of(0o644), content };
                let entries = vec![Entry { name: Name::new(b"file").unwrap(), node }];
                let object = Directory::new(entries).unwrap().encode();
                let (top, top_pin) = store.put_pinned(&object[..]).unwrap();
                store.set_root("moving", RootKind::Tree, top.id).unwrap();
                drop((pin, top_pin));
                assert_eq!(store.read_blob(content.id, 1 << 20).unwrap(), file);
                assert!(store.remove_root("moving").unwrap());
            }
        });
        scope.spawn(|| {
            for round in 0_u64.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let put = |seed: u64| store.put_pinned(&(seed % 5).to_le_bytes()[..]).unwrap();
                let (blobs, pins): (Vec<_>, Vec<_>) =
                    [put(round), put(round + 1), put(round + 2)].into_iter().unzip();
                let mut artifact = model::whole(&[blobs[0], blobs[1], blobs[2]]);
                artifact.key = BuildKey::from_digest(Digest::of(&round.to_le_bytes()));
                let _ = store.commit_artifact(&artifact, &[]).unwrap();
                drop(pins);
            }
        });
        collector.join().unwrap();
    });
    assert!(store.verify().unwrap().is_clean());
}
