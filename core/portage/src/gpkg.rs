//! Binary packages in Gentoo's gpkg format (GLEP 78): read strictly, compared, written and signed.
//!
//! A gpkg is an uncompressed tar archive of `NAME/gpkg-1` (empty), `NAME/metadata.tar.zst`,
//! `NAME/image.tar.zst` and `NAME/Manifest`, in this order, each but the first optionally followed by a
//! detached OpenPGP signature, in which case the Manifest is clear-signed.
//!
//! * [`Gpkg::open`] and [`Gpkg::read`] take a package that a stranger may have written: every member is
//!   bounded and checked against the Manifest, and nothing is ever extracted.
//! * [`Gpkg::image`] lists the files to be installed, with their content; [`Gpkg::payload`] condenses image
//!   and metadata into one digest on which two builds of the same thing agree.
//! * [`compare`] says in what two packages differ that should agree, down to the section of an ELF file.
//! * [`repack`] writes a package in our deterministic form, [`sign`] adds signatures to it.
//!
//! What is read here means nothing before its end has been reached without an error: a decompressor hands
//! over all data of a damaged stream before it says so.

mod compare;
mod container;
mod error;
mod image;
mod limits;
mod manifest;
mod metadata;
mod payload;
mod repack;
mod sign;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod tests;

pub use buildswarm_store::archive::{CompressionError, Kind, TarError};
pub use compare::{ContentDifference, Format, PayloadDifference, compare};
pub use container::{Gpkg, Member};
pub use error::GpkgError;
pub use image::{ImageEntry, ImageReader, Owner};
pub use limits::Limits;
pub(crate) use manifest::hex;
pub use metadata::{INDEX_KEYS, sonames};
pub use payload::{NOT_PAYLOAD, Payload};
pub use repack::{RepackOptions, Repacked, repack};
pub use sign::{sign, verify};

/// Reads a whole package from memory, image included; an entry point for fuzzing.
///
/// # Errors
/// As [`Gpkg::read`] and [`Gpkg::payload`].
pub fn read(bytes: &[u8], limits: &Limits) -> Result<(Gpkg, Payload), GpkgError> {
    let package = Gpkg::read(bytes, limits)?;
    let payload = package.payload(std::io::Cursor::new(bytes), limits)?;
    Ok((package, payload))
}
