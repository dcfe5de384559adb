//! Runs, attempts, signed packages and channels.

use std::collections::BTreeMap;
use std::process::Command;

use buildswarm_core::BlobId;
use buildswarm_core::artifact::BlobRef;
use buildswarm_core::time::UnixSeconds;
use buildswarm_store::{
    Attempt, AttemptFilter, Error, GenerationRow, JobRow, Purpose, Run, RunId, RunState, SignedPackage, Store,
};

use crate::support::{artifact, file_of, key, large, store};

fn run(label: &str) -> Run {
    Run { label: label.to_owned(), purpose: Purpose::Build, started: UnixSeconds(100) }
}

fn job(seed: u64, state: &str) -> JobRow {
    JobRow {
        key: key(seed),
        package: "dev-libs/foo-1".parse().unwrap(),
        state: state.to_owned(),
        reason: "waits for dev-libs/bar".to_owned(),
        slot: Some(1),
        started: Some(UnixSeconds(101)),
        log_path: Some("/var/log/foo".to_owned()),
        artifact: (seed == 1).then(|| key(7)),
    }
}

fn attempt(run: RunId, package: &str, outcome: &str, duration_millis: u64) -> Attempt {
    Attempt {
        run,
        key: key(duration_millis),
        package: package.parse().unwrap(),
        slot: 3,
        started: UnixSeconds(100),
        finished: UnixSeconds(160),
        duration_millis,
        outcome: outcome.to_owned(),
        failure_class: Some("package".to_owned()),
        phase: Some("compile".to_owned()),
        message: "it did not".to_owned(),
        log: None,
    }
}

#[test]
fn a_run_is_seen_from_its_beginning_to_its_end() {
    let (dir, store) = store();
    let watcher = Store::open_read_only(dir.path().join("store")).unwrap();
    let first = store.begin_run(&run("build @world")).unwrap();
    let second = store.begin_run(&run("build dev-libs/foo")).unwrap();
    assert!(second > first);
    store.update_jobs(first, &[job(1, "queued"), job(2, "queued")]).unwrap();
    store.update_job(first, &job(1, "building")).unwrap();
    let states: BTreeMap<_, _> =
        watcher.jobs(first).unwrap().into_iter().map(|job| (job.key, job.state)).collect();
    assert_eq!(states, BTreeMap::from([(key(1), "building".to_owned()), (key(2), "queued".to_owned())]));
    assert_eq!(watcher.jobs(second).unwrap(), []);
    assert!(watcher.jobs(first).unwrap().contains(&job(1, "building")));
    store.finish_run(first, UnixSeconds(200), "2 built").unwrap();
    let runs = watcher.runs(10).unwrap();
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [second, first]);
    assert_eq!((runs[0].label.as_str(), &runs[0].state), ("build dev-libs/foo", &RunState::Running));
    assert_eq!(runs[1].state, RunState::Finished { at: UnixSeconds(200), summary: "2 built".to_owned() });
    assert_eq!(runs[0].pid, std::process::id());
    assert_eq!(watcher.runs(1).unwrap().len(), 1);
}

#[test]
fn an_audit_is_told_from_a_build() {
    let (_dir, store) = store();
    store.begin_run(&run("world")).unwrap();
    store.begin_run(&Run { purpose: Purpose::Audit, ..run("audit world") }).unwrap();
    let purposes: Vec<Purpose> = store.runs(2).unwrap().iter().map(|run| run.purpose).collect();
    assert_eq!(purposes, [Purpose::Audit, Purpose::Build]);
}

#[test]
fn a_run_that_does_not_exist_is_refused() {
    let (_dir, store) = store();
    let none = RunId::new(7);
    let refused = |outcome: Result<(), Error>| assert!(matches!(outcome, Err(Error::RunMissing { .. })));
    refused(store.update_job(none, &job(1, "queued")));
    refused(store.finish_run(none, UnixSeconds(1), ""));
    refused(store.jobs(none).map(drop));
    refused(store.record_attempt(&attempt(none, "dev-libs/foo-1", "built", 1)));
}

/// Not a test by itself: the process that begins a run and ends without finishing it.
#[test]
fn child_that_abandons_a_run() {
    if let Some(path) = std::env::var_os("ABANDON_A_RUN_IN") {
        Store::open(path).unwrap().begin_run(&run("abandoned")).unwrap();
    }
}

#[test]
fn a_run_whose_process_is_gone_is_interrupted() {
    let (dir, store) = store();
    let path = dir.path().join("store");
    drop(store);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "records::child_that_abandons_a_run"])
        .env("ABANDON_A_RUN_IN", &path)
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    let runs = Store::open_read_only(&path).unwrap().runs(1).unwrap();
    assert_eq!((runs[0].label.as_str(), &runs[0].state), ("abandoned", &RunState::Interrupted));
}

#[test]
fn attempts_are_found_by_package_version_and_key() {
    let (_dir, store) = store();
    let run = store.begin_run(&run("build")).unwrap();
    let mut recorded = vec![
        attempt(run, "dev-libs/foo-1", "failed", 10),
        attempt(run, "dev-libs/foo-2", "built", 20),
        attempt(run, "dev-libs/bar-1", "killed", 30),
    ];
    recorded[0].log = Some(store.put_bytes(b"log").unwrap());
    recorded[1].failure_class = None;
    for attempt in &recorded {
        store.record_attempt(attempt).unwrap();
    }
    recorded.reverse();
    assert_eq!(store.attempts(9, AttemptFilter::All).unwrap(), recorded);
    assert_eq!(store.attempts(2, AttemptFilter::All).unwrap(), recorded[..2]);
    assert_eq!(store.attempts(9, AttemptFilter::Cp("dev-libs/foo")).unwrap(), recorded[1..]);
    assert_eq!(store.attempts(9, AttemptFilter::Cpv(&recorded[2].package)).unwrap(), recorded[2..]);
    assert_eq!(store.attempts(usize::MAX, AttemptFilter::Key(key(30))).unwrap(), recorded[..1]);
    let mut lost = attempt(run, "dev-libs/foo-1", "failed", 1);
    lost.log = Some(BlobRef { id: BlobId::of(b"none"), size: 4 });
    assert!(matches!(store.record_attempt(&lost), Err(Error::BlobMissing { .. })));
}

#[test]
fn estimates_follow_the_last_successes() {
    let (_dir, store) = store();
    let run = store.begin_run(&run("build")).unwrap();
    for millis in [9000, 9000, 9000, 10, 50, 30, 20, 40] {
        store.record_attempt(&attempt(run, "dev-libs/foo-1", "built", millis)).unwrap();
    }
    store.record_attempt(&attempt(run, "dev-libs/foo-1", "failed", 1)).unwrap();
    store.record_attempt(&attempt(run, "dev-libs/bar-1", "failed", 1)).unwrap();
    let estimates = store.duration_estimates(&["dev-libs/foo", "dev-libs/bar", "dev-libs/none"]).unwrap();
    assert_eq!(estimates, BTreeMap::from([("dev-libs/foo".to_owned(), 30)]));
}

#[test]
fn a_signed_package_belongs_to_an_artifact_and_a_signer() {
    let (dir, store) = store();
    let built = artifact(&store, "dev-libs/foo-1", 1);
    let mut package =
        SignedPackage { file: store.put_bytes(&large(2)).unwrap(), index_entry: "{}".to_owned() };
    assert!(matches!(store.put_signed(built.key, "A", &package), Err(Error::ArtifactMissing { .. })));
    let _ = store.commit_artifact(&built, &[]).unwrap();
    store.put_signed(built.key, "A", &package).unwrap();
    assert_eq!(store.signed_package(built.key, "A").unwrap(), Some(package.clone()));
    assert_eq!(store.signed_package(built.key, "B").unwrap(), None);
    package.index_entry = r#"{"SIZE":1}"#.to_owned();
    store.put_signed(built.key, "A", &package).unwrap();
    assert_eq!(store.signed_package(built.key, "A").unwrap(), Some(package.clone()));
    std::fs::remove_file(file_of(&dir.path().join("store"), package.file.id)).unwrap();
    assert_eq!(store.signed_package(built.key, "A").unwrap(), None, "the row alone is not enough");
    store.put_bytes(&large(2)).unwrap();
    store.remove_artifact(built.key).unwrap();
    assert_eq!(store.signed_package(built.key, "A").unwrap(), None);
}

#[test]
fn generations_are_immutable_and_one_is_current() {
    let (_dir, store) = store();
    let [one, two] = [1, 2].map(|seed| artifact(&store, "dev-libs/foo-1", seed));
    let _ = (store.commit_artifact(&one, &[]).unwrap(), store.commit_artifact(&two, &[]).unwrap());
    let manifest = store.put_bytes(b"Packages").unwrap();
    let row = |number, entries| GenerationRow { number, created: UnixSeconds(5), entries, manifest };
    let first = row(1, vec![two.key, one.key]);
    let second = row(2, vec![one.key]);
    store.record_generation("stable", &first).unwrap();
    store.record_generation("stable", &second).unwrap();
    assert!(matches!(store.record_generation("stable", &second), Err(Error::GenerationExists { .. })));
    assert_eq!(store.generations("stable").unwrap(), [first, second]);
    assert_eq!(store.generations("other").unwrap(), []);
    assert_eq!(store.current("stable").unwrap(), None);
    assert!(matches!(store.set_current("stable", 3), Err(Error::GenerationMissing { number: 3, .. })));
    store.set_current("stable", 2).unwrap();
    store.set_current("stable", 1).unwrap();
    assert_eq!(store.current("stable").unwrap(), Some(1));
    assert!(matches!(store.remove_generation("stable", 1), Err(Error::GenerationCurrent { .. })));
    store.remove_generation("stable", 2).unwrap();
    assert!(matches!(store.remove_generation("stable", 2), Err(Error::GenerationMissing { .. })));
    let open = row(3, vec![one.key, key(9)]);
    assert!(matches!(store.record_generation("stable", &open), Err(Error::ArtifactMissing { .. })));
    assert_eq!(store.generations("stable").unwrap().len(), 1, "a refused one leaves nothing");
}
