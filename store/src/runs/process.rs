//! Naming a process so that another one cannot be mistaken for it.

use std::fs;
use std::io;

/// A process: its number alone is used again, together with the boot and the time it started it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// The kernel's id of the boot; empty if unknown.
    pub(super) boot: String,
    pub(super) pid: u32,
    /// Clock ticks between the boot and the start of the process; 0 if unknown.
    pub(super) started_ticks: u64,
}

impl Process {
    pub(super) fn current() -> Self {
        let pid = std::process::id();
        let started_ticks = match state_of(pid) {
            Ok(Some((_, ticks))) => ticks,
            _ => 0,
        };
        Self { boot: boot(), pid, started_ticks }
    }

    /// Whether it has surely ended. Where `/proc` cannot tell, it has not.
    pub(super) fn is_gone(&self) -> bool {
        let boot = boot();
        if boot.is_empty() || self.boot.is_empty() || self.started_ticks == 0 {
            return false;
        }
        if boot != self.boot {
            return true;
        }
        match state_of(self.pid) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(None) => false,
            // A zombie or a dying process does nothing any more.
            Ok(Some((state, ticks))) => matches!(state, 'Z' | 'X') || ticks != self.started_ticks,
        }
    }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// State and start of a process; `None` if the kernel's line is not understood.
fn state_of(pid: u32) -> io::Result<Option<(char, u64)>> {
    Ok(parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat"))?))
}

/// proc_pid_stat(5): the second field is the command in parentheses and may hold anything, so the rest is
/// counted from the last closing one: state is field 3, start time field 22.
fn parse_stat(line: &str) -> Option<(char, u64)> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_hold_anything() {
        let line = "7 (a) R 1 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_stat(line), Some(('S', 4242)));
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_is_not_gone_and_others_of_its_number_are() {
        let own = Process::current();
        assert!(!own.is_gone());
        assert!(Process { started_ticks: own.started_ticks + 1, ..own.clone() }.is_gone());
        assert!(Process { boot: "another".to_owned(), ..own.clone() }.is_gone());
        assert!(!Process { started_ticks: 0, ..own }.is_gone(), "unknown is not gone");
    }

    #[test]
    fn an_ended_child_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let (_, started_ticks) = state_of(child.id()).unwrap().unwrap();
        let process = Process { boot: boot(), pid: child.id(), started_ticks };
        assert!(!process.is_gone());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.is_gone());
    }
}
