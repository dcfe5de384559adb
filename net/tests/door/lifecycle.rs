//! Many clients, too many clients, and the end.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::client::{Reply, connect, drain, get};
use crate::fixture::World;
use buildswarm_net::http::{HttpDoor, Limits, Site};

#[test]
fn two_hundred_at_once() {
    let world = World::published();
    let bytes: Vec<u8> = (0..500_000u32).flat_map(u32::to_le_bytes).collect();
    let (_, path) = world.package(&bytes);
    std::thread::scope(|scope| {
        for client in 0..200 {
            let (path, bytes, address) = (&path, &bytes, world.address);
            scope.spawn(move || {
                let index = get(address, "/binhost/stable/Packages");
                assert_eq!(index.status, 200, "client {client}");
                let package = get(address, path);
                assert!(package.status == 200 && package.body == *bytes, "client {client}");
            });
        }
    });
    assert!(world.log(400).iter().all(|access| access.complete && access.problem.is_none()));
}

#[test]
fn one_too_many_is_told_so_at_once() {
    let world = World::with(Limits { connections: 3, ..Limits::STANDARD });
    let held: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = connect(world.address);
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut start = [0; 12];
            stream.read_exact(&mut start).unwrap();
            assert_eq!(&start, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let begun = Instant::now();
    let reply = get(world.address, "/healthz");
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("2")));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    drop(held);
    let freed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        get(world.address, "/healthz").status == 200
    });
    assert!(freed, "no connection became free");
}

#[test]
fn closing_lets_answers_finish_and_idle_connections_go() {
    let mut world = World::published();
    let length = 64 << 20;
    let (_, path) = world.package(&vec![1; length]);
    let silent = connect(world.address);
    let mut idle = connect(world.address);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();
    let mut busy = connect(world.address);
    write!(busy, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut start = vec![0; 12];
    busy.read_exact(&mut start).unwrap();
    let address = world.address;
    world.begin_close();
    let begun = Instant::now();
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "still listening");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.extend(drain(&mut busy));
    assert_eq!(Reply::parse(&start).unwrap().body.len(), length);
    assert_eq!(world.close().cut_off, 0);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop(silent);
}

#[test]
fn closing_cuts_off_those_who_never_finish() {
    let mut world = World::with(Limits { drain: Duration::from_millis(500), ..Limits::STANDARD });
    world.publish("stable", 1);
    let (_, path) = world.package(&vec![1; 64 << 20]);
    let mut stuck = connect(world.address);
    write!(stuck, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stuck.read_exact(&mut [0; 12]).unwrap();
    let begun = Instant::now();
    assert_eq!(world.close().cut_off, 1);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!world.log(1)[0].complete);
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let site = || Site { binhost: "/nonexistent".into(), public_key: None };
    let first = HttpDoor::bind("127.0.0.1:0", site(), |_| ()).await.unwrap();
    let error = HttpDoor::bind(&first.local_addr().to_string(), site(), |_| ()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}", first.local_addr()));
    assert!(std::error::Error::source(&error).is_some());
}
