//! Room: how much may still be written, before it is written.
//!
//! Three things bound it: what the disk has free beyond the head-room that is left for the index, what was promised
//! to others, and the quota, if there is one. Every byte of a put is counted here first. Making room is
//! the business of collection, never of a put.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::disk;
use crate::error::{Error, Result};
use crate::store::{Shared, Store};

/// Bytes that may be written on one answer of the disk. Asking for each chunk takes as long as hashing a part of it;
/// what others can write unseen meanwhile is a fraction of the head-room, which is there for such things.
const STEP_BYTES: u64 = 4 << 20;
const _: () = assert!(STEP_BYTES * 4 <= disk::HEADROOM_BYTES_MIN);

/// How long an answer of the disk counts.
const STEP_TIME: Duration = Duration::from_secs(1);

/// The room of a store.
#[derive(Debug)]
pub(crate) struct Room {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that may be written before the disk is asked again, and when it was asked.
    step: u64,
    asked: Option<Instant>,
    /// Promised and not yet drawn.
    reserved: u64,
    quota: Option<u64>,
    /// Bytes stored, if there is a quota: counted by the last collection, and what was put since.
    used: u64,
}

impl State {
    /// Refuses what the quota does not hold.
    fn require_quota(&self, dir: &Path, bytes: u64) -> Result<()> {
        let Some(quota) = self.quota else { return Ok(()) };
        let used = self.used.saturating_add(self.reserved);
        if used.saturating_add(bytes) <= quota {
            return Ok(());
        }
        Err(Error::QuotaFull { path: dir.to_owned(), quota, used, asked: bytes })
    }
}

impl Room {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a quota.
    pub(crate) fn is_bounded(&self) -> bool {
        self.state().quota.is_some()
    }

    /// Counts bytes that are about to be written by somebody who was promised nothing.
    fn take(&self, bytes: u64, within_quota: bool) -> Result<()> {
        let mut state = self.state();
        if within_quota {
            state.require_quota(&self.dir, bytes)?;
        }
        let is_fresh = state.asked.is_some_and(|asked| asked.elapsed() < STEP_TIME);
        if !is_fresh || state.step < bytes {
            state.step = 0;
            let free = disk::require_room(&self.dir, state.reserved.saturating_add(bytes))?;
            state.step = (free - state.reserved).min(STEP_BYTES.max(bytes));
            state.asked = Some(Instant::now());
        }
        state.step -= bytes;
        state.used = state.used.saturating_add(bytes);
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        let mut state = self.state();
        state.require_quota(&self.dir, bytes)?;
        let reserved = state.reserved.saturating_add(bytes);
        disk::require_room(&self.dir, reserved)?;
        state.reserved = reserved;
        // The step was granted before this was promised.
        state.step = 0;
        Ok(())
    }

    /// Bytes that were promised are about to be written.
    fn draw(&self, bytes: u64) {
        let mut state = self.state();
        state.reserved = state.reserved.saturating_sub(bytes);
        state.used = state.used.saturating_add(bytes);
    }

    fn release(&self, bytes: u64) {
        let mut state = self.state();
        state.reserved = state.reserved.saturating_sub(bytes);
    }

    /// Bytes that were counted are not stored after all, or no longer.
    pub(crate) fn give_back(&self, bytes: u64) {
        let mut state = self.state();
        state.used = state.used.saturating_sub(bytes);
    }
}

/// Room that was promised, until it is dropped or used up.
///
/// What is put [within](Store::put_within) it cannot fail for want of room, as far as the disk keeps its word: others
/// than this store may fill it.
#[derive(Debug)]
#[must_use = "the room is free for others as soon as it is dropped"]
pub struct Reservation {
    shared: Arc<Shared>,
    left: AtomicU64,
}

impl Reservation {
    /// Bytes that are left of it.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes up to so many bytes out of it; how many.
    fn draw(&self, bytes: u64) -> u64 {
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(bytes)));
        let (Ok(before) | Err(before)) = before;
        before.min(bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.room.release(self.left());
    }
}

/// Counts the bytes of one put, or of one batch. Dropped, it gives them back: nothing was stored.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    room: Arc<Room>,
    reservation: Option<&'a Reservation>,
    within_quota: bool,
    counted: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(room: &Arc<Room>, reservation: Option<&'a Reservation>) -> Self {
        Self { room: Arc::clone(room), reservation, within_quota: true, counted: 0 }
    }

    /// For a collection that writes what is stored anew: it frees more than it takes.
    pub(crate) fn beyond_quota(room: &Arc<Room>) -> Self {
        let mut meter = Self::new(room, None);
        meter.within_quota = false;
        meter
    }

    /// Counts bytes that are about to be written, or refuses. What goes beyond a reservation is as if there were none.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<()> {
        let promised = self.reservation.map_or(0, |reservation| reservation.draw(bytes));
        self.room.draw(promised);
        self.counted += promised;
        if promised < bytes {
            self.room.take(bytes - promised, self.within_quota)?;
            self.counted += bytes - promised;
        }
        Ok(())
    }

    /// The bytes are stored.
    pub(crate) fn keep(mut self) {
        self.counted = 0;
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.room.give_back(self.counted);
    }
}

impl Store {
    /// Promises room for so many bytes, for puts [within](Self::put_within) the reservation.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = buildswarm_store::Store::open(dir.path())?;
    /// let room = store.reserve(5)?;
    /// let blob = store.put_within(&room, &b"bytes"[..])?;
    /// assert_eq!(room.left(), 0);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSpace`] if the disk does not have it beyond the head-room and what is promised to others,
    /// [`Error::QuotaFull`] if the quota does not.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation> {
        self.shared.require_writable()?;
        self.shared.room.reserve(bytes)?;
        Ok(Reservation { shared: Arc::clone(&self.shared), left: AtomicU64::new(bytes) })
    }

    /// Bounds the bytes of this store's blobs as long as it is open: puts and reservations that would exceed it are
    /// refused with [`Error::QuotaFull`]; `None` for no bound. Nothing is removed: see
    /// [`GcOptions::quota`](crate::GcOptions::quota).
    ///
    /// # Errors
    /// Those of the index, which has to be counted.
    pub fn set_quota(&self, quota: Option<u64>) -> Result<()> {
        self.shared.require_writable()?;
        // Puts in between are counted twice, which the next collection sets right.
        self.shared.room.state().quota = quota;
        self.shared.recount()
    }
}

impl Shared {
    /// Counts the bytes stored, for the quota; what is put meanwhile is added to that.
    pub(crate) fn recount(&self) -> Result<()> {
        let before = {
            let state = self.room.state();
            if state.quota.is_none() {
                return Ok(());
            }
            state.used
        };
        let counted = self.used_bytes()?;
        let mut state = self.room.state();
        let since = state.used.saturating_sub(before);
        state.used = counted.saturating_add(since);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_not_given_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.set_quota(Some(1000)).unwrap();
        let room = store.reserve(600).unwrap();
        let refused = store.put_bytes(&[1; 500]).unwrap_err();
        assert!(
            matches!(refused, Error::QuotaFull { quota: 1000, used: 600, asked: 500, .. }),
            "{refused:?}"
        );
        assert!(matches!(store.reserve(401), Err(Error::QuotaFull { .. })));
        store.put_within(&room, &[1; 500][..]).unwrap();
        assert_eq!(room.left(), 100);
        store.put_bytes(&[2; 400]).unwrap();
        // Beyond what was promised it is as any other put.
        assert!(store.put_within(&room, &[3; 101][..]).is_err());
        drop(room);
        store.put_bytes(&[4; 100]).unwrap();
        assert!(matches!(store.put_bytes(&[5; 1]), Err(Error::QuotaFull { used: 1000, .. })));
    }

    #[test]
    fn a_known_blob_and_a_put_that_fails_take_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put_bytes(&[1; 500]).unwrap();
        store.set_quota(Some(1000)).unwrap();
        for _ in 0..3 {
            store.put_bytes(&[1; 500]).unwrap();
            assert_eq!(store.shared.room.state().used, 500);
        }
        let mut source = std::io::Read::chain(&[2; 100][..], Fails);
        assert!(matches!(store.put(&mut source), Err(Error::Source { .. })));
        assert_eq!(store.shared.room.state().used, 500);
    }

    #[test]
    fn a_collection_makes_room_within_the_quota() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.set_quota(Some(1000)).unwrap();
        for seed in 0..10 {
            store.put_bytes(&[seed; 100]).unwrap();
        }
        assert!(matches!(store.put_bytes(&[10; 100]), Err(Error::QuotaFull { .. })));
        let options = crate::GcOptions {
            now: buildswarm_core::time::UnixSeconds(1),
            dry_run: false,
            keep_days: 0,
            grace_seconds: 0,
            quota: Some(450),
            evict_artifacts: false,
        };
        let report = store.gc(options).unwrap();
        // Not one more than it takes.
        assert_eq!((report.evicted.count, report.used_bytes), (6, 400));
        drop(store.reserve(600).unwrap());
        assert!(store.reserve(601).is_err());
    }

    struct Fails;

    impl std::io::Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("gone"))
        }
    }

    #[test]
    fn a_reservation_beyond_the_disk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let error = store.reserve(u64::MAX / 2).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
        assert_eq!(store.shared.room.state().reserved, 0);
    }
}
