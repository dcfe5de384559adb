//! Parts of files, and tools that resume.

use std::fs;
use std::process::Command;

use crate::client::{ask, get};
use crate::fixture::{World, has};

fn bytes() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn one_range() {
    let world = World::published();
    let bytes = bytes();
    let ((_, path), length) = (world.package(&bytes), bytes.len());
    for (range, first, last) in [
        ("0-0", 0, 0),
        ("0-", 0, length - 1),
        ("1000-300000", 1000, 300_000),
        ("262143-262144", 262_143, 262_144),
        ("-1", length - 1, length - 1),
        ("-2000000", 0, length - 1),
        ("1199999-9999999", 1_199_999, length - 1),
    ] {
        let reply = ask(world.address, "GET", &path, &[&format!("Range: bytes={range}")]);
        assert_eq!(reply.status, 206, "{range}");
        assert_eq!(reply.header("content-range").unwrap(), format!("bytes {first}-{last}/{length}"));
        assert!(reply.body == bytes[first..=last], "{range}");
    }
    for range in ["bytes=1200000-", "bytes=-0", "bytes=9223372036854775808-"] {
        let reply = ask(world.address, "GET", &path, &[&format!("Range: {range}")]);
        assert_eq!(reply.status, 416, "{range}");
        assert_eq!(reply.header("content-range").unwrap(), format!("bytes */{length}"));
    }
    let many = format!("bytes={}", (0..1000).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(","));
    for range in ["bytes=9-1", "bytes=0-0,2-2", "lines=1-2", "bytes", many.as_str()] {
        let reply = ask(world.address, "GET", &path, &[&format!("Range: {range}")]);
        assert_eq!((reply.status, reply.body.len()), (200, length), "{range:.30}");
    }
    assert_eq!(ask(world.address, "GET", &path, &["Range: bytes=0-1", "Range: bytes=0-1"]).status, 200);
}

#[test]
fn ranges_of_an_index_and_of_the_key() {
    let world = World::published();
    for path in ["/binhost/stable/Packages", "/binhost/stable/Packages.gz", "/key.asc"] {
        let whole = get(world.address, path).body;
        let reply = ask(world.address, "GET", path, &["Range: bytes=3-7"]);
        assert_eq!((reply.status, reply.body.as_slice()), (206, &whole[3..8]), "{path}");
    }
}

#[test]
fn if_range() {
    let world = World::published();
    let (_, path) = world.package(&bytes());
    let tag = get(world.address, &path).header("etag").unwrap().to_owned();
    let status = |validator: &str| {
        ask(world.address, "GET", &path, &["Range: bytes=0-0", &format!("If-Range: {validator}")]).status
    };
    assert_eq!(status(&tag), 206);
    assert_eq!(status(&format!("W/{tag}")), 200);
    assert_eq!(status("\"another\""), 200);
    assert_eq!(status("Tue, 14 Nov 2023 22:13:21 GMT"), 200);
}

#[test]
fn wget_and_curl_resume() {
    let world = World::published();
    let bytes = bytes();
    let (_, path) = world.package(&bytes);
    let url = format!("http://{}{path}", world.address);
    let out = world.outside().join("fetched.gpkg.tar");
    let resume = |program: &str, arguments: &[&str]| {
        fs::write(&out, &bytes[..100_001]).expect("a partial file");
        let run = || {
            let mut command = Command::new(program);
            command.args(arguments).arg(&out).arg(&url).output().expect("it runs")
        };
        let done = run();
        assert!(done.status.success(), "{program}: {done:?}");
        assert!(fs::read(&out).expect("a file") == bytes, "{program}");
        // Once more: nothing is left to fetch.
        run();
        assert!(fs::read(&out).expect("a file") == bytes, "{program}, again");
    };
    let mut asked = 0;
    if has("wget") {
        resume("wget", &["-c", "-q", "--no-proxy", "-O"]);
        asked += 2;
    }
    if has("curl") {
        resume("curl", &["-sS", "--noproxy", "*", "-C", "-", "-o"]);
        asked += 2;
    }
    let log = world.log(asked);
    for pair in log.chunks(2) {
        assert_eq!((pair[0].status, pair[0].bytes), (206, bytes.len() as u64 - 100_001));
        assert_eq!(pair[1].status, 416);
    }
}
