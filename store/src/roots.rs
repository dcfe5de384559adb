//! Roots: what is kept for good, by name.

use std::collections::HashSet;
use std::sync::Arc;

use buildswarm_core::BlobId;
use buildswarm_core::time::UnixSeconds;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, params};

use crate::clock;
use crate::error::{Error, Result};
use crate::index::rows;
use crate::index::values::{Bytes32, Unsigned};
use crate::journal::Record;
use crate::pins::Pin;
use crate::snapshots::reach;
use crate::store::{Shared, Store};

/// Longest name of a root, in bytes: what fits a line of a listing.
pub const ROOT_NAME_BYTES_MAX: usize = 128;

/// What a root keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RootKind {
    /// The blob alone.
    Blob,
    /// The blob, which is a directory of a snapshot, and everything below it.
    Tree,
}

impl RootKind {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Tree => "tree",
        }
    }
}

impl FromSql for RootKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "blob" => Ok(Self::Blob),
            "tree" => Ok(Self::Tree),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// One root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its name.
    pub name: String,
    /// What it keeps.
    pub kind: RootKind,
    /// The blob, or the directory at the top of the tree.
    pub id: BlobId,
    /// When it was set to that.
    pub made: UnixSeconds,
}

impl Store {
    /// Keeps a blob, or a tree with everything below it, until the root is removed or set to something else.
    ///
    /// Names have 1 to [`ROOT_NAME_BYTES_MAX`] bytes, begin with a letter or digit and go on with letters, digits and
    /// `.`, `_`, `-`, `+`, `@`, `:` and `/` (all ASCII).
    ///
    /// ```
    /// # use buildswarm_store::RootKind;
    /// # let dir = tempfile::tempdir()?;
    /// # let store = buildswarm_store::Store::open(dir.path())?;
    /// let blob = store.put_bytes(b"bytes")?;
    /// store.set_root("notes/first", RootKind::Blob, blob.id)?;
    /// assert_eq!(store.roots()?[0].id, blob.id);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::RootName`] if the name is not allowed, [`Error::BlobMissing`] if the blob, or for a tree anything below
    /// it, is not there, and what reading a damaged directory says. An earlier root of that name stays then.
    pub fn set_root(&self, name: &str, kind: RootKind, id: BlobId) -> Result<()> {
        self.shared.require_writable()?;
        check_name(name)?;
        // What it will keep is pinned until it does: a collection that runs has listed the roots already.
        let top = self.shared.pin(&[id])?;
        let below = match kind {
            RootKind::Blob => None,
            RootKind::Tree => Some(pin_tree(&self.shared, id)?),
        };
        self.shared.index.write(|transaction| {
            let Some(stored) = rows::find(transaction, id)?.filter(|stored| stored.sound) else {
                return Err(Error::BlobMissing { id }.into());
            };
            let made = clock::now();
            transaction.execute(
                "INSERT INTO roots (name, blob, kind, made) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET blob = excluded.blob, kind = excluded.kind, made = excluded.made",
                params![name, Bytes32::from(id), kind.name(), Unsigned(made)],
            )?;
            let (name, kind) = (name.to_owned(), kind.name().to_owned());
            transaction.note(&Record::Root { name, blob: stored.blob, kind, made: UnixSeconds(made) });
            Ok(())
        })?;
        drop((top, below));
        Ok(())
    }

    /// Removes a root; whether there was one. What only it kept goes with the next collection.
    ///
    /// # Errors
    /// Those of the index.
    pub fn remove_root(&self, name: &str) -> Result<bool> {
        self.shared.index.write(|transaction| {
            let removed = transaction.execute("DELETE FROM roots WHERE name = ?1", [name])? > 0;
            if removed {
                transaction.note(&Record::RootRemoved { name: name.to_owned() });
            }
            Ok(removed)
        })
    }

    /// All roots by name.
    ///
    /// # Errors
    /// Those of the index.
    pub fn roots(&self) -> Result<Vec<Root>> {
        self.shared.index.read(|reader| Ok(list(reader)?))
    }
}

/// Pins a tree whole, or refuses.
fn pin_tree(shared: &Arc<Shared>, top: BlobId) -> Result<Pin> {
    let mut seen = HashSet::new();
    reach::reachable(shared, &[top], &mut seen)?;
    shared.pin(&Vec::from_iter(seen))
}

/// Everything that roots keep below trees, the trees themselves among it.
///
/// A directory that cannot be read is a reason to refuse: what lies below it would look as if nothing kept it.
pub(crate) fn reached(shared: &Arc<Shared>) -> Result<HashSet<BlobId>> {
    let mut trees = shared.index.read(|reader| Ok(list(reader)?))?;
    trees.retain(|root| root.kind == RootKind::Tree);
    let tops: Vec<BlobId> = trees.iter().map(|root| root.id).collect();
    let mut seen = HashSet::new();
    let Err(error) = reach::reachable(shared, &tops, &mut seen) else { return Ok(seen) };
    // One by one, to tell whose it is. If each can be read now, somebody has healed it in between.
    for root in &trees {
        reach::reachable(shared, &[root.id], &mut HashSet::new()).map_err(|error| in_doubt(root, error))?;
    }
    Err(error)
}

fn in_doubt(root: &Root, error: Error) -> Error {
    let (Error::BlobMissing { id } | Error::BlobDamaged { id } | Error::NotADirectory { id, .. }) = &error
    else {
        return error;
    };
    let Root { name, id: top, .. } = root;
    let reason = format!(
        "the root {name:?} keeps the tree {top}, and its directory {id} is needed to tell what that is ({error}): all \
         that lies below it would be lost. Put the tree again to heal it, or give it up with \
         `build-swarm store root rm {name}`"
    );
    Error::GcRefused { reason }
}

fn list(connection: &Connection) -> rusqlite::Result<Vec<Root>> {
    let mut query = connection.prepare_cached("SELECT name, kind, blob, made FROM roots ORDER BY name")?;
    let found = query.query_map([], |row| {
        Ok(Root {
            name: row.get(0)?,
            kind: row.get(1)?,
            id: row.get::<_, Bytes32>(2)?.into(),
            made: row.get::<_, Unsigned>(3)?.into(),
        })
    })?;
    found.collect()
}

fn check_name(name: &str) -> Result<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@:/".contains(&byte);
    let fault = if name.len() > ROOT_NAME_BYTES_MAX {
        format!("it has {} bytes, {ROOT_NAME_BYTES_MAX} are allowed", name.len())
    } else if !name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        "it has to begin with a letter or digit".to_owned()
    } else if let Some(odd) = name.chars().find(|c| !u8::try_from(*c).is_ok_and(is_allowed)) {
        format!("it contains {odd:?}; letters, digits and . _ - + @ : / are allowed")
    } else {
        return Ok(());
    };
    // Whatever was given, the message stays a line.
    let shown = name.chars().take(ROOT_NAME_BYTES_MAX).collect();
    Err(Error::RootName { name: shown, fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_plain() {
        for name in ["a", "0", "etc/portage@2026-11-25", "a.b_c-d+e:f", &"x".repeat(ROOT_NAME_BYTES_MAX)] {
            check_name(name).unwrap();
        }
        for (name, said) in [
            ("", "begin with"),
            ("/etc", "begin with"),
            ("-x", "begin with"),
            ("a b", "' '"),
            ("a\nb", "'\\n'"),
            ("größe", "'ö'"),
            (&"x".repeat(ROOT_NAME_BYTES_MAX + 1), "129 bytes"),
        ] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains(said) && error.lines().count() == 1, "{error}");
        }
    }
}
