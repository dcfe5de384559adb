//! Reading packs again, each once from its beginning to its end.

use super::VerifyReport;
use super::options::Share;
use crate::disk::{self, Copy};
use crate::error::{Error, READ, Result};
use crate::index::rows::{self as blobs, PackNumber, Stored};
use crate::packs::{Pack, PackReader, rows};
use crate::store::Shared;

impl Shared {
    /// Whether to go on with what is not in packs.
    pub(super) fn verify_packs(&self, share: &Share<'_>) -> Result<bool> {
        loop {
            let number = {
                let mut cursor = share.cursor();
                let next = self.index.read(|reader| Ok(rows::in_use(reader, cursor.position.pack, 1)?))?;
                let Some(number) = next.first().copied() else { return Ok(!cursor.report.stopped) };
                share.save(&self.layout, cursor.position)?;
                cursor.position.pack = number;
                number
            };
            // One that has been removed since is of no interest.
            let Some(pack) = self.pack(number)? else { continue };
            let found = self.verify_pack(number, pack, share)?;
            if !share.cursor().advance(share.progress, found) {
                return Ok(false);
            }
        }
    }

    fn verify_pack(&self, number: PackNumber, pack: Pack, share: &Share<'_>) -> Result<VerifyReport> {
        let members = self.index.read(|reader| Ok(rows::members(reader, number)?))?;
        let Some(file) = self.open_pack(number)? else {
            return self.verify_lost_pack(number, pack, &members);
        };
        let path = self.layout.pack(&pack.id);
        let mut report = VerifyReport::default();
        match PackReader::new(file).walk(members, |bytes| share.spend(bytes)).map_err(Error::io(READ, &path))
        {
            Err(error) => report.unreadable.push((path, error.whole())),
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
