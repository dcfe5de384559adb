//! The look-up table: which keys resolve, for whoever asks for many.
//!
//! A file beside the index, `lookup.table`, with the keys of all artifacts in their order and what must be on the disk for
//! each to resolve. It is read from front to back instead of the index from root to leaf for every key. It is no
//! authority: the index says which table is to be believed, and only as long as nothing was lost since it was written
//! (`store.losses`); artifacts that it lacks are looked up in the index; files are looked for on the disk. Whatever
//! is wrong with it, the index answers in its place. `docs/on-disk.md` describes it.

mod block;
mod file;
mod hooks;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use buildswarm_core::artifact::BlobRef;
use buildswarm_core::{BlobId, BuildKey};

use crate::disk;
use crate::error::Result;
use crate::store::{Shared, Store};
#[cfg(any(test, feature = "faults"))]
pub(crate) use block::read_all;
use block::{Entry, Need, Needs};
use file::{Answer, Identity, Table, Writing};
use rows::{Extent, Known};

/// A table is written from so many artifacts on. Below, the index takes a few milliseconds at most.
const ROWS_MIN: u64 = 1024;

/// A table is written anew when it lacks more than this part of what it has. So an artifact costs its share of at most so
/// many entries copied (about 10 µs at a million), and a look-up reads at most this part of the keys from the index.
const LACKING_PART: u64 = 64;

/// Fewer keys than this are looked up in the index.
const ASKED_MIN: usize = 64;

/// Keys asked for, for every block of the table: to read and hash a block takes as long as a few look-ups.
const ASKED_PER_BLOCK: u64 = 2;

/// Keys that the table lacks, for every key asked for, before it is not worth its while.
const LACKING_PER_ASKED: usize = 8;

/// Threads that look keys up, and how many keys are worth a thread.
const THREADS: usize = 2;
const KEYS_PER_THREAD: usize = 2048;

/// Entries read from the index in one read transaction: a few milliseconds' worth.
const PAGE: u32 = 512;

/// Entries that are held in memory to be merged into a table, some 10 MiB. With more, all are read from the index.
const MERGED_MAX: u64 = 64 * 1024;
const _: () = assert!(ROWS_MIN < MERGED_MAX);

/// Artifacts that are read from the index for a table when the store is closed: about a second's worth. Beyond, the
/// thread of a later commit reads them, or the next collection, which takes longer than that anyway.
const READ_WHEN_CLOSED_MAX: u64 = 50_000;
const _: () = assert!(ROWS_MIN < READ_WHEN_CLOSED_MAX);

/// What a store keeps of its look-up table.
#[derive(Debug, Default)]
pub(crate) struct State {
    open: Mutex<Option<Arc<Table>>>,
    /// A block was found not to be what was written.
    is_damaged: AtomicBool,
    /// Artifacts committed since somebody last looked whether the table should be written anew, and the number at which
    /// the next one looks.
    commits: AtomicU64,
    commits_due: AtomicU64,
    /// Held while it is written.
    writing: Mutex<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
    is_closing: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A table with the keys it lacks, both as of one moment.
#[derive(Debug)]
struct View {
    table: Arc<Table>,
    lacking: Vec<BuildKey>,
}

/// What came of asking a table: both ascend.
#[derive(Debug, Default)]
struct Answers {
    present: Vec<BuildKey>,
    /// For the index to tell.
    open: Vec<BuildKey>,
}

impl Shared {
    /// Those of the keys that resolve, by whatever is the fastest way to tell.
    pub(super) fn present(&self, keys: &[BuildKey]) -> Result<BTreeSet<BuildKey>> {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let Some(view) = self.view(keys.len())? else { return self.present_by_index(&keys) };
        let mut answers = self.consult(&view, &keys)?;
        hooks::answered(keys.len() - answers.open.len());
        if !answers.open.is_empty() {
            answers.present.extend(self.present_by_index(&answers.open)?);
        }
        Ok(BTreeSet::from_iter(answers.present))
    }

    /// The table, if there is one to be believed that is worth reading for so many keys.
    fn view(&self, asked: usize) -> Result<Option<View>> {
        if asked < ASKED_MIN {
            return Ok(None);
        }
        let found = self.index.read(|reader| {
            let Some(known) = Known::current(reader)? else { return Ok(None) };
            if known.identity.blocks.saturating_mul(ASKED_PER_BLOCK) > asked as u64 {
                return Ok(None);
            }
            let lacking = rows::keys_after(reader, known.covered, asked.saturating_mul(LACKING_PER_ASKED))?;
            Ok(lacking.map(|lacking| (known, lacking)))
        })?;
        let Some((known, lacking)) = found else { return Ok(None) };
        // It never changes, so it may be opened after the moment that it is of.
        Ok(self.table(known.identity).map(|table| View { table, lacking }))
    }

    /// The table with this identity, opened once.
    fn table(&self, identity: Identity) -> Option<Arc<Table>> {
        let mut open = locked(&self.table.open);
        if let Some(table) = &*open
            && table.identity == identity
        {
            return Some(Arc::clone(table));
        }
        *open = Table::open(&self.layout.look_up_table(), identity).map(Arc::new);
        open.clone()
    }

    /// Looks up keys, which ascend, with several threads if there are many.
    fn consult(&self, view: &View, keys: &[BuildKey]) -> Result<Answers> {
        if keys.len() < THREADS * KEYS_PER_THREAD {
            return self.consult_part(view, keys);
        }
        let parts = keys.chunks(keys.len().div_ceil(THREADS));
        thread::scope(|scope| {
            let workers: Vec<_> =
                parts.map(|part| scope.spawn(move || self.consult_part(view, part))).collect();
            let mut answers = Answers::default();
            for worker in workers {
                let part = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                answers.present.extend(part.present);
                answers.open.extend(part.open);
            }
            Ok(answers)
        })
    }

    fn consult_part(&self, view: &View, keys: &[BuildKey]) -> Result<Answers> {
        let mut answers = Answers::default();
        let mut packs = BTreeMap::new();
        view.table.find(keys, |key, answer| {
            match answer {
                Answer::Absent if view.lacking.binary_search(&key).is_err() => {}
                Answer::Needs(needs) if self.are_met(needs, &mut packs)? => answers.present.push(key),
                // A file that is not where it was may be elsewhere by now.
                Answer::Absent | Answer::Needs(_) => answers.open.push(key),
                Answer::Unreadable => {
                    self.table.is_damaged.store(true, Ordering::Relaxed);
                    answers.open.push(key);
                }
            }
            Ok(())
        })?;
        Ok(answers)
    }

    /// Whether it can be told without the index that all of these are met. `packs` are those that were looked for.
    fn are_met(&self, needs: Needs<'_>, packs: &mut BTreeMap<BlobId, bool>) -> Result<bool> {
        for need in needs.iter() {
            let is_met = match need {
                Some(Need::File(file)) => disk::has_size(&self.layout.blob(&file.id), file.size)?,
                Some(Need::Pack(pack)) => self.has_pack(pack, packs)?,
                Some(Need::Index) | None => false,
            };
            if !is_met {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has_pack(&self, pack: BlobRef, packs: &mut BTreeMap<BlobId, bool>) -> Result<bool> {
        if let Some(known) = packs.get(&pack.id) {
            return Ok(*known);
        }
        let found = disk::has_size(&self.layout.pack(&pack.id), pack.size)?;
        packs.insert(pack.id, found);
        Ok(found)
    }
}

impl Shared {
    /// To be called after artifacts were committed. Now and then a thread of its own then writes the table anew, so that no
    /// commit waits for it.
    pub(crate) fn committed(self: &Arc<Self>, artifacts: u64) {
        let state = &self.table;
        let commits = state.commits.fetch_add(artifacts, Ordering::Relaxed).saturating_add(artifacts);
        if commits < state.commits_due.load(Ordering::Relaxed).max(hooks::rows_min()) {
            return;
        }
        let mut thread = locked(&state.thread);
        if thread.as_ref().is_none_or(JoinHandle::is_finished) {
            state.commits.store(0, Ordering::Relaxed);
            let shared = Arc::clone(self);
            // Without a thread the next commit tries, or the end of the store.
            *thread = thread::Builder::new()
                .name("store-table".to_owned())
                .spawn(move || shared.renew_table())
                .ok();
        }
    }
}

impl Store {
    /// To be called when the store is closed: waits for the thread that writes the table, then sees whether it is due.
    pub(crate) fn leave_table(&self) {
        self.shared.table.is_closing.store(true, Ordering::Relaxed);
        let thread = locked(&self.shared.table.thread).take();
        if let Some(thread) = thread {
            // A panic of it is not ours; it has been reported.
            let _ = thread.join();
        }
        if !thread::panicking() {
            self.shared.renew_table();
        }
    }
}

impl Shared {
    /// Writes the table anew if it lacks much, or is not to be believed. Nothing depends on whether this succeeds, so
    /// nobody is told.
    pub(crate) fn renew_table(&self) {
        let _ = self.try_to_renew_table();
    }

    /// Whether it wrote one.
    fn try_to_renew_table(&self) -> Result<bool> {
        if !self.index.is_writable() {
            return Ok(false);
        }
        let _writing = locked(&self.table.writing);
        let (extent, known) = self.index.read(|reader| Ok((Extent::of(reader)?, Known::current(reader)?)))?;
        let is_damaged = self.table.is_damaged.load(Ordering::Relaxed);
        let usable = known.and_then(|known| Some((known, self.table(known.identity)?)));
        let usable = usable.filter(|_| !is_damaged);
        let covered = usable.as_ref().map_or(0, |(known, _)| known.covered);
        let bound = (covered / LACKING_PART).max(hooks::rows_min());
        self.table.commits_due.store(bound, Ordering::Relaxed);
        if extent.greatest.saturating_sub(covered) < bound {
            return Ok(false);
        }
        let merged = match usable {
            Some((_, table)) if extent.greatest - covered <= MERGED_MAX => {
                self.merge(&table, covered, extent)?
            }
            _ => None,
        };
        let Some(writing) = merged.map_or_else(|| self.gather(extent), |writing| Ok(Some(writing)))? else {
            return Ok(false);
        };
        let identity = writing.finish(&self.layout.look_up_table())?;
        self.index.write(|transaction| Ok(Known::new(identity, extent).record(transaction)?))?;
        // Also if it is the same as before: what is open may be a damaged copy.
        *locked(&self.table.open) = None;
        self.table.is_damaged.store(false, Ordering::Relaxed);
        Ok(true)
    }

    /// A table of all artifacts, read from the index page by page; `None` if something was lost meanwhile, or if it takes
    /// too long for a store that is being closed.
    fn gather(&self, extent: Extent) -> Result<Option<Writing>> {
        let mut writing = Writing::create(&self.layout.tmp())?;
        let mut after = None;
        loop {
            let page = self.index.read(|reader| {
                Ok((rows::losses(reader)?, rows::entries_by_key(reader, after, extent.greatest, PAGE)?))
            })?;
            let (losses, entries) = page;
            let is_late =
                extent.greatest > READ_WHEN_CLOSED_MAX && self.table.is_closing.load(Ordering::Relaxed);
            if losses != extent.losses || is_late {
                return Ok(None);
            }
            let Some(last) = entries.last() else { return Ok(Some(writing)) };
            after = Some(last.key);
            entries.iter().try_for_each(|entry| writing.add(entry))?;
        }
    }

    /// A table of what another has and what it lacks; `None` if it is damaged, or if something was lost meanwhile.
    fn merge(&self, table: &Table, covered: u64, extent: Extent) -> Result<Option<Writing>> {
        let mut lacking: Vec<Entry> = Vec::new();
        let mut after = Some(covered);
        while let Some(number) = after {
            let page = self.index.read(|reader| {
                Ok((rows::losses(reader)?, rows::entries_by_number(reader, number, extent.greatest, PAGE)?))
            })?;
            let (losses, (entries, last)) = page;
            if losses != extent.losses {
                return Ok(None);
            }
            lacking.extend(entries);
            after = last;
        }
        lacking.sort_unstable_by_key(|entry| entry.key);
        let mut writing = Writing::create(&self.layout.tmp())?;
        Ok(table.merge(lacking, &mut writing)?.then_some(writing))
    }
}
