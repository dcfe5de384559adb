//! What the two programs share: configuration, wiring, commands and the event loop.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is where programs print")]

mod attempt;
pub mod cli;
pub mod commands;
pub mod config;
pub mod door;
pub mod planning;
pub mod report;
pub mod size;
pub mod state;
pub mod swarm;
