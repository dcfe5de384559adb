//! When blobs were last used, so that those nobody uses can make room first.
//!
//! Reading must not write: a use is noted in memory, and notes are written in batches with a later put, by a collection and
//! when the store is closed. A note that is lost in a crash costs a blob its place in a queue, nothing more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use buildswarm_core::BlobId;

use crate::clock;
use crate::error::Result;
use crate::index::rows::{self, Stored};
use crate::store::Shared;

/// Notes kept, some 4 MiB of them. Uses beyond that are not noted until they have been written.
const NOTES_MAX: usize = 1 << 16;

/// Notes that make a put write them down.
const NOTES_DUE: usize = NOTES_MAX / 16;
const _: () = assert!(NOTES_DUE < NOTES_MAX);

/// Notes written in one transaction: some milliseconds' worth.
const STEP: usize = 1000;

/// Notes of uses.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    notes: Mutex<HashMap<BlobId, u64>>,
}

impl Shared {
    /// Notes that a blob is used.
    pub(crate) fn note_use(&self, stored: &Stored) {
        let now = clock::now();
        if self.index.is_writable() && stored.is_stale(now) {
            let mut notes = self.uses.notes.lock().unwrap_or_else(PoisonError::into_inner);
            if notes.len() < NOTES_MAX {
                notes.insert(stored.blob.id, now);
            }
        }
    }

    /// Writes the notes down if there are many. For after a put: what it stored is stored, so that the notes cannot be
    /// written is no reason to fail it, and they are kept.
    pub(crate) fn write_due_uses(&self) {
        let count = self.uses.notes.lock().unwrap_or_else(PoisonError::into_inner).len();
        if count >= NOTES_DUE {
            let _ = self.write_uses();
        }
    }

    /// Writes all notes down.
    pub(crate) fn write_uses(&self) -> Result<()> {
        let taken = std::mem::take(&mut *self.uses.notes.lock().unwrap_or_else(PoisonError::into_inner));
        let mut taken = Vec::from_iter(taken);
        // By address, as the rows lie in the index.
        taken.sort_unstable();
        for (number, page) in taken.chunks(STEP).enumerate() {
            let written = self.index.write(|transaction| {
                for (id, at) in page {
                    rows::touch(transaction, *id, *at)?;
                }
                Ok(())
            });
            if let Err(error) = written {
                let mut notes = self.uses.notes.lock().unwrap_or_else(PoisonError::into_inner);
                notes.extend(taken[number * STEP..].iter().copied());
                return Err(error);
            }
        }
        Ok(())
    }
}
