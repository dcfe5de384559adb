//! What the benchmarks share: rounds over rows, medians, a table, and `ours / limit` as the last line.
//!
//! Every file of `benches/` answers one question and names in its header the peer, the limit, the goal and how
//! to run it. Rows are interleaved (round 1 of every row, round 2 of every row, …), because absolute figures of
//! a shared machine drift; what is accepted or refused is the ratio of medians of one run.

use std::time::{Duration, Instant};

pub mod lanes;

/// One row of a table: a name, and something that takes time.
pub struct Row<'a> {
    name: String,
    run: Box<dyn FnMut() -> Duration + 'a>,
}

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Row<'a> {
    /// A row whose closure measures itself, so that it can prepare outside of the measured time.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Duration + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// A row that is measured as a whole.
    pub fn timed<T>(name: impl Into<String>, mut work: impl FnMut() -> T + 'a) -> Self {
        Self::new(name, move || timed(&mut work).1)
    }
}

/// What `work` returns and how long it took, without the time to drop the result.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = std::hint::black_box(work());
    (result, start.elapsed())
}

/// The middle one; of an even number the lower of the two in the middle.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) / 2]
}

/// Runs every row once in each round, prints a table, and returns the medians in the order of the rows.
pub fn measure(rounds: usize, rows: Vec<Row<'_>>) -> Vec<Duration> {
    let (names, mut runs): (Vec<_>, Vec<_>) = rows.into_iter().map(|row| (row.name, row.run)).unzip();
    let mut times = vec![Vec::with_capacity(rounds); runs.len()];
    for _ in 0..rounds {
        for (run, times) in runs.iter_mut().zip(&mut times) {
            times.push(run());
        }
    }
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    println!("{:width$}  {:>12}  {:>12}  {:>12}", "", "median", "min", "max");
    for (name, times) in names.iter().zip(&times) {
        let (min, max) = (times.iter().min(), times.iter().max());
        println!(
            "{name:width$}  {:>12}  {:>12}  {:>12}",
            shown(median(times)),
            shown(min.copied().unwrap_or_default()),
            shown(max.copied().unwrap_or_default()),
        );
    }
    times.iter().map(|times| median(times)).collect()
}

/// A duration with its unit, three digits behind the point.
#[must_use]
pub fn shown(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.3} ms", duration.as_secs_f64() * 1e3)
    } else {
        format!("{:.3} s", duration.as_secs_f64())
    }
}

/// The last line of a benchmark: how much more than the limit ours takes, and what is aimed at.
pub fn verdict(ours: Duration, limit: Duration, goal: &str) {
    println!("ours / limit = {:.2} (goal: {goal})", ours.as_secs_f64() / limit.as_secs_f64());
}

/// SplitMix64: numbers that are the same everywhere, for inputs that are.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub const fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// `len` bytes of which about every other can be predicted, as in a package that compresses.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 16);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.bits().to_le_bytes());
            bytes.extend_from_slice(b"buildswa");
        }
        bytes.truncate(len);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_times() {
        let times = [5, 1, 4, 2].map(Duration::from_secs);
        assert_eq!(median(&times), Duration::from_secs(2));
        assert_eq!(median(&times[..3]), Duration::from_secs(4));
    }
}
