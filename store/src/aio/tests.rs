use std::process::Command;

use super::*;
use crate::INLINE_BYTES_MAX;

fn run<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(task)
}

fn open() -> (tempfile::TempDir, AsyncStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = AsyncStore::new(Store::open(dir.path()).unwrap());
    (dir, store)
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * at % 251) as u8).collect()
}

#[test]
fn what_is_put_is_read_whatever_its_length() {
    let (_dir, store) = open();
    run(async {
        for size in [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, PIECE_BYTES, PIECE_BYTES + 1, 3_000_000] {
            let bytes = bytes(size);
            let blob = store.put(&bytes[..]).await.unwrap();
            assert_eq!(blob, BlobRef { id: BlobId::of(&bytes), size: size as u64 });
            let mut reader = store.open_blob(blob.id).await.unwrap().unwrap();
            assert_eq!(reader.blob(), blob);
            let mut read = Vec::new();
            reader.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, bytes);
            assert!(store.contains(blob.id).await.unwrap());
        }
        assert!(store.open_blob(BlobId::of(b"none")).await.unwrap().is_none());
    });
}

#[test]
fn artifacts_are_committed_and_found() {
    let (_dir, store) = open();
    run(async {
        let blob = store.put(&b"x"[..]).await.unwrap();
        let built = crate::tests::artifact(1, [blob; 3]);
        assert_eq!(store.commit_artifact(built.clone(), Vec::new()).await.unwrap(), Committed::First);
        assert_eq!(store.artifact(built.key).await.unwrap(), Some(built));
    });
}

#[test]
fn a_put_that_is_dropped_or_whose_reader_fails_stores_nothing() {
    let (dir, store) = open();
    run(async {
        let (mut writer, reader) = tokio::io::duplex(64 * 1024);
        let put = store.put(reader);
        let write = async {
            tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes(1_000_000)).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        tokio::select! {
            _ = put => panic!("the writer is not done"),
            () = write => {}
        }
        let failing = tokio::io::AsyncReadExt::chain(&b"some"[..], tokio_fails());
        assert!(matches!(store.put(failing).await, Err(Error::Source { .. })));
    });
    // The thread behind a put that was dropped may still be on its way out.
    drop(store);
    let store = loop {
        match Store::open(dir.path()) {
            Ok(store) => break store,
            Err(Error::InUse { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    let stats = store.stats().unwrap();
    assert_eq!((stats.file_blobs, stats.inline_blobs), (0, 0));
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

/// A reader that fails.
fn tokio_fails() -> impl AsyncRead + Unpin {
    struct Fails;
    impl AsyncRead for Fails {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::Error::other("unplugged")))
        }
    }
    Fails
}

#[test]
fn damage_is_an_error_at_the_end_and_not_a_shorter_blob() {
    let (_dir, store) = open();
    run(async {
        let blob = store.put(&bytes(1_000_000)[..]).await.unwrap();
        let path = store.store().shared.layout.blob(&blob.id);
        let mut rotten = std::fs::read(&path).unwrap();
        rotten[999_999] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, rotten).unwrap();
        let mut read = Vec::new();
        let outcome = store.open_blob(blob.id).await.unwrap().unwrap().read_to_end(&mut read).await;
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(!store.contains(blob.id).await.unwrap());
    });
}

const MOUNT_AT: &str = "MOUNT_A_SMALL_DISK_FOR_TASKS_AT";

/// Not a test by itself: fills a small disk in a mount namespace of its own.
#[test]
fn child_on_a_small_disk() {
    let Some(path) = std::env::var_os(MOUNT_AT) else { return };
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=32M", "tmpfs"]).arg(&path).status();
    assert!(mounted.unwrap().success());
    let store = AsyncStore::new(Store::open(&path).unwrap());
    run(async {
        let full = loop {
            let more = bytes(1_000_000 + store.store().stats().unwrap().file_blobs as usize);
            match store.put(&more[..]).await {
                Ok(blob) => assert_eq!(store.read_blob(blob.id, 1 << 22).await.unwrap(), more),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, Error::NoSpace { .. }), "{full:?}");
    });
    println!("the small disk was tested");
}

#[test]
fn a_full_disk_is_an_error_of_the_put() {
    let dir = tempfile::tempdir().unwrap();
    let probe =
        Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs"]).arg(dir.path()).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("skipped: this system does not let us mount a small disk");
        return;
    }
    let child = Command::new("unshare")
        .arg("-m")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "aio::tests::child_on_a_small_disk", "--nocapture"])
        .env(MOUNT_AT, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("the small disk was tested"), "{child:?}");
}
