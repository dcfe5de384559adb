//! What tests can change about the look-up table, and what they can learn of its use; otherwise nothing.

/// Something that is checked before the table is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// That nothing was lost since it was written.
    Losses,
    /// That its directory is the one the index knows.
    Directory,
    /// That a block is the one the directory knows.
    Block,
}

#[cfg(not(test))]
mod fixed {
    pub(in super::super) const fn is_left_out(_: super::Check) -> bool {
        false
    }

    pub(in super::super) const fn answered(_: usize) {}

    pub(in super::super) const fn rows_min() -> u64 {
        super::super::ROWS_MIN
    }
}

#[cfg(not(test))]
pub(super) use fixed::{answered, is_left_out, rows_min};

#[cfg(test)]
pub(super) use scripted::{answered, is_left_out, rows_min};

#[cfg(test)]
pub(super) mod scripted {
    use std::cell::Cell;

    use super::Check;

    thread_local! {
        static LEFT_OUT: Cell<Option<Check>> = const { Cell::new(None) };
        static ANSWERED: Cell<usize> = const { Cell::new(0) };
        static ROWS_MIN: Cell<u64> = const { Cell::new(super::super::ROWS_MIN) };
    }

    /// Makes this thread go without a check.
    pub(in super::super) fn leave_out(check: Option<Check>) {
        LEFT_OUT.set(check);
    }

    /// Makes this thread write tables for stores of so few artifacts.
    pub(in super::super) fn write_from(rows: u64) {
        ROWS_MIN.set(rows);
    }

    /// How many keys the table has answered for on this thread, without the index, since this was last asked.
    pub(in super::super) fn take_answered() -> usize {
        ANSWERED.take()
    }

    pub(in super::super) fn is_left_out(check: Check) -> bool {
        LEFT_OUT.get() == Some(check)
    }

    pub(in super::super) fn answered(keys: usize) {
        ANSWERED.set(ANSWERED.get() + keys);
    }

    pub(in super::super) fn rows_min() -> u64 {
        ROWS_MIN.get()
    }
}
