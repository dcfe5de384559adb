//! Seeded defects: what the tests switch on to show that they would notice.
//!
//! In anything but this crate's own tests there are none, and the question is a constant.

use super::Scheduler;

/// One defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Results are taken without looking at their fence.
    NoFenceCheck,
    /// An ended lease keeps its slot in the drone's count.
    SlotLeak,
    /// Dependents hear only of jobs built while running, not of late results and fresh starts.
    EdgeTriggered,
    /// A failure counts although its lease has ended.
    LateFailure,
    /// Leases do not expire.
    NoExpiry,
    /// Fences are used twice.
    FenceReuse,
    /// A job that is looked up stands in line too.
    ResolvingInLine,
    /// Dependents do not hear of a reuse.
    ReuseUntold,
    /// A job is looked up although a plan wants it built.
    ReuseForAll,
    /// Any answer counts, whichever question it is to.
    StaleAnswer,
    /// What was not found is looked up again.
    MissForgotten,
}

impl Scheduler {
    /// Whether a defect is switched on.
    #[cfg(test)]
    pub(super) fn is_faulty(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "as in tests")]
    pub(super) const fn is_faulty(&self, _: Fault) -> bool {
        false
    }
}
