//! Why a blob is kept: the reasons the index knows, as one expression of SQL.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use super::{GcOptions, KeptBecause};
use crate::index::values::{Bytes32, Unsigned};
use buildswarm_core::BlobId;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The times that reasons depend on, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Attempts that finished before this are old.
    old: u64,
    /// Leases until this or before have expired.
    now: u64,
    /// Blobs last used before this are past their grace.
    graceless: u64,
}

impl Limits {
    pub(super) fn of(options: &GcOptions) -> Self {
        let now = options.now.0;
        Self {
            old: now.saturating_sub(u64::from(options.keep_days).saturating_mul(DAY_SECONDS)),
            now,
            graceless: now.saturating_sub(options.grace_seconds),
        }
    }

    /// Whether a blob that was last used then is within its grace.
    pub(super) const fn spare(self, used_at: u64) -> bool {
        used_at >= self.graceless
    }

    /// Without any grace.
    pub(super) const fn graceless(self) -> Self {
        Self { graceless: i64::MAX.unsigned_abs(), ..self }
    }

    /// With grace only for what was used after `time`.
    pub(super) const fn unless_used_after(self, time: u64) -> Self {
        Self { graceless: time.saturating_add(1), ..self }
    }

    /// As the parameters ?1 to ?3.
    const fn parameters(self) -> [Unsigned; 3] {
        [Unsigned(self.old), Unsigned(self.now), Unsigned(self.graceless)]
    }
}

/// Reasons that come from what was built, then the others; each with its number, in the order of [`KeptBecause`].
/// The parameters are those of [`Limits`].
const BY_BUILDS: &str = "
    WHEN EXISTS (SELECT 1 FROM artifacts WHERE file = b.id) THEN 2
    WHEN EXISTS (SELECT 1 FROM artifacts WHERE log = b.id) THEN 2
    WHEN EXISTS (SELECT 1 FROM artifacts WHERE preimage = b.id) THEN 2
    WHEN EXISTS (SELECT 1 FROM signed WHERE file = b.id) THEN 3";
const BY_GENERATIONS: &str = "
    WHEN EXISTS (SELECT 1 FROM generation_blobs WHERE blob = b.id) THEN 1
    WHEN EXISTS (SELECT 1 FROM generations WHERE manifest = b.id) THEN 1";
const BY_OTHERS: &str = "
    WHEN EXISTS (SELECT 1 FROM roots WHERE blob = b.id) THEN 4
    WHEN EXISTS (SELECT 1 FROM attempts WHERE log = b.id AND finished >= ?1) THEN 5
    WHEN EXISTS (SELECT 1 FROM leases WHERE blob = b.id AND until > ?2) THEN 6
    WHEN b.stored_at >= ?3 THEN 9";

fn kept_because(number: i64) -> Option<KeptBecause> {
    match number {
        1 => Some(KeptBecause::Generation),
        2 => Some(KeptBecause::Artifact),
        3 => Some(KeptBecause::Signed),
        4 => Some(KeptBecause::Root),
        5 => Some(KeptBecause::AttemptLog),
        6 => Some(KeptBecause::Lease),
        9 => Some(KeptBecause::Grace),
        _ => None,
    }
}

/// The bytes of the disk a blob `b` takes: its own, or its share of the pack it is in.
pub(super) const SHARE: &str = "CASE WHEN b.pack IS NULL THEN b.size
    ELSE (SELECT CAST(b.size * (1.0 * size / max(unpacked, 1)) AS INTEGER) FROM packs WHERE number = b.pack) END";

fn select(reasons: &[&str], tail: &str) -> String {
    format!(
        "SELECT b.id, b.size, b.stored_at, b.state = 'condemned', {SHARE}, CASE {} END
         FROM blobs AS b WHERE {tail}",
        reasons.concat()
    )
}

static PAGE: LazyLock<String> = LazyLock::new(|| {
    select(&[BY_GENERATIONS, BY_BUILDS, BY_OTHERS], "b.id > ifnull(?4, x'') ORDER BY b.id LIMIT ?5")
});
static ONE: LazyLock<String> = LazyLock::new(|| select(&[BY_GENERATIONS, BY_BUILDS, BY_OTHERS], "b.id = ?4"));
static ONE_BUT_FOR_BUILDS: LazyLock<String> =
    LazyLock::new(|| select(&[BY_GENERATIONS, BY_OTHERS], "b.id = ?4"));

/// A blob that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) id: BlobId,
    pub(super) size: u64,
    /// Bytes of the disk it takes.
    pub(super) share: u64,
    /// When it was last put or opened, in seconds since 1970.
    pub(super) used_at: u64,
    /// Written off already.
    pub(super) condemned: bool,
    pub(super) reason: Option<KeptBecause>,
}

impl Judged {
    fn from_row(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get::<_, Bytes32>(0)?.into(),
            size: row.get::<_, Unsigned>(1)?.0,
            used_at: row.get::<_, Unsigned>(2)?.0,
            condemned: row.get(3)?,
            share: row.get::<_, Unsigned>(4)?.0,
            reason: effective(row.get::<_, Option<i64>>(5)?.and_then(kept_because)),
        })
    }

    /// Where it stands among those that may be evicted.
    pub(super) const fn order(&self) -> (u64, BlobId) {
        (self.used_at, self.id)
    }
}

/// Up to `count` blobs that come after `after`, by address.
pub(super) fn page(
    connection: &Connection,
    limits: Limits,
    after: Option<BlobId>,
    count: usize,
) -> rusqlite::Result<Vec<Judged>> {
    let [old, now, graceless] = limits.parameters();
    let parameters = rusqlite::params![old, now, graceless, after.map(Bytes32::from), count as i64];
    connection.prepare_cached(&PAGE)?.query_map(parameters, Judged::from_row)?.collect()
}

/// One blob.
pub(super) fn judge(connection: &Connection, limits: Limits, id: BlobId) -> rusqlite::Result<Option<Judged>> {
    one(connection, &ONE, limits, id)
}

/// One blob, as if no artifact and no signed package referred to it.
pub(super) fn judge_but_for_builds(
    connection: &Connection,
    limits: Limits,
    id: BlobId,
) -> rusqlite::Result<Option<Judged>> {
    one(connection, &ONE_BUT_FOR_BUILDS, limits, id)
}

fn one(connection: &Connection, query: &str, limits: Limits, id: BlobId) -> rusqlite::Result<Option<Judged>> {
    let [old, now, graceless] = limits.parameters();
    let parameters = rusqlite::params![old, now, graceless, Bytes32::from(id)];
    connection.prepare_cached(query)?.query_row(parameters, Judged::from_row).optional()
}

#[cfg(not(test))]
pub(super) const fn effective(reason: Option<KeptBecause>) -> Option<KeptBecause> {
    reason
}

#[cfg(test)]
pub(super) use blinded::effective;

/// A collection that is blind to one reason: what proves that a test would notice.
#[cfg(test)]
pub(crate) mod blinded {
    use std::cell::Cell;

    use super::KeptBecause;

    thread_local! {
        static BLIND_TO: Cell<Option<KeptBecause>> = const { Cell::new(None) };
    }

    pub(crate) fn be_blind_to(reason: Option<KeptBecause>) {
        BLIND_TO.set(reason);
    }

    pub(crate) fn effective(reason: Option<KeptBecause>) -> Option<KeptBecause> {
        reason.filter(|reason| BLIND_TO.get() != Some(*reason))
    }
}
