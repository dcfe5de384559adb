//! Packages that are not what their name says, from the start or all at once.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use crate::client::{ask, connect, drain, get};
use crate::fixture::World;

#[test]
fn a_flipped_bit_is_never_served() {
    let world = World::published();
    let bytes = vec![9; 700_000];
    let (file, path) = world.package(&bytes);
    assert_eq!(get(world.address, &path).status, 200);
    let disk = fs::File::options().write(true).open(&file).unwrap();
    let modified = disk.metadata().unwrap().modified().unwrap();
    for offset in [0, 350_000, 699_999] {
        disk.write_all_at(&[8], offset).unwrap();
        // As rot or a forger would have it: the same length, the same time.
        disk.set_modified(modified).unwrap();
        for (method, headers) in [("GET", vec![]), ("HEAD", vec![]), ("GET", vec!["Range: bytes=5-9"])] {
            let reply = ask(world.address, method, &path, &headers);
            assert_eq!(reply.status, 503, "{method} {headers:?} after a change at {offset}");
            assert_eq!(reply.header("etag"), None);
            assert!(method == "HEAD" || reply.text().contains("is damaged"));
        }
        disk.write_all_at(&[9], offset).unwrap();
        assert!(get(world.address, &path).body == bytes);
    }
    let log = world.log(13);
    let damaged: Vec<_> = log.iter().filter(|access| access.status == 503).collect();
    assert_eq!(damaged.len(), 9);
    assert!(damaged.iter().all(|access| access.problem.as_ref().unwrap().contains("is damaged")));
}

#[test]
fn a_short_a_long_and_a_swapped_file() {
    let world = World::published();
    let (file, path) = world.package(b"one package");
    let (other, _) = world.package(b"another one");
    for bytes in [&b"one packag"[..], b"one packages", b""] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(get(world.address, &path).status, 503);
    }
    fs::rename(&other, &file).unwrap();
    assert_eq!(get(world.address, &path).status, 503);
}

/// Reads the head of a large package and leaves the rest in the air.
fn begin(world: &World, path: &str) -> (std::net::TcpStream, usize) {
    let mut stream = connect(world.address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("an answer that begins");
    let mut start = [0; 1000];
    stream.read_exact(&mut start).expect("an answer that begins");
    let text = String::from_utf8_lossy(&start);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let body = text.find("\r\n\r\n").expect("an answer that begins") + 4;
    (stream, 1000 - body)
}

/// More than the sockets between the two can hold.
const LARGE: usize = 64 << 20;

#[test]
fn a_file_cut_or_changed_on_the_way_breaks_the_connection() {
    let world = World::published();
    for (seed, cut) in [(1, true), (2, false)] {
        let (file, path) = world.package(&vec![seed; LARGE]);
        let (mut stream, already) = begin(&world, &path);
        let disk = fs::File::options().write(true).open(&file).unwrap();
        if cut {
            disk.set_len(LARGE as u64 / 2).unwrap();
        } else {
            disk.write_all_at(&[0], LARGE as u64 - 1).unwrap();
        }
        let rest = drain(&mut stream);
        assert!(already + rest.len() < LARGE, "{} bytes of a changed file", already + rest.len());
        assert!(rest.iter().all(|&byte| byte == seed));
    }
    for access in world.log(2) {
        assert!(!access.complete && access.problem.unwrap().contains("changed while it was being sent"));
    }
}

#[test]
fn a_package_removed_on_the_way_arrives_whole() {
    let world = World::published();
    let (file, path) = world.package(&vec![3; LARGE]);
    let (mut stream, already) = begin(&world, &path);
    fs::remove_file(&file).unwrap();
    assert_eq!(already + drain(&mut stream).len(), LARGE);
    assert_eq!(get(world.address, &path).status, 404);
}
