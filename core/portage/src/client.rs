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
    #[error(
        "{path} is a file; make it a directory (move it to {path}/local.conf) so that others can add to it"
    )]
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
    for place in local_binhosts(&root.join("etc/portage/binrepos.conf"))? {
        private = private.with_read_only(&place, &place);
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

/// Directories that the files of `binrepos.conf` name as `file://`.
fn local_binhosts(directory: &Path) -> Result<Vec<PathBuf>, ClientError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(directory))?,
    };
    let mut places = Vec::new();
    for entry in entries {
        let path = entry.map_err(at(directory))?.path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(at(&path))?;
        let urls =
            text.lines().filter_map(|line| line.split_once('=')).filter(|(key, _)| key.trim() == "sync-uri");
        for place in urls.filter_map(|(_, url)| url.trim().strip_prefix("file://")).map(Path::new) {
            // A channel of ours leads to a pool beside all channels.
            let binhost = place.ancestors().nth(3).filter(|above| above.join("pool").is_dir());
            let place = binhost.unwrap_or(place);
            if place.is_dir() {
                places.push(place.to_owned());
            }
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str, url: &str) -> BinaryRepository {
        BinaryRepository { name: name.to_owned(), url: url.to_owned(), priority: 10 }
    }

    #[test]
    fn what_was_written_is_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let file = repository("swarm", "http://host:7080/binhost/default").write(root.path()).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("[swarm]\n") && text.contains("verify-signature = true"), "{text}");
        assert!(remove(root.path(), "swarm").unwrap() && !remove(root.path(), "swarm").unwrap());
        fs::write(&file, "[swarm]\nmine = yes\n").unwrap();
        assert!(!remove(root.path(), "swarm").unwrap() && file.exists());
    }

    #[test]
    fn what_binrepos_conf_cannot_hold_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let refused = [
            ("a b", "http://x/"),
            ("../x", "http://x/"),
            ("", "http://x/"),
            ("a", "http://x/\npriority = 1"),
            ("a", "ftp://x/"),
            ("a", "x"),
            ("a", "http://%(x)s/"),
        ];
        for (name, url) in refused {
            assert!(repository(name, url).write(root.path()).is_err(), "{name} {url}");
        }
        fs::create_dir_all(root.path().join("etc/portage")).unwrap();
        fs::write(root.path().join(BINREPOS), "").unwrap();
        let text = repository("a", "http://x/").write(root.path()).unwrap_err().to_string();
        assert!(text.contains("is a file"), "{text}");
    }

    #[test]
    fn a_local_channel_is_shown_with_its_pool() {
        let dir = tempfile::tempdir().unwrap();
        let (root, binhost) = (dir.path().join("root"), dir.path().join("binhost"));
        fs::create_dir_all(binhost.join("pool")).unwrap();
        fs::create_dir_all(binhost.join("channels/default/current")).unwrap();
        let url = format!("file://{}/channels/default/current", binhost.display());
        repository("swarm", &url).write(&root).unwrap();
        assert_eq!(local_binhosts(&root.join(BINREPOS)).unwrap(), [binhost]);
    }
}
