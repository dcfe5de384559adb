//! Running one of GnuPG's programs: a clean environment, bounded output, errors with what it printed.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use super::error::{OpenPgpError, cut};

/// What a program is given to understand of its surroundings: where programs are, and to speak English.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const REMEDY: &str = "install app-crypt/gnupg (Debian: gnupg, gpgv), version 2.2 or later";
/// Signatures, keys and status lines are small; anything above is an error.
const MOST_OUTPUT_BYTES: u64 = 16 << 20;

/// A command that sees none of our environment.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C").env("HOME", "/nonexistent");
    command
}

pub(super) fn start_error(program: &'static str) -> impl FnOnce(io::Error) -> OpenPgpError {
    move |source| {
        if source.kind() == io::ErrorKind::NotFound {
            let remedy = if program == "setpriv" { "install sys-apps/util-linux" } else { REMEDY };
            OpenPgpError::Missing { program, remedy }
        } else {
            OpenPgpError::Run { program, source }
        }
    }
}

/// What a program printed.
pub(super) struct Output {
    pub(super) success: bool,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Output {
    /// Standard output if the program succeeded.
    pub(super) fn check(self, program: &'static str, action: &'static str) -> Result<Vec<u8>, OpenPgpError> {
        if self.success {
            return Ok(self.stdout);
        }
        // Which of several programs a wrapper failed to find only its words say.
        if self.stderr.starts_with(b"setpriv: failed to execute") {
            return Err(OpenPgpError::Missing { program, remedy: REMEDY });
        }
        Err(OpenPgpError::Failed { program, action, stderr: cut(&self.stderr) })
    }
}

/// Runs `command` to its end with `input` on its standard input. All three streams move at once, so no
/// amount of data can wedge it.
pub(super) fn run(
    mut command: Command,
    program: &'static str,
    mut input: impl Read,
) -> Result<Output, OpenPgpError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start_error(program))?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(OpenPgpError::Run { program, source: io::Error::other("a pipe is missing") });
    };
    let (fed, stdout, stderr) = std::thread::scope(|scope| {
        let stdout = scope.spawn(move || drain(stdout));
        let stderr = scope.spawn(move || drain(stderr));
        let fed = feed(&mut input, &mut stdin);
        drop(stdin);
        (fed, stdout.join(), stderr.join())
    });
    if fed.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|source| OpenPgpError::Run { program, source })?;
    fed?;
    let joined = |output: std::thread::Result<io::Result<Vec<u8>>>| {
        let output = output.unwrap_or_else(|_| Err(io::Error::other("a reader stopped")));
        output.map_err(|source| OpenPgpError::Run { program, source })
    };
    Ok(Output { success: status.success(), stdout: joined(stdout)?, stderr: joined(stderr)? })
}

/// A program that stops reading early says why in its exit status; a broken pipe is no error by itself.
fn feed(input: &mut impl Read, stdin: &mut impl Write) -> Result<(), OpenPgpError> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = input.read(&mut buffer).map_err(OpenPgpError::Data)?;
        if read == 0 || stdin.write_all(&buffer[..read]).is_err() {
            return Ok(());
        }
    }
}

fn drain(mut stream: impl Read) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    stream.by_ref().take(MOST_OUTPUT_BYTES).read_to_end(&mut output)?;
    io::copy(&mut stream, &mut io::sink())?;
    Ok(output)
}
