//! How long packages take, learned from those that were built.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Build times remembered of one package: enough for a median that one slow build does not move, few enough
/// to follow a package that grew.
const REMEMBERED: usize = 5;

/// Build times by category and name, as on a drone of speed 1,000.
///
/// ```
/// use std::time::Duration;
/// use buildswarm_core::scheduler::Estimates;
/// let mut estimates = Estimates::new();
/// for secs in [60, 64, 900] {
///     estimates.learn("dev-libs/openssl", Duration::from_secs(secs));
/// }
/// assert_eq!(estimates.of("dev-libs/openssl"), Some(Duration::from_secs(64)));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Estimates {
    times: BTreeMap<Box<str>, VecDeque<Duration>>,
}

impl Estimates {
    /// Nothing learned yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { times: BTreeMap::new() }
    }

    /// Takes in the time of one build of `package` (category and name).
    pub fn learn(&mut self, package: &str, time: Duration) {
        if !self.times.contains_key(package) {
            self.times.insert(package.into(), VecDeque::with_capacity(REMEMBERED));
        }
        let Some(times) = self.times.get_mut(package) else { return };
        if times.len() == REMEMBERED {
            times.pop_front();
        }
        times.push_back(time);
    }

    /// The median of the last builds of `package` (category and name); the lower one of an even number.
    #[must_use]
    pub fn of(&self, package: &str) -> Option<Duration> {
        let mut times: Vec<Duration> = self.times.get(package)?.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len().saturating_sub(1) / 2).copied()
    }

    /// Everything remembered, oldest build first: what to keep for [`learn`](Self::learn) at the next start.
    pub fn iter(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = Duration>)> {
        self.times.iter().map(|(package, times)| (&**package, times.iter().copied()))
    }
}

/// The time at speed 1,000 of what took `time` at `speed_permille`.
pub(super) fn at_reference_speed(time: Duration, speed_permille: u32) -> Duration {
    scaled(time, u128::from(speed_permille), 1_000)
}

/// How long what takes `time` at speed 1,000 takes at `speed_permille`.
pub(super) fn at_speed(time: Duration, speed_permille: u64) -> Duration {
    scaled(time, 1_000, u128::from(speed_permille.max(1)))
}

fn scaled(time: Duration, by: u128, over: u128) -> Duration {
    Duration::from_nanos(u64::try_from(time.as_nanos().saturating_mul(by) / over).unwrap_or(u64::MAX))
}
