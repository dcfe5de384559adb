//! Which earlier builds may be used in place of a new one.

use std::fmt;
use std::str::FromStr;

/// How a dependency enters a key, and so which artifacts are hits; `docs/address.md` has the rules.
///
/// ```
/// use buildswarm_core::policy::Policy;
/// assert_eq!("slot".parse(), Ok(Policy::Slot));
/// assert_eq!(Policy::default().to_string(), "interface");
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Only the very same build: every dependency by its own exact key.
    Exact,
    /// Also a build whose dependencies were the same in everything of them that can reach it.
    #[default]
    Interface,
    /// Also a build with the same slot bindings, whatever its dependencies were: what Portage assumes.
    Slot,
}

impl Policy {
    /// Every policy, the strictest first.
    pub const ALL: [Self; 3] = [Self::Exact, Self::Interface, Self::Slot];

    /// Its name in commands, configuration and preimages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Interface => "interface",
            Self::Slot => "slot",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no policy; there are exact, interface and slot")]
pub struct ParsePolicyError(String);

impl FromStr for Policy {
    type Err = ParsePolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or_else(|| ParsePolicyError(text.to_owned()))
    }
}
