//! What has to be made, and where its bytes are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;

use super::super::directory::{Entry, Mode, Name, Node, Target};
use super::super::scan::Top;
use super::super::walk::TreeWalk;
use super::{Materialised, permissions};
use crate::error::{Error, Result};
use crate::index::Fault;
use crate::index::rows::{self, Stored};
use crate::store::Shared;

/// Rows read in one transaction, so that none takes longer than some tens of milliseconds.
const PAGE: usize = 8192;

/// Everything in a tree, sorted out.
#[derive(Debug)]
pub(super) struct Plan {
    dest: PathBuf,
    /// The top first, each before those in it.
    pub(super) directories: Vec<Below>,
    /// By content, and then in the order of the tree.
    pub(super) files: Vec<File>,
    links: Vec<(usize, Name, Target)>,
    /// Of each content its row and its files.
    pub(super) contents: Vec<Content>,
}

/// A directory.
#[derive(Debug)]
pub(super) struct Below {
    pub(super) path: Box<[u8]>,
    /// `None` for the top.
    mode: Option<Mode>,
}

/// A file to be made.
#[derive(Debug)]
pub(super) struct File {
    /// The place of its directory.
    pub(super) directory: usize,
    pub(super) name: Name,
    pub(super) mode: Mode,
    content: BlobRef,
}

/// A content and the files that have it.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) stored: Stored,
    pub(super) files: std::ops::Range<usize>,
}

impl Plan {
    pub(super) fn of(shared: &Arc<Shared>, root: BlobId, dest: &Path) -> Result<Self> {
        let mut plan = Self {
            dest: dest.to_owned(),
            directories: vec![Below { path: Box::default(), mode: None }],
            files: Vec::new(),
            links: Vec::new(),
            contents: Vec::new(),
        };
        let mut walk = TreeWalk::new(shared, root);
        // Where the walk is: the directories above the next entry, the top first.
        let mut above = vec![0];
        while let Some(next) = walk.next_entry() {
            let (path, entry) = next?;
            plan.add(&mut above, path, entry);
        }
        plan.files.sort_by_key(|file| file.content.id);
        plan.find(shared)?;
        Ok(plan)
    }

    fn add(&mut self, above: &mut Vec<usize>, path: Box<[u8]>, Entry { name, node }: Entry) {
        above.truncate(1 + path.iter().filter(|byte| **byte == b'/').count());
        let directory = above.last().copied().unwrap_or_default();
        match node {
            Node::File { mode, content } => self.files.push(File { directory, name, mode, content }),
            Node::Directory { mode, .. } => {
                above.push(self.directories.len());
                self.directories.push(Below { path, mode: Some(mode) });
            }
            Node::Symlink { target } => self.links.push((directory, name, target)),
        }
    }

    /// Looks up where the contents are.
    fn find(&mut self, shared: &Shared) -> Result<()> {
        let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            match groups.last_mut() {
                Some(group) if self.files[group.start].content.id == file.content.id => {
                    group.end = number + 1
                }
                _ => groups.push(number..number + 1),
            }
        }
        for page in groups.chunks(PAGE) {
            let found = shared.index.read(|reader| {
                let rows = page.iter().map(|group| rows::find(reader, self.files[group.start].content.id));
                rows.collect::<Result<Vec<_>, _>>().map_err(Fault::from)
            })?;
            for (files, stored) in page.iter().zip(found) {
                let stored = self.required(files.clone(), stored)?;
                self.contents.push(Content { stored, files: files.clone() });
            }
        }
        Ok(())
    }

    /// The row of a content, which must be there with the length that every file says it has.
    fn required(&self, files: std::ops::Range<usize>, stored: Option<Stored>) -> Result<Stored> {
        let first = files.start;
        let id = self.files[first].content.id;
        let Some(stored) = stored.filter(|stored| stored.sound) else {
            return Err(self.not_made(&self.files[first], Error::BlobMissing { id }));
        };
        match self.files[files].iter().find(|file| file.content != stored.blob) {
            Some(file) => {
                let (stored, declared) = (stored.blob.size, file.content.size);
                Err(self.not_made(file, Error::WrongSize { id, stored, declared }))
            }
            None => Ok(stored),
        }
    }

    /// Why a file is not there, with the path it should have had.
    pub(super) fn not_made(&self, file: &File, source: Error) -> Error {
        self.not_made_at(file.directory, &file.name, source)
    }

    fn not_made_at(&self, directory: usize, name: &Name, source: Error) -> Error {
        let path =
            self.dest.join(OsStr::from_bytes(&self.directories[directory].path)).join(name.as_os_str());
        Error::NotMade { path, source: Box::new(source) }
    }

    fn directory_not_made(&self, path: &[u8], errno: rustix::io::Errno) -> Error {
        let path = self.dest.join(OsStr::from_bytes(path));
        Error::io("create", &path)(errno.into())
    }

    /// Makes the directories, to be written to by this user only until everything is there.
    pub(super) fn make_directories(&self, top: &Top) -> Result<()> {
        self.directories.iter().skip(1).try_for_each(|Below { path, .. }| {
            top.make_directory(path).map_err(|errno| self.directory_not_made(path, errno))
        })
    }

    pub(super) fn make_links(&self, top: &Top) -> Result<()> {
        let mut opened: Option<(usize, std::os::fd::OwnedFd)> = None;
        for (directory, name, target) in &self.links {
            let fd = match opened.take() {
                Some((place, fd)) if place == *directory => fd,
                _ => top.directory(&self.directories[*directory].path)?,
            };
            rustix::fs::symlinkat(target.as_os_str(), &fd, name.as_os_str()).map_err(|errno| {
                let path = top.path_of(&self.directories[*directory].path, name.as_bytes());
                self.not_made_at(*directory, name, Error::io("create", &path)(errno.into()))
            })?;
            opened = Some((*directory, fd));
        }
        Ok(())
    }

    /// Gives the directories their permissions, those below first: one may not let even this user in.
    pub(super) fn set_modes(&self, top: &Top) -> Result<()> {
        for Below { path, mode } in self.directories.iter().rev() {
            if let Some(mode) = mode {
                let fd = top.directory(path)?;
                rustix::fs::fchmod(&fd, permissions(*mode))
                    .map_err(|errno| self.directory_not_made(path, errno))?;
            }
        }
        Ok(())
    }

    pub(super) fn summary(&self) -> Materialised {
        Materialised {
            files: self.files.len() as u64,
            directories: self.directories.len() as u64 - 1,
            symlinks: self.links.len() as u64,
            bytes: self.files.iter().map(|file| file.content.size).sum(),
        }
    }
}
