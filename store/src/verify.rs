//! Reading everything again.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::{BlobId, BuildKey};
use rusqlite::params;

use crate::disk::Copy;
use crate::error::Result;
use crate::index::rows::{self, Stored};
use crate::index::values::Bytes32;
use crate::store::{Shared, Store};

/// Blobs a thread takes at a time: its read transaction stays short, and threads rarely meet.
const PAGE: i64 = 64;

/// What [`Store::verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Blobs read.
    pub checked: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs whose bytes are not those of their address. Taken out of service.
    pub damaged: Vec<BlobRef>,
    /// Blobs whose file is gone. Taken out of service.
    pub missing: Vec<BlobRef>,
    /// Blobs that could not be read, with the reason: nothing is known of them and nothing was done.
    pub unreadable: Vec<(PathBuf, String)>,
    /// What the index's own checks found.
    pub index: Vec<String>,
    /// Keys that have an artifact but do not resolve, because one of its blobs is out of service.
    pub unresolvable: Vec<BuildKey>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.damaged.is_empty()
            && self.missing.is_empty()
            && self.unreadable.is_empty()
            && self.index.is_empty()
            && self.unresolvable.is_empty()
    }

    fn add(&mut self, blob: BlobRef, path: PathBuf, found: Result<Copy>) {
        self.checked += 1;
        self.bytes += blob.size;
        match found {
            Ok(Copy::Sound) => {}
            Ok(Copy::Damaged) => self.damaged.push(blob),
            Ok(Copy::Missing) => self.missing.push(blob),
            Err(error) => self.unreadable.push((path, error.to_string())),
        }
    }
}

/// Where the threads are.
#[derive(Default)]
struct Progress {
    after: Option<BlobId>,
    report: VerifyReport,
}

impl Store {
    /// Reads and hashes every blob and checks the index. What is damaged goes to the quarantine, unless the store
    /// is open for reading only.
    ///
    /// # Errors
    /// Those of the index; a blob that cannot be read is part of the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        let progress = Mutex::new(Progress::default());
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        thread::scope(|scope| {
            let workers: Vec<_> =
                (0..threads).map(|_| scope.spawn(|| self.shared.verify_pages(&progress))).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let mut report = progress.into_inner().unwrap_or_else(PoisonError::into_inner).report;
        report.damaged.sort_unstable_by_key(|blob| blob.id);
        report.missing.sort_unstable_by_key(|blob| blob.id);
        report.unreadable.sort_unstable();
        report.index = self.shared.index.damage()?;
        report.unresolvable = self.shared.unresolvable()?;
        Ok(report)
    }
}

impl Shared {
    fn verify_pages(&self, progress: &Mutex<Progress>) -> Result<()> {
        loop {
            let page = {
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                let page = self.sound_after(progress.after)?;
                let Some(last) = page.last() else { return Ok(()) };
                progress.after = Some(last.blob.id);
                page
            };
            for stored in page {
                let found = self.verify_one(stored.blob);
                let path = match stored.inline {
                    Some(_) => self.index.path().to_owned(),
                    None => self.layout.blob(&stored.blob.id),
                };
                progress.lock().unwrap_or_else(PoisonError::into_inner).report.add(stored.blob, path, found);
            }
        }
    }

    fn verify_one(&self, blob: BlobRef) -> Result<Copy> {
        let found = self.examine(blob)?;
        // Collected since the page was read is not missing.
        if found == Copy::Sound || !self.is_expected(blob.id)? {
            return Ok(Copy::Sound);
        }
        // A put may have healed it meanwhile.
        Ok(if self.condemn(blob)? { found } else { Copy::Sound })
    }

    fn is_expected(&self, id: BlobId) -> Result<bool> {
        Ok(self.index.read(|reader| Ok(rows::find(reader, id)?))?.is_some_and(|stored| stored.sound))
    }

    fn sound_after(&self, after: Option<BlobId>) -> Result<Vec<Stored>> {
        self.index.read(|reader| {
            let mut query = reader.prepare_cached(&format!(
                "SELECT {} FROM blobs AS b
                 WHERE b.state = 'sound' AND b.id > ifnull(?1, x'') ORDER BY b.id LIMIT ?2",
                rows::columns("b")
            ))?;
            let found =
                query.query_map(params![after.map(Bytes32::from), PAGE], |row| Stored::from_row(row, 0))?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    fn unresolvable(&self) -> Result<Vec<BuildKey>> {
        self.index.read(|reader| {
            let mut query = reader.prepare_cached(
                "SELECT a.key FROM blobs AS b
                     JOIN artifacts AS a ON a.file = b.id OR a.log = b.id OR a.preimage = b.id
                 WHERE b.state <> 'sound' GROUP BY a.key ORDER BY a.key",
            )?;
            let found = query.query_map([], |row| row.get::<_, Bytes32>(0).map(BuildKey::from))?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }
}
