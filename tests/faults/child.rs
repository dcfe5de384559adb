//! The process that something happens to: this program, started again with an order in its environment.

use std::env;
use std::io::{Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use buildswarm_store::faults::{self, At, Fault, Then, Weakness};
use buildswarm_store::{Error, Store};

use crate::acts::Act;
use crate::content::{CHANNELS, NUMBERS, long};
use crate::load::{Load, count_collections_from};
use crate::promises::whole;

/// Where the order is.
const ORDER: &str = "BUILDSWARM_FAULTS_ORDER";

/// What a child is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) store: PathBuf,
    /// Which load of this store it is: no two have the same.
    pub(crate) round: u64,
    /// The point to die at, and at which time it is reached.
    pub(crate) die: Option<(String, u64)>,
    /// What is left out.
    pub(crate) weakness: Option<Weakness>,
    /// How many use the store at once.
    pub(crate) threads: u64,
    /// How many times each does everything.
    pub(crate) times: u64,
    /// Wait until what was said has been heard.
    pub(crate) answered: bool,
    /// Only put what is kept in files.
    pub(crate) files: bool,
    /// Do this rather than use the store.
    pub(crate) act: Option<Act>,
    /// Say what failed and go on, rather than fail.
    pub(crate) goes_on: bool,
    /// Small blobs put first: enough of them, and the index's log is written from its beginning again, in place.
    pub(crate) warm: u64,
}

impl Order {
    pub(crate) fn new(store: &Path, round: u64) -> Self {
        Self {
            store: store.to_owned(),
            round,
            die: None,
            weakness: None,
            threads: 1,
            times: 1,
            answered: false,
            files: false,
            act: None,
            goes_on: false,
            warm: 0,
        }
    }

    /// This program with this order.
    pub(crate) fn command(&self) -> Command {
        self.command_through(Command::new(env::current_exe().unwrap()))
    }

    /// A command that ends by running this program, with this order.
    pub(crate) fn command_through(&self, mut command: Command) -> Command {
        let die = self.die.as_ref().map(|(name, nth)| format!("{name}#{nth}")).unwrap_or_default();
        let weakness = self.weakness.map(|weakness| format!("{weakness:?}")).unwrap_or_default();
        let order = [
            self.store.to_str().unwrap(),
            &self.round.to_string(),
            &die,
            &weakness,
            &self.threads.to_string(),
            &self.times.to_string(),
            &self.answered.to_string(),
            &self.files.to_string(),
            self.act.map(Act::name).unwrap_or_default(),
            &self.goes_on.to_string(),
            &self.warm.to_string(),
        ];
        command.env(ORDER, order.join("\n")).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// The order this process was started with.
    pub(crate) fn given() -> Option<Self> {
        let text = env::var(ORDER).ok()?;
        let mut lines = text.split('\n');
        let mut line = || lines.next().unwrap();
        Some(Self {
            store: PathBuf::from(line()),
            round: line().parse().unwrap(),
            die: line().split_once('#').map(|(name, nth)| (name.to_owned(), nth.parse().unwrap())),
            weakness: weakness(line()),
            threads: line().parse().unwrap(),
            times: line().parse().unwrap(),
            answered: line().parse().unwrap(),
            files: line().parse().unwrap(),
            act: Act::named(line()),
            goes_on: line().parse().unwrap(),
            warm: line().parse().unwrap(),
        })
    }

    /// Carries it out, and says at the end which points were reached.
    pub(crate) fn carry_out(&self) {
        if let Some(weakness) = self.weakness {
            faults::weaken(&[weakness]);
        }
        count_collections_from(self.round * NUMBERS);
        faults::label(self.act.map_or("open", Act::name));
        match &self.die {
            Some((name, nth)) => {
                let at = At::Name { name: name.clone(), nth: *nth };
                faults::arm(Fault { at, then: Then::Die, sticky: false });
            }
            None => faults::watch(),
        }
        match self.act {
            Some(act) => act.carry_out(&self.store).unwrap(),
            None => self.use_store(),
        }
        for (name, times) in faults::disarm().reached {
            println!("reached {name} {times}");
        }
    }

    fn use_store(&self) {
        let store = Store::open(&self.store).unwrap();
        let say = |line: &str| self.say(line);
        for number in 0..self.warm {
            let start = self.round * NUMBERS + NUMBERS / 2;
            store.put_bytes(&long(start + number)).unwrap();
        }
        if self.warm > 0 {
            say("warm");
        }
        thread::scope(|scope| {
            for thread in 0..self.threads {
                let store = &store;
                let first = self.round * NUMBERS + thread * (NUMBERS / CHANNELS);
                let load = move || {
                    let mut load = Load::new(store, thread, first, &say);
                    load.inherit();
                    for _ in 0..self.times {
                        let done = if self.files { load.files() } else { load.everything() };
                        if let Err(error) = done {
                            self.excuse(&error);
                            load = load.successor();
                        }
                    }
                };
                scope.spawn(load);
            }
        });
        faults::label("close");
        drop(store);
    }

    /// Ends this process because of an error, unless it was to be expected.
    fn excuse(&self, error: &Error) {
        match error {
            // A collection by another thread took what nothing referred to yet.
            Error::BlobMissing { .. } | Error::ArtifactMissing { .. } if self.threads > 1 => {}
            // Somebody else makes a backup.
            Error::GcRefused { .. } if self.threads > 1 => {}
            error if self.goes_on => println!("failed {}", whole(error)),
            error => panic!("{}", whole(error)),
        }
    }

    /// In one write, so that a death cannot leave half a line.
    fn say(&self, line: &str) {
        faults::pass("say", "before").unwrap();
        let mut out = stdout().lock();
        out.write_all(format!("{line}\n").as_bytes()).unwrap();
        out.flush().unwrap();
        if self.answered {
            stdin().read_exact(&mut [0]).unwrap();
        }
        drop(out);
        faults::pass("say", "after").unwrap();
    }
}

fn weakness(name: &str) -> Option<Weakness> {
    Weakness::ALL.into_iter().find(|weakness| format!("{weakness:?}") == name)
}
