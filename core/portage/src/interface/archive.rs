//! Static archives (`ar`): members in their order, by name and content; without time, owner and mode.
//!
//! The symbol index (`/`, `/SYM64/`, `__.SYMDEF`) and the table of long names (`//`) are members like others:
//! they hold nothing that does not follow from names and contents, and an archive without index, or with one
//! that lacks symbols, does not link. Anything else than GNU's and BSD's usual form, thin archives too, is not
//! read here and so counts by its whole content.

use buildswarm_core::Digest;
use buildswarm_core::canonical::Encoder;

use super::Names;

/// What an archive begins with.
pub(super) const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: usize = 60;
const CONTEXT: &str = "buildswarm 2026-11-24 interface of a static archive";

/// One member of a static archive.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveMember {
    /// Its name; several members may have the same.
    pub name: String,
    /// Plain BLAKE3 of its content.
    pub content: Digest,
}

/// The digest of an archive's members.
pub(super) fn digest(members: &[ArchiveMember]) -> Digest {
    let record = |member: &ArchiveMember| {
        let mut record = Encoder::new();
        record.text(1, &member.name);
        record.digest(2, &member.content);
        record.finish()
    };
    let mut list = Encoder::new();
    list.list(1, members.iter().map(record));
    Digest::derive(CONTEXT, &list.finish())
}

/// The members of the archive, if it is one of the usual form.
pub(super) fn members(bytes: &[u8]) -> Option<Vec<ArchiveMember>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut names = Names::of_file(bytes.len());
    let mut long_names: &[u8] = b"";
    let mut members = Vec::new();
    while !rest.is_empty() {
        let (header, after) = rest.split_at_checked(HEADER)?;
        if &header[58..] != b"`\n" {
            return None;
        }
        let (content, after) = after.split_at_checked(number(&header[48..58])?)?;
        rest = match (content.len() % 2, after.split_first()) {
            (1, Some((_, padded))) => padded,
            _ => after,
        };
        let field = header[..16].trim_ascii_end();
        let (name, content) = if let Some(length) = field.strip_prefix(b"#1/") {
            let (name, content) = content.split_at_checked(number(length)?)?;
            (name.split(|b| *b == 0).next()?, content)
        } else if field == b"//" {
            long_names = content;
            (field, content)
        } else if let Some(at) =
            field.strip_prefix(b"/").filter(|at| at.first().is_some_and(u8::is_ascii_digit))
        {
            let name = long_names.get(number(at)?..)?;
            (&name[..name.windows(2).position(|end| end == b"/\n")?], content)
        } else if field.starts_with(b"/") {
            (field, content)
        } else {
            (field.strip_suffix(b"/").unwrap_or(field), content)
        };
        members.push(ArchiveMember { name: names.take(name)?, content: Digest::of(content) });
    }
    Some(members)
}

/// A decimal number, padded with spaces.
fn number(field: &[u8]) -> Option<usize> {
    std::str::from_utf8(field.trim_ascii_end()).ok()?.parse().ok()
}

/// Whether the member is the archive's own bookkeeping, which changes whenever others do.
pub(super) fn is_bookkeeping(name: &str) -> bool {
    name == "/" || name == "//" || name == "/SYM64/" || name.starts_with("__.SYMDEF")
}
