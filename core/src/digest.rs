//! The 32-byte addresses everything else is named by.
//!
//! Types over the same bytes, none of which converts into another: a [`Digest`] is a bare BLAKE3 value, a
//! [`BlobId`] is the address of bytes, a [`BuildKey`] and a [`ReuseKey`] are addresses of build specifications. A
//! [`BlobId`] is plain BLAKE3 (what `b3sum` prints), every other address uses BLAKE3's key-derivation mode
//! with a context of its own, so bytes chosen by a stranger can never be passed off as another kind of
//! object.

use std::fmt;
use std::str::FromStr;

pub(crate) mod batch;

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a digest: it takes 64 lower-case hexadecimal digits")]
pub struct ParseDigestError {
    text: String,
}

/// 32 bytes of BLAKE3. Shown and parsed as 64 lower-case hexadecimal digits.
///
/// ```
/// use buildswarm_core::Digest;
/// let digest = Digest::of(b"abc");
/// assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; Self::LEN]);

impl Digest {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Plain BLAKE3 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// BLAKE3 of `bytes` in key-derivation mode under `context`.
    ///
    /// A context names one kind of object for good (BLAKE3 paper, section 6.2: hard-coded, globally unique).
    #[must_use]
    pub fn derive(context: &'static str, bytes: &[u8]) -> Self {
        Self(blake3::derive_key(context, bytes))
    }

    /// A digest computed elsewhere, for instance by a streaming [`blake3::Hasher`].
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The first twelve hexadecimal digits: enough for a person, never used as an address.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseDigestError { text: text.chars().take(80).collect() };
        // BLAKE3's own parser also takes upper case, which would give one digest two spellings.
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(refused());
        }
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| refused())
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(Digest);

        impl $name {
            /// The address with this digest; the caller vouches for its kind.
            #[must_use]
            pub const fn from_digest(digest: Digest) -> Self {
                Self(digest)
            }

            /// The digest behind the address.
            #[must_use]
            pub const fn digest(&self) -> &Digest {
                &self.0
            }

            /// The first twelve hexadecimal digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                self.0.short()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

address! {
    /// The address of bytes: plain BLAKE3 of them.
    BlobId
}

address! {
    /// The address of a [`BuildSpec`](crate::spec::BuildSpec), made only by [`address`](crate::address).
    BuildKey
}

address! {
    /// The address of a [`BuildSpec`](crate::spec::BuildSpec) whose dependencies are identified by what of them
    /// can reach the build: an artifact has one for each [`Policy`](crate::policy::Policy) but `exact`.
    ReuseKey
}

impl BlobId {
    /// The address of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Digest::of(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Digest::of(b"");
        let text = digest.to_string();
        assert_eq!(text, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(text.parse(), Ok(digest));
        for wrong in [text.to_uppercase(), text[1..].to_owned(), format!("{text}0"), String::new()] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn contexts_separate_kinds() {
        assert_ne!(Digest::derive("buildswarm test a", b"x"), Digest::derive("buildswarm test b", b"x"));
        assert_ne!(Digest::derive("buildswarm test a", b"x"), Digest::of(b"x"));
    }
}
