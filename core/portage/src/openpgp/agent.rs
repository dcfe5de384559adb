//! A `gpg-agent` that cannot outlive us.
//!
//! Only the agent touches secret keys, and left alone `gpg` starts one that stays for ever. Ours runs in the
//! foreground (`--supervised`: it is handed a listening socket instead of making one and going into the
//! background) under `setpriv --pdeathsig KILL`, so the kernel kills it when the thread that started it ends
//! for whatever reason, `kill -9` included. A parent that died before that took effect is noticed by comparing
//! the parent's process id. Smart cards are disabled, so the agent has no children.
//!
//! A socket's path may have 107 bytes (`unix(7)`), a home directory more: GnuPG is shown the home through a
//! short symbolic link in a temporary directory, and only that name is used.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::error::{OpenPgpError, cut};
use super::program::{command, start_error};

/// `sun_path` holds 108 bytes; what GnuPG appends is `/S.gpg-agent.browser` at most.
const LONGEST_SHORT_HOME: usize = 80;
const _: () = assert!(LONGEST_SHORT_HOME + "/S.gpg-agent.browser".len() < 108);

/// An agent answers within milliseconds; a machine under load may take a while.
const START_BOUND: Duration = Duration::from_secs(20);

/// Moves the socket from standard input, where we can put it, to where the protocol wants it (`sd_listen_fds(3)`:
/// descriptor 3, and the process id of whoever takes it). A supervised agent dies of SIGPIPE when a client leaves
/// early (seen with 2.2.40) unless that is ignored beforehand.
const SCRIPT: &str = r#"[ "$PPID" = "$1" ] || exit 1
trap '' PIPE
exec 3<&0 </dev/null
LISTEN_PID=$$ LISTEN_FDS=1 exec gpg-agent --homedir "$2" --no-options --quiet --batch --disable-scdaemon --supervised"#;

/// A short name for a home directory, gone with this value.
#[derive(Debug)]
pub(super) struct ShortHome {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl ShortHome {
    pub(super) fn new(home: &Path) -> Result<Self, OpenPgpError> {
        let failed = |path: &Path, action| {
            let path = path.to_owned();
            move |source| OpenPgpError::File { path, action, source }
        };
        let home = home.canonicalize().map_err(failed(home, "finding it"))?;
        let usual = std::env::temp_dir();
        let fits = usual.as_os_str().len() + "/gpg-123456/h".len() <= LONGEST_SHORT_HOME;
        let parent = if fits { usual } else { PathBuf::from("/tmp") };
        let directory = tempfile::Builder::new()
            .prefix("gpg-")
            .permissions(PermissionsExt::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(failed(&parent, "making a directory in it"))?;
        let path = directory.path().join("h");
        std::os::unix::fs::symlink(&home, &path).map_err(failed(&path, "making a symbolic link"))?;
        Ok(Self { _directory: directory, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The running agent; dropping it ends it.
#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    /// Starts the agent for `home`. The caller holds the lock on that directory.
    pub(super) fn start(home: &ShortHome) -> Result<Self, OpenPgpError> {
        let socket = home.path().join("S.gpg-agent");
        let failed = |source| OpenPgpError::File { path: socket.clone(), action: "listening on it", source };
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        let child = guarded("sh", ["-c", SCRIPT, "sh"])
            .arg(std::process::id().to_string())
            .arg(home.path())
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start_error("setpriv"))?;
        let mut agent = Self { child, socket };
        agent.await_greeting()?;
        Ok(agent)
    }

    /// Waits for the line `OK …` with which an agent greets (Assuan protocol).
    fn await_greeting(&mut self) -> Result<(), OpenPgpError> {
        let until = Instant::now() + START_BOUND;
        let mut greeting = [0; 2];
        let greeted = UnixStream::connect(&self.socket).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_millis(200)))?;
            while Instant::now() < until {
                match stream.read_exact(&mut greeting) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        if self.child.try_wait()?.is_some() {
                            break;
                        }
                    }
                    other => return other,
                }
            }
            Err(std::io::ErrorKind::TimedOut.into())
        });
        if greeted.is_ok() && &greeting == b"OK" {
            return Ok(());
        }
        self.end();
        let mut stderr = Vec::new();
        if let Some(stream) = self.child.stderr.take() {
            let _ = stream.take(4000).read_to_end(&mut stderr);
        }
        if stderr.starts_with(b"sh: ") && String::from_utf8_lossy(&stderr).contains("not found") {
            let remedy = "install app-crypt/gnupg (Debian: gpg-agent), version 2.2 or later";
            return Err(OpenPgpError::Missing { program: "gpg-agent", remedy });
        }
        Err(OpenPgpError::Agent { stderr: cut(&stderr) })
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}

/// `program` with these arguments, killed by the kernel if the calling thread ends.
pub(super) fn guarded<const N: usize>(program: &str, arguments: [&str; N]) -> Command {
    let mut command = command("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments.map(OsStr::new));
    command
}
