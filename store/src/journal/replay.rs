//! Reading a whole journal: for an index that is made from it, or to see whether it is in order.

use std::fmt;
use std::path::{Path, PathBuf};

use super::frame::{Found, Frames};
use super::{Record, segments};
use crate::error::Result;
use crate::layout::Layout;

/// Bytes of a journal that are no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    path: PathBuf,
    from: u64,
    to: u64,
    /// Whether no record follows: so does a write leave it that was interrupted, and that nobody was told of.
    is_tail: bool,
}

impl Damage {
    pub(crate) const fn is_tail(&self) -> bool {
        self.is_tail
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, from, to, is_tail } = self;
        let what = if *is_tail { "end in a record that is not whole" } else { "are damaged" };
        write!(f, "bytes {from} to {to} of {} {what}", path.display())
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) records: u64,
    /// Number of the last record.
    pub(crate) last: u64,
    /// Which store it is of.
    pub(crate) uuid: Option<[u8; 16]>,
    pub(crate) damage: Vec<Damage>,
}

impl Replay {
    /// Hands every record that counts to `take`, in order.
    pub(crate) fn of(layout: &Layout, mut take: impl FnMut(Record) -> Result<()>) -> Result<Self> {
        let segments = segments(layout)?;
        let mut replay = Self::default();
        // A segment gets its name when the state it begins with is whole. So an older one counts only if the beginning of
        // the newer one was damaged before the older one was removed.
        let mut first = segments.len().saturating_sub(1);
        while first > 0 && !begins(&segments[first].1)? {
            first -= 1;
        }
        for (base, path) in segments.get(first..).unwrap_or_default() {
            replay.last = replay.last.max(*base);
            replay.read(path, &mut take)?;
        }
        Ok(replay)
    }

    fn read(&mut self, path: &Path, take: &mut impl FnMut(Record) -> Result<()>) -> Result<()> {
        let mut frames = Frames::open(path)?;
        loop {
            let from = frames.at();
            let Some(found) = frames.next()? else { return Ok(()) };
            let record = match found {
                Found::Whole { number, payload } => {
                    self.last = self.last.max(number);
                    Record::decode(&payload).ok()
                }
                Found::Damaged { .. } => None,
            };
            let Some(record) = record else {
                let (to, is_tail) = (frames.at(), frames.at() == frames.length());
                self.damage.push(Damage { path: path.to_owned(), from, to, is_tail });
                continue;
            };
            if let Record::Store { uuid } = record {
                self.uuid = Some(uuid);
            }
            self.records += 1;
            take(record)?;
        }
    }
}

/// Whether a segment's first record is whole.
fn begins(path: &Path) -> Result<bool> {
    Ok(matches!(Frames::open(path)?.next()?, Some(Found::Whole { .. })))
}
