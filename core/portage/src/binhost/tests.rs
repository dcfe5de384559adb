//! Tests of the index; those of publishing and of the real Portage are below.

mod portage;
mod publishing;

use std::collections::BTreeMap;

use buildswarm_core::BlobId;
use buildswarm_core::package::Cpv;
use proptest::prelude::*;

use super::*;

fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn entry(cpv: &str, content: &[u8]) -> IndexEntry {
    let facts = FileFacts::of(content).unwrap();
    let metadata = metadata(&[
        ("SLOT", "0"),
        ("EAPI", "8"),
        ("USE", "nls"),
        ("BUILD_ID", "1"),
        ("repository", "gentoo"),
    ]);
    IndexEntry::new(cpv.parse().unwrap(), &metadata, &facts, pool_path(&facts.id), 1_790_000_000).unwrap()
}

#[test]
fn the_text_is_what_portage_reads() {
    let metadata = metadata(&[
        ("SLOT", "0"),
        ("EAPI", "8"),
        ("USE", "amd64 nls"),
        ("KEYWORDS", "amd64"),
        ("BUILD_ID", "1"),
        ("BUILD_TIME", "7"),
        ("RDEPEND", "nls? ( a/b ) !nls? ( c/d )"),
        ("DESCRIPTION", "Says hello"),
        ("repository", "gentoo"),
        ("PDEPEND", ""),
    ]);
    let facts = FileFacts::of(&b"abc"[..]).unwrap();
    let cpv: Cpv = "app-misc/hello-1".parse().unwrap();
    let entry = IndexEntry::new(cpv, &metadata, &facts, "pool/hello.gpkg.tar".to_owned(), 9).unwrap();
    let header =
        BTreeMap::from([("ARCH".to_owned(), "amd64".to_owned()), ("TTL".to_owned(), "60".to_owned())]);
    let index = PackagesIndex { timestamp: 1000, header, entries: vec![entry] };
    let expected = "ARCH: amd64\nPACKAGES: 1\nTIMESTAMP: 1000\nTTL: 60\nVERSION: 0\n\n\
        BUILD_ID: 1\nBUILD_TIME: 7\nCPV: app-misc/hello-1\nDESC: Says hello\nEAPI: 8\nKEYWORDS: amd64\n\
        MD5: 900150983cd24fb0d6963f7d28e17f72\nMTIME: 9\nPATH: pool/hello.gpkg.tar\nRDEPEND: a/b\nREPO: gentoo\n\
        SHA1: a9993e364706816aba3e25717850c26c9cd0d89d\nSIZE: 3\nUSE: amd64 nls\n\n";
    assert_eq!(index.write().unwrap(), expected);
    assert_eq!(PackagesIndex::parse(expected.as_bytes()).unwrap(), index);
}

#[test]
fn hostile_indexes_are_refused() {
    let index = PackagesIndex {
        timestamp: 5,
        header: metadata(&[("TTL", "60")]),
        entries: vec![entry("a/b-1", b"1"), entry("a/c-1", b"2")],
    };
    let good = index.write().unwrap();
    let path = &index.entries[0].path;
    let cut =
        |from: &str| good.lines().filter(|line| !line.starts_with(from)).map(|l| format!("{l}\n")).collect();
    let cases: Vec<(&str, String, &str)> = vec![
        ("empty", String::new(), "header: PACKAGES is missing"),
        ("no header", good.split_once("\n\n").unwrap().1.to_owned(), "header: PACKAGES is missing"),
        ("count lies", good.replace("PACKAGES: 2", "PACKAGES: 3"), "says 3 packages but there are 2"),
        (
            "count of 2^64",
            good.replace("PACKAGES: 2", "PACKAGES: 18446744073709551616"),
            "PACKAGES is not a number",
        ),
        ("CPV with a carriage return", good.replace("a/b-1", "a/b-1\r"), "a control character"),
        (
            "CPV with a line feed",
            good.replace("CPV: a/b-1", "CPV: a/b-1\nevil"),
            "not of the form NAME: value",
        ),
        ("CPV upwards", good.replace("CPV: a/b-1", "CPV: ../b-1"), "CPV is not a package"),
        ("PATH upwards", good.replace(path, "../../x"), "PATH is not a plain relative path"),
        ("PATH absolute", good.replace(path, "/etc/passwd"), "PATH is not a plain relative path"),
        ("PATH with a URL", good.replace(path, "http://x/y"), "PATH is not a plain relative path"),
        ("PATH with %2f", good.replace(path, "pool/..%2f..%2fx"), "PATH is not a plain relative path"),
        ("SIZE -1", good.replace("SIZE: 1", "SIZE: -1"), "SIZE is not a number"),
        ("SIZE of 2^63", good.replace("SIZE: 1", "SIZE: 9223372036854775808"), "SIZE is not a number"),
        ("SIZE +1", good.replace("SIZE: 1", "SIZE: +1"), "SIZE is not a number"),
        ("SIZE 01", good.replace("SIZE: 1", "SIZE: 01"), "SIZE is not a number"),
        ("duplicate package", good.replace("a/c-1", "a/b-1"), "a/b-1 is listed twice"),
        ("duplicate field", good.replace("SIZE: 1\n", "SIZE: 1\nSIZE: 1\n"), "named before"),
        ("MD5 only", cut("SHA1"), "SHA1 is missing"),
        ("no digest", cut("MD5"), "MD5 is missing"),
        ("malformed digest", good.replace("SHA1: ", "SHA1: z"), "SHA1 is not 40"),
        ("no MTIME", cut("MTIME"), "MTIME is missing"),
        ("no TIMESTAMP", cut("TIMESTAMP"), "TIMESTAMP is missing"),
        (
            "TIMESTAMP far ahead",
            good.replace("TIMESTAMP: 5", "TIMESTAMP: 253402300800"),
            "TIMESTAMP is not a number",
        ),
        ("VERSION 1", good.replace("VERSION: 0", "VERSION: 1"), "VERSION is not a number"),
        ("TTL 10^9", good.replace("TTL: 60", "TTL: 1000000000"), "TTL is not a number"),
        ("BUILD_ID x", good.replace("BUILD_ID: 1", "BUILD_ID: x"), "BUILD_ID is not a number"),
        ("long line", format!("X: {}\n\n", "x".repeat(1 << 20)), "longer than 1 MiB"),
        ("no end", good.trim_end().to_owned(), "it does not end"),
        ("empty lines", good.replace("\n\n", "\n\n\n"), "empty where a field should be"),
        ("odd name", good.replace("SIZE:", "SI ZE:"), "not that of a field"),
    ];
    for (name, text, expected) in &cases {
        let error = PackagesIndex::parse(text.as_bytes()).err();
        let error = error.unwrap_or_else(|| panic!("{name} was accepted")).to_string();
        assert!(error.contains(expected), "{name}: {error:?} does not say {expected:?}");
    }
    assert_eq!(PackagesIndex::parse(b"\xff\n\n"), Err(IndexError::Encoding));
}

#[test]
fn what_a_reader_would_refuse_is_not_written() {
    let mut bad = entry("a/b-1", b"1");
    bad.fields.insert("DESC".to_owned(), "two\nlines".to_owned());
    let index = PackagesIndex { entries: vec![bad], ..PackagesIndex::default() };
    assert_eq!(
        index.write().unwrap_err().to_string(),
        "a/b-1: DESC has an empty value, surrounding blanks or a control character"
    );
    let twice = PackagesIndex {
        entries: vec![entry("a/b-1", b"1"), entry("a/b-1", b"2")],
        ..PackagesIndex::default()
    };
    assert_eq!(twice.write().unwrap_err().to_string(), "a/b-1 is listed twice");
}

fn fields() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("X_[A-Z_]{1,10}", "[!-~\u{e9}]([ -~\u{e9}]{0,20}[!-~])?", 0..5)
}

prop_compose! {
    fn any_entry()(name in "[a-z]{1,4}", version in 0u32..50, size in 0..=i64::MAX as u64, mtime in 0u64..1 << 33,
                   bytes in any::<[u8; 8]>(), fields in fields()) -> IndexEntry {
        let facts = FileFacts::of(&bytes[..]).unwrap();
        let cpv = format!("cat-{name}/{name}-{version}").parse().unwrap();
        IndexEntry { cpv, path: pool_path(&facts.id), size, md5: facts.md5, sha1: facts.sha1, mtime, fields }
    }
}

proptest! {
    #[test]
    fn an_index_is_read_back(timestamp in 0u64..1 << 36, header in fields(), entries in prop::collection::vec(any_entry(), 0..6)) {
        let mut index = PackagesIndex { timestamp, header, entries };
        index.entries.sort_by(|a, b| a.cpv.cmp(&b.cpv));
        index.entries.dedup_by(|a, b| a.cpv == b.cpv);
        let text = index.write().unwrap();
        prop_assert_eq!(PackagesIndex::parse(text.as_bytes()).unwrap(), index);
    }

    #[test]
    fn whatever_is_accepted_is_written_back(noise in "[ -~\n]{0,200}", at in any::<prop::sample::Index>()) {
        let mut text = PackagesIndex { entries: vec![entry("a/b-1", b"1")], ..PackagesIndex::default() }.write().unwrap();
        let at = at.index(text.len());
        text.insert_str(at, &noise);
        if let Ok(index) = PackagesIndex::parse(text.as_bytes()) {
            let again = index.write().unwrap();
            prop_assert_eq!(PackagesIndex::parse(again.as_bytes()).unwrap(), index);
        }
    }
}
