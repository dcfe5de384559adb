//! Switching `current` under readers, and what `current` may be.

use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::client::get;
use crate::fixture::{EPOCH, World, index, point, publish};

fn unpacked(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).expect("gzip");
    text
}

#[test]
fn a_reader_never_sees_a_mixed_generation() {
    let world = World::published();
    let (running, reads) = (AtomicBool::new(true), AtomicU64::new(0));
    let last = std::thread::scope(|scope| {
        for reader in 0..4 {
            let (running, reads, address) = (&running, &reads, world.address);
            scope.spawn(move || {
                let mut seen = 0;
                while running.load(Ordering::Relaxed) {
                    let zipped = (reader + seen) % 2 == 0;
                    let name = if zipped { "Packages.gz" } else { "Packages" };
                    let reply = get(address, &format!("/binhost/stable/{name}"));
                    assert_eq!(reply.status, 200, "{}", reply.head);
                    let n: u64 = reply.header("buildswarm-generation").unwrap().parse().unwrap();
                    let text = if zipped { unpacked(&reply.body) } else { reply.text() };
                    assert!(text == index(n), "the index of generation {n}");
                    let made = UNIX_EPOCH + Duration::from_secs(EPOCH + n);
                    assert_eq!(reply.header("last-modified").unwrap(), httpdate::fmt_http_date(made));
                    assert!(n >= seen, "generation {n} after {seen}");
                    seen = n;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (begun, mut n) = (Instant::now(), 1);
        while begun.elapsed() < Duration::from_secs(2) {
            n += 1;
            world.publish("stable", n);
            // Gone the moment it is not current, with readers still inside.
            let old = world.binhost().join("channels/stable/generations").join((n - 1).to_string());
            fs::remove_dir_all(old).expect("removing a generation");
            std::thread::sleep(Duration::from_millis(2));
        }
        running.store(false, Ordering::Relaxed);
        n
    });
    assert!(last > 50 && reads.load(Ordering::Relaxed) > 50, "{last} switches, {reads:?} reads");
}

#[test]
fn current_is_a_link_to_a_generation_or_nothing_is_served() {
    let world = World::published();
    publish(world.outside(), "elsewhere", 1);
    let elsewhere = world.outside().join("channels/elsewhere/generations/1");
    for target in [
        elsewhere.to_str().unwrap(),
        "../stable/generations/1",
        "generations/../generations/1",
        "generations/01",
        "generations/+1",
        "generations/1/",
        "generations/",
        "generations/one",
        "/etc",
        ".",
    ] {
        point(&world.binhost(), "stable", target);
        let reply = get(world.address, "/binhost/stable/Packages");
        assert_eq!(reply.status, 503, "{target}: {}", reply.text());
        assert!(reply.text().contains("stable/current is not a link to generations/<number>"));
    }
    assert_eq!(get(world.address, "/readyz").status, 503);
    point(&world.binhost(), "stable", "generations/99");
    assert_eq!(get(world.address, "/binhost/stable/Packages").status, 404);
    point(&world.binhost(), "stable", "generations/1");
    assert_eq!(get(world.address, "/binhost/stable/Packages").status, 200);
}

#[test]
fn links_and_strange_files_are_not_followed() {
    let world = World::published();
    let secret = world.outside().join("secret");
    fs::write(&secret, "TIMESTAMP: 1\n\nsecret\n").unwrap();
    let generation = world.binhost().join("channels/stable/generations/1");
    let replace = |name: &str| {
        let path = generation.join(name);
        fs::remove_file(&path).unwrap();
        path
    };
    std::os::unix::fs::symlink(&secret, replace("generation.json")).unwrap();
    fs::create_dir(replace("generation.json.asc")).unwrap();
    let pipe = replace("Packages.gz");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for name in ["generation.json", "generation.json.asc", "Packages.gz"] {
        let reply = get(world.address, &format!("/binhost/stable/{name}"));
        assert_eq!(reply.status, 503, "{name}");
        assert!(!reply.text().contains("secret"));
    }
    let (package, path) = world.package(b"a package");
    fs::remove_file(&package).unwrap();
    std::os::unix::fs::symlink(&secret, &package).unwrap();
    assert_eq!(get(world.address, &path).status, 503);
    // A whole channel that is a link to somewhere else.
    publish(world.outside(), "elsewhere", 1);
    let link = world.binhost().join("channels/linked");
    std::os::unix::fs::symlink(world.outside().join("channels/elsewhere"), link).unwrap();
    assert_eq!(get(world.address, "/binhost/linked/Packages").status, 503);
}

#[test]
fn an_index_that_is_none_is_not_served() {
    let world = World::published();
    let path = world.binhost().join("channels/stable/generations/1/Packages");
    for text in ["", "PACKAGES: 1\n\nTIMESTAMP: 1\n", "TIMESTAMP: -1\n\n", "TIMESTAMP: 999999999999999\n\n"] {
        fs::write(&path, text).unwrap();
        for name in ["Packages", "Packages.gz"] {
            assert_eq!(get(world.address, &format!("/binhost/stable/{name}")).status, 503, "{text:?}");
        }
    }
    let long = format!("ARCH: {}\nTIMESTAMP: 5\n\n", "x".repeat(100_000));
    fs::write(&path, &long).unwrap();
    assert_eq!(get(world.address, "/binhost/stable/Packages").text(), long);
}
