//! Where two contents of one file differ, in the terms of what the file is.
//!
//! Nothing here trusts what it reads: what does not parse on both sides is compared as bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read as _;

use object::{Object as _, ObjectSection as _};

use super::{FILE_BYTES, PARTS, Shown};

/// What both contents of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// A program, library or object file; its parts are sections, and `headers`: what is outside of them.
    Elf,
    /// A static library (ar(5)); its parts are members, and `headers`: names, times, owners, order.
    Archive,
    /// Packed by gzip (RFC 1952); its parts are fields of the header, or `compression` where the unpacked
    /// contents agree.
    Gzip,
    /// Compiled Python (PEP 552); its parts are fields of the header, and `code`.
    Python,
    /// Without NUL; its part is the first line that differs, `line 3`, counted from 1.
    Text,
    /// Anything else; its part is the first byte that differs, `byte 17`, counted from 0.
    Data,
}

/// Where two contents of one file differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ContentDifference {
    /// What both are.
    pub format: Format,
    /// Whether this is about what gzip unpacked from them.
    pub unpacked: bool,
    /// The parts that differ, at least one, in the words of [`Format`].
    pub parts: Vec<String>,
}

impl ContentDifference {
    /// Of two contents that are not equal.
    pub(super) fn between(before: &[u8], after: &[u8]) -> Self {
        let found = |format, parts| Self { format, unpacked: false, parts };
        if let Some(parts) = elf(before, after) {
            return found(Format::Elf, parts);
        }
        if let Some(parts) = archive(before, after) {
            return found(Format::Archive, parts);
        }
        if let Some(difference) = gzip(before, after) {
            return difference;
        }
        if let Some(parts) = python(before, after) {
            return found(Format::Python, parts);
        }
        Self::of_bytes(before, after)
    }

    /// Of anything, as text or bytes.
    fn of_bytes(before: &[u8], after: &[u8]) -> Self {
        let alike = before.iter().zip(after).take_while(|(a, b)| a == b).count();
        let (format, part) = if before.contains(&0) || after.contains(&0) {
            (Format::Data, format!("byte {alike}"))
        } else {
            let lines = before[..alike].iter().filter(|byte| **byte == b'\n').count();
            (Format::Text, format!("line {}", lines + 1))
        };
        Self { format, unpacked: false, parts: vec![part] }
    }
}

/// Named parts in their order; of several with one name each has its number.
type Parts<'a> = Vec<((String, usize), &'a [u8])>;

/// The parts that differ or are on one side only; `rest` if none does.
fn differing(before: &Parts<'_>, after: &Parts<'_>, rest: &str) -> Vec<String> {
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (before.iter().cloned().collect(), after.iter().cloned().collect());
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for (part, _) in before.iter().chain(after) {
        if old.get(part) != new.get(part) && seen.insert(part.0.as_str()) {
            names.push(part.0.clone());
        }
    }
    if names.is_empty() {
        names.push(rest.to_owned());
    }
    names
}

fn numbered<'a>(parts: impl Iterator<Item = (String, &'a [u8])>) -> Parts<'a> {
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    parts
        .map(|(name, bytes)| {
            let number = numbers.entry(name.clone()).and_modify(|number| *number += 1).or_default();
            ((name, *number), bytes)
        })
        .collect()
}

fn elf(before: &[u8], after: &[u8]) -> Option<Vec<String>> {
    Some(differing(&sections(before)?, &sections(after)?, "headers"))
}

/// The sections of an ELF file; nothing for one whose sections overlap so much that comparing them would take
/// more than twice its length.
fn sections(bytes: &[u8]) -> Option<Parts<'_>> {
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let file = object::File::parse(bytes).ok()?;
    let mut work = bytes.len().saturating_mul(2);
    let mut found = Vec::new();
    for section in file.sections() {
        let (name, data) = (section.name_bytes().ok()?, section.data().ok()?);
        work = work.checked_sub(name.len())?.checked_sub(data.len())?;
        found.push((String::from_utf8_lossy(name).into_owned(), data));
    }
    Some(numbered(found.into_iter()))
}

fn archive(before: &[u8], after: &[u8]) -> Option<Vec<String>> {
    Some(differing(&members(before)?, &members(after)?, "headers"))
}

/// The members of a static library, with GNU's long names.
fn members(bytes: &[u8]) -> Option<Parts<'_>> {
    let mut rest = bytes.strip_prefix(b"!<arch>\n")?;
    let mut long_names: &[u8] = b"";
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (header, after) = rest.split_at_checked(60)?;
        let field =
            |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).ok().map(str::trim_end);
        let (name, size) = (field(0..16)?, field(48..58)?.parse().ok()?);
        let (data, after) = after.split_at_checked(size)?;
        rest = if size % 2 == 1 { after.get(1..).unwrap_or_default() } else { after };
        let name = match (name, name.strip_prefix('/')) {
            ("//", _) => {
                long_names = data;
                continue;
            }
            (_, Some(at)) if !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit()) => {
                let name = long_names.get(at.parse::<usize>().ok()?..)?.iter().take(255);
                let name: Vec<u8> = name.take_while(|byte| !b"/\n".contains(byte)).copied().collect();
                String::from_utf8_lossy(&name).into_owned()
            }
            ("/", _) => "symbol index".to_owned(),
            (name, _) => name.strip_suffix('/').unwrap_or(name).to_owned(),
        };
        found.push((name, data));
    }
    Some(numbered(found.into_iter()))
}

fn gzip(before: &[u8], after: &[u8]) -> Option<ContentDifference> {
    let (old, new) = (gzip_parts(before)?, gzip_parts(after)?);
    if old.last() != new.last() {
        let (old, new) = (unpacked(before)?, unpacked(after)?);
        if old != new {
            return Some(ContentDifference { unpacked: true, ..ContentDifference::of_bytes(&old, &new) });
        }
    }
    let parts = differing(&old, &new, "header");
    Some(ContentDifference { format: Format::Gzip, unpacked: false, parts })
}

/// How long the field is that these bytes begin with.
type Length = fn(&[u8]) -> Option<usize>;

/// The fields of the header, and last what follows it (RFC 1952, section 2.3).
fn gzip_parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let (fixed, mut rest) = bytes.split_at_checked(10)?;
    if !fixed.starts_with(&[0x1f, 0x8b, 8]) {
        return None;
    }
    let through_nul = |rest: &[u8]| Some(rest.iter().position(|byte| *byte == 0)? + 1);
    let extra = |rest: &[u8]| Some(2 + usize::from(u16::from_le_bytes(*rest.first_chunk()?)));
    let optional: [(u8, &str, Length); 4] = [
        (4, "extra field", extra),
        (8, "name", through_nul),
        (16, "comment", through_nul),
        (2, "header checksum", |_| Some(2)),
    ];
    let mut parts = vec![("flags", &fixed[3..4]), ("time", &fixed[4..8]), ("level and system", &fixed[8..])];
    for (flag, name, length) in optional {
        if fixed[3] & flag != 0 {
            let (field, after) = rest.split_at_checked(length(rest)?)?;
            parts.push((name, field));
            rest = after;
        }
    }
    parts.push(("compression", rest));
    Some(numbered(parts.into_iter().map(|(name, bytes)| (name.to_owned(), bytes))))
}

/// What gzip packed, unless it is damaged or too large.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).take(FILE_BYTES + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= FILE_BYTES).then_some(content)
}

fn python(before: &[u8], after: &[u8]) -> Option<Vec<String>> {
    Some(differing(&python_parts(before)?, &python_parts(after)?, "code"))
}

fn python_parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let (header, code) = bytes.split_at_checked(16)?;
    // The magic number of every version ends so, and only two flags are defined.
    if header[2..4] != *b"\r\n" || header[4] > 3 || header[5..8] != [0; 3] {
        return None;
    }
    let mut parts = vec![("version of Python", &header[..4]), ("flags", &header[4..8])];
    if header[4] & 1 == 0 {
        parts.extend([("time of the source", &header[8..12]), ("size of the source", &header[12..])]);
    } else {
        parts.push(("hash of the source", &header[8..]));
    }
    parts.push(("code", code));
    Some(numbered(parts.into_iter().map(|(name, bytes)| (name.to_owned(), bytes))))
}

impl fmt::Display for ContentDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unpacked {
            f.write_str("unpacked, ")?;
        }
        match self.format {
            Format::Text | Format::Data => {
                return write!(f, "differs from {} on", Shown(&self.parts.join(", ")));
            }
            Format::Gzip => f.write_str("gzip: ")?,
            Format::Python => f.write_str("Python: ")?,
            Format::Elf | Format::Archive => {}
        }
        if let [part] = self.parts.as_slice() {
            return write!(f, "{} only", Shown(part));
        }
        let shown = &self.parts[..self.parts.len().min(PARTS)];
        write!(f, "{}", Shown(&shown.join(", ")))?;
        match self.parts.len() - shown.len() {
            0 => f.write_str(" differ"),
            more => write!(f, " and {more} more differ"),
        }
    }
}
