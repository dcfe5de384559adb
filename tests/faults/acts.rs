//! What is done to a whole store that nobody has open: it is made, opened, given a new index, brought back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use buildswarm_store::{Error, Result, Store};

use crate::load::Load;
use crate::promises::Promises;

/// One of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Create,
    Open,
    Rebuild,
    Restore,
}

impl Act {
    pub(crate) const ALL: [Self; 4] = [Self::Create, Self::Open, Self::Rebuild, Self::Restore];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Rebuild => "rebuild",
            Self::Restore => "restore",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.name() == name)
    }

    /// Makes what it is done to, and says what is promised.
    pub(crate) fn prepare(self, path: &Path) -> Promises {
        let promises = Mutex::new(Promises::default());
        if self == Self::Create {
            fs::create_dir(path).unwrap();
            return Promises::default();
        }
        disorder(path, &promises);
        let mut promises = promises.into_inner().unwrap();
        if self == Self::Rebuild {
            lose_index(path);
            promises.forget_history();
        }
        promises
    }

    pub(crate) fn carry_out(self, path: &Path) -> Result<()> {
        let missing = match self {
            Self::Create | Self::Open => {
                Store::open(path)?;
                None
            }
            Self::Rebuild => {
                let report = Store::rebuild(path)?;
                (!report.is_whole()).then(|| format!("{report:?}"))
            }
            Self::Restore => {
                let report = Store::restore(path, back(path))?;
                (!report.missing.is_empty()).then(|| format!("{report:?}"))
            }
        };
        let told = |report| Error::Io {
            action: "read",
            path: path.to_owned(),
            source: std::io::Error::other(report),
        };
        missing.map_or(Ok(()), |report| Err(told(report)))
    }

    /// Does it, after it was interrupted, and opens the store that there is then.
    pub(crate) fn finish(self, path: &Path) -> Result<Store> {
        match self {
            Self::Create | Self::Open => Store::open(path),
            Self::Rebuild => {
                self.carry_out(path)?;
                Store::open(path)
            }
            Self::Restore => {
                if back(path).exists() {
                    fs::remove_dir_all(back(path)).unwrap();
                }
                self.carry_out(path)?;
                Store::open(back(path))
            }
        }
    }
}

/// Where a store is brought back to.
fn back(path: &Path) -> PathBuf {
    path.with_extension("back")
}

/// Removes the index with its log.
pub(crate) fn lose_index(path: &Path) {
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        // Not each of them is always there.
        let _ = fs::remove_file(path.join(name));
    }
}

/// A store with something in it, as a process leaves it that is killed.
fn disorder(path: &Path, promises: &Mutex<Promises>) {
    let store = Store::open(path).unwrap();
    let say = |line: &str| promises.lock().unwrap().hear(line);
    Load::new(&store, 0, 0, &say).everything().unwrap();
    drop(store);
    fs::write(path.join("tmp/left"), b"left").unwrap();
    fs::write(path.join("lock"), b"1\n").unwrap();
}

/// Copies a store that nobody has open.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
