//! OpenPGP signatures through the GnuPG programs: making them, checking them, and telling Portage whom to
//! trust.
//!
//! [`Signer`] owns a GnuPG home directory with one key; [`Signer::session`] starts the one process GnuPG
//! cannot do without (`gpg-agent`, which alone touches secret keys), and the returned [`SigningSession`] signs.
//! The agent is ours alone: it dies with the session, and the kernel kills it if this process dies first.
//! [`Verifier`] checks with `gpgv`, which needs no agent. [`trust_setup`] installs a public key where stock
//! Portage looks for it.
//!
//! ```no_run
//! use buildswarm_portage::openpgp::Signer;
//! let signer = Signer::open_or_create("/var/lib/buildswarm/gnupg".as_ref(), "buildswarm <binhost@example.org>")?;
//! let mut session = signer.session()?;
//! let signature = session.sign_detached("some bytes".as_bytes())?;
//! assert!(signature.starts_with("-----BEGIN PGP SIGNATURE-----"));
//! # Ok::<(), buildswarm_portage::openpgp::OpenPgpError>(())
//! ```

mod agent;
mod armor;
mod error;
mod program;
mod session;
mod signer;
mod trust;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

pub use error::OpenPgpError;
pub use session::SigningSession;
pub use signer::Signer;
pub use trust::{Trust, trust_remove, trust_setup};
pub use verify::Verifier;
