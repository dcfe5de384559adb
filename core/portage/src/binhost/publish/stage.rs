//! Making a generation: written aside, made durable, named, and only then pointed to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use buildswarm_core::package::Cpv;
use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey};

use crate::openpgp::SigningSession;

use super::super::error::BinhostError;
use super::super::generation::{Generation, GenerationEntry, SCHEMA};
use super::super::index::PackagesIndex;
use super::super::pool::{file_error, pool_id, sync_directory};
use super::channel::Channel;
use super::{Published, TIMESTAMP_STEP_SECONDS, package_error};

/// What the next generation shall offer. All files it names are in the pool.
pub(super) struct Draft {
    pub(super) index: PackagesIndex,
    pub(super) keys: BTreeMap<Cpv, BuildKey>,
    pub(super) now: UnixSeconds,
    pub(super) rollback_to: Option<u64>,
}

impl Draft {
    /// What the record says of the packages, after a look at each of them.
    fn entries(&self, binhost: &Path) -> Result<Vec<GenerationEntry>, BinhostError> {
        let mut entries = Vec::with_capacity(self.index.entries.len());
        for entry in &self.index.entries {
            let missing = || package_error(&entry.cpv, "its file is not in the pool");
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            let digest = pool_id(name).ok_or_else(missing)?;
            let found = fs::metadata(binhost.join(&entry.path)).map_err(|_| missing())?;
            if !found.is_file() || found.len() != entry.size {
                return Err(missing());
            }
            let (cpv, key) = (entry.cpv.clone(), self.keys.get(&entry.cpv).copied());
            entries.push(GenerationEntry { cpv, key, digest, size: entry.size });
        }
        entries.sort_by(|a, b| a.cpv.cmp(&b.cpv));
        Ok(entries)
    }
}

impl Channel {
    /// Makes `draft` the current generation, unless the current one offers the same.
    pub(super) fn commit(
        &self,
        mut draft: Draft,
        session: Option<&mut SigningSession<'_>>,
    ) -> Result<Published, BinhostError> {
        let binhost = self.directory.ancestors().nth(2).unwrap_or(&self.directory).to_owned();
        let entries = draft.entries(&binhost)?;
        let current = self.current()?.map(|number| self.read(number)).transpose()?;
        if let Some(current) = &current {
            draft.index.timestamp = current.timestamp;
            let text = draft.index.write()?;
            if BlobId::of(text.as_bytes()) == current.packages && entries == current.entries {
                return Ok(Published::Unchanged(current.clone()));
            }
        }
        let earliest = current.as_ref().map_or(0, |current| current.timestamp + TIMESTAMP_STEP_SECONDS);
        draft.index.timestamp = draft.now.0.max(earliest);
        let text = draft.index.write()?;
        let generation = Generation {
            schema: SCHEMA,
            channel: self.name.to_string(),
            number: self.numbers()?.last().copied().max(self.current()?).unwrap_or(0) + 1,
            created: draft.now,
            timestamp: draft.index.timestamp,
            rollback_to: draft.rollback_to,
            packages: BlobId::of(text.as_bytes()),
            entries,
        };
        self.stage(&generation, &text, session)?;
        self.switch(generation.number)?;
        Ok(Published::New(generation))
    }

    fn stage(
        &self,
        generation: &Generation,
        packages: &str,
        session: Option<&mut SigningSession<'_>>,
    ) -> Result<(), BinhostError> {
        let parent = self.directory.join("generations");
        let record = serde_json::to_string_pretty(generation)
            .map_err(|source| BinhostError::Generation { path: parent.clone(), source })?
            + "\n";
        let signed = session.map(|session| session.clear_sign(&record)).transpose()?;
        let staging = tempfile::Builder::new().prefix(".new-").tempdir_in(&parent);
        let staging = staging.map_err(file_error(&parent, "making a directory in it"))?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(generation.timestamp);
        let write = |name: &str, bytes: &[u8]| write_file(&staging.path().join(name), bytes, time);
        write("Packages", packages.as_bytes())?;
        let compressed =
            gzip(packages.as_bytes()).map_err(file_error(&parent, "compressing an index in it"))?;
        write("Packages.gz", &compressed)?;
        write("generation.json", record.as_bytes())?;
        if let Some(signed) = signed {
            write("generation.json.asc", signed.as_bytes())?;
        }
        let pool = staging.path().join("pool");
        std::os::unix::fs::symlink("../../../../pool", &pool)
            .map_err(file_error(&pool, "making the link"))?;
        // Temporary directories are private; this one is to be served.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(staging.path(), open).map_err(file_error(staging.path(), "opening it"))?;
        sync_directory(staging.path())?;
        let target = self.generation(generation.number);
        fs::rename(staging.path(), &target).map_err(file_error(&target, "moving it into place"))?;
        // It has another name now; there is nothing to clean up.
        let _ = staging.keep();
        sync_directory(&parent)
    }

    /// One rename: a client sees the old generation or the new one.
    fn switch(&self, number: u64) -> Result<(), BinhostError> {
        let (next, link) = (self.directory.join(".next"), self.directory.join("current"));
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file_error(&next, "removing it")(error));
            }
            _ => {}
        }
        std::os::unix::fs::symlink(format!("generations/{number}"), &next)
            .map_err(file_error(&next, "making the link"))?;
        fs::rename(&next, &link).map_err(file_error(&link, "switching it"))?;
        sync_directory(&self.directory)
    }
}

/// A durable file with this time of modification, which web servers report.
fn write_file(path: &Path, bytes: &[u8], time: SystemTime) -> Result<(), BinhostError> {
    let mut file = File::create(path).map_err(file_error(path, "making it"))?;
    file.write_all(bytes).map_err(file_error(path, "writing it"))?;
    file.set_modified(time).map_err(file_error(path, "setting its time"))?;
    file.sync_all().map_err(file_error(path, "making it durable"))
}

/// The same bytes give the same bytes: no name, no time (RFC 1952).
fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes)?;
    encoder.finish()
}
