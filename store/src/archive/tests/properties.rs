//! Properties: damage is noticed, nothing panics, and what is accepted stays inside.

use proptest::prelude::*;

use super::*;

/// Where the entries of an archive would lie, as a tree of what is known to be a directory.
fn stays_inside(content: &Content) -> bool {
    content.iter().all(|(entry, _)| {
        let bytes = entry.path.as_bytes();
        !bytes.starts_with(b"/")
            && bytes.split(|byte| *byte == b'/').all(|part| part != b".." && part != b".")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_wrong_byte_is_an_error_or_leaves_everything_inside(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = tar(&ordinary());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok((_, content)) = read(&bytes, &OPTIONS) {
            prop_assert!(stays_inside(&content));
        }
    }

    #[test]
    fn a_truncated_archive_is_refused(at in any::<prop::sample::Index>()) {
        for (compression, bytes) in [
            (Compression::None, tar(&ordinary())),
            (Compression::Gzip, gzip(&tar(&ordinary()))),
            (Compression::Zstd, zstd(&tar(&ordinary()))),
        ] {
            let at = at.index(bytes.len());
            let options = ReadOptions { compression, ..OPTIONS };
            prop_assert!(read(&bytes[..at], &options).is_err());
        }
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let options = ReadOptions { compression, ..OPTIONS };
            prop_assert!(read(&bytes, &options).is_err());
        }
    }

    /// The judgement of targets against the rule it stands for, followed step by step.
    #[test]
    fn a_target_that_is_called_inside_never_goes_above_the_root(
        depth in 0usize..4,
        parts in prop::collection::vec(prop::sample::select(vec!["..", ".", "x", ""]), 1..8),
    ) {
        let link = path(&[&["d/"; 4][..depth], &["l"]].concat().concat());
        let target = parts.join("/");
        if let Ok(Target::Inside(found)) = link.target(target.as_bytes()) {
            let mut at = depth;
            for part in parts {
                match part {
                    ".." => at = at.checked_sub(1).expect("above the root"),
                    "x" => at += 1,
                    _ => {}
                }
            }
            prop_assert_eq!(found.depth(), at);
        }
    }
}
