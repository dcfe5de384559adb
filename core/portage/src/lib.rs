//! All that buildswarm knows of Gentoo's files and of running Portage.
//!
//! Portage decides: which versions, which USE, what a phase does. This crate asks it (as a separate
//! process), reads what it wrote, and keeps each of its builds in a [private root](root).

pub mod binhost;
pub mod build;
pub mod capture;
pub mod client;
pub mod distfiles;
pub mod environment;
pub mod export;
pub mod gpkg;
pub mod inputs;
pub mod interface;
pub mod machine;
pub mod openpgp;
mod queries;
pub mod repositories;
pub mod resolve;
pub mod root;
