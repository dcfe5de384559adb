//! Question: how many bytes of payload a second does one thread turn into an interface, in the pass that makes the
//! payload's digest?
//!
//! Peer:  the payload's digest alone, of the same package.
//! Limit: BLAKE3 of the same bytes in memory, one thread.
//! Goal:  500 MB/s for both digests together.
//! Run:   cargo bench -p buildswarm-benches --bench interface
//!
//! The payload is what this machine has: shared objects, static archives, headers and programs, up to 200 MB, in an
//! image that is not compressed, so that decompression is no part of it.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use blake2::{Blake2b512, Digest as _};
use buildswarm_benches::{Row, measure, verdict};
use buildswarm_portage::gpkg::{Gpkg, Limits};
use buildswarm_portage::interface::{Entry, Interface};
use sha2::Sha512;

/// Whether a file of this name is taken.
type Chosen = fn(&str) -> bool;

/// Directories, which names are taken there, and how many bytes of them.
const SOURCES: [(&str, Chosen, u64); 4] = [
    ("/usr/lib", |name| name.contains(".so"), 120 << 20),
    ("/usr/lib", |name| name.ends_with(".a"), 20 << 20),
    ("/usr/include", |_| true, 30 << 20),
    ("/usr/bin", |_| true, 30 << 20),
];
/// Larger files are left alone, so that it is not the benchmark of one library.
const FILE_BYTES: u64 = 20 << 20;
const ROUNDS: usize = 9;

/// Regular files below `directory`, in order, until their sizes reach `most`.
fn files(directory: &Path, is_wanted: fn(&str) -> bool, most: u64) -> Vec<PathBuf> {
    let (mut found, mut pending, mut left) = (Vec::new(), vec![directory.to_owned()], most);
    while let Some(path) = pending.pop() {
        let Ok(entries) = fs::read_dir(&path) else { continue };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file()
                && let Ok(size) = entry.metadata().map(|metadata| metadata.len())
                && size <= left.min(FILE_BYTES)
                && entry.file_name().to_str().is_some_and(is_wanted)
            {
                left -= size;
                found.push(entry.path());
            }
        }
    }
    found
}

/// One file in a tar archive, by the `tar` format that Portage writes.
fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content).expect("memory");
}

/// A package with this image.
fn package(image: &[u8]) -> Vec<u8> {
    let metadata = tar::Builder::new(Vec::new()).into_inner().expect("memory");
    let mut out = tar::Builder::new(Vec::new());
    let mut manifest = String::new();
    for (name, content) in [("gpkg-1", &[][..]), ("metadata.tar", &metadata), ("image.tar", image)] {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (blake2b, sha512) = (hex(&Blake2b512::digest(content)), hex(&Sha512::digest(content)));
        manifest += &format!("DATA {name} {} BLAKE2B {blake2b} SHA512 {sha512}\n", content.len());
        append(&mut out, &format!("bench-1/{name}"), content);
    }
    append(&mut out, "bench-1/Manifest", manifest.as_bytes());
    out.into_inner().expect("memory")
}

fn main() {
    let mut image = tar::Builder::new(Vec::new());
    let (mut count, mut total) = (0, 0);
    for (directory, is_wanted, most) in SOURCES {
        for path in files(Path::new(directory), is_wanted, most) {
            let (Ok(content), Some(name)) = (fs::read(&path), path.to_str()) else { continue };
            count += 1;
            total += content.len();
            append(&mut image, &format!("image{name}"), &content);
        }
    }
    let image = image.into_inner().expect("memory");
    let bytes = package(&image);
    let package = Gpkg::read(bytes.as_slice(), &Limits::STANDARD).expect("a package");
    let interface = Interface::of(&package, Cursor::new(&bytes), &Limits::STANDARD).expect("an interface");
    println!("{count} files, {:.0} MB", total as f64 / 1e6);
    for kind in ["file", "program", "shared object", "static archive"] {
        let has_kind = |entry: &&Entry| entry.kind() == kind;
        println!("{:>8} {kind}", interface.entries().values().filter(has_kind).count());
    }

    let open = || Cursor::new(&bytes);
    let medians = measure(
        ROUNDS,
        vec![
            Row::timed("ours: payload and interface", || {
                let both = package.payload_and_interface(open(), &Limits::STANDARD).expect("an image");
                (both.0.digest, both.1.digest())
            }),
            Row::timed("payload alone", || {
                package.payload(open(), &Limits::STANDARD).expect("an image").digest
            }),
            Row::timed("limit: BLAKE3 in memory, one thread", || blake3::hash(&image)),
        ],
    );
    let rate = total as f64 / 1e6 / medians[0].as_secs_f64();
    println!("ours: {rate:.0} MB/s; more than the payload alone: {:.2}", {
        medians[0].as_secs_f64() / medians[1].as_secs_f64()
    });
    verdict(medians[0], medians[2], "500 MB/s");
}
