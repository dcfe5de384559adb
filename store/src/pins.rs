//! Pins: what this process has in hand and no collection may take.
//!
//! A pin is a count in memory, not a row. That is sound because of who collects: one process at a time has the right
//! to change a store ([`crate::lock`]), and it is the same process that hands out pins and that collects. What others
//! read while it does, they have open: removing a name takes no bytes from under an open file. A pin that
//! had to outlive its process would be a lease or a root.
//!
//! Two rules make it work beside a collection that runs:
//!
//! - A pin that is dropped while a collection runs holds until that collection ends. So whoever pins, records a
//!   reason to keep in the index and drops the pin is safe, though the collection may have looked at the reasons
//!   before that one was there.
//! - Whoever pins a blob that a collection is writing off at this moment waits until that is decided, and is then told.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use buildswarm_core::BlobId;

use crate::error::{Error, Result};
use crate::gc::KeptBecause;
use crate::index::rows;
use crate::store::{Shared, Store};

/// Blobs looked up in one read transaction: a few milliseconds' worth.
const PAGE: usize = 256;

/// Keeps blobs from being collected for as long as it lives.
///
/// It keeps the blobs it names, not what is below a directory among them; and it keeps them from collection, not
/// from damage.
#[derive(Debug)]
#[must_use = "what it names may be collected as soon as it is dropped"]
pub struct Pin {
    pins: Arc<Pins>,
    ids: Box<[BlobId]>,
    hold: Hold,
}

/// What a blob is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Somebody asked for it.
    Pin,
    /// It is being written or read.
    Transfer,
}

/// The pins of a store.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    held: Mutex<Held>,
    /// Told when the blobs being written off are decided.
    decided: Condvar,
    /// Held by the collection that runs: one at a time.
    collection: Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    /// Counts, since many may hold the same blob.
    counts: HashMap<BlobId, Counts>,
    collecting: bool,
    /// Let go since the collection began.
    late: HashSet<BlobId>,
    /// Being written off right now.
    doomed: HashSet<BlobId>,
}

#[derive(Debug, Default)]
struct Counts {
    pins: u32,
    transfers: u32,
}

impl Counts {
    const fn of(&mut self, hold: Hold) -> &mut u32 {
        match hold {
            Hold::Pin => &mut self.pins,
            Hold::Transfer => &mut self.transfers,
        }
    }
}

impl Held {
    fn reason(&self, id: &BlobId) -> Option<KeptBecause> {
        match self.counts.get(id) {
            Some(counts) if counts.pins > 0 => Some(KeptBecause::Pin),
            Some(_) => Some(KeptBecause::Transfer),
            None => self.late.contains(id).then_some(KeptBecause::Transfer),
        }
    }
}

impl Pins {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds blobs, whether or not they are there; to be called before looking. Waits for a collection that is
    /// writing one of them off, so never within a transaction.
    pub(crate) fn hold(self: &Arc<Self>, ids: &[BlobId], hold: Hold) -> Pin {
        let mut held = self.held();
        while !held.doomed.is_empty() && ids.iter().any(|id| held.doomed.contains(id)) {
            held = self.decided.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        for id in ids {
            *held.counts.entry(*id).or_default().of(hold) += 1;
        }
        Pin { pins: Arc::clone(self), ids: ids.into(), hold }
    }

    /// Why pins keep each of these blobs, if they do.
    pub(crate) fn reasons<'a>(&self, ids: impl Iterator<Item = &'a BlobId>) -> Vec<Option<KeptBecause>> {
        let held = self.held();
        ids.map(|id| held.reason(id)).collect()
    }

    /// Begins a collection, as soon as no other runs.
    pub(crate) fn collect(&self) -> Collecting<'_> {
        let turn = self.collection.lock().unwrap_or_else(PoisonError::into_inner);
        self.held().collecting = true;
        Collecting { pins: self, _turn: turn }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut guard = self.pins.held();
        let held = &mut *guard;
        for id in &self.ids {
            let Some(counts) = held.counts.get_mut(id) else { continue };
            *counts.of(self.hold) -= 1;
            if counts.pins == 0 && counts.transfers == 0 {
                held.counts.remove(id);
            }
            if held.collecting {
                held.late.insert(*id);
            }
        }
    }
}

/// A collection that runs.
#[derive(Debug)]
pub(crate) struct Collecting<'a> {
    pins: &'a Pins,
    _turn: MutexGuard<'a, ()>,
}

impl<'a> Collecting<'a> {
    /// Claims those of the blobs that nothing holds: nobody can pin them until the claim is dropped.
    pub(crate) fn claim(&self, ids: impl Iterator<Item = BlobId>) -> Claim<'a> {
        let mut held = self.pins.held();
        let claimed: HashSet<BlobId> = ids.filter(|id| held.reason(id).is_none()).collect();
        held.doomed.clone_from(&claimed);
        Claim { pins: self.pins, claimed }
    }
}

impl Drop for Collecting<'_> {
    fn drop(&mut self) {
        let mut held = self.pins.held();
        held.collecting = false;
        held.late = HashSet::new();
    }
}

/// Blobs that are being written off. To be dropped after the transaction that does so, however it ended.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pins: &'a Pins,
    claimed: HashSet<BlobId>,
}

impl Claim<'_> {
    pub(crate) fn has(&self, id: &BlobId) -> bool {
        self.claimed.contains(id)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.pins.held().doomed.clear();
        self.pins.decided.notify_all();
    }
}

impl Store {
    /// Keeps blobs from being collected for as long as the [`Pin`] lives, in this process.
    ///
    /// For what must be there a moment longer: between asking for blobs and recording what refers to them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = buildswarm_store::Store::open(dir.path())?;
    /// let blob = store.put_bytes(b"bytes")?;
    /// let pin = store.pin(&[blob.id])?;
    /// // … whatever collects meanwhile, the blob stays …
    /// drop(pin);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BlobMissing`] if one of them is not there: nothing is pinned then. [`Error::ReadOnly`], since only
    /// the process that writes to a store can keep it from collecting.
    pub fn pin(&self, ids: &[BlobId]) -> Result<Pin> {
        self.shared.require_writable()?;
        self.shared.pin(ids)
    }
}

impl Shared {
    pub(crate) fn hold(&self, ids: &[BlobId], hold: Hold) -> Pin {
        self.pins.hold(ids, hold)
    }

    /// Pins blobs that are there; refuses if one is not.
    pub(crate) fn pin(&self, ids: &[BlobId]) -> Result<Pin> {
        // First the count and then the look: the other way round a collection could come between.
        let pin = self.hold(ids, Hold::Pin);
        let found = self.there(ids)?;
        match ids.iter().find(|id| !found.contains(id)) {
            Some(id) => Err(Error::BlobMissing { id: *id }),
            None => Ok(pin),
        }
    }

    /// Those of the blobs that are there.
    pub(crate) fn there(&self, ids: &[BlobId]) -> Result<HashSet<BlobId>> {
        let mut there = HashSet::new();
        for page in ids.chunks(PAGE) {
            let rows = self.index.read(|reader| {
                Ok(page.iter().map(|id| rows::find(reader, *id)).collect::<rusqlite::Result<Vec<_>>>()?)
            })?;
            for stored in rows.iter().flatten() {
                if self.is_there(stored)? {
                    there.insert(stored.blob.id);
                }
            }
        }
        Ok(there)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn id() -> BlobId {
        BlobId::of(b"x")
    }

    fn reason(pins: &Pins) -> Option<KeptBecause> {
        pins.reasons([id()].iter())[0]
    }

    #[test]
    fn a_blob_is_held_until_the_last_lets_go() {
        let pins = Arc::new(Pins::default());
        let first = pins.hold(&[id(), id()], Hold::Transfer);
        let second = pins.hold(&[id()], Hold::Pin);
        assert_eq!(reason(&pins), Some(KeptBecause::Pin));
        drop(second);
        assert_eq!(reason(&pins), Some(KeptBecause::Transfer));
        drop(first);
        assert_eq!(reason(&pins), None);
        assert!(pins.held().counts.is_empty() && pins.held().late.is_empty());
    }

    #[test]
    fn what_is_let_go_during_a_collection_is_held_to_its_end() {
        let pins = Arc::new(Pins::default());
        let before = pins.hold(&[id()], Hold::Pin);
        let collecting = pins.collect();
        drop(before);
        assert_eq!(reason(&pins), Some(KeptBecause::Transfer));
        assert!(!collecting.claim([id()].into_iter()).has(&id()));
        drop(collecting);
        assert_eq!(reason(&pins), None);
    }

    #[test]
    fn a_pin_waits_while_its_blob_is_written_off_and_others_do_not() {
        let pins = Arc::new(Pins::default());
        let collecting = pins.collect();
        let claim = collecting.claim([id()].into_iter());
        let _other = pins.hold(&[BlobId::of(b"other")], Hold::Pin);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(pins.hold(&[id()], Hold::Pin)));
            // Proves nothing when it is slow to start; most runs it is not.
            thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            drop(claim);
        });
    }
}
