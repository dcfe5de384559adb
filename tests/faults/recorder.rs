//! A disk that remembers in which order it was written to: a file in memory, served through FUSE, to be the backing
//! file of a loop device.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

/// The name of the file.
pub(crate) const NAME: &str = "disk";

const FILE: INodeNo = INodeNo(2);

/// How long the kernel may believe what it was told of the file: nothing of it ever changes but its bytes.
const FOREVER: Duration = Duration::from_secs(3600);

/// What happened to the disk, in this order.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Write {
        offset: u64,
        bytes: Box<[u8]>,
    },
    /// Everything before is on the disk to stay.
    Flush,
    /// Somebody was promised something.
    Said(String),
}

/// A disk, and what happened to it.
#[derive(Debug)]
pub(crate) struct Disk {
    image: Vec<u8>,
    events: Vec<Event>,
}

pub(crate) type Shared = Arc<Mutex<Disk>>;

pub(crate) fn lock(disk: &Shared) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    pub(crate) fn new(image: Vec<u8>) -> Shared {
        Arc::new(Mutex::new(Self { image, events: Vec::new() }))
    }

    pub(crate) fn say(&mut self, line: String) {
        self.events.push(Event::Said(line));
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// Serves the disk as a file in `at`, until the session is dropped.
pub(crate) fn serve(disk: &Shared, at: &Path) -> std::io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("power-cut".to_owned())];
    fuser::spawn_mount(Served(Arc::clone(disk)), at, &config)
}

struct Served(Shared);

impl Served {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_file = inode == FILE;
        FileAttr {
            ino: inode,
            size: if is_file { lock(&self.0).image.len() as u64 } else { 0 },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME {
            reply.entry(&FOREVER, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(inode));
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.attr(&FOREVER, &self.attributes(inode));
    }

    /// Without the page cache: a write comes when the loop device makes it.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let disk = lock(&self.0);
        let start = disk.image.len().min(offset as usize);
        let end = disk.image.len().min(start + size as usize);
        reply.data(&disk.image[start..end]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut disk = lock(&self.0);
        let start = offset as usize;
        match disk.image.get_mut(start..start + bytes.len()) {
            Some(place) => place.copy_from_slice(bytes),
            None => return reply.error(Errno::ENOSPC),
        }
        disk.events.push(Event::Write { offset, bytes: bytes.into() });
        reply.written(bytes.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        lock(&self.0).events.push(Event::Flush);
        reply.ok();
    }
}
