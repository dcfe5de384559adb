//! Telling stock Portage to trust a key.
//!
//! With `verify-signature = true` Portage runs `gpg --verify` on the home directory `/etc/portage/gnupg`
//! (`BINPKG_GPG_VERIFY_GPG_HOME`) as the user nobody, and wants the key to be of full or ultimate trust *in
//! the trust database as it stands*, which it never updates itself. So a key is imported, given ultimate
//! trust, the database is brought up to date, and everything is left readable for nobody.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::armor;
use super::error::OpenPgpError;
use super::program::{Output, command, run};

/// What [`trust_setup`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The keyring's directory, `ROOT/etc/portage/gnupg`.
    pub home: PathBuf,
    /// Fingerprint of the key that is trusted now.
    pub fingerprint: String,
    /// Whether the directory did not exist before.
    pub created: bool,
    /// How to undo it, as text for a person.
    pub undo: String,
}

fn home_of(root: &Path) -> PathBuf {
    root.join("etc/portage/gnupg")
}

fn file_error(path: &Path, action: &'static str) -> impl Fn(io::Error) -> OpenPgpError {
    let path = path.to_owned();
    move |source| OpenPgpError::File { path: path.clone(), action, source }
}

fn gpg(home: &Path) -> Command {
    let mut command = command("gpg");
    command.args(["--no-options", "--batch", "--no-tty", "--yes", "--no-autostart", "--disable-dirmngr"]);
    command.args(["--no-permission-warning", "--no-auto-check-trustdb", "--status-fd", "2", "--homedir"]);
    command.arg(home);
    command
}

fn step(home: &Path, arguments: &[&str], input: &[u8], action: &'static str) -> Result<Output, OpenPgpError> {
    let mut command = gpg(home);
    command.args(arguments);
    let output = run(command, "gpg", input)?;
    let stderr = output.stderr.clone();
    let stdout = output.check("gpg", action)?;
    Ok(Output { success: true, stdout, stderr })
}

fn is_fingerprint(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
}

/// Makes Portage under `root` trust packages signed by `public_key` (armored). Keys that are trusted already
/// stay so; owner and permissions of an existing directory are kept. For `root = /` or any other root this
/// needs the rights to write there; as root a new directory is given to nobody, as Portage wants it.
///
/// # Errors
/// [`OpenPgpError::Malformed`] if it is not one public key; [`OpenPgpError::Failed`] with what gpg says;
/// [`OpenPgpError::File`].
pub fn trust_setup(root: &Path, public_key: &str) -> Result<Trust, OpenPgpError> {
    armor::public_key(public_key)?;
    let home = home_of(root);
    let created = !home.exists();
    if created {
        let parent = home.parent().unwrap_or(root);
        fs::create_dir_all(parent).map_err(file_error(parent, "making it"))?;
        fs::DirBuilder::new().mode(0o700).create(&home).map_err(file_error(&home, "making it"))?;
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = nobody()?;
            std::os::unix::fs::chown(&home, Some(uid), Some(gid))
                .map_err(file_error(&home, "giving it to nobody"))?;
        }
    }
    let result = import(&home, public_key);
    hand_over(&home)?;
    let fingerprint = result?;
    let undo = format!(
        "To undo: buildswarm removes the key, or by hand\n  gpg --homedir {home} --batch --yes --delete-keys \
         {fingerprint}\n  gpg --homedir {home} --check-trustdb\n",
        home = home.display(),
    ) + if created {
        "The directory did not exist before; removing it as a whole also undoes it.\n"
    } else {
        ""
    };
    Ok(Trust { home, fingerprint, created, undo })
}

fn import(home: &Path, public_key: &str) -> Result<String, OpenPgpError> {
    let output = step(home, &["--import"], public_key.as_bytes(), "importing the public key")?;
    let status = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut fingerprints: Vec<&str> = status
        .lines()
        .filter_map(|line| line.strip_prefix("[GNUPG:] IMPORT_OK "))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    fingerprints.dedup();
    let [fingerprint] = fingerprints[..] else {
        return Err(OpenPgpError::Malformed { expected: "one public key" });
    };
    // 6 is ultimate trust (gpg, `--export-ownertrust`).
    let line = format!("{fingerprint}:6:\n");
    step(home, &["--import-ownertrust"], line.as_bytes(), "trusting the key")?;
    step(home, &["--check-trustdb"], b"", "updating the trust database")?;
    Ok(fingerprint.to_owned())
}

/// Makes Portage under `root` no longer trust the key with this fingerprint. Without that key nothing happens;
/// the answer says whether there was one.
///
/// # Errors
/// [`OpenPgpError::Malformed`] if it is not a fingerprint of 40 or 64 upper-case hexadecimal digits;
/// [`OpenPgpError::Failed`] with what gpg says.
pub fn trust_remove(root: &Path, fingerprint: &str) -> Result<bool, OpenPgpError> {
    if !is_fingerprint(fingerprint) {
        return Err(OpenPgpError::Malformed { expected: "a fingerprint" });
    }
    let home = home_of(root);
    if !home.exists() {
        return Ok(false);
    }
    let mut listing = gpg(&home);
    listing.args(["--with-colons", "--list-keys", fingerprint]);
    if !run(listing, "gpg", io::empty())?.success {
        return Ok(false);
    }
    let result = remove(&home, fingerprint);
    hand_over(&home)?;
    result.map(|()| true)
}

fn remove(home: &Path, fingerprint: &str) -> Result<(), OpenPgpError> {
    // 2 is "undefined": the same as never having said anything.
    let line = format!("{fingerprint}:2:\n");
    step(home, &["--import-ownertrust"], line.as_bytes(), "no longer trusting the key")?;
    step(home, &["--delete-keys", fingerprint], b"", "deleting the public key")?;
    step(home, &["--check-trustdb"], b"", "updating the trust database")?;
    Ok(())
}

/// Gives what gpg wrote to the owner of the directory, and leaves it readable for those who may enter it.
fn hand_over(home: &Path) -> Result<(), OpenPgpError> {
    let directory = fs::metadata(home).map_err(file_error(home, "looking at it"))?;
    let mode = if directory.mode() & 0o001 == 0 { 0o600 } else { 0o644 };
    for name in ["pubring.kbx", "pubring.kbx~", "pubring.gpg", "trustdb.gpg"] {
        let path = home.join(name);
        let Ok(file) = fs::symlink_metadata(&path) else { continue };
        if !file.is_file() {
            continue;
        }
        if (file.uid(), file.gid()) != (directory.uid(), directory.gid()) {
            std::os::unix::fs::lchown(&path, Some(directory.uid()), Some(directory.gid()))
                .map_err(file_error(&path, "giving it to the owner of its directory"))?;
        }
        if file.mode() & 0o777 != mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .map_err(file_error(&path, "setting its permissions"))?;
        }
    }
    Ok(())
}

/// The ids Portage drops to: user nobody, group nogroup or, on systems without it, that of nobody.
fn nobody() -> Result<(u32, u32), OpenPgpError> {
    let field = |path: &str, name: &str, at: usize| -> Result<Option<u32>, OpenPgpError> {
        let path = Path::new(path);
        let mut text = String::new();
        let file = fs::File::open(path).map_err(file_error(path, "reading it"))?;
        file.take(16 << 20).read_to_string(&mut text).map_err(file_error(path, "reading it"))?;
        let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|line| line[0] == name);
        Ok(line.and_then(|line| line.get(at)?.parse().ok()))
    };
    let uid = field("/etc/passwd", "nobody", 2)?.unwrap_or(65534);
    let gid = field("/etc/group", "nogroup", 2)?.or(field("/etc/passwd", "nobody", 3)?).unwrap_or(65534);
    Ok((uid, gid))
}
