//! Conditional requests as Portage, caches and curl send them.

use std::process::Command;

use crate::client::{ask, get};
use crate::fixture::{EPOCH, World, has};

const INDEX: &str = "/binhost/stable/Packages";

/// What Portage sends: the TIMESTAMP it has, plus five seconds.
fn portage(timestamp: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(timestamp + 5);
    format!("If-Modified-Since: {}", httpdate::fmt_http_date(time))
}

#[test]
fn an_index_made_again_within_five_seconds_is_seen() {
    let world = World::published();
    for file in ["Packages", "Packages.gz"] {
        let path = format!("/binhost/stable/{file}");
        let reply = ask(world.address, "GET", &path, &[&portage(EPOCH + 1)]);
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{file}");
        assert_eq!(reply.header("content-length"), None);
        assert!(reply.header("etag").is_some() && reply.header("last-modified").is_some());
    }
    // Each one second younger than the last: a server that goes by the date alone hides all of them.
    for n in 2..7 {
        world.publish("stable", n);
        assert_eq!(
            ask(world.address, "GET", INDEX, &[&portage(EPOCH + n - 1)]).status,
            200,
            "generation {n}"
        );
        assert_eq!(ask(world.address, "GET", INDEX, &[&portage(EPOCH + n)]).status, 304, "generation {n}");
    }
}

#[test]
fn a_tag_decides_over_a_date() {
    let world = World::published();
    let tag = get(world.address, INDEX).header("etag").unwrap().to_owned();
    let late = portage(EPOCH + 1000);
    let ask = |headers: &[&str]| ask(world.address, "GET", INDEX, headers).status;
    assert_eq!(ask(&[&format!("If-None-Match: {tag}")]), 304);
    assert_eq!(ask(&["If-None-Match: \"no\"", &format!("If-None-Match: {tag}")]), 304, "a list in two lines");
    assert_eq!(ask(&["If-None-Match: \"no\"", &late]), 200);
    assert_eq!(ask(&["If-None-Match: *"]), 304);
    assert_eq!(ask(&["If-Match: \"no\""]), 412);
    assert_eq!(ask(&[&late, &late]), 200, "two dates are none");
    assert_eq!(ask(&["If-Modified-Since: soon"]), 200);
    assert_eq!(ask(&["If-None-Match: \u{ff}"]), 200);
}

#[test]
fn a_package_and_a_key_have_only_a_tag() {
    let world = World::published();
    let (_, package) = world.package(b"a package");
    for path in [package.as_str(), "/key.asc"] {
        let tag = format!("If-None-Match: {}", get(world.address, path).header("etag").unwrap());
        assert_eq!(ask(world.address, "GET", path, &[&tag]).status, 304);
        assert_eq!(ask(world.address, "GET", path, &[&portage(EPOCH * 2)]).status, 200);
    }
}

#[test]
fn curl_keeps_what_it_has() {
    if !has("curl") {
        return;
    }
    let world = World::published();
    let (tag, out) = (world.outside().join("etag"), world.outside().join("out"));
    let fetch = || {
        let done = Command::new("curl")
            .args(["-sS", "--noproxy", "*", "-w", "%{http_code}"])
            .arg("--etag-save")
            .arg(&tag)
            .arg("--etag-compare")
            .arg(&tag)
            .arg("-o")
            .arg(&out)
            .arg(format!("http://{}{INDEX}", world.address))
            .output();
        String::from_utf8(done.expect("curl runs").stdout).expect("a status")
    };
    assert_eq!(fetch(), "200");
    assert_eq!(fetch(), "304");
    world.publish("stable", 2);
    assert_eq!(fetch(), "200");
}
