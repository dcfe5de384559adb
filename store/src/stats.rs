//! How much a store holds.

use crate::disk;
use crate::error::Result;
use crate::index::values::Unsigned;
use crate::store::Store;

/// Counts and sizes of what a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Sound blobs kept as files.
    pub file_blobs: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Sound blobs kept in the index.
    pub inline_blobs: u64,
    /// Their bytes.
    pub inline_bytes: u64,
    /// Sound blobs that are in packs.
    pub packed_blobs: u64,
    /// Their bytes, as they are when they are read.
    pub packed_bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of their files.
    pub pack_bytes: u64,
    /// Blobs known to be damaged or missing, waiting for their bytes to be put again.
    pub bad_blobs: u64,
    /// Artifacts.
    pub artifacts: u64,
    /// Signed packages.
    pub signed: u64,
    /// Attempts.
    pub attempts: u64,
    /// Runs.
    pub runs: u64,
    /// Generations of all channels.
    pub generations: u64,
    /// Bytes of the disk that all blobs take: what a quota is compared with.
    pub used_bytes: u64,
    /// Bytes of the index with its log, including the blobs it keeps.
    pub index_bytes: u64,
    /// Files in the quarantine.
    pub quarantined: u64,
}

impl Store {
    /// Counts what the store holds.
    ///
    /// # Errors
    /// Those of the index and of the file system.
    pub fn stats(&self) -> Result<Stats> {
        let [index_bytes, quarantined] = self.sizes_on_disk()?;
        let used_bytes = self.shared.used_bytes()?;
        self.shared.index.read(|reader| {
            let count = |query: &str| -> rusqlite::Result<u64> {
                Ok(reader.query_row(query, [], |row| row.get::<_, Unsigned>(0))?.0)
            };
            // One pass for all: of a million artifacts there are millions of blobs.
            let blobs: [Unsigned; 6] = reader.query_row(
                "SELECT count(*) FILTER (WHERE inline IS NULL AND pack IS NULL),
                     ifnull(sum(size) FILTER (WHERE inline IS NULL AND pack IS NULL), 0),
                     count(inline), ifnull(sum(size) FILTER (WHERE inline IS NOT NULL), 0),
                     count(pack), ifnull(sum(size) FILTER (WHERE pack IS NOT NULL), 0)
                 FROM blobs WHERE state = 'sound'",
                [],
                |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?]),
            )?;
            let [file_blobs, file_bytes, inline_blobs, inline_bytes, packed_blobs, packed_bytes] =
                blobs.map(|number| number.0);
            let rows = |table: &str| count(&format!("SELECT count(*) FROM {table}"));
            Ok(Stats {
                file_blobs,
                file_bytes,
                inline_blobs,
                inline_bytes,
                packed_blobs,
                packed_bytes,
                packs: count("SELECT count(*) FROM packs WHERE state <> 'condemned'")?,
                pack_bytes: count("SELECT ifnull(sum(size), 0) FROM packs WHERE state <> 'condemned'")?,
                bad_blobs: count("SELECT count(*) FROM blobs WHERE state = 'bad'")?,
                artifacts: rows("artifacts")?,
                signed: rows("signed")?,
                attempts: rows("attempts")?,
                runs: rows("runs")?,
                generations: rows("generations")?,
                used_bytes,
                index_bytes,
                quarantined,
            })
        })
    }

    fn sizes_on_disk(&self) -> Result<[u64; 2]> {
        let files = disk::list(self.shared.layout.root())?;
        let index = files.iter().filter(|file| file.name.starts_with("index.db")).map(|file| file.size).sum();
        Ok([index, disk::list(&self.shared.layout.quarantine())?.len() as u64])
    }
}
