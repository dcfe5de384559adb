//! Replays the corpora of the fuzz targets that need nothing but this crate; a new finding is committed there.

#![expect(clippy::disallowed_methods, reason = "the corpora are files; the functions they go to are pure")]

use std::fs;

#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/pure.rs"]
mod pure;
#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../fuzz/src/scheduling.rs"]
mod scheduling;

fn replay(target: &str, run: fn(&[u8])) {
    let directory = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut inputs = 0;
    for entry in fs::read_dir(&directory).expect("the target has a corpus") {
        let path = entry.expect("it can be listed").path();
        println!("{}", path.display());
        run(&fs::read(path).expect("it can be read"));
        inputs += 1;
    }
    assert!(inputs > 0, "{directory} is empty");
    // What no corpus needs to hold.
    run(b"");
    run(&[0; 64]);
    run(&[0xff; 64]);
}

#[test]
fn cpv() {
    replay("cpv", pure::cpv);
}

#[test]
fn canonical_decode() {
    replay("canonical_decode", pure::canonical_decode);
}

#[test]
fn build_spec_decode() {
    replay("build_spec_decode", pure::build_spec_decode);
}

#[test]
fn scheduler_ops() {
    replay("scheduler_ops", scheduling::scheduler_ops);
}
