//! What goes wrong at which point of this process: for tests that drive a store from outside.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

use super::{Step, Weakness};

/// An error that a step can be made to fail with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `EIO`.
    Io,
    /// `ENOSPC`.
    NoSpace,
    /// `EDQUOT`.
    Quota,
    /// `EMFILE`.
    TooManyFiles,
    /// A write ends halfway; other steps fail as if they had.
    ShortWrite,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Io, Self::NoSpace, Self::Quota, Self::TooManyFiles, Self::ShortWrite];

    fn error(self) -> io::Error {
        match self {
            Self::Io => Errno::IO.into(),
            Self::NoSpace => Errno::NOSPC.into(),
            Self::Quota => Errno::DQUOT.into(),
            Self::TooManyFiles => Errno::MFILE.into(),
            Self::ShortWrite => io::Error::new(io::ErrorKind::WriteZero, "a write ended halfway"),
        }
    }
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The step fails: before it is taken, or as if it had failed although it was.
    Fail(Kind),
    /// The process dies as by `kill -9`.
    Die,
}

/// Which point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The one with this number, counted from 0.
    Number(u64),
    /// The one with this name when it is reached for the `nth` time, counted from 1.
    Name {
        /// As [`Watched::reached`] has it.
        name: String,
        /// Which time.
        nth: u64,
    },
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: At,
    /// What.
    pub then: Then,
    /// Whether every later point goes wrong in the same way, until [`disarm`].
    pub sticky: bool,
}

/// What was seen between [`watch`] or [`arm`] and [`disarm`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watched {
    /// The names of the points, as in `put/sync-temp/before`, and how often each was reached.
    pub reached: BTreeMap<String, u64>,
    /// How many points that is, each as often as it was reached.
    pub count: u64,
    /// The point where the fault struck first.
    pub struck: Option<String>,
}

#[derive(Default)]
struct State {
    label: String,
    fault: Option<Fault>,
    watched: Watched,
}

/// Spares every step the lock while nothing is watched.
static WATCHING: AtomicBool = AtomicBool::new(false);
static WEAKNESSES: AtomicU8 = AtomicU8::new(0);
static STATE: Mutex<State> = Mutex::new(State {
    label: String::new(),
    fault: None,
    watched: Watched { reached: BTreeMap::new(), count: 0, struck: None },
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins the names of the points from here on: what the process is doing.
pub fn label(doing: &str) {
    doing.clone_into(&mut state().label);
}

/// Records which points are reached from here on, in all threads.
pub fn watch() {
    let mut state = state();
    state.fault = None;
    state.watched = Watched::default();
    WATCHING.store(true, Ordering::Release);
}

/// As [`watch`], and lets one of them go wrong.
pub fn arm(fault: Fault) {
    watch();
    state().fault = Some(fault);
}

/// Ends [`watch`] and [`arm`].
pub fn disarm() -> Watched {
    WATCHING.store(false, Ordering::Release);
    let mut state = state();
    state.fault = None;
    std::mem::take(&mut state.watched)
}

/// Leaves out these from here on, and nothing else.
pub fn weaken(by: &[Weakness]) {
    WEAKNESSES.store(by.iter().fold(0, |all, one| all | bit(*one)), Ordering::Release);
}

pub(super) fn is_weakened(by: Weakness) -> bool {
    WEAKNESSES.load(Ordering::Acquire) & bit(by) != 0
}

const fn bit(weakness: Weakness) -> u8 {
    1 << weakness as u8
}

/// A point that a test adds to those of the store, `side` being `before` or `after`.
///
/// # Errors
/// What the point was told to fail with.
pub fn pass(step: &str, side: &str) -> io::Result<()> {
    if !WATCHING.load(Ordering::Acquire) {
        return Ok(());
    }
    let mut state = state();
    let State { label, fault, watched } = &mut *state;
    let name = format!("{label}/{step}/{side}");
    let number = watched.count;
    watched.count += 1;
    let times = watched.reached.entry(name.clone()).or_default();
    *times += 1;
    let Some(fault) = fault else { return Ok(()) };
    let strikes = match &fault.at {
        _ if watched.struck.is_some() => fault.sticky,
        At::Number(at) => *at == number,
        At::Name { name: at, nth } => *at == name && nth == times,
    };
    if !strikes {
        return Ok(());
    }
    watched.struck.get_or_insert(name);
    match fault.then {
        Then::Fail(kind) => Err(kind.error()),
        Then::Die => {
            kill_process(getpid(), Signal::KILL)?;
            unreachable!("SIGKILL cannot be outlived")
        }
    }
}

pub(super) fn reach(step: Step) -> io::Result<()> {
    match step {
        Step::Committed => pass(name(Step::Commit), "after"),
        _ => pass(name(step), "before"),
    }
}

pub(super) fn passed(step: Step) -> io::Result<()> {
    pass(name(step), "after")
}

const fn name(step: Step) -> &'static str {
    match step {
        Step::WriteLock => "write-lock",
        Step::OpenIndex => "open-index",
        Step::CreateDirectory => "create-directory",
        Step::CreateTemp => "create-temp",
        Step::WriteTemp => "write-temp",
        Step::SyncTemp => "sync-temp",
        Step::SyncFile => "sync-file",
        Step::Publish => "publish",
        Step::SyncDirectory => "sync-directory",
        Step::MoveAside => "move-aside",
        Step::Unlink => "unlink",
        Step::OpenFile => "open-file",
        Step::ReadFile => "read-file",
        Step::CopyIndex => "copy-index",
        Step::Migrate => "migrate",
        Step::Link => "link",
        Step::Append => "append",
        Step::SyncAppended => "sync-appended",
        Step::Cut => "cut",
        Step::WriteCache => "write-cache",
        Step::ShowTree => "show-tree",
        Step::Begin => "begin",
        Step::Commit | Step::Committed => "commit",
    }
}
