//! `logs`

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use buildswarm_core::package::Cpv;
use buildswarm_store::{Attempt, AttemptFilter, RunState, Store};

use super::store::key_beginning_with;
use crate::cli::Logs;
use crate::config::Config;
use crate::report::{Colors, clock};
use crate::state::State;

/// Attempts listed.
const LISTED: usize = 30;
/// How often a growing log is looked at; a file gives no sign when it grows.
const FOLLOW: Duration = Duration::from_millis(200);

pub(super) fn run(config: &Config, options: &Logs) -> Result<ExitCode> {
    let store = State::of(config)?.read_store()?;
    let Some(name) = &options.package else {
        list(&store.attempts(LISTED, AttemptFilter::All)?, options.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    if options.list {
        list(&attempts(&store, name, LISTED)?, options.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = live_log(&store, name)? {
        follow(&store, name, &path, options.follow)?;
        return Ok(ExitCode::SUCCESS);
    }
    let attempt = attempts(&store, name, 1)?.into_iter().next();
    let attempt = attempt
        .ok_or_else(|| anyhow!("nothing named {name} was built here; `build-swarm logs` lists what was"))?;
    let log = attempt.log.ok_or_else(|| anyhow!("the log of {} is no longer kept", attempt.package))?;
    let blob = store.open_blob(log.id)?.ok_or_else(|| {
        anyhow!(
            "the log of {} is missing from the store; `build-swarm store verify` tells more",
            attempt.package
        )
    })?;
    let mut decoder = zstd::stream::read::Decoder::new(BufReader::new(blob))?;
    copy(&mut decoder)?;
    Ok(ExitCode::SUCCESS)
}

/// To standard output; that nobody reads on is not an error.
fn copy(from: &mut impl Read) -> Result<()> {
    match io::copy(from, &mut io::stdout().lock()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        copied => copied.map(drop).context("the log"),
    }
}

fn attempts(store: &Store, name: &str, limit: usize) -> Result<Vec<Attempt>> {
    if let Ok(cpv) = name.trim_start_matches('=').parse::<Cpv>() {
        return Ok(store.attempts(limit, AttemptFilter::Cpv(&cpv))?);
    }
    if name.contains('/') {
        return Ok(store.attempts(limit, AttemptFilter::Cp(name))?);
    }
    let key = key_beginning_with(store, name)?;
    Ok(store.attempts(limit, AttemptFilter::Key(key))?)
}

fn is_named(package: &Cpv, name: &str) -> bool {
    let name = name.trim_start_matches('=');
    package.cp() == name || package.as_str() == name
}

/// The file that a running build of the package writes to.
fn live_log(store: &Store, name: &str) -> Result<Option<String>> {
    for run in store.runs(1)?.into_iter().filter(|run| run.state == RunState::Running) {
        for job in store.jobs(run.id)? {
            if job.state == "running"
                && (is_named(&job.package, name) || job.key.to_string().starts_with(name))
            {
                return Ok(job.log_path);
            }
        }
    }
    Ok(None)
}

fn follow(store: &Store, name: &str, path: &str, follow: bool) -> Result<()> {
    let mut file = File::open(path).with_context(|| path.to_owned())?;
    loop {
        let is_last = !follow || live_log(store, name)?.as_deref() != Some(path);
        copy(&mut file)?;
        io::stdout().flush()?;
        if is_last {
            return Ok(());
        }
        sleep(FOLLOW);
    }
}

fn list(attempts: &[Attempt], json: bool) -> Result<()> {
    if attempts.is_empty() && !json {
        bail!("nothing was built here yet");
    }
    let colors = Colors::of(&io::stdout());
    for attempt in attempts {
        if json {
            let line = serde_json::json!({
                "run": attempt.run.number(), "key": attempt.key, "package": attempt.package,
                "slot": attempt.slot, "started": attempt.started, "finished": attempt.finished,
                "millis": attempt.duration_millis, "outcome": attempt.outcome,
                "class": attempt.failure_class, "phase": attempt.phase, "message": attempt.message,
            });
            println!("{line}");
            continue;
        }
        let outcome = match attempt.outcome.as_str() {
            "built" => colors.good("built "),
            "failed" => colors.bad("failed"),
            other => colors.notice(other),
        };
        let time = jiff::Timestamp::from_second(i64::try_from(attempt.started.0)?)?;
        let took = clock(Duration::from_millis(attempt.duration_millis));
        let class = attempt.failure_class.as_ref().map_or_else(String::new, |class| format!("  {class}"));
        println!("{time}  {outcome}  {took:>7}  {}  {}{class}", attempt.key.short(), attempt.package);
    }
    Ok(())
}
