//! `store verify`

use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{Context, Result};
use buildswarm_store::{Store, VerifyOptions, VerifyReport};

use crate::cli::StoreVerify;
use crate::meter::Meter;
use crate::report::bytes;
use crate::state::State;

pub(super) fn run(state: &State, options: &StoreVerify) -> Result<ExitCode> {
    let store = state.open_store()?;
    let other = options.repair_from.as_deref().map(|path| {
        Store::open_read_only(path)
            .with_context(|| format!("nothing can be repaired from {}", path.display()))
    });
    let other = other.transpose()?;
    let peer = other.as_ref().map(Store::peer);
    let report = {
        let meter = Meter::new("reading and hashing");
        let progress = |progress| {
            meter.show(progress);
            ControlFlow::Continue(())
        };
        store.verify_with(&VerifyOptions {
            bytes_per_second: options.rate.and_then(NonZeroU64::new),
            resume: options.resume,
            repair: peer.as_ref().map(|peer| peer as &buildswarm_store::Repair<'_>),
            progress: Some(&progress),
        })?
    };
    if options.json {
        print_json(&report)
    } else {
        print(&report)
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_json(report: &VerifyReport) {
    let line = serde_json::json!({
        "checked": report.checked, "bytes": report.bytes, "damaged": report.damaged,
        "missing": report.missing, "damaged_packs": report.damaged_packs, "index": report.index,
        "journal": report.journal, "unresolvable": report.unresolvable, "repaired": report.repaired,
        "unrepaired": report.unrepaired.iter().map(|(blob, reason)| format!("{}: {reason}", blob.id))
            .collect::<Vec<_>>(),
        "unreadable": report.unreadable.iter().map(|(path, reason)| format!("{}: {reason}", path.display()))
            .collect::<Vec<_>>(),
    });
    println!("{line}");
}

fn print(report: &VerifyReport) {
    println!("{} blobs read, {}", report.checked, bytes(report.bytes));
    let blobs = [("damaged", &report.damaged), ("missing", &report.missing), ("repaired", &report.repaired)];
    for (what, blob) in blobs.iter().flat_map(|(what, blobs)| blobs.iter().map(move |blob| (what, blob))) {
        println!("{what}: {} ({})", blob.id, bytes(blob.size));
    }
    for (blob, reason) in &report.unrepaired {
        println!("not repaired: {}: {reason}", blob.id);
    }
    for pack in &report.damaged_packs {
        println!("damaged pack: {pack}; `build-swarm store gc` moves what is sound in it");
    }
    for (path, reason) in &report.unreadable {
        println!("unreadable: {}: {reason}", path.display());
    }
    report.index.iter().for_each(|finding| println!("index: {finding}"));
    report.journal.iter().for_each(|finding| println!("journal: {finding}; it has been written anew"));
    report.unresolvable.iter().for_each(|key| println!("no longer resolves: {key}"));
    let advice = if report.is_clean() {
        "all sound"
    } else if !report.index.is_empty() {
        "the index is damaged: `build-swarm store rebuild` makes it again"
    } else if report.unresolvable.is_empty() {
        "nothing else depends on it"
    } else {
        "build again what no longer resolves, or repair it from another store"
    };
    println!("{advice}");
}
