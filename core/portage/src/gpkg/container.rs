//! The outer archive: which members there are, in which order, and that the Manifest is true of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use buildswarm_store::archive::{ArchiveError, Compression, Kind, TarEntry, TarError, TarReader, shown};

use super::error::GpkgError;
use super::image::ImageReader;
use super::limits::{Limits, MANIFEST_BYTES, SIGNATURE_BYTES};
use super::manifest::{self, Summer, Sums};
use super::metadata;
use super::payload::Payload;
use crate::interface::{Collector, Interface};

/// One member of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) sums: Sums,
}

impl Member {
    /// Its name without the directory, `image.tar.zst`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its content begins, in bytes from the start of the container.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Length of its content in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.sums.size
    }
}

/// A package whose structure, sizes and digests have been checked. A value: it holds no file open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpkg {
    pub(crate) prefix: String,
    pub(crate) metadata_member: Member,
    pub(crate) image_member: Member,
    pub(crate) signatures: Vec<Member>,
    pub(crate) manifest: String,
    metadata: BTreeMap<String, Vec<u8>>,
}

/// What a member is, in the order that GLEP 78 demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Identifier,
    Metadata,
    MetadataSignature,
    Image,
    ImageSignature,
    Manifest,
}

impl Place {
    fn of(leaf: &str) -> Option<Self> {
        match leaf {
            "gpkg-1" => Some(Self::Identifier),
            "Manifest" => Some(Self::Manifest),
            _ if leaf.starts_with("metadata.tar") && leaf.ends_with(".sig") => Some(Self::MetadataSignature),
            _ if leaf.starts_with("metadata.tar") => Some(Self::Metadata),
            _ if leaf.starts_with("image.tar") && leaf.ends_with(".sig") => Some(Self::ImageSignature),
            _ if leaf.starts_with("image.tar") => Some(Self::Image),
            _ => None,
        }
    }

    const fn most_bytes(self, limits: &Limits) -> u64 {
        match self {
            Self::Identifier => 0,
            Self::Metadata => limits.metadata,
            Self::MetadataSignature | Self::ImageSignature => SIGNATURE_BYTES,
            Self::Image => limits.container,
            Self::Manifest => MANIFEST_BYTES,
        }
    }

    /// Whether the content is looked at, rather than only hashed.
    const fn is_kept(self) -> bool {
        matches!(self, Self::Metadata | Self::Manifest)
    }
}

/// The container as it is read, member by member.
#[derive(Default)]
struct Found {
    prefix: Option<String>,
    members: Vec<(Place, Member)>,
    metadata: Vec<u8>,
    manifest: Vec<u8>,
}

fn structure(member: &str, reason: &'static str) -> GpkgError {
    GpkgError::Structure { member: member.to_owned(), reason }
}

impl Found {
    /// Checks the name and kind of `entry` and says what it is.
    fn place(&mut self, entry: &TarEntry) -> Result<(Place, String), GpkgError> {
        let name = std::str::from_utf8(&entry.path)
            .map_err(|_| structure(&shown(&entry.path), "its name is not UTF-8"))?;
        let cut = shown(&entry.path);
        if entry.kind != Kind::File {
            return Err(structure(&cut, "it is not a regular file"));
        }
        let (prefix, leaf) = name
            .split_once('/')
            .ok_or_else(|| structure(&cut, "it is not inside the package's directory"))?;
        if prefix.is_empty() || prefix == "." || prefix == ".." || leaf.contains('/') {
            return Err(structure(&cut, "it is not inside the package's directory"));
        }
        if prefix.len() > 255 || prefix.bytes().any(|b| b.is_ascii_control()) {
            return Err(structure(&cut, "its directory has an unacceptable name"));
        }
        if self.prefix.get_or_insert_with(|| prefix.to_owned()) != prefix {
            return Err(structure(&cut, "it is in another directory than the members before it"));
        }
        let place = Place::of(leaf).ok_or_else(|| structure(&cut, "it has no place in a package"))?;
        if let Some((last, _)) = self.members.last()
            && *last >= place
        {
            let twice = self.members.iter().any(|(other, _)| *other == place);
            return Err(structure(&cut, if twice { "it occurs twice" } else { "it is out of order" }));
        }
        Ok((place, leaf.to_owned()))
    }

    fn take<R: Read>(
        &mut self,
        tar: &mut TarReader<R>,
        entry: &TarEntry,
        limits: &Limits,
    ) -> Result<(), GpkgError> {
        let (place, name) = self.place(entry)?;
        if entry.size > place.most_bytes(limits) {
            return Err(structure(&name, "it is larger than allowed"));
        }
        let sums = if place.is_kept() {
            let mut content = Vec::new();
            tar.read_to_end(&mut content).map_err(container_io)?;
            let sums = Summer::of(&content);
            *(if place == Place::Metadata { &mut self.metadata } else { &mut self.manifest }) = content;
            sums
        } else {
            Summer::of_reader(tar).map_err(container_io)?
        };
        self.members.push((place, Member { name, offset: entry.offset, sums }));
        Ok(())
    }

    fn member(&self, place: Place, name: &str) -> Result<Member, GpkgError> {
        let found = self.members.iter().find(|(other, _)| *other == place);
        found.map(|(_, member)| member.clone()).ok_or_else(|| structure(name, "it is missing"))
    }

    /// All signatures or none, each beside the member it belongs to.
    fn signatures(
        &self,
        metadata: &Member,
        image: &Member,
        clear_signed: bool,
    ) -> Result<Vec<Member>, GpkgError> {
        let is_signature = |place: &Place| matches!(place, Place::MetadataSignature | Place::ImageSignature);
        let found: Vec<Member> =
            self.members.iter().filter(|(place, _)| is_signature(place)).map(|(_, m)| m.clone()).collect();
        if found.is_empty() && !clear_signed {
            return Ok(found);
        }
        let [first, second] = found.as_slice() else {
            return Err(structure("Manifest", "some of its signatures are missing"));
        };
        for (signature, member) in [(first, metadata), (second, image)] {
            if signature.name.strip_suffix(".sig") != Some(&member.name) {
                return Err(structure(&signature.name, "it is the signature of no member"));
            }
        }
        if !clear_signed {
            return Err(structure("Manifest", "it is not signed although other members are"));
        }
        Ok(found)
    }

    /// Every member but the Manifest is listed with its size and digests, and nothing else is.
    fn verify(&self, text: &str) -> Result<(), GpkgError> {
        let mut listed = manifest::parse(text)?;
        for (_, Member { name, sums, .. }) in self.members.iter().filter(|(p, _)| *p != Place::Manifest) {
            let at = listed.iter().position(|(other, _)| other == name);
            let at = at.ok_or_else(|| structure(name, "the Manifest does not list it"))?;
            let (_, expected) = listed.swap_remove(at);
            let mismatch = |what| Err(GpkgError::Mismatch { member: name.clone(), what });
            if expected.size != sums.size {
                return mismatch("size");
            }
            if expected.sha512 != sums.sha512 {
                return mismatch("SHA512");
            }
            if expected.blake2b != sums.blake2b {
                return mismatch("BLAKE2B");
            }
        }
        match listed.first() {
            Some((name, _)) => Err(structure(name, "the Manifest lists it but it is missing")),
            None => Ok(()),
        }
    }
}

pub(crate) fn container_io(error: std::io::Error) -> GpkgError {
    GpkgError::Container(TarError::from_io(error))
}

/// An error of reading inside `member`, named after it.
pub(crate) fn member_error(member: &str, error: ArchiveError) -> GpkgError {
    let member = member.to_owned();
    match error {
        ArchiveError::Compression(source) => GpkgError::Compression { member, source },
        ArchiveError::Tar(source) => GpkgError::Member { member, source },
        other => GpkgError::Member { member, source: TarError::Io(std::io::Error::other(other)) },
    }
}

/// A container that does not even begin as one: say what it is.
fn not_gpkg(head: &[u8]) -> Option<GpkgError> {
    let is = |reason| Some(GpkgError::NotGpkg { reason });
    match head {
        [] => is("the file is empty"),
        [b'B', b'Z', b'h', ..] => is("it is an xpak package or a bzip2 file (set BINPKG_FORMAT=\"gpkg\")"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            is("it is an xpak package or a zstd file (set BINPKG_FORMAT=\"gpkg\")")
        }
        [0x1f, 0x8b, ..] => is("it is a gzip file"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            is("it is an xpak package or an xz file (set BINPKG_FORMAT=\"gpkg\")")
        }
        _ => None,
    }
}

impl Gpkg {
    /// Reads the package in the file at `path` to its end.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`GpkgError::File`] if it cannot be opened.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, GpkgError> {
        Self::read(open_file(path)?, limits)
    }

    /// Reads a package from `source` to its end, in one pass and with memory for its metadata only.
    ///
    /// # Errors
    /// Whatever is not exactly as GLEP 78 and the Manifest say: see [`GpkgError`]. Signatures, if there are
    /// any, are not verified here; see [`verify`](super::verify).
    pub fn read(source: impl Read, limits: &Limits) -> Result<Self, GpkgError> {
        use std::io::BufRead as _;
        // One byte above the limit shows up as an archive that is too large rather than truncated.
        let mut source = BufReader::with_capacity(1 << 20, source.take(limits.container + 1));
        if let Some(error) = not_gpkg(source.fill_buf().map_err(container_io)?) {
            return Err(error);
        }
        let mut tar = TarReader::new(source);
        let mut found = Found::default();
        while let Some(entry) = tar.next_entry().map_err(GpkgError::Container)? {
            if entry.offset.saturating_add(entry.size) > limits.container {
                let limit = limits.container;
                return Err(GpkgError::Container(TarError::Limit { what: "bytes of a package", limit }));
            }
            found.take(&mut tar, &entry, limits)?;
        }
        Self::check(found, limits)
    }

    fn check(mut found: Found, limits: &Limits) -> Result<Self, GpkgError> {
        found.member(Place::Identifier, "gpkg-1")?;
        let metadata_member = found.member(Place::Metadata, "metadata.tar")?;
        let image_member = found.member(Place::Image, "image.tar")?;
        found.member(Place::Manifest, "Manifest")?;
        let manifest = String::from_utf8(std::mem::take(&mut found.manifest))
            .map_err(|_| structure("Manifest", "it is not UTF-8"))?;
        let clear_signed = manifest.starts_with("-----BEGIN PGP");
        let signatures = found.signatures(&metadata_member, &image_member, clear_signed)?;
        if clear_signed {
            let text =
                manifest::clear_signed_text(&manifest).map_err(|reason| structure("Manifest", reason))?;
            found.verify(&text)?;
        } else {
            found.verify(&manifest)?;
        }
        compression(&image_member)?;
        let metadata = metadata::read(&metadata_member, &found.metadata, limits)?;
        let prefix = found.prefix.unwrap_or_default();
        Ok(Self { prefix, metadata_member, image_member, signatures, manifest, metadata })
    }

    pub(crate) fn with_metadata(self, metadata: BTreeMap<String, Vec<u8>>) -> Self {
        Self { metadata, ..self }
    }

    /// The directory all members are in, by custom `PF-BUILDID`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether it carries signatures.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// The metadata by Portage's names: `RDEPEND`, `USE`, `environment.bz2`, …; raw, mostly ending in a line
    /// feed.
    #[must_use]
    pub const fn metadata(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.metadata
    }

    /// The member that holds the image.
    #[must_use]
    pub const fn image_member(&self) -> &Member {
        &self.image_member
    }

    /// A reader of the image's entries; `file` is the same package again.
    ///
    /// # Errors
    /// [`GpkgError::Unsupported`] or [`GpkgError::Compression`] if the image is not compressed as it should be.
    pub fn image<F: Read + Seek>(
        &self,
        mut file: F,
        limits: &Limits,
    ) -> Result<ImageReader<std::io::Take<F>>, GpkgError> {
        file.seek(SeekFrom::Start(self.image_member.offset)).map_err(container_io)?;
        ImageReader::new(file.take(self.image_member.sums.size), &self.image_member, limits)
    }

    /// Reads the whole image and condenses it; `file` is the same package again.
    ///
    /// # Errors
    /// What [`ImageReader::next_entry`] refuses.
    pub fn payload<F: Read + Seek>(&self, file: F, limits: &Limits) -> Result<Payload, GpkgError> {
        Payload::of(self, self.image(file, limits)?, None)
    }

    /// The payload and the interface, in one pass over the image; `file` is the same package again.
    ///
    /// # Errors
    /// As [`payload`](Self::payload).
    pub fn payload_and_interface<F: Read + Seek>(
        &self,
        file: F,
        limits: &Limits,
    ) -> Result<(Payload, Interface), GpkgError> {
        let mut interface = Collector::new();
        let payload = Payload::of(self, self.image(file, limits)?, Some(&mut interface))?;
        Ok((payload, interface.finish()))
    }
}

/// How a member is compressed, by the part of its name after `metadata` or `image`.
pub(crate) fn compression(member: &Member) -> Result<Compression, GpkgError> {
    let at = member.name.find(".tar").unwrap_or(member.name.len());
    match &member.name[at..] {
        ".tar" => Ok(Compression::None),
        ".tar.gz" => Ok(Compression::Gzip),
        ".tar.zst" => Ok(Compression::Zstd),
        other => {
            let format = other.strip_prefix(".tar.").unwrap_or(other).chars().take(40).collect();
            Err(GpkgError::Unsupported { member: member.name.clone(), format })
        }
    }
}

pub(crate) fn open_file(path: &Path) -> Result<File, GpkgError> {
    File::open(path).map_err(|source| GpkgError::File { path: path.to_owned(), action: "opening it", source })
}
