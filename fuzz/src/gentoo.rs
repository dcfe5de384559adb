//! Reading Gentoo's files, which strangers may have written.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use blake2::Blake2b512;
use buildswarm_portage::binhost::PackagesIndex;
use buildswarm_portage::export::Export;
use buildswarm_portage::gpkg::{self, Gpkg, Limits};
use buildswarm_portage::interface::Interface;
use buildswarm_portage::repositories::Repositories;
use buildswarm_portage::resolve;
use sha2::{Digest as _, Sha512};

/// Small enough that no input takes long, large enough that every check is reached.
const LIMITS: Limits = Limits {
    container: 1 << 20,
    metadata: 1 << 20,
    image_entries: 10_000,
    image_names: 1 << 20,
    image: 8 << 20,
};

/// A whole package file: reading ends, and ends alike each time.
pub fn gpkg_read(bytes: &[u8]) {
    let Ok((package, payload)) = gpkg::read(bytes, &LIMITS) else { return };
    let (_, again) = gpkg::read(bytes, &LIMITS).expect("what was read is read again");
    assert_eq!(payload, again);
    let same = gpkg::compare(Cursor::new(bytes), Cursor::new(bytes), &LIMITS);
    assert_eq!(same.expect("what was read is read again"), []);
    let _ = package.index_metadata();
}

/// The inner archives of a package whose container and Manifest are in order, which mutation alone never
/// reaches: four bytes with the length of `metadata.tar`, that, and `image.tar`.
pub fn gpkg_members(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else { return };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let Some((metadata, image)) = rest.split_at_checked(length) else { return };
    gpkg_read(&container(metadata, image));
}

fn container(metadata: &[u8], image: &[u8]) -> Vec<u8> {
    let mut manifest = String::new();
    let mut out = Vec::new();
    let members: [(&str, &[u8]); 3] = [("gpkg-1", b""), ("metadata.tar", metadata), ("image.tar", image)];
    for (name, content) in members {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (blake2b, sha512) = (hex(&Blake2b512::digest(content)), hex(&Sha512::digest(content)));
        manifest += &format!("DATA {name} {} BLAKE2B {blake2b} SHA512 {sha512}\n", content.len());
        append(&mut out, &format!("hello-1.0-1/{name}"), content);
    }
    append(&mut out, "hello-1.0-1/Manifest", manifest.as_bytes());
    out.resize(out.len() + 1024, 0);
    out
}

/// Appends one regular file to a tar archive (POSIX ustar).
fn append(out: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\x000000000\x000000000\0");
    put(124, &format!("{:011o}\x0000000000007\0        0", content.len()));
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// Where the file of [`interface`] may lie: how a file counts depends on it.
const PATHS: [&str; 4] = [
    "usr/lib64/libx.so",
    "usr/bin/x",
    "usr/src/linux/x.ko",
    "usr/lib/python3.13/__pycache__/x.cpython-313.pyc",
];

/// One file of an image, whatever it holds, has an interface: the first byte says where it lies, the others are
/// its content. The same file has the same one, and no differences from itself.
pub fn interface(bytes: &[u8]) {
    let Some((place, content)) = bytes.split_first() else { return };
    let mut image = Vec::new();
    append(&mut image, &format!("image/{}", PATHS[usize::from(*place) % PATHS.len()]), content);
    append(&mut image, "image/usr/lib/python3.13/x.py", b"x = 1\n");
    image.resize(image.len() + 1024, 0);
    // An empty tar archive.
    let package = container(&[0; 1024], &image);
    let read = || {
        let gpkg = Gpkg::read(package.as_slice(), &LIMITS).ok()?;
        Interface::of(&gpkg, Cursor::new(&package), &LIMITS).ok()
    };
    let Some(found) = read() else {
        assert!(content.len() as u64 > LIMITS.container / 2, "no content is an error");
        return;
    };
    let again = read().expect("what was read is read again");
    assert_eq!((found.digest(), &found), (again.digest(), &again));
    assert!(Interface::differences(&found, &again).is_empty());
}

/// An index that is accepted can be written, and reads back as itself.
pub fn packages_index(bytes: &[u8]) {
    let Ok(index) = PackagesIndex::parse(bytes) else { return };
    let text = index.write().expect("what was read can be written");
    let again = PackagesIndex::parse(text.as_bytes()).expect("what was written can be read");
    assert_eq!(again.write().expect("and written again"), text);
}

/// A plan that is accepted has requirements in an order that respects them, or a named cycle.
pub fn plan_json(bytes: &[u8]) {
    let Ok(export) = serde_json::from_slice::<Export>(bytes) else { return };
    let Ok(plan) = resolve::graph(&export) else { return };
    let requirements = match plan.requirements() {
        Ok(requirements) => requirements,
        Err(error) => {
            assert!(error.to_string().contains('→'), "{error}");
            return;
        }
    };
    let mut place = vec![None; plan.packages().len()];
    for (at, index) in requirements.order().iter().enumerate() {
        assert_eq!(place[index.get()].replace(at), None, "ordered twice");
    }
    for index in requirements.order() {
        for need in requirements.of(*index).iter().map(|need| need.package) {
            let (need, own) = (place[need.get()], place[index.get()]);
            assert!(need < own, "a package stands before what it requires");
        }
        assert_eq!(
            requirements.installation_order(&plan, *index).len(),
            requirements.of(*index).len(),
            "something is not installed",
        );
    }
    let _ = requirements.demand(&plan, |index| index.get().is_multiple_of(2));
}

/// A `repos.conf` that is accepted is written for Portage as it was read.
///
/// # Panics
/// If it is not, or if there is no place for a temporary directory.
pub fn repositories_conf(bytes: &[u8]) {
    static ROOT: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(root.path().join("etc/portage")).expect("a directory in it");
        root
    });
    let read = |text: &[u8]| {
        fs::write(ROOT.path().join("etc/portage/repos.conf"), text).expect("a file in it");
        Repositories::read(ROOT.path(), Path::new("/nonexistent"))
    };
    let Ok(repositories) = read(bytes) else { return };
    let written = repositories.as_configuration();
    let again = read(written.as_bytes()).expect("what was written can be read");
    let names = |repositories: &Repositories| {
        repositories.iter().map(|one| (one.name.clone(), one.location.clone())).collect::<Vec<_>>()
    };
    assert_eq!(names(&again), names(&repositories));
}
