use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use buildswarm_core::BlobId;
use tempfile::TempDir;

use super::*;

const PACK: PackOptions =
    PackOptions { level: 3, threads: 2, mtime: 1_700_000_000, uid: 0, gid: 0, limits: Limits::STANDARD };

/// What a packed tree is read with.
fn unpacking() -> ReadOptions {
    let limits = Limits { frames: Frames::Several, ..Limits::STANDARD };
    ReadOptions { compression: Compression::Zstd, links: Links::Any, leading_dot: false, limits }
}

fn packed(tree: &Path, options: &PackOptions) -> (PackReport, Vec<u8>) {
    let mut out = Vec::new();
    let report = pack_tree(tree, &mut out, options).unwrap();
    assert_eq!((report.archive.id, report.archive.size), (BlobId::of(&out), out.len() as u64));
    (report, out)
}

fn put(tree: &Path, name: impl AsRef<Path>, content: &[u8], mode: u32) {
    let path = tree.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Files whose names come in every order, in `order`.
fn tree(order: &[usize]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let long = "component/".repeat(30) + "name";
    let large: Vec<u8> = (0..400_000u32).flat_map(u32::to_le_bytes).collect();
    let files: [(&[u8], &[u8], u32); 9] = [
        (b"a/b", b"in a", 0o644),
        (b"a-b", b"before a/b", 0o600),
        (b"a.b", b"so is this", 0o4755),
        (b"a0", b"after it", 0o444),
        (long.as_bytes(), b"deep", 0o644),
        (b"empty", b"", 0o644),
        (b"large", &large, 0o644),
        (b"\xff\n", b"no text", 0o644),
        (b"usr/bin/hello", &[7; 512], 0o755),
    ];
    for at in order {
        let (name, content, mode) = files[*at];
        put(root, std::ffi::OsStr::from_bytes(name), content, mode);
    }
    fs::create_dir(root.join("nothing")).unwrap();
    fs::set_permissions(root.join("nothing"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("../../etc/passwd", root.join("usr/bin/link")).unwrap();
    symlink("x".repeat(300), root.join("long-target")).unwrap();
    directory
}

const IN_ORDER: [usize; 9] = [0, 1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn what_is_packed_is_read_back_sorted_by_the_bytes_of_paths() {
    let tree = tree(&IN_ORDER);
    let (report, archive) = packed(tree.path(), &PACK);
    let (whole, content) = read(&archive, &unpacking()).unwrap();
    let paths: Vec<_> = content.iter().map(|(entry, _)| entry.path.clone()).collect();
    assert!(paths.is_sorted(), "{paths:?}");
    let place = |text: &str| paths.iter().position(|other| *other == path(text)).unwrap();
    assert_eq!([place("a-b"), place("a.b"), place("a/b")], [place("a") + 1, place("a") + 2, place("a") + 3]);
    assert_eq!(whole.entries(), (report.files.len() as u64) + report.directories + report.symlinks);
    assert_eq!((report.files.len(), report.directories, report.symlinks), (9, 34, 2));
    assert_eq!((whole.bytes(), report.unpacked % 512), (report.bytes, 0));
    let files = content.iter().filter(|(entry, _)| matches!(entry.node, Node::File { .. }));
    for ((entry, content), (path, blob)) in files.zip(&report.files) {
        assert_eq!((&entry.path, BlobId::of(content)), (path, blob.id));
        let on_disk = tree.path().join(std::ffi::OsStr::from_bytes(path.as_bytes()));
        assert!(fs::read(&on_disk).unwrap() == *content);
        assert_eq!(fs::metadata(&on_disk).unwrap().permissions().mode() & 0o7777, entry.attributes.mode);
    }
    for (entry, _) in &content {
        assert_eq!((entry.mtime, entry.attributes.uid, entry.attributes.gid), (PACK.mtime, 0, 0));
    }
    let node = |text: &str| &content[place(text)].0.node;
    assert_eq!(*node("usr/bin/link"), Node::Symlink { target: b"../../etc/passwd".to_vec() });
    assert_eq!(*node("long-target"), Node::Symlink { target: vec![b'x'; 300] });
    assert_eq!(content[place("nothing")].0.attributes.mode, 0o1777);
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let first = tree(&IN_ORDER);
    let (report, archive) = packed(first.path(), &PACK);
    for threads in [0, 1, 3, 8] {
        assert!(packed(first.path(), &PackOptions { threads, ..PACK }) == (report.clone(), archive.clone()));
    }
    // Made in another order, at another time, with what was there and went, and with shared inodes.
    let mut order = IN_ORDER;
    order.reverse();
    let second = tree(&order);
    put(second.path(), "usr/bin/gone", b"x", 0o644);
    fs::remove_file(second.path().join("usr/bin/gone")).unwrap();
    fs::remove_file(second.path().join("empty")).unwrap();
    put(second.path(), "other", b"", 0o644);
    fs::hard_link(second.path().join("other"), second.path().join("empty")).unwrap();
    fs::remove_file(second.path().join("other")).unwrap();
    let old = fs::File::open(second.path().join("a0")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(packed(second.path(), &PACK).1 == archive);
    // What counts does count.
    type Change = fn(&Path);
    let changes: [Change; 5] = [
        |tree| put(tree, "a0", b"AFTER it", 0o444),
        |tree| fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o600)).unwrap(),
        |tree| fs::rename(tree.join("a.b"), tree.join("a.c")).unwrap(),
        |tree| fs::create_dir(tree.join("more")).unwrap(),
        |tree| {
            fs::remove_file(tree.join("usr/bin/link")).unwrap();
            symlink("../etc/passwd", tree.join("usr/bin/link")).unwrap();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let changed = self::tree(&IN_ORDER);
        fs::set_permissions(changed.path().join("a0"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(first.path().join("a0"), fs::Permissions::from_mode(0o644)).unwrap();
        change(changed.path());
        assert!(packed(changed.path(), &PACK).1 != packed(first.path(), &PACK).1, "change {number}");
    }
}

#[test]
fn time_and_owner_are_those_given() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), "a", b"x", 0o644);
    // Numbers that octal digits cannot hold among them.
    let given = PackOptions { mtime: 7, uid: 250, gid: i32::MAX as u32, ..PACK };
    let (_, archive) = packed(directory.path(), &given);
    let (entry, _) = read(&archive, &unpacking()).unwrap().1.remove(0);
    assert_eq!((entry.mtime, entry.attributes.uid, entry.attributes.gid), (7, 250, i32::MAX as u32));
    let error = pack_tree(directory.path(), Vec::new(), &PackOptions { uid: 1 << 31, ..PACK }).unwrap_err();
    assert_eq!(error.to_string(), "uid is above 2147483647");
}

#[test]
fn what_no_archive_holds_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), "a/b", b"x", 0o644);
    let refused =
        |options: &PackOptions| pack_tree(directory.path(), Vec::new(), options).unwrap_err().to_string();
    let limited = |limits: Limits| refused(&PackOptions { limits, ..PACK });
    assert_eq!(limited(Limits { entries: 1, ..PACK.limits }), "entries above the limit of 1");
    assert_eq!(limited(Limits { name_bytes: 2, ..PACK.limits }), "bytes of names above the limit of 2");
    assert_eq!(limited(Limits { bytes: 0, ..PACK.limits }), "bytes of content above the limit of 0");
    assert_eq!(limited(Limits { depth: 0, ..PACK.limits }), "components of a path above the limit of 0");
    let fifo = directory.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    let text = format!("{} is a fifo: only files, directories and symbolic links are packed", fifo.display());
    assert_eq!(refused(&PACK), text);
    let missing = pack_tree(&directory.path().join("missing"), Vec::new(), &PACK).unwrap_err();
    assert!(missing.to_string().starts_with("cannot open /"), "{missing}");
}

/// A writer that changes the tree when the first bytes arrive.
struct Meddling<'a>(Option<Box<dyn FnOnce() + 'a>>);

impl std::io::Write for Meddling<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(meddle) = self.0.take() {
            meddle();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_changes_meanwhile_is_noticed() {
    type Change = fn(&Path);
    let changes: [Change; 3] = [
        |file| fs::write(file, b"shorter").unwrap(),
        |file| fs::write(file, vec![1; 17 << 20]).unwrap(),
        |file| {
            use std::io::Write as _;
            fs::OpenOptions::new().write(true).open(file).unwrap().write_all(b"as long as before").unwrap();
        },
    ];
    for change in changes {
        let directory = tempfile::tempdir().unwrap();
        let large = directory.path().join("large");
        fs::write(&large, vec![0; 16 << 20]).unwrap();
        fs::File::open(&large).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let meddling = Meddling(Some(Box::new(|| change(&large))));
        let error = pack_tree(directory.path(), meddling, &PackOptions { threads: 1, ..PACK }).unwrap_err();
        assert!(matches!(error, PackError::Changed { .. }), "{error:?}");
    }
}

#[test]
fn a_directory_that_becomes_a_link_meanwhile_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    put(outside.path(), "secret", b"secret", 0o600);
    let root = directory.path();
    put(root, "d-large", &vec![0; 16 << 20], 0o644);
    put(root, "d/inside", b"x", 0o644);
    // `d` itself comes before `d-large`, what is in it after.
    let meddling = Meddling(Some(Box::new(|| {
        fs::remove_dir_all(root.join("d")).unwrap();
        symlink(outside.path(), root.join("d")).unwrap();
    })));
    let error = pack_tree(root, meddling, &PackOptions { threads: 1, ..PACK }).unwrap_err();
    assert!(matches!(&error, PackError::Io { action: "open", path, .. } if path.ends_with("d")), "{error:?}");
}

#[test]
fn any_part_of_a_packed_tree_is_found() {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let tree = tree(&IN_ORDER);
    let (report, archive) = packed(tree.path(), &PACK);
    let mut frames = FrameReader::new(std::io::Cursor::new(&archive)).unwrap();
    assert_eq!(frames.size(), report.unpacked);
    let mut stream = Vec::new();
    frames.read_to_end(&mut stream).unwrap();
    let mut tar = TarReader::new(&stream[..]);
    let mut found = Vec::new();
    while let Some(entry) = tar.next_entry().unwrap() {
        found.push(entry);
    }
    let hello = found.iter().find(|entry| entry.path == b"usr/bin/hello").unwrap();
    frames.seek(SeekFrom::Start(hello.offset)).unwrap();
    let mut content = vec![0; 512];
    frames.read_exact(&mut content).unwrap();
    assert_eq!(content, [7; 512]);
}

/// Runs `script` with the path of an archive as `$1`; `None`, with a line, if one of `programs` is missing.
fn run(programs: &[&str], script: &str, archive: &Path, at: &Path) -> Option<String> {
    for program in programs {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            eprintln!("skipped: there is no {program} program");
            return None;
        }
    }
    let output = Command::new("sh")
        .args(["-ec", script, "sh"])
        .arg(archive)
        .current_dir(at)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn stock_zstd_and_tar_unpack_it_and_it_packs_again_to_the_same_bytes() {
    let tree = tree(&IN_ORDER);
    let (_, archive) = packed(tree.path(), &PACK);
    let work = tempfile::tempdir().unwrap();
    let (file, out) = (work.path().join("archive"), work.path().join("out"));
    fs::write(&file, &archive).unwrap();
    fs::create_dir(&out).unwrap();
    let script = "zstd -dqc \"$1\" | tar -x --no-same-owner --preserve-permissions -f -";
    if run(&["zstd", "tar"], script, &file, &out).is_none() {
        return;
    }
    assert!(packed(&out, &PACK).1 == archive);
    let modified = fs::metadata(out.join("a/b")).unwrap().modified().unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_secs(), PACK.mtime);
}

#[test]
fn python_reads_what_is_packed_as_it_was_meant() {
    let tree = tree(&IN_ORDER);
    let (report, archive) = packed(tree.path(), &PackOptions { gid: 1 << 30, ..PACK });
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("archive");
    fs::write(&file, archive).unwrap();
    let script = r#"zstd -dqc "$1" >tar
python3 -c '
import tarfile
with tarfile.open("tar", "r:") as tar:
    for member in tar:
        if member.isreg() and member.name.isascii():
            print(member.name.replace("\n", "?"), member.size, oct(member.mode), int(member.mtime), member.gid)
'"#;
    let Some(text) = run(&["zstd", "python3"], script, &file, work.path()) else { return };
    assert_eq!(text.lines().count(), report.files.len() - 1, "all but the one that is no text");
    assert!(text.contains("\na.b 10 0o4755 1700000000 1073741824\n"), "{text}");
    let long = report.files.iter().find(|(path, _)| path.depth() > 30).unwrap();
    let long = std::str::from_utf8(long.0.as_bytes()).unwrap();
    assert!(text.contains(&format!("\n{long} 4 0o644 ")), "{text}");
}

#[test]
fn nothing_is_an_archive_too() {
    let directory = tempfile::tempdir().unwrap();
    let (report, archive) = packed(directory.path(), &PACK);
    assert_eq!((report.unpacked, report.files.len()), (1024, 0));
    assert_eq!(read(&archive, &unpacking()).unwrap().0.entries(), 0);
}
