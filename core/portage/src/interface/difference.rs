//! What differs between two interfaces, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::abi::{Abi, NEEDED, SONAME, Symbol};
use super::archive::is_bookkeeping;
use super::{Access, ArchiveMember, Entry, Interface};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The path it is at.
    pub path: String,
    /// What of the file it concerns.
    pub part: Part,
    /// The name of that part; nothing for the file itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What became of it.
    pub change: What,
    /// What of it changed, if not its content: `size`, `SONAME`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// The property before, if it was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The property after, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What of a file a [`Change`] concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The file itself.
    File,
    /// A symbol it defines.
    Symbol,
    /// A symbol for data that it defines.
    DataSymbol,
    /// A symbol it wants from another library.
    UndefinedSymbol,
    /// A version it defines.
    Version,
    /// A section that counts by content.
    Section,
    /// A member of a static archive.
    Member,
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It was not there before.
    Added,
    /// It is there no more.
    Removed,
    /// It is another one.
    Changed,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Symbol => "symbol",
            Self::DataSymbol => "data symbol",
            Self::UndefinedSymbol => "undefined symbol",
            Self::Version => "version",
            Self::Section => "section",
            Self::Member => "member",
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, part, name, change, property, before, after } = self;
        let name = name.as_deref().unwrap_or_default();
        if let Some(property) = property {
            let none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            let of = if *part == Part::File { String::new() } else { format!(" of {part} {name}") };
            return write!(f, "{path}: {property}{of} {} → {}", none(before), none(after));
        }
        match (part, change) {
            (Part::File, What::Changed) => write!(f, "{path}: content changed"),
            (Part::File, _) => write!(f, "{path} {change}"),
            (Part::Member, _) => write!(f, "{path}({name}): {change}"),
            _ => write!(f, "{path}: {part} {name} {change}"),
        }
    }
}

pub(super) fn differences(before: &Interface, after: &Interface) -> Vec<Change> {
    let mut found = Found { path: String::new(), changes: Vec::new() };
    for (path, pair) in pairs(&before.entries, &after.entries) {
        found.path.clone_from(path);
        match pair {
            (Some(before), Some(after)) if before.encode() != after.encode() => found.entry(before, after),
            (Some(_), Some(_)) => {}
            (before, _) => {
                found.part(Part::File, None, if before.is_some() { What::Removed } else { What::Added })
            }
        }
    }
    found.changes
}

/// Every key of either map with its values.
fn pairs<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, (Option<&'a V>, Option<&'a V>))> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    keys.into_iter().map(|key| (key, (before.get(key), after.get(key))))
}

/// Differences as they are found.
struct Found {
    path: String,
    changes: Vec<Change>,
}

impl Found {
    fn part(&mut self, part: Part, name: Option<String>, change: What) {
        let path = self.path.clone();
        self.changes.push(Change { path, part, name, change, property: None, before: None, after: None });
    }

    fn property(
        &mut self,
        (part, name): (Part, Option<&str>),
        property: &str,
        before: impl Into<Option<String>>,
        after: impl Into<Option<String>>,
    ) {
        let (before, after) = (before.into(), after.into());
        if before != after {
            self.changes.push(Change {
                path: self.path.clone(),
                part,
                name: name.map(str::to_owned),
                change: What::Changed,
                property: Some(property.to_owned()),
                before,
                after,
            });
        }
    }

    fn of_file(&mut self, property: &str, before: impl ToString, after: impl ToString) {
        self.property((Part::File, None), property, before.to_string(), after.to_string());
    }

    /// Two entries of one path that are not the same.
    fn entry(&mut self, before: &Entry, after: &Entry) {
        if before.kind() != after.kind() {
            return self.of_file("kind", before.kind(), after.kind());
        }
        let access = |entry: &Entry| entry.access().map(in_words);
        self.property((Part::File, None), "permissions", access(before), access(after));
        match (before, after) {
            (Entry::Symlink { target: before }, Entry::Symlink { target: after }) => {
                self.of_file("target", before, after);
            }
            (Entry::File { content: before, .. }, Entry::File { content: after, .. }) if before != after => {
                self.part(Part::File, None, What::Changed);
            }
            (
                Entry::SharedObject { digest: before, abi: first, .. },
                Entry::SharedObject { digest: after, abi: second, .. },
            ) if before != after => {
                let known = self.changes.len();
                let is_told = first.is_some() && second.is_some();
                if let (Some(first), Some(second)) = (first, second) {
                    self.abi(first, second);
                }
                if self.changes.len() == known {
                    let what = if is_told { "order of symbols" } else { "ABI" };
                    self.of_file(what, before.short(), after.short());
                }
            }
            (
                Entry::Archive { digest: before, members: first, .. },
                Entry::Archive { digest: after, members: second, .. },
            ) if before != after => {
                let known = self.changes.len();
                if let (Some(first), Some(second)) = (first, second) {
                    self.members(first, second);
                }
                if self.changes.len() == known {
                    self.of_file("order of members", before.short(), after.short());
                }
            }
            _ => {}
        }
    }

    fn abi(&mut self, before: &Abi, after: &Abi) {
        let number = |number: u64| format!("{number:#x}");
        self.of_file("class", format!("{}-bit", before.bits), format!("{}-bit", after.bits));
        let order = |abi: &Abi| if abi.big_endian { "big endian" } else { "little endian" };
        self.of_file("byte order", order(before), order(after));
        self.of_file("OS ABI", before.os_abi, after.os_abi);
        self.of_file("ABI version", before.abi_version, after.abi_version);
        self.of_file("machine", before.machine, after.machine);
        self.of_file("flags", number(before.flags.into()), number(after.flags.into()));
        for (tag, (before, after)) in pairs(&by_tag(before), &by_tag(after)) {
            self.property((Part::File, None), &tag_name(*tag), before.cloned(), after.cloned());
        }
        let versions = |abi: &Abi| {
            let version = |v: &super::VersionDefinition| (v.name.clone(), (v.flags, v.parents.clone()));
            abi.versions.iter().map(version).collect::<BTreeMap<_, _>>()
        };
        self.parts(Part::Version, &versions(before), &versions(after));
        self.symbols(&by_name(&before.symbols), &by_name(&after.symbols));
        self.symbols(&by_name(&before.undefined), &by_name(&after.undefined));
        let sections = |abi: &Abi| {
            let section = |s: &super::Section| (s.name.clone(), (s.kind, s.content));
            abi.sections.iter().map(section).collect::<BTreeMap<_, _>>()
        };
        self.parts(Part::Section, &sections(before), &sections(after));
    }

    fn parts<V: PartialEq>(&mut self, part: Part, before: &BTreeMap<String, V>, after: &BTreeMap<String, V>) {
        for (name, pair) in pairs(before, after) {
            let change = match pair {
                (Some(before), Some(after)) if before == after => continue,
                (Some(_), Some(_)) => What::Changed,
                (Some(_), None) => What::Removed,
                (None, _) => What::Added,
            };
            self.part(part, Some(name.clone()), change);
        }
    }

    fn symbols(&mut self, before: &BTreeMap<Name<'_>, &Symbol>, after: &BTreeMap<Name<'_>, &Symbol>) {
        for (_, pair) in pairs(before, after) {
            match pair {
                (Some(before), Some(after)) => self.symbol(before, after),
                (Some(symbol), None) => self.part(part_of(symbol), Some(symbol.to_string()), What::Removed),
                (None, Some(symbol)) => self.part(part_of(symbol), Some(symbol.to_string()), What::Added),
                (None, None) => {}
            }
        }
    }

    fn symbol(&mut self, before: &Symbol, after: &Symbol) {
        let name = after.to_string();
        let of = (part_of(after), Some(name.as_str()));
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        self.property(of, "size", number(before.size), number(after.size));
        self.property(of, "alignment", number(before.alignment), number(after.alignment));
        self.property(of, "binding", binding_name(before), binding_name(after));
        self.property(of, "type", type_name(before), type_name(after));
        self.property(of, "visibility", visibility_name(before), visibility_name(after));
        self.property(of, "place", before.place.to_string(), after.place.to_string());
        self.property(of, "other name", before.alias_of.clone(), after.alias_of.clone());
        self.property(of, "value", number(before.value), number(after.value));
        let standing = |symbol: &Symbol| if symbol.is_hidden { "not the default" } else { "the default" };
        self.property(of, "version", standing(before).to_owned(), standing(after).to_owned());
    }

    fn members(&mut self, before: &[ArchiveMember], after: &[ArchiveMember]) {
        let (before, after) = (by_member(before), by_member(after));
        let known = self.changes.len();
        let of = |map: &BTreeMap<String, Vec<_>>, keep: bool| {
            let mut map = map.clone();
            map.retain(|name, _| is_bookkeeping(name) == keep);
            map
        };
        self.parts(Part::Member, &of(&before, false), &of(&after, false));
        if self.changes.len() == known {
            self.parts(Part::Member, &of(&before, true), &of(&after, true));
        }
    }
}

/// What tells symbols apart: name and version.
type Name<'a> = (&'a str, Option<&'a str>);

fn by_name(symbols: &[Symbol]) -> BTreeMap<Name<'_>, &Symbol> {
    symbols.iter().map(|symbol| ((symbol.name.as_str(), symbol.version.as_deref()), symbol)).collect()
}

/// Contents by name: several members may have the same.
fn by_member(members: &[ArchiveMember]) -> BTreeMap<String, Vec<buildswarm_core::Digest>> {
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for member in members {
        found.entry(member.name.clone()).or_default().push(member.content);
    }
    found
}

/// Values of the dynamic section by tag, those of one tag in their order.
fn by_tag(abi: &Abi) -> BTreeMap<u64, String> {
    let mut found: BTreeMap<u64, String> = BTreeMap::new();
    for entry in &abi.dynamic {
        let values = found.entry(entry.tag).or_default();
        if !values.is_empty() {
            values.push(' ');
        }
        *values += &entry.value.to_string();
    }
    found
}

/// The name of an entry of the dynamic section, without its `DT_`.
fn tag_name(tag: u64) -> String {
    let name = match tag {
        NEEDED => "NEEDED",
        SONAME => "SONAME",
        15 => "RPATH",
        16 => "SYMBOLIC",
        22 => "TEXTREL",
        24 => "BIND_NOW",
        29 => "RUNPATH",
        30 => "FLAGS",
        0x6fff_fffb => "FLAGS_1",
        0x6fff_fefb => "DEPAUDIT",
        0x6fff_fefc => "AUDIT",
        0x7fff_fffd => "AUXILIARY",
        0x7fff_ffff => "FILTER",
        _ => return format!("dynamic entry {tag:#x}"),
    };
    name.to_owned()
}

const fn part_of(symbol: &Symbol) -> Part {
    match (symbol.place, symbol.kind) {
        (super::Place::Undefined, _) => Part::UndefinedSymbol,
        (_, 1 | 5) => Part::DataSymbol,
        _ => Part::Symbol,
    }
}

fn type_name(symbol: &Symbol) -> String {
    match symbol.kind {
        0 => "none".to_owned(),
        1 => "data".to_owned(),
        2 => "function".to_owned(),
        5 => "common".to_owned(),
        6 => "thread-local".to_owned(),
        other => other.to_string(),
    }
}

fn binding_name(symbol: &Symbol) -> String {
    match symbol.binding {
        1 => "global".to_owned(),
        2 => "weak".to_owned(),
        10 => "unique".to_owned(),
        other => other.to_string(),
    }
}

/// Visibility, and the other bits of `st_other` where there are any.
fn visibility_name(symbol: &Symbol) -> String {
    match symbol.other {
        0 => "default".to_owned(),
        1 => "internal".to_owned(),
        2 => "hidden".to_owned(),
        3 => "protected".to_owned(),
        other => format!("{other:#x}"),
    }
}

fn in_words(access: Access) -> String {
    let who = if access.readable { "readable" } else { "private" };
    if access.executable { format!("{who}, executable") } else { who.to_owned() }
}
