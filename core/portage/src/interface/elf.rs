//! ELF files: shared objects reduced to what a linker reads of them, programs told apart.
//!
//! Read the way `ld` reads a library to link against: by section headers. Whatever is not in order gives `None`,
//! and the file then counts by its whole content: a rebuild too many, never an error, never a wrong hit.
//! `docs/interface.md` says what is taken and why.

use std::collections::BTreeMap;

use buildswarm_core::Digest;
use object::elf;
use object::read::elf::{
    Dyn as _, FileHeader, ProgramHeader as _, SectionHeader as _, SectionTable, Sym as _,
};
use object::read::{SectionIndex, StringTable};

use super::Names;
use super::abi::{Abi, DynamicEntry, Place, Section, Symbol, Value, VersionDefinition};

/// What an ELF file begins with.
pub(super) const MAGIC: &[u8; 4] = b"\x7fELF";
/// More dynamic symbols than any library has; bounds memory.
const SYMBOLS_MAX: usize = 1 << 20;
/// More definitions and requirements of versions, with their names, than any library has; bounds time.
const VERSIONS_MAX: usize = 1 << 16;

/// An ELF file that is understood.
#[derive(Debug)]
pub(super) enum Elf {
    SharedObject(Box<Abi>),
    /// A program; `runs_here` if it names the loader it is started with, as firmware and kernels do not.
    Program {
        runs_here: bool,
    },
}

/// What the file is, if it is in order and of a kind that is reduced.
pub(super) fn read(bytes: &[u8]) -> Option<Elf> {
    match *bytes.get(4)? {
        1 => File::<elf::FileHeader32<object::Endianness>>::new(bytes)?.read(),
        2 => File::<elf::FileHeader64<object::Endianness>>::new(bytes)?.read(),
        _ => None,
    }
}

struct File<'a, E: FileHeader> {
    header: &'a E,
    endian: E::Endian,
    bytes: &'a [u8],
    sections: SectionTable<'a, E>,
}

/// Names of versions by their index, as symbols refer to them.
type Versions<'a> = BTreeMap<u16, &'a [u8]>;

impl<'a, E: FileHeader> File<'a, E> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let header = E::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, bytes).ok()?;
        Some(Self { header, endian, bytes, sections })
    }

    fn read(&self) -> Option<Elf> {
        let segments = self.header.program_headers(self.endian, self.bytes).ok()?;
        let runs_here = segments.iter().any(|segment| segment.p_type(self.endian) == elf::PT_INTERP);
        match self.header.e_type(self.endian) {
            elf::ET_EXEC => Some(Elf::Program { runs_here }),
            elf::ET_DYN => {
                let mut names = Names::of_file(self.bytes.len());
                let dynamic = self.dynamic(&mut names)?;
                let number = |wanted: elf::DynamicTag| {
                    dynamic
                        .iter()
                        .find(|entry| entry.tag == wanted.0.cast_unsigned())
                        .map(|entry| &entry.value)
                };
                let is_pie =
                    matches!(number(elf::DT_FLAGS_1), Some(Value::Number(flags)) if flags & PIE != 0);
                if is_pie && number(elf::DT_SONAME).is_none() {
                    return Some(Elf::Program { runs_here });
                }
                self.abi(dynamic, &mut names).map(|abi| Elf::SharedObject(Box::new(abi)))
            }
            _ => None,
        }
    }

    /// The only section of this type; `Some(None)` if there is none, nothing if there are several.
    fn only(&self, kind: elf::SectionType) -> Option<Option<(SectionIndex, &'a E::SectionHeader)>> {
        let mut found = self.sections.enumerate().filter(|(_, section)| section.sh_type(self.endian) == kind);
        let first = found.next();
        if found.next().is_some() { None } else { Some(first) }
    }

    fn data(&self, section: &E::SectionHeader) -> Option<&'a [u8]> {
        section.data(self.endian, self.bytes).ok()
    }

    fn strings(&self, section: &E::SectionHeader) -> Option<StringTable<'a>> {
        self.sections.strings(self.endian, self.bytes, section.link(self.endian)).ok()
    }

    fn dynamic(&self, names: &mut Names) -> Option<Vec<DynamicEntry>> {
        let (_, section) = self.only(elf::SHT_DYNAMIC)??;
        let table: &[E::Dyn] = section.data_as_array(self.endian, self.bytes).ok()?;
        let strings = self.strings(section)?;
        let machine = self.header.e_machine(self.endian);
        let mut entries = Vec::new();
        for entry in table {
            let tag = entry.d_tag(self.endian);
            let value: u64 = entry.d_val(self.endian).into();
            if tag == elf::DT_NULL {
                break;
            }
            if is_layout(tag, machine) {
                continue;
            }
            let value = if NAMES.contains(&tag) {
                Value::Text(names.take(strings.get(u32::try_from(value).ok()?).ok()?)?)
            } else {
                Value::Number(value)
            };
            entries.push(DynamicEntry { tag: tag.0.cast_unsigned(), value });
        }
        // Stable: libraries are searched in the order in which they are needed.
        entries.sort_by_key(|entry| entry.tag);
        Some(entries)
    }

    fn abi(&self, dynamic: Vec<DynamicEntry>, names: &mut Names) -> Option<Abi> {
        let ident = self.header.e_ident();
        let (versions, definitions) = self.version_definitions(names)?;
        let requirements = self.version_requirements()?;
        let (symbols, undefined, mixture) = self.symbols(&versions, &requirements, names)?;
        Some(Abi {
            bits: if self.header.is_type_64() { 64 } else { 32 },
            big_endian: self.header.is_big_endian(),
            os_abi: ident.os_abi.0,
            abi_version: ident.abi_version,
            machine: self.header.e_machine(self.endian).0,
            flags: self.header.e_flags(self.endian).0,
            dynamic,
            versions: definitions,
            symbols,
            undefined,
            mixture,
            sections: self.notable_sections(names)?,
        })
    }

    fn version_definitions(&self, names: &mut Names) -> Option<(Versions<'a>, Vec<VersionDefinition>)> {
        let (mut versions, mut definitions) = (Versions::new(), Vec::new());
        let Some((_, section)) = self.only(elf::SHT_GNU_VERDEF)? else {
            return Some((versions, definitions));
        };
        let (mut table, link) = section.gnu_verdef(self.endian, self.bytes).ok()??;
        let strings = self.sections.strings(self.endian, self.bytes, link).ok()?;
        let mut left = VERSIONS_MAX;
        while let Some((definition, mut own_names)) = table.next().ok()? {
            let mut own = Vec::new();
            while let Some(name) = own_names.next().ok()? {
                left = left.checked_sub(1)?;
                own.push(strings.get(name.vda_name.get(self.endian)).ok()?);
            }
            let (name, parents) = own.split_first()?;
            let index = definition.vd_ndx.get(self.endian).0;
            if versions.insert(index, name).is_some() {
                return None;
            }
            definitions.push(VersionDefinition {
                name: names.take(name)?,
                flags: definition.vd_flags.get(self.endian).0,
                parents: parents.iter().map(|parent| names.take(parent)).collect::<Option<_>>()?,
            });
        }
        Some((versions, definitions))
    }

    fn version_requirements(&self) -> Option<Versions<'a>> {
        let mut versions = Versions::new();
        let Some((_, section)) = self.only(elf::SHT_GNU_VERNEED)? else { return Some(versions) };
        let (mut table, link) = section.gnu_verneed(self.endian, self.bytes).ok()??;
        let strings = self.sections.strings(self.endian, self.bytes, link).ok()?;
        let mut left = VERSIONS_MAX;
        while let Some((_, mut wanted)) = table.next().ok()? {
            left = left.checked_sub(1)?;
            while let Some(version) = wanted.next().ok()? {
                left = left.checked_sub(1)?;
                let name = strings.get(version.vna_name.get(self.endian)).ok()?;
                versions.insert(version.vna_other.get(self.endian).0 & VERSION_INDEX, name);
            }
        }
        Some(versions)
    }

    fn symbols(
        &self,
        defined: &Versions<'a>,
        required: &Versions<'a>,
        names: &mut Names,
    ) -> Option<(Vec<Symbol>, Vec<Symbol>, Vec<bool>)> {
        let (_, section) = self.only(elf::SHT_DYNSYM)??;
        let table: &[E::Sym] = section.data_as_array(self.endian, self.bytes).ok()?;
        let strings = self.strings(section)?;
        if table.len() > SYMBOLS_MAX {
            return None;
        }
        let indexes = match self.only(elf::SHT_GNU_VERSYM)? {
            Some((_, section)) => Some(self.data(section)?),
            None => None,
        };
        if indexes.is_some_and(|indexes| indexes.len() != 2 * table.len()) {
            return None;
        }
        let relro = self.relro()?;
        let (mut symbols, mut undefined) = (Vec::new(), Vec::new());
        let mut mixture = Vec::new();
        let mut copied: Vec<(u16, u64, usize)> = Vec::new();
        for (number, symbol) in table.iter().enumerate() {
            if symbol.st_bind() == elf::STB_LOCAL {
                continue;
            }
            let index = indexes.map_or(1, |indexes| {
                let pair = [indexes[2 * number], indexes[2 * number + 1]];
                if self.header.is_big_endian() { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
            });
            let is_undefined = symbol.is_undefined(self.endian);
            let mut read = self.symbol(symbol, &relro)?;
            read.name = names.take(strings.get(symbol.st_name(self.endian)).ok()?)?;
            read.is_hidden = index & !VERSION_INDEX != 0;
            read.version = match index & VERSION_INDEX {
                0 if !is_undefined => return None,
                0 | 1 => None,
                index if is_undefined => Some(names.take(required.get(&index)?)?),
                index => Some(names.take(defined.get(&index)?)?),
            };
            mixture.push(!is_undefined);
            if is_undefined {
                undefined.push(read);
                continue;
            }
            if read.alignment.is_some() {
                let address = symbol.st_value(self.endian).into();
                copied.push((symbol.st_shndx(self.endian).0, address, symbols.len()));
            }
            symbols.push(read);
        }
        copied.sort_unstable();
        for group in copied.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).filter(|group| group.len() > 1) {
            let first = group.iter().map(|(_, _, at)| symbols[*at].to_string()).min()?;
            for (_, _, at) in group {
                if symbols[*at].to_string() != first {
                    symbols[*at].alias_of = Some(names.take(first.as_bytes())?);
                }
            }
        }
        Some((symbols, undefined, mixture))
    }

    /// A symbol without its name and version.
    fn symbol(&self, symbol: &E::Sym, relro: &[std::ops::Range<u64>]) -> Option<Symbol> {
        let value: u64 = symbol.st_value(self.endian).into();
        let kind = match symbol.st_type() {
            // For who calls it, a function whose implementation is chosen at run time is a function; linkers
            // take it for one too.
            elf::STT_GNU_IFUNC => elf::STT_FUNC,
            kind => kind,
        };
        let mut read = Symbol {
            name: String::new(),
            version: None,
            is_hidden: false,
            binding: symbol.st_bind().0,
            kind: kind.0,
            other: symbol.st_other().0,
            place: Place::Undefined,
            size: None,
            alignment: None,
            alias_of: None,
            value: None,
        };
        let alignment = match symbol.st_shndx(self.endian) {
            elf::SHN_UNDEF => return Some(read),
            elf::SHN_ABS => {
                read.place = Place::Absolute;
                read.value = Some(value);
                1
            }
            elf::SHN_COMMON => {
                read.place = Place::Common;
                value
            }
            index if index.is_special() => return None,
            index => {
                let section = self.sections.section(SectionIndex(index.0.into())).ok()?;
                let flags = section.sh_flags(self.endian);
                read.place = if flags.contains(elf::SHF_TLS) {
                    Place::Thread
                } else if flags.contains(elf::SHF_EXECINSTR) {
                    Place::Code
                } else if relro.iter().any(|range| range.contains(&value)) {
                    Place::Relro
                } else if flags.contains(elf::SHF_WRITE) {
                    Place::Writable
                } else {
                    Place::ReadOnly
                };
                let alignment: u64 = section.sh_addralign(self.endian).into();
                // The lowest bit of the address that is set: what is known of the alignment of one symbol.
                if value == 0 { alignment } else { alignment.min(value & value.wrapping_neg()) }
            }
        };
        if kind != elf::STT_FUNC {
            let size: u64 = symbol.st_size(self.endian).into();
            read.size = Some(size);
            // What can be copied into a program, and so is placed there.
            if kind != elf::STT_TLS && size > 0 && read.place != Place::Absolute {
                read.alignment = Some(alignment.max(1));
            }
        }
        Some(read)
    }

    /// Addresses that are made read-only after relocation.
    fn relro(&self) -> Option<Vec<std::ops::Range<u64>>> {
        let segments = self.header.program_headers(self.endian, self.bytes).ok()?;
        let relro = segments.iter().filter(|segment| segment.p_type(self.endian) == elf::PT_GNU_RELRO);
        let ranges: Vec<_> = relro
            .map(|segment| {
                let start: u64 = segment.p_vaddr(self.endian).into();
                start..start.saturating_add(segment.p_memsz(self.endian).into())
            })
            .collect();
        // One is usual; many would cost time for each symbol.
        (ranges.len() <= 4).then_some(ranges)
    }

    /// Sections that linkers or compilers read of a library beside its symbols.
    fn notable_sections(&self, names: &mut Names) -> Option<Vec<Section>> {
        let mut left = self.bytes.len();
        let mut found = Vec::new();
        for (_, section) in self.sections.enumerate().filter(|(index, _)| index.0 != 0) {
            let name = self.sections.section_name(self.endian, section).ok()?;
            let is_loaded = section.sh_flags(self.endian).contains(elf::SHF_ALLOC);
            let is_notable = if is_loaded {
                name == b".note.gnu.property"
            } else {
                !FOR_DEBUGGERS.iter().any(|beginning| name.starts_with(beginning))
            };
            if !is_notable {
                continue;
            }
            let data = self.data(section)?;
            left = left.checked_sub(data.len())?;
            found.push(Section {
                name: names.take(name)?,
                kind: section.sh_type(self.endian).0,
                content: Digest::of(data),
            });
        }
        Some(found)
    }
}

/// `DF_1_PIE` of `DT_FLAGS_1`: a program, not a library.
const PIE: u64 = 0x0800_0000;
/// The part of a version index that is the index; the bit above it says that the version is not the default.
const VERSION_INDEX: u16 = 0x7fff;

/// Entries of the dynamic section whose value is text.
const NAMES: [elf::DynamicTag; 10] = [
    elf::DT_NEEDED,
    elf::DT_SONAME,
    elf::DT_RPATH,
    elf::DT_RUNPATH,
    elf::DT_AUDIT,
    elf::DT_DEPAUDIT,
    elf::DT_CONFIG,
    elf::DT_AUXILIARY,
    elf::DynamicTag(0x7fff_fffe), // DT_USED
    elf::DT_FILTER,
];

/// Beginnings of the names of sections that are not loaded and that neither linkers nor compilers read.
const FOR_DEBUGGERS: [&[u8]; 13] = [
    b".comment",
    b".debug",
    b".gdb_index",
    b".gnu.build.attributes",
    b".gnu_debug",
    b".note",
    b".shstrtab",
    b".stab",
    b".strtab",
    b".symtab",
    b".zdebug",
    b".ctf",
    b".SUNW_ctf",
];

/// Entries that hold an address, a size or a count: they say where things are, which changes with the code.
fn is_layout(tag: elf::DynamicTag, machine: elf::Machine) -> bool {
    let of_machine: &[i64] = match machine {
        elf::EM_PPC => &[0],
        elf::EM_PPC64 => &[0, 1, 2],
        elf::EM_X86_64 => &[0, 1, 3],
        _ => &[],
    };
    match tag.0 {
        2..=13 | 17..=21 | 23 | 25..=28 | 32..=37 => true,
        0x6fff_fdf5..=0x6fff_fdfb | 0x6fff_fdfe | 0x6fff_fdff => true,
        0x6fff_fef5..=0x6fff_fef9 | 0x6fff_fefd..=0x6fff_feff => true,
        0x6fff_fff0 | 0x6fff_fff9 | 0x6fff_fffa | 0x6fff_fffc..=0x6fff_ffff => true,
        tag => of_machine.contains(&tag.wrapping_sub(0x7000_0000)),
    }
}
