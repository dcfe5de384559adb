//! `build-swarm`: what a person types.

use std::process::ExitCode;

use buildswarm::cli::Cli;
use clap::Parser;

fn main() -> ExitCode {
    buildswarm::report::end_with_the_reader();
    let cli = Cli::parse();
    match buildswarm::commands::run(&cli) {
        Ok(code) => code,
        Err(error) => {
            buildswarm::report::print_error("build-swarm", &error);
            ExitCode::FAILURE
        }
    }
}
