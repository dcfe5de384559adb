//! `store backup`, `store restore` and `store rebuild`

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use buildswarm_store::{BackupReport, RebuildReport, Store, Tally};

use crate::meter::Meter;
use crate::report::{bytes, while_waiting};
use crate::state::State;

pub(super) fn backup(state: &State, to: &Path, json: bool) -> Result<ExitCode> {
    let store = state.read_store()?;
    let report = {
        let meter = Meter::new("copying");
        store.backup_with(to, &|progress| meter.show(progress))?
    };
    Ok(print(&report, to, json))
}

pub(super) fn restore(state: &State, from: &Path, json: bool) -> Result<ExitCode> {
    let to = state.store();
    let report = {
        let meter = Meter::new("copying");
        Store::restore_with(from, &to, &|progress| meter.show(progress))
            .with_context(|| format!("nothing was restored from {}", from.display()))?
    };
    let code = print(&report, &to, json);
    if !json {
        println!(
            "channels are as they were when the backup was made; clients may have seen newer generations:"
        );
        println!("`build-swarm finalize` publishes anew");
    }
    Ok(code)
}

fn print(report: &BackupReport, to: &Path, json: bool) -> ExitCode {
    if json {
        let tally = |tally: Tally| serde_json::json!({"files": tally.count, "bytes": tally.bytes});
        let line = serde_json::json!({
            "path": to, "unchanged": tally(report.unchanged), "linked": tally(report.linked),
            "copied": tally(report.copied), "removed": tally(report.removed),
            "index_bytes": report.index_bytes, "missing": report.missing,
        });
        println!("{line}");
    } else {
        println!("{}", to.display());
        let lines = [
            (report.copied, "copied"),
            (report.linked, "linked: the same bytes under a second name"),
            (report.unchanged, "there already"),
            (report.removed, "removed, no longer needed"),
        ];
        for (tally, what) in lines.iter().filter(|(tally, _)| tally.count > 0) {
            println!("{:>8} files, {}, {what}", tally.count, bytes(tally.bytes));
        }
        println!("{:>8} index", bytes(report.index_bytes));
        for blob in &report.missing {
            println!("missing: {} ({})", blob.id, bytes(blob.size));
        }
    }
    if report.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(super) fn rebuild(state: &State, json: bool) -> Result<ExitCode> {
    let report = while_waiting("reading and hashing every blob", || Store::rebuild(state.store()))?;
    if json {
        print_rebuilt_json(&report)
    } else {
        print_rebuilt(&report)
    }
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_rebuilt_json(report: &RebuildReport) {
    let line = serde_json::json!({
        "blobs": report.blobs.count, "bytes": report.blobs.bytes, "records": report.records,
        "artifacts": report.artifacts, "damaged": report.damaged, "missing": report.missing,
        "unreadable": report.unreadable.iter().map(|(path, reason)| format!("{}: {reason}", path.display()))
            .collect::<Vec<_>>(),
        "journal": report.journal, "old_index": report.old_index,
    });
    println!("{line}");
}

fn print_rebuilt(report: &RebuildReport) {
    println!(
        "{} blobs read, {}; {} records of the journal followed",
        report.blobs.count,
        bytes(report.blobs.bytes),
        report.records
    );
    println!("{:>8} artifacts", report.artifacts);
    report.damaged.iter().for_each(|path| println!("damaged: {}", path.display()));
    report.missing.iter().for_each(|blob| println!("missing: {} ({})", blob.id, bytes(blob.size)));
    for (path, reason) in &report.unreadable {
        println!("unreadable: {}: {reason}", path.display());
    }
    report.journal.iter().for_each(|finding| println!("journal: {finding}"));
    if let Some(old) = &report.old_index {
        println!("the old index is {}; remove it when nothing is missed", old.display());
    }
    let whole = if report.is_whole() { "all there" } else { "build again what is missing, or repair it" };
    println!("{whole}");
}
