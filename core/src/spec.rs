//! Everything that determines one build, as a value, and its canonical form.
//!
//! `docs/address.md` gives for every field where Portage documents its influence, and for everything left
//! out the reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::canonical::{DecodeError, Decoder, Encoder, as_digest, as_text};
use crate::package::{Cpv, Slot};
use crate::{BuildKey, Digest};

/// What of one package, apart from its dependencies, determines its build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildInputs {
    /// The package and its version.
    pub package: Cpv,
    /// Its slot; ebuilds read it, and it is recorded in the package.
    pub slot: Slot,
    /// Name of the repository the ebuild is from, without its path.
    pub repository: String,
    /// The EAPI, which changes the meaning of the ebuild's text.
    pub eapi: String,
    /// The ebuild and every file that shell code of the build reads.
    pub recipe: Recipe,
    /// Upstream sources that `USE` selects, by file name.
    pub distfiles: BTreeMap<String, Distfile>,
    /// Enabled flags among those valid for the package, `USE_EXPAND` included.
    pub use_flags: BTreeSet<String>,
    /// The evaluated build environment, after the exclusions of `docs/address.md`.
    pub environment: BTreeMap<String, String>,
    /// Those enabled `FEATURES` that alter what is built.
    pub features: BTreeSet<String>,
    /// Compilers, linkers, libc, interpreters: role to identity.
    pub toolchain: BTreeMap<String, String>,
    /// Everything else that stands in the build root before any dependency is installed.
    pub build_root: Digest,
}

/// The text of a build: what Portage sources or copies from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// BLAKE3 of the ebuild.
    pub ebuild: Digest,
    /// Inherited eclasses, transitively, by name.
    pub eclasses: BTreeMap<String, Digest>,
    /// `FILESDIR`: path below it to BLAKE3 of the content.
    pub files: BTreeMap<String, Digest>,
    /// User patches in the order in which they apply: name and BLAKE3.
    pub patches: Vec<(String, Digest)>,
    /// Shell hooks in the order in which they are sourced: kind and BLAKE3.
    pub hooks: Vec<(String, Digest)>,
    /// `install-qa-check.d` scripts, which run after `src_install` and may change the image, by name.
    pub qa_checks: BTreeMap<String, Digest>,
    /// Saved configuration files, by path below `savedconfig`.
    pub saved_config: BTreeMap<String, Digest>,
}

/// One upstream source by what the Manifest says of it (GLEP 74).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distfile {
    /// Size in bytes.
    pub size: u64,
    /// Hash name as in the Manifest (`BLAKE2B`, `SHA512`) to lower-case hexadecimal digits.
    pub hashes: BTreeMap<String, String>,
}

/// How a dependency can reach a build. A package may be several of these to one dependent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DependencyClasses(u8);

impl DependencyClasses {
    /// `DEPEND`: headers and libraries compiled and linked against.
    pub const DEPEND: Self = Self(1);
    /// `BDEPEND`: tools run during the build.
    pub const BDEPEND: Self = Self(2);
    /// `RDEPEND`: needed when the package runs.
    pub const RDEPEND: Self = Self(4);
    /// `PDEPEND`: needed some time after it is installed.
    pub const PDEPEND: Self = Self(8);
    /// `IDEPEND`: run while it is installed.
    pub const IDEPEND: Self = Self(16);
    /// Not named by the dependent: needed at run time by one of its build dependencies.
    pub const CLOSURE: Self = Self(32);
    /// What must stand in the root before the dependent can be built.
    pub const BUILD: Self = Self(1 | 2 | 16);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::DEPEND, "DEPEND"),
        (Self::BDEPEND, "BDEPEND"),
        (Self::RDEPEND, "RDEPEND"),
        (Self::PDEPEND, "PDEPEND"),
        (Self::IDEPEND, "IDEPEND"),
        (Self::CLOSURE, "closure"),
    ];

    /// The classes in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any class is in both.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The class with this name, as in ebuilds.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(class, _)| *class)
    }

    /// The names of the classes, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(class, _)| self.intersects(*class)).map(|(_, name)| name)
    }
}

/// What a dependency is identified by in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependencyIdentity {
    /// By its own build key.
    Built(BuildKey),
    /// It stands in the build root already: by a digest of what the root's package database says of it.
    Installed(Digest),
}

/// One package that stands in the root when the build runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The package.
    pub package: Cpv,
    /// Its slot and sub-slot; `:=` writes them into the dependent.
    pub slot: Slot,
    /// How it reaches the build.
    pub classes: DependencyClasses,
    /// What it is identified by.
    pub identity: DependencyIdentity,
}

/// Inputs and dependencies: the whole preimage of a build key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSpec {
    /// The package's own inputs.
    pub inputs: BuildInputs,
    /// What stands in the root beside it, at most once a package and slot.
    pub dependencies: Vec<Dependency>,
}

/// Version of the form below; the first field of every preimage.
pub const FORMAT: u64 = 1;

impl Distfile {
    fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.number(1, self.size);
        encoder.map(2, &self.hashes);
        encoder.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let distfile = Self { size: decoder.number(1)?, hashes: decoder.map(2, as_text)? };
        decoder.finish()?;
        Ok(distfile)
    }
}

fn encode_named(pairs: &[(String, Digest)]) -> Vec<Vec<u8>> {
    pairs
        .iter()
        .map(|(name, digest)| {
            let mut encoder = Encoder::new();
            encoder.text(1, name);
            encoder.digest(2, digest);
            encoder.finish()
        })
        .collect()
}

fn decode_named(items: Vec<&[u8]>) -> Result<Vec<(String, Digest)>, DecodeError> {
    items
        .into_iter()
        .map(|item| {
            let mut decoder = Decoder::new(item);
            let pair = (decoder.text(1)?.to_owned(), decoder.digest(2)?);
            decoder.finish()?;
            Ok(pair)
        })
        .collect()
}

impl Recipe {
    fn encode(&self) -> Vec<u8> {
        // Taken apart so that a field added above cannot be forgotten here.
        let Self { ebuild, eclasses, files, patches, hooks, qa_checks, saved_config } = self;
        let mut encoder = Encoder::new();
        encoder.digest(1, ebuild);
        encoder.map(2, eclasses);
        encoder.map(3, files);
        encoder.list(4, encode_named(patches).iter());
        encoder.list(5, encode_named(hooks).iter());
        encoder.map(6, qa_checks);
        encoder.map(7, saved_config);
        encoder.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let recipe = Self {
            ebuild: decoder.digest(1)?,
            eclasses: decoder.map(2, as_digest)?,
            files: decoder.map(3, as_digest)?,
            patches: decode_named(decoder.list(4)?)?,
            hooks: decode_named(decoder.list(5)?)?,
            qa_checks: decoder.map(6, as_digest)?,
            saved_config: decoder.map(7, as_digest)?,
        };
        decoder.finish()?;
        Ok(recipe)
    }
}

impl Dependency {
    /// What its form takes unless names are unusually long.
    const USUAL_BYTES: usize = 160;

    fn encode(&self) -> Vec<u8> {
        let Self { package, slot, classes, identity } = self;
        let mut encoder = Encoder::with_capacity(Self::USUAL_BYTES);
        encoder.text(1, package.as_str());
        encoder.pieces(2, &[slot.slot(), "/", slot.sub_slot()]);
        encoder.set(3, classes.names());
        match identity {
            DependencyIdentity::Built(key) => encoder.digest(4, key.digest()),
            DependencyIdentity::Installed(digest) => encoder.digest(5, digest),
        }
        encoder.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let package = parsed(1, decoder.text(1)?)?;
        let slot = parsed(2, decoder.text(2)?)?;
        let classes = decoder.set(3)?.iter().try_fold(DependencyClasses::default(), |classes, name| {
            let class = DependencyClasses::from_name(name).ok_or(DecodeError::Malformed { tag: 3 })?;
            Ok(classes.union(class))
        })?;
        let identity = if decoder.has(4) {
            DependencyIdentity::Built(BuildKey::from_digest(decoder.digest(4)?))
        } else {
            DependencyIdentity::Installed(decoder.digest(5)?)
        };
        decoder.finish()?;
        Ok(Self { package, slot, classes, identity })
    }
}

/// Parses `text` and requires that it is the one spelling of the value.
fn parsed<T: std::str::FromStr + ToString>(tag: u8, text: &str) -> Result<T, DecodeError> {
    let value: T = text.parse().map_err(|_| DecodeError::Malformed { tag })?;
    if value.to_string() == text { Ok(value) } else { Err(DecodeError::Malformed { tag }) }
}

impl BuildSpec {
    /// The canonical form: equal specifications, and only those, have equal bytes.
    ///
    /// The order in which dependencies are listed means nothing.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { inputs, dependencies } = self;
        let BuildInputs {
            package,
            slot,
            repository,
            eapi,
            recipe,
            distfiles,
            use_flags,
            environment,
            features,
            toolchain,
            build_root,
        } = inputs;
        let mut dependencies: Vec<_> = dependencies.iter().map(Dependency::encode).collect();
        dependencies.sort_unstable();
        dependencies.dedup();

        let mut encoder = Encoder::new();
        encoder.number(1, FORMAT);
        encoder.text(2, package.as_str());
        encoder.text(3, &slot.to_string());
        encoder.text(4, repository);
        encoder.text(5, eapi);
        encoder.bytes(6, &recipe.encode());
        encoder.map(7, &distfiles.iter().map(|(name, file)| (name.clone(), file.encode())).collect());
        encoder.set(8, use_flags);
        encoder.map(9, environment);
        encoder.set(10, features);
        encoder.map(11, toolchain);
        encoder.digest(12, build_root);
        encoder.list(13, dependencies.iter());
        encoder.finish()
    }

    /// Reads the canonical form back; refuses every other spelling of it.
    ///
    /// # Errors
    /// A [`DecodeError`] naming the first field that is not as [`encode`](Self::encode) writes it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        if decoder.number(1)? != FORMAT {
            return Err(DecodeError::Malformed { tag: 1 });
        }
        let inputs = BuildInputs {
            package: parsed(2, decoder.text(2)?)?,
            slot: parsed(3, decoder.text(3)?)?,
            repository: decoder.text(4)?.to_owned(),
            eapi: decoder.text(5)?.to_owned(),
            recipe: Recipe::decode(decoder.bytes(6)?)?,
            distfiles: decoder.map(7, |_, item| Distfile::decode(item))?,
            use_flags: decoder.set(8)?,
            environment: decoder.map(9, as_text)?,
            features: decoder.set(10)?,
            toolchain: decoder.map(11, as_text)?,
            build_root: decoder.digest(12)?,
        };
        let items = decoder.list(13)?;
        if !items.is_sorted_by(|a, b| a < b) {
            return Err(DecodeError::Unsorted { tag: 13 });
        }
        let dependencies = items.into_iter().map(Dependency::decode).collect::<Result<_, _>>()?;
        decoder.finish()?;
        Ok(Self { inputs, dependencies })
    }
}

pub mod difference;

#[cfg(test)]
mod tests;
