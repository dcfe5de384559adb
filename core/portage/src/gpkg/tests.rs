//! Tests with packages made by hand; `tests/portage.rs` has those against the real Portage.

mod compare;
mod hostile;
pub(crate) mod portage;
mod properties;

use std::io::{Cursor, Read as _};

use super::fixture::*;
use super::*;

fn read_ok(package: &Package) -> (Gpkg, Payload) {
    read(&package.bytes(), &Limits::STANDARD).unwrap()
}

#[test]
fn an_ordinary_package_is_read() {
    let (package, payload) = read_ok(&Package::ordinary());
    assert_eq!(package.prefix(), "hello-1.0-3");
    assert!(!package.is_signed() && !payload.is_empty_image());
    assert_eq!(package.text("SLOT").unwrap(), Some("0/1"));
    assert_eq!((payload.files, payload.hardlinks, payload.symlinks, payload.directories), (1, 1, 1, 2));
    assert_eq!(payload.installed_size, 21);
    assert!(payload.requires["x86_64"].contains("libc.so.6"));
    assert_eq!(package.index_metadata().unwrap()["USE"], "amd64 nls");
}

#[test]
fn gzip_and_no_compression_are_read_too() {
    let bytes = tar(&ordinary_image());
    let (_, expected) = read_ok(&Package::ordinary());
    for (name, member) in [("image.tar", bytes.clone()), ("image.tar.gz", gzip(&bytes))] {
        assert_eq!(read_ok(&Package::with_image_member(name, member)).1, expected);
    }
}

#[test]
fn content_is_streamed_entry_by_entry() {
    let bytes = Package::ordinary().bytes();
    let package = Gpkg::read(&bytes[..], &Limits::STANDARD).unwrap();
    let mut image = package.image(Cursor::new(&bytes), &Limits::STANDARD).unwrap();
    let mut found = Vec::new();
    while let Some(entry) = image.next_entry().unwrap() {
        let mut content = String::new();
        image.read_to_string(&mut content).unwrap();
        found.push((entry.path, entry.kind, entry.link, content));
    }
    assert_eq!(
        found[3],
        ("usr/bin/hello".into(), Kind::File, String::new(), "#!/bin/sh\necho hello\n".into())
    );
    assert_eq!(found[4], ("usr/bin/hi".into(), Kind::Hardlink, "usr/bin/hello".into(), String::new()));
    assert_eq!(found[5].2, "/bin/sh");
}

#[test]
fn the_payload_ignores_times_order_and_which_name_comes_first() {
    let digest = |entries: &[RawEntry]| read_ok(&Package::with_image(entries)).1.digest;
    let ordinary = digest(&ordinary_image());
    let mut touched = ordinary_image();
    touched.iter_mut().for_each(|entry| entry.patch.push((136, b"00000007777\0".to_vec())));
    assert_eq!(digest(&touched), ordinary);
    let mut swapped = ordinary_image();
    swapped[3] = file("image/usr/bin/hi", "#!/bin/sh\necho hello\n");
    swapped[4] = link(b'1', "image/usr/bin/hello", "image/usr/bin/hi");
    swapped.swap(5, 3);
    swapped.swap(5, 4);
    assert_eq!(digest(&swapped), ordinary);
    let differences: [fn(&mut Vec<RawEntry>); 7] = [
        |e| e[3].content[0] = b'%',
        |e| e[3..5].iter_mut().for_each(|e| e.mode = 0o755),
        |e| e[3..5].iter_mut().for_each(|e| e.patch.push((108, b"0000001\0".to_vec()))),
        |e| e[0..6].iter_mut().for_each(|e| e.patch.push((265, b"nobody\0".to_vec()))),
        |e| e[0..6].iter_mut().for_each(|e| e.patch.push((297, b"wheel\0".to_vec()))),
        |e| e[5].link = b"/bin/bash".to_vec(),
        |e| e.push(directory("image/var")),
    ];
    for (index, change) in differences.into_iter().enumerate() {
        let mut image = ordinary_image();
        change(&mut image);
        assert_ne!(digest(&image), ordinary, "difference {index}");
    }
}

/// A stranger's second implementation has to arrive here too; another value is another form.
#[test]
fn the_digest_of_an_ordinary_package_stays_what_it_is() {
    let (_, payload) = read_ok(&Package::ordinary());
    assert_eq!(
        payload.digest.to_string(),
        "0a2d2a67f4c63c8cc725e2076235d2b6b13e78fd5ef5572082ea3ca6275c2cea"
    );
}

#[test]
fn what_the_specification_leaves_out_is_what_is_left_out() {
    let document = include_str!("../../../../docs/payload.md");
    let (_, rest) = document.split_once("<!-- not-payload: begin -->").unwrap();
    let rows = rest.split_once("<!-- not-payload: end -->").unwrap().0.trim().lines().skip(2);
    let expected = NOT_PAYLOAD.map(|(key, reason)| format!("| `{key}` | {reason} |"));
    assert_eq!(rows.collect::<Vec<_>>(), expected);
}

#[test]
fn the_payload_ignores_machine_metadata_only() {
    let (_, ordinary) = read_ok(&Package::ordinary());
    let changed = |key: &str| {
        let pairs = METADATA.map(|(k, v)| if k == key { (k, "4\n") } else { (k, v) });
        read_ok(&Package::with_metadata(metadata(&pairs))).1
    };
    assert_eq!(changed("BUILD_TIME").digest, ordinary.digest);
    let environment = changed("environment.bz2");
    assert_eq!(environment.digest, ordinary.digest);
    assert_ne!(environment.environment, ordinary.environment);
    assert_ne!(changed("SLOT").digest, ordinary.digest);
}

#[test]
fn repacking_is_deterministic_and_keeps_the_payload() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source.gpkg.tar");
    let options = RepackOptions { build_id: 1, build_time: 1_790_000_000, limits: Limits::STANDARD };
    let repacked = |package: &Package| {
        std::fs::write(&source, package.bytes()).unwrap();
        let mut out = Vec::new();
        let facts = repack(&source, &mut out, &options).unwrap();
        assert_eq!(facts.size, out.len() as u64);
        (facts, out)
    };
    let (facts, out) = repacked(&Package::ordinary());
    assert_eq!(repacked(&Package::ordinary()).1, out);
    let mut shuffled = METADATA;
    shuffled.reverse();
    assert_eq!(repacked(&Package::with_metadata(metadata(&shuffled))).1, out);
    let (again, payload) = read(&out, &Limits::STANDARD).unwrap();
    assert_eq!(payload, facts.payload);
    let interface = again.payload_and_interface(Cursor::new(&out), &Limits::STANDARD).unwrap().1;
    assert_eq!(interface, facts.interface);
    assert_eq!(interface.entries().len(), 3, "both names of the file, and the link");
    assert_eq!(again.prefix(), "hello-1.0-1");
    assert_eq!(again.metadata()["BUILD_TIME"], b"1790000000\n");
    assert_eq!(facts.metadata["BUILD_ID"], "1");
    // Our form is a fixed point.
    std::fs::write(&source, &out).unwrap();
    let mut twice = Vec::new();
    repack(&source, &mut twice, &options).unwrap();
    assert_eq!(twice, out);
}

#[test]
fn signing_adds_signatures_and_changes_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let Some(signer) = crate::openpgp::tests::signer(directory.path()) else { return };
    let (unsigned, signed) = (directory.path().join("unsigned"), directory.path().join("signed"));
    std::fs::write(&unsigned, Package::ordinary().bytes()).unwrap();
    let mut session = signer.session().unwrap();
    let size = sign(&unsigned, &mut session, std::fs::File::create(&signed).unwrap()).unwrap();
    drop(session);
    let bytes = std::fs::read(&signed).unwrap();
    assert_eq!(size, bytes.len() as u64);
    let (package, payload) = read(&bytes, &Limits::STANDARD).unwrap();
    assert!(package.is_signed());
    assert_eq!(payload, read_ok(&Package::ordinary()).1);

    let key = signer.export_public_key().unwrap();
    let verifier = crate::openpgp::Verifier::new([key.as_str()]).unwrap();
    verify(&signed, &verifier).unwrap();
    let refused = verify(&unsigned, &verifier).unwrap_err().to_string();
    assert_eq!(refused, "Manifest: it is not signed");
}
