//! Connections: how many there may be, how long they may dawdle, how they end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::access::{Access, chain};
use super::answer::Door;
use super::stall::Patient;
use super::{Limits, Stopped};

/// Longest head of a request, in bytes. Portage and wget send 300; a browser with cookies some 4,000.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Most header fields of a request. Browsers send about 20.
const HEAD_FIELDS_MAX: usize = 64;

/// Clients that are being told at one time that the door is full. Those beyond are closed without a word.
const REFUSALS_MAX: usize = 64;

/// How long telling one may take.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Pause after a failed `accept`: out of file descriptors it would fail at once again, for as long as no
/// connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 38\r\nRetry-After: 2\r\nConnection: close\r\n\r\nall connections are in use, come back\n";

/// Accepts until `shutdown` is ready, then lets what is under way finish, for a while.
pub(super) async fn run(
    listener: TcpListener,
    door: Arc<Door>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Stopped {
    let free = Arc::new(Semaphore::new(limits.connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let (close, closing) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            let (door, closing) = (Arc::clone(&door), closing.clone());
            connections.spawn(async move {
                serve(stream, peer, door, limits, closing).await;
                drop(permit);
            });
        } else if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
            (door.log)(&without_request(peer, 503, "all connections are in use".into()));
            connections.spawn(async move {
                // Whether the client heard it is its own affair.
                let _ = tokio::time::timeout(REFUSAL_TIME, refuse(stream)).await;
                drop(permit);
            });
        }
    }
    drop(listener);
    // Those who listen are gone only if they are done.
    let _ = close.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    let in_time = tokio::time::timeout(limits.drain, drained).await.is_ok();
    door.files.stop();
    let cut_off = if in_time { 0 } else { connections.len() };
    connections.shutdown().await;
    Stopped { cut_off }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    door: Arc<Door>,
    limits: Limits,
    mut closing: watch::Receiver<bool>,
) {
    // Without it the last packet of an answer can wait 40 ms for an acknowledgement; an error only means that.
    let _ = stream.set_nodelay(true);
    let (asked, log) = (Arc::new(AtomicBool::new(false)), Arc::clone(&door.log));
    let service = {
        let asked = Arc::clone(&asked);
        service_fn(move |request| {
            asked.store(true, Ordering::Relaxed);
            let door = Arc::clone(&door);
            async move { Ok::<_, Infallible>(door.handle(peer, request).await) }
        })
    };
    let mut settings = http1::Builder::new();
    settings
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_headers(HEAD_FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let io = TokioIo::new(Patient::new(stream, limits.stalled_write));
    let mut connection = pin!(settings.serve_connection(io, service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = async move { drop(closing.wait_for(|closing| *closing).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Whatever ended during an answer is in that answer's account already.
    match ended {
        Err(error) if error.is_parse_too_large() => log(&without_request(peer, 431, chain(&error))),
        Err(error) if error.is_parse() => log(&without_request(peer, 400, chain(&error))),
        Err(error) if error.is_timeout() && !asked.load(Ordering::Relaxed) => {
            log(&without_request(peer, 0, "no request in time".into()));
        }
        _ => {}
    }
}

async fn refuse(mut stream: TcpStream) {
    let told = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        let mut scrap = [0; 1024];
        while stream.read(&mut scrap).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = told.await;
}

fn without_request(peer: SocketAddr, status: u16, problem: String) -> Access {
    let dash = || "-".to_owned();
    let (method, path) = (dash(), dash());
    Access { peer, method, path, status, bytes: 0, millis: 0, complete: true, problem: Some(problem) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_refusal_has_the_length_it_says() {
        let text = std::str::from_utf8(super::FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
