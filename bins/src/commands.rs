//! One module for each command: from parsed options to an exit code.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::report::Style;

mod audit;
mod build;
mod client;
mod diff;
mod generate;
mod interface;
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
    // What is written for private roots, for a web server and for Portage is read by other users, and nothing
    // that is built may depend on whose umask it was. Keys have modes of their own.
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    let config = cli.global.configuration()?;
    match &cli.command {
        Command::Build(options) => build::run(&config, options),
        Command::Plan(options) => plan::run(&config, options),
        Command::Why(options) => why::run(&config, options),
        Command::Audit(options) => audit::run(&config, options),
        Command::Diff(options) => diff::run(&config, options),
        Command::Interface(options) => interface::run(&config, options),
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

/// How a run is told about.
fn style(json: bool, quiet: bool) -> Style {
    match (json, quiet) {
        (true, _) => Style::Json,
        (_, true) => Style::Quiet,
        _ if io::stderr().is_terminal() => Style::Terminal,
        _ => Style::Plain,
    }
}
