//! A private root: a throw-away view of a base root in which one command runs.
//!
//! The base (a stage3, or the machine's own `/`) is shown through overlays, so the command may change
//! anything and nothing outside changes. It has its own mounts, processes, IPC, host name and, unless asked
//! otherwise, no network. It ends when its first process ends, and its first process ends when the process
//! that made it does, however that happens: no mount or process can be left behind.
//!
//! A [`PrivateRoot`] is a description, a value; [`PrivateRoot::command`] turns it into a command of
//! util-linux's `setpriv` and `unshare` around the embedded `enter.sh`. An ordinary user gets the same in a
//! user namespace, where the kernel allows one.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

mod rights;

pub use rights::{Rights, RightsError, probe};

const ENTER: &str = include_str!("root/enter.sh");

/// Top-level directories of the base that are shown. The rest (`/home`, `/root`, `/mnt`, …) belong to people
/// and machines, not to builds, and are empty in a private root.
const SHOWN: [&str; 8] = ["bin", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr"];
/// Shown if the base's package database is Portage's, which then knows what is there.
const SHOWN_IF_GENTOO: &str = "opt";
/// The same below `/var`: package databases, and nothing that services of the machine keep there.
const SHOWN_IN_VAR: [&str; 6] = ["db", "lib/dpkg", "lib/gentoo", "lib/portage", "lib/rpm", "lib/rpm-state"];
/// Directories of what is shown that are empty in a private root: secrets of the machine, and what no package
/// database knows of.
const HIDDEN: [&str; 8] = [
    "/etc/NetworkManager",
    "/etc/letsencrypt",
    "/etc/openvpn",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/wireguard",
    "/usr/local",
    "/etc/swarmd",
];
/// Directories every root has, with their modes.
const SKELETON: [(&str, &str); 20] = [
    ("/boot", "755"),
    ("/dev", "755"),
    ("/home", "755"),
    ("/media", "755"),
    ("/mnt", "755"),
    ("/opt", "755"),
    ("/proc", "555"),
    ("/root", "700"),
    ("/run", "755"),
    ("/srv", "755"),
    ("/sys", "555"),
    ("/tmp", "1777"),
    ("/var", "755"),
    ("/var/cache", "755"),
    ("/var/empty", "755"),
    ("/var/lib", "755"),
    ("/var/log", "755"),
    ("/var/spool", "755"),
    ("/var/tmp", "1777"),
    ("/var/tmp/portage", "775"),
];

/// Why a private root cannot be described or entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// A path that cannot be an operand of an overlay mount.
    #[error(
        "{path}: a path with ':', ',', '\\' or a newline cannot be used for a private root; choose another"
    )]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// A directory of the base or the work directory cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Where what is written in the root goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scratch {
    /// Into memory, at most this many bytes; gone with the root.
    Memory(u64),
    /// Into the work directory; whoever made that removes it.
    Disk,
}

/// The description of a private root.
#[derive(Debug, Clone)]
pub struct PrivateRoot {
    base: PathBuf,
    work: PathBuf,
    scratch: Scratch,
    network: bool,
    rights: Rights,
    files: Vec<(PathBuf, PathBuf)>,
    links: Vec<(PathBuf, PathBuf)>,
    shown: Vec<Shown>,
}

#[derive(Debug, Clone)]
struct Shown {
    operation: &'static str,
    source: PathBuf,
    path: PathBuf,
}

fn plain(path: &Path) -> Result<&Path, RootError> {
    if path.as_os_str().as_bytes().iter().any(|b| b":,\\\n\0".contains(b)) {
        return Err(RootError::Path { path: path.to_owned() });
    }
    Ok(path)
}

impl PrivateRoot {
    /// A root over `base`, its scratch and description in the existing directory `work`.
    ///
    /// # Errors
    /// [`RootError::Path`] if either path has a character that overlay mounts give a meaning.
    pub fn new(base: &Path, work: &Path, scratch: Scratch, rights: Rights) -> Result<Self, RootError> {
        Ok(Self {
            base: plain(base)?.to_owned(),
            work: plain(work)?.to_owned(),
            scratch,
            network: false,
            rights,
            files: Vec::new(),
            links: Vec::new(),
            shown: Vec::new(),
        })
    }

    /// Lets the root use the network of the outside: to fetch sources, never to build.
    #[must_use]
    pub const fn with_network(mut self) -> Self {
        self.network = true;
        self
    }

    /// Replaces a file of the base, `path` in the root, by a copy of `source`.
    #[must_use]
    pub fn with_file(mut self, source: &Path, path: &Path) -> Self {
        self.files.push((source.to_owned(), path.to_owned()));
        self
    }

    /// Makes a symbolic link at `path` in the root.
    #[must_use]
    pub fn with_link(mut self, target: &Path, path: &Path) -> Self {
        self.links.push((target.to_owned(), path.to_owned()));
        self
    }

    /// Shows a file or directory of the outside at `path`, not to be changed.
    #[must_use]
    pub fn with_read_only(mut self, source: &Path, path: &Path) -> Self {
        self.shown.push(Shown { operation: "ro", source: source.to_owned(), path: path.to_owned() });
        self
    }

    /// Shows a file or directory of the outside at `path`, where what the root writes stays.
    #[must_use]
    pub fn with_writable(mut self, source: &Path, path: &Path) -> Self {
        self.shown.push(Shown { operation: "rw", source: source.to_owned(), path: path.to_owned() });
        self
    }

    /// The base root.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Writes the description into the work directory and returns the command that runs `program` there.
    ///
    /// The command's environment is empty but for `PATH`, its input is the caller's to set. It exits as
    /// `program` does, or with 125 and a line on standard error if the root cannot be put together.
    ///
    /// The command dies with the *thread* that spawns it (`PR_SET_PDEATHSIG`): wait for it in that thread.
    ///
    /// # Errors
    /// [`RootError::Io`] if the base cannot be read or the work directory not written.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command, RootError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RootError::Io { path, source }
        };
        let scratch = self.work.join("scratch");
        fs::create_dir_all(&scratch).map_err(at(&scratch))?;
        let enter = self.work.join("enter.sh");
        fs::write(&enter, ENTER).map_err(at(&enter))?;
        let description = self.work.join("root");
        fs::write(&description, self.describe()?.as_bytes()).map_err(at(&description))?;

        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--kill-child=KILL", "--fork"]);
        command.args(["--mount", "--pid", "--ipc", "--uts"]);
        if !self.network {
            command.arg("--net");
        }
        if self.rights == Rights::UserNamespace {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--", "/bin/bash"]).arg(enter).arg(description).arg(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
        Ok(command)
    }

    fn describe(&self) -> Result<OsString, RootError> {
        let mut words = Words::default();
        if let Scratch::Memory(bytes) = self.scratch {
            words.push(["scratch", &bytes.to_string()]);
        }
        if self.rights == Rights::UserNamespace {
            words.push(["userns"]);
        }
        for (path, mode) in SKELETON {
            words.push(["dir", path, mode]);
        }
        for (source, path) in &self.files {
            words.push([OsStr::new("file"), source.as_ref(), path.as_ref()]);
        }
        self.describe_base(&mut words)?;
        for (target, path) in &self.links {
            words.push([OsStr::new("link"), target.as_ref(), path.as_ref()]);
        }
        for shown in &self.shown {
            words.push([shown.operation.as_ref(), shown.source.as_os_str(), shown.path.as_ref()]);
        }
        Ok(words.0)
    }

    fn describe_base(&self, words: &mut Words) -> Result<(), RootError> {
        let is_gentoo = self.base.join("var/db/pkg").is_dir();
        for name in SHOWN.into_iter().chain(is_gentoo.then_some(SHOWN_IF_GENTOO)) {
            self.describe_entry(Path::new(name), words)?;
        }
        for name in SHOWN_IN_VAR {
            self.describe_entry(&Path::new("var").join(name), words)?;
        }
        for path in HIDDEN.iter().filter(|path| self.base.join(&path[1..]).is_dir()) {
            words.push(["hide", path]);
        }
        Ok(())
    }

    fn describe_entry(&self, name: &Path, words: &mut Words) -> Result<(), RootError> {
        let lower = self.base.join(name);
        let path = Path::new("/").join(name);
        match fs::symlink_metadata(&lower) {
            Ok(meta) if meta.is_symlink() => {
                let target =
                    fs::read_link(&lower).map_err(|source| RootError::Io { path: lower.clone(), source })?;
                words.push([OsStr::new("link"), target.as_ref(), path.as_ref()]);
            }
            Ok(meta) if meta.is_dir() => {
                words.push([OsStr::new("overlay"), path.as_ref(), plain(&lower)?.as_ref()]);
            }
            Ok(_) => {}
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                if name.starts_with("var") {
                    words.push([OsStr::new("dir"), path.as_ref(), "755".as_ref()]);
                }
            }
            Err(source) => return Err(RootError::Io { path: lower, source }),
        }
        Ok(())
    }
}

/// NUL-terminated words.
#[derive(Default)]
struct Words(OsString);

impl Words {
    fn push<W: AsRef<OsStr>>(&mut self, words: impl IntoIterator<Item = W>) {
        for word in words {
            self.0.push(word.as_ref());
            self.0.push("\0");
        }
    }
}

#[cfg(test)]
mod tests;
