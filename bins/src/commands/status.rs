//! `status`

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};
use buildswarm_core::time::UnixSeconds;
use buildswarm_store::{JobRow, Purpose, RunId, RunRow, RunState, Store};

use crate::attempt::now;
use crate::cli::Status;
use crate::config::Config;
use crate::report::{Colors, clock};
use crate::state::State;

/// Runs looked through for one by its number.
const RUNS: usize = 1_000;

pub(super) fn run(config: &Config, options: &Status) -> Result<ExitCode> {
    let store = State::of(config)?.read_store()?;
    let run = find(&store, options.run)?;
    let jobs = store.jobs(run.id)?;
    if options.json {
        println!("{}", as_json(&run, &jobs));
    } else {
        print(&run, &jobs, options.verbose);
    }
    Ok(ExitCode::SUCCESS)
}

/// The run with a number, or the last one that was to build something: an audit is looked at by its number.
pub(super) fn find(store: &Store, number: Option<u32>) -> Result<RunRow> {
    let runs = store.runs(RUNS)?;
    match number {
        None => runs
            .into_iter()
            .find(|run| run.purpose == Purpose::Build)
            .ok_or_else(|| anyhow!("nothing was built here yet")),
        Some(number) => runs
            .into_iter()
            .find(|run| run.id == RunId::new(number))
            .ok_or_else(|| anyhow!("there is no run {number}; `build-swarm status` shows the last one")),
    }
}

const fn state_name(state: &RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Interrupted => "interrupted",
        RunState::Finished { .. } => "finished",
    }
}

fn as_json(run: &RunRow, jobs: &[JobRow]) -> serde_json::Value {
    let summary = match &run.state {
        RunState::Finished { summary, .. } => serde_json::from_str(summary).unwrap_or_default(),
        RunState::Running | RunState::Interrupted => serde_json::Value::Null,
    };
    let jobs: Vec<serde_json::Value> = jobs
        .iter()
        .map(|job| {
            serde_json::json!({
                "package": job.package, "key": job.key, "state": job.state, "reason": job.reason,
                "slot": job.slot, "started": job.started, "log": job.log_path, "artifact": job.artifact,
            })
        })
        .collect();
    serde_json::json!({
        "run": run.id.number(), "purpose": run.purpose.name(), "request": run.label, "started": run.started, "pid": run.pid,
        "state": state_name(&run.state), "summary": summary, "jobs": jobs,
    })
}

fn since(at: UnixSeconds) -> String {
    clock(Duration::from_secs(now().0.saturating_sub(at.0)))
}

fn print(run: &RunRow, jobs: &[JobRow], verbose: bool) {
    let colors = Colors::of(&std::io::stdout());
    let state = match &run.state {
        RunState::Running => {
            colors.notice(&format!("running for {} (process {})", since(run.started), run.pid))
        }
        RunState::Interrupted => {
            colors.bad("interrupted: its process is gone; the same command goes on with it")
        }
        RunState::Finished { at, .. } => {
            let took = Duration::from_secs(at.0.saturating_sub(run.started.0));
            format!("finished {} ago, took {}", since(*at), clock(took))
        }
    };
    println!("Run {}: {} – {state}", run.id, colors.name(&run.label));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for job in jobs {
        *counts.entry(job.state.as_str()).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    println!("{}", counts.join(", "));
    for job in jobs {
        let is_over = matches!(job.state.as_str(), "hit" | "reused" | "unneeded" | "built");
        if is_over && !verbose {
            continue;
        }
        let state = match job.state.as_str() {
            "failed" | "blocked" => colors.bad(&job.state),
            "hit" | "reused" | "built" => colors.good(&job.state),
            other => colors.notice(other),
        };
        let time = match job.started {
            Some(started) if job.state == "running" => format!(" {}", since(started)),
            _ => String::new(),
        };
        let reason = job.reason.lines().next().unwrap_or_default();
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        println!("  {state:9} {}{time}{reason}", job.package);
    }
}
