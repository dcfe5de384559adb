//! `generation.json`: what a generation offers, for our own tools and for an audit.

use std::collections::{BTreeMap, BTreeSet};

use buildswarm_core::package::Cpv;
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey};

/// The form this version writes. Readers ignore members they do not know, so additions do not raise it.
pub(super) const SCHEMA: u32 = 1;

/// One published state of a channel.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Generation {
    /// Form of this record.
    pub schema: u32,
    /// Name of the channel.
    pub channel: String,
    /// Counted from 1, never used twice while its successor exists.
    pub number: u64,
    /// When it was made, by the wall clock.
    pub created: UnixSeconds,
    /// `TIMESTAMP` of its index: strictly increasing within a channel, possibly ahead of the clock.
    pub timestamp: u64,
    /// The older generation whose packages it offers again, if it is a roll-back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
    /// BLAKE3 of the file `Packages`: through this record's signature the index is signed, too.
    pub packages: BlobId,
    /// What it offers, sorted by name.
    pub entries: Vec<GenerationEntry>,
}

/// One package of a generation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GenerationEntry {
    /// The package.
    pub cpv: Cpv,
    /// The key it was built for, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<BuildKey>,
    /// Address of the package file in the pool.
    pub digest: BlobId,
    /// Its length in bytes.
    pub size: u64,
}

impl Generation {
    /// Addresses of all packages it offers.
    pub(super) fn digests(&self) -> BTreeSet<BlobId> {
        self.entries.iter().map(|entry| entry.digest).collect()
    }

    /// The build keys by package, to carry them into a later generation.
    pub(super) fn keys(&self) -> BTreeMap<Cpv, BuildKey> {
        self.entries.iter().filter_map(|entry| Some((entry.cpv.clone(), entry.key?))).collect()
    }
}
