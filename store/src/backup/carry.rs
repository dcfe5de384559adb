//! Getting the files that an index refers to from one store's directory to another's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;
use rusqlite::{Connection, params};

use super::{BackupReport, Progress};
use crate::disk::{self, Copied, Entry, Linked};
use crate::error::{Error, Result};
use crate::index::values::{Bytes32, Unsigned};
use crate::layout::{Layout, blob_named};

/// Files copied before they are synced together: one barrier of the whole file system for many, and no more to lose than
/// can be copied again in a moment.
const BATCH_FILES: usize = 256;
const BATCH_BYTES: u64 = 256 << 20;

/// How a file gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// As a second name of the same bytes, where that is possible.
    LinkOrCopy,
    /// As bytes of its own, which were read and hashed.
    Copy,
}

/// A file that is to be carried.
struct Freight {
    blob: BlobRef,
    from: PathBuf,
    to: PathBuf,
    is_pack: bool,
}

pub(super) struct Carrier<'a> {
    from: &'a Layout,
    to: &'a Layout,
    how: How,
    progress: &'a dyn Fn(Progress),
    so_far: Progress,
    report: BackupReport,
    /// Copied and not yet durable, with the names they are to get.
    batch: Vec<(Copied, PathBuf)>,
    /// Directories with names that are not durable yet.
    unsynced: BTreeSet<PathBuf>,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(from: &'a Layout, to: &'a Layout, how: How, progress: &'a dyn Fn(Progress)) -> Self {
        let (so_far, report) = (Progress::default(), BackupReport::default());
        Self { from, to, how, progress, so_far, report, batch: Vec::new(), unsynced: BTreeSet::new() }
    }

    /// Carries every file that an index refers to; those that could not be are recorded in it as bad.
    pub(super) fn carry(mut self, index: &Connection) -> Result<BackupReport> {
        let named = |error| Error::index(&self.to.index(), error);
        let freight = self.freight(index).map_err(named)?;
        self.so_far.total.count = freight.len() as u64;
        self.so_far.total.bytes = freight.iter().map(|file| file.blob.size).sum();
        for file in freight {
            if !self.carry_one(&file)? {
                let lost = mark_bad(index, &file).map_err(|error| Error::index(&self.to.index(), error))?;
                self.report.missing.extend(lost);
            }
            self.so_far.done.add(file.blob.size);
            (self.progress)(self.so_far);
        }
        self.finish_batch()?;
        for dir in &self.unsynced {
            disk::sync_dir(dir)?;
        }
        self.report.missing.sort_unstable_by_key(|blob| blob.id);
        Ok(self.report)
    }

    /// In the order of their names, so that what lies together is read together.
    fn freight(&self, index: &Connection) -> rusqlite::Result<Vec<Freight>> {
        let files = blobs_of(
            index,
            "SELECT id, size FROM blobs
             WHERE state = 'sound' AND inline IS NULL AND pack IS NULL ORDER BY id",
        )?;
        let packs = blobs_of(index, "SELECT id, size FROM packs WHERE state = 'sound' ORDER BY id")?;
        let file = |blob: BlobRef| {
            let [from, to] = [self.from, self.to].map(|layout| layout.blob(&blob.id));
            Freight { blob, from, to, is_pack: false }
        };
        let pack = |blob: BlobRef| {
            let [from, to] = [self.from, self.to].map(|layout| layout.pack(&blob.id));
            Freight { blob, from, to, is_pack: true }
        };
        Ok(packs.into_iter().map(pack).chain(files.into_iter().map(file)).collect())
    }

    /// Whether it is there now.
    fn carry_one(&mut self, file: &Freight) -> Result<bool> {
        let size = file.blob.size;
        // Names are given to whole files only, so one of the right length is the right one; verifying tells.
        if disk::has_size(&file.to, size)? {
            self.report.unchanged.add(size);
            return Ok(true);
        }
        if disk::exists(&file.to)? {
            disk::remove(&file.to)?;
        }
        if self.how == How::LinkOrCopy {
            match disk::link(&file.from, &file.to)? {
                Linked::Yes if disk::has_size(&file.to, size)? => {
                    self.unsynced.extend(file.to.parent().map(Path::to_owned));
                    self.report.linked.add(size);
                    return Ok(true);
                }
                Linked::Yes => {
                    disk::remove(&file.to)?;
                    return Ok(false);
                }
                Linked::NoSource => return Ok(false),
                Linked::Impossible => {}
            }
        }
        let Some(copied) = disk::copy(&file.from, &self.to.tmp())? else { return Ok(false) };
        if copied.blob != file.blob {
            return Ok(false);
        }
        self.report.copied.add(size);
        self.batch.push((copied, file.to.clone()));
        let bytes: u64 = self.batch.iter().map(|(copied, _)| copied.blob.size).sum();
        if self.batch.len() >= BATCH_FILES || bytes >= BATCH_BYTES {
            self.finish_batch()?;
        }
        Ok(true)
    }

    fn finish_batch(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        disk::sync_filesystem(&self.to.tmp())?;
        for (copied, to) in self.batch.drain(..) {
            copied.publish(&to)?;
            self.unsynced.extend(to.parent().map(Path::to_owned));
        }
        Ok(())
    }
}

fn blobs_of(index: &Connection, query: &str) -> rusqlite::Result<Vec<BlobRef>> {
    let mut query = index.prepare(query)?;
    let found = query.query_map([], |row| {
        Ok(BlobRef { id: row.get::<_, Bytes32>(0)?.into(), size: row.get::<_, Unsigned>(1)?.0 })
    })?;
    found.collect()
}

/// Records in the copy of the index that a file is not there; the blobs that are missing for it.
fn mark_bad(index: &Connection, file: &Freight) -> rusqlite::Result<Vec<BlobRef>> {
    let id = Bytes32::from(file.blob.id);
    if !file.is_pack {
        index.execute("UPDATE blobs SET state = 'bad' WHERE id = ?1", [id])?;
        return Ok(vec![file.blob]);
    }
    index.execute("UPDATE packs SET state = 'bad' WHERE id = ?1", [id])?;
    let mut lost = index.prepare(
        "UPDATE blobs SET state = 'bad' WHERE state = 'sound' AND pack = (SELECT number FROM packs WHERE id = ?1)
         RETURNING id, size",
    )?;
    let found = lost.query_map(params![id], |row| {
        Ok(BlobRef { id: row.get::<_, Bytes32>(0)?.into(), size: row.get::<_, Unsigned>(1)?.0 })
    })?;
    found.collect()
}

/// Files by names of blobs and packs that the index does not refer to.
pub(super) fn unknown_files(layout: &Layout, index: &Connection) -> Result<Vec<Entry>> {
    let known = |query: &str, id: BlobId| {
        index
            .prepare_cached(query)
            .and_then(|mut query| query.exists([Bytes32::from(id)]))
            .map_err(|error| Error::index(&layout.index(), error))
    };
    let mut unknown = Vec::new();
    for shard in 0..=u8::MAX {
        for file in disk::list(&layout.shard(shard))? {
            let Some(id) = blob_named(shard, &file.name) else { continue };
            let query = "SELECT 1 FROM blobs WHERE id = ?1 AND inline IS NULL AND pack IS NULL";
            if !known(query, id)? {
                unknown.push(file);
            }
        }
    }
    for file in disk::list(&layout.packs())? {
        let Ok(id) = file.name.parse() else { continue };
        if !known("SELECT 1 FROM packs WHERE id = ?1", id)? {
            unknown.push(file);
        }
    }
    Ok(unknown)
}
