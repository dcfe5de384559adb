//! Maps and sets of texts that are made once and then only read: sorted, and as small as can be.
//!
//! A plan has a hundred thousand of them, nearly all with at most three items. A `BTreeMap` keeps room for
//! eleven, so that fetching them from memory would be most of the time that keys take.

use serde::{Serialize, Serializer};

/// Values by name, ascending by the bytes of the names. Of several values for a name the last is kept.
///
/// ```
/// use buildswarm_core::sorted::SortedMap;
/// let map = SortedMap::from([("b".to_owned(), 1), ("a".to_owned(), 2), ("b".to_owned(), 3)]);
/// assert_eq!(map.iter().collect::<Vec<_>>(), [("a", &2), ("b", &3)]);
/// assert_eq!((map.get("b"), map.get("c")), (Some(&3), None));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortedMap<V>(Box<[(Box<str>, V)]>);

impl<V> SortedMap<V> {
    fn new(mut items: Vec<(Box<str>, V)>) -> Self {
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        items.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Self(items.into())
    }

    /// Names with their values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &V)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The names, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.iter().map(|(name, _)| name)
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&V> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// How many names there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V> Default for SortedMap<V> {
    fn default() -> Self {
        Self([].into())
    }
}

impl<V> FromIterator<(String, V)> for SortedMap<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(items: I) -> Self {
        Self::new(items.into_iter().map(|(name, value)| (name.into_boxed_str(), value)).collect())
    }
}

impl<V, const N: usize> From<[(String, V); N]> for SortedMap<V> {
    fn from(items: [(String, V); N]) -> Self {
        items.into_iter().collect()
    }
}

impl<V> Extend<(String, V)> for SortedMap<V> {
    /// Makes it anew: not for one item after the other.
    fn extend<I: IntoIterator<Item = (String, V)>>(&mut self, items: I) {
        let mut all = std::mem::take(&mut self.0).into_vec();
        all.extend(items.into_iter().map(|(name, value)| (name.into_boxed_str(), value)));
        *self = Self::new(all);
    }
}

impl<V: Serialize> Serialize for SortedMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Names, ascending by their bytes, each once.
///
/// ```
/// use buildswarm_core::sorted::SortedSet;
/// let set = SortedSet::from(["ssl", "nls", "ssl"].map(str::to_owned));
/// assert_eq!(set.iter().collect::<Vec<_>>(), ["nls", "ssl"]);
/// assert!(set.contains("ssl") && !set.contains("static"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SortedSet(SortedMap<()>);

impl SortedSet {
    /// The names, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.0.keys()
    }

    /// Whether `name` is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<String> for SortedSet {
    fn from_iter<I: IntoIterator<Item = String>>(items: I) -> Self {
        Self(items.into_iter().map(|name| (name, ())).collect())
    }
}

impl<const N: usize> From<[String; N]> for SortedSet {
    fn from(items: [String; N]) -> Self {
        items.into_iter().collect()
    }
}

impl Extend<String> for SortedSet {
    /// Makes it anew: not for one name after the other.
    fn extend<I: IntoIterator<Item = String>>(&mut self, items: I) {
        self.0.extend(items.into_iter().map(|name| (name, ())));
    }
}

impl Serialize for SortedSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
