//! From a specification to its key.

use crate::spec::BuildSpec;
use crate::{BuildKey, Digest};

/// BLAKE3 context of exact keys. Never changed and never used for anything else: a new form of the preimage
/// gets a new context.
const EXACT: &str = "buildswarm 2026-11-21 exact build key";

/// The exact key of `spec`, whose dependencies must be identified by their own exact keys.
///
/// The preimage is [`BuildSpec::encode`]; keep it: it is what answers why two builds differ.
#[must_use]
pub fn exact_key(spec: &BuildSpec) -> BuildKey {
    exact_key_of_preimage(&spec.encode())
}

/// The exact key of an encoded specification.
#[must_use]
pub fn exact_key_of_preimage(preimage: &[u8]) -> BuildKey {
    BuildKey::from_digest(Digest::derive(EXACT, preimage))
}
