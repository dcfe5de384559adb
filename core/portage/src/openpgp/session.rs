//! A batch of signatures.

use std::io::Read;
use std::marker::PhantomData;

use super::error::OpenPgpError;
use super::program::run;
use super::signer::{Guard, gpg};

/// Signs one thing after the other; made by [`Signer::session`](super::Signer::session).
///
/// Not `Send`: its agent is tied to the thread that began the session.
#[derive(Debug)]
pub struct SigningSession<'a> {
    fingerprint: &'a str,
    guard: Guard,
    _this_thread: PhantomData<*const ()>,
}

impl<'a> SigningSession<'a> {
    pub(super) const fn new(fingerprint: &'a str, guard: Guard) -> Self {
        Self { fingerprint, guard, _this_thread: PhantomData }
    }

    fn sign(&mut self, how: &str, data: impl Read, action: &'static str) -> Result<String, OpenPgpError> {
        let mut command = gpg(self.guard.short.path());
        command.args(["--armor", "--digest-algo", "SHA512", "--local-user", self.fingerprint, how]);
        let output = run(command, "gpg", data)?;
        // An exit status of 0 alone is no proof: the status lines say whether a signature was made.
        let created =
            output.stderr.split(|b| *b == b'\n').any(|line| line.starts_with(b"[GNUPG:] SIG_CREATED "));
        let stderr = super::error::cut(&output.stderr);
        let signature = output.check("gpg", action)?;
        match String::from_utf8(signature) {
            Ok(text) if created => Ok(text),
            _ => Err(OpenPgpError::Failed { program: "gpg", action, stderr }),
        }
    }

    /// A detached armored signature of all of `data`.
    ///
    /// # Errors
    /// [`OpenPgpError::Data`] if `data` cannot be read; [`OpenPgpError::Failed`] with what gpg says.
    pub fn sign_detached(&mut self, data: impl Read) -> Result<String, OpenPgpError> {
        self.sign("--detach-sign", data, "signing")
    }

    /// `text` with a signature around it.
    ///
    /// # Errors
    /// [`OpenPgpError::Failed`] with what gpg says.
    pub fn clear_sign(&mut self, text: &str) -> Result<String, OpenPgpError> {
        self.sign("--clear-sign", text.as_bytes(), "signing a text")
    }
}
