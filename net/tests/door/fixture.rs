//! A binhost on disk with a door before it.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use buildswarm_core::Digest;
use buildswarm_net::http::{Access, HttpDoor, Limits, Site, Stopped};
use tempfile::TempDir;

/// TIMESTAMP of generation 0; generation n is n seconds younger.
pub(crate) const EPOCH: u64 = 1_700_000_000;

pub(crate) const KEY: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n";

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    directory: TempDir,
    log: Arc<Mutex<Vec<Access>>>,
    close: Option<tokio::sync::oneshot::Sender<()>>,
    running: Option<JoinHandle<Stopped>>,
}

impl World {
    /// An empty directory, behind the usual limits.
    pub(crate) fn empty() -> Self {
        Self::with(Limits::STANDARD)
    }

    /// A channel `stable` in generation 1.
    pub(crate) fn published() -> Self {
        let world = Self::empty();
        world.publish("stable", 1);
        world
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let log = Arc::new(Mutex::new(Vec::new()));
        let site = Site { binhost: directory.path().join("binhost"), public_key: Some(KEY.into()) };
        let (close, closed) = tokio::sync::oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let accounts = Arc::clone(&log);
        let running = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let log = move |access: &Access| accounts.lock().expect("the log").push(access.clone());
                let door =
                    HttpDoor::bind("127.0.0.1:0", site, log).await.expect("a door").with_limits(limits);
                tell.send(door.local_addr()).expect("someone waits");
                // An error is a world dropped without closing; that closes too.
                door.run(async { closed.await.unwrap_or(()) }).await
            })
        });
        let address = told.recv().expect("an address");
        Self { address, directory, log, close: Some(close), running: Some(running) }
    }

    pub(crate) fn outside(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn binhost(&self) -> PathBuf {
        self.directory.path().join("binhost")
    }

    /// Writes generation `n` of `channel` and points `current` to it.
    pub(crate) fn publish(&self, channel: &str, n: u64) {
        publish(&self.binhost(), channel, n);
    }

    /// Puts a package into the pool; returns its path on disk and its path in URLs below a channel.
    pub(crate) fn package(&self, bytes: &[u8]) -> (PathBuf, String) {
        let name = Digest::of(bytes).to_string();
        let below = format!("pool/{}/{name}.gpkg.tar", &name[..2]);
        let path = self.binhost().join(&below);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a shard");
        fs::write(&path, bytes).expect("a package");
        (path, format!("/binhost/stable/{below}"))
    }

    /// The accounts so far, once there are at least `count` (they come after the answer is read).
    pub(crate) fn log(&self, count: usize) -> Vec<Access> {
        for _ in 0..400 {
            let log = self.log.lock().expect("the log").clone();
            if log.len() >= count {
                return log;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("fewer than {count} accounts: {:?}", self.log.lock());
    }

    pub(crate) fn begin_close(&mut self) {
        if let Some(close) = self.close.take() {
            // Nobody waits any more if the door failed; joining it will tell.
            let _ = close.send(());
        }
    }

    pub(crate) fn close(&mut self) -> Stopped {
        self.begin_close();
        self.running.take().expect("closed once").join().expect("the door did not panic")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.begin_close();
        if let Some(running) = self.running.take() {
            let ended = running.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the door panicked");
        }
    }
}

/// What generation `n` says, in all its files.
pub(crate) fn index(n: u64) -> String {
    let entry = format!("CPV: app-misc/generation-{n}\nSIZE: 1\n\n").repeat(200);
    format!("ARCH: amd64\nPACKAGES: 200\nTIMESTAMP: {}\nVERSION: 0\n\n{entry}", EPOCH + n)
}

pub(crate) fn publish(binhost: &Path, channel: &str, n: u64) {
    let home = binhost.join("channels").join(channel);
    let generation = home.join("generations").join(n.to_string());
    fs::create_dir_all(binhost.join("pool")).expect("the pool");
    fs::create_dir_all(&generation).expect("a generation");
    let index = index(n);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(index.as_bytes()).expect("compressing");
    fs::write(generation.join("Packages"), index).expect("an index");
    fs::write(generation.join("Packages.gz"), gzip.finish().expect("compressing")).expect("an index");
    fs::write(generation.join("generation.json"), format!("{{\"number\":{n}}}\n")).expect("a record");
    fs::write(generation.join("generation.json.asc"), format!("signed {n}\n")).expect("a signature");
    std::os::unix::fs::symlink("../../../../pool", generation.join("pool")).expect("a link");
    point(binhost, channel, &format!("generations/{n}"));
}

/// Points `current` to `target` by one rename.
pub(crate) fn point(binhost: &Path, channel: &str, target: &str) {
    let home = binhost.join("channels").join(channel);
    std::os::unix::fs::symlink(target, home.join(".next")).expect("a link");
    fs::rename(home.join(".next"), home.join("current")).expect("a switch");
}

/// Whether this machine has a program; a test that needs it says so and ends otherwise.
pub(crate) fn has(program: &str) -> bool {
    let found = std::process::Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: no {program} on this machine");
    }
    found
}
