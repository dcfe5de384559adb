//! How far something long is, for a person at a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use buildswarm_store::Progress;

use crate::report::{bytes, clock};

/// How often the line is drawn anew: often enough to look alive, seldom enough to cost nothing.
const REDRAW: Duration = Duration::from_millis(200);

/// Nothing is said of the end before so much time has passed: the first moments tell little.
const ESTIMATE_AFTER: Duration = Duration::from_secs(3);

/// A line on standard error that is drawn again and again, and goes when this is dropped. Where there is no terminal
/// nothing is drawn.
pub struct Meter {
    what: &'static str,
    since: Instant,
    /// When it was drawn last.
    drawn: Option<Mutex<Option<Instant>>>,
}

impl Meter {
    /// For something that is called `what` while it is done.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        let drawn = io::stderr().is_terminal().then(Mutex::default);
        Self { what, since: Instant::now(), drawn }
    }

    /// Draws the line, unless it was drawn just now.
    pub fn show(&self, progress: Progress) {
        let Some(drawn) = &self.drawn else { return };
        let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        eprint!("\r{}\x1b[K", line(self.what, progress, self.since.elapsed()));
        let _ = io::stderr().flush();
        *drawn = Some(Instant::now());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let was_drawn = self
            .drawn
            .as_ref()
            .is_some_and(|drawn| drawn.lock().unwrap_or_else(PoisonError::into_inner).is_some());
        if was_drawn {
            eprint!("\r\x1b[K");
        }
    }
}

fn line(what: &str, progress: Progress, elapsed: Duration) -> String {
    let Progress { done, total } = progress;
    let left = total.bytes.saturating_sub(done.bytes);
    let eta = if elapsed >= ESTIMATE_AFTER && done.bytes > 0 && left > 0 {
        let seconds = elapsed.as_secs_f64() * left as f64 / done.bytes as f64;
        format!(" · about {} to go", clock(Duration::from_secs_f64(seconds)))
    } else {
        String::new()
    };
    format!("{what}: {} of {}{eta}", bytes(done.bytes), bytes(total.bytes))
}

#[cfg(test)]
mod tests {
    use buildswarm_store::Tally;

    use super::*;

    #[test]
    fn the_line_says_how_far_it_is_and_when_it_will_be_done() {
        let tally = |bytes| Tally { count: 1, bytes };
        let at = |bytes| Progress { done: tally(bytes), total: tally(4 << 20) };
        let after = |bytes, seconds| line("reading", at(bytes), Duration::from_secs(seconds));
        assert_eq!(after(1 << 20, 1), "reading: 1.0 MiB of 4.0 MiB");
        assert_eq!(after(1 << 20, 30), "reading: 1.0 MiB of 4.0 MiB · about 1:30 to go");
        assert_eq!(after(0, 30), "reading: 0 B of 4.0 MiB");
        assert_eq!(after(4 << 20, 30), "reading: 4.0 MiB of 4.0 MiB");
    }
}
