//! Reading packs again, each once from its beginning to its end.

use std::sync::{Mutex, PoisonError};

use super::{Progress, VerifyReport};
use crate::disk::{self, Copy};
use crate::error::{Error, READ, Result};
use crate::index::rows::{self as blobs, PackNumber, Stored};
use crate::packs::{Pack, PackReader, rows};
use crate::store::Shared;

impl Shared {
    pub(super) fn verify_packs(&self, progress: &Mutex<Progress>) -> Result<()> {
        loop {
            let number = {
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                let next = self.index.read(|reader| Ok(rows::in_use(reader, progress.pack, 1)?))?;
                let Some(number) = next.first().copied() else { return Ok(()) };
                progress.pack = number;
                number
            };
            // One that has been removed since is of no interest.
            let Some(pack) = self.pack(number)? else { continue };
            let found = self.verify_pack(number, pack)?;
            progress.lock().unwrap_or_else(PoisonError::into_inner).report.absorb(found);
        }
    }

    fn verify_pack(&self, number: PackNumber, pack: Pack) -> Result<VerifyReport> {
        let members = self.index.read(|reader| Ok(rows::members(reader, number)?))?;
        let Some(file) = self.open_pack(number)? else {
            return self.verify_lost_pack(number, pack, &members);
        };
        let path = self.layout.pack(&pack.id);
        let mut report = VerifyReport::default();
        match PackReader::new(file).walk(members).map_err(Error::io(READ, &path)) {
            Err(error) => report.unreadable.push((path, error.to_string())),
            Ok(walked) => {
                for (stored, found) in walked.members {
                    report.add(stored.blob, path.clone(), self.judge(stored.blob.id, found));
                }
                if !walked.intact && self.condemn_bytes_of_pack(number)? {
                    report.damaged_packs.push(pack.id);
                }
            }
        }
        Ok(report)
    }

    /// A pack that cannot be opened takes all its blobs with it.
    fn verify_lost_pack(&self, number: PackNumber, pack: Pack, members: &[Stored]) -> Result<VerifyReport> {
        let path = self.layout.pack(&pack.id);
        let found = if disk::exists(&path)? { Copy::Damaged } else { Copy::Missing };
        let mut report = VerifyReport::default();
        if !self.condemn_pack(number)? {
            return Ok(report);
        }
        if found == Copy::Damaged {
            report.damaged_packs.push(pack.id);
        }
        for stored in members {
            // A collection may have moved it meanwhile.
            let now = self.index.read(|reader| Ok(blobs::find(reader, stored.blob.id)?))?;
            if now.is_some_and(|now| !now.sound || now.place == stored.place) {
                report.add(stored.blob, path.clone(), Ok(found));
            }
        }
        Ok(report)
    }
}
