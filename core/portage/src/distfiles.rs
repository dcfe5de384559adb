//! Upstream sources: gathered in one directory, each verified against the Manifest before a build sees it
//! (GLEP 74).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use blake2::Blake2b512;
use buildswarm_core::sorted::SortedMap;
use buildswarm_core::spec::Distfile;
use sha2::{Digest as _, Sha512};

use crate::capture::{Configuration, Trees};
use crate::export::Node;
use crate::machine::{DISTDIR, Machine};
use crate::root::{RootError, Scratch};

/// Why a source is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistfilesError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Files that are in no directory and could not be fetched.
    #[error("{package}: {}", Unavailable(.files))]
    Unavailable {
        /// Whose sources they are.
        package: String,
        /// The files and what is wrong with each.
        files: Vec<Missing>,
    },
    /// The private root for fetching cannot be made.
    #[error(transparent)]
    Root(#[from] RootError),
}

/// A source that is not there, or not what the Manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// File name.
    pub name: String,
    /// Copies that were found and refused: path and reason.
    pub refused: Vec<(PathBuf, String)>,
    /// Where it could come from.
    pub uris: Vec<String>,
    /// What fetching printed at its end, if it was tried.
    pub fetch_log: String,
}

struct Unavailable<'a>(&'a [Missing]);

impl std::fmt::Display for Unavailable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, file) in self.0.iter().enumerate() {
            let separator = if number > 0 { "\n" } else { "" };
            write!(f, "{separator}the source {} is missing", file.name)?;
            for (path, reason) in &file.refused {
                write!(f, "; {} was refused: {reason}", path.display())?;
            }
            match file.uris.first() {
                Some(uri) => write!(f, "; it could not be fetched from {uri}")?,
                None => write!(f, "; nothing says where to fetch it")?,
            }
            write!(f, "; put it into a directory named with --distfiles")?;
        }
        Ok(())
    }
}

/// The directory of verified sources, and where else to look.
#[derive(Debug, Clone)]
pub struct Distfiles {
    directory: PathBuf,
    sources: Vec<PathBuf>,
}

impl Distfiles {
    /// Sources are gathered in `directory`; `sources` are other people's directories, read only.
    #[must_use]
    pub const fn new(directory: PathBuf, sources: Vec<PathBuf>) -> Self {
        Self { directory, sources }
    }

    /// The directory to show to a build as its `DISTDIR`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Brings every wanted file into the directory, and returns those that are nowhere.
    ///
    /// Files that stand in the directory with other content are removed from it.
    ///
    /// # Errors
    /// [`DistfilesError::Io`] naming the file.
    pub fn gather(&self, wanted: &SortedMap<Distfile>) -> Result<Vec<Missing>, DistfilesError> {
        fs::create_dir_all(&self.directory).map_err(at(&self.directory))?;
        let mut missing = Vec::new();
        for (name, distfile) in wanted.iter() {
            let target = self.directory.join(name);
            let mut refused = Vec::new();
            match check(&target, distfile)? {
                Check::Good => continue,
                Check::Absent => {}
                Check::Bad(reason) => {
                    fs::remove_file(&target).map_err(at(&target))?;
                    refused.push((target.clone(), reason));
                }
            }
            if !self.copy_from_sources(name, distfile, &target, &mut refused)? {
                missing.push(Missing {
                    name: name.to_owned(),
                    refused,
                    uris: Vec::new(),
                    fetch_log: String::new(),
                });
            }
        }
        Ok(missing)
    }

    fn copy_from_sources(
        &self,
        name: &str,
        distfile: &Distfile,
        target: &Path,
        refused: &mut Vec<(PathBuf, String)>,
    ) -> Result<bool, DistfilesError> {
        for source in self.sources.iter().map(|directory| directory.join(name)) {
            match check(&source, distfile)? {
                Check::Absent => {}
                Check::Bad(reason) => refused.push((source, reason)),
                Check::Good => {
                    // Named for the process: two runs may gather the same file.
                    let partial = self.directory.join(format!(".{name}.{}", std::process::id()));
                    fs::copy(&source, &partial).map_err(at(&partial))?;
                    fs::rename(&partial, target).map_err(at(target))?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Has Portage fetch what is missing, in a private root with network.
    ///
    /// # Errors
    /// [`DistfilesError::Unavailable`] if a file is still missing, or wrong, afterwards.
    pub fn fetch(
        &self,
        machine: &Machine,
        configuration: &Configuration,
        trees: &Trees,
        node: &Node,
        wanted: &SortedMap<Distfile>,
        work: &Path,
    ) -> Result<(), DistfilesError> {
        let mut missing = self.gather(wanted)?;
        if missing.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(work).map_err(at(work))?;
        let root = machine
            .root(work, Scratch::Memory(256 << 20))?
            .with_network()
            .with_read_only(configuration.directory(), Path::new("/etc/portage"))
            .with_writable(&self.directory, Path::new(DISTDIR));
        let mut command = trees.show(root).command("emerge")?;
        machine.set_environment(&mut command, configuration.repositories());
        command
            .env("FEATURES", format!("{} -distlocks", machine.features()))
            .args(["--fetchonly", "--nodeps", "--oneshot", "--color=n", "--"])
            .arg(format!("={}::{}", node.cpv, node.repo))
            .stdin(Stdio::null());
        let output = command.output().map_err(at(Path::new("setpriv")))?;
        let still_missing = self.gather(wanted)?;
        if still_missing.is_empty() {
            return Ok(());
        }
        missing.retain(|file| still_missing.iter().any(|still| still.name == file.name));
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = text.lines().rev().take(10).collect();
        let known = node.ebuild.iter().flat_map(|ebuild| &ebuild.distfiles);
        let uris: BTreeMap<&str, &Vec<String>> = known.map(|file| (file.name.as_str(), &file.uris)).collect();
        for file in &mut missing {
            file.uris = uris.get(file.name.as_str()).map(|uris| (*uris).clone()).unwrap_or_default();
            file.fetch_log = tail.iter().rev().copied().collect::<Vec<_>>().join("\n");
        }
        Err(DistfilesError::Unavailable { package: node.cpv.clone(), files: missing })
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DistfilesError + use<> {
    let path = path.to_owned();
    move |source| DistfilesError::Io { path, source }
}

/// What a file is in the eyes of the Manifest.
#[derive(Debug, PartialEq, Eq)]
enum Check {
    Good,
    Absent,
    Bad(String),
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Compares a file with every hash of it that the Manifest gives, in one pass.
fn check(path: &Path, distfile: &Distfile) -> Result<Check, DistfilesError> {
    let mut file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Check::Absent),
        file => file.map_err(at(path))?,
    };
    let size = file.metadata().map_err(at(path))?.len();
    if size != distfile.size {
        return Ok(Check::Bad(format!("it has {size} bytes, the Manifest says {}", distfile.size)));
    }
    let (mut blake2b, mut sha512) = (Blake2b512::new(), Sha512::new());
    let mut buffer = vec![0; 1 << 17];
    loop {
        let read = file.read(&mut buffer).map_err(at(path))?;
        if read == 0 {
            break;
        }
        blake2b.update(&buffer[..read]);
        sha512.update(&buffer[..read]);
    }
    let found = [("BLAKE2B", hex(&blake2b.finalize())), ("SHA512", hex(&sha512.finalize()))];
    for (name, found) in found {
        if let Some(expected) = distfile.hashes.get(name)
            && *expected != found
        {
            let short = |text: &str| text.get(..16).unwrap_or(text).to_owned();
            let (found, expected) = (short(&found), short(expected));
            return Ok(Check::Bad(format!("its {name} is {found}…, the Manifest says {expected}…")));
        }
    }
    Ok(Check::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distfile(content: &[u8]) -> Distfile {
        let hashes = [
            ("BLAKE2B".to_owned(), hex(&Blake2b512::digest(content))),
            ("SHA512".to_owned(), hex(&Sha512::digest(content))),
        ];
        Distfile { size: content.len() as u64, hashes: hashes.into() }
    }

    #[test]
    fn only_what_the_manifest_says_is_gathered() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        fs::create_dir(&theirs).unwrap();
        let distfiles = Distfiles::new(ours.clone(), vec![theirs.clone()]);
        let wanted = SortedMap::from([("a.tar".to_owned(), distfile(b"right"))]);

        let missing = distfiles.gather(&wanted).unwrap();
        assert!(missing.len() == 1 && missing[0].refused.is_empty());

        fs::write(theirs.join("a.tar"), "wrong").unwrap();
        let missing = distfiles.gather(&wanted).unwrap();
        assert!(missing[0].refused[0].1.contains("BLAKE2B"), "{missing:?}");
        assert!(theirs.join("a.tar").exists(), "other people's files are left alone");

        fs::write(theirs.join("a.tar"), "short").unwrap();
        fs::write(ours.join("a.tar"), "right?").unwrap();
        let missing = distfiles.gather(&wanted).unwrap();
        assert!(missing[0].refused[0].1.contains("6 bytes"), "{missing:?}");
        assert!(!ours.join("a.tar").exists());

        fs::write(theirs.join("a.tar"), "right").unwrap();
        assert!(distfiles.gather(&wanted).unwrap().is_empty());
        assert_eq!(fs::read(ours.join("a.tar")).unwrap(), b"right");
    }
}
