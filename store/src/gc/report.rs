//! What collection is asked and what it answers.

use std::collections::BTreeMap;
use std::fmt;

use buildswarm_core::time::UnixSeconds;

/// A sensible [`GcOptions::grace_seconds`], in seconds: longer than any build takes from its first upload to its
/// commit.
pub const GRACE_SECONDS: u64 = 24 * 60 * 60;

/// What a collection may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcOptions {
    /// The time it is. Leases, logs and grace are judged by it.
    pub now: UnixSeconds,
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Keep logs of attempts for this many days. The log of an artifact stays as long as the artifact.
    pub keep_days: u32,
    /// Keep blobs that were put or opened within this many seconds though nothing refers to them;
    /// [`GRACE_SECONDS`] unless there is a reason. The time of that has a precision of an hour.
    pub grace_seconds: u64,
    /// If the blobs take more bytes than this, evict what nothing refers to within the grace time too, least
    /// recently used first, until they do not.
    pub quota: Option<u64>,
    /// If that is not enough, evict artifacts that no generation needs, least recently used first.
    pub evict_artifacts: bool,
}

/// What keeps a blob; the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeptBecause {
    /// A generation of a channel serves it.
    Generation,
    /// An artifact refers to it.
    Artifact,
    /// It is the signed form of an artifact's package file.
    Signed,
    /// It is a root, or below one that is a tree.
    Root,
    /// It is the log of an attempt that is not yet old.
    AttemptLog,
    /// Somebody was told lately that it is there.
    Lease,
    /// This process pinned it.
    Pin,
    /// This process is writing or reading it.
    Transfer,
    /// It was put or opened within the grace time.
    Grace,
}

impl KeptBecause {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::Artifact => "artifact",
            Self::Signed => "signed",
            Self::Root => "root",
            Self::AttemptLog => "attempt_log",
            Self::Lease => "lease",
            Self::Pin => "pin",
            Self::Transfer => "transfer",
            Self::Grace => "grace",
        }
    }
}

impl fmt::Display for KeptBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generation => "in a generation",
            Self::Artifact => "of an artifact",
            Self::Signed => "signed package",
            Self::Root => "kept by a root",
            Self::AttemptLog => "log of an attempt",
            Self::Lease => "promised to somebody who asked",
            Self::Pin => "pinned",
            Self::Transfer => "being transferred",
            Self::Grace => "used lately",
        })
    }
}

/// A number of blobs or files, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    pub(crate) const fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    pub(super) const fn take_away(&mut self, bytes: u64) {
        self.count -= 1;
        self.bytes -= bytes;
    }

    pub(super) const fn join(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

/// What a collection removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GcReport {
    /// Bytes of everything below. Those of a blob in a pack are free when its pack is written anew or removed: as soon as
    /// less than half of it is in use.
    pub freed_bytes: u64,
    /// Blobs removed.
    pub blobs: Tally,
    /// Those among them that only made room for the quota.
    pub evicted: Tally,
    /// Artifacts evicted.
    pub evicted_artifacts: u64,
    /// Bytes that the blobs which are left take. More than the quota if what is needed does not fit.
    pub used_bytes: u64,
    /// Packs that no blob is in any more. Their bytes are not freed beside those of the blobs that were in them; a dry run
    /// finds none.
    pub packs: Tally,
    /// Files that the index does not know: left by a crash.
    pub orphans: Tally,
    /// Damaged files in the quarantine.
    pub quarantined: Tally,
    /// Files in `tmp/` that no transfer is writing to any more.
    pub temporary: Tally,
    /// What was kept, and why.
    pub kept_by_reason: BTreeMap<KeptBecause, Tally>,
}
