//! One module for each command: from parsed options to an exit code.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};

mod build;
mod client;
mod diff;
mod generate;
mod logs;
mod plan;
mod publish;
mod serve;
mod status;
mod store;
mod why;

/// Does what the command line says.
///
/// # Errors
/// Whatever keeps it from being done; for `main` to print, once.
pub fn run(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Completions { shell } => return generate::completions(*shell),
        Command::Man { directory } => return generate::man(directory),
        _ => {}
    }
    let config = cli.global.configuration()?;
    match &cli.command {
        Command::Build(options) => build::run(config, options),
        Command::Plan(options) => plan::run(&config, options),
        Command::Why(options) => why::run(&config, options),
        Command::Diff(options) => diff::run(&config, options),
        Command::Status(options) => status::run(&config, options),
        Command::Logs(options) => logs::run(&config, options),
        Command::Store(command) => store::run(&config, command),
        Command::Finalize(options) => publish::finalize(&config, options),
        Command::Rollback(options) => publish::rollback(&config, options),
        Command::Serve(options) => serve::run(&config, options),
        Command::Client(command) => client::run(&config, command),
        Command::Completions { .. } | Command::Man { .. } => unreachable!("done above"),
    }
}
