//! A content-addressed artifact store: verified blobs on disk under an SQLite index.
//!
//! A [`Store`] is one directory. It keeps *blobs* (bytes under their own BLAKE3 address), *artifacts* (what a
//! build yielded for a key, pointing at blobs), and beside them the history of attempts, the live state of
//! runs, signed packages and the generations of published channels.
//!
//! # Guarantees
//!
//! - **Visible is durable is verified.** The address of a blob is computed here, while its bytes are written.
//!   It can be seen only after its bytes, its name and its row are durable, in that order.
//! - **Acknowledged is kept.** What a function returned `Ok` for survives a power cut.
//! - **Nothing wrong is served.** Bytes are hashed again on their way out. Damaged ones are taken out of service,
//!   and the next put of the same bytes heals them.
//! - **A key resolves only to what is there.** [`Store::artifact`] answers from the index and from the disk.
//! - **Either key finds it.** [`Store::reused`] answers for reuse keys; of several artifacts the first committed stays.
//! - **The first writer wins.** A later artifact for the same key is recorded as evidence and changes nothing.
//! - **Collection fails closed.** [`Store::gc`] removes what nothing refers to, and nothing at all in any doubt.
//!
//! The order of writes, the tables and recovery are described in `docs/on-disk.md`.
//!
//! # Use
//!
//! Everything is synchronous. A [`Store`] is `Send + Sync`; threads share one by reference or in an `Arc`.
//!
//! ```
//! use buildswarm_store::Store;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("store");
//! let store = Store::open(&path)?;
//! let blob = store.put_bytes(b"the log of a build")?;
//! assert_eq!(store.read_blob(blob.id, 1024)?, b"the log of a build");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "tokio")]
pub mod aio;
pub mod archive;
mod artifacts;
mod backup;
mod batch;
mod blobs;
mod clock;
mod disk;
mod error;
#[cfg(feature = "faults")]
pub mod faults;
#[cfg(not(feature = "faults"))]
mod faults;
mod filesystem;
mod frames;
mod gc;
mod generations;
mod history;
mod index;
mod journal;
mod layout;
mod leases;
mod lock;
mod packs;
#[cfg(any(test, feature = "faults"))]
pub mod parsers;
mod pins;
mod rebuild;
mod room;
mod roots;
mod runs;
mod signed;
mod snapshots;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod uses;
mod verify;

pub use artifacts::{Artifacts, Committed, Reproduction};
pub use backup::{BackupReport, Progress, Restored};
pub use batch::Batch;
pub use blobs::{BlobReader, INLINE_BYTES_MAX};
pub use error::{Error, IndexFault, Result};
pub use gc::{GRACE_SECONDS, GcOptions, GcReport, KeptBecause, Tally};
pub use generations::GenerationRow;
pub use history::{Attempt, AttemptFilter};
pub use packs::Compression;
pub use pins::Pin;
pub use rebuild::RebuildReport;
pub use room::Reservation;
pub use roots::{ROOT_NAME_BYTES_MAX, Root, RootKind};
pub use runs::{JobRow, Purpose, Run, RunId, RunRow, RunState};
pub use signed::SignedPackage;
pub use snapshots::{
    DIRECTORY_BYTES_MAX, Directory, DirectoryError, Entry, Materialised, Mode, NAME_BYTES_MAX, Name, Node,
    Snapshot, TARGET_BYTES_MAX, TREE_ENTRIES_MAX, TREE_PATH_BYTES_MAX, Target, TreeOptions, TreeWalk,
};
pub use stats::Stats;
pub use store::Store;
pub use verify::{Repair, VerifyOptions, VerifyReport};
