//! From a pass over an image to its interface.

use std::collections::BTreeMap;
use std::sync::Arc;

use buildswarm_core::Digest;

use super::elf::Elf;
use super::paths::{Treatment, is_place_of_programs, python_source, treatment};
use super::{Abi, Access, ArchiveMember, Entry, Interface, archive, elf};
use crate::gpkg::{ImageEntry, Kind};

/// Larger ELF files and archives count by their whole content: bounds memory. The largest library seen has 250 MB.
const REDUCED_BYTES: u64 = 512 << 20;
/// How much of symbols and members is kept to be listed, for one package, in bytes. The digest does not depend on
/// it.
const DETAIL_BYTES: usize = 256 << 20;
/// As much as it takes to say what a file is.
const HEAD: usize = 8;

/// Gathers the interface while somebody reads an image: [`begin`](Self::begin) for each entry,
/// [`bytes`](Self::bytes) and [`end`](Self::end) for the content of files.
pub(crate) struct Collector {
    stored: BTreeMap<String, Stored>,
    /// The file being read: its path, who may do what with it, its size as the archive has it.
    current: Option<(String, Access, u64)>,
    /// What was kept of its content: its head, or all of it if it may be reduced.
    kept: Vec<u8>,
    keeps: bool,
    detail_left: usize,
}

/// What is known of one name of the image.
enum Stored {
    File(Arc<File>),
    Hardlink(String),
    Symlink(String),
    Directory,
}

struct File {
    access: Access,
    content: Digest,
    form: Form,
}

/// What a file is, judged by its content alone: it may have several names.
enum Form {
    Plain,
    /// Python bytecode that is used only while it agrees with its source.
    Bytecode,
    UnknownElf,
    Program {
        runs_here: bool,
    },
    SharedObject {
        digest: Digest,
        abi: Option<Arc<Abi>>,
    },
    Archive {
        digest: Digest,
        members: Option<Arc<Vec<ArchiveMember>>>,
    },
}

impl Collector {
    pub(crate) const fn new() -> Self {
        Self {
            stored: BTreeMap::new(),
            current: None,
            kept: Vec::new(),
            keeps: false,
            detail_left: DETAIL_BYTES,
        }
    }

    /// Takes note of an entry. If it is a file, its content follows.
    pub(crate) fn begin(&mut self, entry: &ImageEntry) {
        let stored = match entry.kind {
            Kind::File => {
                self.current = Some((entry.path.clone(), Access::of(entry.mode), entry.size));
                self.kept.clear();
                self.keeps = true;
                return;
            }
            Kind::Hardlink => Stored::Hardlink(entry.link.clone()),
            Kind::Symlink => Stored::Symlink(entry.link.clone()),
            Kind::Directory => Stored::Directory,
        };
        self.stored.insert(entry.path.clone(), stored);
    }

    /// The next bytes of the file that was begun.
    pub(crate) fn bytes(&mut self, mut bytes: &[u8]) {
        if !self.keeps {
            return;
        }
        if self.kept.len() < HEAD {
            let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.kept.len()));
            self.kept.extend_from_slice(head);
            if self.kept.len() < HEAD {
                return;
            }
            bytes = rest;
            self.keeps = self.kept.starts_with(elf::MAGIC) || self.kept == archive::MAGIC;
            if let Some((_, _, size)) = self.current
                && self.keeps
                && size <= REDUCED_BYTES
            {
                self.kept.reserve(usize::try_from(size).unwrap_or(0));
            }
        }
        if self.keeps && (self.kept.len() + bytes.len()) as u64 <= REDUCED_BYTES {
            self.kept.extend_from_slice(bytes);
        } else {
            self.keeps = false;
            self.kept.truncate(HEAD);
        }
    }

    /// The file that was begun is read; `content` is the plain BLAKE3 of it.
    pub(crate) fn end(&mut self, content: Digest) {
        if let Some((path, access, _)) = self.current.take() {
            let form = self.form();
            self.stored.insert(path, Stored::File(Arc::new(File { access, content, form })));
        }
    }

    fn form(&mut self) -> Form {
        if self.kept.starts_with(elf::MAGIC) {
            return match self.keeps.then(|| elf::read(&self.kept)).flatten() {
                None => Form::UnknownElf,
                Some(Elf::Program { runs_here }) => Form::Program { runs_here },
                Some(Elf::SharedObject(abi)) => {
                    let size = abi.memory();
                    Form::SharedObject { digest: abi.digest(), abi: self.within_bounds(*abi, size) }
                }
            };
        }
        if self.keeps
            && let Some(members) = archive::members(&self.kept)
        {
            let size = members.iter().map(|member| size_of::<ArchiveMember>() + member.name.len()).sum();
            return Form::Archive {
                digest: archive::digest(&members),
                members: self.within_bounds(members, size),
            };
        }
        // PEP 552: a magic number, and flags that say how it is compared with its source. 0 is by time and
        // size, 3 by digest; with 1 it is used without comparing.
        match self.kept.get(2..HEAD) {
            Some([b'\r', b'\n', 0 | 3, 0, 0, 0]) => Form::Bytecode,
            _ => Form::Plain,
        }
    }

    fn within_bounds<T>(&mut self, detail: T, size: usize) -> Option<Arc<T>> {
        let left = self.detail_left.checked_sub(size)?;
        self.detail_left = left;
        Some(Arc::new(detail))
    }

    /// The interface, once every entry was there.
    pub(crate) fn finish(self) -> Interface {
        let entries =
            self.stored.iter().filter_map(|(path, stored)| Some((path.clone(), self.entry(path, stored)?)));
        Interface { entries: entries.collect() }
    }

    fn entry(&self, path: &str, stored: &Stored) -> Option<Entry> {
        let treatment = treatment(path);
        if treatment == Treatment::LeftOut {
            return None;
        }
        match stored {
            Stored::Directory => self.is_empty(path).then_some(Entry::Directory),
            Stored::Symlink(target) => Some(Entry::Symlink { target: target.clone() }),
            Stored::File(file) => self.file(path, treatment, file),
            Stored::Hardlink(to) => match self.stored.get(to) {
                Some(Stored::File(file)) => self.file(path, treatment, file),
                _ => None,
            },
        }
    }

    /// A directory that has something in it is there because of that.
    fn is_empty(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        !self.stored.range(below.clone()..).next().is_some_and(|(path, _)| path.starts_with(&below))
    }

    fn file(&self, path: &str, treatment: Treatment, file: &File) -> Option<Entry> {
        let File { access, content, form } = file;
        let (access, whole) = (*access, Entry::File { access: *access, content: *content });
        let is_reduced = treatment == Treatment::Reduced;
        Some(match form {
            Form::Bytecode if is_reduced && self.follows_from_source(path) => return None,
            Form::UnknownElf | Form::Program { .. } | Form::SharedObject { .. }
                if is_reduced && path.ends_with(".debug") =>
            {
                return None;
            }
            Form::Program { runs_here } if is_reduced && (*runs_here || is_place_of_programs(path)) => {
                Entry::Program { access }
            }
            Form::SharedObject { digest, abi } if is_reduced => {
                Entry::SharedObject { access, digest: *digest, abi: abi.clone() }
            }
            Form::Archive { digest, members } if is_reduced => {
                Entry::Archive { access, digest: *digest, members: members.clone() }
            }
            _ => whole,
        })
    }

    /// Whether it is bytecode that Python makes from a source beside it, and makes again when that has another
    /// time: the time is in the file.
    fn follows_from_source(&self, path: &str) -> bool {
        python_source(path).is_some_and(|source| {
            matches!(
                self.stored.get(&source),
                Some(Stored::File(_) | Stored::Hardlink(_) | Stored::Symlink(_))
            )
        })
    }
}
