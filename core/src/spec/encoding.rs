//! The canonical form of a specification, both ways; `docs/address.md` is its specification.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    BuildInputs, BuildSpec, Dependency, DependencyClasses, Distfile, FORMAT, Identity, Reach, Recipe,
    Surroundings, Tool,
};
use crate::canonical::{DecodeError, Decoder, Encoder, as_digest, as_parsed, as_text};
use crate::policy::Policy;
use crate::{BuildKey, Digest};

impl Distfile {
    fn encode(&self, record: &mut Encoder) {
        let Self { size, hashes } = self;
        record.number(1, *size);
        record.sorted_map(2, hashes);
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let distfile = Self { size: decoder.number(1)?, hashes: decoder.map(2, as_text)? };
        decoder.finish()?;
        Ok(distfile)
    }
}

fn encode_named(record: &mut Encoder, (name, digest): &(String, Digest)) {
    record.text(1, name);
    record.digest(2, digest);
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
    fn encode(&self, record: &mut Encoder) {
        // Taken apart, here and below, so that a field added to the type cannot be forgotten.
        let Self { ebuild, eclasses, files, patches, hooks, qa_checks, saved_config } = self;
        record.digest(1, ebuild);
        record.sorted_map(2, eclasses);
        record.sorted_map(3, files);
        record.records(4, patches, encode_named);
        record.records(5, hooks, encode_named);
        record.sorted_map(6, qa_checks);
        record.sorted_map(7, saved_config);
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

impl Surroundings {
    pub(crate) fn encode(&self, record: &mut Encoder) {
        let Self { environment, features, toolchain, build_root } = self;
        record.map(1, environment);
        record.sorted_set(2, features);
        record.map(3, toolchain);
        record.digest(4, build_root);
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let surroundings = Self {
            environment: decoder.map(1, as_text)?,
            features: decoder.set(2)?,
            toolchain: decoder.map(3, as_text)?,
            build_root: decoder.digest(4)?,
        };
        decoder.finish()?;
        Ok(surroundings)
    }
}

impl BuildInputs {
    /// As stored.
    fn encode(&self, record: &mut Encoder) {
        self.encode_own(record);
        record.record(8, |record| self.surroundings.encode(record));
    }

    /// As hashed: with a digest in place of what packages share.
    pub(crate) fn encode_message(&self, record: &mut Encoder, surroundings: &Digest) {
        self.encode_own(record);
        record.digest(8, surroundings);
    }

    fn encode_own(&self, record: &mut Encoder) {
        let Self { package, slot, repository, eapi, recipe, distfiles, use_flags, surroundings: _ } = self;
        record.text(1, package.as_str());
        record.text(2, slot.as_str());
        record.text(3, repository);
        record.text(4, eapi);
        record.record(5, |record| recipe.encode(record));
        record.map_of_records(6, distfiles, |record, file| file.encode(record));
        record.sorted_set(7, use_flags);
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let inputs = Self {
            package: as_parsed(1, decoder.text(1)?)?,
            slot: as_parsed(2, decoder.text(2)?)?,
            repository: decoder.text(3)?.to_owned(),
            eapi: decoder.text(4)?.to_owned(),
            recipe: Recipe::decode(decoder.bytes(5)?)?,
            distfiles: decoder.map(6, |_, item| Distfile::decode(item))?,
            use_flags: decoder.set(7)?,
            surroundings: Arc::new(Surroundings::decode(decoder.bytes(8)?)?),
        };
        decoder.finish()?;
        Ok(inputs)
    }

    /// The record behind [`sources`](Self::sources).
    pub(crate) fn encode_sources(&self, record: &mut Encoder) {
        // What is left out is so by decision: it is taken to make a program faster and not other.
        let Self {
            package: _,
            slot: _,
            repository: _,
            eapi: _,
            recipe: Recipe { ebuild, eclasses: _, files, patches, hooks: _, qa_checks: _, saved_config },
            distfiles,
            use_flags: _,
            surroundings: _,
        } = self;
        record.digest(1, ebuild);
        record.sorted_map(2, files);
        record.records(3, patches, encode_named);
        record.sorted_map(4, saved_config);
        record.map_of_records(5, distfiles, |record, file| file.encode(record));
    }
}

/// A dependency without its classes, in borrowed parts: what one package is to several dependents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DependencyRecord<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: Option<&'a str>,
    pub(crate) slot: &'a str,
    pub(crate) sub_slot: Option<&'a str>,
    pub(crate) identity: &'a Identity,
}

impl DependencyRecord<'_> {
    pub(crate) fn encode(&self, record: &mut Encoder) {
        let Self { name, version, slot, sub_slot, identity } = self;
        record.text(1, name);
        if let Some(version) = version {
            record.text(2, version);
        }
        record.text(3, slot);
        if let Some(sub_slot) = sub_slot {
            record.text(4, sub_slot);
        }
        match identity {
            Identity::Built(key) => record.digest(5, key.digest()),
            Identity::Installed(digest) => record.digest(6, digest),
            Identity::Reach(Reach { interface, payload, tool }) => {
                if let Some(interface) = interface {
                    record.digest(7, interface);
                }
                if let Some(payload) = payload {
                    record.digest(8, payload);
                }
                if let Some(Tool { use_flags, sources }) = tool {
                    record.record(9, |record| {
                        record.sorted_set(1, use_flags);
                        record.digest(2, sources);
                    });
                }
            }
        }
    }
}

impl Dependency {
    pub(crate) fn record(&self) -> DependencyRecord<'_> {
        // `encode` and keys have the classes beside the record.
        let Self { name, version, slot, sub_slot, classes: _, identity } = self;
        DependencyRecord { name, version: version.as_deref(), slot, sub_slot: sub_slot.as_deref(), identity }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.record(1, |record| self.record().encode(record));
        encoder.bytes(2, &[self.classes.bits()]);
        encoder.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let mut record = Decoder::new(decoder.bytes(1)?);
        let classes = match decoder.bytes(2)? {
            [bits] => DependencyClasses::from_bits(*bits),
            _ => None,
        };
        let classes = classes.ok_or(DecodeError::Malformed { tag: 2 })?;
        decoder.finish()?;
        let dependency = Self {
            name: record.text(1)?.to_owned(),
            version: record.has(2).then(|| record.text(2).map(str::to_owned)).transpose()?,
            slot: record.text(3)?.to_owned(),
            sub_slot: record.has(4).then(|| record.text(4).map(str::to_owned)).transpose()?,
            classes,
            identity: decode_identity(&mut record)?,
        };
        record.finish()?;
        Ok(dependency)
    }
}

fn decode_identity(record: &mut Decoder<'_>) -> Result<Identity, DecodeError> {
    if record.has(5) {
        return Ok(Identity::Built(BuildKey::from_digest(record.digest(5)?)));
    }
    if record.has(6) {
        return Ok(Identity::Installed(record.digest(6)?));
    }
    let interface = record.has(7).then(|| record.digest(7)).transpose()?;
    let payload = record.has(8).then(|| record.digest(8)).transpose()?;
    let tool = record.has(9).then(|| decode_tool(record.bytes(9)?)).transpose()?;
    Ok(Identity::Reach(Reach { interface, payload, tool }))
}

fn decode_tool(bytes: &[u8]) -> Result<Tool, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let tool = Tool { use_flags: decoder.set(1)?, sources: decoder.digest(2)? };
    decoder.finish()?;
    Ok(tool)
}

/// Sorts what is in no order at all.
fn sort(numbers: &mut [u64]) {
    /// Up to here it is faster to compare more often and have no branches to mispredict.
    const FEW: usize = 20;
    if numbers.len() > FEW {
        return numbers.sort_unstable();
    }
    for sorted in 1..numbers.len() {
        let mut moved = numbers[sorted];
        for place in &mut numbers[..sorted] {
            (*place, moved) = (moved.min(*place), moved.max(*place));
        }
        numbers[sorted] = moved;
    }
}

/// The dependencies of a key: the digest of each, and how it reaches the build.
#[derive(Debug, Default)]
pub(crate) struct KeyDependencies<'a> {
    all: Vec<(&'a Digest, DependencyClasses)>,
    /// The first bits of each digest, and behind them its place in `all`. They all but surely tell digests apart;
    /// comparing and moving whole digests would be much of the time that a key takes.
    order: Vec<u64>,
}

impl<'a> KeyDependencies<'a> {
    /// Bits of a number in `order` that are a place.
    const PLACE: u32 = 24;

    /// Takes these, in any order, instead of what was there.
    pub(crate) fn set(&mut self, all: impl Iterator<Item = (&'a Digest, DependencyClasses)>) {
        self.all.clear();
        self.all.extend(all);
        self.order.clear();
        let places = 0..self.all.len() as u64;
        self.order.extend(places.zip(&self.all).map(|(place, (digest, _))| Self::first_bits(digest) | place));
    }

    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        let first_bits = Self::first_bits(digest);
        self.order.iter().any(|order| order >> Self::PLACE == first_bits >> Self::PLACE)
            && self.all.iter().any(|(known, _)| *known == digest)
    }

    fn first_bits(digest: &Digest) -> u64 {
        let first = digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        first >> Self::PLACE << Self::PLACE
    }

    /// Ascending, each once.
    fn sorted(&mut self) -> impl ExactSizeIterator<Item = (&'a Digest, u8)> {
        sort(&mut self.order);
        let is_alike = |pair: &[u64]| (pair[0] ^ pair[1]) >> Self::PLACE == 0;
        if self.all.len() >> Self::PLACE > 0 || self.order.windows(2).any(is_alike) {
            self.all.sort_unstable_by_key(|(digest, classes)| (*digest, classes.bits()));
            self.all.dedup();
            self.order.clear();
            self.order.extend(0..self.all.len() as u64);
        }
        self.order.iter().map(|order| {
            let (digest, classes) = self.all[(order & ((1 << Self::PLACE) - 1)) as usize];
            (digest, classes.bits())
        })
    }
}

/// What a key is the digest of: the specification, with the digests of its parts in place of the parts, so that
/// what several packages have in common is hashed once.
pub(crate) fn encode_key_message(
    record: &mut Encoder,
    policy: Policy,
    inputs: &Digest,
    dependencies: &mut KeyDependencies<'_>,
) {
    record.number(1, FORMAT);
    record.text(2, policy.name());
    record.digest(3, inputs);
    record.pairs(4, dependencies.sorted());
}

impl BuildSpec {
    /// The canonical form: equal specifications, and only those, have equal bytes.
    ///
    /// The order in which dependencies are listed means nothing.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { policy, inputs, dependencies } = self;
        let dependencies: BTreeSet<Vec<u8>> = dependencies.iter().map(Dependency::encode).collect();
        let mut encoder = Encoder::new();
        encoder.number(1, FORMAT);
        encoder.text(2, policy.name());
        encoder.record(3, |record| inputs.encode(record));
        encoder.list(4, dependencies.iter());
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
        let policy = as_parsed(2, decoder.text(2)?)?;
        let inputs = BuildInputs::decode(decoder.bytes(3)?)?;
        let items = decoder.list(4)?;
        if !items.is_sorted_by(|a, b| a < b) {
            return Err(DecodeError::Unsorted { tag: 4 });
        }
        let dependencies = items.into_iter().map(Dependency::decode).collect::<Result<_, _>>()?;
        decoder.finish()?;
        Ok(Self { policy, inputs, dependencies })
    }
}
