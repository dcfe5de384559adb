//! The HTTP door: what stock `emerge`, `wget`, `curl` and browsers need, read-only.
//!
//! A binhost directory on disk, written by others while it is being served, appears as
//!
//! | path | what |
//! |---|---|
//! | `/` | a page for people: channels and how to use them |
//! | `/binhost/CHANNEL/Packages`, `…/Packages.gz` | the index of the channel's current generation |
//! | `/binhost/CHANNEL/generation.json`, `….asc` | what the generation holds, and the signature of that |
//! | `/binhost/CHANNEL/pool/ab/DIGEST.gpkg.tar` | a package, named by the BLAKE3 of its bytes |
//! | `/key.asc` | the public key the packages are signed with |
//! | `/v1/channels` | the channels as JSON |
//! | `/healthz`, `/readyz` | is the process alive; can it serve |
//!
//! # What holds
//! - No byte of a package leaves before all of it was verified against its name; a damaged one is a 503 and a
//!   problem in the log, never a 200.
//! - One request sees one generation, and every file of a generation has the same `Last-Modified`.
//! - A body is as long as its `Content-Length` or the connection breaks.
//! - No path leads out of the directory: paths are matched, not decoded, and no symbolic link but `current` is
//!   followed.
//! - Nothing is written, and no request can make the door keep more than its [`Limits`] allow.
//!
//! There is no TLS here, no compression and no directory listing.

mod access;
mod answer;
mod body;
pub mod conditional;
pub mod header;
mod page;
pub mod range;
pub mod route;
mod serve;
mod stall;
mod tree;
pub mod verified;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

pub use access::Access;

/// Where accounts of requests go.
type Log = Arc<dyn Fn(&Access) + Send + Sync>;

/// What is served.
#[derive(Debug, Clone)]
pub struct Site {
    /// The directory with `channels/` and `pool/` in it. It need not exist yet.
    pub binhost: PathBuf,
    /// The armored public key packages are signed with, if they are.
    pub public_key: Option<Vec<u8>>,
}

/// Bounds on what clients may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time. Those beyond get a 503 at once.
    pub connections: usize,
    /// From the start of a connection, or the end of an answer, to the end of the next request's header.
    pub header_read: Duration,
    /// How long a client may take nothing of an answer.
    pub stalled_write: Duration,
    /// How long answers under way may take to finish after the shutdown.
    pub drain: Duration,
}

impl Limits {
    /// For a process with the usual limit of 1024 file descriptors, of which a connection takes two (socket and
    /// file), and a supervisor that kills 10 s after it asked.
    pub const STANDARD: Self = Self {
        connections: 384,
        header_read: Duration::from_secs(10),
        stalled_write: Duration::from_secs(30),
        drain: Duration::from_secs(9),
    };
}

const _: () =
    assert!(2 * Limits::STANDARD.connections < 1024 - 128, "the rest of the process opens files too");
const _: () = assert!(Limits::STANDARD.drain.as_secs() < 10, "gone within ten seconds of being asked");

/// Why there is no door.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// How a door was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that had not finished in time and were cut off.
    pub cut_off: usize,
}

/// A bound socket and what is behind it. Clients can connect from [`bind`](Self::bind) on; they are answered
/// while [`run`](Self::run) runs.
///
/// ```
/// use std::io::{Read, Write};
/// use buildswarm_net::http::{HttpDoor, Site};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let binhost = tempfile::tempdir().unwrap();
/// let site = Site { binhost: binhost.path().into(), public_key: None };
/// let log = |access: &buildswarm_net::http::Access| println!("{access}");
/// let door = HttpDoor::bind("127.0.0.1:0", site, log).await.unwrap();
/// let address = door.local_addr();
/// let (close, closed) = tokio::sync::oneshot::channel();
/// let running = tokio::spawn(door.run(async { closed.await.unwrap() }));
///
/// let answer = tokio::task::spawn_blocking(move || {
///     let mut client = std::net::TcpStream::connect(address).unwrap();
///     client.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
///     let mut answer = String::new();
///     client.read_to_string(&mut answer).unwrap();
///     answer
/// });
/// assert!(answer.await.unwrap().ends_with("\r\n\r\nok\n"));
///
/// close.send(()).unwrap();
/// assert_eq!(running.await.unwrap().cut_off, 0);
/// # });
/// ```
pub struct HttpDoor {
    listener: TcpListener,
    address: SocketAddr,
    door: Arc<answer::Door>,
    limits: Limits,
}

impl fmt::Debug for HttpDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpDoor").field("address", &self.address).field("limits", &self.limits).finish()
    }
}

impl HttpDoor {
    /// Listens on `address`, like `0.0.0.0:7080` or `localhost:0` (port 0 takes a free one), within
    /// [`Limits::STANDARD`]. `log` is told of every request, from any thread, and must not block.
    ///
    /// # Errors
    /// [`DoorError::Listen`].
    pub async fn bind(
        address: &str,
        site: Site,
        log: impl Fn(&Access) + Send + Sync + 'static,
    ) -> Result<Self, DoorError> {
        let failed = |source| DoorError::Listen { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let door = answer::Door {
            tree: Arc::new(tree::Tree::new(site.binhost)),
            files: verified::VerifiedFiles::new(),
            key: site.public_key.map(Into::into),
            log: Arc::new(log),
        };
        Ok(Self { listener, address, door: Arc::new(door), limits: Limits::STANDARD })
    }

    /// The same door within other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The address it listens on, with the port it got.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready, then takes no more connections, lets answers under way finish within
    /// [`Limits::drain`], and cuts off the rest.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Stopped {
        serve::run(self.listener, self.door, self.limits, shutdown).await
    }
}
