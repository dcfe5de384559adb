//! Names in an archive and the targets of its links, judged once and then carried as types.

use std::borrow::Borrow;
use std::fmt;

use super::error::{Refusal, shown};
use super::limits::{COMPONENT_BYTES, PATH_BYTES};

/// Where something lies in an archive: relative to its root, without `..`, `.`, an empty component or a NUL, and no
/// longer than Linux takes. Bytes, since that is what names are.
///
/// A path is a claim about its text only. That no component is a symbolic link is known from the entries before it,
/// which [`ArchiveReader`](super::ArchiveReader) keeps.
///
/// ```
/// use buildswarm_store::archive::{ArchivePath, Refusal};
/// let path = ArchivePath::parse(b"usr/bin/hello")?;
/// assert_eq!(path.depth(), 3);
/// assert_eq!(ArchivePath::parse(b"usr/../../etc"), Err(Refusal::Upwards));
/// assert_eq!(ArchivePath::parse(b"/etc/passwd"), Err(Refusal::Absolute));
/// # Ok::<_, Refusal>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchivePath(Vec<u8>);

impl ArchivePath {
    /// The root of the archive itself.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Judges a name as it stands. A slash at its end goes: it says "directory", which is not the name's to say.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(name: &[u8]) -> Result<Self, Refusal> {
        if name.len() >= PATH_BYTES {
            return Err(Refusal::Long);
        }
        if name.starts_with(b"/") {
            return Err(Refusal::Absolute);
        }
        if name.contains(&0) {
            return Err(Refusal::Nul);
        }
        let name = name.strip_suffix(b"/").unwrap_or(name);
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b".." => return Err(Refusal::Upwards),
                b"" | b"." => return Err(Refusal::EmptyComponent),
                _ if component.len() > COMPONENT_BYTES => return Err(Refusal::LongComponent),
                _ => {}
            }
        }
        Ok(Self(name.to_owned()))
    }

    /// Its bytes, without a slash at either end; empty for the root.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the root of the archive.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of components; 0 for the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { self.0.split(|byte| *byte == b'/').count() }
    }

    /// All that it lies below, without the root, the topmost first.
    pub fn ancestors(&self) -> impl Iterator<Item = &[u8]> {
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| &self.0[..at])
    }

    /// Where the target of a symbolic link at this path leads.
    ///
    /// [`Target::Inside`] holds whatever else is a link: `..` is taken at the beginning of a target only, where it
    /// goes up from directories that are none. After another component, which may be a link to anywhere inside,
    /// it might lead out.
    ///
    /// # Errors
    /// [`Refusal::Target`] for what no symbolic link can hold.
    ///
    /// ```
    /// use buildswarm_store::archive::{ArchivePath, Target};
    /// let link = ArchivePath::parse(b"usr/bin/sh")?;
    /// let inside = ArchivePath::parse(b"usr/lib/busybox")?;
    /// assert_eq!(link.target(b"../lib/busybox")?, Target::Inside(inside));
    /// assert_eq!(link.target(b"../../../etc/passwd")?, Target::Outside);
    /// assert_eq!(link.target(b"../lib/../../..")?, Target::Outside);
    /// # Ok::<_, buildswarm_store::archive::Refusal>(())
    /// ```
    pub fn target(&self, target: &[u8]) -> Result<Target, Refusal> {
        if target.is_empty() || target.len() >= PATH_BYTES || target.contains(&0) {
            return Err(Refusal::Target);
        }
        if target.starts_with(b"/") {
            return Ok(Target::Outside);
        }
        let mut at: Vec<&[u8]> = if self.is_root() { vec![] } else { self.0.split(|b| *b == b'/').collect() };
        at.pop();
        let mut descended = false;
        for component in target.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." if descended || at.pop().is_none() => return Ok(Target::Outside),
                b".." => {}
                _ => {
                    descended = true;
                    at.push(component);
                }
            }
        }
        let joined = at.join(&b'/');
        if joined.is_empty() {
            return Ok(Target::Inside(Self::root()));
        }
        // Too long for a path: it leads nowhere, so not inside either.
        Ok(Self::parse(&joined).map_or(Target::Outside, Target::Inside))
    }
}

/// Where a symbolic link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To this path of the archive, or to nothing.
    Inside(ArchivePath),
    /// To an absolute path, above the root, or so that it cannot be told.
    Outside,
}

impl Borrow<[u8]> for ArchivePath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ArchivePath {
    /// For messages: at most 200 characters, control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shown(&self.0).escape_debug())
    }
}

impl fmt::Debug for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
