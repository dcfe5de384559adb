//! What a person, a pipe or a program is told of a running build.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use buildswarm_core::BuildKey;
use buildswarm_core::package::Cpv;
use buildswarm_core::scheduler::{Failure, JobState, Phase, Progress, Reason};

/// For whom the report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A person at a terminal: lines, and a status line under them that is drawn again and again.
    Terminal,
    /// A pipe or a log: lines.
    Plain,
    /// A program: one JSON object a line, on standard output.
    Json,
    /// Only failures.
    Quiet,
}

/// Colours, where they are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colors(bool);

impl Colors {
    /// Colours for what is written to `stream`, unless `NO_COLOR` (no-color.org) or Portage's `NOCOLOR` says no.
    #[must_use]
    pub fn of(stream: &impl IsTerminal) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let portage = std::env::var("NOCOLOR").is_ok_and(|value| value == "yes" || value == "true");
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        Self(stream.is_terminal() && !set("NO_COLOR") && !portage && !dumb)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Good news.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Bad news.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("31;1", text)
    }

    /// Something to notice.
    #[must_use]
    pub fn notice(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// A name.
    #[must_use]
    pub fn name(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What may be overlooked.
    #[must_use]
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// A package being built.
struct Building {
    package: String,
    phase: Option<Phase>,
    since: Instant,
    slot: u32,
}

/// The report of one run.
pub struct Report {
    style: Style,
    colors: Colors,
    total: usize,
    begun: usize,
    building: BTreeMap<BuildKey, Building>,
    has_status: bool,
}

impl Report {
    /// A report in `style`.
    #[must_use]
    pub fn new(style: Style) -> Self {
        let colors = Colors::of(&io::stderr());
        Self { style, colors, total: 0, begun: 0, building: BTreeMap::new(), has_status: false }
    }

    /// Whether there is something that has to be drawn although nothing happened.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.style == Style::Terminal && !self.building.is_empty()
    }

    /// One JSON object for programs.
    fn event(&self, event: &serde_json::Value) {
        if self.style == Style::Json {
            println!("{event}");
        }
    }

    /// One line for people.
    fn line(&mut self, line: &str) {
        match self.style {
            Style::Json | Style::Quiet => {}
            Style::Terminal | Style::Plain => {
                self.erase_status();
                eprintln!("{line}");
            }
        }
    }

    fn erase_status(&mut self) {
        if std::mem::take(&mut self.has_status) {
            eprint!("\r\x1b[K");
        }
    }

    pub(crate) fn plan(&mut self, jobs: usize) {
        self.total = jobs;
    }

    pub(crate) fn started(&mut self, key: BuildKey, package: &Cpv, slot: u32, attempt: u32) {
        if attempt == 1 {
            self.begun += 1;
        }
        self.event(&serde_json::json!({
            "event": "started", "package": package, "key": key, "slot": slot, "attempt": attempt,
        }));
        let again = if attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
        let line = format!(
            ">>> ({} of {}) Building {}{again}",
            self.begun,
            self.total,
            self.colors.good(package.as_str())
        );
        self.line(&line);
        let building =
            Building { package: package.as_str().to_owned(), phase: None, since: Instant::now(), slot };
        self.building.insert(key, building);
    }

    pub(crate) fn phase(&mut self, key: BuildKey, phase: Phase) {
        if let Some(building) = self.building.get_mut(&key) {
            building.phase = Some(phase);
        }
        self.event(&serde_json::json!({"event": "phase", "key": key, "phase": phase.to_string()}));
    }

    pub(crate) fn state(&mut self, key: BuildKey, package: &Cpv, state: JobState, reason: &Reason) {
        let seconds = self.building.get(&key).map_or(0.0, |building| building.since.elapsed().as_secs_f64());
        if state != JobState::Running {
            self.building.remove(&key);
        }
        self.event(&serde_json::json!({
            "event": "state", "package": package, "key": key, "state": state.to_string(),
            "reason": in_words(reason),
        }));
        let name = package.as_str();
        let line = match state {
            JobState::Built => {
                format!(">>> {} {} in {seconds:.1} s", self.colors.good("Built"), self.colors.good(name))
            }
            JobState::Reused => {
                // It was only perhaps to be built.
                self.total = self.total.saturating_sub(1);
                format!(">>> {} {name}", self.colors.good("Reused"))
            }
            JobState::Failed => format!("!!! {} {name}: {}", self.colors.bad("Failed"), in_words(reason)),
            JobState::Blocked => {
                format!("!!! {} {name}: {}", self.colors.notice("Blocked"), first_line(reason))
            }
            JobState::Delayed => format!(" *  {name} {}", first_line(reason)),
            JobState::Ready
            | JobState::Waiting
            | JobState::Resolving
            | JobState::Running
            | JobState::Dropped => return,
        };
        if self.style == Style::Quiet && state == JobState::Failed {
            eprintln!("{line}");
        }
        self.line(&line);
    }

    pub(crate) fn interrupted(&mut self) {
        self.line(" *  interrupted: stopping the builds that run (again to leave at once)");
    }

    /// Draws the status line.
    pub(crate) fn status(&mut self, progress: Progress) {
        if self.style != Style::Terminal {
            return;
        }
        self.erase_status();
        if self.building.is_empty() {
            return;
        }
        let mut building: Vec<&Building> = self.building.values().collect();
        building.sort_by_key(|building| building.slot);
        let builds: Vec<String> = building
            .iter()
            .map(|building| {
                let phase = building.phase.map_or_else(String::new, |phase| format!(" {phase}"));
                let name = building.package.rsplit('/').next().unwrap_or_default();
                format!("{name}{phase} {}", clock(building.since.elapsed()))
            })
            .collect();
        let eta = progress.eta.map_or_else(String::new, |eta| format!(" · about {} to go", clock(eta)));
        let line = format!("{} of {} built · {}{eta}", progress.done, progress.total, builds.join(", "));
        let width = width();
        let shown: String = line.chars().take(width.saturating_sub(1)).collect();
        eprint!("\r{}", self.colors.faint(&shown));
        let _ = io::stderr().flush();
        self.has_status = true;
    }

    /// Removes the status line, before something else is printed.
    pub fn end(&mut self) {
        self.erase_status();
    }
}

/// A reason as a person on the machine that builds puts it: there is one drone, and it needs no name.
pub(crate) fn in_words(reason: &Reason) -> String {
    let cause = |failure: &Failure| {
        let colon = if failure.message.is_empty() { "" } else { ": " };
        format!("{}{colon}{}", failure.class, failure.message)
    };
    match reason {
        Reason::GaveUp { last } => cause(last),
        Reason::BlockedBy { root, failure } => {
            format!("blocked by {}: {}", root.label, cause(failure))
        }
        Reason::RetryAt { last, .. } => format!("will be tried again: {}", cause(last)),
        Reason::Retry { last } => format!("is tried again: {}", cause(last)),
        other => other.to_string(),
    }
}

fn first_line(reason: &Reason) -> String {
    in_words(reason).lines().next().unwrap_or_default().to_owned()
}

/// Minutes and seconds, with hours where there are any.
#[must_use]
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Columns of the terminal on standard error; 80 where there is none.
fn width() -> usize {
    rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(80)
}

/// Bytes with a binary unit.
#[must_use]
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 || unit == "GiB" {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    unreachable!("the last unit returns")
}

/// Does something that may take long, telling a person at a terminal what and when it is done.
pub fn while_waiting<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    eprint!("{what}... ");
    let done = work();
    // The line goes: what follows is what was waited for.
    eprint!("\r\x1b[K");
    done
}

/// Ends the program without a word once nobody reads what it prints, as `build-swarm logs | head` brings about.
pub fn end_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // What `println!` panics with; the standard library has no other sign of it.
        let is_unread = panic
            .payload_as_str()
            .is_some_and(|text| text.starts_with("failed printing to std") && text.contains("Broken pipe"));
        if is_unread {
            // As if by SIGPIPE.
            std::process::exit(141);
        }
        usual(panic);
    }));
}

/// Prints an error with its causes, each once.
pub fn print_error(program: &str, error: &anyhow::Error) {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // Some errors hold the text of their source already.
        if !text.contains(&cause) {
            if !text.is_empty() {
                text += ": ";
            }
            text += &cause;
        }
    }
    eprintln!("{}: {text}", Colors::of(&io::stderr()).bad(program));
}
