//! Where Portage and what it needs are on a machine, and how its programs are called.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::repositories::Repositories;
use crate::root::{PrivateRoot, Rights, RootError, Scratch};

/// What to build for and with.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The root whose `etc/portage` holds the configuration; `/` on a Gentoo machine.
    pub config_root: PathBuf,
    /// The root that builds start from: a stage3 or `/`.
    pub base: PathBuf,
    /// A Python prefix (a virtual environment) with Portage in it; `None` if the base has its own.
    pub portage: Option<PathBuf>,
    /// Prefixes whose `bin` is put on `PATH`, for tools that the base lacks.
    pub tools: Vec<PathBuf>,
    /// By what right private roots are made.
    pub rights: Rights,
}

/// Portage's user; only Gentoo has it from the start (`acct-user/portage`).
const PORTAGE_USER: &str = "portage:x:250:250:portage:/var/tmp/portage:/bin/false\n";
const SHADOW: &str = "root:*:::::::\nportage:!:::::::\n";
const PORTAGE_GROUP: &str = "portage:x:250:portage\n";

/// Where DISTDIR is in every private root.
pub(crate) const DISTDIR: &str = "/var/cache/distfiles";

impl Machine {
    /// A private root over the base in which this machine's Portage runs: its programs shown, its user
    /// present. Configuration and repositories are for the caller to show.
    ///
    /// # Errors
    /// A [`RootError`] naming the path that cannot be used.
    pub fn root(&self, work: &Path, scratch: Scratch) -> Result<PrivateRoot, RootError> {
        let mut root = PrivateRoot::new(&self.base, work, scratch, self.rights)?;
        for (name, line) in [("passwd", PORTAGE_USER), ("group", PORTAGE_GROUP)] {
            let path = Path::new("/etc").join(name);
            let source = self.base.join("etc").join(name);
            let text = match fs::read_to_string(&source) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => "root:x:0:\n".to_owned(),
                Err(error) => return Err(RootError::Io { path: source, source: error }),
            };
            if !text.lines().any(|line| line.starts_with("portage:")) {
                let copy = work.join(name);
                fs::write(&copy, text + line)
                    .map_err(|source| RootError::Io { path: copy.clone(), source })?;
                root = root.with_file(&copy, &path);
            }
        }
        for (name, text) in [("shadow", SHADOW), ("gshadow", "root:::\n")] {
            // Passwords of the machine are nothing to a build, which may run as root.
            if self.base.join("etc").join(name).exists() {
                let copy = work.join(name);
                fs::write(&copy, text).map_err(|source| RootError::Io { path: copy.clone(), source })?;
                root = root.with_file(&copy, &Path::new("/etc").join(name));
            }
        }
        for prefix in self.portage.iter().chain(&self.tools) {
            root = root.with_read_only(prefix, prefix);
        }
        if let Some(prefix) = &self.portage {
            // A Portage that pip installed looks for its defaults below its prefix; told to use none, it
            // looks here.
            let config = Path::new("share/portage/config");
            root = root.with_link(&prefix.join(config), &Path::new("/").join(config));
        }
        Ok(root)
    }

    /// The Python that Portage runs under, inside a private root.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        match &self.portage {
            Some(prefix) => prefix.join("bin/python3"),
            None => PathBuf::from("/usr/bin/python3"),
        }
    }

    /// Gives a command of [`PrivateRoot::command`] the whole environment Portage is meant to see.
    ///
    /// Nothing of the caller's environment gets through: Portage hands what it finds on to builds.
    pub fn set_environment(&self, command: &mut Command, repositories: &Repositories) {
        let prefixes = self.portage.iter().chain(&self.tools).map(|prefix| prefix.join("bin"));
        let system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        let path: Vec<PathBuf> = prefixes.chain(system.iter().map(PathBuf::from)).collect();
        command
            .env("HOME", "/root")
            .env("TERM", "dumb")
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .env("PYTHONHASHSEED", "0")
            .env("PATH", std::env::join_paths(path).unwrap_or_default())
            .env("ROOT", "/")
            .env("PORTAGE_CONFIGROOT", "/")
            .env("PORTAGE_REPOSITORIES", repositories.as_configuration())
            .env("PORTAGE_TMPDIR", "/var/tmp")
            // Keys are trusted by `client setup`, not by a program that fetches some.
            .env("PORTAGE_TRUST_HELPER", "/bin/true")
            .env("EMERGE_LOG_DIR", "/var/log")
            .env("DISTDIR", DISTDIR)
            .env("BINPKG_FORMAT", "gpkg")
            .env("BINPKG_COMPRESS", "zstd");
        if self.portage.is_some() {
            command.env("PORTAGE_OVERRIDE_EPREFIX", "");
        }
        if self.rights == Rights::UserNamespace {
            // Only one user exists there.
            command.env("PORTAGE_USERNAME", "root").env("PORTAGE_GRPNAME", "root");
        }
    }

    /// `FEATURES` to add for every call: what cannot work in a private root, or only costs time in one.
    #[must_use]
    pub fn features(&self) -> String {
        let mut features =
            "-news -usersync -merge-sync -userfetch -binpkg-signing -cgroup parallel-install".to_owned();
        if self.rights == Rights::UserNamespace {
            features += " -userpriv -usersandbox";
        }
        if !self.base.join("usr/bin/sandbox").exists() {
            features += " -sandbox -usersandbox";
        }
        features
    }
}
