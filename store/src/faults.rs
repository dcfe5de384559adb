//! The named points around every step that changes a store's files or its index: tests make an operation fail
//! there, or the process die.
//!
//! Without the feature `faults` they are nothing. With it this module is public: [`watch`] lists the points that are
//! reached, [`arm`] lets one of them go wrong, and [`weaken`] leaves out what a guarantee rests on, so that a test
//! of the guarantee can be seen to fail.

#[cfg(feature = "faults")]
mod armed;
#[cfg(test)]
pub(crate) mod scripted;

use std::fs::File;
use std::io::{self, Write};

#[cfg(feature = "faults")]
pub use armed::{At, Fault, Kind, Then, Watched, arm, disarm, label, pass, watch, weaken};

/// A step that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    WriteLock,
    OpenIndex,
    CreateDirectory,
    CreateTemp,
    WriteTemp,
    SyncTemp,
    SyncFile,
    Publish,
    SyncDirectory,
    MoveAside,
    Unlink,
    OpenFile,
    ReadFile,
    CopyIndex,
    Link,
    Append,
    SyncAppended,
    Cut,
    Migrate,
    WriteCache,
    ShowTree,
    Begin,
    Commit,
    Committed,
}

/// What a guarantee rests on, to be left out by a test of that guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "faults"), expect(unreachable_pub, reason = "this module is public for tests only"))]
pub enum Weakness {
    /// Files get their names unsynced.
    NoFileSync,
    /// Directories are not synced.
    NoDirectorySync,
    /// The index is committed with `synchronous=NORMAL`.
    NormalSync,
    /// The journal is not synced before the transaction that it is of.
    NoJournalSync,
    /// The row of a blob is written before its file has its bytes and its name.
    RowFirst,
    /// Errors of writes and syncs are not reported.
    SwallowedErrors,
}

#[cfg(feature = "faults")]
impl Weakness {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::NoFileSync,
        Self::NoDirectorySync,
        Self::NormalSync,
        Self::NoJournalSync,
        Self::RowFirst,
        Self::SwallowedErrors,
    ];
}

impl Step {
    /// Whether nothing is changed by it.
    #[cfg(test)]
    const fn only_reads(self) -> bool {
        matches!(self, Self::OpenIndex | Self::OpenFile | Self::ReadFile | Self::Begin)
    }
}

/// The point before a step.
#[cfg_attr(
    not(any(test, feature = "faults")),
    expect(unused_variables, clippy::unnecessary_wraps, reason = "points are for tests")
)]
pub(crate) fn reach(step: Step) -> io::Result<()> {
    #[cfg(test)]
    scripted::reach(step)?;
    #[cfg(feature = "faults")]
    armed::reach(step)?;
    Ok(())
}

/// The point after a step.
#[cfg_attr(
    not(feature = "faults"),
    expect(unused_variables, clippy::unnecessary_wraps, reason = "points are for tests")
)]
pub(crate) fn passed(step: Step) -> io::Result<()> {
    #[cfg(feature = "faults")]
    armed::passed(step)?;
    Ok(())
}

/// Takes a step, with the points around it.
pub(crate) fn take<T>(step: Step, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    reach(step)?;
    let outcome = action()?;
    passed(step)?;
    Ok(outcome)
}

/// Takes a step that makes something durable.
pub(crate) fn sync(step: Step, barrier: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    reach(step).or_else(swallowed)?;
    finish_sync(step, barrier)
}

/// The rest of [`sync`], when another thread has passed the point before it.
pub(crate) fn finish_sync(step: Step, barrier: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if left_out(step) {
        return Ok(());
    }
    barrier()?;
    passed(step).or_else(swallowed)
}

/// Writes all of `bytes`, or a part of them when it fails.
pub(crate) fn write(step: Step, file: &mut File, bytes: &[u8]) -> io::Result<()> {
    if let Err(error) = reach(step) {
        if error.kind() == io::ErrorKind::WriteZero {
            file.write_all(&bytes[..bytes.len() / 2])?;
        }
        return swallowed(error);
    }
    file.write_all(bytes)?;
    passed(step)
}

/// Whether a test left something out; never in what is released.
#[cfg_attr(not(feature = "faults"), expect(unused_variables, reason = "points are for tests"))]
pub(crate) fn weakened(by: Weakness) -> bool {
    #[cfg(feature = "faults")]
    return armed::is_weakened(by);
    #[cfg(not(feature = "faults"))]
    false
}

fn left_out(step: Step) -> bool {
    match step {
        Step::SyncTemp | Step::SyncFile => weakened(Weakness::NoFileSync),
        Step::SyncDirectory => weakened(Weakness::NoDirectorySync),
        Step::SyncAppended => weakened(Weakness::NoJournalSync),
        _ => false,
    }
}

fn swallowed(error: io::Error) -> io::Result<()> {
    if weakened(Weakness::SwallowedErrors) { Ok(()) } else { Err(error) }
}
