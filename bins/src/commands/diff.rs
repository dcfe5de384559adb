//! `diff`

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use buildswarm_core::spec::difference::differences;

use super::store::key_beginning_with;
use super::why::spec_of;
use crate::cli::Diff;
use crate::config::Config;
use crate::state::State;

pub(super) fn run(config: &Config, options: &Diff) -> Result<ExitCode> {
    let store = State::of(config)?.read_store()?;
    let [before, after] = [&options.before, &options.after].map(|text| {
        let key = key_beginning_with(&store, text)?;
        let artifact = store.artifact(key)?.ok_or_else(|| anyhow!("{key} is not in the store"))?;
        Ok::<_, anyhow::Error>((spec_of(&store, &artifact)?, artifact))
    });
    let ((before, first), (after, second)) = (before?, after?);
    let found = differences(&before, &after);
    if options.json {
        let found: Vec<_> = found
            .iter()
            .map(|difference| serde_json::json!({"text": difference.to_string(), "difference": difference}))
            .collect();
        println!(
            "{}",
            serde_json::json!({
                "before": {"key": first.key, "package": first.package, "payload": first.payload},
                "after": {"key": second.key, "package": second.package, "payload": second.payload},
                "differences": found,
            })
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("--- {} {}", first.key.short(), first.package);
    println!("+++ {} {}", second.key.short(), second.package);
    found.iter().for_each(|difference| println!("{difference}"));
    let same = if first.payload == second.payload { "the same payload" } else { "different payloads" };
    println!("{} inputs differ; {same}", found.len());
    Ok(ExitCode::SUCCESS)
}
