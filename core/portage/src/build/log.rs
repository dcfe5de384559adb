//! The output of a build: handed on as it comes, and read for how far the build is and why it failed.
//!
//! A log is data: bounded, never a source of control. What is read from it only words a message or picks
//! the class of a failure that is one anyway.

use std::collections::VecDeque;

use buildswarm_core::scheduler::Phase;

/// One line, without its end.
pub type LogLine<'a> = &'a [u8];

/// Something to hear of a running build.
#[derive(Debug, Clone, Copy)]
pub enum LogEvent<'a> {
    /// A line of output.
    Line(LogLine<'a>),
    /// It entered a phase.
    Phase(Phase),
}

/// Lines shown of a failed build: a screenful.
const TAIL_LINES: usize = 20;
/// Lines kept of what Portage prints when a phase fails: the line that names it and what the ebuild said.
const ERROR_LINES: usize = 4;
/// A longer line is cut in the tail and split in the log; keeps memory bounded.
const LINE_BYTES: usize = 4096;

/// What Portage prints when a phase begins (`bin/phase-functions.sh`).
const PHASES: [(&str, Phase); 9] = [
    (">>> Emerging ", Phase::Setup),
    (">>> Unpacking source", Phase::Unpack),
    (">>> Preparing source", Phase::Prepare),
    (">>> Configuring source", Phase::Configure),
    (">>> Compiling source", Phase::Compile),
    (">>> Test phase", Phase::Test),
    (">>> Install ", Phase::Install),
    (">>> Completed installing", Phase::Install),
    (">>> Done", Phase::Package),
];

#[derive(Debug)]
pub(super) struct Reader {
    partial: Vec<u8>,
    tail: VecDeque<String>,
    /// The first lines of Portage's report of a failed phase. What comes after it, a call stack and the same
    /// report again, would push what the compiler said out of the tail.
    error: Vec<String>,
    phase: Phase,
    budget: u64,
    dropped: u64,
    no_space: bool,
    no_memory: bool,
}

impl Reader {
    pub(super) const fn new(budget: u64) -> Self {
        Self {
            partial: Vec::new(),
            tail: VecDeque::new(),
            error: Vec::new(),
            phase: Phase::Root,
            budget,
            dropped: 0,
            no_space: false,
            no_memory: false,
        }
    }

    pub(super) fn read(&mut self, mut bytes: &[u8], log: &mut dyn FnMut(LogEvent<'_>)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let line = std::mem::take(&mut self.partial);
            if line.is_empty() {
                self.line(&bytes[..end], log);
            } else {
                self.line(&[&line, &bytes[..end]].concat(), log);
            }
            bytes = &bytes[end + 1..];
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > LINE_BYTES {
            let line = std::mem::take(&mut self.partial);
            self.line(&line, log);
        }
    }

    pub(super) fn finish(&mut self, log: &mut dyn FnMut(LogEvent<'_>)) {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.line(&line, log);
        }
        if self.dropped > 0 {
            let note = format!("[{} more bytes of output are not kept]", self.dropped);
            log(LogEvent::Line(note.as_bytes()));
        }
    }

    fn line(&mut self, line: &[u8], log: &mut dyn FnMut(LogEvent<'_>)) {
        let text = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES)]);
        self.interpret(&text, log);
        self.remember(printable(&text));
        let size = line.len() as u64 + 1;
        if let Some(rest) = self.budget.checked_sub(size) {
            self.budget = rest;
            log(LogEvent::Line(line));
        } else {
            self.budget = 0;
            self.dropped += size;
        }
    }

    fn remember(&mut self, line: String) {
        if self.error.is_empty() && failed_phase(&line).is_none() {
            if self.tail.len() == TAIL_LINES {
                self.tail.pop_front();
            }
            self.tail.push_back(line);
        } else if self.error.len() < ERROR_LINES {
            self.error.push(line);
        }
    }

    fn interpret(&mut self, text: &str, log: &mut dyn FnMut(LogEvent<'_>)) {
        if let Some((_, phase)) = PHASES.iter().find(|(beginning, _)| text.starts_with(beginning))
            && *phase > self.phase
        {
            self.phase = *phase;
            // An ebuild went on after a failure (`nonfatal`).
            self.error.clear();
            log(LogEvent::Phase(*phase));
        }
        self.no_space |= text.contains("No space left on device");
        self.no_memory |= text.contains("Killed signal terminated program")
            || text.contains("Cannot allocate memory")
            || text.contains("virtual memory exhausted");
        if let Some(name) = failed_phase(text) {
            self.phase = phase_named(name).unwrap_or(self.phase);
        }
    }

    /// The last lines before the failure, under the one line that says what the ebuild said of it.
    pub(super) fn tail(&self) -> String {
        let said = self.error.iter().skip(1).map(|line| line.trim_start_matches([' ', '*']));
        let said =
            said.take_while(|line| !line.starts_with("Call stack") && !line.starts_with("If you need"));
        let said = said.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        let title = if said.is_empty() { "the last lines of its log:".to_owned() } else { said };
        let lines = self.tail.iter().chain(self.error.first()).map(String::as_str);
        std::iter::once(title.as_str()).chain(lines).collect::<Vec<_>>().join("\n")
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) const fn ran_out_of_space(&self) -> bool {
        self.no_space
    }

    pub(super) const fn ran_out_of_memory(&self) -> bool {
        self.no_memory
    }
}

/// The phase in ` * ERROR: cat/pkg-1::repo failed (compile phase):`.
fn failed_phase(text: &str) -> Option<&str> {
    let (head, rest) = text.split_once(" failed (")?;
    let (name, _) = rest.split_once(" phase)")?;
    head.contains("ERROR: ").then_some(name)
}

fn phase_named(name: &str) -> Option<Phase> {
    Some(match name {
        "pretend" | "setup" => Phase::Setup,
        "unpack" => Phase::Unpack,
        "prepare" => Phase::Prepare,
        "configure" => Phase::Configure,
        "compile" => Phase::Compile,
        "test" => Phase::Test,
        "install" => Phase::Install,
        "package" => Phase::Package,
        _ => return None,
    })
}

/// The text without what a terminal would obey.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\t' => out.push(c),
            // A colour or cursor sequence (ECMA-48 5.4) ends at its final byte.
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                while characters.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&str], budget: u64) -> (Reader, String, Vec<Phase>) {
        let (mut text, mut phases) = (String::new(), Vec::new());
        let mut reader = Reader::new(budget);
        let mut log = |event: LogEvent<'_>| match event {
            LogEvent::Line(line) => text += &(String::from_utf8_lossy(line) + "\n"),
            LogEvent::Phase(phase) => phases.push(phase),
        };
        for chunk in chunks {
            reader.read(chunk.as_bytes(), &mut log);
        }
        reader.finish(&mut log);
        (reader, text, phases)
    }

    #[test]
    fn lines_are_put_together_and_phases_seen() {
        let (reader, text, phases) =
            read(&[">>> Unpack", "ing source...\n>>> Comp", "iling source in x\nlast"], 1000);
        assert_eq!(text, ">>> Unpacking source...\n>>> Compiling source in x\nlast\n");
        assert_eq!(phases, [Phase::Unpack, Phase::Compile]);
        assert!(reader.tail().ends_with("last"));
    }

    #[test]
    fn the_phase_that_failed_is_the_one_portage_names() {
        let (reader, ..) = read(&[" * ERROR: a/b-1::r failed (configure phase):\n"], 1000);
        assert_eq!(reader.phase(), Phase::Configure);
    }

    #[test]
    fn the_tail_is_what_came_before_the_failure_under_what_the_ebuild_said() {
        let failure = " * ERROR: a/b-1::r failed (compile phase):\n *   emake failed\n * \n * Call stack:\n";
        let (reader, ..) = read(&["x.c:3: error: no\n", failure, &"after\n".repeat(40), failure], 1000);
        assert_eq!(
            reader.tail(),
            "emake failed\nx.c:3: error: no\n * ERROR: a/b-1::r failed (compile phase):"
        );
        let (reader, ..) = read(&["silence\n"], 1000);
        assert_eq!(reader.tail(), "the last lines of its log:\nsilence");
    }

    #[test]
    fn a_failure_that_an_ebuild_survived_is_forgotten() {
        let failure = " * ERROR: a/b-1::r failed (compile phase):\n";
        let (reader, ..) = read(&[failure, ">>> Install b-1 into /x\n", "cannot install\n"], 1000);
        assert!(reader.tail().ends_with("cannot install"), "{}", reader.tail());
    }

    #[test]
    fn a_log_is_bounded_and_its_tail_is_plain_text() {
        let (reader, text, _) = read(&["12345678\n", "12345678\n", "\u{1b}[31mred\u{1b}[0m\r\u{7}\n"], 10);
        assert_eq!(text, "12345678\n[24 more bytes of output are not kept]\n");
        assert!(reader.tail().ends_with("\nred"));
    }
}
