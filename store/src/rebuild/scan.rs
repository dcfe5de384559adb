//! What blobs there are, as the files themselves tell: each is read and hashed, on all cores.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use buildswarm_core::artifact::BlobRef;

use crate::disk::{self, Copy};
use crate::error::{Error, Result};
use crate::layout::{Layout, blob_named};

/// Findings on their way from the threads that read to the one that writes them down, at most.
const IN_FLIGHT: usize = 1024;

/// What is at a place where a blob is by its name.
#[derive(Debug)]
pub(super) enum Seen {
    /// Its bytes.
    Blob(BlobRef),
    /// Other bytes.
    Damaged(PathBuf),
    /// Nobody knows.
    Unreadable(PathBuf, Error),
}

/// Hands everything there is to `take`.
pub(super) fn all(layout: &Layout, mut take: impl FnMut(Seen) -> Result<()>) -> Result<()> {
    let shards = Mutex::new(0..=u8::MAX);
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        let (sender, found) = sync_channel(IN_FLIGHT);
        for _ in 0..threads {
            let (sender, shards) = (sender.clone(), &shards);
            scope.spawn(move || {
                loop {
                    let shard = shards.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(shard) = shard else { return };
                    // Nobody listens any more once something failed.
                    if read_shard(layout, shard, &sender).is_none() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        found.into_iter().try_for_each(|seen| take(seen?))
    })
}

fn read_shard(layout: &Layout, shard: u8, sender: &SyncSender<Result<Seen>>) -> Option<()> {
    let files = match disk::list(&layout.shard(shard)) {
        Ok(files) => files,
        Err(error) => return sender.send(Err(error)).ok(),
    };
    for file in files {
        let Some(id) = blob_named(shard, &file.name) else { continue };
        let blob = BlobRef { id, size: file.size };
        let seen = match disk::inspect(&file.path, blob) {
            Ok(Copy::Sound) => Seen::Blob(blob),
            Ok(Copy::Damaged) => Seen::Damaged(file.path),
            Ok(Copy::Missing) => continue,
            Err(error) => Seen::Unreadable(file.path, error),
        };
        sender.send(Ok(seen)).ok()?;
    }
    Some(())
}
