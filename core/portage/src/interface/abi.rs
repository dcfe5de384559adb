//! What a linker reads of a shared object, as a value; `docs/interface.md` says why each part of it counts.

use std::fmt;

use buildswarm_core::Digest;
use buildswarm_core::canonical::Encoder;

const CONTEXT: &str = "buildswarm 2026-11-24 interface of a shared object";

/// The part of a shared object that reaches what is linked with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Abi {
    /// 32 or 64.
    pub bits: u8,
    /// Whether its numbers are stored with the highest byte first.
    pub big_endian: bool,
    /// `EI_OSABI`.
    pub os_abi: u8,
    /// `EI_ABIVERSION`.
    pub abi_version: u8,
    /// `e_machine`.
    pub machine: u16,
    /// `e_flags`.
    pub flags: u32,
    /// Entries of the dynamic section that do not merely say where things are, by ascending tag; those with the
    /// same tag in their order.
    pub dynamic: Vec<DynamicEntry>,
    /// Versions it defines, in their order.
    pub versions: Vec<VersionDefinition>,
    /// Dynamic symbols it defines, in their order.
    pub symbols: Vec<Symbol>,
    /// Dynamic symbols it wants from elsewhere, in their order.
    pub undefined: Vec<Symbol>,
    /// For each dynamic symbol, in their order, whether it is one it defines: how the two lists were one.
    #[serde(skip)]
    pub mixture: Vec<bool>,
    /// Sections that tools read beside these, in their order.
    pub sections: Vec<Section>,
}

/// One entry of a dynamic section.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DynamicEntry {
    /// `d_tag`.
    pub tag: u64,
    /// Its value.
    pub value: Value,
}

/// The value of an entry of a dynamic section.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A name or path.
    Text(String),
    /// A number or flags.
    Number(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number:#x}"),
        }
    }
}

/// One version a library defines.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VersionDefinition {
    /// Its name.
    pub name: String,
    /// `vd_flags`.
    pub flags: u16,
    /// Versions it inherits from.
    pub parents: Vec<String>,
}

/// Where a symbol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Somewhere else.
    Undefined,
    /// Among instructions.
    Code,
    /// Among data that is never written.
    ReadOnly,
    /// Among data that is read-only after relocation.
    Relro,
    /// Among data that is written.
    Writable,
    /// In each thread's own data.
    Thread,
    /// At a fixed address.
    Absolute,
    /// In common storage.
    Common,
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Code => "code",
            Self::ReadOnly => "read-only",
            Self::Relro => "relro",
            Self::Writable => "writable",
            Self::Thread => "thread",
            Self::Absolute => "absolute",
            Self::Common => "common",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One dynamic symbol.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// Its version; without one it belongs to the library as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether another version of the name is the default.
    pub is_hidden: bool,
    /// `STB_…`: 1 global, 2 weak, 10 unique.
    pub binding: u8,
    /// `STT_…`: 0 none, 1 data, 2 function, 6 thread-local; indirect functions count as functions.
    #[serde(rename = "type")]
    pub kind: u8,
    /// `st_other`: its visibility and bits of the machine.
    pub other: u8,
    /// Where it is.
    pub place: Place,
    /// In bytes; of all but functions and undefined symbols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// In bytes; of data that a linker may have copied into a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alignment: Option<u64>,
    /// Of several names for the same data: the first, if this is not it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
    /// Of absolute symbols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
}

impl fmt::Display for Symbol {
    /// As linkers write it: `read@@V2`, `read@V1` where that is not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.version {
            // Whoever wants a symbol wants one version of it; whether it is the default is not theirs to say.
            Some(version) if self.is_hidden || self.place == Place::Undefined => write!(f, "@{version}"),
            Some(version) => write!(f, "@@{version}"),
            None => Ok(()),
        }
    }
}

impl Symbol {
    /// Its type in a word: `function`, `data symbol`, …
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self.kind {
            1 | 5 => "data symbol",
            2 => "function",
            6 => "thread-local symbol",
            _ => "symbol",
        }
    }

    /// Bytes of its texts together.
    fn text_len(&self) -> usize {
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.name.len() + len(&self.version) + len(&self.alias_of)
    }

    fn encode(&self) -> Vec<u8> {
        let mut record = Encoder::new();
        record.text(1, &self.name);
        if let Some(version) = &self.version {
            record.text(2, version);
        }
        record.number(3, self.is_hidden.into());
        record.number(4, self.binding.into());
        record.number(5, self.kind.into());
        record.number(6, self.other.into());
        record.text(7, self.place.name());
        for (tag, number) in [(8, self.size), (9, self.alignment)] {
            if let Some(number) = number {
                record.number(tag, number);
            }
        }
        if let Some(first) = &self.alias_of {
            record.text(10, first);
        }
        if let Some(value) = self.value {
            record.number(11, value);
        }
        record.finish()
    }
}

/// A section that counts by its content.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// `sh_type`.
    #[serde(rename = "type")]
    pub kind: u32,
    /// Plain BLAKE3 of its content.
    pub content: Digest,
}

/// `DT_NEEDED`.
pub(super) const NEEDED: u64 = 1;
/// `DT_SONAME`.
pub(super) const SONAME: u64 = 14;

impl Abi {
    /// The name programs that are linked with it ask the loader for (`DT_SONAME`).
    #[must_use]
    pub fn soname(&self) -> Option<&str> {
        self.texts(SONAME).next()
    }

    /// Libraries it needs (`DT_NEEDED`), in their order.
    pub fn needed(&self) -> impl Iterator<Item = &str> {
        self.texts(NEEDED)
    }

    fn texts(&self, tag: u64) -> impl Iterator<Item = &str> {
        self.dynamic.iter().filter(move |entry| entry.tag == tag).filter_map(|entry| match &entry.value {
            Value::Text(text) => Some(text.as_str()),
            Value::Number(_) => None,
        })
    }

    /// The digest of its canonical form.
    pub(super) fn digest(&self) -> Digest {
        let mut record = Encoder::new();
        record.number(1, self.bits.into());
        record.number(2, self.big_endian.into());
        record.number(3, self.os_abi.into());
        record.number(4, self.abi_version.into());
        record.number(5, self.machine.into());
        record.number(6, self.flags.into());
        record.list(7, self.dynamic.iter().map(DynamicEntry::encode));
        sorted(&mut record, 8, self.versions.iter().map(VersionDefinition::encode));
        // In their order: linkers take names over in it, so it reaches the tables of what is linked.
        record.list(9, self.symbols.iter().map(Symbol::encode));
        record.list(10, self.undefined.iter().map(Symbol::encode));
        record.bytes(11, &self.mixture.iter().map(|defined| u8::from(*defined)).collect::<Vec<u8>>());
        sorted(&mut record, 12, self.sections.iter().map(Section::encode));
        Digest::derive(CONTEXT, &record.finish())
    }

    /// About how many bytes of memory it takes.
    pub(super) fn memory(&self) -> usize {
        let symbols = self.symbols.iter().chain(&self.undefined);
        let others = self.dynamic.len() + self.versions.len() + self.sections.len();
        let symbols: usize = symbols.map(|symbol| size_of::<Symbol>() + symbol.text_len()).sum();
        symbols + self.mixture.len() + others * 128
    }
}

/// A list of records whose order means nothing.
fn sorted(record: &mut Encoder, tag: u8, items: impl Iterator<Item = Vec<u8>>) {
    let mut items: Vec<Vec<u8>> = items.collect();
    items.sort_unstable();
    record.list(tag, items.iter());
}

impl DynamicEntry {
    fn encode(&self) -> Vec<u8> {
        let mut record = Encoder::new();
        record.number(1, self.tag);
        match &self.value {
            Value::Text(text) => record.text(2, text),
            Value::Number(number) => record.number(3, *number),
        }
        record.finish()
    }
}

impl VersionDefinition {
    fn encode(&self) -> Vec<u8> {
        let mut record = Encoder::new();
        record.text(1, &self.name);
        record.number(2, self.flags.into());
        record.list(3, self.parents.iter());
        record.finish()
    }
}

impl Section {
    fn encode(&self) -> Vec<u8> {
        let mut record = Encoder::new();
        record.text(1, &self.name);
        record.number(2, self.kind.into());
        record.digest(3, &self.content);
        record.finish()
    }
}
