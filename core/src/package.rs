//! Names of packages as the Package Manager Specification writes them (PMS, chapter 3).
//!
//! Only as much as buildswarm needs to name a package and to take its name apart: choosing between versions
//! and matching dependency atoms is Portage's work.

use std::fmt;
use std::str::FromStr;

/// Why a text does not name a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePackageError {
    /// Not of the form `category/name-version`.
    #[error("{text:?} is not a package of the form category/name-version")]
    Package {
        /// What was given, cut to 200 characters.
        text: String,
    },
    /// Not of the form `slot` or `slot/sub-slot`.
    #[error("{text:?} is not a slot of the form slot or slot/sub-slot")]
    Slot {
        /// What was given, cut to 200 characters.
        text: String,
    },
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

/// PMS 3.1: letters, digits and `+_.-`, not beginning with a hyphen, dot or plus sign.
fn is_name(text: &str, also: &[u8]) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b) || also.contains(&b);
    !text.is_empty() && !text.starts_with(['-', '.', '+']) && text.bytes().all(allowed)
}

/// One version of one package: `category/name-version`, the version with its revision (PMS 3.2).
///
/// ```
/// use buildswarm_core::package::Cpv;
/// let cpv: Cpv = "dev-libs/libfoo-bar-1.2.3_rc1-r2".parse().unwrap();
/// assert_eq!((cpv.category(), cpv.name(), cpv.version()), ("dev-libs", "libfoo-bar", "1.2.3_rc1-r2"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpv {
    text: Box<str>,
    /// Byte offset of the slash.
    slash: u16,
    /// Byte offset of the hyphen before the version.
    hyphen: u16,
}

impl Cpv {
    /// The category, `dev-libs`.
    #[must_use]
    pub fn category(&self) -> &str {
        &self.text[..usize::from(self.slash)]
    }

    /// The name without category and version, `libfoo-bar`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[usize::from(self.slash) + 1..usize::from(self.hyphen)]
    }

    /// The version with its revision, `1.2.3_rc1-r2`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.text[usize::from(self.hyphen) + 1..]
    }

    /// Category and name without the version, `dev-libs/libfoo-bar`.
    #[must_use]
    pub fn cp(&self) -> &str {
        &self.text[..usize::from(self.hyphen)]
    }

    /// Name and version without the category, what PMS calls `PF`.
    #[must_use]
    pub fn pf(&self) -> &str {
        &self.text[usize::from(self.slash) + 1..]
    }

    /// The whole, `category/name-version`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// PMS 3.2: digits and dots, a letter, suffixes, a revision.
fn is_version(text: &str) -> bool {
    let mut text = text;
    if let Some((rest, revision)) = text.rsplit_once("-r") {
        if revision.is_empty() || !revision.bytes().all(|b| b.is_ascii_digit()) {
            return false;
        }
        text = rest;
    }
    let mut parts = text.split('_');
    let numbers = parts.next().unwrap_or_default();
    let numbers = numbers.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(numbers);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    numbers.split('.').all(is_number)
        && parts.all(|suffix| {
            ["alpha", "beta", "pre", "rc", "p"].iter().any(|kind| {
                suffix.strip_prefix(kind).is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
            })
        })
}

impl FromStr for Cpv {
    type Err = ParsePackageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParsePackageError::Package { text: cut(text) };
        let (category, pf) = text.split_once('/').ok_or_else(refused)?;
        if !is_name(category, b"+.") {
            return Err(refused());
        }
        // The version begins at the first hyphen behind which a whole version stands (PMS 3.1.2 keeps a name
        // from ending in one).
        let hyphen = pf
            .match_indices('-')
            .map(|(at, _)| at)
            .find(|at| is_version(&pf[at + 1..]) && is_name(&pf[..*at], b"+"))
            .ok_or_else(refused)?;
        let slash = u16::try_from(category.len()).map_err(|_| refused())?;
        let hyphen = u16::try_from(category.len() + 1 + hyphen).map_err(|_| refused())?;
        Ok(Self { text: text.into(), slash, hyphen })
    }
}

impl fmt::Display for Cpv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cpv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A slot with its sub-slot (PMS 7.2); a sub-slot that is not named equals the slot.
///
/// ```
/// use buildswarm_core::package::Slot;
/// assert_eq!("0/1.2".parse::<Slot>().unwrap().sub_slot(), "1.2");
/// assert_eq!("3".parse::<Slot>().unwrap().to_string(), "3/3");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    text: Box<str>,
    /// Byte offset of the slash.
    slash: u16,
}

impl Slot {
    /// The slot proper.
    #[must_use]
    pub fn slot(&self) -> &str {
        &self.text[..usize::from(self.slash)]
    }

    /// The sub-slot.
    #[must_use]
    pub fn sub_slot(&self) -> &str {
        &self.text[usize::from(self.slash) + 1..]
    }

    /// The whole, `slot/sub-slot`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Slot {
    type Err = ParsePackageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (slot, sub_slot) = text.split_once('/').unwrap_or((text, text));
        let refused = || ParsePackageError::Slot { text: cut(text) };
        if !is_name(slot, b"+.") || !is_name(sub_slot, b"+.") {
            return Err(refused());
        }
        let slash = u16::try_from(slot.len()).map_err(|_| refused())?;
        Ok(Self { text: format!("{slot}/{sub_slot}").into(), slash })
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

serde_as_text!(Cpv);
serde_as_text!(Slot);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_where_the_version_begins() {
        for (text, name, version) in [
            ("app-misc/hello-2.10", "hello", "2.10"),
            ("dev-libs/foo-1-r3", "foo", "1-r3"),
            ("x11-libs/gtk+-3.24.1", "gtk+", "3.24.1"),
            ("dev-lang/python-3.12.0_alpha1_p2", "python", "3.12.0_alpha1_p2"),
            ("media-fonts/font-100dpi-1.0b", "font-100dpi", "1.0b"),
            ("sys-kernel/linux-next-9999", "linux-next", "9999"),
        ] {
            let cpv: Cpv = text.parse().unwrap();
            assert_eq!((cpv.name(), cpv.version()), (name, version), "{text}");
            assert_eq!(format!("{}/{}", cpv.category(), cpv.pf()), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_text() {
        for text in [
            "",
            "hello",
            "a/b",
            "a/-1",
            "/x-1",
            "a/b-1.x",
            "a/b-1_q2",
            "a/b-1-r",
            "a/b c-1",
            "a/../b-1",
            "--root=/-1",
            "a/$(x)-1",
            "a/b-1\n",
            "a/b-1.",
        ] {
            let refusal = text.parse::<Cpv>().unwrap_err().to_string();
            assert!(refusal.contains("category/name-version"), "{refusal}");
        }
        assert!("0/".parse::<Slot>().is_err() && "".parse::<Slot>().is_err());
    }
}
