//! Failures at every step of making an index again.

use crate::faults::scripted::{Then, script, trace};
use crate::{INLINE_BYTES_MAX, Store};

#[test]
fn a_rebuild_that_fails_anywhere_can_be_done_again() {
    for (at, damaged) in (0..).flat_map(|at| [(at, false), (at, true)]) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let large = vec![1; INLINE_BYTES_MAX + 1];
        let blobs = [&large[..], b"small"].map(|bytes| store.put_bytes(bytes).unwrap());
        let rot = store.put_bytes(&[2; INLINE_BYTES_MAX + 1]).unwrap();
        if damaged {
            std::fs::write(store.shared.layout.blob(&rot.id), b"rot").unwrap();
        }
        drop(store);
        script(Some((at, Then::Fail)));
        let outcome = Store::rebuild(dir.path());
        let steps = trace();
        script(None);
        if outcome.is_err() {
            Store::rebuild(dir.path()).unwrap();
        }
        let store = Store::open(dir.path()).unwrap();
        for blob in blobs {
            assert!(store.contains(blob.id).unwrap(), "step {at} of {steps:?}");
        }
        assert_eq!(store.contains(rot.id).unwrap(), !damaged, "step {at} of {steps:?}");
        assert!(store.verify().unwrap().is_clean(), "step {at} of {steps:?}");
        if outcome.is_ok() && damaged {
            assert!(at >= steps.len() && at > 8, "{steps:?}");
            return;
        }
    }
}
