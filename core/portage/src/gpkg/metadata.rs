//! The metadata of a package: one small file for each variable, as in Portage's database of installed
//! packages.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write as _};

use buildswarm_store::archive::{ArchivePath, ArchiveReader, BLOCK, Entry, Node, TarError, regular, shown};

use super::container::{Gpkg, Member, compression, member_error};
use super::error::GpkgError;
use super::limits::Limits;

/// The variables an entry of a `Packages` index carries (Portage, `bintree.py`, `_pkgindex_aux_keys`).
pub const INDEX_KEYS: [&str; 22] = [
    "BDEPEND",
    "BUILD_ID",
    "BUILD_TIME",
    "CHOST",
    "DEFINED_PHASES",
    "DEPEND",
    "DESCRIPTION",
    "EAPI",
    "IDEPEND",
    "IUSE",
    "KEYWORDS",
    "LICENSE",
    "PDEPEND",
    "PROPERTIES",
    "PROVIDES",
    "RDEPEND",
    "REQUIRES",
    "RESTRICT",
    "SLOT",
    "USE",
    "USER_PATCHES",
    "repository",
];

fn is_key(key: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.+-".contains(&b);
    !key.starts_with(['.', '-']) && !key.is_empty() && key.len() <= 200 && key.bytes().all(allowed)
}

/// Reads the inner archive `metadata.tar`, compressed as `bytes`: regular files `metadata/KEY` only.
pub(crate) fn read(
    member: &Member,
    bytes: &[u8],
    limits: &Limits,
) -> Result<BTreeMap<String, Vec<u8>>, GpkgError> {
    let name = member.name();
    let failed = |error| member_error(name, error);
    let refused = |path: &ArchivePath, reason| GpkgError::Entry {
        member: name.to_owned(),
        name: shown(path.as_bytes()),
        reason,
    };
    let mut archive =
        ArchiveReader::new(bytes, member.size(), &limits.metadata(compression(member)?)).map_err(failed)?;
    let mut values = BTreeMap::new();
    let mut total = 0u64;
    while let Some(Entry { path, node, .. }) = archive.next_entry().map_err(failed)? {
        let Node::File { size } = node else { return Err(refused(&path, "it is not a regular file")) };
        let key = std::str::from_utf8(path.as_bytes()).ok().and_then(|path| path.strip_prefix("metadata/"));
        let key = key.filter(|key| is_key(key));
        let key = key.ok_or_else(|| refused(&path, "metadata is named metadata/KEY"))?;
        total = total.saturating_add(size);
        if total > limits.metadata {
            let error = TarError::Limit { what: "bytes of metadata", limit: limits.metadata };
            return Err(failed(error.into()));
        }
        let mut value = Vec::new();
        archive.read_to_end(&mut value).map_err(|error| failed(error.into()))?;
        values.insert(key.to_owned(), value);
    }
    Ok(values)
}

/// The compressed inner archive: keys sorted, times and ids zero. The same values give the same bytes.
pub(crate) fn write(values: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, GpkgError> {
    let mut tar = Vec::new();
    for (key, value) in values {
        let header = regular("metadata", key, value.len() as u64)
            .map_err(|source| GpkgError::Member { member: "metadata.tar.zst".to_owned(), source })?;
        tar.extend_from_slice(&header);
        tar.extend_from_slice(value);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    compress(&tar).map_err(GpkgError::Write)
}

/// Small and read on every install: a high level is free. The checksum is what `zstd` itself writes.
fn compress(tar: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 12)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(tar.len() as u64))?;
    encoder.write_all(tar)?;
    encoder.finish()
}

impl Gpkg {
    /// One variable as text, without surrounding white space; `None` if it is not there.
    ///
    /// # Errors
    /// [`GpkgError::Metadata`] if it is not one line of UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<&str>, GpkgError> {
        let refused = |reason| GpkgError::Metadata { key: key.to_owned(), reason };
        let Some(value) = self.metadata().get(key) else { return Ok(None) };
        let text = std::str::from_utf8(value).map_err(|_| refused("it is not UTF-8"))?.trim();
        if text.bytes().any(|b| b.is_ascii_control()) {
            return Err(refused("it has more than one line"));
        }
        Ok(Some(text))
    }

    /// The variables for an index entry: [`INDEX_KEYS`] that are not empty, as text. Line feeds and tabs
    /// inside a value become blanks, as Portage does.
    ///
    /// # Errors
    /// [`GpkgError::Metadata`] if one of them is not UTF-8 or contains other control characters.
    pub fn index_metadata(&self) -> Result<BTreeMap<String, String>, GpkgError> {
        let mut fields = BTreeMap::new();
        for key in INDEX_KEYS {
            let refused = |reason| GpkgError::Metadata { key: key.to_owned(), reason };
            let Some(value) = self.metadata().get(key) else { continue };
            let text = std::str::from_utf8(value).map_err(|_| refused("it is not UTF-8"))?;
            let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            if text.bytes().any(|b| b.is_ascii_control()) {
                return Err(refused("it contains a control character"));
            }
            if !text.is_empty() {
                fields.insert(key.to_owned(), text);
            }
        }
        Ok(fields)
    }
}

/// Takes the value of `REQUIRES` or `PROVIDES` apart: `ABI: soname … ABI: soname …` (Portage,
/// `dep/soname/`).
///
/// ```
/// use buildswarm_portage::gpkg::sonames;
/// let map = sonames("x86_32: libc.so.6 x86_64: libacl.so.1 libc.so.6");
/// assert_eq!(map["x86_64"].iter().collect::<Vec<_>>(), ["libacl.so.1", "libc.so.6"]);
/// ```
#[must_use]
pub fn sonames(value: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut map: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut abi = "";
    for word in value.split_ascii_whitespace() {
        match word.strip_suffix(':') {
            Some(category) => abi = category,
            None => {
                map.entry(abi.to_owned()).or_default().insert(word.to_owned());
            }
        }
    }
    map
}
