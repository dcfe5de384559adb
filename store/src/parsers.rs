//! The parsers of this crate's own files, each over bytes, for fuzzing: none may panic, whatever the bytes are. What has
//! a parser of its own in public is not here.

use std::io::Write;

/// A segment of the journal: every frame, and every record in one that is whole, which is written back as it was.
///
/// # Panics
/// Never, or there is a defect; or if no temporary file can be made.
pub fn journal_segment(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("it can be written");
    crate::journal::read_all(file.path(), journal_record);
}

/// The payload of a record of the journal: what is accepted has no other spelling.
///
/// # Panics
/// Never, or there is a defect.
pub fn journal_record(bytes: &[u8]) {
    if let Ok(record) = crate::journal::Record::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
}

/// A block of the look-up table.
///
/// # Panics
/// Never, or there is a defect.
pub fn look_up_block(bytes: &[u8]) {
    crate::artifacts::read_table_block(bytes);
}

/// What is remembered of a tree, given the checksum that it lacks.
///
/// # Panics
/// Never, or there is a defect.
pub fn tree_cache(bytes: &[u8]) {
    crate::snapshots::read_cache(bytes);
}

#[cfg(test)]
mod tests;
