//! Packages made by hand for tests, hostile ones included.

use std::io::Write as _;

use buildswarm_store::archive::BLOCK;

use super::manifest::{self, Summer};

/// One tar entry with every field free to be wrong.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) typeflag: u8,
    pub(crate) mode: u32,
    pub(crate) content: Vec<u8>,
    /// Raw header bytes to put over the finished header, before the checksum is computed.
    pub(crate) patch: Vec<(usize, Vec<u8>)>,
}

pub(crate) fn entry(typeflag: u8, name: impl AsRef<[u8]>) -> Entry {
    let name = name.as_ref().to_vec();
    let mode = if typeflag == b'5' { 0o755 } else { 0o644 };
    Entry { name, link: Vec::new(), typeflag, mode, content: Vec::new(), patch: Vec::new() }
}

pub(crate) fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
    Entry { content: content.as_ref().to_vec(), ..entry(b'0', name) }
}

pub(crate) fn directory(name: &str) -> Entry {
    entry(b'5', name)
}

pub(crate) fn link(typeflag: u8, name: &str, target: impl AsRef<[u8]>) -> Entry {
    Entry { link: target.as_ref().to_vec(), ..entry(typeflag, name) }
}

impl Entry {
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
pub(crate) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = open_tar(entries);
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// A tar stream without its end.
pub(crate) fn open_tar(entries: &[Entry]) -> Vec<u8> {
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

/// Members of a container, before its Manifest is made.
#[derive(Clone)]
pub(crate) struct Package {
    pub(crate) prefix: String,
    pub(crate) members: Vec<(String, Vec<u8>)>,
}

/// The image every test package has unless it says otherwise.
pub(crate) fn ordinary_image() -> Vec<Entry> {
    vec![
        directory("image/"),
        directory("image/usr/"),
        directory("image/usr/bin/"),
        file("image/usr/bin/hello", "#!/bin/sh\necho hello\n"),
        link(b'1', "image/usr/bin/hi", "image/usr/bin/hello"),
        link(b'2', "image/usr/bin/sh", "/bin/sh"),
    ]
}

pub(crate) fn metadata(pairs: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<Entry> =
        pairs.iter().map(|(key, value)| file(format!("metadata/{key}"), value)).collect();
    zstd(&tar(&entries))
}

pub(crate) const METADATA: [(&str, &str); 11] = [
    ("PF", "hello-1.0\n"),
    ("CATEGORY", "app-misc\n"),
    ("SLOT", "0/1\n"),
    ("EAPI", "8\n"),
    ("KEYWORDS", "amd64\n"),
    ("USE", "amd64 nls\n"),
    ("RDEPEND", "nls? ( sys-libs/libintl ) !nls? ( x/y )\n"),
    ("REQUIRES", "x86_64: libc.so.6\n"),
    ("BUILD_ID", "3\n"),
    ("BUILD_TIME", "1700000000\n"),
    ("environment.bz2", "not really"),
];

impl Package {
    pub(crate) fn ordinary() -> Self {
        Self::with_image(&ordinary_image())
    }

    pub(crate) fn with_image(entries: &[Entry]) -> Self {
        Self::with_image_member("image.tar.zst", zstd(&tar(entries)))
    }

    pub(crate) fn with_image_member(name: &str, bytes: Vec<u8>) -> Self {
        let members = vec![
            ("gpkg-1".to_owned(), Vec::new()),
            ("metadata.tar.zst".to_owned(), metadata(&METADATA)),
            (name.to_owned(), bytes),
        ];
        Self { prefix: "hello-1.0-3".to_owned(), members }
    }

    pub(crate) fn with_metadata(bytes: Vec<u8>) -> Self {
        let mut package = Self::ordinary();
        package.members[1].1 = bytes;
        package
    }

    pub(crate) fn manifest(&self) -> String {
        let sums: Vec<_> =
            self.members.iter().map(|(name, bytes)| (name.clone(), Summer::of(bytes))).collect();
        manifest::write(&sums)
    }

    /// The container's entries, Manifest last.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut all = self.members.clone();
        all.push(("Manifest".to_owned(), self.manifest().into_bytes()));
        all.iter().map(|(name, bytes)| file(format!("{}/{name}", self.prefix), bytes)).collect()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        tar(&self.entries())
    }
}
