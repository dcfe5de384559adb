//! Replays the corpora of the fuzz targets that read and write archives; a new finding is committed there.

#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/archives.rs"]
mod archives;
#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn archive_read() {
    replay("archive_read", archives::archive_read);
}

#[test]
fn decompress() {
    replay("decompress", archives::decompress);
}

#[test]
fn frames_read() {
    replay("frames_read", archives::frames_read);
}

#[test]
fn pack_round_trip() {
    replay("pack_round_trip", archives::pack_round_trip);
}
