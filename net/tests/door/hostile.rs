//! Requests nobody sends by accident. Each has an answer, soon, and the door is well afterwards.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::client::{Reply, connect, drain, exchange, get};
use crate::fixture::World;
use buildswarm_net::http::Limits;

/// Longest an answer may take: well above a linger of one second on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// What answers are right; an empty list is "closed without one".
type Case = (&'static str, Vec<u8>, &'static [u16]);

fn request(line: &str, headers: &str) -> Vec<u8> {
    format!("{line}\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").into_bytes()
}

fn get_line(path: &str) -> Vec<u8> {
    request(&format!("GET {path} HTTP/1.1"), "")
}

fn cases() -> Vec<Case> {
    let index = "GET /binhost/stable/Packages HTTP/1.1";
    let with = |headers: &str| request(index, headers);
    let post = |headers: &str| request("POST /binhost/stable/Packages HTTP/1.1", headers);
    vec![
        ("dots", get_line("/binhost/stable/../../../secret"), &[404]),
        ("dots as a channel", get_line("/binhost/../secret"), &[404]),
        ("dots after the pool", get_line("/binhost/stable/pool/../../../secret"), &[404]),
        ("encoded slash", get_line("/binhost/stable%2f..%2f..%2fsecret"), &[404]),
        ("encoded dots", get_line("/binhost/%2e%2e/%2e%2e/secret"), &[404]),
        ("doubly encoded", get_line("/binhost/%252e%252e/secret"), &[404]),
        ("overlong UTF-8", get_line("/binhost/%c0%ae%c0%ae/secret"), &[404]),
        ("encoded NUL", get_line("/binhost/stable/Packages%00.gz"), &[404]),
        ("raw NUL", get_line("/binhost/stable/Packages\0"), &[400]),
        ("raw control character", get_line("/binhost/stable/\u{1b}[2J"), &[400, 404]),
        ("backslashes", get_line("/binhost/stable\\..\\secret"), &[400, 404]),
        ("double slashes", get_line("//binhost//stable//Packages"), &[404]),
        ("a double slash first", get_line("//secret/binhost/stable/Packages"), &[404]),
        ("absolute form with dots", get_line("http://x/binhost/../../secret"), &[404]),
        ("absolute form of a file", get_line("file:///binhost/stable/Packages"), &[400, 404]),
        ("a proxy's request", request("CONNECT secret:443 HTTP/1.1", ""), &[405]),
        ("a relative path", get_line("secret"), &[400, 404]),
        ("a path of 60,000 bytes", get_line(&format!("/{}", "a".repeat(60_000))), &[414, 431]),
        ("a path of 10 MB", get_line(&format!("/{}", "a".repeat(10_000_000))), &[414, 431]),
        ("negative length", with("Content-Length: -1\r\n"), &[400]),
        ("two lengths", with("Content-Length: 0\r\nContent-Length: 5\r\n"), &[400]),
        ("two lengths in one", with("Content-Length: 0, 5\r\n"), &[400]),
        ("overflowing length", with("Content-Length: 99999999999999999999999\r\n"), &[400]),
        ("a signed length", with("Content-Length: +5\r\n"), &[400]),
        ("an endless length", with("Content-Length: 9223372036854775807\r\n"), &[400, 413]),
        ("content in a GET", [with("Content-Length: 5\r\n"), b"hello".to_vec()].concat(), &[413]),
        ("chunked", [with("Transfer-Encoding: chunked\r\n"), b"0\r\n\r\n".to_vec()].concat(), &[413]),
        (
            "chunked and length",
            [with("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"), b"0\r\n\r\n".to_vec()].concat(),
            &[400, 413],
        ),
        ("unknown coding", with("Transfer-Encoding: xchunked\r\n"), &[400, 413]),
        (
            "a bomb in a POST",
            [post("Content-Encoding: gzip\r\nContent-Length: 300000\r\n"), vec![0; 300_000]].concat(),
            &[405],
        ),
        ("10,000 headers", with(&"X: y\r\n".repeat(10_000)), &[431]),
        ("65 headers", with(&"X: y\r\n".repeat(65)), &[431]),
        ("a header of 1 MB", with(&format!("X: {}\r\n", "y".repeat(1 << 20))), &[431]),
        ("a folded header", with("X: y\r\n z\r\n"), &[200, 400]),
        ("a space before the colon", with("Content-Length : 5\r\n"), &[400]),
        ("a header without a colon", with("nonsense\r\n"), &[400]),
        ("two hosts", with("Host: y\r\n"), &[400]),
        ("no host", b"GET /healthz HTTP/1.1\r\n\r\n".to_vec(), &[400]),
        ("range backwards", with("Range: bytes=9-1\r\n"), &[200]),
        ("range beyond 2^63", with("Range: bytes=9223372036854775808-\r\n"), &[416]),
        ("1,000 ranges", with(&format!("Range: bytes={}\r\n", "0-,".repeat(1000))), &[200]),
        ("range of letters", with("Range: bytes=a-z\r\n"), &[200]),
        ("HTTP/0.9", b"GET /binhost/stable/Packages\r\n\r\n".to_vec(), &[400]),
        ("HTTP/2.0 by line", b"GET / HTTP/2.0\r\n\r\n".to_vec(), &[400]),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[]),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20), &[400]),
        ("noise", (0..4000u32).map(|n| ((n * 7919) >> 3) as u8).collect(), &[400]),
        ("a wish for 100-continue", with("Expect: 100-continue\r\nContent-Length: 5\r\n"), &[413]),
        ("an upgrade", with("Upgrade: h2c\r\nConnection: upgrade\r\n"), &[200]),
    ]
}

#[test]
fn each_has_an_answer_and_none_a_secret() {
    let world = World::published();
    std::fs::write(world.outside().join("secret"), "the secret").unwrap();
    for (name, request, expected) in cases() {
        let begun = Instant::now();
        let bytes = exchange(world.address, &request);
        assert!(begun.elapsed() < SOON, "{name}: {:?}", begun.elapsed());
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("the secret"), "{name}");
        let shown = text.chars().take(300).collect::<String>();
        let status = Reply::parse(&bytes).map(|reply| reply.status);
        assert!(status.map_or(expected.is_empty(), |status| expected.contains(&status)), "{name}: {shown:?}");
        let answers = text.matches("HTTP/1.1 ").count();
        assert_eq!(answers, usize::from(!expected.is_empty()), "{name}: one answer to one request");
        assert_eq!(get(world.address, "/healthz").status, 200, "after {name}");
    }
    for access in world.log(cases().len()) {
        assert!(!access.to_string().chars().any(char::is_control), "{access:?}");
    }
}

#[test]
fn what_follows_a_refused_body_is_no_request() {
    let world = World::published();
    let inner = "GET /key.asc HTTP/1.1\r\nHost: x\r\n\r\n";
    for framing in [
        format!("Content-Length: 5\r\n\r\nhello{inner}"),
        format!("Content-Length: {}\r\n\r\n{inner}", inner.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
    ] {
        for method in ["GET", "POST"] {
            let request = format!("{method} /healthz HTTP/1.1\r\nHost: x\r\n{framing}");
            let bytes = exchange(world.address, request.as_bytes());
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{request:?}: {text}");
            assert!(!text.contains("PGP"), "{request:?}: {text}");
        }
    }
}

#[test]
fn the_absolute_form_is_the_same_path() {
    let world = World::published();
    let reply = exchange(world.address, &get_line("http://anywhere/healthz"));
    assert_eq!(Reply::parse(&reply).unwrap().text(), "ok\n");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::published();
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let request = one("/healthz") + &one("/readyz") + "GET /nothing HTTP/1.0\r\n\r\n";
    let bytes = exchange(world.address, request.as_bytes());
    let text = String::from_utf8(bytes).unwrap();
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what}: {text}"));
    assert!(at("\r\n\r\nok\n") < at("\r\n\r\nready\n") && at("ready\n") < at("not found: /nothing"));
}

#[test]
fn slow_headers_and_slow_readers_are_cut_off() {
    let limits = Limits {
        header_read: Duration::from_millis(300),
        stalled_write: Duration::from_millis(300),
        ..Limits::STANDARD
    };
    let world = World::with(limits);
    world.publish("stable", 1);
    // Nothing at all, half a line, and one byte at a time.
    for start in [&b""[..], b"GET /heal"] {
        let (begun, mut stream) = (Instant::now(), connect(world.address));
        stream.write_all(start).unwrap();
        drain(&mut stream);
        assert!(begun.elapsed() < SOON);
    }
    let (begun, mut stream) = (Instant::now(), connect(world.address));
    for byte in b"GET /healthz HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat_n(&b'a', 10_000)) {
        if stream.write_all(&[*byte]).is_err() || begun.elapsed() > SOON {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(begun.elapsed() < SOON, "a byte every 10 ms kept the connection");
    // A reader that takes nothing of a large package.
    let (_, path) = world.package(&vec![5; 64 << 20]);
    let mut stream = connect(world.address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let log = world.log(4);
    let stalled = log.last().unwrap();
    assert!(!stalled.complete && stalled.status == 200 && stalled.bytes < 64 << 20, "{stalled:?}");
    assert!(drain(&mut stream).len() < 64 << 20);
}
