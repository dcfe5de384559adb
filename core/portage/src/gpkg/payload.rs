//! What two builds of the same thing must agree on, condensed into one digest.
//!
//! A [`Listing`] is a package in normal form, specified in `docs/payload.md`: every entry of the image except
//! its root (name, kind, mode, owner by number and name, content or link target; no times) and the metadata
//! except [`NOT_PAYLOAD`]. Files with several names count under the first of them in byte order and the other
//! names as links to it, whichever the archive stored first. Both the digest and the comparison with another
//! package ([`compare`](super::compare)) come from it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use buildswarm_core::Digest;
use buildswarm_core::canonical::Encoder;

use buildswarm_store::archive::Kind;

use super::container::Gpkg;
use super::error::GpkgError;
use super::image::{ImageEntry, ImageReader, Owner};
use super::metadata::sonames;
use crate::interface::Collector;

const CONTEXT: &str = "buildswarm 2026-11-24 payload";
const ENVIRONMENT_CONTEXT: &str = "buildswarm 2026-11-21 saved environment";
const ENVIRONMENT: &str = "environment.bz2";
const FORM: u64 = 2;

/// Metadata that is left out of the payload's digest, each with the reason.
pub const NOT_PAYLOAD: [(&str, &str); 9] = [
    ("BUILD_ID", "counts builds on one machine"),
    ("BUILD_TIME", "the wall clock"),
    ("COUNTER", "counts installations on one machine"),
    ("CONTENTS", "the image with its times; the image itself is covered"),
    ("FEATURES", "of the machine; those that change the result show in it"),
    ("IUSE_EFFECTIVE", "of the profile; what matters of it is in USE"),
    ("REPO_REVISIONS", "commits of whole repositories"),
    ("SIZE", "follows from the image"),
    (ENVIRONMENT, "holds settings of the machine (jobs, colours, locale); has a digest of its own"),
];

/// What a package contains, in figures and digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The digest described in this module.
    pub digest: Digest,
    /// Digest of `environment.bz2` as it stands. Portage *executes* that file when it installs or removes the
    /// package, so agreement on [`digest`](Self::digest) alone does not make a stranger's package safe: ask
    /// for agreement on this one too, which pinned environments reach.
    pub environment: Option<Digest>,
    /// Bytes of all files, each counted once however many names it has.
    pub installed_size: u64,
    /// Number of regular files, hard links not counted.
    pub files: u64,
    /// Number of symbolic links.
    pub symlinks: u64,
    /// Number of further names of files.
    pub hardlinks: u64,
    /// Number of directories, without the image's root.
    pub directories: u64,
    /// Shared libraries the package needs, by ABI (`REQUIRES`).
    pub requires: BTreeMap<String, BTreeSet<String>>,
    /// Shared libraries the package has, by ABI (`PROVIDES`).
    pub provides: BTreeMap<String, BTreeSet<String>>,
}

/// What is known of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: Owner,
    /// Bytes of content; 0 for all but files.
    pub(super) size: u64,
    /// Content digest, link target, or the first name of the same file.
    pub(super) value: Vec<u8>,
}

impl Item {
    /// The bits that count. The names of one file share its mode; a symbolic link's mode means nothing.
    pub(super) fn counted_mode(&self) -> Option<u32> {
        matches!(self.kind, Kind::File | Kind::Directory).then_some(self.mode)
    }

    /// To whom it belongs, unless this is another name of a file, which has the same owner.
    pub(super) fn counted_owner(&self) -> Option<&Owner> {
        (self.kind != Kind::Hardlink).then_some(&self.owner)
    }

    fn encode(&self, path: &str) -> Vec<u8> {
        let mut record = Encoder::new();
        record.text(1, path);
        record.text(2, self.kind.name());
        if let Some(mode) = self.counted_mode() {
            record.number(3, mode.into());
        }
        if let Some(owner) = self.counted_owner() {
            record.number(4, owner.uid.into());
            record.number(5, owner.gid.into());
        }
        match self.kind {
            Kind::File => record.bytes(6, &self.value),
            Kind::Symlink => record.bytes(7, &self.value),
            Kind::Hardlink => record.bytes(8, &self.value),
            Kind::Directory => {}
        }
        if let Some(owner) = self.counted_owner() {
            record.text(9, &owner.user);
            record.text(10, &owner.group);
        }
        record.finish()
    }
}

/// A package in normal form: all that counts of it, and nothing else. Equal listings have equal digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    /// The image by path.
    pub(super) items: BTreeMap<String, Item>,
    /// The metadata by key.
    pub(super) metadata: BTreeMap<String, Vec<u8>>,
}

impl Listing {
    pub(super) fn read<R: Read>(
        package: &Gpkg,
        mut image: ImageReader<R>,
        mut interface: Option<&mut Collector>,
    ) -> Result<Self, GpkgError> {
        let mut items = BTreeMap::new();
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut buffer = vec![0; 256 << 10];
        while let Some(entry) = image.next_entry()? {
            if entry.path.is_empty() {
                continue;
            }
            if entry.kind == Kind::Hardlink {
                names.entry(entry.link.clone()).or_default().push(entry.path.clone());
            }
            if let Some(interface) = interface.as_deref_mut() {
                interface.begin(&entry);
            }
            let value = content(&mut image, &entry, &mut buffer, interface.as_deref_mut())?;
            let ImageEntry { path, kind, mode, owner, size, .. } = entry;
            items.insert(path, Item { kind, mode, owner, size, value });
        }
        order_links(&mut items, names);
        Ok(Self { items, metadata: counted(package.metadata()) })
    }

    pub(super) fn digest(&self) -> Digest {
        let entries: Vec<Vec<u8>> = self.items.iter().map(|(path, item)| item.encode(path)).collect();
        let mut record = Encoder::new();
        record.number(1, FORM);
        record.list(2, entries.iter());
        record.map(3, &self.metadata);
        Digest::derive(CONTEXT, &record.finish())
    }
}

impl Payload {
    /// Whether the image installs nothing but directories: a meta package, or a build that went wrong.
    #[must_use]
    pub const fn is_empty_image(&self) -> bool {
        self.files == 0 && self.symlinks == 0
    }

    /// Reads the image to its end; `interface` looks on.
    pub(crate) fn of<R: Read>(
        package: &Gpkg,
        image: ImageReader<R>,
        interface: Option<&mut Collector>,
    ) -> Result<Self, GpkgError> {
        let environment = package.metadata().get(ENVIRONMENT);
        let sonames_of = |key| package.text(key).map(|text| sonames(text.unwrap_or_default()));
        let listing = Listing::read(package, image, interface)?;
        let mut payload = Self {
            digest: listing.digest(),
            environment: environment.map(|bytes| Digest::derive(ENVIRONMENT_CONTEXT, bytes)),
            installed_size: 0,
            files: 0,
            symlinks: 0,
            hardlinks: 0,
            directories: 0,
            requires: sonames_of("REQUIRES")?,
            provides: sonames_of("PROVIDES")?,
        };
        listing.items.values().for_each(|item| payload.count(item));
        Ok(payload)
    }

    fn count(&mut self, item: &Item) {
        self.installed_size = self.installed_size.saturating_add(item.size);
        *match item.kind {
            Kind::File => &mut self.files,
            Kind::Directory => &mut self.directories,
            Kind::Symlink => &mut self.symlinks,
            Kind::Hardlink => &mut self.hardlinks,
        } += 1;
    }
}

fn content<R: Read>(
    image: &mut ImageReader<R>,
    entry: &ImageEntry,
    buffer: &mut [u8],
    mut interface: Option<&mut Collector>,
) -> Result<Vec<u8>, GpkgError> {
    if entry.kind != Kind::File {
        return Ok(entry.link.clone().into_bytes());
    }
    let mut hasher = blake3::Hasher::new();
    loop {
        let read = image.read(buffer).map_err(|error| image.content_error(error))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        if let Some(interface) = interface.as_deref_mut() {
            interface.bytes(&buffer[..read]);
        }
    }
    let content = hasher.finalize();
    if let Some(interface) = interface {
        interface.end(Digest::from_bytes(*content.as_bytes()));
    }
    Ok(content.as_bytes().to_vec())
}

/// Makes the first name in byte order the file and all others links to it.
fn order_links(items: &mut BTreeMap<String, Item>, names: BTreeMap<String, Vec<String>>) {
    for (stored, mut links) in names {
        links.sort();
        let first = links[0].clone();
        let first = if first < stored { first } else { stored.clone() };
        if let Some(file) = items.remove(&stored) {
            let value = first.clone().into_bytes();
            let link = Item { kind: Kind::Hardlink, size: 0, value, ..file.clone() };
            for other in links.into_iter().chain([stored]) {
                items.insert(other, link.clone());
            }
            items.insert(first, file);
        }
    }
}

/// The metadata that counts, in normal form.
fn counted(metadata: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let mut metadata = metadata.clone();
    metadata.retain(|key, _| NOT_PAYLOAD.iter().all(|(other, _)| key != other));
    for key in ["NEEDED", "NEEDED.ELF.2"] {
        if let Some(value) = metadata.get_mut(key) {
            let mut lines: Vec<&[u8]> =
                value.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
            lines.sort_unstable();
            *value = lines.join(&b'\n');
        }
    }
    metadata
}
