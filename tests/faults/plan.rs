//! How much is tried, and what came of it.

use std::env;
use std::time::{Duration, Instant};

use crate::content::Random;

/// The variable that asks for the long tier, for as many minutes at most.
const MINUTES: &str = "SOAK_MINUTES";

/// The variable that says where numbers begin: what failed fails again.
const SEED: &str = "SOAK_SEED";

/// What a suite is to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Minutes, in the long tier.
    minutes: Option<u64>,
    pub(crate) seed: u64,
    until: Option<Instant>,
}

impl Plan {
    pub(crate) fn given() -> Self {
        let number = |name| env::var(name).ok().map(|text| text.parse().expect("a number"));
        let minutes = number(MINUTES);
        // The short tier tries the same each time: a commit that did not break it must not be held up by it.
        let seed = number(SEED).unwrap_or(if minutes.is_some() { fresh() } else { 1 });
        let until = minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
        Self { minutes, seed, until }
    }

    pub(crate) const fn is_long(&self) -> bool {
        self.minutes.is_some()
    }

    /// How many, in the short tier and in the long one.
    pub(crate) const fn of(&self, short: u64, long: u64) -> u64 {
        if self.is_long() { long } else { short }
    }

    pub(crate) const fn random(&self) -> Random {
        Random::new(self.seed)
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() > until)
    }

    /// What to write before the command to try the same again.
    pub(crate) fn replay(&self) -> String {
        let minutes = self.minutes.map(|minutes| format!("{MINUTES}={minutes} ")).unwrap_or_default();
        format!("{minutes}{SEED}={}", self.seed)
    }
}

fn fresh() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs()
}

/// What a suite found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What was counted, and how many were asked for.
    pub(crate) figures: Vec<(String, u64, Option<u64>)>,
    /// What must not be, each in a sentence.
    pub(crate) violations: Vec<String>,
    /// Why nothing was tried.
    pub(crate) skipped: Option<String>,
}

impl Report {
    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self { skipped: Some(why.into()), ..Self::default() }
    }

    pub(crate) fn count(&mut self, what: impl Into<String>, found: u64) {
        self.figures.push((what.into(), found, None));
    }

    /// A number that must be reached: fewer is a violation, unless the time was up.
    pub(crate) fn count_of(&mut self, plan: &Plan, what: impl Into<String>, found: u64, asked: u64) {
        let what = what.into();
        if found < asked && !plan.is_over() {
            self.violations.push(format!("{what}: only {found} of {asked}"));
        }
        self.figures.push((what, found, Some(asked)));
    }

    pub(crate) fn violate(&mut self, when: &str, found: impl IntoIterator<Item = String>) {
        self.violations.extend(found.into_iter().map(|found| format!("{when}: {found}")));
    }
}
