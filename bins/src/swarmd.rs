//! `swarmd`: the daemon. Today it has one role, to serve the published channels.

use std::path::PathBuf;
use std::process::ExitCode;

use buildswarm::config::Config;
use buildswarm::door::{self, AccessLog};
use clap::Parser;

/// The daemon of buildswarm: serves what `build-swarm finalize` published.
///
/// Meant to be started by an init system; it stays in the foreground, says on the notification socket when it
/// is ready, and ends within ten seconds of SIGTERM.
#[derive(Debug, Parser)]
#[command(
    name = "swarmd",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  swarmd                               with /etc/swarmd/swarmd.toml
  swarmd --config ./swarmd.toml --check

Exit status:
  0    ended because it was told to
  1    cannot serve; the reason is on standard error
  2    the command line is wrong"
)]
struct Arguments {
    /// Read this configuration file after the system's; may be given more than once
    #[arg(long, value_name = "FILE", env = "BUILDSWARM_CONFIG", value_delimiter = ':')]
    config: Vec<PathBuf>,
    /// Only read the configuration and say what is wrong with it
    #[arg(long)]
    check: bool,
    /// Log every request, not only problems
    #[arg(short, long)]
    verbose: bool,
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = Config::read(&arguments.config)?;
    if arguments.check {
        println!("the configuration is sound");
        return Ok(ExitCode::SUCCESS);
    }
    let log = if arguments.verbose { AccessLog::Text } else { AccessLog::Problems };
    door::serve(&config, &config.serve.listen, log)
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        buildswarm::report::print_error("swarmd", &error);
        ExitCode::FAILURE
    })
}
