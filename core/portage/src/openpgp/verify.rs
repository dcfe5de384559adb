//! Checking signatures for our own use, with `gpgv`: no agent, no trust database, only the keys it is given.

use std::io::{self, Read, Write as _};
use std::process::Command;

use super::armor;
use super::error::{OpenPgpError, cut};
use super::program::{command, run};

/// A set of public keys, all of them trusted.
#[derive(Debug)]
pub struct Verifier {
    directory: tempfile::TempDir,
}

fn file_error(path: &std::path::Path) -> impl Fn(io::Error) -> OpenPgpError {
    let path = path.to_owned();
    move |source| OpenPgpError::File { path: path.clone(), action: "writing it", source }
}

impl Verifier {
    /// A verifier that accepts signatures by any of these armored public keys.
    ///
    /// # Errors
    /// [`OpenPgpError::Malformed`] if one is not an armored public key; [`OpenPgpError::File`].
    pub fn new<'a>(public_keys: impl IntoIterator<Item = &'a str>) -> Result<Self, OpenPgpError> {
        let directory = tempfile::tempdir().map_err(file_error(&std::env::temp_dir()))?;
        let mut keyring = Vec::new();
        for key in public_keys {
            keyring.extend_from_slice(&armor::public_key(key)?);
        }
        let path = directory.path().join("keyring.gpg");
        std::fs::write(&path, keyring).map_err(file_error(&path))?;
        Ok(Self { directory })
    }

    fn gpgv(&self) -> Command {
        let mut command = command("gpgv");
        command.args(["--status-fd", "2", "--homedir"]).arg(self.directory.path());
        command.arg("--keyring").arg(self.directory.path().join("keyring.gpg"));
        command
    }

    /// Checks a detached signature over all of `data`.
    ///
    /// # Errors
    /// [`OpenPgpError::Invalid`] if it does not hold; [`OpenPgpError::Missing`] without gpgv.
    pub fn verify_detached(&self, data: impl Read, signature: &[u8]) -> Result<(), OpenPgpError> {
        let mut file = tempfile::NamedTempFile::new_in(self.directory.path())
            .map_err(file_error(self.directory.path()))?;
        file.write_all(signature).map_err(file_error(file.path()))?;
        let mut command = self.gpgv();
        command.arg(file.path()).arg("-");
        check(command, data).map(drop)
    }

    /// Checks a clear-signed message and gives the text that was signed.
    ///
    /// # Errors
    /// As [`verify_detached`](Self::verify_detached).
    pub fn verify_clear_signed(&self, message: &str) -> Result<String, OpenPgpError> {
        let mut command = self.gpgv();
        command.args(["--output", "-", "-"]);
        let text = check(command, message.as_bytes())?;
        String::from_utf8(text).map_err(|_| OpenPgpError::Invalid { reason: "it is not UTF-8".to_owned() })
    }
}

/// Exactly one good signature, by a key that is neither expired nor revoked (GnuPG, doc/DETAILS).
fn check(command: Command, data: impl Read) -> Result<Vec<u8>, OpenPgpError> {
    let output = run(command, "gpgv", data)?;
    let lines: Vec<&[u8]> = output.stderr.split(|b| *b == b'\n').collect();
    let count = |word: &[u8]| lines.iter().filter(|line| line.starts_with(word)).count();
    let good = count(b"[GNUPG:] GOODSIG ") == 1 && count(b"[GNUPG:] VALIDSIG ") == 1;
    let begun = count(b"[GNUPG:] NEWSIG");
    if output.success && good && begun <= 1 {
        Ok(output.stdout)
    } else {
        Err(OpenPgpError::Invalid { reason: cut(&output.stderr) })
    }
}
