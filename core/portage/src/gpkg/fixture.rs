//! Packages made by hand for tests, hostile ones included.

use super::manifest::{self, Summer};

#[path = "../../../../store/src/archive/tests/fixture.rs"]
mod tar;

pub(crate) use tar::*;

/// Members of a container, before its Manifest is made.
#[derive(Clone)]
pub(crate) struct Package {
    pub(crate) prefix: String,
    pub(crate) members: Vec<(String, Vec<u8>)>,
}

/// The image every test package has unless it says otherwise.
pub(crate) fn ordinary_image() -> Vec<RawEntry> {
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
    let entries: Vec<RawEntry> =
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

    pub(crate) fn with_image(entries: &[RawEntry]) -> Self {
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
    pub(crate) fn entries(&self) -> Vec<RawEntry> {
        let mut all = self.members.clone();
        all.push(("Manifest".to_owned(), self.manifest().into_bytes()));
        all.iter().map(|(name, bytes)| file(format!("{}/{name}", self.prefix), bytes)).collect()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        tar(&self.entries())
    }
}
