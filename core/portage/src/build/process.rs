//! Running one command to its end, with its output as it comes, a time limit and a way to stop it.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Stops builds: when it is dropped or told to, everything that waits with its [`Cancellation`] ends.
#[derive(Debug)]
pub struct Canceller {
    writer: PipeWriter,
}

impl Canceller {
    /// Ends everything that waits.
    pub fn cancel(self) {
        drop(self.writer);
    }
}

/// What a build waits with, beside its output.
#[derive(Debug, Clone)]
pub struct Cancellation {
    reader: Arc<PipeReader>,
}

/// A way to stop, and what waits for it. A closed pipe wakes all that poll it, at once.
///
/// # Errors
/// If the process has no file descriptors left.
pub fn cancellation() -> io::Result<(Canceller, Cancellation)> {
    let (reader, writer) = io::pipe()?;
    Ok((Canceller { writer }, Cancellation { reader: Arc::new(reader) }))
}

/// How a command ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// Killed because somebody wanted it.
    Cancelled,
    /// Killed because of a limit, which the text names.
    TooLong(String),
}

/// Limits of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// From the start.
    pub(super) time: Duration,
    /// From the last output.
    pub(super) silence: Duration,
}

/// Runs `command` with standard output and error going to `output`, and waits for all of its processes.
///
/// The command must be one of a private root: killing it kills everything it started.
pub(super) fn run(
    command: &mut Command,
    cancel: &Cancellation,
    limit: Limit,
    output: &mut dyn FnMut(&[u8]),
) -> io::Result<Ended> {
    let (mut reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command keeps a copy of the writing end for further children; without this the pipe never closes.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let ended = follow(&mut reader, cancel, limit, output);
    if !matches!(ended, Ok(None)) {
        child.kill()?;
        // What was still in the pipe belongs to the log; the writers are gone, so this ends.
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest)?;
        output(&rest);
    }
    let status = child.wait()?;
    Ok(ended?.unwrap_or(Ended::Exited(status)))
}

/// Reads until the end of the output (`None`), or until there is a reason to stop.
fn follow(
    reader: &mut PipeReader,
    cancel: &Cancellation,
    limit: Limit,
    output: &mut dyn FnMut(&[u8]),
) -> io::Result<Option<Ended>> {
    let start = Instant::now();
    let mut last_output = start;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (whole, silent) = (start + limit.time, last_output + limit.silence);
        let now = Instant::now();
        if now >= whole {
            return Ok(Some(Ended::TooLong(format!("took longer than {} s", limit.time.as_secs()))));
        }
        if now >= silent {
            let seconds = limit.silence.as_secs();
            return Ok(Some(Ended::TooLong(format!("printed nothing for {seconds} s"))));
        }
        let wait = whole.min(silent) - now;
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut fds = [PollFd::new(&*reader, PollFlags::IN), PollFd::new(&*cancel.reader, PollFlags::IN)];
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let (readable, cancelled) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if cancelled {
            return Ok(Some(Ended::Cancelled));
        }
        if readable {
            let read = reader.read(&mut buffer)?;
            if read == 0 {
                return Ok(None);
            }
            output(&buffer[..read]);
            last_output = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { time: Duration::from_secs(60), silence: Duration::from_secs(60) };

    fn shell(script: &str, limit: Limit, cancel: &Cancellation) -> (Ended, String) {
        let mut text = Vec::new();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let ended = run(&mut command, cancel, limit, &mut |bytes| text.extend_from_slice(bytes)).unwrap();
        (ended, String::from_utf8(text).unwrap())
    }

    #[test]
    fn both_outputs_are_read_to_the_end() {
        let (_canceller, cancel) = cancellation().unwrap();
        let (ended, text) = shell("echo a; echo b >&2; exit 3", LIMIT, &cancel);
        assert!(matches!(ended, Ended::Exited(status) if status.code() == Some(3)));
        assert_eq!(text, "a\nb\n");
    }

    #[test]
    fn silence_and_length_are_limited() {
        let (_canceller, cancel) = cancellation().unwrap();
        let silence = Limit { silence: Duration::from_millis(50), ..LIMIT };
        let (ended, _) = shell("exec sleep 60", silence, &cancel);
        assert!(matches!(ended, Ended::TooLong(text) if text.contains("printed nothing")));
        let time = Limit { time: Duration::from_millis(50), ..LIMIT };
        let (ended, _) = shell("exec sleep 60", time, &cancel);
        assert!(matches!(ended, Ended::TooLong(text) if text.contains("longer")));
    }

    #[test]
    fn cancelling_wakes_whoever_waits() {
        let (canceller, cancel) = cancellation().unwrap();
        std::thread::scope(|scope| {
            let waiting = [(); 3].map(|()| scope.spawn(|| shell("exec sleep 60", LIMIT, &cancel).0));
            canceller.cancel();
            for thread in waiting {
                assert!(matches!(thread.join().unwrap(), Ended::Cancelled));
            }
        });
    }
}
