//! Collection: removing what nothing refers to.
//!
//! A blob goes in three steps, so that a crash between any two leaves at most a file without a row: the index
//! calls it condemned; its file is removed; its row is removed. A put in between makes it sound again and wins.

mod mark;
mod sweep;

use std::collections::BTreeMap;
use std::fmt;

use buildswarm_core::time::UnixSeconds;

use crate::clock;
use crate::disk;
use crate::error::{Error, Result};
use crate::store::Store;

/// A sensible [`GcOptions::grace_seconds`], in seconds: longer than any build takes from its first upload to its
/// commit.
pub const GRACE_SECONDS: u64 = 24 * 60 * 60;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// What a collection may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcOptions {
    /// The time it is.
    pub now: UnixSeconds,
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Keep logs of attempts for this many days. The log of an artifact stays as long as the artifact.
    pub keep_days: u32,
    /// Keep blobs that were put within this many seconds though nothing refers to them yet;
    /// [`GRACE_SECONDS`] unless there is a reason. A put of known bytes renews this with a precision of an hour.
    pub grace_seconds: u64,
}

/// What keeps a blob; the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeptBecause {
    /// A generation of a channel serves it.
    Generation,
    /// An artifact refers to it.
    Artifact,
    /// It is the signed form of an artifact's package file.
    Signed,
    /// It is the log of an attempt that is not yet old.
    AttemptLog,
    /// It was put within the grace time.
    Grace,
}

impl fmt::Display for KeptBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generation => "in a generation",
            Self::Artifact => "of an artifact",
            Self::Signed => "signed package",
            Self::AttemptLog => "log of an attempt",
            Self::Grace => "put lately",
        })
    }
}

/// A number of blobs or files, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    pub(crate) const fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What a collection removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GcReport {
    /// Bytes of everything below.
    pub freed_bytes: u64,
    /// Blobs that nothing refers to.
    pub blobs: Tally,
    /// Files among the blobs that the index does not know: left by a crash.
    pub orphans: Tally,
    /// Damaged files in the quarantine.
    pub quarantined: Tally,
    /// Files in `tmp/` that no transfer is writing to any more.
    pub temporary: Tally,
    /// What was kept, and why.
    pub kept_by_reason: BTreeMap<KeptBecause, Tally>,
}

impl Store {
    /// Removes blobs that nothing refers to, quarantined files, and what crashes left behind.
    ///
    /// Other threads may use the store meanwhile.
    ///
    /// # Errors
    /// [`Error::GcRefused`] if the index or the files look wrong: nothing was removed then. Any other error
    /// stops it midway; what was removed by then is safe to have been removed.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport> {
        if !options.dry_run {
            self.shared.require_writable()?;
        }
        if let Some(finding) = self.shared.index.damage()?.into_iter().next() {
            return Err(Error::GcRefused { reason: format!("the index is damaged: {finding}") });
        }
        let orphans = self.shared.orphans()?;
        let mut report = GcReport::default();
        let marked = self.shared.mark(options)?;
        report.kept_by_reason = marked.kept;
        if options.dry_run {
            report.blobs = marked.condemned;
        } else {
            report.blobs = self.shared.sweep()?;
        }
        report.orphans = self.shared.remove_orphans(&orphans, options.dry_run)?;
        report.quarantined = remove_all(disk::list(&self.shared.layout.quarantine())?, options.dry_run)?;
        let mut stale = disk::list(&self.shared.layout.tmp())?;
        stale.retain(|file| file.modified.saturating_add(DAY_SECONDS) < clock::now());
        report.temporary = remove_all(stale, options.dry_run)?;
        report.freed_bytes = [report.blobs, report.orphans, report.quarantined, report.temporary]
            .iter()
            .map(|tally| tally.bytes)
            .sum();
        if !options.dry_run {
            self.shared.renew_table();
        }
        Ok(report)
    }
}

fn remove_all(files: Vec<disk::Entry>, dry_run: bool) -> Result<Tally> {
    let mut removed = Tally::default();
    for file in files {
        if dry_run || disk::remove(&file.path)? {
            removed.add(file.size);
        }
    }
    Ok(removed)
}
