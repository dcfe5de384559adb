//! What two builds of the same thing must agree on, condensed into one digest.
//!
//! The digest covers every entry of the image except its root (name, kind, mode, owner, content or link
//! target; no times) and the metadata except [`NOT_PAYLOAD`]. Files with several names count under the first
//! of them in byte order and the other names as links to it, whichever the archive stored first. The bytes are
//! a record of [`buildswarm_core::canonical`]: 1 the number of this form, 2 the list of entries sorted by path,
//! 3 the map of metadata. `NEEDED` and `NEEDED.ELF.2` are sorted by line, since Portage writes them in the order of
//! the file system.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use buildswarm_core::Digest;
use buildswarm_core::canonical::Encoder;

use super::container::Gpkg;
use super::error::GpkgError;
use super::image::{ImageEntry, ImageReader};
use super::metadata::sonames;
use super::tar::Kind;

const CONTEXT: &str = "buildswarm 2026-11-21 payload";
const ENVIRONMENT_CONTEXT: &str = "buildswarm 2026-11-21 saved environment";
const ENVIRONMENT: &str = "environment.bz2";
const FORM: u64 = 1;

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
struct Item {
    kind: Kind,
    mode: u32,
    uid: u32,
    gid: u32,
    /// Content digest or link target.
    value: Vec<u8>,
}

impl Item {
    fn encode(&self, path: &str) -> Vec<u8> {
        let mut record = Encoder::new();
        record.text(1, path);
        let (kind, tag) = match self.kind {
            Kind::File => ("file", 6),
            Kind::Directory => ("directory", 0),
            Kind::Symlink => ("symlink", 7),
            Kind::Hardlink => ("hardlink", 8),
        };
        record.text(2, kind);
        // The names of one file share its mode and owner; a symbolic link's mode means nothing.
        if matches!(self.kind, Kind::File | Kind::Directory) {
            record.number(3, self.mode.into());
        }
        if self.kind != Kind::Hardlink {
            record.number(4, self.uid.into());
            record.number(5, self.gid.into());
        }
        if tag != 0 {
            record.bytes(tag, &self.value);
        }
        record.finish()
    }
}

impl Payload {
    /// Whether the image installs nothing but directories: a meta package, or a build that went wrong.
    #[must_use]
    pub const fn is_empty_image(&self) -> bool {
        self.files == 0 && self.symlinks == 0
    }

    pub(crate) fn of<R: Read>(package: &Gpkg, mut image: ImageReader<R>) -> Result<Self, GpkgError> {
        let environment = package.metadata().get(ENVIRONMENT);
        let sonames_of = |key| package.text(key).map(|text| sonames(text.unwrap_or_default()));
        let mut payload = Self {
            digest: Digest::of(b""),
            environment: environment.map(|bytes| Digest::derive(ENVIRONMENT_CONTEXT, bytes)),
            installed_size: 0,
            files: 0,
            symlinks: 0,
            hardlinks: 0,
            directories: 0,
            requires: sonames_of("REQUIRES")?,
            provides: sonames_of("PROVIDES")?,
        };
        let mut items = BTreeMap::new();
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut buffer = vec![0; 256 << 10];
        while let Some(entry) = image.next_entry()? {
            if entry.path.is_empty() {
                continue;
            }
            payload.count(&entry);
            if entry.kind == Kind::Hardlink {
                names.entry(entry.link.clone()).or_default().push(entry.path.clone());
            }
            let value = content(&mut image, &entry, &mut buffer)?;
            let ImageEntry { path, kind, mode, uid, gid, .. } = entry;
            items.insert(path, Item { kind, mode, uid, gid, value });
        }
        order_links(&mut items, names);
        payload.digest = digest(package, &items);
        Ok(payload)
    }

    fn count(&mut self, entry: &ImageEntry) {
        self.installed_size = self.installed_size.saturating_add(entry.size);
        *match entry.kind {
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
) -> Result<Vec<u8>, GpkgError> {
    if entry.kind != Kind::File {
        return Ok(entry.link.clone().into_bytes());
    }
    let mut hasher = blake3::Hasher::new();
    loop {
        match image.read(buffer).map_err(|error| image.content_error(error))? {
            0 => return Ok(hasher.finalize().as_bytes().to_vec()),
            read => hasher.update(&buffer[..read]),
        };
    }
}

/// Makes the first name in byte order the file and all others links to it.
fn order_links(items: &mut BTreeMap<String, Item>, names: BTreeMap<String, Vec<String>>) {
    for (stored, mut links) in names {
        links.sort();
        let first = links[0].clone();
        let first = if first < stored { first } else { stored.clone() };
        if let Some(file) = items.remove(&stored) {
            let (mode, uid, gid) = (file.mode, file.uid, file.gid);
            let link = || Item { kind: Kind::Hardlink, mode, uid, gid, value: first.clone().into_bytes() };
            for other in links.into_iter().chain([stored]) {
                items.insert(other, link());
            }
            items.insert(first.clone(), file);
        }
    }
}

fn digest(package: &Gpkg, items: &BTreeMap<String, Item>) -> Digest {
    let mut metadata: BTreeMap<String, Vec<u8>> = package.metadata().clone();
    metadata.retain(|key, _| NOT_PAYLOAD.iter().all(|(other, _)| key != other));
    for key in ["NEEDED", "NEEDED.ELF.2"] {
        if let Some(value) = metadata.get_mut(key) {
            let mut lines: Vec<&[u8]> =
                value.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
            lines.sort_unstable();
            *value = lines.join(&b'\n');
        }
    }
    let entries: Vec<Vec<u8>> = items.iter().map(|(path, item)| item.encode(path)).collect();
    let mut record = Encoder::new();
    record.number(1, FORM);
    record.list(2, entries.iter());
    record.map(3, &metadata);
    Digest::derive(CONTEXT, &record.finish())
}
