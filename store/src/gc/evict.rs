//! Making room: what may go if the quota is exceeded, least recently used first.

use std::collections::{BTreeSet, BinaryHeap, HashSet};

use buildswarm_core::{BlobId, BuildKey};
use rusqlite::{Connection, params};

use super::mark::{Collector, Marked, PAGE};
use super::reasons::{self, Judged};
use super::{GcOptions, GcReport, KeptBecause};
use crate::artifacts;
use crate::error::Result;
use crate::index::values::Bytes32;

/// Candidates looked for in one pass over the index: a few megabytes of them.
const CANDIDATES: usize = 1 << 16;

/// Artifacts evicted in one transaction.
const ARTIFACTS: usize = 64;

/// What has to go.
struct Excess<'a> {
    quota: u64,
    marked: &'a mut Marked,
    report: &'a mut GcReport,
}

impl Excess<'_> {
    const fn bytes(&self) -> u64 {
        self.marked.used.saturating_sub(self.quota)
    }
}

impl Collector<'_> {
    /// Removes until the blobs take no more than the quota, or nothing is left that may go.
    pub(super) fn evict(
        &self,
        options: &GcOptions,
        marked: &mut Marked,
        report: &mut GcReport,
    ) -> Result<()> {
        let Some(quota) = options.quota else { return Ok(()) };
        let mut excess = Excess { quota, marked, report };
        self.evict_unreferenced(&mut excess)?;
        if options.evict_artifacts {
            self.evict_artifacts(&mut excess)?;
        }
        Ok(())
    }

    /// Evicts what nothing but the grace time keeps.
    fn evict_unreferenced(&self, excess: &mut Excess<'_>) -> Result<()> {
        let mut after = None;
        while excess.bytes() > 0 {
            let mut oldest = Oldest::new(after);
            self.each_page(self.limits.graceless(), |page| {
                // What is past its grace is gone already, or counted as gone.
                let is_loose = |judged: &Judged| judged.reason.is_none() && self.limits.spare(judged.used_at);
                let loose = page.into_iter().filter(|judged| is_loose(judged) && !judged.condemned);
                loose.for_each(|judged| oldest.offer(judged.order(), judged));
                Ok(())
            })?;
            let candidates: Vec<Judged> =
                oldest.into_sorted().into_iter().map(|(_, judged)| judged).collect();
            let Some(last) = candidates.last() else { return Ok(()) };
            after = Some(last.order());
            let mut rest = candidates.as_slice();
            while excess.bytes() > 0 && !rest.is_empty() {
                let (batch, others) = rest.split_at(enough(rest, excess.bytes()));
                rest = others;
                // Used since it was judged, it is no longer among the least recently used.
                let gone =
                    self.write_off(batch, |judged| self.limits.unless_used_after(judged.used_at))?.gone;
                self.account(excess, gone.into_iter().map(|judged| (judged, KeptBecause::Grace)))?;
            }
        }
        Ok(())
    }

    /// Removes what is written off, and counts it.
    fn account(
        &self,
        excess: &mut Excess<'_>,
        gone: impl Iterator<Item = (Judged, KeptBecause)>,
    ) -> Result<()> {
        for (judged, reason) in gone {
            excess.report.evicted.add(judged.size);
            excess.marked.drop(&judged, reason);
            if self.is_dry_run() {
                excess.report.blobs.add(judged.size);
            }
        }
        if !self.is_dry_run() {
            excess.report.blobs.join(self.shared.sweep()?);
        }
        Ok(())
    }

    /// Evicts artifacts that no generation needs, with everything that hangs on them.
    fn evict_artifacts(&self, excess: &mut Excess<'_>) -> Result<()> {
        let mut removed = HashSet::new();
        let mut after = None;
        while excess.bytes() > 0 {
            let candidates = self.oldest_artifacts(after)?;
            let Some((last, _)) = candidates.last() else { return Ok(()) };
            after = Some(*last);
            for batch in candidates.chunks(ARTIFACTS) {
                self.evict_batch(batch.iter().map(|(_, victim)| victim), &mut removed, excess)?;
            }
        }
        Ok(())
    }

    /// Evicts the first of the artifacts, as many as it takes.
    fn evict_batch<'v>(
        &self,
        batch: impl Iterator<Item = &'v Victim>,
        removed: &mut HashSet<BuildKey>,
        excess: &mut Excess<'_>,
    ) -> Result<()> {
        let (mut going, mut loose, mut bytes) = (Vec::new(), Vec::new(), 0);
        for victim in batch {
            if bytes >= excess.bytes() {
                break;
            }
            removed.insert(victim.key);
            going.push(victim.key);
            for (judged, reason) in self.loosened(victim, removed)? {
                bytes += judged.share;
                loose.push((judged, reason));
            }
        }
        if going.is_empty() {
            return Ok(());
        }
        excess.report.evicted_artifacts += self.forget(&going)?;
        let judged: Vec<Judged> = loose.iter().map(|(judged, _)| *judged).collect();
        let gone = self.write_off(&judged, |_| self.limits.graceless())?.gone;
        let gone: HashSet<BlobId> = gone.into_iter().map(|judged| judged.id).collect();
        self.account(excess, loose.into_iter().filter(|(judged, _)| gone.contains(&judged.id)))
    }

    /// Forgets those of the artifacts that still no generation needs; how many.
    fn forget(&self, keys: &[BuildKey]) -> Result<u64> {
        if self.is_dry_run() {
            return Ok(keys.len() as u64);
        }
        self.shared.index.write(|transaction| {
            let mut count = 0;
            for key in keys {
                if !is_needed(transaction, *key)? {
                    count += u64::from(artifacts::forget(transaction, *key)?);
                }
            }
            Ok(count)
        })
    }

    /// The blobs of an artifact that nothing keeps once these artifacts are removed.
    fn loosened(&self, victim: &Victim, removed: &HashSet<BuildKey>) -> Result<Vec<(Judged, KeptBecause)>> {
        let limits = self.limits.graceless();
        let mut loose = self.shared.index.read(|reader| {
            let mut loose = Vec::new();
            let signed = signed_files(reader, victim.key)?;
            for id in BTreeSet::from_iter(victim.blobs.iter().chain(&signed)) {
                if let Some(judged) = reasons::judge_but_for_builds(reader, limits, *id)?
                    && let Some(reason) = only_of(reader, *id, removed)?
                {
                    loose.push((judged, reason));
                }
            }
            Ok(loose)
        })?;
        for (judged, _) in &mut loose {
            self.consider_held(std::slice::from_mut(judged));
        }
        loose.retain(|(judged, _)| judged.reason.is_none() && !judged.condemned);
        Ok(loose)
    }

    /// The least recently used of the artifacts that come after `after` and that may go.
    fn oldest_artifacts(&self, after: Option<(u64, BuildKey)>) -> Result<Vec<((u64, BuildKey), Victim)>> {
        let mut oldest = Oldest::new(after);
        let mut from: Option<BuildKey> = None;
        loop {
            let limits = self.limits.graceless();
            let page = self.shared.index.read(|reader| {
                let artifacts = victims(reader, from)?;
                let judge = |victim: &Victim| reasons::judge_but_for_builds(reader, limits, victim.blobs[0]);
                let files = artifacts.iter().map(judge).collect::<rusqlite::Result<Vec<_>>>()?;
                let is_needed = |victim: &Victim| is_needed(reader, victim.key);
                let needed = artifacts.iter().map(is_needed).collect::<rusqlite::Result<Vec<_>>>()?;
                Ok(artifacts.into_iter().zip(files).zip(needed).collect::<Vec<_>>())
            })?;
            let Some(((last, _), _)) = page.last() else { return Ok(oldest.into_sorted()) };
            from = Some(last.key);
            for ((victim, file), is_needed) in page {
                let Some(mut file) = file else { continue };
                self.consider_held(std::slice::from_mut(&mut file));
                // As long as something else keeps its package, nothing would be gained.
                if !is_needed && file.reason.is_none() {
                    oldest.offer((file.used_at, victim.key), victim);
                }
            }
        }
    }
}

/// How many of the blobs, at most a page, it takes to free so many bytes.
fn enough(blobs: &[Judged], bytes: u64) -> usize {
    let mut freed = 0;
    let needed = blobs.iter().take(PAGE).take_while(|judged| {
        let is_needed = freed < bytes;
        freed += judged.share;
        is_needed
    });
    needed.count()
}

/// An artifact that may be evicted; its package file is the first of its blobs.
#[derive(Debug, Clone)]
struct Victim {
    key: BuildKey,
    blobs: [BlobId; 3],
}

fn victims(connection: &Connection, after: Option<BuildKey>) -> rusqlite::Result<Vec<Victim>> {
    let mut query = connection.prepare_cached(
        "SELECT key, file, log, preimage FROM artifacts WHERE key > ifnull(?1, x'') ORDER BY key LIMIT ?2",
    )?;
    let found = query.query_map(params![after.map(Bytes32::from), PAGE as i64], |row| {
        let blob = |column| row.get::<_, Bytes32>(column).map(BlobId::from);
        Ok(Victim { key: row.get::<_, Bytes32>(0)?.into(), blobs: [blob(1)?, blob(2)?, blob(3)?] })
    })?;
    found.collect()
}

/// Whether a generation serves the package of an artifact, as built or as signed.
fn is_needed(connection: &Connection, key: BuildKey) -> rusqlite::Result<bool> {
    let mut query = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM artifacts AS a JOIN generation_blobs AS g ON g.blob = a.file
                        WHERE a.key = ?1)
             OR EXISTS (SELECT 1 FROM signed AS s JOIN generation_blobs AS g ON g.blob = s.file
                        WHERE s.key = ?1)",
    )?;
    query.query_row([Bytes32::from(key)], |row| row.get(0))
}

fn signed_files(connection: &Connection, key: BuildKey) -> rusqlite::Result<Vec<BlobId>> {
    let mut query = connection.prepare_cached("SELECT file FROM signed WHERE key = ?1")?;
    query.query_map([Bytes32::from(key)], |row| row.get::<_, Bytes32>(0).map(BlobId::from))?.collect()
}

/// Why builds keep a blob, if they are all among these: `None` if they are not.
fn only_of(
    connection: &Connection,
    id: BlobId,
    removed: &HashSet<BuildKey>,
) -> rusqlite::Result<Option<KeptBecause>> {
    let mut query = connection.prepare_cached(
        "SELECT key, 0 FROM artifacts WHERE file = ?1 UNION ALL
         SELECT key, 0 FROM artifacts WHERE log = ?1 UNION ALL
         SELECT key, 0 FROM artifacts WHERE preimage = ?1 UNION ALL
         SELECT key, 1 FROM signed WHERE file = ?1",
    )?;
    let mut rows = query.query([Bytes32::from(id)])?;
    let mut found = None;
    while let Some(row) = rows.next()? {
        if !removed.contains(&row.get::<_, Bytes32>(0)?.into()) {
            return Ok(None);
        }
        let reason = if row.get(1)? { KeptBecause::Signed } else { KeptBecause::Artifact };
        found = Some(found.map_or(reason, |earlier: KeptBecause| earlier.min(reason)));
    }
    Ok(found)
}

/// The first of many by an order, of those that come after one.
struct Oldest<K, T> {
    after: Option<K>,
    heap: BinaryHeap<Entry<K, T>>,
}

impl<K: Ord + Copy, T> Oldest<K, T> {
    const fn new(after: Option<K>) -> Self {
        Self { after, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, order: K, item: T) {
        if self.after.is_some_and(|after| order <= after) {
            return;
        }
        if self.heap.len() == CANDIDATES {
            match self.heap.peek() {
                Some(last) if last.0 > order => drop(self.heap.pop()),
                _ => return,
            }
        }
        self.heap.push(Entry(order, item));
    }

    fn into_sorted(self) -> Vec<(K, T)> {
        self.heap.into_sorted_vec().into_iter().map(|Entry(order, item)| (order, item)).collect()
    }
}

/// Compared by its order alone.
struct Entry<K, T>(K, T);

impl<K: Ord, T> PartialEq for Entry<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Ord, T> Eq for Entry<K, T> {}

impl<K: Ord, T> PartialOrd for Entry<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> Ord for Entry<K, T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
