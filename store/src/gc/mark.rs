//! Which blobs nothing refers to.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{DAY_SECONDS, GcOptions, KeptBecause, Tally};
use crate::error::Result;
use crate::index::values::Unsigned;
use crate::store::Shared;

/// Why a blob is kept, as a number for [`reason`]; null if nothing keeps it. `?1` is the time before which an
/// attempt is old, `?2` the time before which a blob is past its grace.
const REASON: &str = "CASE
    WHEN EXISTS (SELECT 1 FROM generation_blobs WHERE blob = b.id) THEN 1
    WHEN EXISTS (SELECT 1 FROM generations WHERE manifest = b.id) THEN 1
    WHEN EXISTS (SELECT 1 FROM artifacts WHERE file = b.id) THEN 2
    WHEN EXISTS (SELECT 1 FROM artifacts WHERE log = b.id) THEN 2
    WHEN EXISTS (SELECT 1 FROM artifacts WHERE preimage = b.id) THEN 2
    WHEN EXISTS (SELECT 1 FROM signed WHERE file = b.id) THEN 3
    WHEN EXISTS (SELECT 1 FROM attempts WHERE log = b.id AND finished >= ?1) THEN 4
    WHEN b.stored_at >= ?2 THEN 5
    END";

const fn reason(number: i64) -> Option<KeptBecause> {
    match number {
        1 => Some(KeptBecause::Generation),
        2 => Some(KeptBecause::Artifact),
        3 => Some(KeptBecause::Signed),
        4 => Some(KeptBecause::AttemptLog),
        5 => Some(KeptBecause::Grace),
        _ => None,
    }
}

/// What marking found.
#[derive(Debug, Default)]
pub(super) struct Marked {
    pub(super) kept: BTreeMap<KeptBecause, Tally>,
    pub(super) condemned: Tally,
}

impl Shared {
    /// Finds the blobs that nothing keeps, and condemns them unless this is a dry run.
    pub(super) fn mark(&self, options: GcOptions) -> Result<Marked> {
        let now = options.now.0;
        let old = Unsigned(now.saturating_sub(u64::from(options.keep_days).saturating_mul(DAY_SECONDS)));
        let graceless = Unsigned(now.saturating_sub(options.grace_seconds));
        if options.dry_run {
            return self.index.read(|reader| Ok(tally(reader, old, graceless)?));
        }
        self.index.write(|transaction| {
            let marked = tally(transaction, old, graceless)?;
            transaction.execute(
                &format!(
                    "UPDATE blobs AS b SET state = 'condemned' WHERE b.state <> 'condemned' AND {REASON} IS NULL"
                ),
                params![old, graceless],
            )?;
            Ok(marked)
        })
    }
}

fn tally(connection: &Connection, old: Unsigned, graceless: Unsigned) -> rusqlite::Result<Marked> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {REASON} AS reason, count(*), sum(b.size) FROM blobs AS b GROUP BY reason"
    ))?;
    let mut rows = query.query(params![old, graceless])?;
    let mut marked = Marked::default();
    while let Some(row) = rows.next()? {
        let tally = Tally { count: row.get::<_, Unsigned>(1)?.0, bytes: row.get::<_, Unsigned>(2)?.0 };
        match row.get::<_, Option<i64>>(0)?.and_then(reason) {
            Some(kept) => {
                marked.kept.insert(kept, tally);
            }
            None => marked.condemned = tally,
        }
    }
    Ok(marked)
}
