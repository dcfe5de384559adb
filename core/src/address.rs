//! From a specification to its key.
//!
//! A key is the digest of a short message in which the inputs and each dependency stand by digests of their own.
//! The preimage that is stored with an artifact, [`BuildSpec::encode`], holds them in full; from it the message
//! can be made again.

use crate::canonical::Encoder;
use crate::digest::batch::Kind;
use crate::policy::Policy;
use crate::spec::{BuildInputs, BuildSpec, KeyDependencies, encode_key_message};
use crate::{BuildKey, Digest, ReuseKey};

/// BLAKE3 contexts. Never changed and never used for anything else: a new form gets new ones.
pub(crate) const EXACT: &str = "buildswarm 2026-11-24 exact build key";
const REUSE: &str = "buildswarm 2026-11-24 reuse build key";
pub(crate) const INPUTS: &str = "buildswarm 2026-11-24 build inputs";
pub(crate) const SURROUNDINGS: &str = "buildswarm 2026-11-24 surroundings";
pub(crate) const DEPENDENCY: &str = "buildswarm 2026-11-24 dependency";
const SOURCES: &str = "buildswarm 2026-11-24 tool sources";

fn digest_of(context: &str, write: impl FnOnce(&mut Encoder)) -> Digest {
    let mut encoder = Encoder::new();
    write(&mut encoder);
    Kind::new(context).digest(&encoder.finish_message())
}

fn key(context: &str, spec: &BuildSpec) -> Digest {
    // Taken apart, so that a field added to the type cannot be forgotten.
    let BuildSpec { policy, inputs, dependencies } = spec;
    let surroundings = digest_of(SURROUNDINGS, |record| inputs.surroundings.encode(record));
    let inputs = digest_of(INPUTS, |record| inputs.encode_message(record, &surroundings));
    let dependencies: Vec<_> = dependencies
        .iter()
        .map(|dep| (digest_of(DEPENDENCY, |record| dep.record().encode(record)), dep.classes))
        .collect();
    let mut listed = KeyDependencies::default();
    listed.set(dependencies.iter().map(|(digest, classes)| (digest, *classes)));
    digest_of(context, |record| encode_key_message(record, *policy, &inputs, &mut listed))
}

/// The exact key of `spec`, whose dependencies must be identified by their own exact keys.
///
/// Keep [`BuildSpec::encode`]: it is what answers why two builds differ. For the keys of a whole plan
/// [`Keys`](crate::plan::keys::Keys) is many times faster.
///
/// # Panics
/// If the policy of `spec` is not [`Policy::Exact`].
#[must_use]
pub fn exact_key(spec: &BuildSpec) -> BuildKey {
    assert_eq!(spec.policy, Policy::Exact, "an exact key is of an exact specification");
    BuildKey::from_digest(key(EXACT, spec))
}

/// The reuse key of `spec`.
///
/// # Panics
/// If the policy of `spec` is [`Policy::Exact`].
#[must_use]
pub fn reuse_key(spec: &BuildSpec) -> ReuseKey {
    assert_ne!(spec.policy, Policy::Exact, "an exact specification has an exact key");
    ReuseKey::from_digest(key(REUSE, spec))
}

impl BuildInputs {
    /// What a program is made of, apart from how: ebuild, files, patches, saved configuration and upstream
    /// sources, without eclasses, environment and dependencies.
    #[must_use]
    pub fn sources(&self) -> Digest {
        digest_of(SOURCES, |record| self.encode_sources(record))
    }
}
