//! In what two packages differ that should have the same payload.
//!
//! Both are listed in the normal form of [`payload`](super::payload), so what that leaves out is never called a
//! difference, and no difference found means equal digests. Only if files differ the images are read a second
//! time, to say where: a listing holds digests, and in memory there are at most [`HELD_BYTES`] of the first
//! package's contents, and one file of [`FILE_BYTES`] of the second, with what gzip unpacks of a pair.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read, Seek, SeekFrom};

use buildswarm_store::archive::Kind;

use super::container::{Gpkg, container_io};
use super::error::GpkgError;
use super::limits::Limits;
use super::payload::{Item, Listing};

mod contents;

pub use contents::{ContentDifference, Format};

/// A larger file is only said to differ, not where.
const FILE_BYTES: u64 = 64 << 20;
/// Contents of the first package that are held to be compared; files beyond are only said to differ.
const HELD_BYTES: u64 = 256 << 20;
/// Characters of a metadata value that are shown.
const VALUE_CHARS: usize = 120;
/// How many of them stand before the first difference.
const VALUE_LEAD: usize = 30;
/// Parts of one file that are shown to people.
const PARTS: usize = 8;

/// One thing that differs, from an earlier package to a later one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PayloadDifference {
    /// Only the later package has it.
    Added {
        /// Where it is installed, without a leading slash.
        path: String,
        /// `file`, `directory`, `symlink` or `hardlink` (a further name of a file).
        kind: &'static str,
    },
    /// Only the earlier package has it.
    Removed {
        /// Where it is installed.
        path: String,
        /// As above.
        kind: &'static str,
    },
    /// It is something else.
    Kind {
        /// Where it is installed.
        path: String,
        /// What it was, as above.
        before: &'static str,
        /// What it is.
        after: &'static str,
    },
    /// Other permissions.
    Mode {
        /// Where it is installed.
        path: String,
        /// Four octal digits.
        before: String,
        /// Four octal digits.
        after: String,
    },
    /// Another user or group.
    Owner {
        /// Where it is installed.
        path: String,
        /// `USER(UID):GROUP(GID)`.
        before: String,
        /// As above.
        after: String,
    },
    /// A symbolic link leads elsewhere, or a further name belongs to another file.
    Target {
        /// Where it is installed.
        path: String,
        /// Where it led.
        before: String,
        /// Where it leads.
        after: String,
    },
    /// A file has other content.
    Content {
        /// Where it is installed.
        path: String,
        /// Its earlier length in bytes.
        before: u64,
        /// Its later length in bytes.
        after: u64,
        /// Where in the file; `None` if it, or all that differs, is too large to be looked into.
        at: Option<ContentDifference>,
    },
    /// Another value of a metadata variable.
    Metadata {
        /// Its name.
        key: String,
        /// The earlier value, cut around the first difference; `None` if there was none.
        before: Option<String>,
        /// The later value, cut in the same place.
        after: Option<String>,
    },
}

/// What differs from the payload of the package in `before` to that in `after`: files by path, then metadata by
/// key. Nothing, if and only if the payload digests agree.
///
/// Each file is read from its beginning twice (container, image), and a third time if contents differ.
///
/// # Errors
/// [`GpkgError::Compared`], around whatever [`Gpkg::read`] and [`Gpkg::payload`] refuse.
pub fn compare<A: Read + Seek, B: Read + Seek>(
    mut before: A,
    mut after: B,
    limits: &Limits,
) -> Result<Vec<PayloadDifference>, GpkgError> {
    let (first, second) = (in_package("first"), in_package("second"));
    let old = Side::read(&mut before, limits).map_err(first)?;
    let new = Side::read(&mut after, limits).map_err(second)?;
    let mut found = differences(&old.listing, &new.listing);

    let (earlier, later) = unexplained(&found, &old.listing, &new.listing);
    if later.is_empty() {
        return Ok(found);
    }
    let (mut held, mut bytes) = (BTreeMap::new(), 0);
    let hold = |digest, content: Vec<u8>| {
        let more = bytes + content.len() as u64;
        if more <= HELD_BYTES {
            bytes = more;
            held.insert(digest, content);
        }
    };
    old.contents(before, limits, |digest| earlier.contains(digest), hold).map_err(first)?;
    let explain = |digest: Vec<u8>, content: Vec<u8>| {
        for (index, earlier) in later.get(digest.as_slice()).into_iter().flatten() {
            if let PayloadDifference::Content { at, .. } = &mut found[*index] {
                *at = held.get(*earlier).map(|earlier| ContentDifference::between(earlier, &content));
            }
        }
    };
    new.contents(after, limits, |digest| later.contains_key(digest), explain).map_err(second)?;
    Ok(found)
}

fn in_package(which: &'static str) -> impl Fn(GpkgError) -> GpkgError + Copy {
    move |source| GpkgError::Compared { which, source: Box::new(source) }
}

/// One of the two packages.
struct Side {
    package: Gpkg,
    listing: Listing,
}

impl Side {
    fn read<F: Read + Seek>(mut file: F, limits: &Limits) -> Result<Self, GpkgError> {
        file.seek(SeekFrom::Start(0)).map_err(container_io)?;
        let package = Gpkg::read(&mut file, limits)?;
        let listing = Listing::read(&package, package.image(&mut file, limits)?, None)?;
        Ok(Self { package, listing })
    }

    /// Hands over those contents whose digest is wanted, one at a time. By digest, since a listing may know a
    /// file by another of its names than the archive does.
    fn contents<F: Read + Seek>(
        &self,
        file: F,
        limits: &Limits,
        is_wanted: impl Fn(&[u8]) -> bool,
        mut hand_over: impl FnMut(Vec<u8>, Vec<u8>),
    ) -> Result<(), GpkgError> {
        let sizes: BTreeSet<u64> =
            self.listing.items.values().filter(|item| is_wanted(&item.value)).map(|item| item.size).collect();
        let mut image = self.package.image(file, limits)?;
        while let Some(entry) = image.next_entry()? {
            if entry.kind != Kind::File || !sizes.contains(&entry.size) {
                continue;
            }
            let mut content = Vec::new();
            image.read_to_end(&mut content).map_err(|error| image.content_error(error))?;
            let digest = blake3::hash(&content).as_bytes().to_vec();
            if is_wanted(&digest) {
                hand_over(digest, content);
            }
        }
        Ok(())
    }
}

/// What differs between two listings; where in a content is left open.
fn differences(before: &Listing, after: &Listing) -> Vec<PayloadDifference> {
    let mut found = Vec::new();
    let paths: BTreeSet<&String> = before.items.keys().chain(after.items.keys()).collect();
    for path in paths {
        match (before.items.get(path), after.items.get(path)) {
            (Some(before), Some(after)) => compare_items(path, before, after, &mut found),
            (Some(item), None) => {
                found.push(PayloadDifference::Removed { path: path.clone(), kind: item.kind.name() });
            }
            (None, Some(item)) => {
                found.push(PayloadDifference::Added { path: path.clone(), kind: item.kind.name() });
            }
            (None, None) => {}
        }
    }
    let keys: BTreeSet<&String> = before.metadata.keys().chain(after.metadata.keys()).collect();
    for key in keys {
        let (before, after) = (before.metadata.get(key), after.metadata.get(key));
        if before != after {
            let (before, after) = excerpts(before, after);
            found.push(PayloadDifference::Metadata { key: key.clone(), before, after });
        }
    }
    found
}

fn compare_items(path: &str, before: &Item, after: &Item, found: &mut Vec<PayloadDifference>) {
    let path = || path.to_owned();
    if before.kind != after.kind {
        let (before, after) = (before.kind.name(), after.kind.name());
        found.push(PayloadDifference::Kind { path: path(), before, after });
        return;
    }
    if before.counted_mode() != after.counted_mode() {
        let octal = |item: &Item| format!("{:04o}", item.mode);
        found.push(PayloadDifference::Mode { path: path(), before: octal(before), after: octal(after) });
    }
    if before.counted_owner() != after.counted_owner() {
        let (before, after) = (before.owner.to_string(), after.owner.to_string());
        found.push(PayloadDifference::Owner { path: path(), before, after });
    }
    if before.value != after.value {
        let target = |item: &Item| String::from_utf8_lossy(&item.value).into_owned();
        found.push(match before.kind {
            Kind::File => {
                let (before, after) = (before.size, after.size);
                PayloadDifference::Content { path: path(), before, after, at: None }
            }
            _ => PayloadDifference::Target { path: path(), before: target(before), after: target(after) },
        });
    }
}

/// Differences of contents by digest of the later one: which it is, and the digest of the earlier content.
type Later<'a> = BTreeMap<&'a [u8], Vec<(usize, &'a [u8])>>;

/// The contents that are worth another look: digests of the earlier ones, and what the later ones belong to.
fn unexplained<'a>(
    found: &[PayloadDifference],
    before: &'a Listing,
    after: &'a Listing,
) -> (BTreeSet<Vec<u8>>, Later<'a>) {
    let (mut earlier, mut later) = (BTreeSet::new(), Later::new());
    for (index, difference) in found.iter().enumerate() {
        let PayloadDifference::Content { path, before: old, after: new, .. } = difference else { continue };
        if *old <= FILE_BYTES && *new <= FILE_BYTES {
            let (old, new) = (&before.items[path].value, &after.items[path].value);
            earlier.insert(old.clone());
            later.entry(new.as_slice()).or_default().push((index, old.as_slice()));
        }
    }
    (earlier, later)
}

/// Both values around their first difference: long values are mostly alike.
fn excerpts(before: Option<&Vec<u8>>, after: Option<&Vec<u8>>) -> (Option<String>, Option<String>) {
    let text = |value: Option<&Vec<u8>>| value.map(|value| String::from_utf8_lossy(value).into_owned());
    let (before, after) = (text(before), text(after));
    let alike = match (&before, &after) {
        (Some(before), Some(after)) => before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    let from = alike.saturating_sub(VALUE_LEAD);
    let cut = |value: String| {
        let mut rest = value.chars().skip(from);
        let shown: String = rest.by_ref().take(VALUE_CHARS).collect();
        let (lead, tail) = (if from > 0 { "…" } else { "" }, if rest.next().is_some() { "…" } else { "" });
        format!("{lead}{shown}{tail}")
    };
    (before.map(cut), after.map(cut))
}

/// Text of a package on a terminal: without control characters.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_default()) } else { write!(f, "{c}") }
        })
    }
}

impl fmt::Display for PayloadDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { path, kind } => write!(f, "{}: {kind} added", Shown(path)),
            Self::Removed { path, kind } => write!(f, "{}: {kind} removed", Shown(path)),
            Self::Kind { path, before, after } => write!(f, "{}: {before} → {after}", Shown(path)),
            Self::Mode { path, before, after } => write!(f, "{}: mode {before} → {after}", Shown(path)),
            Self::Owner { path, before, after } => write!(f, "{}: owner {before} → {after}", Shown(path)),
            Self::Target { path, before, after } => {
                write!(f, "{}: target {} → {}", Shown(path), Shown(before), Shown(after))
            }
            Self::Content { path, at: Some(at), .. } => write!(f, "{}: {at}", Shown(path)),
            Self::Content { path, before, after, at: None } => {
                write!(f, "{}: content differs ({before} → {after} bytes)", Shown(path))
            }
            Self::Metadata { key, before, after } => {
                write!(f, "metadata {key}")?;
                match (before, after) {
                    (Some(before), Some(after)) => write!(f, " {before:?} → {after:?}"),
                    (None, Some(after)) => write!(f, " added ({after:?})"),
                    (before, None) => write!(f, " removed ({:?})", before.as_deref().unwrap_or_default()),
                }
            }
        }
    }
}
