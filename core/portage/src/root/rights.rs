//! Whether this process may make private roots, found out by trying.

use std::process::{Command, Stdio};

/// By what right private roots are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// This process is root and may mount.
    Root,
    /// As user 0 of a user namespace, an ordinary user outside.
    UserNamespace,
}

/// Why private roots cannot be made here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RightsError {
    /// A program that every Gentoo and Debian has is missing.
    #[error(
        "cannot run {program}: {source}; it comes with util-linux 2.33 or later, which must be installed"
    )]
    Program {
        /// `setpriv` or `unshare`.
        program: &'static str,
        /// The reason.
        source: std::io::Error,
    },
    /// Root, but without the capability to mount, as in most containers.
    #[error(
        "root may not make namespaces here ({reason}); in a container start it with CAP_SYS_ADMIN \
         (docker run --privileged, podman run --cap-add SYS_ADMIN)"
    )]
    Root {
        /// What `unshare` said.
        reason: String,
    },
    /// An ordinary user where user namespaces are switched off.
    #[error(
        "an ordinary user may not make user namespaces here ({reason}); allow them with \
         `sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000` \
         (on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0), or run the same command as root"
    )]
    User {
        /// What `unshare` said.
        reason: String,
    },
}

/// Finds out by which right private roots can be made, by making and leaving empty namespaces.
///
/// # Errors
/// A [`RightsError`] that says what to change.
pub fn probe() -> Result<Rights, RightsError> {
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--ipc", "--uts", "--net", "--fork"]);
    if !is_root {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--", "/bin/sh", "-c", "mount --make-rprivate / && mount -t tmpfs none /mnt"]);
    let output = command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| RightsError::Program { program: "unshare", source })?;
    if output.status.success() {
        return Ok(if is_root { Rights::Root } else { Rights::UserNamespace });
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(if is_root { RightsError::Root { reason } } else { RightsError::User { reason } })
}
