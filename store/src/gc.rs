//! Collection: removing what nothing refers to.
//!
//! A blob goes in three steps, so that a crash between any two leaves at most a file without a row: the index
//! calls it condemned; its file is removed; its row is removed. A put in between makes it sound again and wins.
//!
//! Nobody waits for a collection: it looks in short read transactions and changes the index in short ones.

mod evict;
mod mark;
mod packs;
mod reasons;
mod report;
mod sweep;
#[cfg(test)]
mod tests;

use crate::clock;
use crate::disk;
use crate::error::{Error, Result};
use crate::lock::Removals;
use crate::store::Store;
use mark::Collector;

pub use report::{GRACE_SECONDS, GcOptions, GcReport, KeptBecause, Tally};

/// Files in `tmp/` that were not written to for so many seconds are left over.
const STALE_SECONDS: u64 = 24 * 60 * 60;

impl Store {
    /// Removes blobs that nothing refers to, quarantined files, and what crashes left behind.
    ///
    /// With a quota, evicts what is in excess of it. Other threads may use the store meanwhile; of several collections one
    /// runs at a time. A dry run does not see the pins of another process.
    ///
    /// # Errors
    /// [`Error::GcRefused`] if the index or the files look wrong, or if it cannot be told what a root keeps: nothing was
    /// removed then. Any other error stops it midway; what was removed by then is safe to have been removed.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport> {
        if !options.dry_run {
            self.shared.require_writable()?;
        }
        let _removals = if options.dry_run { None } else { Some(Removals::begin(&self.shared.layout)?) };
        if let Some(finding) = self.shared.index.damage_of_tables()? {
            return Err(Error::GcRefused { reason: format!("the index is damaged: {finding}") });
        }
        let orphans = self.shared.orphans()?;
        if !options.dry_run {
            self.shared.write_uses()?;
        }
        let mut report = GcReport::default();
        let collector = Collector::begin(&self.shared, &options)?;
        let mut marked = collector.mark()?;
        report.blobs = if options.dry_run { marked.condemned } else { self.shared.sweep()? };
        collector.evict(&options, &mut marked, &mut report)?;
        if !options.dry_run {
            report.packs = self.shared.sweep_packs()?;
            self.shared.expire_leases(options.now)?;
            self.shared.recount()?;
        }
        drop(collector);
        report.used_bytes = marked.used;
        report.kept_by_reason = marked.kept;
        report.orphans = self.shared.remove_orphans(&orphans, options.dry_run)?;
        report.quarantined = remove_all(disk::list(&self.shared.layout.quarantine())?, options.dry_run)?;
        let mut stale = disk::list(&self.shared.layout.tmp())?;
        stale.retain(|file| file.modified.saturating_add(STALE_SECONDS) < clock::now());
        report.temporary = remove_all(stale, options.dry_run)?;
        if !options.dry_run {
            self.shared.index.compact_journal(true)?;
        }
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
