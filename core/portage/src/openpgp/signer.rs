//! The signing key and the directory it lives in.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FlockOperation;

use super::agent::{Agent, ShortHome, guarded};
use super::error::OpenPgpError;
use super::program::run;
use super::session::SigningSession;

/// A GnuPG home directory with exactly one secret key, made for signing packages.
///
/// Keep the directory private and back it up: whoever has it can sign for all who trust the key, and without
/// it every client must be told to trust another.
#[derive(Debug)]
pub struct Signer {
    home: PathBuf,
    fingerprint: String,
}

/// What we hold while something uses the home directory.
#[derive(Debug)]
pub(super) struct Guard {
    // Dropped in this order: the agent before its name, the lock last.
    _agent: Agent,
    pub(super) short: ShortHome,
    _lock: File,
}

impl Guard {
    fn new(home: &Path) -> Result<Self, OpenPgpError> {
        let path = home.join("buildswarm.lock");
        let failed = |source| OpenPgpError::File { path: path.clone(), action: "locking it", source };
        let lock = File::create(&path).map_err(failed)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let short = ShortHome::new(home)?;
        let agent = Agent::start(&short)?;
        Ok(Self { _agent: agent, short, _lock: lock })
    }
}

/// `gpg` on this home directory, without anything the user may have configured.
pub(super) fn gpg(home: &Path) -> Command {
    let mut command = guarded("gpg", ["--no-options", "--batch", "--no-tty", "--no-autostart"]);
    command.args(["--disable-dirmngr", "--no-auto-check-trustdb", "--trust-model", "always"]);
    command.args(["--status-fd", "2", "--homedir"]).arg(home);
    command
}

impl Signer {
    /// Opens the key in `home`, or makes the directory (mode 0700) and an Ed25519 key that can only sign, never
    /// expires and has no passphrase. `user_id` names the key for people: `Name <address>`.
    ///
    /// # Errors
    /// [`OpenPgpError::Missing`] without GnuPG; [`OpenPgpError::Keys`] if there is more than one key in `home`;
    /// [`OpenPgpError::Failed`] with what gpg says.
    pub fn open_or_create(home: &Path, user_id: &str) -> Result<Self, OpenPgpError> {
        if user_id.is_empty()
            || user_id.len() > 200
            || user_id.chars().any(char::is_control)
            || user_id.starts_with('-')
        {
            return Err(OpenPgpError::Malformed { expected: "a user id of the form Name <address>" });
        }
        make_home(home)?;
        let guard = Guard::new(home)?;
        let home = home.canonicalize().map_err(|source| OpenPgpError::File {
            path: home.to_owned(),
            action: "finding it",
            source,
        })?;
        if let Some(fingerprint) = secret_key(&guard, &home)? {
            return Ok(Self { home, fingerprint });
        }
        let mut command = gpg(guard.short.path());
        command.args(["--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", user_id]);
        command.args(["ed25519", "sign", "never"]);
        run(command, "gpg", io::empty())?.check("gpg", "generating a key")?;
        let fingerprint = secret_key(&guard, &home)?;
        let fingerprint = fingerprint.ok_or_else(|| OpenPgpError::Keys { path: home.clone(), count: 0 })?;
        Ok(Self { home, fingerprint })
    }

    /// The fingerprint of the key, 40 upper-case hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The directory the key lives in.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The public key, armored, to be given to everybody.
    ///
    /// # Errors
    /// [`OpenPgpError::Failed`] with what gpg says.
    pub fn export_public_key(&self) -> Result<String, OpenPgpError> {
        let mut command = gpg(&self.home);
        command.args(["--armor", "--export", &self.fingerprint]);
        let key = run(command, "gpg", io::empty())?.check("gpg", "exporting the public key")?;
        let key = String::from_utf8(key).unwrap_or_default();
        if key.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
            Ok(key)
        } else {
            Err(OpenPgpError::Malformed { expected: "an armored public key" })
        }
    }

    /// Starts a batch of signatures. Batches of one home directory wait for each other, also across processes.
    ///
    /// The session belongs to the calling thread: its agent dies if that thread ends.
    ///
    /// # Errors
    /// [`OpenPgpError::Missing`], [`OpenPgpError::Agent`], [`OpenPgpError::File`].
    pub fn session(&self) -> Result<SigningSession<'_>, OpenPgpError> {
        Ok(SigningSession::new(&self.fingerprint, Guard::new(&self.home)?))
    }
}

/// The directory must exist for `gpg`, and must not be made by it: some versions then enable a key daemon.
fn make_home(home: &Path) -> Result<(), OpenPgpError> {
    let failed = |action| move |source| OpenPgpError::File { path: home.to_owned(), action, source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(failed("making it"))?;
    fs::set_permissions(home, fs::Permissions::from_mode(0o700)).map_err(failed("restricting it"))
}

/// The fingerprint of the only secret key, or `None` if there is no key at all.
fn secret_key(guard: &Guard, home: &Path) -> Result<Option<String>, OpenPgpError> {
    let mut command = gpg(guard.short.path());
    command.args(["--with-colons", "--list-secret-keys"]);
    let listing = run(command, "gpg", io::empty())?.check("gpg", "listing secret keys")?;
    let listing = String::from_utf8_lossy(&listing);
    // `sec` begins a key, the first `fpr` after it is its fingerprint in field 10 (GnuPG, doc/DETAILS).
    let mut fingerprints = Vec::new();
    let mut lines = listing.lines();
    while lines.any(|line| line.starts_with("sec:")) {
        if let Some(line) = lines.find(|line| line.starts_with("fpr:")) {
            fingerprints.push(line.split(':').nth(9).unwrap_or_default().to_owned());
        }
    }
    match fingerprints.len() {
        0 | 1 => Ok(fingerprints.pop()),
        count => Err(OpenPgpError::Keys { path: home.to_owned(), count }),
    }
}
