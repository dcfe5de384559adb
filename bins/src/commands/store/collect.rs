//! `store gc`, and what `build` collects by itself.

use std::process::ExitCode;

use anyhow::Result;
use buildswarm_store::{GRACE_SECONDS, GcOptions, GcReport, Store, Tally};

use crate::attempt::now;
use crate::cli::Collect;
use crate::config::{Config, KEEP_DAYS};
use crate::report::bytes;
use crate::state::State;

pub(super) fn run(config: &Config, state: &State, options: &Collect) -> Result<ExitCode> {
    let store = if options.dry_run { state.read_store()? } else { state.open_store()? };
    let asked = GcOptions {
        now: now(),
        dry_run: options.dry_run,
        keep_days: options.keep_days,
        grace_seconds: GRACE_SECONDS,
        quota: options.quota.or(config.store.quota_bytes),
        evict_artifacts: options.evict_artifacts,
    };
    let report = store.gc(asked)?;
    if options.json {
        println!("{}", document(&asked, &report));
    } else {
        print(&asked, &report);
    }
    Ok(ExitCode::SUCCESS)
}

/// Evicts what nothing refers to if the store has outgrown its quota. Artifacts stay: what a build made is not taken away
/// behind the back of whoever asked for it.
pub(in crate::commands) fn after_build(config: &Config, store: &Store) -> Result<()> {
    let Some(quota) = config.store.quota_bytes else { return Ok(()) };
    if store.stats()?.used_bytes <= quota {
        return Ok(());
    }
    let asked = GcOptions {
        now: now(),
        dry_run: false,
        keep_days: KEEP_DAYS,
        grace_seconds: GRACE_SECONDS,
        quota: Some(quota),
        evict_artifacts: false,
    };
    let report = store.gc(asked)?;
    if report.blobs.count > 0 {
        eprintln!(
            " *  the store had outgrown its quota of {}: freed {}",
            bytes(quota),
            bytes(report.freed_bytes)
        );
    }
    if let Some(line) = excess(&asked, &report) {
        eprintln!(" *  {line}");
    }
    Ok(())
}

fn document(asked: &GcOptions, report: &GcReport) -> serde_json::Value {
    let tally = |tally: &Tally| serde_json::json!({ "blobs": tally.count, "bytes": tally.bytes });
    let kept: serde_json::Map<_, _> =
        report.kept_by_reason.iter().map(|(reason, kept)| (reason.name().to_owned(), tally(kept))).collect();
    serde_json::json!({
        "dry_run": asked.dry_run, "freed_bytes": report.freed_bytes, "blobs": report.blobs.count,
        "evicted": tally(&report.evicted), "evicted_artifacts": report.evicted_artifacts,
        "orphans": report.orphans.count, "quarantined": report.quarantined.count,
        "temporary": report.temporary.count, "used_bytes": report.used_bytes, "quota": asked.quota,
        "kept": kept,
    })
}

fn print(asked: &GcOptions, report: &GcReport) {
    let verb = if asked.dry_run { "would free" } else { "freed" };
    println!("{verb} {}, {} are left", bytes(report.freed_bytes), bytes(report.used_bytes));
    let ordinary = Tally {
        count: report.blobs.count - report.evicted.count,
        bytes: report.blobs.bytes - report.evicted.bytes,
    };
    let evicted = match report.evicted_artifacts {
        0 => "over the quota".to_owned(),
        count => format!("over the quota, {count} artifacts with them"),
    };
    let removed = [
        (ordinary, "nothing refers to them"),
        (report.evicted, &evicted),
        (report.orphans, "files that the index does not know"),
        (report.quarantined, "damaged files in quarantine"),
        (report.temporary, "left by transfers that ended"),
    ];
    for (tally, why) in removed.iter().filter(|(tally, _)| tally.count > 0) {
        line("remove", *tally, why);
    }
    for (reason, tally) in &report.kept_by_reason {
        line("keep", *tally, &reason.to_string());
    }
    if let Some(line) = excess(asked, report) {
        println!("{line}");
    }
}

fn line(what: &str, tally: Tally, why: &str) {
    println!("  {what:<6}  {:>10}  {:>8}  {why}", bytes(tally.bytes), tally.count);
}

/// That what has to stay is more than the quota, and what to do.
fn excess(asked: &GcOptions, report: &GcReport) -> Option<String> {
    let excess = report.used_bytes.checked_sub(asked.quota?).filter(|excess| *excess > 0)?;
    let advice = if asked.evict_artifacts {
        "raise store.quota-bytes, or remove roots and generations"
    } else {
        "`build-swarm store gc --evict-artifacts` lets go of the artifacts that no generation needs"
    };
    Some(format!("still {} over the quota: {advice}", bytes(excess)))
}
