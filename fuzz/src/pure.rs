//! Reading the forms of `buildswarm-core`: whatever is accepted is written back as the same bytes.

use buildswarm_core::address::{exact_key, reuse_key};
use buildswarm_core::canonical::{DecodeError, Decoder, Encoder, as_text};
use buildswarm_core::package::{Cpv, Slot};
use buildswarm_core::policy::Policy;
use buildswarm_core::spec::BuildSpec;
use buildswarm_core::spec::difference::differences;

/// A package or slot that is accepted is written as it was read, and its parts are the whole.
pub fn cpv(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(cpv) = text.parse::<Cpv>() {
        assert_eq!(cpv.to_string(), text);
        assert_eq!(format!("{}/{}-{}", cpv.category(), cpv.name(), cpv.version()), text);
        assert_eq!(format!("{}-{}", cpv.cp(), cpv.version()), text);
        assert_eq!(format!("{}/{}", cpv.category(), cpv.pf()), text);
        assert!(text.split('/').all(|part| !part.starts_with('.')), "no plain path: {text}");
    }
    if let Ok(slot) = text.parse::<Slot>() {
        assert_eq!(slot.to_string().parse(), Ok(slot));
    }
}

/// The most fields of a record in [`canonical_decode`].
const FIELDS_MAX: usize = 8;

/// A record that is accepted under some schema is what the encoder writes for its values.
///
/// The first byte is the number of fields, one byte for each says what it is and how far its tag is from the
/// one before; the rest is the record.
pub fn canonical_decode(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else { return };
    let Some((schema, record)) = rest.split_at_checked(usize::from(*count) % (FIELDS_MAX + 1)) else {
        return;
    };
    let mut encoder = Encoder::new();
    if recode(schema, record, &mut encoder).is_ok() {
        assert_eq!(encoder.finish(), record);
    }
}

fn recode(schema: &[u8], record: &[u8], encoder: &mut Encoder) -> Result<(), DecodeError> {
    let mut decoder = Decoder::new(record);
    let mut tag = 0;
    for kind in schema {
        tag += 1 + kind / 16;
        match kind % 8 {
            0 => encoder.bytes(tag, decoder.bytes(tag)?),
            1 => encoder.text(tag, decoder.text(tag)?),
            2 => encoder.number(tag, decoder.number(tag)?),
            3 => encoder.digest(tag, &decoder.digest(tag)?),
            4 => encoder.list(tag, decoder.list(tag)?.into_iter()),
            5 => encoder.set(tag, decoder.set::<Vec<_>>(tag)?),
            6 => encoder.map(tag, &decoder.map(tag, as_text)?),
            _ if decoder.has(tag) => encoder.bytes(tag, decoder.bytes(tag)?),
            _ => {}
        }
    }
    decoder.finish()
}

/// A specification that is accepted has the bytes it was read from as its only form.
pub fn build_spec_decode(bytes: &[u8]) {
    let Ok(spec) = BuildSpec::decode(bytes) else { return };
    assert_eq!(spec.encode(), bytes);
    assert!(differences(&spec, &spec).is_empty());
    let _ = match spec.policy {
        Policy::Exact => *exact_key(&spec).digest(),
        Policy::Interface | Policy::Slot => *reuse_key(&spec).digest(),
    };
}
