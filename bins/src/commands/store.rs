//! `store`

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use buildswarm_core::BuildKey;
use buildswarm_core::artifact::Artifact;
use buildswarm_store::{GRACE_SECONDS, GcOptions, Store};

use crate::attempt::now;
use crate::cli::StoreCommand;
use crate::config::Config;
use crate::report::bytes;
use crate::state::State;

pub(super) fn run(config: &Config, command: &StoreCommand) -> Result<ExitCode> {
    let state = State::of(config)?;
    match command {
        StoreCommand::Ls { package, json } => list(&state.read_store()?, package.as_deref(), *json),
        StoreCommand::Stats { json } => stats(&state.read_store()?, *json),
        StoreCommand::Verify { json } => verify(&state.open_store()?, *json),
        StoreCommand::Gc { dry_run, keep_days, json } => {
            let store = if *dry_run { state.read_store()? } else { state.open_store()? };
            collect(&store, *dry_run, *keep_days, *json)
        }
        StoreCommand::Rm { key } => {
            let store = state.open_store()?;
            let key = key_beginning_with(&store, key)?;
            store.remove_artifact(key)?;
            println!("removed {key}; `build-swarm store gc` frees its bytes");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The one key that begins with `beginning`.
pub(super) fn key_beginning_with(store: &Store, beginning: &str) -> Result<BuildKey> {
    if let Ok(key) = beginning.parse() {
        return Ok(key);
    }
    if beginning.len() < 4 || !beginning.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        bail!(
            "{beginning:?} is not a package (category/name) nor the beginning of a key (4 or more hexadecimal digits)"
        );
    }
    let mut found = Vec::new();
    for artifact in store.all_artifacts() {
        let artifact = artifact?;
        if artifact.key.to_string().starts_with(beginning) {
            found.push(artifact);
        }
    }
    match found.as_slice() {
        [artifact] => Ok(artifact.key),
        [] => Err(anyhow!("no key in the store begins with {beginning}")),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|artifact| format!("{} ({})", artifact.key.short(), artifact.package))
                .collect();
            Err(anyhow!("{} keys begin with {beginning}: {}", several.len(), names.join(", ")))
        }
    }
}

fn list(store: &Store, package: Option<&str>, json: bool) -> Result<ExitCode> {
    let artifacts: Vec<Artifact> = match package {
        Some(package) => store.artifacts_of(package)?,
        None => store.all_artifacts().collect::<buildswarm_store::Result<_>>()?,
    };
    for artifact in &artifacts {
        if json {
            println!("{}", serde_json::to_string(artifact)?);
        } else {
            let time = jiff::Timestamp::from_second(i64::try_from(artifact.built_at.0)?)?;
            let size = bytes(artifact.file.size);
            println!("{}  {time}  {size:>10}  {}", artifact.key.short(), artifact.package);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn stats(store: &Store, json: bool) -> Result<ExitCode> {
    let stats = store.stats()?;
    if json {
        let line = serde_json::json!({
            "path": store.path(), "artifacts": stats.artifacts, "signed": stats.signed,
            "file_blobs": stats.file_blobs, "file_bytes": stats.file_bytes,
            "inline_blobs": stats.inline_blobs, "inline_bytes": stats.inline_bytes,
            "packed_blobs": stats.packed_blobs, "packed_bytes": stats.packed_bytes,
            "packs": stats.packs, "pack_bytes": stats.pack_bytes,
            "bad_blobs": stats.bad_blobs, "quarantined": stats.quarantined,
            "attempts": stats.attempts, "runs": stats.runs, "generations": stats.generations,
            "index_bytes": stats.index_bytes,
        });
        println!("{line}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", store.path().display());
    println!("{:>8} artifacts, {} of them signed", stats.artifacts, stats.signed);
    println!("{:>8} blobs in files, {}", stats.file_blobs, bytes(stats.file_bytes));
    println!("{:>8} small blobs in the index, {}", stats.inline_blobs, bytes(stats.inline_bytes));
    let packs =
        format!("{}, in {} packs of {}", bytes(stats.packed_bytes), stats.packs, bytes(stats.pack_bytes));
    println!("{:>8} blobs of batches, {packs}", stats.packed_blobs);
    println!("{:>8} generations published", stats.generations);
    println!("{:>8} attempts in {} runs", stats.attempts, stats.runs);
    println!("{:>8} index", bytes(stats.index_bytes));
    if stats.bad_blobs + stats.quarantined > 0 {
        println!("{:>8} damaged blobs, {} files in quarantine", stats.bad_blobs, stats.quarantined);
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(store: &Store, json: bool) -> Result<ExitCode> {
    let report = store.verify()?;
    if json {
        let line = serde_json::json!({
            "checked": report.checked, "bytes": report.bytes, "damaged": report.damaged,
            "missing": report.missing, "damaged_packs": report.damaged_packs, "index": report.index, "unresolvable": report.unresolvable,
            "unreadable": report.unreadable.iter().map(|(path, reason)| format!("{}: {reason}", path.display()))
                .collect::<Vec<_>>(),
        });
        println!("{line}");
    } else {
        println!("{} blobs read, {}", report.checked, bytes(report.bytes));
        let problems = [("damaged", &report.damaged), ("missing", &report.missing)];
        for (what, blob) in
            problems.iter().flat_map(|(what, blobs)| blobs.iter().map(move |blob| (what, blob)))
        {
            println!("{what}: {} ({})", blob.id, bytes(blob.size));
        }
        report.damaged_packs.iter().for_each(|pack| println!("damaged pack: {pack}, collection mends it"));
        for (path, reason) in &report.unreadable {
            println!("unreadable: {}: {reason}", path.display());
        }
        report.index.iter().for_each(|finding| println!("index: {finding}"));
        report.unresolvable.iter().for_each(|key| println!("no longer resolves: {key}"));
        println!("{}", if report.is_clean() { "all sound" } else { "build again what no longer resolves" });
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn collect(store: &Store, dry_run: bool, keep_days: u32, json: bool) -> Result<ExitCode> {
    let options = GcOptions { now: now(), dry_run, keep_days, grace_seconds: GRACE_SECONDS };
    let report = store.gc(options)?;
    if json {
        let kept: serde_json::Map<String, serde_json::Value> = report
            .kept_by_reason
            .iter()
            .map(|(reason, tally)| (reason.to_string(), tally.bytes.into()))
            .collect();
        println!(
            "{}",
            serde_json::json!({
                "dry_run": dry_run, "freed_bytes": report.freed_bytes, "blobs": report.blobs.count,
                "orphans": report.orphans.count, "quarantined": report.quarantined.count,
                "temporary": report.temporary.count, "kept_bytes": kept,
            })
        );
        return Ok(ExitCode::SUCCESS);
    }
    let (verb, would) = if dry_run { ("would free", "would be ") } else { ("freed", "") };
    println!("{verb} {}: {} blobs {would}removed", bytes(report.freed_bytes), report.blobs.count);
    for (reason, tally) in &report.kept_by_reason {
        println!("  kept {:>10}  {} blobs: {reason}", bytes(tally.bytes), tally.count);
    }
    Ok(ExitCode::SUCCESS)
}
