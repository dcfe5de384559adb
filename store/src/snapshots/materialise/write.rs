//! Writing the files, on all cores.

use std::fs::File as Output;
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use buildswarm_core::BlobId;
use rustix::fs::{Mode as CreateMode, OFlags};

use super::super::scan::Top;
use super::super::threads;
use super::permissions;
use super::plan::{Content, File, Plan};
use crate::blobs;
use crate::disk;
use crate::error::{Error, Result};
use crate::index::rows::Place;
use crate::packs::{FRAME_BYTES, PackReader};
use crate::store::Shared;

/// Contents that lie together are written by one thread up to so many bytes of a pack: the frame at each end may have to
/// be unpacked by two threads, and each thread should have several turns.
const TURN_BYTES: u64 = 8 * FRAME_BYTES;

/// The most contents of a turn that are not in a pack.
const TURN_CONTENTS: usize = 64;

/// A content above this size is not held in memory.
const HELD_BYTES_MAX: u64 = 8 << 20;

/// Bytes moved at a time of a content that is not held.
const BUFFER_BYTES: usize = 256 << 10;

/// Makes all files of a plan.
pub(super) fn files(shared: &Arc<Shared>, plan: &Plan, top: &Top) -> Result<()> {
    let order = in_order_of_place(&plan.contents);
    let turns = turns(&plan.contents, &order);
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads().min(turns.len()) {
            scope.spawn(|| {
                let mut writer = Writer { shared, plan, top, opened: None, buffer: Vec::new() };
                while let Some(turn) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = writer.write(&order[turn.clone()]) {
                        // Whoever is writing finishes its turn, and finds no other.
                        next.store(turns.len(), Ordering::Relaxed);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The contents in the order in which they lie in packs, so that frames are unpacked one after the other.
fn in_order_of_place(contents: &[Content]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..contents.len()).collect();
    order.sort_unstable_by_key(|number| match contents[*number].stored.place {
        Place::Packed { pack, position } => (Some(pack), position),
        Place::File | Place::Inline(_) => (None, 0),
    });
    order
}

/// Divides the contents among turns, the largest first: none should be begun when the others are done.
fn turns(contents: &[Content], order: &[usize]) -> Vec<Range<usize>> {
    let mut turns: Vec<(u64, Range<usize>)> = Vec::new();
    let mut last = None;
    for (number, content) in order.iter().map(|number| &contents[*number]).enumerate() {
        let size = content.stored.blob.size;
        let (pack, end) = match content.stored.place {
            Place::Packed { pack, position } => (Some(pack), position + size),
            Place::File | Place::Inline(_) => (None, 0),
        };
        match (turns.last_mut(), last) {
            (Some((bytes, turn)), Some((before, from)))
                if before == pack
                    && match pack {
                        Some(_) => end - from <= TURN_BYTES,
                        None => turn.len() < TURN_CONTENTS && *bytes <= TURN_BYTES,
                    } =>
            {
                turn.end = number + 1;
                *bytes += size;
            }
            _ => {
                turns.push((size, number..number + 1));
                last = Some((pack, end - size.min(end)));
            }
        }
    }
    turns.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    turns.into_iter().map(|(_, turn)| turn).collect()
}

struct Writer<'a> {
    shared: &'a Arc<Shared>,
    plan: &'a Plan,
    top: &'a Top,
    /// The directory a file was made in last.
    opened: Option<(usize, OwnedFd)>,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn write(&mut self, turn: &[usize]) -> Result<()> {
        let first = turn.first().map(|number| self.plan.contents[*number].stored.place);
        let mut pack = match first {
            Some(Place::Packed { pack, .. }) => self.shared.open_pack(pack)?.map(PackReader::new),
            _ => None,
        };
        turn.iter().try_for_each(|number| {
            let content = &self.plan.contents[*number];
            self.content(content, pack.as_mut()).map_err(|error| match error {
                named @ Error::NotMade { .. } => named,
                error => self.plan.not_made(&self.plan.files[content.files.start], error),
            })
        })
    }

    /// Makes the files of one content.
    fn content(&mut self, content: &Content, pack: Option<&mut PackReader>) -> Result<()> {
        let blob = content.stored.blob;
        if blob.size > HELD_BYTES_MAX {
            return self.large(content, pack);
        }
        if let (Place::Packed { position, .. }, Some(pack)) = (content.stored.place, pack) {
            let size = usize::try_from(blob.size).unwrap_or(usize::MAX);
            // Most lie within one frame and are written from it.
            let mut buffer = std::mem::take(&mut self.buffer);
            let bytes = match pack.at(position) {
                Ok(found) if found.len() >= size => Some(&found[..size]),
                Ok(_) => {
                    buffer.resize(size, 0);
                    pack.read_at(position, &mut buffer).is_ok().then_some(&buffer[..])
                }
                Err(_) => None,
            };
            let done = match bytes {
                Some(bytes) if BlobId::of(bytes) == blob.id => Some(self.small(content, bytes)),
                _ => None,
            };
            self.buffer = buffer;
            if let Some(done) = done {
                return done;
            }
        }
        // Elsewhere, or moved, or damaged: that is for the reader of any blob to find out.
        let bytes = blobs::read_whole(self.shared, blob.id, HELD_BYTES_MAX)?;
        self.small(content, &bytes)
    }

    fn small(&mut self, content: &Content, bytes: &[u8]) -> Result<()> {
        for file in &self.plan.files[content.files.clone()] {
            let mut output = self.create(file)?;
            output.write_all(bytes).map_err(|error| self.failed(file, error))?;
            self.finish(file, &output)?;
        }
        Ok(())
    }

    /// Makes the files of a content that is not held: the first from the pack, the others from the first.
    fn large(&mut self, content: &Content, pack: Option<&mut PackReader>) -> Result<()> {
        let files = &self.plan.files[content.files.clone()];
        let Some((first, others)) = files.split_first() else { return Ok(()) };
        let mut output = self.create(first)?;
        let sound = match (content.stored.place, pack) {
            (Place::Packed { position, .. }, Some(pack)) => {
                self.stream(content, position, pack, first, &mut output)?
            }
            _ => false,
        };
        if !sound {
            self.reread(content, first, &mut output)?;
        }
        self.finish(first, &output)?;
        for file in others {
            output.rewind().map_err(|error| self.failed(first, error))?;
            let mut copy = self.create(file)?;
            io::copy(&mut output, &mut copy).map_err(|error| self.failed(file, error))?;
            self.finish(file, &copy)?;
        }
        Ok(())
    }

    /// Writes a content frame by frame; whether it was sound.
    fn stream(
        &self,
        content: &Content,
        position: u64,
        pack: &mut PackReader,
        file: &File,
        output: &mut Output,
    ) -> Result<bool> {
        let mut hasher = blake3::Hasher::new();
        let mut done = 0;
        while done < content.stored.blob.size {
            let Ok(found) = pack.at(position + done) else { return Ok(false) };
            let left = usize::try_from(content.stored.blob.size - done).unwrap_or(usize::MAX);
            let bytes = &found[..left.min(found.len())];
            if bytes.is_empty() {
                return Ok(false);
            }
            hasher.update(bytes);
            output.write_all(bytes).map_err(|error| self.failed(file, error))?;
            done += bytes.len() as u64;
        }
        Ok(disk::id_of(&hasher) == content.stored.blob.id)
    }

    /// Writes a content from its own verifying reader, over what has been written.
    fn reread(&self, content: &Content, file: &File, output: &mut Output) -> Result<()> {
        let id = content.stored.blob.id;
        output.set_len(0).and_then(|()| output.rewind()).map_err(|error| self.failed(file, error))?;
        let mut reader = blobs::open(self.shared, id)?.ok_or(Error::BlobMissing { id })?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = reader.read(&mut buffer).map_err(|error| self.shared.unread(id, error))?;
            if count == 0 {
                return Ok(());
            }
            output.write_all(&buffer[..count]).map_err(|error| self.failed(file, error))?;
        }
    }

    fn create(&mut self, file: &File) -> Result<Output> {
        let fd = match self.opened.take() {
            Some((place, fd)) if place == file.directory => fd,
            _ => self.top.directory(&self.plan.directories[file.directory].path)?,
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&fd, file.name.as_os_str(), flags, CreateMode::RUSR | CreateMode::WUSR);
        self.opened = Some((file.directory, fd));
        made.map(Output::from).map_err(|errno| self.failed(file, errno.into()))
    }

    /// Last, since a write takes the bits away by which a program runs as another user.
    fn finish(&self, file: &File, output: &Output) -> Result<()> {
        rustix::fs::fchmod(output, permissions(file.mode)).map_err(|errno| self.failed(file, errno.into()))
    }

    fn failed(&self, file: &File, error: io::Error) -> Error {
        let path = self.top.path_of(&self.plan.directories[file.directory].path, file.name.as_bytes());
        self.plan.not_made(file, Error::io("write", &path)(error))
    }
}
