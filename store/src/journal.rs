//! The journal: what the index knows and files do not tell, written once more.
//!
//! Every transaction that makes such a thing true appends it here, as [`Record`]s, and syncs them before it commits. So
//! whatever was acknowledged is in the journal, and the index can be made again from blobs, packs and journal alone
//! ([`Store::rebuild`](crate::Store::rebuild)).
//!
//! A segment is one file. It begins with the whole state as of some record, whose number is the segment's name, and goes on
//! with the records since then. Usually there is one segment; while a new one takes over there are two, and the newer
//! counts.

mod apply;
mod frame;
mod record;
mod replay;
mod state;

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use crate::disk;
use crate::error::{Error, Result};
use crate::faults::{Step, reach};
use crate::index::Transaction;
use crate::index::values::Unsigned;
use crate::layout::Layout;
use crate::rebuild::adopt_packs;
pub(crate) use apply::{Applied, Missing, apply};
use frame::Frames;
#[cfg(any(test, feature = "faults"))]
pub(crate) use frame::read_all;
pub(crate) use record::Record;
pub(crate) use replay::Replay;
use state::Written;
pub(crate) use state::{estimate, write};

/// A segment is written anew once it has more than twice the bytes of its beginning and this many on top, so that a small
/// journal is not written again and again.
const SLACK_BYTES: u64 = 4 << 20;

/// The segment that is being written to.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Number of the record that the state at the beginning is as of.
    base: u64,
    /// Bytes of that state.
    base_bytes: u64,
    /// Number of the last record.
    last: u64,
    /// Bytes of whole, acknowledged records; what follows is to be overwritten.
    length: u64,
    /// Length and last number before the last append.
    before: (u64, u64),
    /// Whether a write, a sync or a cut failed: what the file holds behind `length` is then not known.
    doubtful: bool,
}

impl Journal {
    /// Opens the journal of an index that was found in order, and makes the two agree: records that the index lacks are
    /// applied to it. If the journal has less than the index knows, or none is there, it is written from the index.
    pub(crate) fn open(layout: &Layout, index: &mut Connection) -> Result<Self> {
        let (uuid, noted) = identity(index).map_err(|error| Error::index(&layout.index(), error))?;
        let Some((base, path)) = newest(layout)? else { return Self::begin(layout, index) };
        let Some(found) = Tail::of(layout, &path, base, uuid, noted)? else {
            return Self::begin(layout, index);
        };
        let whole = found.redo(layout, index)?;
        let file = disk::open_to_append(&path)?;
        if whole && found.end < found.file_bytes {
            disk::cut(&file, &path, found.end)?;
        }
        let journal = Self {
            path,
            file,
            base,
            base_bytes: found.base_bytes,
            last: found.last,
            length: found.end,
            before: (found.end, found.last),
            doubtful: false,
        };
        if !whole {
            // The journal has what the index could not take over, so that they agree only from a new beginning on.
            return Self::begin(layout, index);
        }
        remove_others(layout, base)?;
        Ok(journal)
    }

    /// Writes a new segment from the index, which nobody else changes meanwhile, and removes the others.
    pub(crate) fn begin(layout: &Layout, index: &Connection) -> Result<Self> {
        state::write(layout, index)?.install(layout, None)
    }

    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// Appends records and makes them durable; the caller's transaction has not been committed yet.
    pub(crate) fn append(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let mut bytes = Vec::new();
        let mut last = self.last;
        for payload in payloads {
            last += 1;
            frame::frame(last, payload, &mut bytes).map_err(Error::io("write", &self.path))?;
        }
        self.before = (self.length, self.last);
        if let Err(error) = disk::append(&self.file, &self.path, self.length, &bytes) {
            self.take_back();
            return Err(error);
        }
        if let Err(error) = disk::sync_data(&self.file, &self.path) {
            self.doubtful = true;
            return Err(error);
        }
        (self.length, self.last) = (self.length + bytes.len() as u64, last);
        Ok(())
    }

    /// Takes the last append back, since its transaction was not committed.
    pub(crate) fn take_back(&mut self) {
        (self.length, self.last) = self.before;
        // Should they come back with a power cut all the same, the next opening applies them: nobody was told that they are
        // true, nor that they are not.
        self.doubtful = disk::cut(&self.file, &self.path, self.length).is_err();
    }

    /// Whether the file has to be replaced before anything is appended. After a failed sync, nothing in it is certain.
    pub(crate) const fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Replaces a doubtful segment by what the index has.
    pub(crate) fn renew(&mut self, layout: &Layout, index: &Connection) -> Result<()> {
        *self = Self::begin(layout, index)?;
        Ok(())
    }

    /// Where the next record will be, and its number less one: what [`Written::install`] takes over begins there.
    pub(crate) const fn place(&self) -> Place {
        Place { base: self.base, at: self.length, last: self.last }
    }

    /// Takes the place of the segment in use.
    pub(crate) fn replace(&mut self, layout: &Layout, written: Written, since: Place) -> Result<()> {
        // Another one took over meanwhile: that is new enough.
        if since.base != self.base || self.doubtful {
            return Ok(());
        }
        *self = written.install(layout, Some((self, since)))?;
        Ok(())
    }

    /// Whether it has grown so much that it should be written anew. `fresh` is about how many bytes it would have then, if
    /// that is known.
    pub(crate) fn is_due(&self, fresh: Option<u64>) -> bool {
        self.length > 2 * fresh.unwrap_or(self.base_bytes) + SLACK_BYTES
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A place in a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    base: u64,
    at: u64,
    last: u64,
}

/// The store's identity and the number of the last record that the index has.
pub(crate) fn identity(index: &Connection) -> rusqlite::Result<([u8; 16], u64)> {
    index
        .query_row("SELECT uuid, noted FROM store", [], |row| Ok((row.get(0)?, row.get::<_, Unsigned>(1)?.0)))
}

/// Segments by number, oldest first.
pub(crate) fn segments(layout: &Layout) -> Result<Vec<(u64, PathBuf)>> {
    let mut found: Vec<_> = disk::list(&layout.journal())?
        .into_iter()
        .filter_map(|file| Some((file.name.parse().ok()?, file.path)))
        .collect();
    found.sort_unstable();
    Ok(found)
}

fn newest(layout: &Layout) -> Result<Option<(u64, PathBuf)>> {
    Ok(segments(layout)?.pop())
}

fn remove_others(layout: &Layout, than: u64) -> Result<()> {
    let mut others = segments(layout)?;
    others.retain(|(base, _)| *base != than);
    for (_, path) in &others {
        disk::remove(path)?;
    }
    if others.is_empty() { Ok(()) } else { disk::sync_dir(&layout.journal()) }
}

/// What a segment holds beyond what the index has.
struct Tail {
    base_bytes: u64,
    /// Number of the last whole record, and where it ends.
    last: u64,
    end: u64,
    file_bytes: u64,
    /// Records that the index does not have.
    ahead: Vec<Vec<u8>>,
}

impl Tail {
    /// Goes through a segment. What the index has was durable here before, so of that only the beginnings of the frames
    /// are looked at: opening a store does not read it all. `None` if the segment has less than the index.
    fn of(layout: &Layout, path: &Path, base: u64, uuid: [u8; 16], noted: u64) -> Result<Option<Self>> {
        let mut frames = Frames::open(path)?;
        let damaged =
            |finding: &str| Err(Error::IndexDamaged { path: layout.index(), finding: finding.to_owned() });
        match frames.next()? {
            Some(frame::Found::Whole { payload, .. }) => match Record::decode(&payload) {
                Ok(Record::Store { uuid: found }) if found == uuid => {}
                Ok(Record::Store { .. }) => return damaged("the journal beside it is of another store"),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        }
        if base > noted {
            return damaged("it is older than the journal beside it");
        }
        let (mut last, mut base_bytes) = (base, frames.at());
        while let Some(head) = frames.head()?
            && head.number <= noted
        {
            // Within the state all have its number.
            let expected = if head.number == base && last == base { base } else { last + 1 };
            if head.number != expected {
                return Ok(None);
            }
            frames.skip()?;
            last = head.number;
            if last == base {
                base_bytes = frames.at();
            }
        }
        if last < noted {
            return Ok(None);
        }
        let mut tail = Self { base_bytes, last, end: frames.at(), file_bytes: 0, ahead: Vec::new() };
        while let Some(frame::Found::Whole { number, payload }) = frames.next()? {
            if number != tail.last + 1 {
                break;
            }
            tail.ahead.push(payload);
            (tail.last, tail.end) = (number, frames.at());
        }
        tail.file_bytes = frames.length();
        Ok(Some(tail))
    }

    /// Applies what the index lacks; whether it took over all of it.
    fn redo(&self, layout: &Layout, index: &mut Connection) -> Result<bool> {
        if self.ahead.is_empty() {
            return Ok(true);
        }
        let path = layout.index();
        let named = |error| Error::index(&path, error);
        let mut whole = true;
        let transaction = index.transaction_with_behavior(TransactionBehavior::Immediate).map_err(named)?;
        adopt_packs(layout, &Transaction::on(&transaction))?;
        for payload in &self.ahead {
            // Written by a later version, or by nobody: it is whole, so it was no accident of the disk.
            let Ok(record) = Record::decode(payload) else {
                let finding = "the journal beside it has a record that this version does not know".to_owned();
                return Err(Error::IndexDamaged { path, finding });
            };
            whole &= apply(layout, &Transaction::on(&transaction), record, Missing::Skips)? == Applied::Yes;
        }
        transaction.execute("UPDATE store SET noted = ?1", [Unsigned(self.last)]).map_err(named)?;
        reach(Step::Commit).map_err(Error::io("commit to", &path))?;
        transaction.commit().map_err(named)?;
        reach(Step::Committed).map_err(Error::io("commit to", &path))?;
        Ok(whole)
    }
}

#[cfg(test)]
mod tests;
