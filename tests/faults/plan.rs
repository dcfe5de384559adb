//! How much is tried, and what came of it.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::content::Random;

/// The variable that asks for the long tier, for as many minutes at most.
const MINUTES: &str = "SOAK_MINUTES";

/// The variable that says where numbers begin: what failed fails again.
const SEED: &str = "SOAK_SEED";

/// The variable that tells a suite when the time is up, in seconds since 1970: they share it.
const UNTIL: &str = "BUILDSWARM_FAULTS_UNTIL";

/// What a suite is to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Minutes, in the long tier.
    minutes: Option<u64>,
    seed: u64,
    until: Option<Duration>,
}

impl Plan {
    pub(crate) fn given() -> Self {
        let number = |name| env::var(name).ok().map(|text| text.parse().expect("a number"));
        let minutes = number(MINUTES);
        // The short tier tries the same each time: a commit that did not break it must not be held up by it.
        let seed = number(SEED).unwrap_or(if minutes.is_some() { now().as_secs() } else { 1 });
        let until = minutes.map(|minutes| {
            number(UNTIL).map_or_else(|| now() + Duration::from_secs(60 * minutes), Duration::from_secs)
        });
        Self { minutes, seed, until }
    }

    /// The plan as variables, for a suite in a process of its own.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let until = self.until.map(|until| (UNTIL, until.as_secs().to_string()));
        [(SEED, self.seed.to_string())].into_iter().chain(until).collect()
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
        self.until.is_some_and(|until| now() > until)
    }

    /// What to write before the command to try the same again.
    pub(crate) fn replay(&self) -> String {
        let minutes = self.minutes.map(|minutes| format!("{MINUTES}={minutes} ")).unwrap_or_default();
        format!("{minutes}{SEED}={}", self.seed)
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// What a suite found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What was counted, and the number.
    pub(crate) figures: Vec<(String, String)>,
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
        self.figures.push((what.into(), found.to_string()));
    }

    pub(crate) fn tell(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.figures.push((what.into(), found.into()));
    }

    /// A number that must be reached: fewer is a violation, unless the time was up.
    pub(crate) fn count_of(&mut self, plan: &Plan, what: impl Into<String>, found: u64, asked: u64) {
        let what = what.into();
        if found < asked && !plan.is_over() {
            self.violations.push(format!("{what}: only {found} of {asked}"));
        }
        self.figures.push((what, format!("{found} (at least {asked})")));
    }

    /// How often something was noticed that was made wrong on purpose: it must be in one of a hundred cases.
    pub(crate) fn control(&mut self, what: &str, red: u64, cases: u64) {
        if red == 0 || red * 100 < cases {
            self.violations.push(format!("{what}: noticed in {red} of {cases} cases"));
        }
        let percent = 100 * red / cases.max(1);
        self.figures
            .push((format!("negative control: {what}"), format!("{red} of {cases} red ({percent} %)")));
    }

    pub(crate) fn violate(&mut self, when: &str, found: impl IntoIterator<Item = String>) {
        self.violations.extend(found.into_iter().map(|found| format!("{when}: {found}")));
    }
}
