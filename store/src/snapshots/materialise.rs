//! From a tree in the store to files on the disk.
//!
//! The frames of a pack are unpacked once each, by several threads, and every content in them goes to wherever the tree
//! has it. All is made in a hidden directory beside the destination, which takes its name in the end.

mod plan;
mod write;

use std::fs::{self, Permissions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use buildswarm_core::BlobId;
use rustix::fs::Mode as CreateMode;
use tempfile::TempDir;

use super::scan::Top;
use crate::disk;
use crate::error::{Error, Result};
use crate::store::Shared;
use plan::Plan;

/// What [`Store::materialise`](crate::Store::materialise) made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Materialised {
    /// Files.
    pub files: u64,
    /// Directories, without the top.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

pub(super) fn materialise(shared: &Arc<Shared>, root: BlobId, dest: &Path) -> Result<Materialised> {
    let plan = Plan::of(shared, root, dest)?;
    let before = taken(dest)?;
    let (hidden, name) = hidden_beside(dest)?;
    let made = hidden.path().join(name);
    // Apart from the hidden directory, which only this user may enter: the top is as other new directories are.
    fs::create_dir(&made).map_err(Error::io("create", &made))?;
    let top = Top::open(&made)?;
    plan.make_directories(&top)?;
    write::files(shared, &plan, &top)?;
    // After all files, so that no file is ever made through a link.
    plan.make_links(&top)?;
    plan.set_modes(&top)?;
    if let Some(permissions) = before {
        fs::set_permissions(&made, permissions).map_err(Error::io("create", &made))?;
    }
    disk::show_tree(&made, dest)?;
    Ok(plan.summary())
}

/// The permissions of an empty directory that the tree will take the place of; refuses anything else.
fn taken(dest: &Path) -> Result<Option<Permissions>> {
    let found = match fs::symlink_metadata(dest) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("examine", dest)(error)),
    };
    let taken = || Error::DestinationTaken { path: dest.to_owned() };
    if !found.is_dir() {
        return Err(taken());
    }
    match fs::read_dir(dest).map_err(Error::io("examine", dest))?.next() {
        None => Ok(Some(found.permissions())),
        Some(_) => Err(taken()),
    }
}

/// A new directory beside `dest`, removed with all that is in it when it is dropped, and the name of `dest`.
fn hidden_beside(dest: &Path) -> Result<(TempDir, &std::ffi::OsStr)> {
    let Some(name) = dest.file_name() else {
        return Err(Error::DestinationTaken { path: dest.to_owned() });
    };
    let parent = match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".incomplete-");
    // A name that is too long to be prolonged.
    if prefix.len() > super::NAME_BYTES_MAX - 16 {
        prefix = ".incomplete-".into();
    }
    let hidden = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(parent)
        .map_err(Error::io("create a directory in", parent))?;
    Ok((hidden, name))
}

/// Permissions as the system takes them.
fn permissions(mode: super::Mode) -> CreateMode {
    CreateMode::from_raw_mode(mode.bits())
}
