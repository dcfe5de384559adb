//! What an archive has put where so far, and whether another entry fits in.
//!
//! Held: no name occurs twice; nothing lies below something that is not a directory, so nothing is written through
//! a symbolic link or in place of a file; what has something below it is a directory; a hard link is a further
//! name of an earlier file, with the mode and the owner of that file. Extraction in order then never replaces
//! anything, and yields the same whatever is extracted first.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::error::{Refusal, TarError, shown};
use super::limits::Limits;
use super::path::ArchivePath;
use super::tar::{Attributes, Kind};

/// The entries so far.
pub(super) struct Names {
    seen: BTreeMap<ArchivePath, (Kind, Attributes)>,
    bytes: u64,
    limits: Limits,
}

impl Names {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self { seen: BTreeMap::new(), bytes: 0, limits: *limits }
    }

    /// Takes note of an entry at `path`.
    pub(super) fn place(
        &mut self,
        path: &ArchivePath,
        kind: Kind,
        attributes: &Attributes,
    ) -> Result<(), TarError> {
        let Limits { entries, name_bytes, depth, .. } = self.limits;
        if path.depth() > depth {
            return Err(TarError::Limit { what: "components of a path", limit: depth as u64 });
        }
        self.check_place(path, kind)?;
        let Attributes { user, group, .. } = attributes;
        self.bytes += (path.as_bytes().len() + user.len() + group.len()) as u64;
        if self.bytes > name_bytes {
            return Err(TarError::Limit { what: "bytes of names", limit: name_bytes });
        }
        if self.seen.len() as u64 >= entries {
            return Err(TarError::Limit { what: "entries", limit: entries });
        }
        if self.seen.insert(path.clone(), (kind, attributes.clone())).is_some() {
            return Err(TarError::Duplicate { name: shown(path.as_bytes()) });
        }
        Ok(())
    }

    fn check_place(&self, path: &ArchivePath, kind: Kind) -> Result<(), TarError> {
        let refused = |reason| Err(TarError::name(path.as_bytes(), reason));
        if path.is_root() && kind != Kind::Directory {
            return refused(Refusal::Root);
        }
        let is_other = |above: &[u8]| self.seen.get(above).is_some_and(|(kind, _)| *kind != Kind::Directory);
        if path.ancestors().any(is_other) {
            return refused(Refusal::Below);
        }
        if kind != Kind::Directory {
            let below = [path.as_bytes(), b"/"].concat();
            let next =
                self.seen.range::<[u8], _>((Bound::Included(below.as_slice()), Bound::Unbounded)).next();
            if next.is_some_and(|(next, _)| next.as_bytes().starts_with(&below)) {
                return refused(Refusal::Above);
            }
        }
        Ok(())
    }

    /// Whether a hard link at `path` may lead to `target`.
    pub(super) fn check_hardlink(
        &self,
        path: &ArchivePath,
        target: &ArchivePath,
        attributes: &Attributes,
    ) -> Result<(), TarError> {
        match self.seen.get(target) {
            Some((Kind::File, its)) if its == attributes => Ok(()),
            Some((Kind::File, _)) => Err(TarError::name(path.as_bytes(), Refusal::OtherAttributes)),
            _ => Err(TarError::name(path.as_bytes(), Refusal::NotEarlier)),
        }
    }

    /// Number of entries so far.
    pub(super) fn len(&self) -> u64 {
        self.seen.len() as u64
    }

    /// Bytes of their names, which is what memory they take is counted by.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}
