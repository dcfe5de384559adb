//! `build`

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use buildswarm_store::{Purpose, Run};

use super::store as stores;
use super::{plan, publish};
use crate::attempt::now;
use crate::cli::Build;
use crate::config::Config;
use crate::planning::{self, Planned};
use crate::report::Report;
use crate::state::State;
use crate::swarm::{self, Local, Summary};

pub(super) fn run(config: &Config, options: &Build) -> Result<ExitCode> {
    let mut config = config.with_policy(options.request.policy);
    if options.pretend {
        return plan::show(&config, &options.request, options.verbose, options.json);
    }
    let start = Instant::now();
    config.build.slots = options.jobs.unwrap_or(config.build.slots);
    config.build.keep_going &= !options.fail_fast;
    let state = State::of(&config)?;
    let store = state.open_store()?;
    let work = state.work_directory()?;
    let request = options.request.to_portage();
    let planned = planning::plan(&config, &state, Some(&store), &request, work.path())?;
    if options.ask {
        plan::print_tree(&planned, options.verbose);
        if !confirmed()? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut report = Report::new(super::style(options.json, options.quiet));
    let begins = Run { label: request.arguments.join(" "), purpose: Purpose::Build, started: now() };
    let local = Local { config: &config, state: &state, store: &store, work: work.path() };
    let result = swarm::run(local, &planned, &begins, start, &mut report);
    report.end();
    let summary = result?;
    let published = if options.finalize && summary.is_success() {
        Some(publish::publish(&config, &state, &store, None, None, false)?)
    } else {
        None
    };
    print_summary(&summary, &planned, options.json)?;
    if let (Some(published), false) = (published, options.json) {
        published.print();
    }
    // That room could not be made is no reason to call the build a failure.
    if let Err(error) = stores::collect::after_build(&config, &store) {
        eprintln!("build-swarm: the store could not be collected: {error:#}");
    }
    if summary.interrupted {
        return Ok(ExitCode::from(130));
    }
    Ok(if summary.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_summary(summary: &Summary, planned: &Planned, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(summary)?);
        return Ok(());
    }
    let mut parts = vec![
        format!("{} packages", summary.packages),
        format!("{} built", summary.built),
        format!("{} hits", summary.hits),
        format!("{} failed", summary.failed),
    ];
    let rare = [
        (summary.reused, "reused"),
        (summary.blocked, "blocked"),
        (summary.unneeded, "not needed"),
        (summary.dropped, "not tried"),
    ];
    parts.extend(rare.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    println!("{} in {:.1} s", parts.join(", "), summary.seconds);
    for warning in &planned.resolution.export.warnings {
        eprintln!(" *  {}", warning.message);
    }
    Ok(())
}

/// As emerge asks: Enter means yes, the end of input no.
fn confirmed() -> Result<bool> {
    loop {
        print!("\nWould you like to build these packages? [Yes/No] ");
        io::stdout().flush()?;
        let mut answer = String::new();
        if io::stdin().lock().read_line(&mut answer)? == 0 {
            println!();
            return Ok(false);
        }
        match answer.trim().to_lowercase().as_str() {
            "" | "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            other if other.len() > 100 => bail!("that is not an answer"),
            other => println!("Sorry, response '{other}' not understood."),
        }
    }
}
