//! A binhost: the `Packages` index that Portage reads, and its generations on disk.
//!
//! [`PackagesIndex`] is the index as a value, written deterministically and parsed strictly. A [`Binhost`] is
//! a directory that any static web server (or `file://`) can serve:
//!
//! ```text
//! pool/ab/ab….gpkg.tar                            packages, named by the BLAKE3 of their bytes, written once
//! channels/NAME/generations/7/Packages            an index; its PATHs are pool/ab/ab….gpkg.tar
//! channels/NAME/generations/7/Packages.gz         the same bytes, compressed
//! channels/NAME/generations/7/generation.json     the same facts for our own tools, with build keys
//! channels/NAME/generations/7/generation.json.asc the same, clear-signed
//! channels/NAME/generations/7/pool -> ../../../../pool
//! channels/NAME/current -> generations/7          what clients see
//! ```
//!
//! A client's `sync-uri` ends in `channels/NAME/current`. A new generation becomes visible by one rename of a
//! symbolic link, after everything it refers to is on disk.

mod dependencies;
mod error;
mod facts;
mod generation;
mod index;
mod parse;
mod pool;
mod publish;

#[cfg(test)]
mod tests;

pub use error::{BinhostError, IndexError};
pub use facts::FileFacts;
pub use generation::{Generation, GenerationEntry};
pub use index::{IndexEntry, PackagesIndex};
pub use pool::pool_path;
pub use publish::{Binhost, ChannelName, Publication, Published, PublishedPackage};
