//! A strict, bounded reader of `Packages`.
//!
//! Stricter than Portage, which skips what it does not understand: here every line is a field, every field is
//! named once, the count is true, and every package has a plain relative path, a size, a time and both digests.
//! Fields of unknown names are kept.

use std::collections::{BTreeMap, BTreeSet};

use buildswarm_core::package::Cpv;

use super::error::IndexError;
use super::index::{IndexEntry, PackagesIndex, TYPED_HEADER, is_field_name, is_value};

/// An index of 50,000 packages has 60 MB.
const MOST_BYTES: usize = 256 << 20;
/// The longest line seen is a REQUIRES of 20 KiB.
const MOST_LINE_BYTES: usize = 1 << 20;
/// More packages than the Gentoo tree has versions.
const MOST_PACKAGES: usize = 500_000;
/// The last second of the year 9999.
const LARGEST_TIME: u64 = 253_402_300_799;
/// A year: clients would not ask again for so long.
const LARGEST_TTL_SECONDS: u64 = 31_536_000;

type Fields = BTreeMap<String, String>;

impl PackagesIndex {
    /// Parses the bytes of a `Packages` file; also an entry point for fuzzing.
    ///
    /// # Errors
    /// [`IndexError`], naming the line, or the package and field.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        if bytes.len() > MOST_BYTES {
            return Err(IndexError::Limit { what: "bytes", limit: MOST_BYTES as u64 });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| IndexError::Encoding)?;
        let mut lines = text.split_inclusive('\n').enumerate();
        let header = block(&mut lines)?.unwrap_or_default();
        let (mut index, said) = from_header(header)?;
        let mut seen = BTreeSet::new();
        while let Some(fields) = block(&mut lines)? {
            if index.entries.len() >= MOST_PACKAGES {
                return Err(IndexError::Limit { what: "packages", limit: MOST_PACKAGES as u64 });
            }
            let entry = from_fields(fields)?;
            if !seen.insert((entry.cpv.clone(), entry.fields.get("BUILD_ID").cloned())) {
                return Err(IndexError::Duplicate { cpv: entry.cpv });
            }
            index.entries.push(entry);
        }
        let found = index.entries.len() as u64;
        if found == said { Ok(index) } else { Err(IndexError::Count { said, found }) }
    }
}

/// The fields up to the next empty line; `None` at the end of the text.
fn block<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<Option<Fields>, IndexError> {
    let mut fields = Fields::new();
    for (number, line) in lines {
        let refused = |reason| Err(IndexError::Line { line: number + 1, reason });
        if line.len() > MOST_LINE_BYTES {
            return refused("it is longer than 1 MiB");
        }
        let Some(line) = line.strip_suffix('\n') else { return refused("it does not end") };
        if line.is_empty() {
            if fields.is_empty() {
                return refused("it is empty where a field should be");
            }
            return Ok(Some(fields));
        }
        let Some((name, value)) = line.split_once(": ") else {
            return refused("it is not of the form NAME: value");
        };
        if !is_field_name(name) {
            return refused("its name is not that of a field");
        }
        if !is_value(value) {
            return refused("its value is empty, or has surrounding blanks or a control character");
        }
        if fields.insert(name.to_owned(), value.to_owned()).is_some() {
            return refused("its field has been named before");
        }
    }
    if fields.is_empty() { Ok(None) } else { Ok(Some(fields)) }
}

/// Takes a number of at most `most` out of `fields`.
fn number(fields: &mut Fields, subject: &str, field: &str, most: u64) -> Result<u64, IndexError> {
    let refused = |reason| IndexError::Field { subject: subject.to_owned(), field: field.to_owned(), reason };
    let text = fields.remove(field).ok_or_else(|| refused("is missing"))?;
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let value = plain.then(|| text.parse::<u64>().ok()).flatten().filter(|value| *value <= most);
    value.ok_or_else(|| refused("is not a number in range"))
}

fn from_header(mut fields: Fields) -> Result<(PackagesIndex, u64), IndexError> {
    let said = number(&mut fields, "header", "PACKAGES", u64::MAX)?;
    let timestamp = number(&mut fields, "header", "TIMESTAMP", LARGEST_TIME)?;
    number(&mut fields, "header", "VERSION", 0)?;
    if fields.contains_key("TTL") {
        number(&mut fields.clone(), "header", "TTL", LARGEST_TTL_SECONDS)?;
    }
    debug_assert!(TYPED_HEADER.iter().all(|name| !fields.contains_key(*name)));
    Ok((PackagesIndex { timestamp, header: fields, entries: Vec::new() }, said))
}

fn from_fields(mut fields: Fields) -> Result<IndexEntry, IndexError> {
    let mut take = |subject: &str, field: &str| {
        fields.remove(field).ok_or_else(|| IndexError::Field {
            subject: subject.to_owned(),
            field: field.to_owned(),
            reason: "is missing",
        })
    };
    let name = take("a package", "CPV")?;
    let cpv: Cpv = name.parse().map_err(|_| IndexError::Field {
        subject: name.chars().take(200).collect(),
        field: "CPV".to_owned(),
        reason: "is not a package of the form category/name-version",
    })?;
    let subject = cpv.to_string();
    let path = take(&subject, "PATH")?;
    let md5 = take(&subject, "MD5")?;
    let sha1 = take(&subject, "SHA1")?;
    let size = number(&mut fields, &subject, "SIZE", i64::MAX as u64)?;
    let mtime = number(&mut fields, &subject, "MTIME", LARGEST_TIME)?;
    let entry = IndexEntry { cpv, path, size, md5, sha1, mtime, fields };
    entry.check()?;
    Ok(entry)
}
