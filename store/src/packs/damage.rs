//! Taking what is damaged in a pack out of service, and nothing else of it.

use super::{Pack, rows};
use crate::disk::{self, Copy};
use crate::error::Result;
use crate::index::rows::{self as blobs, PackNumber, Stored};
use crate::store::Shared;

impl Shared {
    /// Looks again at a blob in a pack that somebody found damaged, and takes it out of service if it is. Whether it was.
    pub(crate) fn condemn_packed(&self, stored: &Stored, number: PackNumber, position: u64) -> Result<bool> {
        let Some(pack) = self.pack(number)? else { return self.is_gone(stored) };
        let turn = self.turn(&pack.id);
        match self.examine_packed(stored.blob, number, position)? {
            Copy::Sound => return Ok(false),
            Copy::Damaged => {
                self.index.write(|transaction| Ok(blobs::mark_bad(transaction, stored)?))?;
            }
            Copy::Missing => {
                drop(turn);
                self.condemn_pack(number)?;
            }
        }
        self.is_gone(stored)
    }

    /// Takes a pack out of service with all its blobs if it cannot be opened. Whether that is so.
    pub(crate) fn condemn_pack(&self, number: PackNumber) -> Result<bool> {
        if !self.index.is_writable() {
            return Ok(true);
        }
        let Some(pack) = self.pack(number)? else { return Ok(false) };
        let _turn = self.turn(&pack.id);
        if self.open_pack(number)?.is_some() {
            return Ok(false);
        }
        self.index.write(|transaction| {
            rows::mark_members_bad(transaction, number)?;
            Ok(rows::mark_bad(transaction, number)?)
        })?;
        self.set_pack_aside(number, pack)?;
        Ok(true)
    }

    /// Marks a pack whose bytes are not those of its address, so that the next collection moves what is sound in it; if
    /// nothing is, it goes to the quarantine. Whether it is damaged.
    pub(crate) fn condemn_bytes_of_pack(&self, number: PackNumber) -> Result<bool> {
        if !self.index.is_writable() {
            return Ok(true);
        }
        let Some(pack) = self.pack(number)? else { return Ok(false) };
        let _turn = self.turn(&pack.id);
        // A batch may have put it anew meanwhile.
        if disk::inspect(&self.layout.pack(&pack.id), pack.file())? == Copy::Sound {
            return Ok(false);
        }
        self.index.write(|transaction| Ok(rows::mark_bad(transaction, number)?))?;
        self.set_pack_aside(number, pack)?;
        Ok(true)
    }

    /// Moves a pack that has no sound blob to the quarantine; the caller holds its turn.
    fn set_pack_aside(&self, number: PackNumber, pack: Pack) -> Result<()> {
        let path = self.layout.pack(&pack.id);
        if self.index.write(|transaction| Ok(rows::take_out_bad_members(transaction, number)?))?
            && disk::exists(&path)?
        {
            self.set_aside(&path, pack.id)?;
        }
        Ok(())
    }

    /// Whether a blob is not in service any more, wherever it may be now.
    fn is_gone(&self, stored: &Stored) -> Result<bool> {
        let now = self.index.read(|reader| Ok(blobs::find(reader, stored.blob.id)?))?;
        Ok(now.is_none_or(|now| !now.sound))
    }
}
