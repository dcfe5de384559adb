//! File systems an SQLite index cannot be trusted on.
//!
//! A write-ahead log needs shared memory and locks that hold between all who open it. Network file systems
//! give neither across machines, and what a FUSE daemon gives nobody can know.

use std::os::fd::AsFd;
use std::path::Path;

use crate::error::{Error, Result};

/// Magic numbers of statfs(2) with the names people know them by.
const REFUSED: [(u32, &str); 13] = [
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0000_564c, "NCP"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x0bd0_0bd0, "Lustre"),
];

/// Refuses a directory that lies on a network or FUSE file system.
pub(crate) fn check(path: &Path) -> Result<()> {
    let found = rustix::fs::statfs(path).map_err(|errno| Error::io("examine", path)(errno.into()))?;
    // The kernel's numbers have 32 bits; the field's width and sign differ between architectures.
    match refused(found.f_type as u32) {
        Some(kind) => Err(Error::UnsuitableFilesystem { path: path.to_owned(), kind }),
        None => Ok(()),
    }
}

/// Whether what is open lies on a file system of this machine, whose times come from this machine's clock.
pub(crate) fn is_local(fd: impl AsFd) -> rustix::io::Result<bool> {
    Ok(refused(rustix::fs::fstatfs(fd)?.f_type as u32).is_none())
}

fn refused(magic: u32) -> Option<&'static str> {
    REFUSED.iter().find(|(number, _)| *number == magic).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_fuse_are_refused_and_disks_are_not() {
        for (magic, kind) in [(0x6969, "NFS"), (0x6573_5546, "FUSE"), (0x0102_1997, "9p")] {
            assert_eq!(refused(magic), Some(kind));
        }
        // ext4, btrfs, xfs, tmpfs, overlayfs, zfs, bcachefs.
        for magic in [0xef53, 0x9123_683e, 0x5846_5342, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1, 0xca45_1a4e] {
            assert_eq!(refused(magic), None, "{magic:#x}");
        }
    }
}
