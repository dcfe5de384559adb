//! Tests against the installed GnuPG; each prints a line and ends if it is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// A signer in a directory whose path is far longer than a socket's may be, as below a user's cache.
pub(crate) fn signer(directory: &Path) -> Option<Signer> {
    if Command::new("gpg").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: gpg is not installed");
        return None;
    }
    let home = directory.join("h".repeat(150)).join("gnupg");
    Some(Signer::open_or_create(&home, "buildswarm test <test@example.org>").unwrap())
}

/// Processes named gpg-agent or scdaemon whose parent is `parent`.
fn agents_of(parent: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let (head, tail) = stat.rsplit_once(") ").unwrap_or_default();
        let ours = head.contains("(gpg-agent") || head.contains("(scdaemon");
        if ours && tail.split(' ').nth(1) == Some(&parent.to_string()) && !tail.starts_with('Z') {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_key_is_made_once_and_signs() {
    let directory = tempfile::tempdir().unwrap();
    let Some(signer) = signer(directory.path()) else { return };
    assert!(signer.home().as_os_str().len() > 150);
    assert_eq!(signer.fingerprint().len(), 40);
    let again = Signer::open_or_create(signer.home(), "somebody else <x@example.org>").unwrap();
    assert_eq!(again.fingerprint(), signer.fingerprint());

    let key = signer.export_public_key().unwrap();
    let mut session = signer.session().unwrap();
    let data = vec![b'x'; 3 << 20];
    let signature = session.sign_detached(&data[..]).unwrap();
    let message = session.clear_sign("- first\nsecond\n").unwrap();
    drop(session);

    let verifier = Verifier::new([key.as_str()]).unwrap();
    verifier.verify_detached(&data[..], signature.as_bytes()).unwrap();
    assert_eq!(verifier.verify_clear_signed(&message).unwrap(), "- first\nsecond\n");
    let refused = verifier.verify_detached(&data[1..], signature.as_bytes()).unwrap_err();
    assert!(matches!(refused, OpenPgpError::Invalid { .. }), "{refused}");
    assert!(verifier.verify_clear_signed(&message.replace("second", "third")).is_err());
    assert!(verifier.verify_clear_signed("no signature at all\n").is_err());
}

#[test]
fn a_key_not_in_the_keyring_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (Some(ours), Some(theirs)) = (signer(one.path()), signer(two.path())) else { return };
    let signature = theirs.session().unwrap().sign_detached(&b"data"[..]).unwrap();
    let verify = |key: &Signer| {
        let key = key.export_public_key().unwrap();
        Verifier::new([key.as_str()]).unwrap().verify_detached(&b"data"[..], signature.as_bytes())
    };
    assert!(verify(&theirs).is_ok());
    assert!(verify(&ours).unwrap_err().to_string().contains("NO_PUBKEY"));
}

/// Not a test by itself: [`no_agent_survives`] runs it in a process of its own, to be killed.
#[test]
fn holds_a_session_when_asked() {
    let Some(home) = std::env::var_os("BUILDSWARM_TEST_HOLD_SESSION") else { return };
    let signer = Signer::open_or_create(home.as_ref(), "buildswarm test <test@example.org>").unwrap();
    let _session = signer.session().unwrap();
    std::fs::write(Path::new(&home).join("ready"), "").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn no_agent_survives() {
    let directory = tempfile::tempdir().unwrap();
    let Some(signer) = signer(directory.path()) else { return };
    let litter = tempfile::tempdir().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "openpgp::tests::holds_a_session_when_asked"])
        .env("BUILDSWARM_TEST_HOLD_SESSION", signer.home())
        .env("TMPDIR", litter.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let until = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < until, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let ready = signer.home().join("ready");
    wait("the session", &|| ready.exists());
    let agents = agents_of(holder.id());
    assert_eq!(agents.len(), 1, "the agent runs in the foreground, below its user");
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait("the agent's end", &|| agents.iter().all(|process| !is_alive(process)));
    // The lock and the stale socket left behind stop nobody.
    signer.session().unwrap().sign_detached(&b"x"[..]).unwrap();
}

fn is_alive(process: &Path) -> bool {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

#[test]
fn a_missing_program_is_named_with_its_remedy() {
    let error = program::run(program::command("gpgv-of-nowhere"), "gpgv", std::io::empty()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the program gpgv is not installed: install app-crypt/gnupg (Debian: gnupg, gpgv), version 2.2 or later"
    );
}

#[test]
fn trust_is_added_beside_existing_keys_and_removed_again() {
    let directory = tempfile::tempdir().unwrap();
    let Some(ours) = signer(&directory.path().join("a")) else { return };
    let theirs = signer(&directory.path().join("b")).unwrap();
    let root = directory.path().join("root");
    let first = trust_setup(&root, &theirs.export_public_key().unwrap()).unwrap();
    assert!(first.created && first.undo.contains(theirs.fingerprint()));
    let second = trust_setup(&root, &ours.export_public_key().unwrap()).unwrap();
    assert!(!second.created);
    assert_eq!(second.fingerprint, ours.fingerprint());

    let listing = || {
        let mut gpg = Command::new("gpg");
        gpg.args(["--no-options", "--batch", "--no-autostart", "--no-permission-warning", "--with-colons"]);
        let output = gpg.arg("--homedir").arg(&first.home).arg("--list-keys").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let ultimate = |listing: &str| listing.lines().filter(|line| line.starts_with("pub:u:")).count();
    assert_eq!(ultimate(&listing()), 2, "{}", listing());
    assert!(trust_remove(&root, ours.fingerprint()).unwrap());
    assert!(!trust_remove(&root, ours.fingerprint()).unwrap());
    let left = listing();
    assert!(left.contains(theirs.fingerprint()) && !left.contains(ours.fingerprint()));
    assert_eq!(ultimate(&left), 1);
    assert!(trust_setup(&root, "nonsense").is_err());
}
