//! The `Packages` index as a value, and its text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use buildswarm_core::package::Cpv;

use super::dependencies::reduce;
use super::error::IndexError;
use super::facts::FileFacts;

/// Names in the file differ from Portage's own for these (`bintree.py`, `_pkgindex_translated_keys`).
pub(super) const TRANSLATED: [(&str, &str); 2] = [("DESCRIPTION", "DESC"), ("repository", "REPO")];
/// Values that are left out because a reader supplies them (`_pkgindex_default_pkg_data`).
const DEFAULTS: [(&str, &str); 2] = [("EAPI", "0"), ("SLOT", "0")];
/// Fields whose USE conditionals an index carries resolved (`_pkgindex_use_evaluated_keys`).
const REDUCED: [&str; 8] =
    ["BDEPEND", "DEPEND", "IDEPEND", "LICENSE", "PDEPEND", "PROPERTIES", "RDEPEND", "RESTRICT"];
/// Fields of an entry that are not free text.
pub(super) const TYPED: [&str; 6] = ["CPV", "PATH", "SIZE", "MD5", "SHA1", "MTIME"];
/// Fields of the header that are not free text.
pub(super) const TYPED_HEADER: [&str; 3] = ["PACKAGES", "TIMESTAMP", "VERSION"];

/// One package of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The package.
    pub cpv: Cpv,
    /// Where it is, relative to the index (or to the header's `URI`).
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// MD5, lower-case hexadecimal.
    pub md5: String,
    /// SHA-1, lower-case hexadecimal.
    pub sha1: String,
    /// Seconds since 1970; part of what tells two packages of one name apart, so stable for one file.
    pub mtime: u64,
    /// Everything else by the names in the file (`DESC`, `REPO`, `RDEPEND`, …); no empty or default values.
    pub fields: BTreeMap<String, String>,
}

/// An index: header fields and packages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackagesIndex {
    /// Seconds since 1970. Clients ignore an index that is not newer than the one they have.
    pub timestamp: u64,
    /// Header fields besides `TIMESTAMP`, `PACKAGES` and `VERSION`: `ARCH`, `CHOST`, `PROFILE`, `TTL` (seconds
    /// for which clients need not ask again), `URI` (base of all paths), …
    pub header: BTreeMap<String, String>,
    /// The packages, in any order.
    pub entries: Vec<IndexEntry>,
}

pub(super) fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(super) fn is_value(value: &str) -> bool {
    !value.bytes().any(|b| b.is_ascii_control()) && value.trim() == value && !value.is_empty()
}

/// A path below the index: no `..`, not absolute, nothing that a URL or shell would read in another way.
pub(super) fn is_path(path: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.+-".contains(&b);
    let component = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed);
    path.len() <= 1024 && path.split('/').all(component)
}

impl IndexEntry {
    /// The entry of a package with this metadata ([`Gpkg::index_metadata`](crate::gpkg::Gpkg::index_metadata),
    /// or `metadata` of an [`Artifact`](buildswarm_core::artifact::Artifact)) whose file has these facts and is
    /// served at `path`. `mtime` is in seconds since 1970; `BUILD_TIME` is a good choice.
    ///
    /// # Errors
    /// [`IndexError::Field`] naming the field whose value an index cannot carry.
    pub fn new(
        cpv: Cpv,
        metadata: &BTreeMap<String, String>,
        facts: &FileFacts,
        path: String,
        mtime: u64,
    ) -> Result<Self, IndexError> {
        let enabled: BTreeSet<&str> =
            metadata.get("USE").map_or("", String::as_str).split_whitespace().collect();
        let mut fields = BTreeMap::new();
        for (key, value) in metadata {
            let refused = |reason| IndexError::Field { subject: cpv.to_string(), field: key.clone(), reason };
            let value = if REDUCED.contains(&key.as_str()) {
                reduce(value, &enabled).ok_or_else(|| refused("has parentheses that do not match"))?
            } else {
                value.clone()
            };
            if value.is_empty() || DEFAULTS.contains(&(key, &value)) {
                continue;
            }
            let name = TRANSLATED.iter().find(|(ours, _)| ours == key).map_or(key.as_str(), |(_, file)| file);
            fields.insert(name.to_owned(), value);
        }
        let FileFacts { size, md5, sha1, .. } = facts.clone();
        let entry = Self { cpv, path, size, md5, sha1, mtime, fields };
        entry.check()?;
        Ok(entry)
    }

    /// Everything a strict reader would refuse.
    pub(super) fn check(&self) -> Result<(), IndexError> {
        let refused = |field: &str, reason| {
            Err(IndexError::Field { subject: self.cpv.to_string(), field: field.to_owned(), reason })
        };
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !is_path(&self.path) {
            return refused("PATH", "is not a plain relative path");
        }
        if !is_hex(&self.md5, 32) {
            return refused("MD5", "is not 32 lower-case hexadecimal digits");
        }
        if !is_hex(&self.sha1, 40) {
            return refused("SHA1", "is not 40 lower-case hexadecimal digits");
        }
        for (name, value) in &self.fields {
            if !is_field_name(name) || TYPED.contains(&name.as_str()) {
                return refused(name, "is not a name for a field");
            }
            if !is_value(value) {
                return refused(name, "has an empty value, surrounding blanks or a control character");
            }
        }
        for name in ["BUILD_ID", "BUILD_TIME"] {
            if self.fields.get(name).is_some_and(|value| !value.bytes().all(|b| b.is_ascii_digit())) {
                return refused(name, "is not a number");
            }
        }
        Ok(())
    }

    fn write(&self, out: &mut String) {
        let numbers = [("SIZE", self.size.to_string()), ("MTIME", self.mtime.to_string())];
        let mut lines: BTreeMap<&str, &str> =
            self.fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        lines.insert("CPV", self.cpv.as_str());
        lines.insert("PATH", &self.path);
        lines.insert("MD5", &self.md5);
        lines.insert("SHA1", &self.sha1);
        lines.extend(numbers.iter().map(|(key, value)| (*key, value.as_str())));
        write_block(out, &lines);
    }
}

fn write_block(out: &mut String, lines: &BTreeMap<&str, &str>) {
    for (key, value) in lines {
        let _ = writeln!(out, "{key}: {value}");
    }
    out.push('\n');
}

impl PackagesIndex {
    /// The text: fields sorted by name, packages by name and version as text, values that a reader supplies
    /// left out. The same index gives the same bytes.
    ///
    /// # Errors
    /// [`IndexError::Field`] for what [`parse`](Self::parse) would refuse, [`IndexError::Duplicate`].
    pub fn write(&self) -> Result<String, IndexError> {
        let (count, timestamp) = (self.entries.len().to_string(), self.timestamp.to_string());
        let mut header: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in &self.header {
            if !is_field_name(name) || TYPED_HEADER.contains(&name.as_str()) || !is_value(value) {
                let (subject, field) = ("header".to_owned(), name.clone());
                return Err(IndexError::Field { subject, field, reason: "cannot be written" });
            }
            header.insert(name, value);
        }
        header.extend([("PACKAGES", count.as_str()), ("TIMESTAMP", &timestamp), ("VERSION", "0")]);
        let mut out = String::new();
        write_block(&mut out, &header);
        for entry in self.sorted()? {
            entry.check()?;
            entry.write(&mut out);
        }
        Ok(out)
    }

    fn sorted(&self) -> Result<Vec<&IndexEntry>, IndexError> {
        let key = |entry: &&IndexEntry| (entry.cpv.clone(), entry.fields.get("BUILD_ID").cloned());
        let mut entries: Vec<&IndexEntry> = self.entries.iter().collect();
        entries.sort_by_cached_key(key);
        match entries.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
            Some(pair) => Err(IndexError::Duplicate { cpv: pair[0].cpv.clone() }),
            None => Ok(entries),
        }
    }
}
