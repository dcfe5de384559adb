//! What a record of the journal says, as bytes.
//!
//! A record is a canonical record ([`buildswarm_core::canonical`]) of one field, whose tag is its kind and whose payload
//! is a record again. Kinds and tags are never given another meaning; `docs/on-disk.md` lists them.

use buildswarm_core::artifact::{Artifact, BlobRef};
use buildswarm_core::canonical::{DecodeError, Decoder, Encoder, as_digest, as_parsed, as_text};
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey, Digest, ReuseKey};

use crate::generations::GenerationRow;
use crate::signed::SignedPackage;

/// Something that one transaction made true and that no file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// Which store this is: the first record of a segment.
    Store { uuid: [u8; 16] },
    /// The store was brought back from a backup, which had the record `noted` last.
    Restored { at: UnixSeconds, noted: u64 },
    /// The bytes of a small blob. Its address is computed from them.
    Inline { bytes: Vec<u8> },
    /// Small blobs that were collected.
    Forgotten { blobs: Vec<BlobId> },
    /// What a key resolves to from now on, and where it stands among those that share each of its reuse keys.
    Artifact { artifact: Box<Artifact>, places: Vec<(ReuseKey, u64)> },
    /// A key resolves to nothing any more.
    ArtifactRemoved { key: BuildKey },
    /// The package file of an artifact as signed by one key.
    Signed { key: BuildKey, signer: String, package: SignedPackage },
    /// A generation of a channel, with every blob that it keeps.
    Generation { channel: String, generation: GenerationRow, blobs: Vec<BlobRef> },
    /// A generation is gone.
    GenerationRemoved { channel: String, number: u64 },
    /// The generation that a channel serves.
    Current { channel: String, number: u64 },
    /// A blob, or a tree, that is kept for good by a name.
    Root { name: String, blob: BlobRef, kind: String, made: UnixSeconds },
    /// A name keeps nothing any more.
    RootRemoved { name: String },
}

const STORE: u8 = 1;
const RESTORED: u8 = 2;
const INLINE: u8 = 3;
const FORGOTTEN: u8 = 4;
const ARTIFACT: u8 = 5;
const ARTIFACT_REMOVED: u8 = 6;
const SIGNED: u8 = 7;
const GENERATION: u8 = 8;
const GENERATION_REMOVED: u8 = 9;
const CURRENT: u8 = 10;
const ROOT: u8 = 11;
const ROOT_REMOVED: u8 = 12;

/// An address followed by a number of 8 bytes, little-endian: a blob with its length, a reuse key with a position.
const PAIR_BYTES: usize = Digest::LEN + 8;

fn pair(digest: &Digest, number: u64) -> [u8; PAIR_BYTES] {
    let mut bytes = [0; PAIR_BYTES];
    bytes[..Digest::LEN].copy_from_slice(digest.as_bytes());
    bytes[Digest::LEN..].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn blob_pair(blob: &BlobRef) -> [u8; PAIR_BYTES] {
    pair(blob.id.digest(), blob.size)
}

fn as_pair(tag: u8, item: &[u8]) -> Result<(Digest, u64), DecodeError> {
    let malformed = DecodeError::Malformed { tag };
    let (digest, number) = item.split_first_chunk::<{ Digest::LEN }>().ok_or(malformed)?;
    let number = number.try_into().map_err(|_| malformed)?;
    Ok((Digest::from_bytes(*digest), u64::from_le_bytes(number)))
}

fn as_blob(tag: u8, item: &[u8]) -> Result<BlobRef, DecodeError> {
    as_pair(tag, item).map(|(digest, size)| BlobRef { id: BlobId::from_digest(digest), size })
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.record(self.kind(), |record| match self {
            Self::Store { uuid } => record.bytes(1, uuid),
            Self::Restored { at, noted } => {
                record.number(1, at.0);
                record.number(2, *noted);
            }
            Self::Inline { bytes } => record.bytes(1, bytes),
            Self::Forgotten { blobs } => record.list(1, blobs.iter().map(|id| id.digest())),
            Self::Artifact { artifact, places } => encode_artifact(record, artifact, places),
            Self::ArtifactRemoved { key } => record.digest(1, key.digest()),
            Self::Signed { key, signer, package } => {
                record.digest(1, key.digest());
                record.text(2, signer);
                record.bytes(3, &blob_pair(&package.file));
                record.text(4, &package.index_entry);
            }
            Self::Generation { channel, generation, blobs } => {
                record.text(1, channel);
                record.number(2, generation.number);
                record.number(3, generation.created.0);
                record.bytes(4, &blob_pair(&generation.manifest));
                record.list(5, generation.entries.iter().map(|key| key.digest()));
                record.list(6, blobs.iter().map(blob_pair));
            }
            Self::GenerationRemoved { channel, number } | Self::Current { channel, number } => {
                record.text(1, channel);
                record.number(2, *number);
            }
            Self::Root { name, blob, kind, made } => {
                record.text(1, name);
                record.bytes(2, &blob_pair(blob));
                record.text(3, kind);
                record.number(4, made.0);
            }
            Self::RootRemoved { name } => record.text(1, name),
        });
        encoder.finish()
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Store { .. } => STORE,
            Self::Restored { .. } => RESTORED,
            Self::Inline { .. } => INLINE,
            Self::Forgotten { .. } => FORGOTTEN,
            Self::Artifact { .. } => ARTIFACT,
            Self::ArtifactRemoved { .. } => ARTIFACT_REMOVED,
            Self::Signed { .. } => SIGNED,
            Self::Generation { .. } => GENERATION,
            Self::GenerationRemoved { .. } => GENERATION_REMOVED,
            Self::Current { .. } => CURRENT,
            Self::Root { .. } => ROOT,
            Self::RootRemoved { .. } => ROOT_REMOVED,
        }
    }

    /// Accepts exactly what [`encode`](Self::encode) writes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let kind = bytes.first().copied().unwrap_or_default();
        let mut outer = Decoder::new(bytes);
        let mut fields = Decoder::new(outer.bytes(kind)?);
        outer.finish()?;
        let record = Self::decode_kind(kind, &mut fields)?;
        fields.finish()?;
        Ok(record)
    }

    fn decode_kind(kind: u8, fields: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            STORE => {
                let uuid = fields.bytes(1)?.try_into().map_err(|_| DecodeError::Malformed { tag: 1 })?;
                Self::Store { uuid }
            }
            RESTORED => Self::Restored { at: UnixSeconds(fields.number(1)?), noted: fields.number(2)? },
            INLINE => Self::Inline { bytes: fields.bytes(1)?.to_vec() },
            FORGOTTEN => {
                let blobs = fields.list(1)?.into_iter();
                let blobs = blobs.map(|item| as_digest(1, item).map(BlobId::from_digest));
                Self::Forgotten { blobs: blobs.collect::<Result<_, _>>()? }
            }
            ARTIFACT => decode_artifact(fields)?,
            ARTIFACT_REMOVED => Self::ArtifactRemoved { key: BuildKey::from_digest(fields.digest(1)?) },
            SIGNED => Self::Signed {
                key: BuildKey::from_digest(fields.digest(1)?),
                signer: fields.text(2)?.to_owned(),
                package: SignedPackage {
                    file: as_blob(3, fields.bytes(3)?)?,
                    index_entry: fields.text(4)?.to_owned(),
                },
            },
            GENERATION => decode_generation(fields)?,
            GENERATION_REMOVED => {
                Self::GenerationRemoved { channel: fields.text(1)?.to_owned(), number: fields.number(2)? }
            }
            CURRENT => Self::Current { channel: fields.text(1)?.to_owned(), number: fields.number(2)? },
            ROOT => Self::Root {
                name: fields.text(1)?.to_owned(),
                blob: as_blob(2, fields.bytes(2)?)?,
                kind: fields.text(3)?.to_owned(),
                made: UnixSeconds(fields.number(4)?),
            },
            ROOT_REMOVED => Self::RootRemoved { name: fields.text(1)?.to_owned() },
            unknown => return Err(DecodeError::Missing { tag: unknown }),
        })
    }
}

fn encode_artifact(record: &mut Encoder, artifact: &Artifact, places: &[(ReuseKey, u64)]) {
    record.digest(1, artifact.key.digest());
    record.text(2, artifact.package.as_str());
    record.text(3, artifact.slot.as_str());
    record.text(4, &artifact.repository);
    record.bytes(5, &blob_pair(&artifact.file));
    record.bytes(6, &blob_pair(&artifact.log));
    record.bytes(7, &blob_pair(&artifact.preimage));
    record.digest(8, &artifact.payload);
    record.digest(9, &artifact.interface);
    record.number(10, artifact.installed_size);
    record.number(11, artifact.build_millis);
    record.number(12, artifact.built_at.0);
    record.text(13, &artifact.builder);
    record.map(14, &artifact.metadata);
    record.list(15, places.iter().map(|(key, position)| pair(key.digest(), *position)));
}

fn decode_artifact(fields: &mut Decoder<'_>) -> Result<Record, DecodeError> {
    let artifact = Artifact {
        key: BuildKey::from_digest(fields.digest(1)?),
        package: as_parsed(2, fields.text(2)?)?,
        slot: as_parsed(3, fields.text(3)?)?,
        repository: fields.text(4)?.to_owned(),
        file: as_blob(5, fields.bytes(5)?)?,
        log: as_blob(6, fields.bytes(6)?)?,
        preimage: as_blob(7, fields.bytes(7)?)?,
        payload: fields.digest(8)?,
        interface: fields.digest(9)?,
        installed_size: fields.number(10)?,
        build_millis: fields.number(11)?,
        built_at: UnixSeconds(fields.number(12)?),
        builder: fields.text(13)?.to_owned(),
        metadata: fields.map(14, as_text)?,
    };
    let places = fields.list(15)?.into_iter().map(|item| as_pair(15, item));
    let places = places.map(|pair| pair.map(|(key, position)| (ReuseKey::from_digest(key), position)));
    Ok(Record::Artifact { artifact: Box::new(artifact), places: places.collect::<Result<_, _>>()? })
}

fn decode_generation(fields: &mut Decoder<'_>) -> Result<Record, DecodeError> {
    let channel = fields.text(1)?.to_owned();
    let (number, created) = (fields.number(2)?, UnixSeconds(fields.number(3)?));
    let manifest = as_blob(4, fields.bytes(4)?)?;
    let entries = fields.list(5)?.into_iter();
    let entries = entries.map(|item| as_digest(5, item).map(BuildKey::from_digest));
    let entries = entries.collect::<Result<_, _>>()?;
    let blobs = fields.list(6)?.into_iter().map(|item| as_blob(6, item)).collect::<Result<_, _>>()?;
    let generation = GenerationRow { number, created, entries, manifest };
    Ok(Record::Generation { channel, generation, blobs })
}

#[cfg(test)]
mod tests;
