//! Which blobs nothing keeps: asked page by page, and written off page by page.
//!
//! No step is long. Blobs are judged in pages, each in a read transaction of its own, and those that nothing keeps are
//! judged again in the transaction that writes them off, so what was recorded in between counts. What is not in the
//! index, pins and what roots reach, cannot change unseen: see [`crate::pins`].

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use buildswarm_core::BlobId;
use rusqlite::Connection;

use super::reasons::{self, Judged, Limits, effective};
use super::{GcOptions, KeptBecause, Tally};
use crate::error::Result;
use crate::index::values::{Bytes32, Unsigned};
use crate::pins::Collecting;
use crate::roots;
use crate::store::Shared;

/// Blobs judged in one read transaction, and written off in one transaction: some milliseconds' worth.
pub(super) const PAGE: usize = 256;

/// A collection that runs.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    pub(super) shared: &'a Shared,
    pub(super) limits: Limits,
    /// What roots keep below trees.
    reached: HashSet<BlobId>,
    /// `None` if it only says what it would do.
    turn: Option<Collecting<'a>>,
}

/// What marking found.
#[derive(Debug, Default)]
pub(super) struct Marked {
    pub(super) kept: BTreeMap<KeptBecause, Tally>,
    pub(super) condemned: Tally,
    /// Bytes of the disk that the kept ones take.
    pub(super) used: u64,
}

impl Marked {
    fn keep(&mut self, judged: &Judged, reason: KeptBecause) {
        self.kept.entry(reason).or_default().add(judged.size);
        self.used += judged.share;
    }

    /// One that was kept for that reason is kept no longer.
    pub(super) fn drop(&mut self, judged: &Judged, reason: KeptBecause) {
        if let Some(tally) = self.kept.get_mut(&reason) {
            tally.take_away(judged.size);
            if tally.count == 0 {
                self.kept.remove(&reason);
            }
        }
        self.used -= judged.share;
    }
}

impl<'a> Collector<'a> {
    /// Begins, or refuses if it cannot be told what roots keep.
    pub(super) fn begin(shared: &'a Arc<Shared>, options: &GcOptions) -> Result<Self> {
        // First the turn: what is pinned from here on stays, so a root that is set after the roots are listed
        // loses nothing.
        let turn = (!options.dry_run).then(|| shared.pins.collect());
        let reached = roots::reached(shared)?;
        Ok(Self { shared, limits: Limits::of(options), reached, turn })
    }

    pub(super) const fn is_dry_run(&self) -> bool {
        self.turn.is_none()
    }

    /// Judges all blobs, and writes off those that nothing keeps.
    pub(super) fn mark(&self) -> Result<Marked> {
        let mut marked = Marked::default();
        self.each_page(self.limits, |page| {
            let mut loose = Vec::new();
            for judged in page {
                match judged.reason {
                    Some(reason) if !judged.condemned => marked.keep(&judged, reason),
                    _ => loose.push(judged),
                }
            }
            let outcome = self.write_off(&loose, |_| self.limits)?;
            outcome.gone.iter().for_each(|judged| marked.condemned.add(judged.size));
            outcome.kept.iter().for_each(|(judged, reason)| marked.keep(judged, *reason));
            Ok(())
        })?;
        Ok(marked)
    }

    /// Hands all blobs to `each`, judged.
    pub(super) fn each_page(
        &self,
        limits: Limits,
        mut each: impl FnMut(Vec<Judged>) -> Result<()>,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let mut page =
                self.shared.index.read(|reader| Ok(reasons::page(reader, limits, after, PAGE)?))?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            self.consider_held(&mut page);
            each(page)?;
        }
    }

    /// Adds the reasons that the index does not know.
    pub(super) fn consider_held(&self, page: &mut [Judged]) {
        let held = self.shared.pins.reasons(page.iter().map(|judged| &judged.id));
        for (judged, held) in page.iter_mut().zip(held) {
            let reached = self.reached.contains(&judged.id).then_some(KeptBecause::Root);
            judged.reason = [judged.reason, effective(reached), effective(held)].into_iter().flatten().min();
        }
    }

    /// Writes off those of the blobs that nothing keeps by the limits of each. A dry run takes it that nothing does.
    pub(super) fn write_off(&self, loose: &[Judged], limits: impl Fn(&Judged) -> Limits) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for page in loose.chunks(PAGE) {
            let Some(turn) = &self.turn else {
                outcome.gone.extend_from_slice(page);
                continue;
            };
            // Until the transaction has ended, however it does, nobody can pin what it writes off.
            let claim = turn.claim(page.iter().map(|judged| judged.id));
            let (claimed, held): (Vec<_>, Vec<_>) =
                page.iter().copied().partition(|judged| claim.has(&judged.id));
            outcome.kept.extend(held.into_iter().map(|judged| (judged, KeptBecause::Transfer)));
            let decided = self.shared.index.write(|transaction| {
                let mut decided = Outcome::default();
                for judged in &claimed {
                    decided.decide(transaction, judged, limits(judged))?;
                }
                Ok(decided)
            })?;
            drop(claim);
            outcome.gone.extend(decided.gone);
            outcome.kept.extend(decided.kept);
        }
        Ok(outcome)
    }
}

/// What became of blobs that were to be written off.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) gone: Vec<Judged>,
    pub(super) kept: Vec<(Judged, KeptBecause)>,
}

impl Outcome {
    fn decide(&mut self, transaction: &Connection, judged: &Judged, limits: Limits) -> rusqlite::Result<()> {
        let Some(now) = reasons::judge(transaction, limits, judged.id)? else { return Ok(()) };
        match now.reason {
            // A collection that was interrupted had its reasons, and readers do not see it any more.
            _ if now.condemned => self.gone.push(now),
            Some(reason) => self.kept.push((now, reason)),
            None => {
                transaction
                    .prepare_cached("UPDATE blobs SET state = 'condemned' WHERE id = ?1")?
                    .execute([Bytes32::from(now.id)])?;
                self.gone.push(now);
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Bytes of the disk that all blobs take.
    pub(crate) fn used_bytes(&self) -> Result<u64> {
        let share = reasons::SHARE;
        self.index.read(|reader| {
            let query =
                format!("SELECT ifnull(sum({share}), 0) FROM blobs AS b WHERE b.state <> 'condemned'");
            Ok(reader.prepare_cached(&query)?.query_row([], |row| row.get::<_, Unsigned>(0))?.0)
        })
    }
}
