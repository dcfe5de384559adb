//! Our types as columns: what does not fit is an error, never another value.

use std::str::FromStr;

use buildswarm_core::time::UnixSeconds;
use buildswarm_core::{BlobId, BuildKey, Digest, ReuseKey};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// An unsigned number in SQLite's signed column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsigned(pub(crate) u64);

impl ToSql for Unsigned {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        i64::try_from(self.0)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

impl FromSql for Unsigned {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

impl From<UnixSeconds> for Unsigned {
    fn from(time: UnixSeconds) -> Self {
        Self(time.0)
    }
}

impl From<Unsigned> for UnixSeconds {
    fn from(number: Unsigned) -> Self {
        Self(number.0)
    }
}

/// A 32-byte column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes32(pub(crate) Digest);

impl ToSql for Bytes32 {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.as_bytes().as_slice()))
    }
}

impl FromSql for Bytes32 {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; Digest::LEN]>::column_result(value).map(|bytes| Self(Digest::from_bytes(bytes)))
    }
}

impl From<BlobId> for Bytes32 {
    fn from(id: BlobId) -> Self {
        Self(*id.digest())
    }
}

impl From<BuildKey> for Bytes32 {
    fn from(key: BuildKey) -> Self {
        Self(*key.digest())
    }
}

impl From<ReuseKey> for Bytes32 {
    fn from(key: ReuseKey) -> Self {
        Self(*key.digest())
    }
}

impl From<Bytes32> for BlobId {
    fn from(bytes: Bytes32) -> Self {
        Self::from_digest(bytes.0)
    }
}

impl From<Bytes32> for BuildKey {
    fn from(bytes: Bytes32) -> Self {
        Self::from_digest(bytes.0)
    }
}

impl From<Bytes32> for ReuseKey {
    fn from(bytes: Bytes32) -> Self {
        Self::from_digest(bytes.0)
    }
}

/// A text column of a type with a parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed<T>(pub(crate) T);

impl<T> FromSql for Parsed<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(FromSqlError::other)
    }
}
