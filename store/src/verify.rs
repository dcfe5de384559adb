//! Reading everything again.

mod options;
mod packs;
mod repair;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::{BlobId, BuildKey};
use rusqlite::params;

use crate::backup::Progress;
use crate::disk::{self, Copy};
use crate::error::Result;
use crate::gc::Tally;
use crate::index::rows::{self, Place, Stored};
use crate::index::values::{Bytes32, Unsigned};
use crate::journal::Replay;
use crate::store::{Shared, Store};
use options::{Pace, Position, Share, Tell};

pub use options::{Repair, VerifyOptions};

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
    /// Packs whose bytes are not those of their address. What is damaged of their blobs is among [`damaged`](Self::damaged);
    /// the others go on being served, and the next collection moves them.
    pub damaged_packs: Vec<BlobId>,
    /// Blobs that could not be read, with the reason: nothing is known of them and nothing was done.
    pub unreadable: Vec<(PathBuf, String)>,
    /// What the index's own checks found.
    pub index: Vec<String>,
    /// Damaged records of the journal. They have been written anew, unless the store is open for reading only.
    pub journal: Vec<String>,
    /// Blobs that were damaged or missing, now or before, and are sound again: whoever was asked for them had them.
    pub repaired: Vec<BlobRef>,
    /// Blobs that whoever was asked for them could not give, with the reason; those it does not have are not among them.
    pub unrepaired: Vec<(BlobRef, String)>,
    /// Whether it was stopped before everything was read.
    pub stopped: bool,
    /// Keys that have an artifact but do not resolve, because one of its blobs is out of service.
    pub unresolvable: Vec<BuildKey>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.damaged.is_empty()
            && self.missing.is_empty()
            && self.damaged_packs.is_empty()
            && self.unreadable.is_empty()
            && self.index.is_empty()
            && self.journal.is_empty()
            && self.unrepaired.is_empty()
            && self.unresolvable.is_empty()
    }

    fn absorb(&mut self, other: Self) {
        self.checked += other.checked;
        self.bytes += other.bytes;
        self.damaged.extend(other.damaged);
        self.missing.extend(other.missing);
        self.damaged_packs.extend(other.damaged_packs);
        self.unreadable.extend(other.unreadable);
    }

    fn add(&mut self, blob: BlobRef, path: PathBuf, found: Result<Copy>) {
        self.checked += 1;
        self.bytes += blob.size;
        match found {
            Ok(Copy::Sound) => {}
            Ok(Copy::Damaged) => self.damaged.push(blob),
            Ok(Copy::Missing) => self.missing.push(blob),
            Err(error) => self.unreadable.push((path, error.whole())),
        }
    }
}

/// Where the threads are.
struct Cursor {
    position: Position,
    so_far: Progress,
    report: VerifyReport,
}

impl Cursor {
    /// Has what was read count, and tells whoever wants to know. Whether to go on.
    fn advance(&mut self, tell: Option<&Tell<'_>>, found: VerifyReport) -> bool {
        self.so_far.done.count += found.checked;
        self.so_far.done.bytes += found.bytes;
        self.report.absorb(found);
        if tell.is_some_and(|tell| tell(self.so_far).is_break()) {
            self.report.stopped = true;
        }
        !self.report.stopped
    }
}

impl Store {
    /// Reads and hashes every blob and checks the index. What is damaged goes to the quarantine, unless the store
    /// is open for reading only.
    ///
    /// # Errors
    /// Those of the index; a blob that cannot be read is part of the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(&VerifyOptions::default())
    }

    /// As [`verify`](Self::verify), at a bounded rate, in steps, with repair, or with news of how far it is.
    ///
    /// ```
    /// use buildswarm_store::{Store, VerifyOptions};
    /// # let dir = tempfile::tempdir()?;
    /// # let (path, to) = (dir.path().join("store"), dir.path().join("backup"));
    /// # let store = Store::open(&path)?;
    /// # store.put_bytes(b"the log of a build")?;
    /// # store.backup(&to)?;
    /// let backup = Store::open_read_only(&to)?;
    /// let peer = backup.peer();
    /// let options = VerifyOptions { repair: Some(&peer), ..VerifyOptions::default() };
    /// assert!(store.verify_with(&options)?.is_clean());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`verify`](Self::verify); [`Error::ReadOnly`](crate::Error::ReadOnly) if steps or repair are asked for and the
    /// store is open for reading only.
    pub fn verify_with(&self, options: &VerifyOptions<'_>) -> Result<VerifyReport> {
        if options.resume || options.repair.is_some() {
            self.shared.require_writable()?;
        }
        let position =
            if options.resume { Position::load(&self.shared.layout)? } else { Position::default() };
        let total = self.shared.total_after(position)?;
        let so_far = Progress { total, ..Progress::default() };
        let cursor = Mutex::new(Cursor { position, so_far, report: VerifyReport::default() });
        let pace = options.bytes_per_second.map(Pace::new);
        let share = Share {
            cursor: &cursor,
            progress: options.progress,
            resume: options.resume,
            pace: pace.as_ref(),
        };
        // One thread reads faster than anybody bounds it to, and where one is can be written down.
        let one = options.resume || pace.is_some();
        let threads = if one { 1 } else { thread::available_parallelism().map_or(1, std::num::NonZero::get) };
        thread::scope(|scope| {
            let workers: Vec<_> =
                (0..threads).map(|_| scope.spawn(|| self.shared.verify_share(&share))).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let Cursor { position, mut report, .. } = cursor.into_inner().unwrap_or_else(PoisonError::into_inner);
        if options.resume {
            let left = report.stopped.then_some(position);
            left.map_or_else(
                || Position::forget(&self.shared.layout),
                |left| left.save(&self.shared.layout),
            )?;
        }
        if let Some(repair) = options.repair {
            self.shared.repair(repair, &mut report)?;
        }
        report.journal = self.shared.verify_journal()?;
        report.damaged.sort_unstable_by_key(|blob| blob.id);
        report.missing.sort_unstable_by_key(|blob| blob.id);
        report.damaged_packs.sort_unstable();
        report.unreadable.sort_unstable();
        report.index = self.shared.index.damage()?;
        report.unresolvable = self.shared.unresolvable()?;
        Ok(report)
    }
}

impl Shared {
    /// What one of the threads does.
    fn verify_share(&self, share: &Share<'_>) -> Result<()> {
        if self.verify_packs(share)? { self.verify_pages(share) } else { Ok(()) }
    }

    /// Blobs in the index and in files of their own.
    fn verify_pages(&self, share: &Share<'_>) -> Result<()> {
        loop {
            let page = {
                let mut cursor = share.cursor();
                let page = self.sound_after(cursor.position.after)?;
                let Some(last) = page.last() else { return Ok(()) };
                // With one thread, everything before this page has been read.
                share.save(&self.layout, cursor.position)?;
                cursor.position.after = Some(last.blob.id);
                page
            };
            let mut found = VerifyReport::default();
            for stored in page {
                let path = match stored.place {
                    Place::Inline(_) => self.index.path().to_owned(),
                    Place::File | Place::Packed { .. } => self.layout.blob(&stored.blob.id),
                };
                found.add(stored.blob, path, self.verify_one(&stored, share));
            }
            if !share.cursor().advance(share.progress, found) {
                return Ok(());
            }
        }
    }

    fn verify_one(&self, stored: &Stored, share: &Share<'_>) -> Result<Copy> {
        let found = match stored.place {
            Place::File => disk::inspect_paced(&self.layout.blob(&stored.blob.id), stored.blob, |bytes| {
                share.spend(bytes)
            })?,
            Place::Inline(_) | Place::Packed { .. } => {
                share.spend(stored.blob.size);
                self.examine(stored)?
            }
        };
        self.judge(stored.blob.id, found)
    }

    /// What of the journal is damaged. What it says is written anew from the index then, which knows all of it.
    fn verify_journal(&self) -> Result<Vec<String>> {
        let replay = Replay::of(&self.layout, |_| Ok(()))?;
        // What is being written just now looks as if it were torn.
        let damage: Vec<String> =
            replay.damage.iter().filter(|damage| !damage.is_tail()).map(ToString::to_string).collect();
        if !damage.is_empty() {
            self.index.renew_journal()?;
        }
        Ok(damage)
    }

    fn total_after(&self, position: Position) -> Result<Tally> {
        self.index.read(|reader| {
            let (pack, after) = position.columns();
            let total = reader.query_row(
                "SELECT count(*), ifnull(sum(size), 0) FROM blobs WHERE state = 'sound'
                     AND CASE WHEN pack IS NULL THEN ?2 IS NULL OR id > ?2 ELSE pack > ?1 END",
                params![pack, after],
                |row| Ok(Tally { count: row.get::<_, Unsigned>(0)?.0, bytes: row.get::<_, Unsigned>(1)?.0 }),
            )?;
            Ok(total)
        })
    }

    /// What is to be said of a blob that was found like this, and takes it out of service if it is damaged.
    fn judge(&self, id: BlobId, found: Copy) -> Result<Copy> {
        // Collected since the page was read is not missing.
        if found == Copy::Sound || !self.is_expected(id)? {
            return Ok(Copy::Sound);
        }
        // A put may have healed it meanwhile.
        Ok(if self.condemn(id)? { found } else { Copy::Sound })
    }

    fn is_expected(&self, id: BlobId) -> Result<bool> {
        Ok(self.index.read(|reader| Ok(rows::find(reader, id)?))?.is_some_and(|stored| stored.sound))
    }

    fn sound_after(&self, after: Option<BlobId>) -> Result<Vec<Stored>> {
        self.index.read(|reader| {
            let mut query = reader.prepare_cached(&format!(
                "SELECT {} FROM blobs AS b
                 WHERE b.state = 'sound' AND b.pack IS NULL AND b.id > ifnull(?1, x'') ORDER BY b.id LIMIT ?2",
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
