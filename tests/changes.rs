//! Whether the keys are sound, and what they save: one change after the other to a world in which everything
//! was built, and for each what is built again, what stock emerge would build again, and what had to be.
//!
//! What had to be is measured: everything above the change is built from scratch, and what comes out is
//! compared with what was there before. `tests/README.md` says how to run all of the catalogue.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "cli/site.rs"]
#[expect(dead_code, reason = "only what is served is of use here")]
mod site;
#[path = "cli/tiny.rs"]
mod tiny;
#[path = "cli/world.rs"]
#[expect(dead_code, reason = "the part of the harness that prepares the world of the command's suite")]
mod world;

#[path = "changes/catalogue.rs"]
mod catalogue;
#[path = "changes/libraries.rs"]
mod libraries;
#[path = "changes/machine.rs"]
mod machine;
#[path = "changes/measure.rs"]
mod measure;
#[path = "changes/packages.rs"]
mod packages;
#[path = "changes/point.rs"]
mod point;
#[path = "changes/table.rs"]
mod table;
#[path = "changes/tools.rs"]
mod tools;
