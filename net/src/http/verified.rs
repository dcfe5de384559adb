//! The digest of a file, computed once per state of the file.
//!
//! A pool file is served only if its digest is its name; an index file's digest is its entity tag. Both come
//! from here. A state of a file is its [`Identity`]: device, inode, size and both time stamps, so whatever
//! writes to the file or replaces it makes a state that was never hashed. Hashing happens on blocking threads,
//! a few at a time, and those who ask for a file that is being hashed wait for that result. A client that goes
//! away does not stop the hashing: asking and leaving in a loop costs one pass over the file, not many.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use buildswarm_core::Digest;
use tokio::sync::{Semaphore, watch};

/// Most digests remembered. An entry takes about 150 bytes, so 10 MiB in all; the whole of Gentoo is 20,000
/// packages.
const REMEMBERED_MAX: usize = 1 << 16;

/// Bytes read per step of hashing: enough that the system call is free, small enough to stop at once.
const HASH_STEP: usize = 1 << 20;

/// A file changed less than this ago is hashed again next time. Kernels stamp files with a clock that may stand
/// still for 10 ms (some file systems: 2 s), and a second write within one tick would leave no trace.
pub const SETTLED: Duration = Duration::from_secs(2);

/// One state of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// The state `file` is in now.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Length in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Whether a file in state `other` still has the bytes it had in this one. The change time is left out: a
    /// file that loses or gains a name while it is being sent, as collection does, keeps its bytes.
    #[must_use]
    pub fn same_bytes(&self, other: &Self) -> bool {
        (self.device, self.inode, self.size, self.modified)
            == (other.device, other.inode, other.size, other.modified)
    }

    /// By the change time alone: every write moves it, and nobody can set it.
    fn is_settled(&self, now: SystemTime) -> bool {
        let (Ok(secs), Ok(nanos)) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1)) else {
            return false;
        };
        // Changed in the future means that a clock was set back. Hashing again is slow, not wrong.
        UNIX_EPOCH
            .checked_add(Duration::new(secs, nanos))
            .and_then(|changed| now.duration_since(changed).ok())
            .is_some_and(|age| age >= SETTLED)
    }
}

/// Why a file has no digest.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HashError {
    /// It could not be read.
    #[error("reading it failed")]
    Read(#[source] Arc<io::Error>),
    /// It was written to while it was read.
    #[error("it changed while it was being read")]
    Changed,
    /// The door is closing.
    #[error("the door is closing")]
    Stopped,
}

type Outcome = Result<Digest, HashError>;

enum Slot {
    Known(Digest),
    Running(watch::Receiver<Option<Outcome>>),
}

#[derive(Default)]
struct Table {
    slots: HashMap<Identity, Slot>,
    /// The known ones, oldest first.
    order: VecDeque<Identity>,
}

struct Shared {
    table: Mutex<Table>,
    hashing: Semaphore,
    stopped: AtomicBool,
    passes: AtomicU64,
}

/// Remembers digests; cheap to clone, all clones share.
///
/// ```
/// use buildswarm_core::Digest;
/// use buildswarm_net::http::verified::{Identity, VerifiedFiles};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("package");
/// std::fs::write(&path, b"bytes").unwrap();
/// let file = std::sync::Arc::new(std::fs::File::open(&path).unwrap());
/// let files = VerifiedFiles::new();
/// let digest = files.digest(&file, Identity::of(&file).unwrap()).await.unwrap();
/// assert_eq!(digest, Digest::of(b"bytes"));
/// # });
/// ```
#[derive(Clone)]
pub struct VerifiedFiles(Arc<Shared>);

impl Default for VerifiedFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl VerifiedFiles {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        // Hashing is bound by the processor or the disk; more at a time only makes each of them later.
        let at_once = std::thread::available_parallelism().map_or(2, NonZero::get);
        Self(Arc::new(Shared {
            table: Mutex::default(),
            hashing: Semaphore::new(at_once),
            stopped: AtomicBool::new(false),
            passes: AtomicU64::new(0),
        }))
    }

    /// The digest of `file`, which is in state `identity`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`HashError`]; none of them is remembered.
    pub async fn digest(&self, file: &Arc<File>, identity: Identity) -> Result<Digest, HashError> {
        let mut running = match self.find_or_start(file, identity) {
            Slot::Known(digest) => return Ok(digest),
            Slot::Running(running) => running,
        };
        match running.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(HashError::Stopped)),
            // The one who hashed is gone without a word: the runtime is shutting down.
            Err(_) => Err(HashError::Stopped),
        }
    }

    /// How many files were read to the end, or as far as they went.
    #[must_use]
    pub fn passes(&self) -> u64 {
        self.0.passes.load(Ordering::Relaxed)
    }

    /// Ends all hashing within one step, so that no blocking thread outlives the door by much.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }

    fn find_or_start(&self, file: &Arc<File>, identity: Identity) -> Slot {
        let mut table = self.0.table();
        match table.slots.get(&identity) {
            Some(Slot::Known(digest)) => return Slot::Known(*digest),
            // A closed channel without a result is the remains of a task that never ran; start again.
            Some(Slot::Running(running)) if running.borrow().is_some() || running.has_changed().is_ok() => {
                return Slot::Running(running.clone());
            }
            _ => {}
        }
        let (report, running) = watch::channel(None);
        table.slots.insert(identity, Slot::Running(running.clone()));
        let (shared, file) = (Arc::clone(&self.0), Arc::clone(file));
        tokio::spawn(async move {
            let Ok(_permit) = shared.hashing.acquire().await else { return };
            let hasher = Arc::clone(&shared);
            let hashed = tokio::task::spawn_blocking(move || hasher.hash(&file, &identity)).await;
            let outcome = hashed.unwrap_or(Err(HashError::Stopped));
            shared.settle(identity, &outcome, SystemTime::now());
            report.send_replace(Some(outcome));
        });
        Slot::Running(running)
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change to the table is one call on a map; a panic between two leaves nothing half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, identity: Identity, outcome: &Outcome, now: SystemTime) {
        let mut table = self.table();
        match outcome {
            Ok(digest) if identity.is_settled(now) => {
                table.slots.insert(identity, Slot::Known(*digest));
                table.order.push_back(identity);
                if table.order.len() > REMEMBERED_MAX
                    && let Some(oldest) = table.order.pop_front()
                {
                    table.slots.remove(&oldest);
                }
            }
            _ => {
                table.slots.remove(&identity);
            }
        }
    }

    fn hash(&self, file: &File, identity: &Identity) -> Outcome {
        self.passes.fetch_add(1, Ordering::Relaxed);
        let read_error = |error| HashError::Read(Arc::new(error));
        let step = usize::try_from(identity.size).unwrap_or(HASH_STEP).clamp(1, HASH_STEP);
        let (mut buffer, mut offset, mut hasher) = (vec![0; step], 0, blake3::Hasher::new());
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(HashError::Stopped);
            }
            match file.read_at(&mut buffer, offset) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
        let now = Identity::of(file).map_err(read_error)?;
        if offset != identity.size || !identity.same_bytes(&now) {
            return Err(HashError::Changed);
        }
        Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }
}

#[cfg(test)]
mod tests;
