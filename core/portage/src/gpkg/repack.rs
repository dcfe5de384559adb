//! A package in our deterministic form.
//!
//! The metadata is rebuilt: keys sorted, no times, `BUILD_ID` and `BUILD_TIME` as asked for. The image is kept
//! byte for byte, because rebuilding it would cost a compression of the whole and gain nothing: Portage's own
//! `tarfile` writes it in sorted order already, its times are part of what users get, and repacking the same
//! package twice gives the same bytes either way. The outer archive has fixed headers and a sorted Manifest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use buildswarm_store::archive::{BLOCK, regular};

use super::container::{Gpkg, Member, container_io, open_file};
use super::error::GpkgError;
use super::limits::Limits;
use super::manifest::{self, Summer, Sums};
use super::metadata;
use super::payload::Payload;
use crate::interface::Interface;

/// What a repacked package says of itself.
#[derive(Debug, Clone, Copy)]
pub struct RepackOptions {
    /// `BUILD_ID`, by custom counted from 1.
    pub build_id: u64,
    /// `BUILD_TIME` in seconds since 1970: stable for one artifact, or clients with `--rebuilt-binaries`
    /// install it again and again.
    pub build_time: u64,
    /// Bounds on the source.
    pub limits: Limits,
}

/// What [`repack`] wrote.
#[derive(Debug, Clone)]
pub struct Repacked {
    /// Digest and figures of what is in the package.
    pub payload: Payload,
    /// What of it can change how another package builds.
    pub interface: Interface,
    /// The variables an index entry carries ([`Gpkg::index_metadata`]), of the new package.
    pub metadata: BTreeMap<String, String>,
    /// Length of the new package in bytes.
    pub size: u64,
}

/// Reads the package at `source` under our rules and writes it in our deterministic form to `out`. The same
/// source and options give the same bytes. A signed source loses its signatures.
///
/// # Errors
/// As [`Gpkg::open`] and [`Gpkg::payload`]; [`GpkgError::Metadata`] if `PF` is missing; [`GpkgError::Write`].
/// After an error, what has been written to `out` is to be thrown away.
pub fn repack(source: &Path, out: impl Write, options: &RepackOptions) -> Result<Repacked, GpkgError> {
    let package = Gpkg::open(source, &options.limits)?;
    let mut file = open_file(source)?;
    let (payload, interface) = package.payload_and_interface(&file, &options.limits)?;
    let mut values = package.metadata().clone();
    values.insert("BUILD_ID".to_owned(), format!("{}\n", options.build_id).into_bytes());
    values.insert("BUILD_TIME".to_owned(), format!("{}\n", options.build_time).into_bytes());
    let pf = package.text("PF")?.filter(|pf| !pf.is_empty() && !pf.contains('/'));
    let pf = pf.ok_or(GpkgError::Metadata { key: "PF".to_owned(), reason: "it is missing or malformed" })?;

    let mut writer = Container::new(out, &format!("{pf}-{}", options.build_id))?;
    writer.bytes("metadata.tar.zst", &metadata::write(&values)?)?;
    writer.copy(&mut file, &package.image_member)?;
    let text = writer.manifest();
    let size = writer.finish(&text)?;

    let fields = package.with_metadata(values).index_metadata()?;
    Ok(Repacked { payload, interface, metadata: fields, size })
}

/// Writes an outer archive, member by member.
pub(crate) struct Container<W> {
    out: W,
    prefix: String,
    written: u64,
    members: Vec<(String, Sums)>,
}

impl<W: Write> Container<W> {
    /// Begins with the identifier.
    pub(crate) fn new(out: W, prefix: &str) -> Result<Self, GpkgError> {
        let mut this = Self { out, prefix: prefix.to_owned(), written: 0, members: Vec::new() };
        this.bytes("gpkg-1", b"")?;
        Ok(this)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), GpkgError> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(GpkgError::Write)
    }

    fn pad(&mut self) -> Result<(), GpkgError> {
        let padding = self.written.next_multiple_of(BLOCK as u64) - self.written;
        self.raw(&[0; BLOCK][..usize::try_from(padding).unwrap_or(0)])
    }

    fn header(&mut self, name: &str, size: u64) -> Result<(), GpkgError> {
        let header = regular(&self.prefix, name, size).map_err(GpkgError::Container)?;
        self.raw(&header)
    }

    /// A member with this content.
    pub(crate) fn bytes(&mut self, name: &str, content: &[u8]) -> Result<(), GpkgError> {
        self.header(name, content.len() as u64)?;
        self.raw(content)?;
        self.members.push((name.to_owned(), Summer::of(content)));
        self.pad()
    }

    /// `member` of the package in `file`, as it stands. Its digests were checked when it was read.
    pub(crate) fn copy(&mut self, file: &mut File, member: &Member) -> Result<(), GpkgError> {
        self.header(&member.name, member.sums.size)?;
        file.seek(SeekFrom::Start(member.offset)).map_err(container_io)?;
        let copied = io::copy(&mut Read::take(&mut *file, member.sums.size), &mut self.out)
            .map_err(GpkgError::Write)?;
        if copied != member.sums.size {
            return Err(GpkgError::Mismatch { member: member.name.clone(), what: "size" });
        }
        self.written += copied;
        self.members.push((member.name.clone(), member.sums.clone()));
        self.pad()
    }

    /// The text of the Manifest of what has been written so far.
    pub(crate) fn manifest(&self) -> String {
        manifest::write(&self.members)
    }

    /// Ends with this Manifest; the length of the whole in bytes.
    pub(crate) fn finish(mut self, manifest: &str) -> Result<u64, GpkgError> {
        self.bytes("Manifest", manifest.as_bytes())?;
        self.raw(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(GpkgError::Write)?;
        Ok(self.written)
    }
}
