//! Publishing to a directory.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use buildswarm_core::time::UnixSeconds;

use super::*;

/// A publication of packages whose content is their name and `variant`.
fn publication(directory: &Path, now: u64, packages: &[(&str, &str)]) -> Publication {
    let mut index = PackagesIndex::default();
    let mut files = Vec::new();
    for (cpv, variant) in packages {
        let content = format!("{cpv} {variant}");
        let entry = entry(cpv, content.as_bytes());
        let digest = BlobId::of(content.as_bytes());
        let source = directory.join(digest.to_string());
        fs::write(&source, content).unwrap();
        files.push(PublishedPackage { cpv: entry.cpv.clone(), key: None, digest, source });
        index.entries.push(entry);
    }
    Publication { index, packages: files, now: UnixSeconds(now) }
}

struct Setup {
    directory: tempfile::TempDir,
    binhost: Binhost,
    channel: ChannelName,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let binhost = Binhost::new(directory.path().join("binhost"));
        Self { directory, binhost, channel: "stable".parse().unwrap() }
    }

    fn publish(&self, now: u64, packages: &[(&str, &str)]) -> Result<Published, BinhostError> {
        self.binhost.publish(&self.channel, publication(self.directory.path(), now, packages), None)
    }

    fn current_text(&self) -> String {
        fs::read_to_string(self.binhost.directory().join("channels/stable/current/Packages")).unwrap()
    }
}

#[test]
fn a_generation_is_complete_and_reachable_through_the_link() {
    let setup = Setup::new();
    let published = setup.publish(1000, &[("a/b-1", "x"), ("a/c-2", "y")]).unwrap();
    let Published::New(generation) = published else { panic!("{published:?}") };
    assert_eq!((generation.number, generation.timestamp), (1, 1000));
    let current = setup.binhost.directory().join("channels/stable/current");
    let text = setup.current_text();
    assert_eq!(generation.packages, BlobId::of(text.as_bytes()));
    let compressed = fs::File::open(current.join("Packages.gz")).unwrap();
    let unpacked = std::io::read_to_string(flate2::read::GzDecoder::new(compressed)).unwrap();
    assert_eq!(unpacked, text);
    assert_eq!(fs::metadata(current.join("Packages")).unwrap().mtime(), 1000);
    for (entry, listed) in
        PackagesIndex::parse(text.as_bytes()).unwrap().entries.iter().zip(&generation.entries)
    {
        let file = current.join(&entry.path);
        assert_eq!(BlobId::of(&fs::read(&file).unwrap()), listed.digest);
        assert_eq!(fs::metadata(&file).unwrap().nlink(), 2, "a link to the store's file, not a copy");
    }
    assert_eq!(setup.binhost.current(&setup.channel).unwrap(), Some(generation));
}

#[test]
fn the_same_is_not_published_twice() {
    let setup = Setup::new();
    let first = setup.publish(1000, &[("a/b-1", "x")]).unwrap();
    let second = setup.publish(2000, &[("a/b-1", "x")]).unwrap();
    assert_eq!(second, Published::Unchanged(first.generation().clone()));
    assert!(setup.current_text().contains("TIMESTAMP: 1000\n"));
}

#[test]
fn timestamps_ascend_whatever_the_clock_says() {
    let setup = Setup::new();
    let mut last = 0;
    for (variant, now) in [("a", 1000), ("b", 1000), ("c", 5), ("d", 1003), ("e", 9000)] {
        let timestamp = setup.publish(now, &[("a/b-1", variant)]).unwrap().generation().timestamp;
        assert!(timestamp >= last + 6, "a static server would call it not modified");
        last = timestamp;
    }
    assert_eq!(last, 9000);
}

#[test]
fn a_roll_back_is_a_new_generation_with_old_packages() {
    let setup = Setup::new();
    setup.publish(1000, &[("a/b-1", "x")]).unwrap();
    setup.publish(2000, &[("a/b-1", "y"), ("a/c-1", "z")]).unwrap();
    let rolled = setup.binhost.rollback(&setup.channel, None, UnixSeconds(1500), None).unwrap();
    let generation = rolled.generation();
    assert_eq!((generation.number, generation.rollback_to, generation.timestamp), (3, Some(1), 2006));
    assert_eq!(generation.entries, setup.binhost.generations(&setup.channel).unwrap()[0].entries);
    let unknown = setup.binhost.rollback(&setup.channel, Some(9), UnixSeconds(1), None).unwrap_err();
    assert_eq!(unknown.to_string(), "channel stable has no generation 9");
}

#[test]
fn pruning_keeps_the_current_generation_and_sweeping_what_is_offered() {
    let setup = Setup::new();
    for (now, variant) in [(1000, "a"), (2000, "b"), (3000, "c")] {
        setup.publish(now, &[("a/b-1", variant)]).unwrap();
    }
    assert_eq!(setup.binhost.prune(&setup.channel, 2).unwrap(), 1);
    let numbers: Vec<u64> = setup
        .binhost
        .generations(&setup.channel)
        .unwrap()
        .iter()
        .map(|generation| generation.number)
        .collect();
    assert_eq!(numbers, [2, 3]);
    let now = SystemTime::now();
    assert_eq!(setup.binhost.sweep(now, Duration::from_secs(60)).unwrap().0, 0, "too young");
    assert_eq!(setup.binhost.sweep(now + Duration::from_secs(120), Duration::from_secs(60)).unwrap(), (1, 7));
    assert_eq!(setup.binhost.prune(&setup.channel, 0).unwrap(), 1);
    assert_eq!(setup.binhost.current(&setup.channel).unwrap().unwrap().number, 3);
    // A damaged record stops the sweep: it cannot tell what is offered.
    fs::write(setup.binhost.directory().join("channels/stable/current/generation.json"), "{").unwrap();
    let error = setup.binhost.sweep(now + Duration::from_secs(120), Duration::ZERO).unwrap_err();
    assert!(matches!(error, BinhostError::Generation { .. }), "{error}");
}

#[test]
fn nothing_appears_unless_everything_is_there() {
    let setup = Setup::new();
    setup.publish(1000, &[("a/b-1", "x")]).unwrap();
    let before = setup.current_text();
    let refused = |change: &dyn Fn(&mut Publication), expected: &str| {
        let mut publication = publication(setup.directory.path(), 2000, &[("a/b-1", "y"), ("a/c-1", "z")]);
        change(&mut publication);
        let error = setup.binhost.publish(&setup.channel, publication, None).unwrap_err();
        let text = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(text.contains(expected), "{text:?} does not say {expected:?}");
        assert_eq!(setup.current_text(), before);
    };
    refused(&|p| drop(p.packages.pop()), "a/c-1: no file was given for it");
    refused(&|p| drop(p.index.entries.pop()), "a/c-1: a file was given for it but");
    refused(&|p| fs::write(&p.packages[1].source, "other").unwrap(), "does not have the digest");
    refused(&|p| fs::remove_file(&p.packages[1].source).unwrap(), "copying it to the pool failed");
    refused(&|p| p.index.entries.push(p.index.entries[0].clone()), "a/b-1 is listed twice");
    refused(&|p| drop(p.index.entries[0].fields.insert("USE".into(), "a\nb".into())), "a control character");
    let pool = setup.binhost.directory().join("pool");
    let litter = fs::read_dir(pool).unwrap().flat_map(|group| fs::read_dir(group.unwrap().path()).unwrap());
    assert!(litter.flatten().all(|file| file.file_name().to_string_lossy().ends_with(".gpkg.tar")));
}

#[test]
fn a_crash_before_the_switch_is_forgotten() {
    let setup = Setup::new();
    setup.publish(1000, &[("a/b-1", "x")]).unwrap();
    let generations = setup.binhost.directory().join("channels/stable/generations");
    fs::create_dir(generations.join(".new-crashed")).unwrap();
    std::os::unix::fs::symlink("generations/77", setup.binhost.directory().join("channels/stable/.next"))
        .unwrap();
    assert_eq!(setup.publish(2000, &[("a/b-1", "y")]).unwrap().generation().number, 2);
}

#[test]
fn the_record_is_signed_and_covers_the_index() {
    let setup = Setup::new();
    let Some(signer) = crate::openpgp::tests::signer(setup.directory.path()) else { return };
    let publication = publication(setup.directory.path(), 1000, &[("a/b-1", "x")]);
    let mut session = signer.session().unwrap();
    setup.binhost.publish(&setup.channel, publication, Some(&mut session)).unwrap();
    let current = setup.binhost.directory().join("channels/stable/current");
    let key = signer.export_public_key().unwrap();
    let verifier = crate::openpgp::Verifier::new([key.as_str()]).unwrap();
    let signed =
        verifier.verify_clear_signed(&fs::read_to_string(current.join("generation.json.asc")).unwrap());
    assert_eq!(signed.unwrap(), fs::read_to_string(current.join("generation.json")).unwrap());
}

#[test]
fn channel_names_are_plain() {
    for name in ["", "..", ".hidden", "a/b", "A", "-x", "a b", &"x".repeat(65)] {
        assert!(name.parse::<ChannelName>().is_err(), "{name}");
    }
    assert_eq!("amd64-23.0".parse::<ChannelName>().unwrap().as_str(), "amd64-23.0");
}
