//! A disk that is really full, and one that is read-only: in a mount namespace of our own.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use buildswarm_core::time::UnixSeconds;
use buildswarm_store::{Error, Purpose, Run, Store};
use rustix::mount::{MountFlags, mount, mount_remount};

use crate::support::{artifact, bytes, files_in, ruthless};

const MOUNT_AT: &str = "FULL_DISK_AT";
const TINY_AT: &str = "TINY_DISK_AT";

/// Size of the disk in bytes: what is kept free for the index, and some dozens of large blobs.
const DISK_BYTES: usize = 32 << 20;

/// Not a test by itself: fills a disk of its own, which only this process sees.
#[test]
fn child_on_a_small_disk() {
    let Some(at) = std::env::var_os(MOUNT_AT) else { return };
    let at = Path::new(&at);
    let options = std::ffi::CString::new(format!("size={DISK_BYTES}")).unwrap();
    mount("tmpfs", at, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
    let path = at.join("store");
    let store = Store::open(&path).unwrap();
    let kept = artifact(&store, "dev-libs/foo-1", 1);
    let _ = store.commit_artifact(&kept, &[]).unwrap();

    // One that can never fit: the error comes in the middle of writing.
    let error = store.put(&bytes(2, DISK_BYTES)[..]).unwrap_err();
    assert!(matches!(&error, Error::NoSpace { path, .. } if path.starts_with(at)), "{error}");
    assert_eq!(files_in(&path.join("tmp")), 0, "the half-written file is gone");
    // Until large ones do not fit, then until small ones do not.
    let fill =
        |size: usize| (0..).map(|seed| store.put_bytes(&bytes(seed, size))).find_map(Result::err).unwrap();
    for size in [200_000, 20_000, 4_000] {
        let error = fill(size);
        assert!(matches!(error, Error::NoSpace { .. }), "{size}: {error:?}");
    }
    assert_eq!(files_in(&path.join("tmp")), 0);
    // Reads go on.
    assert_eq!(store.artifact(kept.key).unwrap(), Some(kept.clone()));
    assert!(store.verify().unwrap().is_clean());

    // What others leave no room for fails too, and collection goes on as soon as they do.
    let theirs = at.join("theirs");
    let mut file = std::fs::File::create(&theirs).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let long = Run { label: "x".repeat(1 << 20), purpose: Purpose::Build, started: UnixSeconds(1) };
    assert!(matches!(store.begin_run(&long), Err(Error::NoSpace { .. })));
    assert!(matches!(store.put_bytes(&bytes(9, 200_000)), Err(Error::NoSpace { .. })));
    assert!(store.verify().unwrap().is_clean());
    drop(file);
    std::fs::remove_file(&theirs).unwrap();

    // On a disk without one free byte a collection may fail. What is needed is not lost to that.
    let mut file = std::fs::File::create(&theirs).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    match store.gc(ruthless()) {
        Ok(_) | Err(Error::NoSpace { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
    assert_eq!(store.artifact(kept.key).unwrap(), Some(kept.clone()));
    drop(file);
    std::fs::remove_file(&theirs).unwrap();
    let fill =
        |size: usize| (0..).map(|seed| store.put_bytes(&bytes(seed, size))).find_map(Result::err).unwrap();
    assert!(matches!(fill(200_000), Error::NoSpace { .. }));

    // What is promised is not there for others, and is there for whom it was promised to.
    assert!(matches!(store.reserve(200_000), Err(Error::NoSpace { .. })));

    // With what is kept free for it, collection makes room, and puts go on without opening the store again.
    assert!(matches!(store.put_bytes(&bytes(9, 200_000)), Err(Error::NoSpace { .. })));
    store.gc(ruthless()).unwrap();
    let room = store.reserve(200_000).unwrap();
    assert!(matches!(fill(200_000), Error::NoSpace { .. }));
    store.put_within(&room, &bytes(999_999, 200_000)[..]).unwrap();
    assert!(store.verify().unwrap().is_clean());
    drop((room, store));

    mount_remount(at, MountFlags::RDONLY, c"").unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error:?}");
    let reader = Store::open_read_only(&path).unwrap();
    assert_eq!(reader.artifact(kept.key).unwrap(), Some(kept));
    println!("the small disk was tested");
}

/// Not a test by itself: a disk that is smaller than what is kept free for the index.
#[test]
fn child_on_a_tiny_disk() {
    let Some(at) = std::env::var_os(TINY_AT) else { return };
    let at = Path::new(&at);
    mount("tmpfs", at, "tmpfs", MountFlags::empty(), c"size=8m").unwrap();
    let store = Store::open(at.join("store")).unwrap();
    for error in [store.put_bytes(b"x").unwrap_err(), store.reserve(1).unwrap_err()] {
        assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    }
    // Whoever needs no room is served.
    store.have(UnixSeconds(1), &[], 10).unwrap();
    store.gc(ruthless()).unwrap();
    assert!(store.verify().unwrap().is_clean());
    println!("the tiny disk was tested");
}

#[test]
fn a_full_disk_fails_the_put_and_nothing_else() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a small disk takes root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let probe =
        Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs"]).arg(dir.path()).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("skipped: this system does not let us mount a small disk");
        return;
    }
    for (child, at, says) in [
        ("child_on_a_small_disk", MOUNT_AT, "the small disk was tested"),
        ("child_on_a_tiny_disk", TINY_AT, "the tiny disk was tested"),
    ] {
        let child = Command::new("unshare")
            .arg("-m")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &format!("full_disk::{child}"), "--nocapture"])
            .env(at, dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains(says), "{child:?}");
    }
}
