//! `diff`: which inputs differ between two builds, and what of the difference reaches others.

use std::process::ExitCode;

use anyhow::Result;
use buildswarm_core::spec::difference::{Difference, differences};
use buildswarm_portage::interface::Interface;
use serde_json::json;

use super::interface::Subject;
use super::why::spec_of;
use crate::cli::Diff;
use crate::config::Config;

pub(super) fn run(config: &Config, options: &Diff) -> Result<ExitCode> {
    let (before, after) = (Subject::named(config, &options.before)?, Subject::named(config, &options.after)?);
    let inputs = inputs(&before, &after)?;
    let (first, second) = (before.interface()?, after.interface()?);
    let changes = Interface::differences(&first, &second);
    if options.json {
        let texts = |text: String, field: &str, value: serde_json::Value| json!({"text": text, field: value});
        let mut document = json!({"before": before.document(), "after": after.document()});
        let mut found = Vec::new();
        for difference in inputs.iter().flatten() {
            found.push(texts(difference.to_string(), "difference", serde_json::to_value(difference)?));
        }
        document["differences"] = found.into();
        let mut found = Vec::new();
        for change in &changes {
            found.push(texts(change.to_string(), "change", serde_json::to_value(change)?));
        }
        document["interface"] = json!({"before": first.digest(), "after": second.digest(), "changes": found});
        println!("{document}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("--- {}", before.name());
    println!("+++ {}", after.name());
    if let (Some(found), Subject::Artifact(_, first), Subject::Artifact(_, second)) =
        (inputs, &before, &after)
    {
        found.iter().for_each(|difference| println!("{difference}"));
        let same = if first.payload == second.payload { "the same payload" } else { "different payloads" };
        println!("{} inputs differ; {same}", found.len());
    }
    changes.iter().for_each(|change| println!("{change}"));
    if first.digest() == second.digest() {
        println!("the same interface");
    } else {
        println!("the interface differs in {}", changes.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// What differs between the specifications; package files have none.
fn inputs(before: &Subject, after: &Subject) -> Result<Option<Vec<Difference>>> {
    let (Subject::Artifact(store, before), Subject::Artifact(_, after)) = (before, after) else {
        return Ok(None);
    };
    Ok(Some(differences(&spec_of(store, before)?, &spec_of(store, after)?)))
}
