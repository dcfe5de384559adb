//! Every route, with GET and HEAD, and what is no route.

use crate::client::{Reply, ask, get};
use crate::fixture::{EPOCH, KEY, World, index};
use buildswarm_core::Digest;

#[test]
fn the_files_of_a_generation() {
    let world = World::published();
    for (name, media_type) in [
        ("Packages", "text/plain; charset=utf-8"),
        ("Packages.gz", "application/gzip"),
        ("generation.json", "application/json"),
        ("generation.json.asc", "text/plain; charset=utf-8"),
    ] {
        let on_disk =
            std::fs::read(world.binhost().join("channels/stable/generations/1").join(name)).unwrap();
        let reply = ask(world.address, "GET", &format!("/binhost/stable/{name}"), &["Accept-Encoding: gzip"]);
        assert_eq!((reply.status, &reply.body), (200, &on_disk), "{name}");
        assert_eq!(reply.header("content-type"), Some(media_type));
        assert_eq!(reply.header("content-encoding"), None);
        assert_eq!(reply.header("etag"), Some(format!("\"{}\"", Digest::of(&on_disk)).as_str()));
        assert_eq!(reply.header("last-modified"), Some("Tue, 14 Nov 2023 22:13:21 GMT"));
        assert_eq!(reply.header("buildswarm-generation"), Some("1"));
        assert_eq!(reply.header("cache-control"), Some("no-cache"));
    }
}

#[test]
fn a_package() {
    let world = World::published();
    let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let (_, path) = world.package(&bytes);
    let reply = get(world.address, &path);
    assert_eq!((reply.status, reply.body.len()), (200, bytes.len()));
    assert!(reply.body == bytes);
    assert_eq!(reply.header("etag"), Some(format!("\"{}\"", Digest::of(&bytes)).as_str()));
    assert_eq!(reply.header("accept-ranges"), Some("bytes"));
    assert!(reply.header("cache-control").unwrap().contains("immutable"));
    assert_eq!(reply.header("content-encoding"), None);
    let (_, empty) = world.package(b"");
    assert_eq!(get(world.address, &empty).body, b"");
    let other = path.replace("stable", "unheard-of");
    assert_eq!(get(world.address, &other).status, 404);
    assert_eq!(get(world.address, &path.replace(".gpkg.tar", ".gpkg")).status, 404);
}

#[test]
fn what_is_not_in_a_channel() {
    let world = World::published();
    assert_eq!(get(world.address, "/key.asc").body, KEY);
    assert_eq!(get(world.address, "/healthz").text(), "ok\n");
    assert_eq!(get(world.address, "/readyz").text(), "ready\n");
    world.publish("testing", 7);
    let list = get(world.address, "/v1/channels");
    assert_eq!(list.header("content-type"), Some("application/json"));
    let line = |name: &str, n: u64| {
        format!(
            "{{\"name\":\"{name}\",\"generation\":{n},\"timestamp\":{},\"packages\":200,\"path\":\"/binhost/{name}\"}}",
            EPOCH + n
        )
    };
    assert_eq!(list.text(), format!("[\n {},\n {}\n]\n", line("stable", 1), line("testing", 7)));
    let page = get(world.address, "/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains(&format!("sync-uri = http://{}/binhost/stable", world.address)));
}

#[test]
fn head_is_get_without_the_content() {
    let world = World::published();
    let (_, package) = world.package(b"a package");
    let index = "/binhost/stable/Packages";
    for path in ["/", "/healthz", "/readyz", "/v1/channels", "/key.asc", "/no", index, &package] {
        let (got, head) = (get(world.address, path), ask(world.address, "HEAD", path, &["Range: bytes=0-0"]));
        assert_eq!((got.status, head.body.len()), (head.status, 0), "{path}");
        let fields = |reply: &Reply| {
            let lines = reply.head.lines().filter(|line| !line.starts_with("date:"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(fields(&got), fields(&head), "{path}");
    }
}

#[test]
fn everything_else_is_named_in_a_404() {
    let world = World::published();
    for path in ["/binhost", "/binhost/stable", "/binhost/stable/", "/binhost/none/Packages", "/v1", "/pool"]
    {
        let reply = get(world.address, path);
        assert_eq!((reply.status, reply.text()), (404, format!("not found: {path}\n")));
    }
    assert_eq!(get(world.address, "/healthz?probe=1").status, 200, "a query changes nothing");
}

#[test]
fn only_reading() {
    let world = World::published();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
        let reply = ask(world.address, method, "/binhost/stable/Packages", &[]);
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(ask(world.address, "OPTIONS", "*", &[]).status, 405);
}

#[test]
fn a_door_before_anything_is_published() {
    let world = World::empty();
    assert_eq!(get(world.address, "/healthz").status, 200);
    assert_eq!(get(world.address, "/readyz").status, 503);
    assert_eq!(get(world.address, "/").status, 503);
    std::fs::create_dir_all(world.binhost().join("channels/stable/generations")).unwrap();
    assert_eq!(get(world.address, "/readyz").status, 503);
    assert_eq!(get(world.address, "/v1/channels").text(), "[]\n");
    assert!(get(world.address, "/").text().contains("Nothing is published"));
    assert_eq!(get(world.address, "/binhost/stable/Packages").status, 404);
    world.publish("stable", 1);
    assert_eq!(get(world.address, "/readyz").status, 200);
    assert_eq!(get(world.address, "/binhost/stable/Packages").text(), index(1));
}

#[test]
fn every_request_is_told_of() {
    let world = World::published();
    let (_, path) = world.package(&[1; 5000]);
    get(world.address, &path);
    ask(world.address, "HEAD", &path, &[]);
    ask(world.address, "GET", "/a%0d%0ab", &[]);
    let log = world.log(3);
    let told: Vec<_> = log.iter().map(|a| (a.method.as_str(), a.path.as_str(), a.status, a.bytes)).collect();
    assert_eq!(told[0], ("GET", path.as_str(), 200, 5000));
    assert_eq!(told[1], ("HEAD", path.as_str(), 200, 0));
    assert_eq!((told[2].0, told[2].2), ("GET", 404));
    assert!(log.iter().all(|access| access.complete && access.problem.is_none()));
}
