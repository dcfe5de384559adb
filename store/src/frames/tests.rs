use std::io::{Cursor, Read as _, Seek as _, SeekFrom, Write as _};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

/// Bytes that neither repeat nor are all noise: half of each block of 64 is text.
fn bytes(length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 64);
    let mut number = 0u64;
    while out.len() < length {
        out.extend_from_slice(blake3::hash(&number.to_le_bytes()).as_bytes());
        out.extend_from_slice(&[b'x'; 32]);
        number += 1;
    }
    out.truncate(length);
    out
}

fn framed(bytes: &[u8], threads: usize) -> Vec<u8> {
    let mut writer = FrameWriter::new(Vec::new(), 3, threads);
    writer.write_all(bytes).unwrap();
    assert_eq!(writer.position(), bytes.len() as u64);
    writer.finish().unwrap()
}

fn unframed(file: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut reader = FrameReader::new(Cursor::new(file))?;
    let mut out = Vec::new();
    for frame in 0..reader.table().frames() {
        out.extend_from_slice(reader.frame(frame)?);
    }
    Ok(out)
}

/// Lengths around the boundaries, in bytes.
const LENGTHS: [usize; 7] =
    [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES, 5 * FRAME_BYTES + 77];

#[test]
fn what_is_written_is_read() {
    for length in LENGTHS {
        let bytes = bytes(length);
        let file = framed(&bytes, 2);
        assert!(unframed(&file).unwrap() == bytes, "{length} bytes");
        let table = SeekTable::read(&mut Cursor::new(&file)).unwrap();
        assert_eq!((table.size(), table.frames()), (length as u64, length.div_ceil(FRAME_BYTES)));
        // The whole is an ordinary zstd stream too.
        assert!(zstd::decode_all(&file[..]).unwrap() == bytes, "{length} bytes, as a stream");
    }
}

#[test]
fn the_output_depends_on_neither_threads_nor_calls_nor_what_came_before() {
    let bytes = bytes(9 * FRAME_BYTES + 5);
    let expected = framed(&bytes, 1);
    for threads in [0, 2, 3, 8] {
        assert!(framed(&bytes, threads) == expected, "{threads} threads");
    }
    let mut writer = FrameWriter::new(Vec::new(), 3, 2);
    for chunk in bytes.chunks(70_001) {
        writer.write_all(chunk).unwrap();
        writer.flush().unwrap();
    }
    assert!(writer.finish().unwrap() == expected, "small writes");
    // A frame is compressed as if it were the only one.
    let range = SeekTable::read(&mut Cursor::new(&expected)).unwrap().packed_range(4).unwrap();
    let alone = framed(&bytes[4 * FRAME_BYTES..5 * FRAME_BYTES], 1);
    let (start, end) = (range.start as usize, range.end as usize);
    assert!(alone[..end - start] == expected[start..end]);
}

#[test]
fn any_range_is_found_and_costs_the_frames_it_touches() {
    let bytes = bytes(3 * FRAME_BYTES + 10);
    let mut file = framed(&bytes, 2);
    // Frame 0 is broken, which concerns nobody who reads elsewhere.
    file[20] ^= 0xff;
    let mut reader = FrameReader::new(Cursor::new(&file)).unwrap();
    for (at, length) in [(FRAME_BYTES, 1), (2 * FRAME_BYTES - 3, 7), (3 * FRAME_BYTES, 10)] {
        reader.seek(SeekFrom::Start(at as u64)).unwrap();
        let mut out = vec![0; length];
        reader.read_exact(&mut out).unwrap();
        assert_eq!(out, bytes[at..at + length]);
    }
    assert_eq!(reader.seek(SeekFrom::End(100)).unwrap(), bytes.len() as u64 + 100);
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0, "beyond the end");
    assert!(reader.seek(SeekFrom::Current(-(1 << 40))).is_err());
    reader.seek(SeekFrom::Start(5)).unwrap();
    let error = reader.read(&mut [0; 8]).unwrap_err();
    assert!(error.to_string().starts_with("frame 0 is damaged"), "{error}");
}

#[test]
fn the_zstd_program_reads_it() {
    let Ok(mut zstd) = Command::new("zstd").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    else {
        return eprintln!("skipped: there is no zstd program");
    };
    let bytes = bytes(3 * FRAME_BYTES + 10);
    let file = framed(&bytes, 2);
    let mut stdin = zstd.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(&file));
    let output = zstd.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success() && output.stdout == bytes);
}

/// A writer that takes a number of bytes and then has no more room.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.checked_sub(bytes.len()) {
            Some(left) => self.0 = left,
            None => return Err(std::io::ErrorKind::StorageFull.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_error_of_the_output_reaches_the_caller() {
    let bytes = bytes(9 * FRAME_BYTES);
    let whole = framed(&bytes, 2).len();
    for room in [0, 1000, whole / 2, whole - 1] {
        let mut writer = FrameWriter::new(Full(room), 3, 2);
        let result = writer.write_all(&bytes).and_then(|()| writer.finish().map(drop));
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::StorageFull, "{room} bytes");
    }
    let mut writer = FrameWriter::new(Full(whole), 3, 2);
    writer.write_all(&bytes).unwrap();
    writer.finish().unwrap();
}

/// Compressed and unpacked sizes as a seek table, whatever they say.
fn table_of(rows: &[(u32, u32)]) -> Vec<u8> {
    let mut out = 0x184D_2A5E_u32.to_le_bytes().to_vec();
    out.extend_from_slice(&(rows.len() as u32 * 8 + 9).to_le_bytes());
    for (packed, unpacked) in rows {
        out.extend_from_slice(&packed.to_le_bytes());
        out.extend_from_slice(&unpacked.to_le_bytes());
    }
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    out.push(0);
    out.extend_from_slice(&0x8F92_EAB1_u32.to_le_bytes());
    out
}

#[test]
fn hostile_tables_are_refused_by_name() {
    const MIB: u32 = 1 << 20;
    let with = |rows: &[(u32, u32)]| [vec![0; 20], table_of(rows)].concat();
    let patched = |at_from_end: usize, byte: u8| {
        let mut file = with(&[(20, 5)]);
        let at = file.len() - at_from_end;
        file[at] = byte;
        file
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "too short"),
        ("only a foot", table_of(&[])[8..].to_vec(), "too short"),
        ("no magic", patched(1, 0), "does not end in one"),
        ("flags", patched(5, 0x80), "flags that are not known"),
        ("2^32 frames", [vec![0; 100], [0xff; 4].to_vec(), vec![0, 0xb1, 0xea, 0x92, 0x8f]].concat(), "room"),
        ("one frame more", patched(9, 2), "not where its number"),
        ("another length", patched(21, 9), "not where its number"),
        ("another magic", patched(25, 9), "not where its number"),
        ("a gap before the table", with(&[(19, 5)]), "account for every byte"),
        ("an overlap", with(&[(21, 5)]), "account for every byte"),
        ("no frame", with(&[]), "account for every byte"),
        ("an empty frame", with(&[(0, MIB), (20, 5)]), "a length that no frame has"),
        ("a huge frame", with(&[(u32::MAX, 5)]), "a length that no frame has"),
        ("unpacks to nothing", with(&[(20, 0)]), "does not unpack to 1 MiB"),
        ("unpacks to 4 GiB", with(&[(20, u32::MAX)]), "does not unpack to 1 MiB"),
        ("a short frame before another", with(&[(10, 5), (10, 5)]), "does not unpack to 1 MiB"),
    ];
    for (name, file, expected) in &cases {
        let error = SeekTable::read(&mut Cursor::new(file)).err();
        let text = error.unwrap_or_else(|| panic!("{name} was accepted")).to_string();
        assert!(text.contains(expected), "{name}: {text:?} does not say {expected:?}");
    }
}

#[test]
fn a_table_is_read_back_and_nothing_like_it_is() {
    let mut table = SeekTable::new();
    for packed in [10, 20, 5] {
        table.push(packed, if packed == 5 { 77 } else { FRAME_BYTES });
    }
    assert_eq!((table.packed_range(1), table.unpacked_len(1)), (Some(10..30), FRAME_BYTES));
    assert_eq!((table.packed_range(2), table.unpacked_len(2)), (Some(30..35), 77));
    assert_eq!(table.packed_range(3), None);
    let file = [vec![0; 35], table.encode()].concat();
    let read = |file: &[u8]| SeekTable::read(&mut Cursor::new(file)).ok();
    assert_eq!(read(&file).as_ref(), Some(&table));
    for at in 35..file.len() {
        let mut other = file.clone();
        other[at] ^= 1;
        assert_ne!(read(&other).as_ref(), Some(&table), "byte {at}");
    }
    for cut in 0..file.len() {
        assert_eq!(read(&file[..cut]), None, "{cut} bytes");
    }
}

#[test]
fn a_frame_that_is_not_what_the_table_says_is_refused() {
    let small = framed(b"some bytes", 1);
    let frame = &small[..small.len() - 25];
    let with =
        |frame: &[u8], unpacked: u32| [frame.to_vec(), table_of(&[(frame.len() as u32, unpacked)])].concat();
    assert_eq!(unframed(&with(frame, 10)).unwrap(), b"some bytes");
    let streamed = zstd::encode_all(&b"some bytes"[..], 1).unwrap();
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    let mut wrong = frame.to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("another length", with(frame, 11), "the length that the table says"),
        ("no length of its own", with(&streamed, 10), "the length that the table says"),
        ("two frames", with(&[frame, frame].concat(), 20), "not one whole zstd frame"),
        ("a frame and more", with(&[frame, &skippable].concat(), 10), "not one whole zstd frame"),
        ("cut", with(&frame[..frame.len() - 1], 10), "not one whole zstd frame"),
        ("noise", with(&[9; 20], 10), "not one whole zstd frame"),
        ("a wrong checksum", with(&wrong, 10), "does not unpack"),
    ];
    for (name, file, expected) in &cases {
        let error = unframed(file).err().unwrap_or_else(|| panic!("{name} was accepted"));
        let text = error.to_string();
        assert!(text.starts_with("frame 0 is damaged") && text.contains(expected), "{name}: {text:?}");
    }
}

proptest! {
    /// Rot in a frame is found when it is read, and rot in the table when the file is opened.
    #[test]
    fn a_wrong_bit_never_yields_other_bytes(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let bytes = b"hello, hello, hello".repeat(40);
        let mut file = framed(&bytes, 1);
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        if let Ok(read) = unframed(&file) {
            prop_assert_eq!(read, bytes);
        }
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(unframed(&bytes).is_err());
    }
}
