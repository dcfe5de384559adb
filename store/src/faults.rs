//! The named points between two steps of an operation: in tests an operation can be made to fail or the
//! process to die at any of them; otherwise they are nothing.

/// A step that is about to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    CreateTemp,
    WriteTemp,
    SyncTemp,
    Publish,
    SyncDirectory,
    MoveAside,
    Unlink,
    Migrate,
    WriteCache,
    ShowTree,
    Commit,
    Committed,
}

#[cfg(not(test))]
pub(crate) const fn reach(_: Step) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use scripted::reach;

#[cfg(test)]
pub(crate) mod scripted {
    use std::cell::RefCell;
    use std::io;

    use super::Step;

    /// What happens at the chosen step.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Then {
        Fail,
        Die,
    }

    #[derive(Default)]
    struct Script {
        trace: Vec<Step>,
        at: Option<(usize, Then)>,
    }

    thread_local! {
        static SCRIPT: RefCell<Script> = RefCell::default();
    }

    /// Forgets what this thread did, and lets its step number `at` (counted from 0) go wrong.
    pub(crate) fn script(at: Option<(usize, Then)>) {
        SCRIPT.set(Script { trace: Vec::new(), at });
    }

    /// The steps this thread has taken since the last [`script`].
    pub(crate) fn trace() -> Vec<Step> {
        SCRIPT.with_borrow(|script| script.trace.clone())
    }

    pub(crate) fn reach(step: Step) -> io::Result<()> {
        SCRIPT.with_borrow_mut(|script| {
            let number = script.trace.len();
            script.trace.push(step);
            match script.at {
                Some((at, Then::Fail)) if at == number => Err(io::Error::other("injected")),
                Some((at, Then::Die)) if at == number => {
                    let own = rustix::process::getpid();
                    rustix::process::kill_process(own, rustix::process::Signal::KILL)?;
                    unreachable!("SIGKILL cannot be outlived")
                }
                _ => Ok(()),
            }
        })
    }
}
