use std::collections::BTreeMap;

use super::*;

fn blob(seed: u8) -> BlobRef {
    BlobRef { id: BlobId::of(&[seed]), size: u64::from(seed) << 40 }
}

/// One of each kind.
pub(crate) fn samples() -> Vec<Record> {
    let key = BuildKey::from_digest(Digest::of(b"key"));
    let artifact = Artifact {
        key,
        package: "dev-libs/foo-1.2-r3".parse().unwrap(),
        slot: "0/1.2".parse().unwrap(),
        repository: "gentoo".to_owned(),
        file: blob(1),
        log: blob(2),
        preimage: blob(3),
        payload: Digest::of(b"payload"),
        interface: Digest::of(b"interface"),
        installed_size: 1,
        build_millis: 2,
        built_at: UnixSeconds(3),
        builder: "drone".to_owned(),
        metadata: BTreeMap::from([("USE".to_owned(), "a b".to_owned()), ("X".to_owned(), String::new())]),
    };
    let reuse = ReuseKey::from_digest(Digest::of(b"reuse"));
    let generation =
        GenerationRow { number: 7, created: UnixSeconds(8), entries: vec![key, key], manifest: blob(4) };
    let (channel, name) = ("stable".to_owned(), "world".to_owned());
    vec![
        Record::Store { uuid: [9; 16] },
        Record::Restored { at: UnixSeconds(5), noted: 6 },
        Record::Inline { bytes: b"small".to_vec() },
        Record::Inline { bytes: Vec::new() },
        Record::Forgotten { blobs: vec![blob(1).id, blob(2).id] },
        Record::Artifact { artifact: Box::new(artifact), places: vec![(reuse, 3), (reuse, 4)] },
        Record::ArtifactRemoved { key },
        Record::Signed {
            key,
            signer: "A".to_owned(),
            package: SignedPackage { file: blob(5), index_entry: "{}".to_owned() },
        },
        Record::Generation { channel: channel.clone(), generation, blobs: vec![blob(4), blob(5)] },
        Record::GenerationRemoved { channel: channel.clone(), number: 7 },
        Record::Current { channel, number: 7 },
        Record::Root { name: name.clone(), blob: blob(6), kind: "tree".to_owned(), made: UnixSeconds(9) },
        Record::RootRemoved { name },
    ]
}

#[test]
fn every_kind_is_read_back() {
    let samples = samples();
    for record in &samples {
        assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(record));
    }
    let kinds: std::collections::BTreeSet<u8> = samples.iter().map(Record::kind).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), (STORE..=ROOT_REMOVED).collect::<Vec<_>>());
}

#[test]
fn the_encoding_of_each_kind_stays() {
    let mut all = Vec::new();
    samples().iter().for_each(|record| all.extend(record.encode()));
    let digest = Digest::of(&all).to_string();
    assert_eq!(
        digest, "e950c458d0d8879a5b1e87854c3fe3a91c211bbaf414e608ccb019931214c93e",
        "a journal that was written must stay readable"
    );
}

#[test]
fn nothing_else_is_a_record() {
    for record in samples() {
        let bytes = record.encode();
        for length in 0..bytes.len() {
            assert!(Record::decode(&bytes[..length]).is_err(), "{record:?} cut to {length}");
        }
        assert!(Record::decode(&[bytes, vec![0]].concat()).is_err());
    }
    let mut unknown = Encoder::new();
    unknown.record(ROOT_REMOVED + 1, |_| {});
    assert!(Record::decode(&unknown.finish()).is_err());
}
