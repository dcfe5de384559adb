//! The file of the look-up table: blocks, then a directory that has the first key and the BLAKE3 digest of each.
//!
//! The index knows the digest of the directory, so every byte is checked before it is believed: of another table, of an
//! earlier one, torn or rotten, it is not what it is held against.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use buildswarm_core::{BuildKey, Digest};

use super::block::{BLOCK_BYTES, Block, Entry, Filling, Needs};
use super::hooks::{Check, is_left_out};
use crate::disk::Expendable;
use crate::error::Result;

/// A new one for every change of the form.
const CONTEXT: &str = "buildswarm 2026-11 look-up table 1";

/// First key and digest of a block.
const LINE_BYTES: usize = 2 * Digest::LEN;

/// What tells one table from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Digest of the directory.
    pub(super) directory: Digest,
    pub(super) blocks: u64,
}

/// A table, open and known to be the one with its identity.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) identity: Identity,
    file: File,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    first: BuildKey,
    digest: Digest,
}

/// What the table says of a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer<'a> {
    /// It is not among those covered.
    Absent,
    /// It is, and resolves if these are met.
    Needs(Needs<'a>),
    /// Its block cannot be read, or is not what was written.
    Unreadable,
}

impl Table {
    /// `None` if there is none with that identity. Whatever the reason is, there are other ways to learn what it says.
    pub(super) fn open(path: &Path, identity: Identity) -> Option<Self> {
        let file = File::open(path).ok()?;
        let blocks = usize::try_from(identity.blocks).ok()?;
        let lines_at = blocks.checked_mul(BLOCK_BYTES)?;
        let lines_len = blocks.checked_mul(LINE_BYTES)?;
        // Nothing is allocated for a directory that is not there.
        if file.metadata().ok()?.len() != lines_at.checked_add(lines_len)? as u64 {
            return None;
        }
        let mut bytes = vec![0; lines_len];
        file.read_exact_at(&mut bytes, lines_at as u64).ok()?;
        if Digest::derive(CONTEXT, &bytes) != identity.directory && !is_left_out(Check::Directory) {
            return None;
        }
        let (halves, _) = bytes.as_chunks::<{ Digest::LEN }>();
        let lines = halves.as_chunks::<2>().0.iter().map(|[first, digest]| Line {
            first: BuildKey::from_digest(Digest::from_bytes(*first)),
            digest: Digest::from_bytes(*digest),
        });
        Some(Self { identity, file, lines: lines.collect() })
    }

    /// Tells `each` what the table says of these keys, which ascend. Reads the blocks they would be in, one at a time.
    pub(super) fn find(
        &self,
        keys: &[BuildKey],
        mut each: impl FnMut(BuildKey, Answer<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = vec![0; BLOCK_BYTES];
        let mut rest = keys;
        // Of how many lines the first key is not greater than the key that is next.
        let mut passed = 0;
        while let Some(key) = rest.first() {
            passed += self.lines[passed..].partition_point(|line| line.first <= *key);
            let count = self
                .lines
                .get(passed)
                .map_or(rest.len(), |next| rest.partition_point(|key| *key < next.first));
            let (here, after) = rest.split_at(count);
            rest = after;
            match passed.checked_sub(1) {
                Some(number) => find_in(self.block(number, &mut buffer), here, &mut each)?,
                None => here.iter().try_for_each(|key| each(*key, Answer::Absent))?,
            }
        }
        Ok(())
    }

    fn block<'a>(&self, number: usize, buffer: &'a mut [u8]) -> Option<Block<'a>> {
        let line = self.lines.get(number)?;
        self.file.read_exact_at(buffer, (number * BLOCK_BYTES) as u64).ok()?;
        if Digest::of(buffer) != line.digest && !is_left_out(Check::Block) {
            return None;
        }
        Block::parse(buffer)
    }

    /// Adds the entries of this table and others, which ascend, to `writing`; `false` if this one cannot be read.
    pub(super) fn merge(&self, others: Vec<Entry>, writing: &mut Writing) -> Result<bool> {
        let mut others = others.into_iter().peekable();
        let mut buffer = vec![0; BLOCK_BYTES];
        for number in 0..self.lines.len() {
            let Some(block) = self.block(number, &mut buffer) else { return Ok(false) };
            for place in 0..block.len() {
                let Some(entry) = block.entry(place) else { return Ok(false) };
                while let Some(other) = others.next_if(|other| other.key < entry.key) {
                    writing.add(&other)?;
                }
                writing.add(&entry)?;
            }
        }
        others.try_for_each(|other| writing.add(&other))?;
        Ok(true)
    }
}

/// The same for keys that would all be in this block.
fn find_in(
    block: Option<Block<'_>>,
    keys: &[BuildKey],
    each: &mut impl FnMut(BuildKey, Answer<'_>) -> Result<()>,
) -> Result<()> {
    let Some(block) = block else {
        return keys.iter().try_for_each(|key| each(*key, Answer::Unreadable));
    };
    let mut from = 0;
    for key in keys {
        let found = block.search(key, from);
        from = found.unwrap_or_else(|place| place);
        let answer = match found {
            Ok(place) => block.needs(place).map_or(Answer::Unreadable, Answer::Needs),
            Err(_) => Answer::Absent,
        };
        each(*key, answer)?;
    }
    Ok(())
}

/// A table that is being written.
#[derive(Debug)]
pub(super) struct Writing {
    file: Expendable,
    filling: Filling,
    directory: Vec<u8>,
}

impl Writing {
    pub(super) fn create(tmp: &Path) -> Result<Self> {
        Ok(Self { file: Expendable::create(tmp)?, filling: Filling::default(), directory: Vec::new() })
    }

    /// Adds an entry whose key is greater than those before.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<()> {
        if !self.filling.add(entry) {
            self.write_block()?;
            self.filling.add(entry);
        }
        Ok(())
    }

    fn write_block(&mut self) -> Result<()> {
        if let Some((block, first)) = self.filling.take() {
            self.directory.extend(first);
            self.directory.extend(Digest::of(&block).as_bytes());
            self.file.write(&block)?;
        }
        Ok(())
    }

    /// Puts the table in the place of the one before, which makes it known to nobody yet.
    pub(super) fn finish(mut self, path: &Path) -> Result<Identity> {
        self.write_block()?;
        self.file.write(&self.directory)?;
        self.file.replace(path)?;
        let blocks = (self.directory.len() / LINE_BYTES) as u64;
        Ok(Identity { directory: Digest::derive(CONTEXT, &self.directory), blocks })
    }
}
