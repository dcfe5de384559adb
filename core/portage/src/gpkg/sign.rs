//! Adding signatures to a package, and checking them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::openpgp::{OpenPgpError, SigningSession, Verifier};

use super::container::{Gpkg, Member, container_io, open_file};
use super::error::GpkgError;
use super::limits::{Limits, SIGNATURE_BYTES};
use super::repack::Container;

fn part<'a>(file: &'a mut File, member: &Member) -> Result<impl Read + use<'a>, GpkgError> {
    file.seek(SeekFrom::Start(member.offset)).map_err(container_io)?;
    Ok(Read::take(file, member.sums.size))
}

fn failed(member: &str) -> impl FnOnce(OpenPgpError) -> GpkgError {
    let member = member.to_owned();
    |source| GpkgError::Signature { member, source }
}

/// Writes the unsigned package at `unsigned` to `out` with signatures by `session`: detached ones beside
/// metadata and image, and a clear-signed Manifest (GLEP 78, "OpenPGP signatures"). Everything else stays
/// byte for byte. Returns the length in bytes.
///
/// # Errors
/// As [`Gpkg::open`]; [`GpkgError::Structure`] if it is signed already; [`GpkgError::Signature`].
pub fn sign(unsigned: &Path, session: &mut SigningSession<'_>, out: impl Write) -> Result<u64, GpkgError> {
    let package = Gpkg::open(unsigned, &Limits::STANDARD)?;
    if package.is_signed() {
        return Err(GpkgError::Structure { member: "Manifest".to_owned(), reason: "it is signed already" });
    }
    let mut file = open_file(unsigned)?;
    let mut writer = Container::new(out, package.prefix())?;
    for member in [&package.metadata_member, &package.image_member] {
        let signature = session.sign_detached(part(&mut file, member)?).map_err(failed(&member.name))?;
        writer.copy(&mut file, member)?;
        writer.bytes(&format!("{}.sig", member.name), signature.as_bytes())?;
    }
    let manifest = session.clear_sign(&writer.manifest()).map_err(failed("Manifest"))?;
    writer.finish(&manifest)
}

/// Checks all signatures of the package at `path` against the keys of `verifier`.
///
/// # Errors
/// As [`Gpkg::open`]; [`GpkgError::Structure`] if it is not signed; [`GpkgError::Signature`] naming the member
/// whose signature does not hold.
pub fn verify(path: &Path, verifier: &Verifier) -> Result<(), GpkgError> {
    let package = Gpkg::open(path, &Limits::STANDARD)?;
    let [metadata, image] = package.signatures.as_slice() else {
        return Err(GpkgError::Structure { member: "Manifest".to_owned(), reason: "it is not signed" });
    };
    verifier.verify_clear_signed(&package.manifest).map_err(failed("Manifest"))?;
    let mut file = open_file(path)?;
    for (signature, member) in [(metadata, &package.metadata_member), (image, &package.image_member)] {
        let mut armored = Vec::new();
        part(&mut file, signature)?.take(SIGNATURE_BYTES).read_to_end(&mut armored).map_err(container_io)?;
        verifier.verify_detached(part(&mut file, member)?, &armored).map_err(failed(&member.name))?;
    }
    Ok(())
}
