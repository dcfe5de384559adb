//! What a build yielded for a key.

use std::collections::BTreeMap;

use crate::package::{Cpv, Slot};
use crate::time::UnixSeconds;
use crate::{BlobId, BuildKey, Digest};

/// Bytes in the store: their address and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct BlobRef {
    /// Address.
    pub id: BlobId,
    /// Length in bytes.
    pub size: u64,
}

/// One finished build, as committed to a store under its key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Artifact {
    /// The key it was built for.
    pub key: BuildKey,
    /// The package.
    pub package: Cpv,
    /// Slot and sub-slot.
    pub slot: Slot,
    /// Name of the repository of its ebuild.
    pub repository: String,
    /// The package file: an unsigned gpkg (GLEP 78) in our deterministic form.
    pub file: BlobRef,
    /// The build log, zstd-compressed.
    pub log: BlobRef,
    /// The preimage of the key ([`BuildSpec::encode`](crate::spec::BuildSpec::encode)).
    pub preimage: BlobRef,
    /// Digest of the payload: image and metadata without times and build ids.
    pub payload: Digest,
    /// Digest of what of the payload can reach the build of a package that depends on this one; equal to
    /// `payload` if nothing narrower is known.
    pub interface: Digest,
    /// Bytes of the installed image.
    pub installed_size: u64,
    /// How long the build took, in milliseconds, from an empty root to a package file.
    pub build_millis: u64,
    /// When it was committed.
    pub built_at: UnixSeconds,
    /// Which drone built it.
    pub builder: String,
    /// The package's own metadata by Portage's names (`RDEPEND`, `USE`, `REQUIRES`, …), as in an index entry.
    pub metadata: BTreeMap<String, String>,
}
