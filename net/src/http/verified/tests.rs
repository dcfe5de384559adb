//! The cache of digests on real files.

use super::*;

fn file(bytes: &[u8]) -> (tempfile::TempDir, Arc<File>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let file = Arc::new(File::options().read(true).write(true).open(path).unwrap());
    (directory, file)
}

/// The same state, as if it were long ago: a change time cannot be set, so the test sets it here.
fn aged(file: &File) -> Identity {
    Identity { changed: (1, 0), ..Identity::of(file).unwrap() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settled_file_is_hashed_once_for_all_who_ask() {
    let bytes = vec![7; 3 << 20];
    let (_directory, file) = file(&bytes);
    let (files, identity) = (VerifiedFiles::new(), aged(&file));
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let (files, file) = (files.clone(), Arc::clone(&file));
            tokio::spawn(async move { files.digest(&file, identity).await.unwrap() })
        })
        .collect();
    for one in asking {
        assert_eq!(one.await.unwrap(), Digest::of(&bytes));
    }
    assert_eq!(files.digest(&file, identity).await.unwrap(), Digest::of(&bytes));
    assert_eq!(files.passes(), 1);
}

#[tokio::test]
async fn a_file_just_written_is_not_remembered() {
    let (_directory, file) = file(b"fresh");
    let files = VerifiedFiles::new();
    for pass in 1..=3 {
        files.digest(&file, Identity::of(&file).unwrap()).await.unwrap();
        assert_eq!(files.passes(), pass);
    }
    assert!(files.0.table().slots.is_empty());
}

#[tokio::test]
async fn one_who_leaves_does_not_start_it_over() {
    let (_directory, file) = file(&vec![1; 8 << 20]);
    let (files, identity) = (VerifiedFiles::new(), aged(&file));
    for _ in 0..20 {
        let asking = files.digest(&file, identity);
        let _ = tokio::time::timeout(Duration::from_micros(1), asking).await;
    }
    files.digest(&file, identity).await.unwrap();
    assert_eq!(files.passes(), 1);
}

#[tokio::test]
async fn a_changed_file_is_another_state() {
    let (_directory, file) = file(b"right");
    let (files, before) = (VerifiedFiles::new(), Identity::of(&file).unwrap());
    file.write_all_at(b"wrong", 0).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    assert!(matches!(files.digest(&file, before).await, Err(HashError::Changed)));
    let after = Identity::of(&file).unwrap();
    assert_eq!(files.digest(&file, after).await.unwrap(), Digest::of(b"wrong"));
}

#[tokio::test]
async fn a_shorter_file_and_a_closed_door_are_errors() {
    let (_directory, file) = file(b"four");
    let (files, before) = (VerifiedFiles::new(), Identity::of(&file).unwrap());
    file.set_len(2).unwrap();
    assert!(matches!(files.digest(&file, before).await, Err(HashError::Changed)));
    files.stop();
    let now = Identity::of(&file).unwrap();
    assert!(matches!(files.digest(&file, now).await, Err(HashError::Stopped)));
}

#[test]
fn memory_is_bounded() {
    let files = VerifiedFiles::new();
    let state = |inode| Identity { device: 1, inode, size: 0, modified: (1, 0), changed: (1, 0) };
    for inode in 0..REMEMBERED_MAX as u64 + 100 {
        files.0.settle(state(inode), &Ok(Digest::of(b"")), SystemTime::now());
    }
    let table = files.0.table();
    assert_eq!((table.slots.len(), table.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
    assert!(!table.slots.contains_key(&state(99)) && table.slots.contains_key(&state(100)));
}
