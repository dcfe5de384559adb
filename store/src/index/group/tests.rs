use std::panic::catch_unwind;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::Store;
use crate::faults::scripted::{Then, script, trace};

const THREADS: u32 = 64;

fn writer(dir: &Path) -> Writer {
    let layout = Layout::new(dir);
    let (connection, _) = super::super::open::writer(&layout, &layout.index()).unwrap();
    let journal = Journal::begin(&layout, &connection).unwrap();
    connection.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT").unwrap();
    Writer::new(&layout, connection, journal)
}

fn insert(writer: &Writer, number: u32) -> Result<()> {
    writer.write(|transaction| {
        transaction.execute("INSERT INTO t (n) VALUES (?1)", [number])?;
        Ok(())
    })
}

/// What another connection sees.
fn committed(dir: &Path) -> Vec<u32> {
    let reader = Connection::open(dir.join("index.db")).unwrap();
    let mut query = reader.prepare("SELECT n FROM t ORDER BY n").unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Holds the writer until all of these wait for it.
fn behind(writer: &Writer, others: Vec<Box<dyn FnOnce() + Send + '_>>) {
    let (count, held) = (others.len(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let open = writer.enter();
            held.store(true, Ordering::SeqCst);
            while writer.waiting.load(Ordering::SeqCst) < count {
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(open);
        });
        while !held.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        for other in others {
            scope.spawn(other);
        }
        holder.join().unwrap();
    });
}

fn count(step: Step) -> u32 {
    trace().iter().filter(|taken| **taken == step).count() as u32
}

#[test]
fn threads_that_write_at_the_same_time_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let commits = AtomicUsize::new(0);
    let put = |number: u32| -> Box<dyn FnOnce() + Send + '_> {
        let (store, commits) = (&store, &commits);
        Box::new(move || {
            script(None);
            let blob = store.put_bytes(&number.to_le_bytes()).unwrap();
            assert!(store.contains(blob.id).unwrap(), "committed when it is acknowledged");
            commits.fetch_add(count(Step::Commit) as usize, Ordering::SeqCst);
        })
    };
    behind(store.shared.index.writer.as_ref().unwrap(), (0..THREADS).map(put).collect());
    assert_eq!(store.stats().unwrap().inline_blobs, u64::from(THREADS));
    assert_eq!(commits.into_inner(), 1, "for {THREADS} puts");
}

#[test]
fn a_group_takes_one_commit_and_a_lone_writer_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path());
    script(None);
    insert(&writer, 1000).unwrap();
    assert_eq!(trace(), [Step::Commit, Step::Committed]);
    let commits = AtomicUsize::new(0);
    let one = |number| -> Box<dyn FnOnce() + Send + '_> {
        let (writer, commits) = (&writer, &commits);
        Box::new(move || {
            script(None);
            insert(writer, number).unwrap();
            commits.fetch_add(count(Step::Commit) as usize, Ordering::SeqCst);
        })
    };
    behind(&writer, (0..10).map(one).collect());
    assert_eq!(commits.into_inner(), 1);
    assert_eq!(committed(dir.path()).len(), 11);
}

#[test]
fn a_group_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path());
    let commits = AtomicUsize::new(0);
    let one = |number| -> Box<dyn FnOnce() + Send + '_> {
        let (writer, commits) = (&writer, &commits);
        Box::new(move || {
            script(None);
            insert(writer, number).unwrap();
            commits.fetch_add(count(Step::Commit) as usize, Ordering::SeqCst);
        })
    };
    behind(&writer, (0..GROUP_MAX as u32 + 10).map(one).collect());
    assert_eq!(commits.into_inner(), 2);
}

#[test]
fn a_large_change_is_committed_without_waiting_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path());
    let commits = AtomicUsize::new(0);
    let many = |first: u64| -> Box<dyn FnOnce() + Send + '_> {
        let (writer, commits) = (&writer, &commits);
        Box::new(move || {
            script(None);
            let change = |transaction: &Transaction<'_>| {
                for number in first..first + CHANGES_MAX {
                    transaction.execute("INSERT INTO t (n) VALUES (?1)", [Unsigned(number)])?;
                }
                Ok(())
            };
            writer.write(change).unwrap();
            commits.fetch_add(count(Step::Commit) as usize, Ordering::SeqCst);
        })
    };
    behind(&writer, (0..3).map(|number| many(number * CHANGES_MAX)).collect());
    assert_eq!(commits.into_inner(), 3);
}

#[test]
fn one_that_is_refused_or_panics_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path());
    let one = |number: u32| -> Box<dyn FnOnce() + Send + '_> {
        let writer = &writer;
        Box::new(move || match number % 4 {
            1 => {
                let refused = writer.write(|transaction| -> Result<(), Fault> {
                    transaction.execute("INSERT INTO t (n) VALUES (?1)", [number])?;
                    Err(Error::GcRefused { reason: "no".to_owned() }.into())
                });
                assert!(matches!(refused, Err(Error::GcRefused { .. })));
            }
            2 => {
                let panicked = catch_unwind(AssertUnwindSafe(|| {
                    let _ = writer.write(|transaction| -> Result<(), Fault> {
                        transaction.execute("INSERT INTO t (n) VALUES (?1)", [number])?;
                        panic!("in the middle of a change")
                    });
                }));
                panicked.unwrap_err();
            }
            3 => {
                let failed = writer.write(|transaction| {
                    transaction.execute("INSERT INTO t (n) VALUES (?1)", [number])?;
                    transaction.execute("INSERT INTO t (n) VALUES (?1)", [number])?;
                    Ok(())
                });
                assert!(matches!(failed, Err(Error::Index { .. })));
            }
            _ => insert(writer, number).unwrap(),
        })
    };
    behind(&writer, (0..40).map(one).collect());
    assert_eq!(committed(dir.path()), (0..40).filter(|number| number % 4 == 0).collect::<Vec<_>>());
    // Also alone, where nobody else would commit or clean up.
    for number in [41, 42, 43, 44] {
        one(number)();
    }
    assert_eq!(committed(dir.path()).len(), 11);
    assert!(writer.connection(Connection::is_autocommit));
}

#[test]
fn a_commit_that_fails_fails_for_all_of_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path());
    let failed = AtomicUsize::new(0);
    let one = |number: u32| -> Box<dyn FnOnce() + Send + '_> {
        let (writer, failed) = (&writer, &failed);
        Box::new(move || {
            script(Some((0, Then::Fail)));
            if let Err(error) = insert(writer, number) {
                assert!(matches!(error, Error::Io { .. }), "{error}");
                failed.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    behind(&writer, (0..10).map(one).collect());
    assert_eq!(failed.into_inner(), 10);
    assert_eq!(committed(dir.path()), Vec::<u32>::new());
    script(None);
    insert(&writer, 7).unwrap();
    assert_eq!(committed(dir.path()), [7]);
}

#[test]
fn a_transaction_that_the_database_gives_up_fails_for_all_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path());
    let failed = AtomicUsize::new(0);
    let one = |number: u32| -> Box<dyn FnOnce() + Send + '_> {
        let (writer, failed) = (&writer, &failed);
        Box::new(move || {
            let outcome = writer.write(|transaction| {
                if transaction.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, u32>(0))? == 4 {
                    // As SQLite does by itself when the disk is full.
                    transaction.execute("ROLLBACK", [])?;
                    return Err(Error::GcRefused { reason: "full".to_owned() }.into());
                }
                transaction.execute("INSERT INTO t (n) VALUES (?1)", [number])?;
                Ok(())
            });
            failed.fetch_add(usize::from(outcome.is_err()), Ordering::SeqCst);
        })
    };
    behind(&writer, (0..7).map(one).collect());
    // Four before it, itself, and what came after it began anew.
    assert_eq!(failed.into_inner(), 5);
    assert_eq!(committed(dir.path()).len(), 2);
}
