//! A store of an earlier format whose conversion is interrupted at every point.

use std::fs;
use std::path::Path;

use buildswarm_core::BlobId;
use buildswarm_core::artifact::Artifact;
use buildswarm_store::{GenerationRow, INLINE_BYTES_MAX, Store, VerifyReport};
use rusqlite::Connection;

use crate::child::Order;
use crate::content::file_of;
use crate::kill::{hear, visits};
use crate::plan::{Plan, Report};
use crate::promises::{Promises, whole};
use crate::scratch;

/// An index of each earlier format, and the numbers of the blobs it has as files.
const FORMATS: [(u32, &str, [u64; 4]); 1] =
    [(1, include_str!("../../store/tests/store/format-1.sql"), [1, 2, 4, 11])];

/// What a store has, as far as it can be asked.
#[derive(Debug, PartialEq)]
struct Content {
    artifacts: Vec<Artifact>,
    generations: Vec<GenerationRow>,
    current: Option<u64>,
    report: VerifyReport,
}

pub(crate) fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let mut deaths = 0;
    for (format, index, files) in FORMATS {
        let dir = scratch();
        let path = dir.path().join("undisturbed");
        make(&path, index, &files);
        let (status, reached) =
            hear(opening(&path, None).command().spawn().unwrap(), None, &mut Promises::default());
        assert!(status.success(), "a store of format {format} is not converted");
        let expected = content(&path).unwrap();
        for (name, nth) in visits(u64::MAX, reached.iter()) {
            let path = dir.path().join("killed");
            make(&path, index, &files);
            let order = opening(&path, Some((name.clone(), nth)));
            let (status, _) = hear(order.command().spawn().unwrap(), None, &mut Promises::default());
            let when = format!("format {format}, killed at {name}, time {nth}");
            if status.success() {
                report.violations.push(format!("{when}: it was not reached"));
            }
            match content(&path) {
                Ok(found) if found == expected => {}
                Ok(found) => report.violations.push(format!("{when}: {found:?} instead of {expected:?}")),
                Err(error) => report.violations.push(format!("{when}: {}", whole(&error))),
            }
            if format_of(&path.join(format!("index-format-{format}.db"))) != format {
                report.violations.push(format!("{when}: the index as it was is not kept"));
            }
            deaths += 1;
            fs::remove_dir_all(&path).unwrap();
        }
    }
    report.count_of(plan, "conversions interrupted", deaths, 60);
    report
}

fn opening(path: &Path, die: Option<(String, u64)>) -> Order {
    Order { threads: 0, die, ..Order::new(path, 0) }
}

fn make(path: &Path, index: &str, files: &[u64]) {
    fs::create_dir_all(path).unwrap();
    Connection::open(path.join("index.db")).unwrap().execute_batch(index).unwrap();
    for number in files {
        let mut bytes = vec![0; INLINE_BYTES_MAX + 1];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let file = file_of(path, BlobId::of(&bytes));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

fn content(path: &Path) -> buildswarm_store::Result<Content> {
    let store = Store::open(path)?;
    let report = store.verify()?;
    let artifacts = store.all_artifacts().collect::<Result<Vec<_>, _>>()?;
    let (generations, current) = (store.generations("stable")?, store.current("stable")?);
    Ok(Content { artifacts, generations, current, report })
}

fn format_of(index: &Path) -> u32 {
    let index = Connection::open(index).unwrap();
    index.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}
