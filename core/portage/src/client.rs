//! Machines that install: where their Portage looks for binary packages, and running their emerge.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::capture::{CaptureError, Configuration};
use crate::machine::Machine;
use crate::root::{Rights, RootError, Scratch};

/// Why a client's root cannot be set up or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Something that must be one plain line is not.
    #[error("{what} {text:?} has a character that binrepos.conf cannot hold")]
    Text {
        /// What it is.
        what: &'static str,
        /// What was given.
        text: String,
    },
    /// The address is none that Portage can fetch from.
    #[error("{url:?} is not an address that Portage fetches from; it takes http://, https:// or file://")]
    Address {
        /// What was given.
        url: String,
    },
    /// `binrepos.conf` is a file, into which we do not write.
    #[error("{path} is a file; make it a directory (move it to {path}/local.conf) so that others can add to it")]
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// The private root that emerge runs in cannot be made.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The root's configuration cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

/// One section of `binrepos.conf` (portage(5)).
#[derive(Debug, Clone)]
pub struct BinaryRepository {
    /// The section's name.
    pub name: String,
    /// Where `Packages` is.
    pub url: String,
    /// The highest of several is asked first.
    pub priority: i32,
}

/// Memory for what emerge fetches and unpacks outside of the client's root, in bytes; packages beyond it are
/// better installed by the client itself.
const SCRATCH_BYTES: u64 = 4 << 30;
const BINREPOS: &str = "etc/portage/binrepos.conf";
const WRITTEN: &str = "# Written by `build-swarm client setup`; `build-swarm client remove` removes it.\n";

fn at(path: &Path) -> impl FnOnce(io::Error) -> ClientError + use<> {
    let path = path.to_owned();
    move |source| ClientError::Io { path, source }
}

impl BinaryRepository {
    fn check(&self) -> Result<(), ClientError> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if self.name.is_empty() || self.name.starts_with(['.', '-']) || !self.name.bytes().all(is_name) {
            return Err(ClientError::Text { what: "the name", text: self.name.clone() });
        }
        if self.url.chars().any(|c| c.is_control() || c.is_whitespace() || "%#;".contains(c)) {
            return Err(ClientError::Text { what: "the address", text: self.url.clone() });
        }
        if !["http://", "https://", "file:///"].iter().any(|scheme| self.url.starts_with(scheme)) {
            return Err(ClientError::Address { url: self.url.clone() });
        }
        Ok(())
    }

    /// Writes the section into a file of its own below `root`, replacing what an earlier call wrote, and
    /// returns the file.
    ///
    /// # Errors
    /// A [`ClientError`] naming what cannot be used.
    pub fn write(&self, root: &Path) -> Result<PathBuf, ClientError> {
        self.check()?;
        let directory = root.join(BINREPOS);
        if directory.is_file() {
            return Err(ClientError::NotADirectory { path: directory });
        }
        fs::create_dir_all(&directory).map_err(at(&directory))?;
        let path = file(root, &self.name);
        let Self { name, url, priority } = self;
        let text =
            format!("{WRITTEN}[{name}]\npriority = {priority}\nsync-uri = {url}\nverify-signature = true\n");
        let partial = path.with_extension("part");
        fs::write(&partial, text).map_err(at(&partial))?;
        fs::rename(&partial, &path).map_err(at(&path))?;
        Ok(path)
    }
}

fn file(root: &Path, name: &str) -> PathBuf {
    root.join(BINREPOS).join(format!("{name}.conf"))
}

/// Removes what [`BinaryRepository::write`] wrote; whether there was something. A file somebody else wrote is
/// left alone.
///
/// # Errors
/// [`ClientError::Io`].
pub fn remove(root: &Path, name: &str) -> Result<bool, ClientError> {
    let path = file(root, name);
    match fs::read_to_string(&path) {
        Ok(text) if text.starts_with(WRITTEN) => {
            fs::remove_file(&path).map_err(at(&path))?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(&path)(error)),
    }
}

/// The command that runs stock `emerge` on `root`, which must have an `etc/portage`.
///
/// For `/` on a machine with Portage of its own that is its emerge. Otherwise the configured Portage runs in
/// a private root (with network, to fetch packages) in which `root` is shown at its own path and can be
/// written to, and nothing else of the machine can. Files for that go below `work`, which must outlive the
/// command.
///
/// # Errors
/// A [`ClientError`] naming what cannot be used.
pub fn emerge(machine: &Machine, root: &Path, work: &Path) -> Result<Command, ClientError> {
    if root == Path::new("/") && machine.portage.is_none() {
        let mut command = Command::new("emerge");
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        return Ok(command);
    }
    let configuration = Configuration::capture(root, &machine.base, &work.join("client-configuration"))?;
    // Portage also reads the configuration of the root it runs in, and verifies with the keyring there.
    let mut private = machine
        .root(work, Scratch::Memory(SCRATCH_BYTES))?
        .with_network()
        .with_writable(root, root)
        .with_writable(&root.join("etc/portage"), Path::new("/etc/portage"));
    for place in configuration.places() {
        private = private.with_read_only(place, place);
    }
    let mut command = private.command("emerge")?;
    machine.set_environment(&mut command, configuration.repositories());
    command.env("ROOT", root).env("SYSROOT", root).env("PORTAGE_CONFIGROOT", root);
    command.env("FEATURES", machine.features()).stdin(Stdio::null());
    if machine.rights == Rights::UserNamespace {
        // There is no nobody to verify signatures as.
        command.env("GPG_VERIFY_USER_DROP", "root").env("GPG_VERIFY_GROUP_DROP", "root");
    }
    Ok(command)
}
