//! What large blobs take of memory: a process of its own, so that only this is in its figures.

use std::io::{self, Read};
use std::process::Command;

use buildswarm_store::{Compression, Store};

use crate::support::bytes;

const STORE: &str = "LARGE_BLOB_IN";

/// MiB of each blob. By default enough that whoever held a quarter of it would be found out.
const MIB: &str = "BUILDSWARM_BLOB_MIB";

fn size() -> u64 {
    std::env::var(MIB).map_or(320, |text| text.parse::<u64>().unwrap()) << 20
}

/// The most that a process may take, in KiB, that puts and gets blobs of any size.
const MEMORY_KIB_MAX: u64 = 64 << 10;

/// Bytes that differ from block to block, and partly compress.
struct Content {
    block: Vec<u8>,
    size: u64,
    left: u64,
}

impl Content {
    fn new(seed: u64) -> Self {
        let mut block = bytes(seed, 64 << 10);
        block[..32 << 10].fill(b' ');
        Self { block, size: size(), left: size() }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = (self.size - self.left) as usize % self.block.len();
        if at == 0 {
            self.block[..8].copy_from_slice(&self.left.to_le_bytes());
        }
        let count = buffer.len().min(self.block.len() - at).min(usize::try_from(self.left).unwrap());
        buffer[..count].copy_from_slice(&self.block[at..at + count]);
        self.left -= count as u64;
        Ok(count)
    }
}

/// Not a test by itself: puts and gets large blobs, and says what it took.
#[test]
fn child_with_large_blobs() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = Store::open(path).unwrap();
    let mut blobs = vec![store.put(Content::new(0)).unwrap()];
    for (seed, compression) in [(1, Compression::None), (2, Compression::Zstd)] {
        let batch = store.batch(compression).unwrap();
        blobs.push(batch.put(Content::new(seed)).unwrap());
        batch.commit().unwrap();
    }
    for blob in blobs {
        assert_eq!(blob.size, size());
        let mut reader = store.open_blob(blob.id).unwrap().unwrap();
        assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), size());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("\npeak {}", peak.trim().trim_end_matches(" kB"));
}

#[test]
fn large_blobs_take_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::child_with_large_blobs", "--nocapture"])
        .env(STORE, dir.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    let said = String::from_utf8(child.stdout).unwrap();
    let peak: u64 = said.lines().find_map(|line| line.strip_prefix("peak ")).unwrap().parse().unwrap();
    println!("peak: {peak} KiB");
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
}
