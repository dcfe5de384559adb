//! Archives made by hand for tests, hostile ones included. The tests of packages (`core/portage/src/gpkg`) take in
//! this file too.

use std::io::Write as _;

/// Everything in a tar stream is a multiple of this, in bytes.
const BLOCK: usize = 512;

/// One tar entry with every field free to be wrong.
#[derive(Clone)]
pub(crate) struct RawEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) typeflag: u8,
    pub(crate) mode: u32,
    pub(crate) content: Vec<u8>,
    /// Raw header bytes to put over the finished header, before the checksum is computed.
    pub(crate) patch: Vec<(usize, Vec<u8>)>,
}

pub(crate) fn entry(typeflag: u8, name: impl AsRef<[u8]>) -> RawEntry {
    let name = name.as_ref().to_vec();
    let mode = if typeflag == b'5' { 0o755 } else { 0o644 };
    RawEntry { name, link: Vec::new(), typeflag, mode, content: Vec::new(), patch: Vec::new() }
}

pub(crate) fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> RawEntry {
    RawEntry { content: content.as_ref().to_vec(), ..entry(b'0', name) }
}

pub(crate) fn directory(name: &str) -> RawEntry {
    entry(b'5', name)
}

pub(crate) fn link(typeflag: u8, name: &str, target: impl AsRef<[u8]>) -> RawEntry {
    RawEntry { link: target.as_ref().to_vec(), ..entry(typeflag, name) }
}

impl RawEntry {
    pub(crate) fn patched(mut self, at: usize, bytes: &[u8]) -> Self {
        self.patch.push((at, bytes.to_vec()));
        self
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut block = [0u8; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", self.content.len()).as_bytes());
        put(136, b"00000000007\0");
        put(156, &[self.typeflag]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        self.patch.iter().for_each(|(at, bytes)| put(*at, bytes));
        put(148, b"        ");
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&block);
        out.extend_from_slice(&self.content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
}

/// A tar stream with its end.
pub(crate) fn tar(entries: &[RawEntry]) -> Vec<u8> {
    let mut out = open_tar(entries);
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// A tar stream without its end.
pub(crate) fn open_tar(entries: &[RawEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut out));
    out
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A PAX header with these records.
pub(crate) fn pax(records: &[u8]) -> RawEntry {
    RawEntry { content: records.to_vec(), ..entry(b'x', "pax") }
}

/// One PAX record, its length counting itself.
pub(crate) fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while format!("{length}{rest}").len() != length {
        length = format!("{length}{rest}").len();
    }
    format!("{length}{rest}").into_bytes()
}
