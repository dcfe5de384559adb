//! The pure part of buildswarm: content addresses, build specifications, plans and the scheduler.
//!
//! Nothing in this crate reads a file, a clock, an environment variable or a random number; a
//! `clippy.toml` beside it holds that. What depends on the world is handed in as a value and what should
//! happen to the world is handed out as one.
//!
//! The way through the crate: a [`plan::Plan`] says which packages depend on which; for each of them a
//! [`spec::BuildSpec`] holds everything that determines its build; [`address`] turns that into a
//! [`BuildKey`]; [`scheduler`] decides which keys are built where; an [`artifact::Artifact`] is what a build
//! yields.

pub mod address;
pub mod artifact;
pub mod canonical;
pub mod digest;
pub mod package;
pub mod plan;
pub mod policy;
pub mod scheduler;
pub mod sorted;
pub mod spec;
pub mod time;

pub use digest::{BlobId, BuildKey, Digest, ReuseKey};
