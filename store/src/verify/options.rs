//! How to verify: at which rate, from where, with whose help.

use std::fmt;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use buildswarm_core::BlobId;

use super::Cursor;
use crate::backup::Progress;
use crate::disk;
use crate::error::Result;
use crate::index::rows::PackNumber;
use crate::index::values::Bytes32;
use crate::layout::Layout;

/// Somebody who may have a blob that is damaged here; `None` if not. What they give is hashed before it is believed.
pub type Repair<'a> = dyn Fn(BlobId) -> io::Result<Option<Box<dyn Read>>> + 'a;

/// How [`Store::verify_with`](crate::Store::verify_with) goes about it. Without anything set it is
/// [`verify`](crate::Store::verify).
#[derive(Clone, Copy, Default)]
pub struct VerifyOptions<'a> {
    /// Read no more than this many bytes a second, over any longer time; and on one thread.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Begin where the last verification with this option was stopped or died, and remember how far this one comes. One
    /// that comes to the end is forgotten, so the next begins anew.
    pub resume: bool,
    /// Who is asked for blobs that are damaged or missing, and for those that were found so before.
    pub repair: Option<&'a Repair<'a>>,
    /// Told from time to time how far it is; whether to go on.
    pub progress: Option<&'a (dyn Fn(Progress) -> ControlFlow<()> + Sync + 'a)>,
}

impl fmt::Debug for VerifyOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes_per_second, resume, repair, progress } = self;
        f.debug_struct("VerifyOptions")
            .field("bytes_per_second", bytes_per_second)
            .field("resume", resume)
            .field("repair", &repair.is_some())
            .field("progress", &progress.is_some())
            .finish()
    }
}

/// Somebody who is told how far it is.
pub(super) type Tell<'a> = dyn Fn(Progress) -> ControlFlow<()> + Sync + 'a;

/// What the threads of one verification share.
pub(super) struct Share<'a> {
    pub(super) cursor: &'a Mutex<Cursor>,
    pub(super) progress: Option<&'a Tell<'a>>,
    pub(super) resume: bool,
    pub(super) pace: Option<&'a Pace>,
}

impl Share<'_> {
    pub(super) fn cursor(&self) -> MutexGuard<'_, Cursor> {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is time to read more after so many bytes.
    pub(super) fn spend(&self, bytes: u64) {
        if let Some(pace) = self.pace {
            pace.spend(bytes);
        }
    }

    /// Writes down that everything up to `position` was read, if it is to be remembered.
    pub(super) fn save(&self, layout: &Layout, position: Position) -> Result<()> {
        if self.resume { position.save(layout) } else { Ok(()) }
    }
}

/// A rate that is kept over any longer time: reading that fell behind may not be made up for by more than a second's worth.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: f64,
    /// When what was read so far should have been read at that rate.
    due: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second: bytes_per_second.get() as f64, due: Mutex::new(Instant::now()) }
    }

    fn spend(&self, bytes: u64) {
        let wait = self.wait(bytes, Instant::now());
        thread::sleep(wait);
    }

    /// How long to wait at the time `now` after reading so many bytes.
    fn wait(&self, bytes: u64, now: Instant) -> Duration {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        *due = (*due).max(earliest) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        due.saturating_duration_since(now)
    }
}

/// How far a verification has come: through the packs by number, then through all other blobs by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) pack: PackNumber,
    pub(super) after: Option<BlobId>,
}

impl Default for Position {
    fn default() -> Self {
        Self { pack: PackNumber::FIRST, after: None }
    }
}

impl Position {
    pub(super) fn columns(self) -> (i64, Option<Bytes32>) {
        (self.pack.0, self.after.map(Bytes32::from))
    }

    /// The position that was remembered. What cannot be read is the beginning: more is verified, never less.
    pub(super) fn load(layout: &Layout) -> Result<Self> {
        let found = disk::read_small(&layout.verified())?.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(found.and_then(|text| Self::parse(&text)).unwrap_or_default())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let pack = PackNumber(words.next()?.parse().ok()?);
        let after = words.next().map(str::parse).transpose().ok()?;
        Some(Self { pack, after })
    }

    pub(super) fn save(self, layout: &Layout) -> Result<()> {
        let after = self.after.map(|id| format!(" {id}")).unwrap_or_default();
        disk::write_small(&layout.verified(), format!("{}{after}\n", self.pack.0).as_bytes())
    }

    pub(super) fn forget(layout: &Layout) -> Result<()> {
        disk::remove(&layout.verified()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_and_not_made_up_for() {
        let start = Instant::now();
        let pace = Pace { bytes_per_second: 1000.0, due: Mutex::new(start) };
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.wait(500, start), Duration::from_millis(500));
        assert_eq!(pace.wait(500, start), Duration::from_secs(1));
        assert_eq!(pace.wait(1000, at(2)), Duration::ZERO);
        // An hour in which nothing was read counts as a second.
        assert_eq!(pace.wait(2500, at(3600)), Duration::from_millis(1500));
    }

    #[test]
    fn a_position_is_read_back_and_anything_else_is_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for after in [None, Some(BlobId::of(b"x"))] {
            let position = Position { pack: PackNumber(7), after };
            position.save(&layout).unwrap();
            assert_eq!(Position::load(&layout).unwrap(), position);
        }
        for text in ["", "x", "3 x", "\u{7f}\u{0}"] {
            std::fs::write(layout.verified(), text).unwrap();
            assert_eq!(Position::load(&layout).unwrap(), Position::default(), "{text:?}");
        }
        Position::forget(&layout).unwrap();
        assert_eq!(Position::load(&layout).unwrap(), Position::default());
    }
}
