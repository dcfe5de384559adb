//! Question: how long does it take until an install tree of 8,400 files and 560 MB is durably stored, until another that
//! differs in one file of a hundred is, and until the files are there again?
//!
//! Peer:  tar and zstd −3 on two threads, unsynced and unhashed; `nix-store --add` and `nix copy` if Nix is installed;
//!        `zstd -dc` piped into tar.
//! Limit: of a put, `zstd -3 -T2` of a ready tar stream from one file to another; of a put of a near-duplicate, reading
//!        its files and BLAKE3 of each on all cores; of a get, `zstd -dc` piped into tar.
//! Goal:  put at most 1.10 × limit, near-duplicate at most 2 ×, get at most 0.7 ×.
//! Run:   cargo bench -p buildswarm-benches --bench tree
//!
//! The tree is made of files of this machine, the same ones each time. Every measurement is in a directory that was
//! not there before, and nothing is removed before the end: making files on ext4 soon after removing some is slower.
//! What was written before is synced before each measurement. The trees that are put are in the page cache.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use buildswarm_benches::{Random, Row, measure, shown, timed, verdict};
use buildswarm_store::{Store, TreeOptions};

const FILES: usize = 8_400;
const BYTES: u64 = 560_000_000;
const FILE_BYTES_MAX: u64 = 64 << 20;
const CHANGED: usize = FILES / 100;
const ROUNDS: usize = 5;
const SOURCES: [&str; 3] = ["/usr/include", "/usr/lib", "/usr/share"];
const OPTIONS: TreeOptions = TreeOptions { skip_special: false };

/// Nix as an ordinary user has it: no daemon, no build users, no syncing.
const NIX_ADD: &str = r#"
    export NIX_STORE_DIR="$2/store" NIX_STATE_DIR="$2/state" NIX_CONF_DIR="$2"
    echo "build-users-group =" > "$2/nix.conf"
    added=$(nix-store --add "$1")
"#;
const NIX_COPY: &str = r#"
    to="file://$2/cache?compression=zstd&compression-level=3&parallel-compression=true"
    nix --extra-experimental-features nix-command copy --quiet --to "$to" "$added"
"#;

/// Regular files below a directory with their sizes, in the order of their paths.
fn candidates() -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut ahead: Vec<PathBuf> = SOURCES.iter().map(PathBuf::from).collect();
    while let Some(directory) = ahead.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                ahead.push(entry.path());
            } else if metadata.is_file()
                && metadata.len() <= FILE_BYTES_MAX
                && fs::File::open(entry.path()).is_ok()
            {
                found.push((entry.path(), metadata.len()));
            }
        }
    }
    found.sort();
    found
}

/// Whole directories at random, as packages are made of, with as many and as large files as there should be together.
fn chosen() -> Vec<(PathBuf, u64)> {
    let mut directories: BTreeMap<PathBuf, Vec<(PathBuf, u64)>> = BTreeMap::new();
    for (path, size) in candidates() {
        let directory = path.parent().expect("it is in a directory").to_owned();
        directories.entry(directory).or_default().push((path, size));
    }
    let mut directories: Vec<_> = directories.into_values().collect();
    let mut random = Random(1);
    for last in (1..directories.len()).rev() {
        directories.swap(last, random.below(last + 1));
    }
    let mut all: Vec<_> = directories.into_iter().flatten().collect();
    let mut rest = all.split_off(FILES.min(all.len()));
    rest.retain(|(_, size)| *size > 1 << 20);
    let mut bytes: u64 = all.iter().map(|(_, size)| size).sum();
    // Large ones take the place of small ones until it is enough.
    for place in &mut all {
        if bytes >= BYTES {
            break;
        }
        if place.1 < 4096
            && let Some(large) = rest.pop_if(|(_, size)| bytes + *size < BYTES + (8 << 20))
        {
            bytes += large.1;
            *place = large;
        } else if rest.last().is_some_and(|(_, size)| bytes + size >= BYTES + (8 << 20)) {
            rest.pop();
        }
    }
    all
}

/// Makes the tree, in a place where it stays: the next run finds it.
fn install_tree(below: &Path) -> PathBuf {
    let tree = below.join("install-tree-2");
    if tree.join(".whole").exists() {
        return tree;
    }
    let _ = fs::remove_dir_all(&tree);
    for (number, (source, _)) in chosen().iter().enumerate() {
        let target = tree.join(source.strip_prefix("/").expect("an absolute path"));
        fs::create_dir_all(target.parent().expect("a parent")).expect("a directory");
        fs::copy(source, &target).expect("a copy");
        if number % 20 == 0 {
            let link = target.with_extension("link");
            let _ = std::os::unix::fs::symlink(source.file_name().expect("a name"), link);
        }
    }
    fs::write(tree.join(".whole"), "").expect("a file");
    tree
}

fn files_of(tree: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![tree.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").map(|entry| entry.expect("an entry")) {
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                ahead.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// A copy of the tree in which one file of a hundred is another.
fn near_duplicate(tree: &Path, copy: &Path) {
    run("cp", &["-a".as_ref(), tree.as_os_str(), copy.as_os_str()]);
    let mut files = files_of(copy);
    let mut random = Random(2);
    for _ in 0..CHANGED {
        let file = files.swap_remove(random.below(files.len()));
        let mut bytes = fs::read(&file).expect("a file");
        bytes.extend_from_slice(b"changed");
        fs::remove_file(&file).and_then(|()| fs::write(&file, bytes)).expect("a change");
    }
}

/// Reads and hashes files on all cores.
fn read_and_hash(paths: &[PathBuf]) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut bytes = Vec::new();
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    bytes.clear();
                    fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).expect("a file");
                    std::hint::black_box(blake3::hash(&bytes));
                }
            });
        }
    });
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status().expect(program);
    assert!(status.success(), "{program}: {status}");
}

fn shell(script: &str, arguments: &[&Path]) {
    let mut command = Command::new("sh");
    command.args(["-ec", script, "sh"]).args(arguments);
    let status = command.status().expect("a shell");
    assert!(status.success(), "{script}: {status}");
}

/// Directories that were not there before.
struct Fresh<'a> {
    below: &'a Path,
    made: Cell<u32>,
}

impl Fresh<'_> {
    fn directory(&self) -> PathBuf {
        self.made.set(self.made.get() + 1);
        let path = self.below.join(self.made.get().to_string());
        fs::create_dir(&path).expect("a directory");
        path
    }

    /// Runs in a new directory, with nothing left to be written from before.
    fn timed<T>(&self, work: impl FnOnce(&Path) -> T) -> Duration {
        let path = self.directory();
        run("sync", &[]);
        timed(|| work(&path)).1
    }
}

fn main() {
    let tree = install_tree(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let near = directory.path().join("near");
    near_duplicate(&tree, &near);
    let stream = directory.path().join("stream.tar");
    shell(r#"tar -C "$1" -cf "$2" ."#, &[&tree, &stream]);
    let archive = directory.path().join("stream.tar.zst");
    shell(r#"zstd -q -3 -T2 "$1" -o "$2""#, &[&stream, &archive]);
    let near_stream = directory.path().join("near.tar");
    shell(r#"tar -C "$1" -cf "$2" ."#, &[&near, &near_stream]);
    let fresh = Fresh { below: directory.path(), made: Cell::new(0) };
    let whole = Store::open(directory.path().join("store")).expect("a store");
    let snapshot = whole.put_tree(&tree, &OPTIONS).expect("a put");
    println!(
        "{} files, {} MB in {} directories; {} new blobs of {} MB",
        snapshot.files,
        snapshot.bytes / 1_000_000,
        snapshot.directories,
        snapshot.new_blobs,
        snapshot.new_bytes / 1_000_000
    );
    let near_paths = files_of(&near);
    let open = |path: &Path| Store::open(path.join("store")).expect("a store");
    let mut rows = vec![
        Row::new("ours: put, durable", || {
            let store = open(&fresh.directory());
            fresh.timed(|_| store.put_tree(&tree, &OPTIONS).expect("a put"))
        }),
        Row::new("limit: zstd -3 -T2 of a ready stream", || {
            fresh.timed(|path| shell(r#"zstd -q -3 -T2 "$1" -o "$2/archive""#, &[&stream, path]))
        }),
        Row::new("tar and zstd -3 -T2", || {
            fresh.timed(|path| shell(r#"tar -C "$1" -c . | zstd -q -3 -T2 -o "$2/archive""#, &[&tree, path]))
        }),
        Row::new("ours: put of a near-duplicate, durable", || {
            let store = open(&fresh.directory());
            store.put_tree(&tree, &OPTIONS).expect("a put");
            fresh.timed(|_| store.put_tree(&near, &OPTIONS).expect("a put"))
        }),
        Row::new("limit: read and BLAKE3 of its files, all cores", || {
            fresh.timed(|_| read_and_hash(&near_paths))
        }),
        Row::new("BLAKE3 of it as one mapped stream, all cores", || {
            fresh.timed(|_| {
                blake3::Hasher::new().update_mmap_rayon(&near_stream).expect("the stream").finalize()
            })
        }),
        Row::new("ours: get to files", || {
            fresh.timed(|path| whole.materialise(snapshot.root, path.join("tree")).expect("a get"))
        }),
        Row::new("limit: zstd -dc | tar x", || {
            fresh.timed(|path| shell(r#"zstd -q -dc "$1" | tar -C "$2" -x"#, &[&archive, path]))
        }),
    ];
    let has_nix = Command::new("nix").arg("--version").stdout(Stdio::null()).status().is_ok();
    if has_nix {
        rows.push(Row::new("nix-store --add", || fresh.timed(|path| shell(NIX_ADD, &[&tree, path]))));
        rows.push(Row::new("nix-store --add, nix copy to zstd -3", || {
            fresh.timed(|path| shell(&format!("{NIX_ADD}{NIX_COPY}"), &[&tree, path]))
        }));
    } else {
        println!("Nix is not installed: its rows are left out");
    }
    let medians = measure(ROUNDS, rows);
    println!("a near-duplicate as one mapped stream: {}", shown(medians[5]));
    println!("put:");
    verdict(medians[0], medians[1], "at most 1.10");
    println!("put of a near-duplicate:");
    verdict(medians[3], medians[4], "at most 2");
    println!("get to files:");
    verdict(medians[6], medians[7], "at most 0.7");
    if has_nix {
        println!("put, against Nix adding it, and adding and copying it:");
        verdict(medians[0], medians[8], "below 1");
        verdict(medians[0], medians[9], "below 1");
    }
}
