//! The `build-swarm` program as its users meet it: real Portage, real builds, a world of its own for each test.
//!
//! `tests/README.md` says how the suite is made and what it needs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "cli/shapes.rs"]
mod shapes;
#[path = "cli/tiny.rs"]
mod tiny;
#[path = "cli/world.rs"]
mod world;

#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/incremental.rs"]
mod incremental;
#[path = "cli/interruption.rs"]
mod interruption;
#[path = "cli/publishing.rs"]
mod publishing;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/reproducible.rs"]
mod reproducible;
#[path = "cli/reuse.rs"]
mod reuse;
#[path = "cli/site.rs"]
mod site;
