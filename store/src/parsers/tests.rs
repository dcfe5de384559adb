//! Replays what is committed for each.

#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

use crate::journal::Record;
use replay::{files, replay};

#[test]
fn journal_segment() {
    replay("journal_segment", super::journal_segment);
}

#[test]
fn journal_record() {
    replay("journal_record", super::journal_record);
    let seeds = files("journal_record");
    let are_records = seeds.iter().filter(|path| Record::decode(&std::fs::read(path).unwrap()).is_ok());
    assert_eq!(are_records.count(), 13, "one of each kind, and an empty blob");
}

#[test]
fn look_up_block() {
    replay("look_up_block", super::look_up_block);
}

#[test]
fn tree_cache() {
    replay("tree_cache", super::tree_cache);
}
