//! Getting back from somebody else what is damaged here.

use std::collections::BTreeSet;
use std::io::{self, Read};

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;

use super::{Repair, VerifyReport};
use crate::blobs::INLINE_BYTES_MAX;
use crate::disk;
use crate::error::{Error, Result};
use crate::index::values::{Bytes32, Unsigned};
use crate::room::Meter;
use crate::store::{Shared, Store};

impl Store {
    /// This store as one that others may repair themselves from: gives its blobs, verified, to
    /// [`VerifyOptions::repair`](crate::VerifyOptions::repair).
    pub fn peer(&self) -> impl Fn(BlobId) -> io::Result<Option<Box<dyn Read>>> + '_ {
        |id| {
            let found = self.open_blob(id).map_err(io::Error::other)?;
            Ok(found.map(|reader| Box::new(reader) as Box<dyn Read>))
        }
    }
}

impl Shared {
    /// Asks for everything that is out of service.
    pub(super) fn repair(&self, repair: &Repair<'_>, report: &mut VerifyReport) -> Result<()> {
        for blob in self.bad()? {
            let outcome = match repair(blob.id) {
                Ok(None) => continue,
                Ok(Some(reader)) => self.take_in(blob, reader),
                Err(error) => Err(Error::Source { source: error }),
            };
            match outcome {
                Ok(true) => report.repaired.push(blob),
                Ok(false) => report.unrepaired.push((blob, "other bytes were given for it".to_owned())),
                // What they could not give is their affair; what we cannot write is ours.
                Err(Error::Source { source }) => report.unrepaired.push((blob, source.to_string())),
                Err(error) => return Err(error),
            }
        }
        let repaired: BTreeSet<BlobId> = report.repaired.iter().map(|blob| blob.id).collect();
        for found in [&mut report.damaged, &mut report.missing] {
            found.retain(|blob| !repaired.contains(&blob.id));
        }
        Ok(())
    }

    /// Stores the bytes if they are those of the blob; whether they are.
    fn take_in(&self, blob: BlobRef, reader: impl Read) -> Result<bool> {
        // One byte more than it has is enough to see that it is another.
        let mut reader = reader.take(blob.size.saturating_add(1));
        if blob.size > INLINE_BYTES_MAX as u64 {
            // The quota has counted the blob all the time.
            let mut meter = Meter::beyond_quota(&self.room);
            let received = disk::receive(&self.layout.tmp(), &[], reader, &mut meter)?;
            if received.blob != blob {
                return Ok(false);
            }
            self.publish(received)?;
            return Ok(true);
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|source| Error::Source { source })?;
        if BlobId::of(&bytes) == blob.id { self.put_inline(&bytes).map(|_| true) } else { Ok(false) }
    }

    fn bad(&self) -> Result<Vec<BlobRef>> {
        self.index.read(|reader| {
            let mut query = reader.prepare("SELECT id, size FROM blobs WHERE state = 'bad' ORDER BY id")?;
            let found = query.query_map([], |row| {
                Ok(BlobRef { id: row.get::<_, Bytes32>(0)?.into(), size: row.get::<_, Unsigned>(1)?.0 })
            })?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }
}
