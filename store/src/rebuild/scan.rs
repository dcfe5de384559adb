//! What blobs there are, as the files themselves tell: each is read and hashed, on all cores.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;

use crate::disk::{self, Copy};
use crate::error::{Error, Result};
use crate::layout::{Layout, blob_named};
use crate::packs::{Contents, contents};

/// Findings on their way from the threads that read to the one that writes them down, at most.
const IN_FLIGHT: usize = 1024;

/// What is at a place where a blob is by its name.
#[derive(Debug)]
pub(super) enum Seen {
    /// Its bytes.
    Blob(BlobRef),
    /// The blobs of a pack.
    Pack(Contents),
    /// Other bytes.
    Damaged(PathBuf, BlobId),
    /// Nobody knows.
    Unreadable(PathBuf, Error),
}

/// What a thread takes at a time.
enum Work {
    Pack(BlobRef),
    Shard(u8),
}

/// Hands everything there is to `take`.
pub(super) fn all(layout: &Layout, mut take: impl FnMut(Seen) -> Result<()>) -> Result<()> {
    let packs: Vec<Work> = disk::list(&layout.packs())?
        .into_iter()
        .filter_map(|file| Some(Work::Pack(BlobRef { id: file.name.parse().ok()?, size: file.size })))
        .collect();
    // Packs first: one takes longer than the files of a shard.
    let work = Mutex::new(packs.into_iter().chain((0..=u8::MAX).map(Work::Shard)));
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        let (sender, found) = sync_channel(IN_FLIGHT);
        for _ in 0..threads {
            let (sender, work) = (sender.clone(), &work);
            scope.spawn(move || {
                let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(work) = next() {
                    let listening = match work {
                        Work::Shard(shard) => read_shard(layout, shard, &sender),
                        Work::Pack(pack) => sender.send(Ok(read_pack(layout, pack))).ok(),
                    };
                    // Nobody is once something failed.
                    if listening.is_none() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        found.into_iter().try_for_each(|seen| take(seen?))
    })
}

fn read_pack(layout: &Layout, file: BlobRef) -> Seen {
    let path = layout.pack(&file.id);
    match contents(&path, file) {
        Ok(Some(contents)) if !contents.members.is_empty() => Seen::Pack(contents),
        Ok(_) => Seen::Damaged(path, file.id),
        Err(error) => Seen::Unreadable(path, error),
    }
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
            Ok(Copy::Damaged) => Seen::Damaged(file.path, id),
            Ok(Copy::Missing) => continue,
            Err(error) => Seen::Unreadable(file.path, error),
        };
        sender.send(Ok(seen)).ok()?;
    }
    Some(())
}
