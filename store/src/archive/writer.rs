//! Writing the headers of an entry: ustar, and PAX records (POSIX.1-2001) for what does not fit.
//!
//! Numbers too large for octal digits stand in both forms, as a PAX record and as GNU's base-256 in the header: there
//! are readers that know only one, and a strict one finds no contradiction.

use super::header::{BLOCK, Fields, encode, octal_max, split};

/// Appends the header of an entry to `out`, after an extended one if it needs that. Its content comes next, then
/// zeros to a multiple of [`BLOCK`].
pub(super) fn append(out: &mut Vec<u8>, fields: &Fields<'_>) {
    let mut records = Vec::new();
    if split(fields.path).is_none() {
        record(&mut records, "path", fields.path);
    }
    if fields.link.len() > 100 {
        record(&mut records, "linkpath", fields.link);
    }
    let numbers = [("size", fields.size, 12), ("uid", fields.uid.into(), 8), ("gid", fields.gid.into(), 8)];
    for (key, number, width) in numbers {
        if number > octal_max(width) {
            record(&mut records, key, number.to_string().as_bytes());
        }
    }
    if !records.is_empty() {
        out.extend_from_slice(&encode(&Fields {
            path: b"PaxHeader",
            link: b"",
            typeflag: b'x',
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: records.len() as u64,
            mtime: 0,
        }));
        records.resize(records.len().next_multiple_of(BLOCK), 0);
        out.extend_from_slice(&records);
    }
    out.extend_from_slice(&encode(fields));
}

/// `length key=value\n`, where the length counts its own digits.
pub(super) fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::tar::TarReader;
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for length in [0, 1, 88, 89, 90, 91, 985, 986, 987, 988] {
            let mut out = Vec::new();
            record(&mut out, "path", &vec![b'x'; length]);
            let digits: Vec<u8> = out.iter().copied().take_while(u8::is_ascii_digit).collect();
            assert_eq!(std::str::from_utf8(&digits).unwrap().parse::<usize>().unwrap(), out.len());
        }
    }

    #[test]
    fn what_does_not_fit_a_header_is_read_back() {
        let path = vec![b'p'; 300];
        let link = vec![b'l'; 300];
        let uid = i32::MAX as u32;
        let size = 1 << 40;
        let plain =
            Fields { path: b"a", link: b"", typeflag: b'0', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 9 };
        let cases = [
            Fields { path: &path, ..plain },
            Fields { link: &link, typeflag: b'2', ..plain },
            Fields { uid, gid: uid, ..plain },
            Fields { size, ..plain },
            Fields { path: &path, link: &link, typeflag: b'2', uid, ..plain },
        ];
        for fields in cases {
            let mut out = Vec::new();
            append(&mut out, &fields);
            assert!(out.len() >= 3 * BLOCK, "an extended header");
            let entry = TarReader::new(&out[..]).next_entry().unwrap().unwrap();
            assert_eq!(
                (&entry.path[..], &entry.link[..], entry.size),
                (fields.path, fields.link, fields.size)
            );
            let found = entry.attributes;
            assert_eq!((found.mode, found.uid, found.gid, entry.mtime), (0o755, fields.uid, fields.gid, 9));
        }
    }
}
