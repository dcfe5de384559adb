//! The pool: package files by the BLAKE3 of their bytes, shared by all channels and generations.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use buildswarm_core::BlobId;
use rustix::fs::FlockOperation;

use super::error::BinhostError;

const SUFFIX: &str = ".gpkg.tar";

/// Where the package with this address is, relative to the binhost or to a generation:
/// `pool/ab/ab….gpkg.tar`.
#[must_use]
pub fn pool_path(id: &BlobId) -> String {
    let name = id.to_string();
    format!("pool/{}/{name}{SUFFIX}", &name[..2])
}

/// The address a file name in the pool stands for.
pub(super) fn pool_id(name: &str) -> Option<BlobId> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

pub(super) fn file_error(path: &Path, action: &'static str) -> impl Fn(io::Error) -> BinhostError {
    let path = path.to_owned();
    move |source| BinhostError::File { path: path.clone(), action, source }
}

pub(super) fn sync_directory(path: &Path) -> Result<(), BinhostError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(file_error(path, "making it durable"))
}

/// Holds off [`sweep`](super::publish::Binhost::sweep) while files are being offered, or offers while sweeping.
pub(super) fn lock(binhost: &Path, operation: FlockOperation) -> Result<File, BinhostError> {
    make_directory(binhost)?;
    let path = binhost.join(".lock");
    let lock = File::create(&path).map_err(file_error(&path, "making it"))?;
    rustix::fs::flock(&lock, operation).map_err(|error| file_error(&path, "locking it")(error.into()))?;
    Ok(lock)
}

/// Makes `path` and its missing parents, durably.
pub(super) fn make_directory(path: &Path) -> Result<(), BinhostError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(file_error(path, "making it")(error));
            }
            _ => sync_directory(parent)?,
        }
    }
    Ok(())
}

/// Puts the file at `source` into the pool of `binhost`, as a hard link where possible. A file that is there
/// is left alone if it has the right size, and replaced otherwise. Returns the directory, which the caller
/// must still make durable ([`sync_directory`], once for many files): an earlier attempt may have crashed
/// before it did.
pub(super) fn add(binhost: &Path, id: &BlobId, size: u64, source: &Path) -> Result<PathBuf, BinhostError> {
    let target = binhost.join(pool_path(id));
    let directory = target.parent().unwrap_or(binhost).to_owned();
    match fs::symlink_metadata(&target) {
        Ok(found) if found.is_file() && found.len() == size => return Ok(directory),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(file_error(&target, "looking at it")(error)),
    }
    make_directory(&directory)?;
    let temporary = tempfile::Builder::new().prefix(".new-").tempdir_in(&directory);
    let temporary = temporary.map_err(file_error(&directory, "making a directory in it"))?;
    let staged = temporary.path().join("package");
    if fs::hard_link(source, &staged).is_err() {
        fs::copy(source, &staged).map_err(file_error(source, "copying it to the pool"))?;
        // A copy is ours to open to the world; a link has the mode its owner gave it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&staged, open).map_err(file_error(&staged, "opening it"))?;
    }
    check(&staged, id, size)?;
    fs::rename(&staged, &target).map_err(file_error(&target, "moving it into place"))?;
    Ok(directory)
}

/// Reads the staged file once, so that nothing is offered under an address it does not have, and makes it
/// durable.
fn check(staged: &Path, id: &BlobId, size: u64) -> Result<(), BinhostError> {
    let mut file = File::open(staged).map_err(file_error(staged, "opening it"))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 512 << 10];
    let mut found = 0;
    loop {
        match file.read(&mut buffer).map_err(file_error(staged, "reading it"))? {
            0 => break,
            read => {
                found += read as u64;
                hasher.update(&buffer[..read]);
            }
        }
    }
    if found != size || hasher.finalize().as_bytes() != id.digest().as_bytes() {
        return Err(BinhostError::Content { path: staged.to_owned(), expected: *id });
    }
    file.sync_all().map_err(file_error(staged, "making it durable"))
}
