//! The store from outside: every operation, faults on the disk, crashes, and a model.

#![expect(clippy::unwrap_used, reason = "clippy sees tests in test functions only, not in what they share")]

#[path = "store/artifacts.rs"]
mod artifacts;
#[path = "store/batch.rs"]
mod batch;
#[path = "store/blobs.rs"]
mod blobs;
#[path = "store/collection.rs"]
mod collection;
#[path = "store/crash.rs"]
mod crash;
#[path = "store/full_disk.rs"]
mod full_disk;
#[path = "store/migration.rs"]
mod migration;
#[path = "store/model.rs"]
mod model;
#[path = "store/opening.rs"]
mod opening;
#[path = "store/packs.rs"]
mod packs;
#[path = "store/records.rs"]
mod records;
#[path = "store/reuse.rs"]
mod reuse;
#[path = "store/support.rs"]
mod support;
