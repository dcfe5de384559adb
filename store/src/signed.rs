//! Package files as signed by one key.

use buildswarm_core::BuildKey;
use buildswarm_core::artifact::BlobRef;
use rusqlite::{OptionalExtension, params};

use crate::error::{Error, Result};
use crate::index::Transaction;
use crate::index::rows::{self, Stored};
use crate::index::values::Bytes32;
use crate::journal::Record;
use crate::store::Store;

/// The signed form of an artifact's package file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPackage {
    /// The signed gpkg.
    pub file: BlobRef,
    /// Its entry for a package index, as JSON: sizes and checksums of the signed file, which no one should
    /// have to compute again for each generation. This crate does not look into it.
    pub index_entry: String,
}

impl Store {
    /// Records the signed form of an artifact's package file; an earlier one by the same signer is replaced.
    ///
    /// `signer` is the fingerprint of the signing key. Forgotten together with the artifact.
    ///
    /// # Errors
    /// [`Error::ArtifactMissing`] if the key does not resolve, [`Error::BlobMissing`] or [`Error::WrongSize`] if
    /// the file is not in the store as declared.
    pub fn put_signed(&self, key: BuildKey, signer: &str, package: &SignedPackage) -> Result<()> {
        self.shared.index.write(|transaction| {
            if self.shared.resolve(transaction, key)?.is_none() {
                return Err(Error::ArtifactMissing { key }.into());
            }
            rows::require(transaction, package.file)?;
            reinstate(transaction, key, signer, package)?;
            let (signer, package) = (signer.to_owned(), package.clone());
            transaction.note(&Record::Signed { key, signer, package });
            Ok(())
        })
    }

    /// The package file of an artifact as signed by `signer`; `None` if there is none or its bytes are not there.
    ///
    /// # Errors
    /// An error means that the question could not be answered.
    pub fn signed_package(&self, key: BuildKey, signer: &str) -> Result<Option<SignedPackage>> {
        let found = self.shared.index.read(|reader| {
            let query = format!(
                "SELECT s.index_entry, {} FROM signed AS s JOIN blobs AS b ON b.id = s.file
                 WHERE s.key = ?1 AND s.signer = ?2",
                rows::columns("b")
            );
            let found = reader
                .prepare_cached(&query)?
                .query_row(params![Bytes32::from(key), signer], |row| {
                    Ok((row.get::<_, String>(0)?, Stored::from_row(row, 1)?))
                })
                .optional()?;
            Ok(found)
        })?;
        let Some((index_entry, stored)) = found else { return Ok(None) };
        Ok(self.shared.is_there(&stored)?.then_some(SignedPackage { file: stored.blob, index_entry }))
    }
}

/// Records the signed form of an artifact's file, if there is the artifact; whether there is.
pub(crate) fn reinstate(
    transaction: &Transaction<'_>,
    key: BuildKey,
    signer: &str,
    package: &SignedPackage,
) -> rusqlite::Result<bool> {
    let recorded = transaction
        .prepare_cached(
            "INSERT INTO signed (key, signer, file, index_entry)
             SELECT key, ?2, ?3, ?4 FROM artifacts WHERE key = ?1
             ON CONFLICT (key, signer) DO UPDATE SET file = excluded.file, index_entry = excluded.index_entry",
        )?
        .execute(params![Bytes32::from(key), signer, Bytes32::from(package.file.id), package.index_entry])?;
    Ok(recorded > 0)
}
